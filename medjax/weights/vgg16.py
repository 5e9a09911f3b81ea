"""VGG16's weights: those that come with medjax, and the two published files that hold all layers.

Both files are turned into one .npz of the 13 convolutions (kernels `[3, 3, in, out]`, red first,
float32) under `$MEDJAX_HOME/weights`; what was downloaded is removed then.
"""

import functools
import importlib.util
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from medjax.errors import UserError
from medjax.models.vgg import CONVOLUTIONS, ConvWeights, VGGWeights, check_layers
from medjax.weights.download import Progress, Remote, download, verify
from medjax.weights.torch_file import read_state_dict

Layout = Literal["keras", "torchvision"]
Source = Literal["bundled", "keras", "torchvision"]

BUNDLED = Path(__file__).parent / "files" / "vgg16_to_relu3_3.npz"

REMOTES: dict[Layout, Remote] = {
    "keras": Remote(
        "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        58_889_256,
        "md5",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "torchvision": Remote(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        553_433_881,
        "sha256",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
}
LICENCES: dict[Source, str] = {
    "bundled": "CC BY 4.0 (Oxford VGG)",
    "keras": "CC BY 4.0 (Oxford VGG)",
    "torchvision": "BSD 3-Clause (torchvision)",
}
# Keras's convolutions inside torchvision's `features`, where maxima and ReLUs are counted too.
_TORCH_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


class _Input(NamedTuple):
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# Oxford's network takes 0..255 less the mean colour, torchvision's ImageNet's mean and deviation.
_OXFORD = _Input((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255))
_INPUTS: dict[Source, _Input] = {
    "bundled": _OXFORD,
    "keras": _OXFORD,
    "torchvision": _Input((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def load(source: Source = "bundled") -> VGGWeights:
    """The weights as NumPy constants; `bundled` ends at relu3_3, the others hold all layers.

    Raises:
      UserError: the weights were not fetched yet, or their file is damaged.
      ValueError: there is no such source.
    """
    if source not in get_args(Source):
        raise ValueError(f"source is one of {', '.join(get_args(Source))}, not {source!r}")
    if source == "bundled":
        return _bundled()
    path = cached(source)
    if not path.is_file():
        raise UserError(
            f"{path}: VGG16's {source} weights are not there yet; "
            f"medjax weights fetch vgg16 --layout {source}"
        )
    return VGGWeights(_read_npz(path), *_INPUTS[source])


def require_layers(weights: VGGWeights, layers: Sequence[str]) -> None:
    """Raises UserError where a layer is unknown, or deeper than the weights go."""
    try:
        check_layers(layers)
    except ValueError as error:
        raise UserError(f"VGG16: {error}") from None
    for name in layers:
        if name.replace("relu", "conv") not in weights.convolutions:
            raise UserError(
                f"VGG16: the bundled weights end before {name}; give medjax weights fetch vgg16 "
                "and choose weights keras"
            )


def cached(layout: Layout) -> Path:
    """Where the fetched weights of a layout lie, present or not."""
    # Here, because it brings TFDS, which takes long to import.
    from medjax.data.builder import datasets_folder

    return datasets_folder().parent / "weights" / f"vgg16_{layout}.npz"


def fetch(
    layout: Layout = "keras", file: Path | None = None, progress: Progress | None = None
) -> Path:
    """Downloads (or takes from `file`), checks, converts and keeps all 13 convolutions.

    Args:
      layout: whose file; Keras's is the Oxford network of the bundled weights.
      file: the published file where the user already has it; it is only read.
      progress: called while downloading.

    Returns:
      Where they lie. Nothing is done if they are there already.

    Raises:
      UserError: no connection, a wrong file, or a package that is missing.
    """
    # Here, because it brings the file libraries, and every loss imports this module.
    from medjax.io.common import atomic

    kept = cached(layout)
    if kept.is_file():
        return kept
    if layout == "keras" and importlib.util.find_spec("h5py") is None:
        raise UserError(
            "Keras's weights are an HDF5 file: pip install 'medjax[weights]' brings h5py; "
            "or give --layout torchvision, which needs nothing"
        )
    remote = REMOTES[layout]
    source = file or kept.with_name(remote.name)
    if file is None:
        download(remote, source, progress)
    elif file.is_file():
        verify(file, remote)
    else:
        raise UserError(f"{file}: there is no such file; check the path")
    weights = read_keras(source) if layout == "keras" else read_torchvision(source)
    with atomic(kept) as temporary:
        arrays = {
            f"{n}/{k}": getattr(w, k) for n, w in weights.items() for k in ConvWeights._fields
        }
        np.savez(temporary, **arrays)
    if file is None:
        source.unlink()
    return kept


def read_keras(path: Path) -> dict[str, ConvWeights]:
    """The convolutions of Keras's HDF5 file, their input turned from blue-green-red to RGB.

    Raises:
      UserError: the file is no such file.
    """
    import h5py  # pyright: ignore[reportMissingImports]

    weights = {}
    try:
        with h5py.File(path) as file:
            for name in CONVOLUTIONS:
                block, convolution = name.removeprefix("conv").split("_")
                group: Any = file[f"block{block}_conv{convolution}"]
                arrays = [np.asarray(group[key], np.float32) for key in group]
                kernel = next(a for a in arrays if a.ndim == 4)
                bias = next(a for a in arrays if a.ndim == 1)
                weights[name] = ConvWeights(kernel, bias)
    except (OSError, KeyError, StopIteration) as error:
        raise UserError(
            f"{path}: is not Keras's VGG16 file ({error}); download it again"
        ) from error
    first = weights["conv1_1"]
    weights["conv1_1"] = first._replace(kernel=np.ascontiguousarray(first.kernel[:, :, ::-1]))
    _checked(weights, path)
    # The same network: a kernel or colour the wrong way round would go unnoticed in training.
    for name, ours in _bundled().convolutions.items():
        theirs = weights[name].kernel
        if np.abs(theirs - ours.kernel).max() > 0.01 * np.abs(ours.kernel).max():
            raise UserError(
                f"{path}: {name} differs from the bundled weights; this is another file"
            )
    return weights


def read_torchvision(path: Path) -> dict[str, ConvWeights]:
    """The convolutions of torchvision's .pth file, kernels turned to `[y, x, in, out]`.

    Raises:
      UserError: the file is no such file.
    """
    state = read_state_dict(path, "features.")
    weights = {}
    for name, place in zip(CONVOLUTIONS, _TORCH_PLACES, strict=True):
        keys = f"features.{place}.weight", f"features.{place}.bias"
        if not all(key in state for key in keys):
            raise UserError(f"{path}: has no {keys[0]}; this is not torchvision's VGG16 file")
        kernel, bias = (np.asarray(state[key], np.float32) for key in keys)
        weights[name] = ConvWeights(np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)), bias)
    return _checked(weights, path)


def _checked(weights: dict[str, ConvWeights], path: Path) -> dict[str, ConvWeights]:
    channels = 3
    for name, width in CONVOLUTIONS.items():
        found = weights[name]
        if found.kernel.shape != (3, 3, channels, width) or found.bias.shape != (width,):
            raise UserError(f"{path}: {name} has not VGG16's shape; download the file again")
        channels = width
    return weights


@functools.lru_cache(maxsize=1)
def _bundled() -> VGGWeights:
    return VGGWeights(_read_npz(BUNDLED), *_INPUTS["bundled"])


def _read_npz(path: Path) -> Mapping[str, ConvWeights]:
    try:
        # np.load leaves a file that it cannot read open.
        with path.open("rb") as file, np.load(file) as arrays:
            names = [n for n in CONVOLUTIONS if f"{n}/kernel" in arrays]
            return {
                n: ConvWeights(
                    *(arrays[f"{n}/{k}"].astype(np.float32) for k in ConvWeights._fields)
                )
                for n in names
            }
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: is damaged; delete it and fetch the weights again") from error
