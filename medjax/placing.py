"""Placement: volumes brought to the grid that a network learned on, and its work brought back."""

import dataclasses

import numpy as np
from jaxtyping import Float32
from nibabel import orientations
from skimage.transform import resize

from medjax.scan import Scan

Volume = Float32[np.ndarray, "a b c"]
# Spacings that differ by less count as equal: interpolating would blur for nothing.
EQUAL_WITHIN = 0.05


@dataclasses.dataclass(frozen=True)
class Placement:
    """How the volumes [z, y, x] of one scan come to a network's grid.

    Attributes:
      order: which axis of the scan becomes each axis of the grid.
      against: which axes of the grid run against the scan's.
      turned: shape of a volume in that order.
      shape: of a volume on the grid.
    """

    order: tuple[int, ...]
    against: tuple[int, ...]
    turned: tuple[int, ...]
    shape: tuple[int, ...]

    def bring(self, volume: Volume) -> Volume:
        """A volume on the grid, smoothed where the grid is coarser, as training scans are."""
        return _sampled(np.flip(volume.transpose(self.order), self.against), self.shape)

    def back(self, on_grid: Volume) -> Volume:
        """A map on the grid, on the scan's own grid; it holds no detail finer than either."""
        own = _sampled(on_grid, self.turned)
        return np.ascontiguousarray(np.flip(own, self.against).transpose(np.argsort(self.order)))

    def restored(self, volume: Volume, brought: Volume, restored: Volume) -> Volume:
        """The volume with what a restoration changed on the grid.

        Detail finer than the grid stays as it was: it is neither lost nor restored. Where nothing
        is interpolated, this is the restoration itself.

        Args:
          volume: as the scan has it.
          brought: the same from `bring`.
          restored: from `brought`.
        """
        if self.shape == self.turned:
            return self.back(restored)
        return volume + self.back(restored - brought)


def placement(scan: Scan, directions: str, spacing: tuple[float, ...] | None) -> Placement:
    """The way from a scan's volumes to a grid.

    Args:
      scan: with the space axes [z, y, x].
      directions: where the grid's axes rise to, e.g. "SAR"; a scan without an affine is left as it
        lies.
      spacing: of the grid in mm; None, or a scan without spacing: it is not interpolated.
    """
    order, against = (0, 1, 2), ()
    if scan.affine is not None:
        order, against = _turn(scan.affine, directions)
    shape = scan.array.shape[-3:]
    turned = tuple(shape[axis] for axis in order)
    if spacing is None or scan.spacing is None:
        return Placement(order, against, turned, turned)
    steps = [scan.spacing[axis] for axis in order]
    if all(abs(mm / grid - 1) < EQUAL_WITHIN for mm, grid in zip(steps, spacing, strict=True)):
        return Placement(order, against, turned, turned)
    size = (max(1, round(n * mm / g)) for n, mm, g in zip(turned, steps, spacing, strict=True))
    return Placement(order, against, turned, tuple(size))


def _turn(affine: np.ndarray, directions: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which axis of a scan lies along each direction, and which of them run the other way.

    An oblique scan's axes count as those that they are nearest to.
    """
    axes = orientations.io_orientation(np.asarray(affine, np.float64))
    if not np.isfinite(axes).all():
        return (0, 1, 2), ()
    wanted = orientations.axcodes2ornt(tuple(directions))
    places = {int(world): (axis, sign) for axis, (world, sign) in enumerate(axes)}
    found = [(*places[int(world)], sign) for world, sign in wanted]
    order = tuple(axis for axis, _, _ in found)
    return order, tuple(k for k, (_, has, wants) in enumerate(found) if has != wants)


def _sampled(volume: Volume, shape: tuple[int, ...]) -> Volume:
    if volume.shape == shape:
        return np.ascontiguousarray(volume)
    # Anti-aliasing smooths only the axes that become coarser.
    sampled = resize(volume, shape, order=1, anti_aliasing=True, preserve_range=True)
    return np.asarray(sampled, np.float32)
