"""The field's networks in PyTorch, trained beside ours: the same pairs, the same time.

A peer gets the training pairs that its experiment gives our network, in the same order: made by the
task's `prepare`, under the same keys. It trains as long as our DDANet did under the same seed or,
without it, our slowest network. Both times count steps, waiting for data and making the pairs, and
neither counts starting and compiling; ours counts writing checkpoints too.
"""

import contextlib
import dataclasses
import importlib.util
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.ldct.suite import DDANET
from benchmarks.restoration.suites import Entry
from benchmarks.restoration.training import Network, cost, folder_of, planned
from medjax import run
from medjax.build import batches_of
from medjax.data import catalog
from medjax.experiment import Experiment, Schedule
from medjax.io.common import atomic
from medjax.models.cnn10 import CNN10Config
from medjax.models.redcnn import REDCNNConfig
from medjax.tasks.ldct import LowDoseCT
from medjax.train import rng

REDCNN, SAME_SIZE, CNN10 = (
    "RED-CNN (PyTorch)",
    "RED-CNN (PyTorch), our size and rates",
    "CNN10 (PyTorch)",
)
WEIGHTS = "weights.pt"


@dataclasses.dataclass(frozen=True)
class Peer:
    """One network in PyTorch.

    Attributes:
      entry: its row, and the experiment that gives pairs and layers.
      rate: constant learning rate; None follows the experiment's schedule over the time.
    """

    entry: Entry
    rate: float | None = None


# Rates: the paper's for RED-CNN, where ldct-benchmark's search found 0.96e-4; ldct-benchmark's.
PEERS = (
    Peer(Entry(REDCNN, "ldct_redcnn", {"network": REDCNNConfig()}), 1e-4),
    Peer(Entry(SAME_SIZE, "ldct_redcnn")),
    Peer(Entry(CNN10, "ldct_cnn10"), 1.6e-4),
)


def installed() -> bool:
    """Whether PyTorch is there."""
    return importlib.util.find_spec("torch") is not None


def budget(networks: Sequence[Network], seed: int) -> float | None:
    """Seconds that our DDANet trained under a seed, else our slowest; None without any."""
    own = [network for network in networks if network.seed == seed]
    ddanet = [network for network in own if network.entry.name == DDANET]
    spent = [network.cost["training_seconds"] for network in ddanet or own]
    return max((seconds for seconds in spent if seconds), default=None)


def trained_peer(peer: Peer, setting: str, seed: int, seconds: float, runs: Path) -> Network:
    """Trains a peer for so many seconds, or opens what the same call has trained before."""
    import torch

    from benchmarks.peers import torch_ldct

    experiment = planned(peer.entry, setting, seed, None)
    folder = folder_of(peer.entry, seed, runs)
    wanted = {"experiment": run.identity(experiment), "rate": peer.rate, "seconds": seconds}
    net = layers(experiment, seed)
    found = _kept(folder / WEIGHTS, wanted)
    if found is None:
        sys.stderr.write(f"{peer.entry.name}, seed {seed}: {seconds:.1f} s\n")
        effort = torch_ldct.fit(
            net, pairs(experiment), seconds, _rate(peer.rate, experiment.schedule)
        )
        spent = {
            "images_per_second": effort.steps * experiment.data.batch / effort.seconds,
            "training_seconds": effort.seconds,
            "training_steps": effort.steps,
            "making_pairs_seconds": effort.making,
            "device": str(torch_ldct.device()),
            "torch": {"version": torch_ldct.VERSION, "threads": torch.get_num_threads()},
        }
        found = {"wanted": wanted, "spent": spent, "weights": net.state_dict()}
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(folder / WEIGHTS) as temporary:
            torch.save(found, temporary)
    net.to(torch_ldct.device()).load_state_dict(found["weights"])
    assert isinstance(experiment.task, LowDoseCT)
    restore = partial(torch_ldct.restore, net, window=experiment.task.window)
    return Network(peer.entry, seed, experiment, restore, cost(experiment, found["spent"]))


def layers(experiment: Experiment, seed: int) -> Any:
    """The experiment's network in PyTorch, with PyTorch's own first weights."""
    import torch

    from benchmarks.peers import torch_ldct

    config = experiment.network
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if isinstance(config, REDCNNConfig):
            return torch_ldct.REDCNN(config.width)
        assert isinstance(config, CNN10Config)
        return torch_ldct.cnn10()


def pairs(experiment: Experiment) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Noisy and clean patches `[batch, 1, y, x]`, as the experiment's own training sees them.

    Step after step, without end. The noise level, which these networks are not shown, is left out.
    """
    task, root = experiment.task, rng.root(experiment.seed, "train")

    @jax.jit
    def prepare(raw: dict[str, jax.Array], step: jax.Array) -> tuple[jax.Array, jax.Array]:
        key, _ = jax.random.split(jax.random.fold_in(root, step))
        degraded, clean = task.prepare(raw, key)
        return degraded[..., 0][:, None], clean[..., 0][:, None]

    records = catalog.load(experiment.data.name).split("train")
    with contextlib.closing(batches_of(experiment, records)) as batches:
        for step in itertools.count():
            noisy, clean = prepare(next(batches), np.int32(step))
            yield np.array(noisy), np.array(clean)


def told(peers: Sequence[Network]) -> list[str]:
    """One sentence on the effort of each."""
    return [
        f"{peer.entry.name}, seed {peer.seed}: {peer.cost['training_steps']} steps in "
        f"{peer.cost['training_seconds']:.1f} s, {peer.cost['making_pairs_seconds']:.1f} s of them "
        f"making the pairs; PyTorch {peer.cost['torch']['version']} on {peer.cost['device']}, "
        f"{peer.cost['torch']['threads']} threads"
        for peer in peers
    ]


def kept(peers: Sequence[Network]) -> list[dict[str, Any]]:
    """The same and what each net costs, for JSON."""
    return [{"row": peer.entry.name, "seed": peer.seed, **peer.cost} for peer in peers]


def _kept(path: Path, wanted: dict[str, Any]) -> dict[str, Any] | None:
    """What `trained_peer` saved for the same experiment, rate and time."""
    import torch

    if not path.is_file():
        return None
    found = torch.load(path, map_location="cpu")
    return found if found["wanted"] == wanted else None


def _rate(constant: float | None, schedule: Schedule) -> Callable[[float], float]:
    if constant is not None:
        return lambda share: constant
    peak, end = schedule.peak, schedule.end
    return lambda share: end + (peak - end) * (1 + math.cos(math.pi * share)) / 2
