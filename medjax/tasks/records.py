"""What tasks read off a record."""

import numpy as np

from medjax.tasks.base import Record


def known_spacing(record: Record) -> tuple[float, ...] | None:
    """Millimetres along each axis; None where the file did not say."""
    spacing = record["spacing"]
    return tuple(spacing.tolist()) if np.isfinite(spacing).all() else None
