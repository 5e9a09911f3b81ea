"""Who is compared: the input, the filters in use today, the networks of published experiments."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from benchmarks.ldct.chest import Given
from benchmarks.restoration.measuring import CASE_SEED
from benchmarks.restoration.suites import Entry
from benchmarks.restoration.training import Network, sees_rays
from medjax.baselines.filters import OPTIONAL, Baseline, named
from medjax.data import catalog, samples
from medjax.evaluate import tuned
from medjax.metrics.column import Kind
from medjax.physics.ct import ParallelBeam
from medjax.tasks.ldct import LowDoseCT
from medjax.tasks.ldct_projections import LowDoseProjections

DDANET, LOWEST, TWIN = "DDANet", "DDANet of the lowest doses", "image-only twin"
ENTRIES = (
    Entry("CNN10", "ldct_cnn10"),
    Entry("RED-CNN", "ldct_redcnn"),
    Entry("RDAE", "ldct_rdae"),
    Entry("cGAN", "ldct_cgan"),
    Entry("WGAN-VGG", "ldct_wgan_vgg"),
    Entry(DDANET, "ldct_ddanet"),
    Entry(LOWEST, "ldct_ddanet_lowest_dose"),
    Entry(TWIN, "ldct_ddanet_image"),
)
FILTERS = ("median 3", "median 5", "bilateral", "TV", "NLM", "BM3D")
# The row of a network that could have had projections and is given the image only.
ALONE = ", image alone"


class Contender(NamedTuple):
    """One row: `restore` takes what was scanned to HU, [y, x]."""

    name: str
    kind: Kind
    seed: int | None
    restore: Callable[[Given], Float32[np.ndarray, "y x"]]


def untouched(name: str, kind: Kind) -> Contender:
    """The reconstruction itself."""
    return Contender(name, kind, None, lambda given: given.case.degraded)


def installed(names: Sequence[str]) -> list[str]:
    """Those filters whose packages are there."""
    return [name for name in names if name not in OPTIONAL or OPTIONAL[name]()]


def classical(names: Sequence[str], task: LowDoseCT) -> list[Contender]:
    """The filters, told the true noise level and tuned on the scans that the networks learn on.

    Args:
      names: keys of `medjax.baselines.filters.FILTERS`.
      task: at the dose, and with the scanner and the window, that is judged.
    """
    filters = [_spectrum(baseline, task) for baseline in named(names, task.display)]
    if any(baseline.grid for baseline in filters):
        training = catalog.load(samples.NAME).split("train")[:2]
        filters = tuned(filters, task, training, CASE_SEED - 1)
    return [
        Contender(baseline.name, "classical", None, functools.partial(_run, baseline))
        for baseline in filters
    ]


def with_images_alone(networks: Sequence[Network], size: int, views: int) -> list[Network]:
    """The networks by the rows that they have on square slices of this size.

    One that takes projections, and whose scanner is the one that slices are judged on, has two
    rows, with the measured projections and without; with another scanner only the latter.
    """
    rows = []
    for network in networks:
        if sees_rays(network):
            if _same_scanner(network, size, views):
                rows.append(network)
            network = network._replace(
                entry=dataclasses.replace(network.entry, name=network.entry.name + ALONE)
            )
        rows.append(network)
    return rows


def network_rows(networks: Sequence[Network]) -> list[Contender]:
    """One contender for each of `with_images_alone`."""
    return [
        Contender(network.entry.name, "network", network.seed, functools.partial(_restore, network))
        for network in networks
    ]


def _restore(network: Network, given: Given) -> Float32[np.ndarray, "y x"]:
    measured = sees_rays(network) and not network.entry.name.endswith(ALONE)
    return network.restore(given.rays if measured else given.case.degraded)


def _run(baseline: Baseline, given: Given) -> Float32[np.ndarray, "y x"]:
    return baseline.run(given.case.degraded, given.case.noise_std)


def _spectrum(baseline: Baseline, task: LowDoseCT) -> Baseline:
    """BM3D is told the spectrum of the noise."""
    return baseline.with_parameters(noise=task.filter) if baseline.name == "BM3D" else baseline


def _same_scanner(network: Network, size: int, views: int) -> bool:
    task = network.experiment.task
    assert isinstance(task, LowDoseProjections)
    geometry = task.whole(size)
    return geometry == ParallelBeam.for_image(size, geometry.pixel_mm, views)
