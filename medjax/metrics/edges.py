"""Clean edges of real anatomy: where they are, which way they rise, and profiles across them."""

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy import ndimage

Image = Float[np.ndarray, "*space"]


@dataclasses.dataclass(frozen=True)
class EdgeSearch:
    """Which edges of the reference are measured.

    Attributes:
      reach_mm: half length of the profiles; the outer third on either side is the plateau.
      step_mm: distance between the profiles' samples.
      smallest_hu: least height between the plateaus.
      unevenness: how far, in shares of the height, the smoothed reference may leave a plateau's
        mean within that plateau and run against the edge's direction in between.
      smoothing: standard deviation of the Gaussian for finding edges, in pixels.
      most: edges kept a slice, those of the largest height.
    """

    reach_mm: float = 6.0
    step_mm: float = 0.1
    smallest_hu: float = 150.0
    unevenness: float = 0.12
    smoothing: float = 1.0
    most: int = 1000

    @property
    def distance_mm(self) -> Float[np.ndarray, " samples"]:
        """Where the profiles are sampled, from -reach to reach."""
        half = round(self.reach_mm / self.step_mm)
        return self.step_mm * np.arange(-half, half + 1)


@dataclasses.dataclass(frozen=True)
class Edges:
    """Edges of one slice: where, which way they rise and between which HU.

    Attributes:
      centre_mm: (edge, 2), y and x of the half-height point from the first pixel's centre.
      normal: (edge, 2), unit vector in mm, y and x, towards the high side.
      low: HU of the low plateau on the reference, one an edge.
      high: HU of the high plateau.
    """

    centre_mm: Float[np.ndarray, "edge 2"]
    normal: Float[np.ndarray, "edge 2"]
    low: Float[np.ndarray, " edge"]
    high: Float[np.ndarray, " edge"]


DEFAULT_SEARCH = EdgeSearch()


def find_edges(
    reference: Float[np.ndarray, "y x"],
    spacing: tuple[float, float],
    search: EdgeSearch = DEFAULT_SEARCH,
) -> Edges:
    """Strong, single, clean edges of one slice, to a fraction of a pixel.

    Candidates are the ridges of the Gaussian gradient. One is kept if its smoothed profile has
    two even plateaus `smallest_hu` apart and rises between them without turning back; its centre
    is where that profile passes half height.
    """
    image = np.asarray(reference, dtype=np.float64)
    smooth = ndimage.gaussian_filter(image, search.smoothing, mode="nearest")
    centre, normal = _candidates(smooth, spacing, search)
    distance = search.distance_mm
    profiles = sample(smooth, centre, normal, distance, spacing)
    below, above = plateaus(distance, search.reach_mm)
    low, high = profiles[:, below].mean(axis=1), profiles[:, above].mean(axis=1)
    height = high - low
    allowed = search.unevenness * height
    even = (np.abs(profiles[:, below] - low[:, None]).max(axis=1, initial=0) <= allowed) & (
        np.abs(profiles[:, above] - high[:, None]).max(axis=1, initial=0) <= allowed
    )
    turned = np.max(np.maximum.accumulate(profiles, axis=1) - profiles, axis=1, initial=0)
    keep = np.flatnonzero((height >= search.smallest_hu) & even & (turned <= allowed))
    shift = _half_height(profiles[keep], (low + high)[keep] / 2, distance)
    near = np.abs(shift) <= max(spacing)
    keep, shift = keep[near], shift[near]
    order = np.argsort(-height[keep], kind="stable")[: search.most]
    keep, shift = keep[order], shift[order]
    return Edges(centre[keep] + shift[:, None] * normal[keep], normal[keep], low[keep], high[keep])


def sample(
    image: Image,
    centre: Float[np.ndarray, "edge 2"],
    normal: Float[np.ndarray, "edge 2"],
    distance: Float[np.ndarray, " samples"],
    spacing: tuple[float, float],
) -> Float[np.ndarray, "edge samples"]:
    """Cubic-spline samples along the normals; linear interpolation would blur what is measured."""
    points = centre[:, None] + distance[:, None] * normal[:, None]
    return ndimage.map_coordinates(
        image, np.moveaxis(points / np.array(spacing), -1, 0), order=3, mode="nearest"
    )


def plateaus(
    distance: Float[np.ndarray, " samples"], reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which samples are the low plateau and which the high one: the profile's outer thirds."""
    return distance <= -2 / 3 * reach, distance >= 2 / 3 * reach


def _candidates(
    smooth: Image, spacing: tuple[float, float], search: EdgeSearch
) -> tuple[Float[np.ndarray, "edge 2"], Float[np.ndarray, "edge 2"]]:
    """Centres (mm) and upward unit normals of the gradient's ridges in a smoothed image."""
    slopes = [np.gradient(smooth, size, axis=axis) for axis, size in enumerate(spacing)]
    steepness = np.sqrt(np.square(slopes[0]) + np.square(slopes[1]))
    # The steepest point of the smallest edge worth having, blurred over a third of the reach.
    enough = search.smallest_hu / search.reach_mm
    y, x = np.nonzero(steepness >= enough)
    centre = np.stack([y * spacing[0], x * spacing[1]], axis=1)
    normal = np.stack([slope[y, x] for slope in slopes], axis=1) / steepness[y, x][:, None]
    size = (np.array(smooth.shape) - 1) * np.array(spacing)
    inside = ((centre >= search.reach_mm) & (centre <= size - search.reach_mm)).all(axis=1)
    centre, normal, steep = centre[inside], normal[inside], steepness[y, x][inside]
    both_ways = np.array([-1.0, 1.0])
    beside = sample(steepness, centre, normal, both_ways * min(spacing), spacing)
    ridge = steep >= beside.max(axis=1, initial=0)
    centre, normal = centre[ridge], normal[ridge]
    # Two samples tell most of the noise from edges before whole profiles are taken.
    ends = sample(smooth, centre, normal, both_ways * 5 / 6 * search.reach_mm, spacing)
    tall = ends[:, 1] - ends[:, 0] >= search.smallest_hu / 2
    return centre[tall], normal[tall]


def _half_height(
    profiles: Float[np.ndarray, "edge samples"],
    half: Float[np.ndarray, " edge"],
    distance: Float[np.ndarray, " samples"],
) -> Float[np.ndarray, " edge"]:
    after = np.argmax(profiles >= half[:, None], axis=1)
    rows = np.arange(len(profiles))
    high, low = profiles[rows, after], profiles[rows, after - 1]
    return distance[after] - (high - half) / (high - low) * (distance[1] - distance[0])
