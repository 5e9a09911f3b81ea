"""The pictures of one case: what the caller hands over, and the HTML of it.

Every method gets a card: its picture at the stated window, its difference from the reference at
the stated scale and, where it can tell, how unsure it is. The HTML holds the middle slice as PNG
(seen without scripts, and what tests decode) and all slices as codes for `static/viewer.js`.
"""

import base64
import dataclasses
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from medjax.report import picture
from medjax.report.pack import Codes, codes_for, pack
from medjax.report.picture import Window, number
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


def _cut(case: CasePictures, plane: Plane, array: np.ndarray) -> np.ndarray:
    colourless = dataclasses.replace(plane, order=plane.order[:3])
    has_colour = array.ndim == case.images[case.reference].ndim
    return (plane if has_colour else colourless).cut(_leading(case, array))


def case_html(
    case: CasePictures, index: int, numbers: Mapping[str, str], kinds: Mapping[str, str]
) -> Iterator[str]:
    """The section of one case, in pieces.

    Args:
      case: its pictures.
      index: its place in the report, for element ids.
      numbers: from method to a line of figures for this case ("38.4 dB, ...").
      kinds: from method to what it is ("degraded", "network", ...).
    """
    unit = f" {case.window.unit}" if case.window.unit else ""
    shown = planes_of(case)
    codes = codes_for(case.images.values(), case.window)
    sigma = codes_for(case.uncertainty.values(), Window(0, 2 * case.threshold))
    yield f'<section class="case" id="case-{index}" aria-labelledby="case-{index}-title">'
    yield f'<h3 id="case-{index}-title">{escape(case.case_id)}</h3>'
    yield '<p class="stated">Pictures: '
    yield f'<span data-said="window">{escape(str(case.window))}</span>. '
    yield f"Differences: method less {escape(case.reference)}, "
    yield f'<span data-said="scale">{_signed(case.scale)}{escape(unit)}</span> '
    yield "from blue (too low) over black (equal) to orange (too high)."
    yield f' <span data-said="slice">{escape(_slice_text(shown[0]))}</span> {escape(case.note)}</p>'
    yield f'<div class="tools"></div><div class="cards" style="{_columns(case)}">'
    for name in case.images:
        yield from _card(case, name, shown[0], numbers.get(name, ""), kinds.get(name, ""))
    yield "</div>"
    yield _json_block(_payload(case, shown, codes, sigma), f"case-{index}-about")
    for v, plane in enumerate(shown):
        for i, (name, image) in enumerate(case.images.items()):
            yield _data_block(f"d-{index}-{v}-{i}", codes.encode(_cut(case, plane, image)))
            if name in case.uncertainty:
                cut = _cut(case, plane, case.uncertainty[name])
                yield _data_block(f"u-{index}-{v}-{i}", sigma.encode(cut))
    yield "</section>"


def _columns(case: CasePictures) -> str:
    """Cards side by side on a wide screen: 3 to 5, with the fewest gaps in the last row."""
    cards = len(case.images)
    columns = 3 if cards <= 3 else min((4, 5, 3), key=lambda n: -cards % n)
    return f"--columns:{columns};--panes:{3 if case.uncertainty else 2}"


def _signed(scale: float) -> str:
    return f"scale −{number(scale)} to +{number(scale)}"


def _slice_text(plane: Plane) -> str:
    if plane.count == 1:
        return ""
    word = "Frame" if plane.name == "frame" else f"Plane {plane.name}, slice"
    return f"{word} {plane.slices[len(plane.slices) // 2] + 1} of {plane.count}."


