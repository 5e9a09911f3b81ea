"""Named streams, learning rates and where arrays lie."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import UserError
from medjax.train import mesh, rng, schedule


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_streams_differ_by_seed_name_and_step():
    keys = {
        bits(rng.stream(seed, name, step))
        for seed in (0, 1, 2**31)
        for name in ("train", "init", "augment")
        for step in (0, 1, 10**6)
    }
    assert len(keys) == 27


def test_stream_takes_a_traced_step():
    traced = jax.jit(lambda step: rng.stream(4, "train", step))(jnp.int32(17))
    assert bits(traced) == bits(rng.stream(4, "train", 17))


def test_stream_is_the_fold_of_crc32_and_step():
    # CRC-32 of "123456789" is the check value of the standard, 0xCBF43926.
    folded = jax.random.fold_in(jax.random.key(4), jnp.uint32(0xCBF43926))
    assert bits(rng.stream(4, "123456789", 3)) == bits(jax.random.fold_in(folded, 3))


def test_cosine_runs_from_peak_to_end():
    rate = schedule.cosine(100)
    assert float(rate(0)) == pytest.approx(2e-4, rel=1e-6)
    assert float(rate(50)) == pytest.approx((2e-4 + 2e-6) / 2, rel=1e-5)
    assert float(rate(100)) == pytest.approx(2e-6, rel=1e-5)
    assert float(rate(1000)) == pytest.approx(2e-6, rel=1e-5)


def test_cosine_warms_up_from_zero():
    rate = schedule.cosine(110, warmup=10)
    found = [float(rate(step)) for step in (0, 5, 10, 60, 110)]
    assert found == pytest.approx([0, 1e-4, 2e-4, 1.01e-4, 2e-6], rel=1e-5)


def test_cosine_restarts_every_period():
    rate = schedule.cosine_restarts(10, peak=1.0, end=0.5)
    expected = [0.5 + 0.25 * (1 + np.cos(np.pi * (step % 10) / 10)) for step in range(25)]
    np.testing.assert_allclose([rate(step) for step in range(25)], expected, rtol=1e-6)


def test_schedules_refuse_nonsense():
    with pytest.raises(ValueError, match="warmup"):
        schedule.cosine(10, warmup=10)
    with pytest.raises(ValueError, match="end"):
        schedule.cosine(10, peak=1e-6, end=1e-4)
    with pytest.raises(ValueError, match="period"):
        schedule.cosine_restarts(0)


def test_mesh_takes_all_devices():
    assert dict(mesh.make().shape) == {"data": 8, "space": 1}
    assert dict(mesh.make(space=2).shape) == {"data": 4, "space": 2}
    assert dict(mesh.make(1).shape) == {"data": 1, "space": 1}


def test_mesh_wants_no_more_devices_than_there_are():
    with pytest.raises(UserError, match="JAX finds 8"):
        mesh.make(9)
    with pytest.raises(UserError, match="space=3"):
        mesh.make(4, space=3)


def test_batches_are_split_over_data_and_space():
    placed = mesh.make(4, space=2)
    batch = {"image": np.zeros((8, 6, 5, 1), np.float32), "index": np.arange(8)}
    moved = mesh.put(batch, mesh.batch_sharding(placed, batch))
    assert {shard.data.shape for shard in moved["image"].addressable_shards} == {(2, 3, 5, 1)}
    assert {shard.data.shape for shard in moved["index"].addressable_shards} == {(2,)}
    np.testing.assert_array_equal(moved["index"], np.arange(8))


def test_batches_that_do_not_divide_are_named():
    with pytest.raises(UserError, match=r"'image'.*batch size 6.*8 devices"):
        mesh.batch_sharding(mesh.make(), {"image": np.zeros((6, 4, 4, 1))})


def test_what_does_not_divide_by_space_is_split_by_batch_only():
    found = mesh.batch_sharding(mesh.make(4, space=2), {"image": np.zeros((4, 5, 4, 1))})
    assert found["image"].shard_shape((4, 5, 4, 1)) == (1, 5, 4, 1)


def test_put_copies_because_loaders_reuse_buffers():
    placed = mesh.make(1)
    # JAX takes over memory without a copy where it lies on a multiple of 64 bytes.
    memory = np.zeros(2 * 256 * 256 + 16, np.float32)
    start = (-memory.ctypes.data % 64) // 4
    image = memory[start : start + 2 * 256 * 256].reshape(2, 256, 256, 1)
    assert image.ctypes.data % 64 == 0
    moved = mesh.put({"image": image}, mesh.batch_sharding(placed, {"image": image}))
    jax.block_until_ready(moved)
    image[:] = 1
    assert not np.asarray(moved["image"]).any()


@pytest.mark.slow
def test_streams_are_the_same_in_another_process():
    code = (
        "import jax; from medjax.train import rng;"
        "print(jax.random.key_data(rng.stream(7, 'augment', 11)).tolist())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1", "JAX_PLATFORMS": "cpu"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == str(list(bits(rng.stream(7, "augment", 11))))
