"""Rigid head motion while k-space is filled, segment by segment.

A Cartesian scan fills k-space line by line along its phase-encode axis. The head rests within a
segment of consecutive lines and moves between segments: each segment holds the lines of the
same object in another pose. A translation is a phase ramp in k-space; a rotation is a rotation
of the image that the segment sees, in three shears by Fourier interpolation (Eddy, Fitzgerald
and Noll, MRM 1996), which keeps all frequencies, as linear interpolation does not.

Images are real [*space], 2-D [y, x] or 3-D [z, y, x]; all functions can be jitted and
differentiated, and a series of segments is scanned, so memory does not grow with their number.
"""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex64, Float, Int, PRNGKeyArray

from medjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class MotionModel:
    """How a head moves during a scan, at random.

    Poses are relative to the one in which the centre of k-space was acquired: that is where the
    image shows the head, so degraded and still image lie over each other.

    Attributes:
      segments: groups of consecutive phase-encode lines; the head rests within each.
      translation_mm: standard deviation along each axis, see `pattern`.
      rotation_degrees: the same of the rotation in each plane.
      pattern: "walk", a random walk that has moved by the standard deviation after the whole scan;
        "jumps", rest interrupted by sudden moves to a new pose, drawn with the standard deviation.
      jump_probability: of a move between two segments, for "jumps".
    """

    segments: int = 16
    translation_mm: float = 2.0
    rotation_degrees: float = 2.0
    pattern: Literal["walk", "jumps"] = "jumps"
    jump_probability: float = 0.5

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise UserError(f"motion.segments {self.segments}: must be at least 1")
        if min(self.translation_mm, self.rotation_degrees) < 0:
            raise UserError("motion: translation_mm and rotation_degrees must not be negative")
        if not 0 <= self.jump_probability <= 1:
            raise UserError(f"motion.jump_probability {self.jump_probability}: must be 0 to 1")


class Poses(NamedTuple):
    """Where the head is in each segment; no motion is all zeros."""

    translation_mm: Float[Array, "segments axes"]
    """Along the axes of the image, in their order."""
    rotation_degrees: Float[Array, "segments planes"]
    """In the planes (y, x) for images, (y, x), (z, x), (z, y) for volumes, applied in that order
    about the centre of the image; positive turns the plane's first axis towards its second."""


