"""The pictures of one case, as the caller of `medjax.report.html.write_report` hands them over."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from medjax.report.picture import Window
from medjax.report.planes import Plane, planes
from medjax.report.plot import nice

_AXES = {2: "yx", 3: "zyx"}


@dataclasses.dataclass(frozen=True)
class CasePictures:
    """All pictures of one case.

    Attributes:
      case_id: anonymous; it is printed.
      images: from the name of a method (as in the table) to its image [y, x], volume [z, y, x]
        or series [t, y, x], with a last colour axis where `axes` ends in "c"; all of one shape,
        in the order to show, the reference among them. Volumes may be long: `max_slices` of
        them are kept.
      reference: the name of the image that the others are compared with.
      window: what is shown from black to white.
      axes: as in `medjax.scan.Scan`; "" stands for "yx" or "zyx".
      spacing: mm along the space axes, for shape and scale bar; None where unknown.
      affine: as in `Scan`; turns slices the radiologists' way and names them.
      difference_scale: the difference shown in full colour, in the window's unit; None: an
        eighth of the window's width or a little more, rounded.
      uncertainty: standard deviation in the window's unit for some of the methods, without a
        colour axis.
      unsure_above: standard deviations above it are flagged; None: `difference_scale`.
      note: one more sentence under the heading.
      max_slices: at most this many slices along the first axis, evenly spread. One slice of
        512x512 costs about 0.5 MB of HTML a method.

    Raises:
      ValueError: shapes differ, the reference is missing, uncertainty of no image.
    """

    case_id: str
    images: Mapping[str, Float[np.ndarray, "..."]]
    reference: str
    window: Window
    axes: str = ""
    spacing: tuple[float, ...] | None = None
    affine: Float[np.ndarray, "4 4"] | None = None
    difference_scale: float | None = None
    uncertainty: Mapping[str, Float[np.ndarray, "..."]] = dataclasses.field(default_factory=dict)
    unsure_above: float | None = None
    note: str = ""
    max_slices: int = 32

    def __post_init__(self) -> None:
        if self.reference not in self.images:
            raise ValueError(f"reference {self.reference!r} is none of {list(self.images)}")
        shape = self.images[self.reference].shape
        wrong = [name for name, image in self.images.items() if image.shape != shape]
        if wrong:
            raise ValueError(f"{wrong} are not of the reference's shape {shape}")
        if not self.axes and len(shape) not in _AXES:
            raise ValueError(f"images of shape {shape} need axes")
        space = shape[:-1] if self.axes.endswith("c") else shape
        for name, array in self.uncertainty.items():
            if name not in self.images or array.shape != space:
                raise ValueError(f"uncertainty {name!r} of shape {array.shape}, not {space}")
        for value in (self.difference_scale, self.unsure_above):
            if value is not None and not value > 0:
                raise ValueError(f"scale {value}")

    @property
    def scale(self) -> float:
        """The difference shown in full colour."""
        return self.difference_scale or nice(self.window.width / 8)

    @property
    def threshold(self) -> float:
        """The standard deviation above which a pixel is flagged as unsure."""
        return self.unsure_above or self.scale

    @property
    def layout(self) -> str:
        """The axes, where `axes` leaves them open too."""
        return self.axes or _AXES[self.images[self.reference].ndim]


def planes_of(case: CasePictures) -> tuple[Plane, ...]:
    """The planes that the report shows of a case."""
    shape = _leading(case, case.images[case.reference]).shape
    return planes(shape, case.layout, case.spacing, case.affine, case.max_slices)


def _leading(case: CasePictures, array: np.ndarray) -> np.ndarray:
    return array[None] if case.layout[0] == "y" else array


def cut(
    case: CasePictures, plane: Plane, array: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "slice row column *c"]:
    """The pictures that a plane cuts from an image or an uncertainty of the case."""
    colourless = dataclasses.replace(plane, order=plane.order[:3])
    has_colour = array.ndim == case.images[case.reference].ndim
    return (plane if has_colour else colourless).cut(_leading(case, array))