def _card(case: CasePictures, name: str, plane: Plane, numbers: str, kind: str) -> Iterator[str]:
    middle = len(plane.slices) // 2
    own = _cut(case, plane, case.images[name])[middle]
    clean = _cut(case, plane, case.images[case.reference])[middle]
    unit = f" {case.window.unit}" if case.window.unit else ""
    where = f"{case.case_id}. {_slice_text(plane)}".strip()
    flags = list(_flags(case, name))
    yield f'<figure class="card" data-name="{escape(name)}"><figcaption><strong>{escape(name)}'
    yield f"</strong>{f' <em>{escape(kind)}</em>' if kind and kind != name else ''}"
    yield f'<span class="numbers">{escape(numbers)}</span>'
    yield "".join(f'<span class="flag">{escape(flag)}</span>' for flag in flags)
    yield "</figcaption>"
    alt = f"{name}: {where} {str(case.window).capitalize()}."
    yield _pane("image", shade(own, case.window), alt, plane, "")
    if name != case.reference:
        text = f"{_signed(case.scale)}{unit}"
        alt = f"{name} less {case.reference}: {where} {text.capitalize()}."
        coloured = picture.difference(_grey(case, own), _grey(case, clean), case.scale)
        yield _pane("difference", coloured, alt, plane, f"− {case.reference}")
    if name in case.uncertainty:
        sigma = _cut(case, plane, case.uncertainty[name])[middle]
        top = 2 * case.threshold
        alt = f"{name}, standard deviation: {where} From 0 to {number(top)}{unit}."
        coloured = picture.uncertainty(sigma, top)
        yield _pane("uncertainty", coloured, alt, plane, "standard deviation")
    yield "</figure>"


def _flags(case: CasePictures, name: str) -> Iterator[str]:
    unit = f" {case.window.unit}" if case.window.unit else ""
    bad = int((~np.isfinite(case.images[name])).sum())
    if bad:
        yield f"{bad} values are not finite (magenta)"
    if name in case.uncertainty:
        share = float((~(case.uncertainty[name] <= case.threshold)).mean())
        yield f"unsure (σ above {number(case.threshold)}{unit}) in {100 * share:.1f} % of pixels"


def shade(image: Float[np.ndarray, "row column *c"], shown: Window) -> UInt8[np.ndarray, "..."]:
    """`picture.window`, with `picture.NOT_FINITE` where a value is not finite."""
    grey = picture.window(image, shown.low, shown.high)
    finite = np.isfinite(image)
    if finite.all():
        return grey
    if grey.ndim == 2:
        grey, finite = np.repeat(grey[..., None], 3, axis=-1), finite[..., None]
    whole = finite.all(axis=-1, keepdims=True)
    return np.where(whole, grey, picture.NOT_FINITE).astype(np.uint8)


def _grey(case: CasePictures, image: np.ndarray) -> np.ndarray:
    return image.mean(axis=-1) if case.layout.endswith("c") else image


def _pane(layer: str, pixels: np.ndarray, alt: str, plane: Plane, tag: str) -> str:
    rows, columns = pixels.shape[:2]
    ratio = columns * plane.pixel[1] / (rows * plane.pixel[0])
    data = base64.b64encode(picture.png_bytes(pixels)).decode("ascii")
    return (
        f'<div class="pane" data-layer="{layer}" style="--ratio:{ratio:.5g}">'
        f'<img width="{columns}" height="{rows}"'
        f' alt="{escape(" ".join(alt.split()))}" src="data:image/png;base64,{data}">'
        f'<span class="tag">{escape(tag)}</span></div>'
    )


def _payload(
    case: CasePictures, shown: tuple[Plane, ...], codes: Codes, sigma: Codes
) -> dict[str, Any]:
    names = list(case.images)
    shapes = [_cut(case, p, case.images[case.reference]).shape for p in shown]
    return {
        "names": names,
        "reference": names.index(case.reference),
        "unit": case.window.unit,
        "window": [case.window.low, case.window.high],
        "scale": case.scale,
        "threshold": case.threshold,
        "codes": dataclasses.asdict(codes),
        "sigma": dataclasses.asdict(sigma),
        "channels": shapes[0][3] if len(shapes[0]) > 3 else 1,
        "planes": [
            {
                "name": p.name,
                "rows": shape[1],
                "columns": shape[2],
                "slices": [s + 1 for s in p.slices],
                "count": p.count,
                "pixel": list(p.pixel),
                "mm": p.in_mm,
                "edges": list(p.edges),
            }
            for p, shape in zip(shown, shapes, strict=True)
        ],
        "uncertain": [name in case.uncertainty for name in names],
    }


def _json_block(data: Any, identifier: str) -> str:
    # "<": a name that holds "</script>" must not end the block.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{identifier}">{text}</script>'


def _data_block(identifier: str, codes: np.ndarray) -> str:
    return f'<script type="text/plain" id="{identifier}">{pack(codes)}</script>'
