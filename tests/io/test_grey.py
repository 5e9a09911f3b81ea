from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medjax.errors import UserError
from medjax.io import read_scan
from medjax.io.grey import check_window, from_grey, to_grey


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_greys_become_values_and_come_back(tmp_path: Path, dtype: type) -> None:
    white = np.iinfo(dtype).max
    grey = np.array([[0, white], [white // 2, 7]], dtype)
    Image.fromarray(grey).save(tmp_path / "a.png")
    scan = read_scan(tmp_path / "a.png")
    values = from_grey(scan, (-160, 240), "CT", "HU")
    assert values.unit == "HU" and values.modality == "CT"
    expected = -160 + 400 * grey.astype(float) / white
    np.testing.assert_allclose(values.array, expected, atol=1e-3)
    np.testing.assert_array_equal(to_grey(scan, values.array, (-160, 240)), grey)
    np.testing.assert_array_equal(
        to_grey(scan, np.array([[-999.0, 999.0]], np.float32), (-160, 240)), [[0, white]]
    )


def test_other_scans_stay_as_they_are(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.ones((4, 4), np.float32))
    scan = read_scan(tmp_path / "a.npz")
    assert from_grey(scan, (-160, 240), "CT", "HU") is scan
    with pytest.raises(ValueError, match="no picture"):
        to_grey(scan, scan.array, (0, 1))


def test_a_window_must_rise() -> None:
    check_window(None)
    with pytest.raises(UserError, match="larger"):
        check_window((240, -160))
