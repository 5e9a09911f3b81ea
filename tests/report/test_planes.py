"""Which way up slices are shown, against nibabel's canonical orientation."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from medjax.report.planes import planes

SHAPE = (4, 5, 6)


def affines():
    """Every way to store a volume: z, y, x along each world axis, either way."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4, dtype=np.float32)
            affine[:3, :3] = 0
            for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
                # Slightly oblique, as scanners are.
                affine[:3, axis] = 0.1
                affine[world, axis] = sign * (2.0 + axis)
            yield affine


@pytest.mark.parametrize("affine", list(affines()))
def test_slices_are_shown_as_radiologists_expect(affine):
    volume = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    # nibabel: the same array with the same affine, its axes turned to R, A, S.
    canonical = nib.as_closest_canonical(nib.Nifti1Image(volume, affine)).get_fdata()
    spacing = (2.0, 3.0, 4.0)
    right, front, up = (
        spacing[int(np.flatnonzero(nib.io_orientation(affine)[:, 0] == w)[0])] for w in range(3)
    )
    expected = {
        "axial": (canonical[::-1, ::-1].transpose(2, 1, 0), ("R", "A"), (front, right)),
        "coronal": (canonical[::-1, :, ::-1].transpose(1, 2, 0), ("R", "S"), (up, right)),
        "sagittal": (canonical[:, ::-1, ::-1].transpose(0, 2, 1), ("A", "S"), (up, front)),
    }
    shown = {p.name: p for p in planes(SHAPE, "zyx", spacing, affine)}
    assert set(shown) == set(expected)
    for name, (stack, edges, pixel) in expected.items():
        assert shown[name].edges == edges
        assert shown[name].pixel == pixel
        # Slices keep the file's order; every value occurs once, so pixels tell which is which.
        for cut in shown[name].cut(volume):
            assert any(np.array_equal(cut, picture) for picture in stack)


def test_without_an_affine_slices_stay_as_stored():
    volume = np.random.default_rng(0).normal(size=SHAPE)
    z, y, x = planes(SHAPE, "zyx", (5.0, 1.0, 1.5))
    assert (z.name, y.name, x.name) == ("z", "y", "x")
    np.testing.assert_array_equal(z.cut(volume), volume)
    np.testing.assert_array_equal(y.cut(volume), volume[:, 2][None])
    np.testing.assert_array_equal(x.cut(volume), volume[:, :, 3][None])
    assert (z.pixel, y.pixel, x.pixel) == ((1.0, 1.5), (5.0, 1.5), (5.0, 1.0))
    assert z.edges == ("", "") and z.in_mm


def test_long_volumes_are_thinned_evenly_with_both_ends():
    first = planes((100, 8, 8), "zyx", max_slices=12)[0]
    assert len(first.slices) == 12 and first.slices[0] == 0 and first.slices[-1] == 99
    assert set(np.diff(first.slices)) <= {9}
    assert first.count == 100 and not first.in_mm


def test_pictures_frames_and_colours():
    (single,) = planes((1, 8, 9), "yx", (0.5, 0.5))
    assert single.slices == (0,) and single.pixel == (0.5, 0.5)
    (frames,) = planes((7, 8, 9), "tyx", (0.5, 0.5))
    assert frames.name == "frame" and frames.slices == tuple(range(7))
    colours = np.random.default_rng(0).normal(size=(1, 8, 9, 3))
    (plane,) = planes(colours.shape, "yxc")
    np.testing.assert_array_equal(plane.cut(colours), colours)


def test_what_one_slider_cannot_show_is_refused():
    with pytest.raises(ValueError, match="one frame"):
        planes((2, 3, 4, 5), "tzyx")
    with pytest.raises(ValueError, match="spacing"):
        planes(SHAPE, "zyx", (1.0, 1.0))
