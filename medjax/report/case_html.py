"""The HTML of one case.

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
from medjax.report.cases import CasePictures, cut, planes_of
from medjax.report.pack import Codes, codes_for, pack
from medjax.report.picture import Window, number
from medjax.report.planes import Plane


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
            yield _data_block(f"d-{index}-{v}-{i}", codes.encode(cut(case, plane, image)))
            if name in case.uncertainty:
                own = cut(case, plane, case.uncertainty[name])
                yield _data_block(f"u-{index}-{v}-{i}", sigma.encode(own))
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
    own = cut(case, plane, case.images[name])[middle]
    clean = cut(case, plane, case.images[case.reference])[middle]
    unit = f" {case.window.unit}" if case.window.unit else ""
    where = f"{case.case_id}. {_slice_text(plane)}".strip()
    flags = list(_flags(case, name))
    yield f'<figure class="card" data-name="{escape(name)}"><figcaption><strong>{escape(name)}'
    yield f"</strong>{f' <em>{escape(kind)}</em>' if kind else ''}"
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
        sigma = cut(case, plane, case.uncertainty[name])[middle]
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
    shapes = [cut(case, p, case.images[case.reference]).shape for p in shown]
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
