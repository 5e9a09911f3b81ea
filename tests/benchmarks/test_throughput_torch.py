"""PyTorch's networks and steps: ours number by number, from the same weights."""

import functools
import signal
import time

import jax
import numpy as np
import pytest

from benchmarks.throughput.measure import tolerance
from benchmarks.throughput.ours import Ours, weights
from benchmarks.throughput.suite import Row, Work, work
from medjax.losses.config import L1
from medjax.methods.config import CGAN, VAE, WGAN, Regression
from medjax.models.attention_net import AttentionNetConfig
from medjax.models.autoencoder import AutoencoderConfig
from medjax.models.critic import CriticConfig
from medjax.models.cvae import CVAEConfig
from medjax.models.patchgan import PatchGANConfig
from medjax.models.plain_cnn import PlainCNNConfig
from medjax.models.rdae import RDAEConfig
from medjax.models.redcnn import REDCNNConfig
from medjax.models.unet import UNetConfig
from medjax.models.vae import VAEConfig

torch = pytest.importorskip("torch")

from benchmarks.peers.torch_weights import back, image  # noqa: E402
from benchmarks.throughput import beside  # noqa: E402

CARELESS = {"xla_backend_optimization_level": 0}
quick = functools.partial(jax.jit, compiler_options=CARELESS)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small nets only wait for each other, on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(experiment: str, network, shape: tuple[int, ...], method=None) -> Work:
    change = {"network": network, "loss": L1(), "method": method or Regression()}
    return work(Row("tiny", experiment, lambda _: change), "cpu", shape=shape, batch=2)


@pytest.mark.parametrize(
    "given",
    [
        ("ldct_cgan", UNetConfig(width=3, depth=2, full_resolution_blocks=1), (13, 14)),
        ("inpainting_volume_cgan", UNetConfig(width=2, depth=1, upsample="nearest"), (12, 12, 14)),
        ("fmri_cgan4d", UNetConfig(width=2, depth=1, convs_per_level=1), (6, 6, 8, 6)),
        ("ldct_rdae", RDAEConfig(width=3, growth=2, layers=2, blocks=2, depth=1), (8, 6)),
        ("ldct_autoencoder", AutoencoderConfig(width=3, depth=1), (8, 6)),
        ("ldct_cgan", AttentionNetConfig(width=4, depth=1), (8, 6)),
        ("ldct_redcnn", REDCNNConfig(width=3), (23, 21)),
    ],
    ids=["U-Net 2-D", "U-Net 3-D", "U-Net 4-D", "RDAE", "autoencoder", "attention", "RED-CNN"],
)
def test_a_network_restores_and_learns_as_ours(given):
    """Restored images, and the gradient by every weight of one L1 step, by its norm."""
    made = tiny(*given)
    net = made.experiment.network.build()
    shapes = jax.eval_shape(net.init, jax.random.key(0), made.degraded)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, like: weights(jax.tree_util.keystr(path), like, 0), shapes
    )
    degraded, clean = jax.device_get(made.batch())
    statistics = {k: v for k, v in variables.items() if k != "params"}

    def loss(params):
        out, _ = net.apply(
            {"params": params, **statistics}, degraded, train=True, mutable=["batch_stats"]
        )
        return abs(out - clean).mean()

    restored, slopes = quick(
        lambda: (net.apply(variables, degraded), jax.grad(loss)(variables["params"]))
    )()
    peer, mirrored = beside.network(made, variables)
    shown, wanted = (image(x, mirrored=mirrored) for x in (degraded, clean))
    with torch.no_grad():
        got = back(peer.eval()(shown), mirrored=mirrored)
    np.testing.assert_allclose(got, restored, atol=1e-5 * np.abs(restored).max())
    (peer.train()(shown) - wanted).abs().mean().backward()
    norms = sorted(float(p.grad.norm()) for p in peer.parameters())
    ours = sorted(float(np.linalg.norm(np.ravel(s))) for s in jax.tree.leaves(slopes))
    np.testing.assert_allclose(norms, ours, rtol=1e-3, atol=1e-5 * max(ours))


@pytest.mark.parametrize(
    "given",
    [
        (
            "ldct_cgan",
            UNetConfig(width=2, depth=1, convs_per_level=1),
            (12, 16),
            CGAN(discriminator=PatchGANConfig(width=2, layers=1)),
        ),
        (
            "ldct_wgan_vgg",
            PlainCNNConfig(width=2, layers=2),
            (8, 8),
            WGAN(critic=CriticConfig(width=2, stages=1, dense=5), critic_updates=2),
        ),
        ("fundus_vae", CVAEConfig(width=2, depth=1, latent=3), (8, 6), VAE()),
        ("fundus_vae", VAEConfig(width=2, depth=1, latent=3), (8, 6), VAE()),
    ],
    ids=["cGAN", "WGAN", "CVAE", "VAE"],
)
def test_a_step_of_a_method_is_ours(given):
    """All metrics of the first step in all ways that run here, and the images before it."""
    made = tiny(*given)
    ours = Ours(made, compiler=CARELESS)
    first = ours.first()
    found = list(beside.variants(made, ours, first, compiled=False))
    assert [v.name for v in found] == ["eager, contiguous", "eager, channels last"]
    for variant in found:
        assert isinstance(variant, beside.Variant)
        assert variant.difference < tolerance("float32", "cpu")
        assert variant.train(1) > 0 and variant.restore(1) > 0 and ours.train(1) > 0
    # A comparison that can fail: with one weight changed it does.
    wrong = (first[0] | {"loss": first[0]["loss"] * 1.01}, first[1])
    changed = next(beside.variants(made, ours, wrong, compiled=False))
    assert isinstance(changed, beside.Variant)
    assert changed.difference > tolerance("float32", "cpu")


def test_what_takes_too_long_is_left_out_and_said():
    made = tiny("ldct_cgan", UNetConfig(width=2, depth=1), (8, 8))
    ours = Ours(made, compiler=CARELESS)
    late = time.monotonic() - 1
    found = list(beside.variants(made, ours, ours.first(), compiled=False, until=late))
    assert found == [
        beside.Left(name, "not compiled in time")
        for name in ("eager, contiguous", "eager, channels last")
    ]
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_settings_that_have_no_peer_are_said():
    made = tiny("ldct_cgan", UNetConfig(width=2, depth=1, attention="gate"), (8, 8))
    ours = Ours(made, compiler=CARELESS)
    (left,) = beside.variants(made, ours, ours.first(), compiled=False)
    assert left == beside.Left("PyTorch", "the peer is a U-Net of plain levels and skips")


def test_weights_must_be_complete_and_fit():
    made = tiny("ldct_cnn10", PlainCNNConfig(width=2, layers=2), (8, 8))
    params = {
        "Conv_0": {"kernel": np.zeros((3, 3, 1, 2)), "bias": np.zeros(2)},
        "Conv_1": {"kernel": np.zeros((3, 3, 2, 1))},
    }
    with pytest.raises(ValueError, match=r"without a value: .*Conv_1\.bias"):
        beside.network(made, {"params": params})
    params["Conv_1"]["kernel"] = np.zeros((3, 3, 1, 1))
    with pytest.raises(ValueError, match=r"Conv_1\.kernel"):
        beside.network(made, {"params": params})


def test_rows_without_a_peer_say_so():
    from benchmarks.throughput.suite import BY_NAME

    assert "DDANet" in (beside.reason_against(work(BY_NAME["ddanet"], "cpu")) or "")
    assert beside.reason_against(work(BY_NAME["cvae"], "cpu")) is None
