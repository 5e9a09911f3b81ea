"""What is measured of a restoration that has no clean reference."""

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from benchmarks.ldct_real.scans import Pair
from medjax.metrics.column import Column
from medjax.metrics.ct import edge_profile, mtf50, noise_hu
from medjax.metrics.ct_noise_spectrum import (
    mean_frequency,
    noise_power_spectrum,
    regions_of_interest,
)
from medjax.metrics.sharpness import rise_width_mm

COLUMNS = (
    Column("noise_hu", "tissue noise", "HU", "low", 2),
    Column("texture", "noise frequency", "1/mm", None, 3),
    Column("edge_mm", "edge 10-90 %", "mm", "low", 2),
    Column("mtf50", "MTF50", "1/mm", "high", 3),
    Column("removed_at_edges", "removed, edges / flat", "", "low", 2),
    Column("removed_structure", "removed ~ structure", "", "low", 3),
    Column("bias_hu", "mean change in tissue", "HU", None, 2),
    Column("seconds", "time a slice", "s", None, 2),
)
# Pixels of the regions of the noise's spectrum.
REGION = 16
# Of the soft slice: over which noise is smoothed, and of the structure's slow part.
FINE, COARSE = 1.0, 3.0
# Slope of the soft slice, HU a pixel, from which a pixel belongs to an edge.
STEEP = 40.0


def measure(restored: Float[np.ndarray, "z y x"], pair: Pair) -> dict[str, float]:
    """All columns but the time of one method's slices, pooled; NaN where there is nothing.

    Tissue noise is `metrics.ct.noise_hu` in the flat tissue, its texture the mean frequency of its
    spectrum there. Edges are those of the soft slices (body and lung, vessels, bone), at which
    every image is measured by its own plateaus; a sharp kernel overshoots and so has a width under
    that of a clean edge. What was removed is compared with the anatomy in two ways that are blind
    to noise: its standard deviation at edges over that in flat tissue (the sharp kernel's noise is
    about as strong in both, so far more than 1 means that edges were removed), and its correlation
    at edges with what a sharper kernel adds to the soft slice there, the soft slice less its
    smoothing (0 for noise, 1 where the edge enhancement itself was taken away).
    """
    profile = edge_profile(restored, pair.soft, pair.spacing)
    pixel = (pair.spacing[1], pair.spacing[2])
    regions = regions_of_interest(restored, pair.flat, REGION, filled=0.9)
    removed = pair.sharp.astype(np.float64) - restored
    edges, structure = _anatomy(pair)
    inside, flat = removed[edges], removed[pair.flat]
    moved = inside.size > 1 and np.std(removed) > 0
    return {
        "noise_hu": noise_hu(restored, pair.flat),
        "texture": mean_frequency(noise_power_spectrum(regions, pixel))
        if len(regions)
        else float("nan"),
        "edge_mm": rise_width_mm(profile),
        "mtf50": mtf50(profile),
        "removed_at_edges": float(inside.std() / flat.std()) if moved else float("nan"),
        "removed_structure": float(np.corrcoef(inside, structure[edges])[0, 1])
        if moved
        else float("nan"),
        "bias_hu": float(-flat.mean()) if flat.size else float("nan"),
    }


def _anatomy(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Where the soft slices are steep, and what they have beyond their smoothing."""
    fine, coarse = (
        ndimage.gaussian_filter(pair.soft.astype(np.float64), (0, s, s)) for s in (FINE, COARSE)
    )
    slope = np.stack([ndimage.gaussian_gradient_magnitude(z, FINE) for z in pair.soft])
    return slope > STEEP, fine - coarse
