"""PNG, JPEG, TIFF and NumPy files against Pillow, tifffile and NumPy."""

from pathlib import Path

import dicom_samples as samples
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from medjax.errors import UserError
from medjax.io import read_scan, write_scan
from medjax.scan import Scan

RNG = np.random.default_rng(0)


def round_trip(path: Path, out: Path) -> tuple[Scan, Scan]:
    scan = read_scan(path)
    write_scan(scan, out, description="x")
    return scan, read_scan(out)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (7, 9, 4), (7, 9, 2)])
def test_png(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    data = RNG.integers(1, np.iinfo(dtype).max, shape).astype(dtype)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(data))
    scan, again = round_trip(tmp_path / "a.png", tmp_path / "b.png")
    expected = data if len(shape) == 2 else data[..., 0] if shape[2] == 2 else data[..., :3]
    assert scan.axes == ("yxc" if expected.ndim == 3 else "yx")
    assert np.array_equal(scan.array, expected)
    assert scan.spacing is None
    assert scan.subject == "a"
    assert np.array_equal(again.array, scan.array)
    # Alpha too is written back, in the same depth.
    back = imagecodecs.png_decode((tmp_path / "b.png").read_bytes())
    assert np.array_equal(back, data)


def test_values_beyond_white_are_cut_not_wrapped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 250, np.uint8)).save(tmp_path / "a.png")
    scan = read_scan(tmp_path / "a.png")
    array = np.float32([[-3, 0.4, 0.6, 260]] * 4)
    write_scan(scan.replace(array=array), tmp_path / "b.png", description="x")
    assert np.asarray(Image.open(tmp_path / "b.png"))[0].tolist() == [0, 0, 1, 255]


def test_palette_transparency_and_rotation(tmp_path: Path) -> None:
    colours = Image.fromarray(RNG.integers(0, 255, (6, 8, 3), np.uint8))
    colours.quantize(7).save(tmp_path / "p.png")
    expected = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))
    assert np.array_equal(read_scan(tmp_path / "p.png").array, expected)
    clear = RNG.integers(0, 255, (6, 8, 4), np.uint8)
    clear[..., 3] = 255 * (np.arange(8) > 2)
    Image.fromarray(clear).save(tmp_path / "t.png")
    scan = read_scan(tmp_path / "t.png")
    assert scan.valid is not None
    assert np.array_equal(scan.valid, clear[..., 3] > 0)
    exif = Image.Exif()
    exif[0x0112] = 6
    colours.save(tmp_path / "r.jpg", exif=exif)
    assert read_scan(tmp_path / "r.jpg").array.shape == (8, 6, 3)


def test_jpeg(tmp_path: Path) -> None:
    data = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (32, 1))
    Image.fromarray(data).save(tmp_path / "a.jpg", quality=95)
    scan, again = round_trip(tmp_path / "a.jpg", tmp_path / "b.jpg")
    assert np.array_equal(scan.array, np.asarray(Image.open(tmp_path / "a.jpg")))
    assert np.abs(again.array - scan.array).max() <= 3
    # Into a folder a JPEG goes as PNG: nothing is lost a second time.
    assert write_scan(scan, tmp_path / "out", description="x") == (tmp_path / "out" / "a.png",)
    assert np.array_equal(read_scan(tmp_path / "out" / "a.png").array, scan.array)
    Image.fromarray(np.zeros((4, 4, 4), np.uint8), "CMYK").save(tmp_path / "c.jpg")
    with pytest.raises(UserError, match="CMYK"):
        read_scan(tmp_path / "c.jpg")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
@pytest.mark.parametrize("shape", [(7, 9), (5, 7, 9), (7, 9, 3), (5, 7, 9, 3)])
def test_tiff(tmp_path: Path, dtype: type, shape: tuple[int, ...]) -> None:
    data = (RNG.random(shape) * 200).astype(dtype)
    colour = shape[-1] == 3
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb" if colour else "minisblack")
    scan, again = round_trip(tmp_path / "a.tif", tmp_path / "b.tif")
    axes = {2: "yx", 3: "zyx"}[len(shape) - colour] + ("c" if colour else "")
    assert scan.axes == axes == again.axes
    assert np.array_equal(scan.array, data)
    written = tifffile.imread(tmp_path / "b.tif")
    assert written.dtype == dtype
    assert np.array_equal(written, data)


def test_tiff_white_is_zero(tmp_path: Path) -> None:
    data = np.arange(20, dtype=np.uint8).reshape(4, 5)
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="miniswhite")
    assert np.array_equal(read_scan(tmp_path / "a.tif").array, 255 - data)


def test_hu_needs_a_window(tmp_path: Path) -> None:
    stored = samples.volume_stored(1)[0]
    scan = read_scan(samples.save(samples.header(stored, series="1.1"), stored, tmp_path / "a.dcm"))
    with pytest.raises(UserError, match="state a window"):
        write_scan(scan, tmp_path / "a.png", description="x")
    write_scan(scan, tmp_path / "a.png", description="x", window=(40, 400))
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    hu = stored.astype(float) - 1024
    assert picture.dtype == np.uint8
    assert np.max(np.abs(picture - np.interp(hu, [-160, 240], [0, 255]))) <= 0.5001
    write_scan(scan, tmp_path / "a.tif", description="x")
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), hu)


def test_volume_is_no_png(tmp_path: Path) -> None:
    samples.write_series(tmp_path / "in", samples.volume_stored(3))
    scan = read_scan(tmp_path / "in")
    with pytest.raises(UserError, match="one picture cannot hold"):
        write_scan(scan, tmp_path / "a.png", description="x", window=(40, 400))
    assert write_scan(scan, tmp_path / "a.tif", description="x", window=(40, 400))
    assert tifffile.imread(tmp_path / "a.tif").shape == (3, 12, 10)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_npz_round_trip(tmp_path: Path) -> None:
    samples.write_series(tmp_path / "in", samples.volume_stored(3), orientation=samples.OBLIQUE)
    scan = read_scan(tmp_path / "in")
    write_scan(scan, tmp_path / "a.npz", description="x")
    again = read_scan(tmp_path / "a.npz")
    assert np.array_equal(again.array, scan.array)
    np.testing.assert_array_equal(again.affine, scan.affine)
    for name in ("axes", "modality", "unit", "spacing", "subject", "time_step", "valid"):
        assert getattr(again, name) == getattr(scan, name)
    np.savez(tmp_path / "only.npz", whatever=np.ones((3, 4, 5), np.int32))
    assert read_scan(tmp_path / "only.npz").axes == "zyx"
