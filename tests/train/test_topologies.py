"""The same steps on 1 and on 8 devices, split by batch, by space, with states split or whole."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

from medjax.errors import UserError
from medjax.methods.base import Pair
from medjax.methods.cgan import cgan
from medjax.methods.regression import regression
from medjax.models.patchgan import PatchGAN, PatchGANConfig
from medjax.models.rdae import RDAEConfig
from medjax.models.unet import UNetConfig
from medjax.train import mesh as meshes
from medjax.train import pmap
from medjax.train.checkpoint import Checkpoints

SGD = optax.sgd(0.05, momentum=0.9)
UNET = UNetConfig(width=4, depth=1, convs_per_level=1, residual=False)
# What is under test are the numbers of the program, not its speed.
QUICK = {"xla_backend_optimization_level": 0}
SHARDED = partial(meshes.fully_sharded, smallest=8)


def gan(axis_name=None, norm="batch"):
    judge = PatchGAN(PatchGANConfig(width=4, layers=1, norm=norm))
    return cgan(UNET.build(), judge, SGD, SGD, ema_decay=0.5, axis_name=axis_name)


METHODS = {
    "cGAN": (gan(), (8, 16, 12, 1)),
    "RDAE": (
        regression(
            RDAEConfig(width=4, growth=4, layers=1, blocks=1, depth=1, residual=False).build(), SGD
        ),
        (8, 16, 12, 1),
    ),
    "3-D": (regression(UNET.build(), SGD), (8, 8, 6, 6, 1)),
}


def pair(shape, seed=0):
    # Brightness differs by image and by row, so that statistics of a part are not the whole's.
    x = jax.random.normal(jax.random.key(seed), shape)
    x += jnp.arange(shape[0], dtype=jnp.float32).reshape(-1, *[1] * (len(shape) - 1))
    x += jnp.linspace(0, 3, shape[1]).reshape(-1, *[1] * (len(shape) - 2))
    return Pair(x, 0.5 * x)


def placed(method, shape, mesh, sharding):
    """A fresh state on the mesh, the compiled step, and a batch's shardings."""
    batch = pair(shape)
    like = jax.eval_shape(method.init, jax.random.key(3), batch)
    shardings = sharding(mesh, like)
    init = jax.jit(method.init, out_shardings=shardings, compiler_options=QUICK)

    def step(state, batch, key):
        return method.step(state, meshes.split_space(mesh, batch), key)

    there = meshes.batch_sharding(mesh, batch._asdict())
    state = init(jax.random.key(3), batch)
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype, sharding=meshes.replicated(mesh))
    shapes = Pair(**{k: jax.ShapeDtypeStruct(shape, np.float32, sharding=there[k]) for k in there})
    run = jax.jit(step, out_shardings=(shardings, meshes.replicated(mesh)))
    return state, run.lower(state, shapes, key).compile(compiler_options=QUICK), there


def steps(method, shape, mesh, sharding, state=None, first=0, count=3):
    fresh, run, there = placed(method, shape, mesh, sharding)
    state, metrics = fresh if state is None else state, {}
    for i in range(first, first + count):
        batch = meshes.put(pair(shape, i)._asdict(), there)
        key = jax.device_put(jax.random.key(i), meshes.replicated(mesh))
        state, metrics = run(state, Pair(**batch), key)
    return state, metrics


def alike(one, other, tolerance=2e-4):
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(jax.device_get(one)),
        jax.tree.leaves(jax.device_get(other)),
        strict=True,
    ):
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.fixture(scope="module")
def alone():
    """After three steps on one device."""
    kept = {}

    def of(name):
        if name not in kept:
            kept[name] = steps(*METHODS[name], meshes.make(1), meshes.state_sharding)
        return kept[name]

    return of


@pytest.mark.parametrize(
    ("name", "data", "space", "sharding"),
    [
        ("cGAN", 4, 2, meshes.state_sharding),
        ("cGAN", 8, 1, SHARDED),
        ("RDAE", 8, 1, meshes.state_sharding),
        ("RDAE", 4, 2, SHARDED),
        ("3-D", 4, 2, meshes.state_sharding),
    ],
)
def test_any_mesh_gives_the_numbers_of_one_device(alone, name, data, space, sharding):
    """Among them the running statistics, which are thus those of the whole batch."""
    method, shape = METHODS[name]
    found = steps(method, shape, meshes.make(data, space), sharding)
    alike(alone(name), found)


