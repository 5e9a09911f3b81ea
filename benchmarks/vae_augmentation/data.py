"""Small labelled sets of real images out of the folder that MEDJAX_DATA names."""

import dataclasses
import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int
from skimage.transform import resize

from medjax.io import read_scan

TEST_SHARE = 0.45
# Seed of the fixed division of BUSI, which comes undivided.
DIVISION = 20


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Images in [0, 1] with the label 1 for what is to be found.

    Attributes:
      name: of the set.
      what: the two classes, 0 and 1.
      images: to draw training images from, [count, y, x, 1].
      labels: of them.
      test_images: never trained on.
      test_labels: of them.
    """

    name: str
    what: str
    images: Float32[np.ndarray, "count y x 1"]
    labels: Int[np.ndarray, " count"]
    test_images: Float32[np.ndarray, "count y x 1"]
    test_labels: Int[np.ndarray, " count"]

    def few(
        self, each: int, seed: int
    ) -> tuple[Float32[np.ndarray, "n y x 1"], Int[np.ndarray, " n"]]:
        """`each` images of either class, other ones for every seed."""
        rng = np.random.default_rng(seed)
        chosen = np.concatenate(
            [rng.choice(np.flatnonzero(self.labels == c), each, replace=False) for c in (0, 1)]
        )
        return self.images[chosen], self.labels[chosen]


def source() -> Path:
    """The folder that MEDJAX_DATA names."""
    folder = Path(os.environ.get("MEDJAX_DATA", "")).expanduser()
    if not os.environ.get("MEDJAX_DATA") or not folder.is_dir():
        raise SystemExit(
            "MEDJAX_DATA names no folder; it must hold cxr_pneumoniamnist/pneumoniamnist.npz "
            "(MedMNIST) and us_busi256/{benign,malignant}/*.png (BUSI)"
        )
    return folder


def chest_xrays() -> Labelled:
    """PneumoniaMNIST (MedMNIST v2, CC BY 4.0), 28 x 28: children's chests, pneumonia or normal.

    Images of its test part that are in its training part too are left out.
    """
    with np.load(source() / "cxr_pneumoniamnist" / "pneumoniamnist.npz") as stored:
        parts = {
            part: (
                stored[f"{part}_images"].astype(np.float32)[..., None] / 255,
                stored[f"{part}_labels"].ravel().astype(int),
            )
            for part in ("train", "test")
        }
    known = {image.tobytes() for image in parts["train"][0]}
    images, labels = parts["test"]
    new = np.array([image.tobytes() not in known for image in images])
    what = "pneumonia against normal, 28 x 28"
    return Labelled("PneumoniaMNIST", what, *parts["train"], images[new], labels[new])


def ultrasound(side: int = 32) -> Labelled:
    """BUSI (Al-Dhabyani et al. 2020): breast lesions in ultrasound, malignant or benign.

    Shrunk to `side`; a fixed 45 % of either class is the test part. Patients are not named in
    the set, so a patient may be in both parts: only differences between rows are of use.
    """
    folder = source() / "us_busi256"
    parts: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "test": []}
    for label, name in enumerate(("benign", "malignant")):
        files = sorted((folder / name).glob("*.png"))
        order = np.random.default_rng(DIVISION).permutation(len(files))
        for place, index in enumerate(order):
            array = read_scan(files[index]).array
            grey = array if array.ndim == 2 else array.mean(-1)
            image = np.asarray(resize(grey / 255, (side, side), anti_aliasing=True), np.float32)
            part = "test" if place < TEST_SHARE * len(files) else "train"
            parts[part].append((image[..., None], label))
    stacked = [
        np.stack([np.asarray(pair[i]) for pair in parts[part]])
        for part in ("train", "test")
        for i in (0, 1)
    ]
    what = f"malignant against benign lesion, {side} x {side}"
    return Labelled("BUSI", what, *stacked)
