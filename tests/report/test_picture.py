"""Windows, colours, montage and PNG files, against scikit-image and Pillow."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage.exposure import rescale_intensity

from medjax.report import picture


def test_window_is_scikit_images_rescaling():
    hu = np.random.default_rng(0).uniform(-1024, 3000, (40, 50)).astype(np.float32)
    expected = rescale_intensity(
        hu.astype(np.float64),
        in_range=(-160, 240),  # type: ignore[arg-type]
        out_range=(0, 255),  # type: ignore[arg-type]
    )
    np.testing.assert_array_equal(picture.window(hu, -160, 240), np.round(expected))


def test_window_ends_are_black_and_white():
    hu = np.array([-3024.0, -160.0, 40.0, 240.0, 1468.0, np.nan, np.inf, -np.inf])
    assert picture.window(hu, -160, 240).tolist() == [0, 0, 128, 255, 255, 0, 255, 0]


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, np.nan), (-np.inf, 1)])
def test_windows_without_width_are_refused(low, high):
    with pytest.raises(ValueError, match="window"):
        picture.Window(low, high)


def test_window_states_level_and_width():
    text = str(picture.Window(-160, 240, "HU"))
    assert text == "window −160 to 240 HU (level 40, width 400)"


def test_difference_is_signed_and_symmetric():
    reference = np.zeros((1, 5), np.float32)
    restored = np.array([[-100, -50, 0, 50, 1000]], np.float32)
    colours = picture.difference(restored, reference, 100)
    expected = [c for _, c in picture.DIVERGING]
    # 127 steps a side: a half lies between two of them.
    np.testing.assert_allclose(colours[0].astype(int), expected, atol=1)
    assert [tuple(colours[0, i].tolist()) for i in (0, 2, 4)] == expected[::2]
    # Blue for too low, red for too high.
    assert colours[0, 1, 2] > colours[0, 1, 0] and colours[0, 3, 0] > colours[0, 3, 2]


def test_not_finite_is_loud():
    values = np.array([np.nan, 1.0])
    assert picture.uncertainty(values, 2).tolist()[0] == list(picture.NOT_FINITE)
    assert picture.difference(values, np.ones(2), 5).tolist()[0] == list(picture.NOT_FINITE)


def test_uncertainty_grows_brighter():
    light = picture.uncertainty(np.linspace(0, 30, 31), 30).astype(int).sum(axis=-1)
    assert (np.diff(light) > 0).all()


def test_scales_must_be_positive_and_shapes_equal():
    with pytest.raises(ValueError, match="scale"):
        picture.difference(np.ones(3), np.ones(3), 0)
    with pytest.raises(ValueError, match="scale"):
        picture.uncertainty(np.ones(3), -1)
    with pytest.raises(ValueError, match="shapes"):
        picture.difference(np.ones(3), np.ones(4), 1)


def test_png_round_trip_holds_pixels_and_no_metadata():
    rng = np.random.default_rng(0)
    for shape in ((7, 9), (7, 9, 3)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        content = picture.png_bytes(pixels)
        with Image.open(io.BytesIO(content)) as image:
            shown = image if len(shape) == 2 else image.convert("RGB")
            np.testing.assert_array_equal(np.asarray(shown), pixels)
            assert image.info == {}
    with pytest.raises(ValueError, match="picture of shape"):
        picture.png_bytes(np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        picture.png_bytes(np.zeros((2, 2)))


def test_coloured_pngs_are_small_because_they_have_a_palette():
    noise = np.random.default_rng(0).normal(0, 40, (64, 64))
    pixels = picture.difference(noise, np.zeros_like(noise), 100)
    content = picture.png_bytes(pixels)
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels)
    assert len(content) < noise.size + 1500


def test_montage_places_every_picture():
    grey = [np.full((20, 30), 50 * i, np.uint8) for i in range(1, 4)]
    sheet = picture.montage(grey, columns=2, gap=2)
    assert sheet.shape == (42, 62, 3)
    assert sheet[10, 15].tolist() == [50] * 3
    assert sheet[10, 47].tolist() == [100] * 3
    assert sheet[32, 15].tolist() == [150] * 3
    assert not sheet[22:, 32:].any()
    labelled = picture.montage(grey, labels=["a", "b", "c"], columns=2, gap=2)
    head = (labelled.shape[0] - sheet.shape[0]) // 2
    assert labelled[:head, :30].max() > 200
    np.testing.assert_array_equal(labelled[head : head + 20, :30], sheet[:20, :30])


def test_montage_refuses_what_has_no_grid():
    with pytest.raises(ValueError, match="shapes"):
        picture.montage([np.zeros((2, 2), np.uint8), np.zeros((3, 2), np.uint8)])
    with pytest.raises(ValueError, match="labels"):
        picture.montage([np.zeros((2, 2), np.uint8)], labels=["a", "b"])


def test_writing_leaves_the_whole_file_or_nothing(tmp_path):
    path = tmp_path / "new" / "x.png"
    picture.write_png(path, np.zeros((2, 2), np.uint8))
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        picture.write_png(tmp_path / "taken", np.zeros((2, 2), np.uint8))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "taken"]
