"""Scan refuses fields that contradict each other."""

from pathlib import Path

import numpy as np
import pytest

from medjax.scan import Scan


@pytest.mark.parametrize(
    ("axes", "shape", "spacing", "valid"),
    [
        ("xy", (4, 5), None, None),
        ("zyx", (4, 5), None, None),
        ("yx", (4, 5), (1.0, 1.0, 1.0), None),
        ("tzyx", (2, 3, 4, 5), (1.0, 1.0), None),
        ("yxc", (4, 5, 3), (1.0, 1.0), (4, 5, 3)),
    ],
)
def test_contradictions(axes: str, shape: tuple, spacing, valid) -> None:
    mask = None if valid is None else np.ones(valid, bool)
    with pytest.raises(ValueError, match=r"axes|spacings|valid"):
        Scan(np.zeros(shape, np.float32), axes, spacing, None, "OT", "", Path("x"), valid=mask)


def test_mask_of_a_colour_image_has_no_colour() -> None:
    scan = Scan(
        np.zeros((4, 5, 3), np.float32), "yxc", (1.0, 2.0), None, "OT", "", Path("x"),
        valid=np.ones((4, 5), bool),
    )  # fmt: skip
    assert scan.space == "yx"