def draw_poses(
    key: PRNGKeyArray, model: MotionModel, dims: int, severity: Float[Array, ""] | float = 1.0
) -> Poses:
    """Random poses of a head; `severity` multiplies both standard deviations."""
    size = dims + len(planes(dims))
    scale = np.asarray(
        [model.translation_mm] * dims + [model.rotation_degrees] * len(planes(dims)), np.float32
    )
    draw_key, jump_key = jax.random.split(key)
    normal = jax.random.normal(draw_key, (model.segments, size))
    if model.pattern == "walk":
        path = jnp.cumsum(normal, axis=0) / np.sqrt(np.float32(model.segments))
    else:
        moves = jax.random.bernoulli(jump_key, model.jump_probability, (model.segments,))
        number = jnp.arange(model.segments)
        # The segment in which the pose of each segment was taken up.
        since = jax.lax.cummax(jnp.where(moves, number, 0))
        path = normal[since]
    path = (path - path[model.segments // 2]) * scale * severity
    return Poses(path[:, :dims], path[:, dims:])


def segment_of_line(lines: int, segments: int) -> Int[np.ndarray, " lines"]:
    """The segment that acquires each phase-encode line, lines in the order of `jnp.fft.fft`.

    The lines are acquired from one edge of k-space to the other; the line through the centre is
    in segment `segments // 2`, which spreads to both sides of it.
    """
    # Half a line is the rounding of an even number of lines about the centre.
    position = np.fft.fftfreq(lines) + (0.5 if segments % 2 else 0.5 + 0.5 / segments)
    return np.clip(np.floor(position * segments + 1e-6), 0, segments - 1).astype(np.int32)


def kspace_of_moving(
    image: Float[Array, "*space"],
    poses: Poses,
    spacing_mm: Float[Array, " axes"],
    phase_axis: int,
) -> Complex64[Array, "*space"]:
    """k-space, as `jnp.fft.fftn` orders it, of an object that moves between segments.

    Args:
      image: the object at rest.
      poses: one for each segment.
      spacing_mm: between samples along each axis of the image.
      phase_axis: axis of phase encoding, from the first.
    """
    segments = len(poses.translation_mm)
    owner = segment_of_line(image.shape[phase_axis], segments)
    numbers = jnp.arange(segments, dtype=jnp.int32)
    owner = along(owner, phase_axis, image.ndim)
    return kspace_of_segments(image, poses, numbers, owner, spacing_mm)


def along(values: np.ndarray, axis: int, dims: int) -> np.ndarray:
    """One value for each line of an axis, to be broadcast with images of `dims` axes."""
    return values.reshape([-1 if a == axis else 1 for a in range(dims)])


def kspace_of_segments(
    image: Float[Array, "*space"],
    poses: Poses,
    numbers: Int[Array, " segments"],
    owner: Int[np.ndarray, "*broadcastable"],
    spacing_mm: Float[Array, " axes"],
) -> Complex64[Array, "*space"]:
    """k-space, as `jnp.fft.fftn` orders it, of which each segment acquired its own samples.

    Args:
      image: the object at rest.
      poses: one for each of `numbers`.
      numbers: of the segments.
      owner: the number of the segment that acquires a sample; samples of others are 0.
      spacing_mm: between samples along each axis of the image.
    """
    dims = image.ndim
    frequencies = [
        jnp.asarray(np.fft.fftfreq(n), jnp.float32).reshape(
            [n if a == axis else 1 for a in range(dims)]
        )
        for axis, n in enumerate(image.shape)
    ]

    def add(
        total: Complex64[Array, "*space"], segment: tuple[Poses, Int[Array, ""]]
    ) -> tuple[Complex64[Array, "*space"], None]:
        pose, number = segment
        turned = rotate(image, pose.rotation_degrees, spacing_mm)
        shift = pose.translation_mm / spacing_mm
        ramp = _phase(sum(f * shift[axis] for axis, f in enumerate(frequencies)))
        return total + jnp.where(owner == number, jnp.fft.fftn(turned) * ramp, 0), None

    # Recomputed in the backward pass: otherwise it would keep every segment's rotations.
    blank = jnp.zeros(image.shape, jnp.complex64)
    total, _ = jax.lax.scan(jax.checkpoint(add), blank, (poses, numbers))
    return total


def corrupt(
    image: Float[Array, "*space"],
    poses: Poses,
    spacing_mm: Float[Array, " axes"],
    phase_axis: int,
) -> Float[Array, "*space"]:
    """The magnitude image of an object that moves between segments; see `kspace_of_moving`."""
    moved = jnp.fft.ifftn(kspace_of_moving(image, poses, spacing_mm, phase_axis))
    # Not jnp.abs, whose gradient is not a number where the image is 0.
    return jnp.sqrt(jnp.square(moved.real) + jnp.square(moved.imag) + 1e-14)


def rotate(
    image: Float[Array, "*space"],
    degrees: Float[Array, " planes"],
    spacing_mm: Float[Array, " axes"],
) -> Float[Array, "*space"]:
    """Rotates an image about its centre by Fourier interpolation; what leaves it wraps around.

    Args:
      image: [y, x] or [z, y, x].
      degrees: in each plane, see `Poses`; meant for motion, under about 20 degrees.
      spacing_mm: between samples along each axis; a rotation is one in millimetres.
    """
    for angle, (a, b) in zip(jnp.deg2rad(degrees), planes(image.ndim), strict=True):
        ratio = spacing_mm[b] / spacing_mm[a]
        along_a, along_b = -jnp.tan(angle / 2) * ratio, jnp.sin(angle) / ratio
        image = _shear(image, a, b, along_a)
        image = _shear(image, b, a, along_b)
        image = _shear(image, a, b, along_a)
    return image


def _phase(turns: Float[Array, "*shape"] | float) -> Complex64[Array, "*shape"]:
    """exp(-2 pi i turns)."""
    angle = jnp.float32(-2 * np.pi) * turns
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


def planes(dims: int) -> tuple[tuple[int, int], ...]:
    """The axes of each plane of rotation, in the order of `Poses.rotation_degrees`."""
    if dims not in (2, 3):
        raise ValueError(f"images have 2 or 3 axes, not {dims}")
    return ((0, 1),) if dims == 2 else ((1, 2), (0, 2), (0, 1))


def _shear(
    image: Float[Array, "*space"], axis: int, other: int, slope: Float[Array, ""]
) -> Float[Array, "*space"]:
    """Moves each line along `axis` by slope times its distance from the centre along `other`."""
    n, m = image.shape[axis], image.shape[other]
    frequency = jnp.asarray(np.fft.rfftfreq(n), jnp.float32)
    shift = slope * (jnp.arange(m, dtype=jnp.float32) - (m - 1) / 2)
    first, second = (frequency, shift) if axis < other else (shift, frequency)
    table = _phase(jnp.outer(first, second))
    shape = [1] * image.ndim
    shape[axis], shape[other] = n // 2 + 1, m
    spectrum = jnp.fft.rfft(image, axis=axis) * table.reshape(shape)
    return jnp.fft.irfft(spectrum, n, axis=axis)
