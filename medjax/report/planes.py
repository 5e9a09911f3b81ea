"""Which slices of a volume a report shows, and which way up.

With an affine, slices are turned the way radiologists look at them: the patient's right at the
left of axial and coronal pictures, the front at the left of sagittal ones, the head at the top
of both and the front at the top of axial ones. Without it, they stay as they are stored.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Shaped

_NAMES = ("sagittal", "coronal", "axial")
_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclasses.dataclass(frozen=True)
class Plane:
    """A stack of parallel pictures cut from an array.

    Attributes:
      name: "axial", "coronal", "sagittal"; "z", "y", "x" or "frame" where nothing says more.
      order: axes of the array that become (slice, row, column), then the colour axis if any.
      flips: whether to reverse (row, column).
      slices: which slices to take, increasing.
      count: how many slices the array has.
      pixel: height and width of a pixel, in mm where `in_mm`.
      in_mm: whether `pixel` is known.
      edges: anatomical letters at the (left, top) edge, "" where unknown.
    """

    name: str
    order: tuple[int, ...]
    flips: tuple[bool, bool]
    slices: tuple[int, ...]
    count: int
    pixel: tuple[float, float]
    in_mm: bool
    edges: tuple[str, str]

    def cut(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "slice row column *c"]:
        """The pictures of this plane."""
        stack = array.transpose(self.order)[list(self.slices)]
        rows, columns = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return stack[:, rows, columns]


def planes(
    shape: tuple[int, ...],
    axes: str,
    spacing: tuple[float, ...] | None = None,
    affine: Float[np.ndarray, "4 4"] | None = None,
    max_slices: int = 32,
) -> tuple[Plane, ...]:
    """The planes to show of an array: slices along its first axis, then one middle cut a side.

    Args:
      shape: of the array, a leading axis of 1 first for single pictures ("yx", "yxc").
      axes: as in `medjax.scan.Scan`, without both t and z.
      spacing: mm along the space axes in `axes`.
      affine: as in `Scan`.
      max_slices: at most this many slices along the first axis, evenly spread.

    Raises:
      ValueError: axes that one slider cannot walk through.
    """
    if axes not in ("yx", "yxc", "zyx", "zyxc", "tyx", "tyxc"):
        raise ValueError(f"axes {axes!r}: show one frame (or one volume) of a longer series")
    sides = _spacings(axes, spacing)
    world = _orientation(affine) if axes[0] != "t" and affine is not None else None
    cuts = (0, 1, 2) if axes[0] == "z" and min(shape[:3]) > 1 else (0,)
    return tuple(_plane(k, shape, axes, sides, world, max_slices) for k in cuts)


def _spacings(axes: str, spacing: tuple[float, ...] | None) -> tuple[float, float, float] | None:
    if spacing is None:
        return None
    if len(spacing) != sum(a in "zyx" for a in axes):
        raise ValueError(f"spacing {spacing} for axes {axes!r}")
    padded = (1.0,) * (3 - len(spacing)) + tuple(float(s) for s in spacing)
    return padded[0], padded[1], padded[2]


def _orientation(affine: np.ndarray) -> tuple[tuple[int, bool], ...] | None:
    """For each of z, y, x: the nearest world axis (0 R, 1 A, 2 S) and whether it points there."""
    directions = np.asarray(affine, np.float64)[:3, :3]
    nearest = np.argmax(np.abs(directions), axis=0)
    if sorted(nearest) != [0, 1, 2]:
        return None
    return tuple((int(w), bool(directions[w, k] > 0)) for k, w in enumerate(nearest))


def _plane(
    normal: int,
    shape: tuple[int, ...],
    axes: str,
    sides: tuple[float, float, float] | None,
    world: tuple[tuple[int, bool], ...] | None,
    max_slices: int,
) -> Plane:
    row, column = (k for k in range(3) if k != normal)
    name, flips, edges = "zyx"[normal], (False, False), ("", "")
    if axes[0] == "t":
        name = "frame"
    elif world is not None:
        # Columns run along R, except in sagittal pictures, where they run along A.
        along = 1 if world[normal][0] == 0 else 0
        if world[row][0] == along:
            row, column = column, row
        # Pictures go from R to L, A to P and S to I: against the RAS+ axes, every one.
        flips = (world[row][1], world[column][1])
        name = _NAMES[world[normal][0]]
        edges = (_LETTERS[world[column][0]][1], _LETTERS[world[row][0]][1])
    count = shape[normal]
    wanted = min(max_slices, count) if normal == 0 else 1
    middle = count // 2
    slices = (middle,) if wanted == 1 else np.rint(np.linspace(0, count - 1, wanted)).astype(int)
    return Plane(
        name=name,
        order=(normal, row, column, *((3,) if axes.endswith("c") else ())),
        flips=flips,
        slices=tuple(int(s) for s in slices),
        count=count,
        pixel=(1.0, 1.0) if sides is None else (sides[row], sides[column]),
        in_mm=sides is not None,
        edges=edges,
    )
