"""medjax weights: published networks that losses and metrics compare images with."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from medjax.cli.common import NoOptions, bar, parse


@dataclasses.dataclass(frozen=True)
class Fetch:
    """Downloads published weights once, checks size and hash, and keeps them in medjax's folder.

    A download that breaks off goes on where it stopped when the same command is given again.
    Weights up to relu3_3 come with medjax; only deeper layers need this.

    Attributes:
      name: which network.
      layout: keras (59 MB, the Oxford network, needs h5py) or torchvision (553 MB, another
        training; nothing else needed).
      file: the published file, where you have it already: nothing is downloaded.
    """

    name: tyro.conf.Positional[Literal["vgg16"]]
    layout: Literal["keras", "torchvision"] = "keras"
    file: Path | None = None


def list_weights(args: Sequence[str]) -> int:
    from medjax.weights import vgg16

    parse(NoOptions, args, "medjax weights list")
    rows: list[tuple[vgg16.Source, str, int, str]] = [
        ("bundled", "to relu3_3", vgg16.BUNDLED.stat().st_size, "comes with medjax")
    ]
    for layout, remote in vgg16.REMOTES.items():
        path = vgg16.cached(layout)
        where = str(path) if path.is_file() else f"medjax weights fetch vgg16 --layout {layout}"
        rows.append((layout, "to relu5_3", remote.size, where))
    for name, layers, size, where in rows:
        licence = vgg16.LICENCES[name]
        megabytes = f"{size / 1e6:.0f}" if size > 1e7 else f"{size / 1e6:.1f}"
        sys.stdout.write(f"vgg16 {name}  {layers}, {megabytes} MB, {licence}\n    {where}\n")
    return 0


def fetch(args: Sequence[str]) -> int:
    from medjax.weights import vgg16

    chosen = parse(Fetch, args, "medjax weights fetch")
    with bar(f"fetching {chosen.name}") as progress:
        path = vgg16.fetch(chosen.layout, chosen.file, progress)
    sys.stdout.write(
        f"VGG16's {chosen.layout} weights are in {path}\n"
        f"next: medjax train EXPERIMENT with loss PerceptualSSIM(weights={chosen.layout!r})\n"
    )
    return 0
