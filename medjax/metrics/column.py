"""Column: one quantity that methods are compared by."""

import dataclasses
from typing import Literal, get_args

Better = Literal["high", "low", "reference"]
Kind = Literal["degraded", "classical", "network", "reference"]
"""What a row of a comparison is: the input itself, a filter, a network, the clean image."""
_HINTS = {
    "high": "higher is better",
    "low": "lower is better",
    "reference": "nearest the reference",
}
_ARROWS = {"high": "↑", "low": "↓", "reference": "→"}


@dataclasses.dataclass(frozen=True)
class Column:
    """One measured quantity.

    Attributes:
      key: where `Row.values` holds it, for example "psnr".
      title: the heading, for example "PSNR".
      unit: "dB", "HU", "mm", "s" or "".
      better: "high", "low", "reference" (nearest to the value that the row of kind "reference"
        has: noise is only good where it equals that of the full dose) or None: nothing is marked.
      digits: decimals to show.
    """

    key: str
    title: str
    unit: str = ""
    better: Better | None = None
    digits: int = 2

    def __post_init__(self) -> None:
        if self.better is not None and self.better not in get_args(Better):
            raise ValueError(f"better {self.better!r} is none of {get_args(Better)}")

    @property
    def heading(self) -> str:
        """Title, unit and an arrow for the direction that is better."""
        unit = f" ({self.unit})" if self.unit else ""
        arrow = f" {_ARROWS[self.better]}" if self.better else ""
        return f"{self.title}{unit}{arrow}"

    @property
    def hint(self) -> str:
        """The direction that is better, in words; "" where there is none."""
        return _HINTS[self.better] if self.better else ""
