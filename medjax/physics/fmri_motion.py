"""A head that moves while an fMRI series is acquired slice by slice.

Index axes of a series are [t, z, y, x]. A pose is six numbers (z, y, x shift in mm; rotation about
z, y, x in radians): the slice that the scanner takes at x shows the head at R x + shift, both
in mm from the volume's centre.
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Float32, PRNGKeyArray

Order = Literal["interleaved", "ascending", "descending"]
HEAD_RADIUS_MM = 50.0


@dataclasses.dataclass(frozen=True)
class HeadMotion:
    """Sudden movements that come and go within a volume, and breathing.

    Realignment (one pose a volume) has no answer to either; lasting movement is its business.

    Attributes:
      events: movements a volume, at most 1: each volume holds the onset of one or of none.
      shift_mm: standard deviation of a movement's shift along each axis, cut at 2 of them.
      rotation_deg: the same of its rotation about each axis.
      duration_s: range of how long a movement lasts, there and back.
      breathing_mm: amplitude of a periodic shift along z.
      breathing_hz: its frequency.
    """

    events: float = 0.15
    shift_mm: float = 1.0
    rotation_deg: float = 0.7
    duration_s: tuple[float, float] = (0.3, 2.0)
    breathing_mm: float = 0.1
    breathing_hz: float = 0.25


def slice_times(slices: int, order: Order = "interleaved") -> Float32[np.ndarray, " z"]:
    """When each slice of a volume is excited, as a fraction of the repetition time.

    "interleaved" takes slices 0, 2, 4, ... and then 1, 3, 5, ...

    Raises:
      ValueError: there is no such order.
    """
    index = np.arange(slices)
    sequences = {
        "interleaved": np.concatenate([index[::2], index[1::2]]),
        "ascending": index,
        "descending": index[::-1],
    }
    if order not in sequences:
        raise ValueError(f"slice order {order!r} is none of {', '.join(sequences)}")
    return (np.argsort(sequences[order]) / slices).astype(np.float32)


def head_motion(
    key: PRNGKeyArray,
    times: Float[Array, "t z"],
    repetition_s: Float[ArrayLike, ""],
    model: HeadMotion,
) -> Float[Array, "t z 6"]:
    """The head's pose at each slice's own time.

    Args:
      key: of this series.
      times: seconds at which each slice of each volume is excited, from 0.
      repetition_s: seconds between volumes.
      model: how the head moves.
    """
    happen, start, length, size, breath = jax.random.split(key, 5)
    # One more than there are volumes: a movement may have begun before the first.
    count = len(times) + 1
    volume = jnp.arange(count, dtype=jnp.float32) - 1
    onset = (volume + jax.random.uniform(start, (count,))) * repetition_s
    low, high = model.duration_s
    duration = jax.random.uniform(length, (count,), minval=low, maxval=high)
    std = jnp.asarray([model.shift_mm] * 3 + [np.deg2rad(model.rotation_deg)] * 3, jnp.float32)
    poses = std * jax.random.truncated_normal(size, -2.0, 2.0, (count, 6))
    poses = poses * jax.random.bernoulli(happen, model.events, (count, 1)).astype(jnp.float32)
    phase = jnp.clip((times[..., None] - onset) / duration, 0.0, 1.0)
    moved = jnp.einsum("tze,ep->tzp", (1 - jnp.cos(2 * jnp.pi * phase)) / 2, poses)
    turn = 2 * jnp.pi * (model.breathing_hz * times + jax.random.uniform(breath))
    return moved.at[..., 0].add(model.breathing_mm * jnp.sin(turn))


def rotations(angles: Float[Array, "*n 3"]) -> Float[Array, "*n 3 3"]:
    """Rz Ry Rx for angles about z, y, x in radians; vectors are (z, y, x)."""
    total = jnp.broadcast_to(jnp.eye(3), (*angles.shape[:-1], 3, 3))
    for axis, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        cos, sin = jnp.cos(angles[..., axis]), jnp.sin(angles[..., axis])
        one = jnp.broadcast_to(jnp.eye(3), total.shape)
        one = one.at[..., a, a].set(cos).at[..., b, b].set(cos)
        one = one.at[..., a, b].set(sin).at[..., b, a].set(-sin)
        # A matrix product in a GPU's or TPU's default precision keeps 10 bits of a coordinate.
        total = jnp.matmul(total, one, precision="highest")
    return total


def acquire(
    series: Float[Array, "t z y x"],
    poses: Float[Array, "t z 6"],
    spacing_mm: Float[ArrayLike, " 3"],
    centre: Float[ArrayLike, " 3"] | None = None,
) -> Float[Array, "t z y x"]:
    """What the scanner records: each slice of each volume at its own pose.

    Slices are cut out of the volume of their time by trilinear interpolation (so slices that
    moved by a fraction of a voxel are a little smoother); what lies outside repeats the border.

    Args:
      series: the head at rest.
      poses: of each slice, see the module.
      spacing_mm: between voxels along z, y, x.
      centre: index about which the head turns; None: the middle of the volume.
    """
    shape = series.shape[1:]
    spacing = jnp.asarray(spacing_mm, jnp.float32)
    middle = (jnp.asarray(shape, jnp.float32) - 1) / 2 if centre is None else jnp.asarray(centre)
    axes = jnp.meshgrid(*[jnp.arange(n, dtype=jnp.float32) for n in shape], indexing="ij")
    grid = (jnp.stack(axes, -1) - middle) * spacing
    # Only what differs from the grid is computed from the pose: at rest the indices are exact.
    turn = rotations(poses[..., 3:]) - jnp.eye(3)
    shift = jnp.einsum("tzij,zyxj->itzyx", turn, grid, precision="highest")
    shift = shift + jnp.moveaxis(poses[..., :3], -1, 0)[..., None, None]
    where = jnp.stack(axes)[:, None] + shift / spacing[:, None, None, None, None]

    def volume(image: Array, at: Array) -> Array:
        return jax.scipy.ndimage.map_coordinates(image, list(at), order=1, mode="nearest")

    return jax.vmap(volume, in_axes=(0, 1))(series, where)


def through_plane(
    poses: Float[Array, "t z 6"],
    spacing_mm: Float[ArrayLike, " 3"],
    centre: Float[ArrayLike, " 3"],
) -> Float[Array, "t z"]:
    """How far above its place in the head each slice's middle was taken, in slices."""
    spacing, middle = jnp.asarray(spacing_mm), jnp.asarray(centre)
    height = (jnp.arange(poses.shape[1], dtype=jnp.float32) - middle[0]) * spacing[0]
    lift = (rotations(poses[..., 3:])[..., 0, 0] - 1) * height
    return (lift + poses[..., 0]) / spacing[0]


def framewise_displacement(poses: Float[ArrayLike, "t 6"]) -> Float[Array, " t"]:
    """Power's FD in mm: sum |shift change| + 50 mm * sum |rotation change|, 0 for the first.

    Power et al., "Spurious but systematic correlations in functional connectivity MRI networks",
    NeuroImage 2012. For poses of slices give their mean over each volume.
    """
    change = jnp.abs(jnp.diff(jnp.asarray(poses), axis=0))
    displacement = change[:, :3].sum(-1) + HEAD_RADIUS_MM * change[:, 3:].sum(-1)
    return jnp.concatenate([jnp.zeros_like(displacement[:1]), displacement])
