"""Operations counted from programs: against counts by hand, against XLA's own, against algebra."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from benchmarks.throughput import analytic
from benchmarks.throughput.flops import count
from benchmarks.throughput.suite import ROWS, Row, work
from medjax.build import method_of
from medjax.losses.config import L1
from medjax.methods.base import Pair
from medjax.methods.config import CGAN, VAE, WGAN
from medjax.models.autoencoder import AutoencoderConfig
from medjax.models.critic import CriticConfig
from medjax.models.cvae import CVAEConfig
from medjax.models.patchgan import PatchGANConfig
from medjax.models.plain_cnn import PlainCNNConfig
from medjax.models.redcnn import REDCNNConfig
from medjax.models.unet import UNetConfig
from medjax.nn.conv import conv
from medjax.nn.geometry import Geometry, explicit_padding
from medjax.nn.onednn import Problem


def array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def convolved(x, kernel, **more):
    more = {"window_strides": (1,), "padding": [(0, 0)], **more}
    return lax.conv_general_dilated(x, kernel, dimension_numbers=("NWC", "WIO", "NWC"), **more)


@pytest.mark.parametrize(
    ("more", "channels", "meetings"),
    [
        ({}, 4, 3 * 6),
        # Three taps at eight places, the outermost two of which hang over an end.
        ({"padding": [(1, 1)]}, 4, 3 * 8 - 2),
        # Places 0, 2, 4, 6 with a zero before the first: taps -1 0 1, 1 2 3, 3 4 5, 5 6 7.
        ({"padding": [(1, 1)], "window_strides": (2,)}, 4, 3 * 4 - 1),
        ({"feature_group_count": 2}, 2, 3 * 6),
        # Samples at 0, 2 ... 14: places 0 to 12 see two of them, or one.
        ({"lhs_dilation": (2,)}, 4, 7 * 2 + 6 * 1),
        ({"rhs_dilation": (3,)}, 4, 3 * 2),
    ],
    ids=["plain", "padded", "strided", "grouped", "transposed", "dilated"],
)
def test_a_convolution_by_hand(more, channels, meetings):
    """Batch 2, 8 samples, 4 channels to 6 features, 3 taps."""
    found = count(functools.partial(convolved, **more), array(2, 8, 4), array(3, channels, 6))
    assert found.flops == {"conv_general_dilated": 2 * 2 * channels * 6 * meetings}


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (lambda a, b: jnp.einsum("bij,bjk->bik", a, b), (array(3, 4, 5), array(3, 5, 7))),
        (conv, (array(2, 8, 9, 4), array(3, 3, 4, 6))),
        (functools.partial(conv, strides=2), (array(2, 8, 9, 4), array(5, 3, 4, 6))),
    ],
    ids=["matmul", "conv", "strided conv"],
)
def test_xla_counts_the_same(function, args):
    cost = jax.jit(function).lower(*args).compile().cost_analysis()
    assert count(function, *args).total == pytest.approx(cost["flops"], rel=1e-3)


@pytest.mark.parametrize(
    ("space", "window", "stride"),
    [((9,), (4,), 1), ((9, 8), (3, 3), 2), ((5, 6, 7), (3, 1, 2), 1)],
)
def test_a_librarys_convolution_counts_as_xlas(space, window, stride):
    n = len(space)
    steps, ones = (stride,) * n, (1,) * n
    geometry = Geometry(steps, explicit_padding("SAME", space, window, steps, ones), ones)
    x, kernel = array(2, *space, 4), array(*window, 4, 6)
    dy = array(2, *geometry.out_space(space, window), 6)
    axes = "XYZ"[:n]

    def stock(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            geometry.strides,
            geometry.pads,
            dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        )

    expected = count(stock, x, kernel).total
    assert count(Problem.forward(x, kernel, geometry).run, x, kernel).total == expected
    by_input = Problem.input_gradient(dy, kernel, geometry, space)
    assert count(by_input.run, dy, kernel).total == expected
    by_kernel = Problem.weight_gradient(x, dy, geometry, window)
    assert count(by_kernel.run, x, dy).total == expected
    assert Problem.read(by_kernel.numbers) == by_kernel


def test_loops_branches_and_calls():
    def body(x, _):
        return x @ x, None

    def program(x, flag):
        x, _ = lax.scan(body, x, None, length=5)
        x = lax.cond(flag, lambda x: x @ x @ x, lambda x: x @ x, x)
        x = jax.checkpoint(jax.jit(lambda x: x @ x))(x)
        _unused = x @ x @ x
        return lax.fori_loop(0, 3, lambda _, x: x @ x, x)

    found = count(program, array(4, 4), True)
    assert found.flops == {"dot_general": (5 + 2 + 1 + 3) * 2 * 4**3} and not found.named


def test_what_cannot_be_counted_is_named():
    def program(x):
        x = lax.while_loop(lambda x: x.sum() < 9, lambda x: x @ x, x)
        # A loop without products is none to tell of.
        x = lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x)
        return jnp.fft.fft(x), lax.scan(lambda c, _: (jnp.linalg.cholesky(c), None), x, length=3)

    assert count(program, array(4, 4)).named == {"while": 1, "fft": 1, "cholesky": 3}


def test_a_platform_has_its_own_branch():
    def program(x):
        return lax.platform_dependent(x, cpu=lambda x: x @ x @ x, default=lambda x: x @ x)

    one = 2 * 4**3
    assert count(program, array(4, 4)).total == one
    assert count(program, array(4, 4), platform="tpu").total == one
    assert count(program, array(4, 4), platform="cpu").total == 2 * one


def test_a_small_network_by_hand():
    """1 -> 3 -> 3 -> 1 channels, 3x3 taps on 4x4 samples: 100 of 144 meetings hit a sample."""
    row = Row("tiny", "ldct_cnn10", lambda _: {"network": PlainCNNConfig(width=3, layers=3)})
    tiny = work(row, "cpu", shape=(4, 4), batch=2)
    network, method = tiny.experiment.network.build(), tiny.experiment.method
    found = analytic.step(network, method, tiny.degraded, tiny.clean)
    first, second, last = (2 * 100 * n for n in (3, 9, 3))
    assert found.inference == 2 * (first + second + last)
    assert found.training == 2 * (2 * first + 3 * second + 3 * last)
    assert found.padded_training * 100 == found.training * 144


def tiny(experiment: str, network, shape: tuple[int, ...], method=None):
    change = {"network": network, "loss": L1(), **({"method": method} if method else {})}
    return work(Row("tiny", experiment, lambda _: change), "cpu", shape=shape, batch=2)


@pytest.mark.parametrize(
    "made",
    [
        lambda: tiny("ldct_redcnn", REDCNNConfig(width=2), (22, 24)),
        lambda: tiny("ldct_autoencoder", AutoencoderConfig(width=2, depth=1), (8, 6)),
        lambda: tiny("fmri_cgan4d", UNetConfig(width=2, depth=1), (6, 6, 6, 6)),
        lambda: tiny(
            "ldct_cgan",
            UNetConfig(width=2, depth=1),
            (16, 12),
            CGAN(discriminator=PatchGANConfig(width=2, layers=1)),
        ),
        lambda: tiny(
            "ldct_wgan_vgg",
            PlainCNNConfig(width=2, layers=2),
            (8, 8),
            WGAN(critic=CriticConfig(width=2, stages=1, dense=5), critic_updates=3),
        ),
        lambda: tiny("fundus_vae", CVAEConfig(width=2, depth=1), (8, 8), VAE()),
    ],
    ids=["RED-CNN", "autoencoder", "4-D cGAN", "cGAN", "WGAN", "CVAE"],
)
def test_the_program_does_what_the_algebra_asks_for(made):
    given = made()
    method = method_of(given.experiment)
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = Pair(given.degraded, given.clean)
    state = jax.eval_shape(method.init, key, batch)
    network = given.experiment.network.build()
    wanted = analytic.step(network, given.experiment.method, given.degraded, given.clean)
    # Beyond the ends of the leading axis the 4-D discriminator multiplies a few more zeros.
    allowed = 0.05 if len(given.degraded.shape) == 6 else 1e-9
    step = count(method.step, state, batch, key)
    assert step.total == pytest.approx(wanted.training, rel=allowed)
    assert count(method.restore, state, given.degraded).total == wanted.inference


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_does(row):
    """In both settings; DDANet's backprojection is no product and is named."""
    from benchmarks.throughput.measure import OPERATIONS_AGREE, counted

    for setting in ("cpu", "full"):
        found = counted(work(row, setting))
        assert found["agree"], found["disagreement"]
        assert found["disagreement"] <= OPERATIONS_AGREE
        assert set(found["uncounted"]) == ({"fft"} if row.name == "ddanet" else set())
