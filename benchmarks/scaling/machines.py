"""What a gradient all-reduce costs on real networks: a model, not a measurement.

One all-reduce of B bytes a step over n chips. A ring sends 2 (n - 1) / n B through each chip's
links in 2 (n - 1) steps, each of which waits a latency. Within a node the bytes are first reduced
and scattered over its k chips, each share crosses the nodes by a ring or, where that is sooner, by
a tree of 2 log2(m) levels and 2 B / k bytes (as NCCL chooses between its two), and is gathered
again.
A torus does the same along one axis after the other, with both directions of every link at once.

Left out: other traffic, stragglers, the input, congestion, and the gap between a link's rate and
what programs reach of it (5 to 20 % for large messages). So true efficiency is lower.
"""

import dataclasses
import math

CHIPS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclasses.dataclass(frozen=True)
class Link:
    """Bytes/s that a chip sends while it receives as much, and seconds a step takes besides."""

    bandwidth: float
    latency: float


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Nodes of chips with a fast network, joined by a slower one.

    Attributes:
      name: to print.
      node: chips in a node.
      inside: between the chips of a node.
      outside: between nodes, a chip's share.
      tree: seconds a level of the tree between nodes takes.
    """

    name: str
    node: int
    inside: Link
    outside: Link
    tree: float

    def seconds(self, size: float, chips: int) -> float:
        """To all-reduce `size` bytes."""
        node = min(self.node, chips)
        nodes = math.ceil(chips / node)
        share = size / node
        ring = all_reduce(share, nodes, self.outside)
        tree = 2 * share / self.outside.bandwidth + 2 * math.ceil(math.log2(nodes)) * self.tree
        return all_reduce(size, node, self.inside) + min(ring, tree)


@dataclasses.dataclass(frozen=True)
class Torus:
    """Chips in a three-dimensional torus; `link` is one of a chip's six, one direction.

    Every axis takes a third of the bytes first, so all links work all the time.
    """

    name: str
    link: Link

    def seconds(self, size: float, chips: int) -> float:
        """To all-reduce `size` bytes."""
        both = Link(2 * self.link.bandwidth, self.link.latency)
        seconds, share = 0.0, size / 3
        for length in sides(chips):
            seconds += all_reduce(share, length, both)
            share /= length
        return seconds


def all_reduce(size: float, chips: int, link: Link) -> float:
    """Seconds of a ring: `chips - 1` steps to reduce and scatter, as many to gather."""
    steps = 2 * (chips - 1)
    return steps * (size / chips / link.bandwidth + link.latency)


def sides(chips: int) -> tuple[int, int, int]:
    """The sides of the most cubic torus of a power of two of chips, the longest first."""
    power = int(math.log2(chips))
    if chips != 2**power:
        raise ValueError(f"{chips} chips: a power of two is modelled")
    return (2 ** -(-power // 3), 2 ** -(-(power - 1) // 3), 2 ** (power // 3))


def efficiency(compute: float, communicate: float) -> tuple[float, float]:
    """The share of time spent computing, with no overlap and with all that can be hidden hidden."""
    return compute / (compute + communicate), compute / max(compute, communicate)


# NVLink 4: 900 GB/s a GPU, both directions together (NVIDIA H100 data sheet).
_NVLINK = 450e9
# One ConnectX-7 of 400 Gbit/s a GPU, NDR InfiniBand (NVIDIA DGX H100 user guide).
_NDR = 50e9
# Seconds a step of NCCL's ring (Simple) over NVLink and over a network, and a level of its tree:
# the constants by which NCCL itself chooses, hwLat in src/graph/tuning.cc of NVIDIA/nccl.
_NVLINK_STEP, _NET_STEP, _NET_LEVEL = 3.4e-6, 9.6e-6, 50e-6
# TPU v5p: 1,200 GB/s a chip, both directions of six links (Google Cloud, "TPU v5p"), a 3-D torus;
# about a microsecond a hop ("How to Scale Your Model", chapter on TPUs).
_ICI, _ICI_HOP = 100e9, 1e-6

MACHINES = (
    Cluster(
        "8 H100 a node: NVLink, InfiniBand",
        8,
        Link(_NVLINK, _NVLINK_STEP),
        Link(_NDR, _NET_STEP),
        _NET_LEVEL,
    ),
    Cluster(
        "1 H100 a node: InfiniBand",
        1,
        Link(_NVLINK, _NVLINK_STEP),
        Link(_NDR, _NET_STEP),
        _NET_LEVEL,
    ),
    Torus("TPU v5p: ICI torus", Link(_ICI, _ICI_HOP)),
)
