"""Faster MR scans: which samples of k-space are acquired, and the image of those alone.

Masks are made on the host, True where a sample is acquired, with the centre of k-space in the
middle of the array.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def line_mask(
    lines: int, acceleration: float, centre: int, rng: np.random.Generator | None = None
) -> Bool[np.ndarray, " lines"]:
    """Which phase-encode lines of a 2-D scan are acquired: `lines / acceleration`, rounded.

    Args:
      lines: of the full scan.
      acceleration: of the scan, its centre lines included; 1 acquires all.
      centre: lines in the middle that are always acquired.
      rng: draws the other lines at random; None spreads them evenly.

    Raises:
      ValueError: an acceleration under 1, or the centre alone is more than it allows.
    """
    wanted = _wanted(lines, acceleration, centre)
    mask = np.zeros(lines, bool)
    first = lines // 2 - centre // 2
    mask[first : first + centre] = True
    rest = np.flatnonzero(~mask)
    count = wanted - centre
    if rng is None:
        chosen = rest[((np.arange(count) + 0.5) * len(rest) / max(count, 1)).astype(int)]
    else:
        chosen = rng.choice(rest, count, replace=False)
    mask[chosen] = True
    return mask


def poisson_disc_mask(
    shape: tuple[int, int],
    acceleration: float,
    centre: int,
    rng: np.random.Generator,
    decay: float = 2.0,
) -> Bool[np.ndarray, "z y"]:
    """Samples of a 3-D scan's two phase-encode axes, denser towards the centre, never clustered.

    Darts are thrown in random order; one that sticks keeps others away by a distance that grows
    from the centre outwards (Vasanawala et al., ISBI 2011). The distances are scaled until the
    acceleration is met, to within 2 %.

    Args:
      shape: samples along both axes.
      acceleration: of the scan, centre included.
      centre: side of the square in the middle that is fully acquired.
      rng: orders the darts.
      decay: how many times farther apart samples are at the edge than at the centre, less one.

    Raises:
      ValueError: an acceleration under 1, or the centre alone is more than it allows.
    """
    wanted = _wanted(shape[0] * shape[1], acceleration, centre**2)
    order = rng.permutation(shape[0] * shape[1])
    radius = np.hypot(*np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    distance = 1 + decay * radius
    low, high = 0.0, float(max(shape))
    mask = np.ones(shape, bool)
    for _ in range(24):
        if abs(int(mask.sum()) - wanted) <= 0.02 * wanted:
            break
        middle = (low + high) / 2
        mask = _throw(order, middle * distance)
        mask[tuple(slice(n // 2 - centre // 2, n // 2 - centre // 2 + centre) for n in shape)] = 1
        low, high = (middle, high) if mask.sum() > wanted else (low, middle)
    return mask


def _throw(order: np.ndarray, distance: Float[np.ndarray, "z y"]) -> Bool[np.ndarray, "z y"]:
    free, mask = np.ones(distance.shape, bool), np.zeros(distance.shape, bool)
    for z, y in zip(*np.unravel_index(order, distance.shape), strict=True):
        if not free[z, y]:
            continue
        mask[z, y] = True
        reach = int(distance[z, y])
        ends = zip((z, y), distance.shape, strict=True)
        box = tuple(slice(max(i - reach, 0), min(i + reach + 1, n)) for i, n in ends)
        rows, columns = np.ogrid[box]
        free[box] &= (rows - z) ** 2 + (columns - y) ** 2 >= distance[z, y] ** 2
    return mask


def _wanted(samples: int, acceleration: float, centre: int) -> int:
    if acceleration < 1:
        raise ValueError(f"acceleration {acceleration} is under 1")
    wanted = round(samples / acceleration)
    if not 0 <= centre <= wanted:
        raise ValueError(f"a centre of {centre} samples is more than the {wanted} that are left")
    return wanted


def zero_filled(
    image: Float[Array, "*space"], mask: Bool[np.ndarray, "..."], axes: Sequence[int]
) -> Float[Array, "*space"]:
    """The magnitude image from the acquired samples alone, the others set to 0.

    Args:
      image: of the full scan, real.
      mask: over the phase-encode axes, centre in the middle.
      axes: of the image that the mask's axes stand for, rising.

    Raises:
      ValueError: the mask's shape is not that of these axes.
    """
    if mask.shape != tuple(image.shape[a] for a in axes) or sorted(axes) != list(axes):
        raise ValueError(f"mask {mask.shape} for axes {tuple(axes)} of an image {image.shape}")
    shape = [n if axis in axes else 1 for axis, n in enumerate(image.shape)]
    kept = jnp.asarray(np.fft.ifftshift(mask).reshape(shape))
    part = jnp.fft.ifftn(jnp.where(kept, jnp.fft.fftn(image, axes=axes), 0), axes=axes)
    return jnp.sqrt(jnp.square(part.real) + jnp.square(part.imag) + 1e-14)
