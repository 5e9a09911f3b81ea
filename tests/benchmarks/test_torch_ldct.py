"""The field's networks in PyTorch: ours layer for layer, and a clock that is kept."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.ldct import peers, suite
from benchmarks.restoration.suites import Entry
from benchmarks.restoration.training import Network, planned
from medjax.experiment import Data
from medjax.models.redcnn import REDCNNConfig

torch = pytest.importorskip("torch")

from benchmarks.peers import torch_ldct  # noqa: E402

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
WINDOW = (-160.0, 240.0)


def from_torch(layer, transposed: bool) -> dict[str, jax.Array]:
    """A PyTorch layer's weights in the layout of ours; a transposed kernel is flipped."""
    weight = layer.weight.detach().numpy()
    kernel = (
        weight.transpose(2, 3, 0, 1)[::-1, ::-1] if transposed else weight.transpose(2, 3, 1, 0)
    )
    return {"kernel": jnp.asarray(kernel.copy()), "bias": jnp.asarray(layer.bias.detach().numpy())}


@pytest.mark.parametrize(
    "entry",
    [Entry("RED-CNN", "ldct_redcnn", {"network": REDCNNConfig(width=3)}), peers.PEERS[-1].entry],
    ids=lambda entry: entry.name,
)
def test_a_peer_is_our_network_with_the_same_weights(entry):
    """On a slice in HU, whole; ours through its own layers in the experiment's window."""
    experiment = planned(entry, "cpu", 0, None)
    net = peers.layers(experiment, seed=3)
    params = {}
    for kind, name in ((torch.nn.Conv2d, "Conv"), (torch.nn.ConvTranspose2d, "ConvTranspose")):
        found = [layer for layer in net.modules() if type(layer) is kind]
        params |= {
            f"{name}_{i}": from_torch(layer, name != "Conv") for i, layer in enumerate(found)
        }
    image = np.random.default_rng(0).uniform(-200, 300, (27, 31)).astype(np.float32)
    # As what JAX made is.
    image.flags.writeable = False
    got = torch_ldct.restore(net, image, WINDOW)
    x = (image[None, ..., None] + 160) / 400
    want = quick(experiment.network.build().apply)({"params": params}, x)
    np.testing.assert_allclose(got, want[0, ..., 0] * 400 - 160, atol=0.02)
    again = peers.layers(experiment, seed=3).state_dict()
    assert all((again[name] == value).all() for name, value in net.state_dict().items())


def test_the_published_red_cnn_is_the_default():
    entry = next(peer.entry for peer in peers.PEERS if peer.entry.name == peers.REDCNN)
    net = peers.layers(planned(entry, "cpu", 0, None), 0)
    assert sum(p.numel() for p in net.parameters()) == 1_848_865


@pytest.fixture(autouse=True)
def one_thread():
    """Threads of so small nets only wait for each other, on a busy machine for long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Clock:
    """Seconds that pass only when somebody says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """A step takes one second, a pair a quarter."""
    clock, step = Clock(), torch_ldct._step

    def slow(*args):
        clock.now += 1
        step(*args)

    monkeypatch.setattr(torch_ldct, "_step", slow)
    monkeypatch.setattr(torch_ldct.time, "perf_counter", clock)
    return clock


def pairs(clock=None):
    """Patches to be halved."""
    rng = np.random.default_rng(1)
    for _ in itertools.count():
        if clock is not None:
            clock.now += 0.25
        clean = rng.normal(size=(2, 1, 24, 24)).astype(np.float32)
        yield 2 * clean, clean


def test_training_ends_with_its_time_and_counts_the_making_of_pairs(clock):
    """The first pair and the trial of layouts come before the clock starts."""
    shares = []
    effort = torch_ldct.fit(
        torch.nn.Conv2d(1, 1, 1), pairs(clock), 4.0, lambda share: shares.append(share) or 1e-3
    )
    assert effort == torch_ldct.Effort(steps=4, seconds=4.75, making=0.75)
    assert shares == [0.0, 1 / 4, 2.25 / 4, 3.5 / 4]


def test_training_finds_what_halves(clock):
    net = torch.nn.Conv2d(1, 1, 1)
    torch_ldct.fit(net, pairs(), 100.0, lambda share: 0.1 * (1 - share))
    weight, bias = (float(p.detach()) for p in net.parameters())
    assert weight == pytest.approx(0.5, abs=0.01) and bias == pytest.approx(0, abs=0.01)
    image = np.full((5, 5), 240.0, np.float32)
    np.testing.assert_allclose(torch_ldct.restore(net, image, (-160.0, 240.0)), 40.0, atol=5)


def spent(name: str, seed: int, seconds: float | None) -> Network:
    entry = Entry(name, "ldct_redcnn")
    cost = {"training_seconds": seconds}
    return Network(entry, seed, planned(entry, "cpu", seed, None), lambda x: x, cost)


def test_peers_get_the_time_of_ddanet_under_their_seed_else_of_the_slowest():
    ours = [spent("A", 0, 9.0), spent(suite.DDANET, 0, 5.0), spent("A", 1, 3.0), spent("B", 1, 4.0)]
    assert [peers.budget(ours, seed) for seed in (0, 1, 2)] == [5.0, 4.0, None]
    assert peers.budget([spent("A", 0, None)], 0) is None


def test_a_peer_that_was_trained_is_opened(tmp_path, monkeypatch):
    change = {"network": REDCNNConfig(width=2), "data": Data(name="ct_samples", patch=24, batch=1)}
    peer = peers.Peer(Entry("RED-CNN (PyTorch)", "ldct_redcnn", change))
    monkeypatch.setattr(peers, "pairs", lambda experiment: pairs())
    image = np.full((30, 30), 40.0, np.float32)
    calls, fit = [], torch_ldct.fit
    monkeypatch.setattr(torch_ldct, "fit", lambda *args: calls.append(args[2]) or fit(*args))
    first, second = (peers.trained_peer(peer, "cpu", 0, 0.05, tmp_path) for _ in range(2))
    # To rounding: what is opened may lie otherwise in memory.
    np.testing.assert_allclose(first.restore(image), second.restore(image), atol=1e-2)
    assert first.cost == second.cost and first.cost["training_seconds"] >= 0.05
    assert first.cost["parameters"] == sum(
        p.numel() for p in peers.layers(first.experiment, 0).parameters()
    )
    assert calls == [0.05]
    peers.trained_peer(peer, "cpu", 0, 0.06, tmp_path)
    assert calls == [0.05, 0.06]