def test_statistics_of_a_first_step_are_those_of_the_whole_batch():
    method, shape = METHODS["cGAN"]
    mesh = meshes.make(4, 2)
    fresh, run, there = placed(method, shape, mesh, meshes.state_sharding)
    kernel = jax.device_get(fresh.generator.variables["params"]["ConvUnit_0"]["Conv_0"]["kernel"])
    batch = pair(shape)
    key = jax.device_put(jax.random.key(0), meshes.replicated(mesh))
    state, _ = run(fresh, Pair(**meshes.put(batch._asdict(), there)), key)
    features = lax.conv_general_dilated(
        batch.degraded, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    kept = state.generator.variables["batch_stats"]["ConvUnit_0"]["Normalise_0"]["BatchNorm_0"]
    np.testing.assert_allclose(kept["mean"], 0.1 * features.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        kept["var"], 0.9 + 0.1 * features.var((0, 1, 2)), rtol=1e-4, atol=1e-5
    )


def test_a_checkpoint_of_one_topology_goes_on_on_another(alone, tmp_path):
    method, shape = METHODS["RDAE"]
    one, other = meshes.make(8), meshes.make(4, 2)
    state, _ = steps(method, shape, one, SHARDED, count=2)
    with Checkpoints(tmp_path, {"what": "test"}) as checkpoints:
        checkpoints.save(2, state)
    like = jax.eval_shape(method.init, jax.random.key(3), pair(shape))
    places = meshes.state_sharding(other, like)
    like = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, places
    )
    with Checkpoints(tmp_path, {"what": "test"}) as checkpoints:
        restored = checkpoints.restore_newest(like)
    assert restored is not None and restored.step == 2
    jax.tree.map(
        np.testing.assert_array_equal, jax.device_get(state), jax.device_get(restored.state)
    )
    again = steps(
        method, shape, other, meshes.state_sharding, state=restored.state, first=2, count=1
    )
    alike(alone("RDAE"), again)


def test_pmap_gives_the_numbers_of_jit():
    """A whole cGAN step, without batch normalisation: under pmap each device sees its share."""
    plain, shared = (
        cgan(
            RDAEConfig(width=4, growth=4, layers=1, blocks=1, depth=0, residual=False).build(),
            PatchGAN(PatchGANConfig(width=4, layers=1, norm="none")),
            SGD,
            SGD,
            axis_name=name,
        )
        for name in (None, pmap.AXIS)
    )
    shape, key = (8, 12, 8, 1), jax.random.key(1)
    state = jax.jit(plain.init)(jax.random.key(0), pair(shape))
    many, run = pmap.replicate(state, 8), pmap.pmapped(shared.step)
    one = jax.jit(plain.step, compiler_options=QUICK)
    for i in range(2):
        state, metrics = one(state, pair(shape, i), key)
        many, spread = run(many, pmap.split(pair(shape, i), 8), key)
    alike((state, metrics), jax.tree.map(lambda leaf: leaf[3], jax.device_get((many, spread))))


def test_large_leaves_are_split_along_their_largest_axis_and_small_ones_are_whole():
    mesh = meshes.make(8)
    shapes = {"kernel": (3, 3, 64, 256), "tall": (4096, 17), "odd": (3, 3, 9, 1001), "bias": (256,)}
    state = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    found = meshes.fully_sharded(mesh, state)
    shards = {name: found[name].shard_shape(shape) for name, shape in shapes.items()}
    assert shards == {
        "kernel": (3, 3, 64, 32),
        "tall": (512, 17),
        "odd": (3, 3, 9, 1001),
        "bias": (256,),
    }


def test_a_split_state_takes_an_eighth_of_each_device():
    method, shape = METHODS["RDAE"]
    like = jax.eval_shape(method.init, jax.random.key(0), pair(shape))
    kernels = [leaf for leaf in jax.tree.leaves(like) if leaf.ndim == 4 and leaf.size >= 8]
    assert len(kernels) > 12
    for leaf in kernels:
        (shard,) = jax.tree.leaves(SHARDED(meshes.make(8), [leaf]))
        parts = leaf.size / np.prod(shard.shard_shape(leaf.shape))
        assert parts == (8 if any(n % 8 == 0 for n in leaf.shape) else 1)


def test_images_must_divide_among_the_devices_of_space():
    step = jax.jit(partial(meshes.split_space, meshes.make(2, space=4)))
    with pytest.raises(UserError, match=r"images of 6 x 8 .* 4 devices"):
        step(jnp.zeros((2, 6, 8, 1)))


def test_only_rows_at_the_seams_travel_between_devices(monkeypatch):
    """As accelerators lower it. On CPU the blocked weight gradient gathers whole images."""
    monkeypatch.setattr(lax, "platform_dependent", lambda *args, default, **_: default(*args))
    method = regression(UNET.build(), SGD)
    shape = (2, 64, 48, 1)
    _, run, _ = placed(method, shape, meshes.make(1, space=2), meshes.state_sharding)
    text = run.as_text()
    assert not re.search(r"all-gather|all-to-all", text)
    sent = re.findall(r"= f32\[([\d,]+)\]\S* collective-permute(?:-start)?\(", text)
    assert sent
    for size in sent:
        images, rows, *_ = map(int, size.split(","))
        assert (images, rows) == (2, 1)
