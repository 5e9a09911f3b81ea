"""The image of a head that moved between segments of k-space, where its poses are known.

Least squares: the real image inside the head's outline whose k-space, each segment seen in its
pose, is the measured one. A(poses) is `mri_motion.kspace_of_segments`; its adjoint is JAX's.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex64, Float, Float32, Int
from skimage.transform import resize

from medjax.physics.mri_motion import Poses, along, kspace_of_segments, segment_of_line


class Measured(NamedTuple):
    """A moving head's k-space on one grid, with what is known beside it."""

    kspace: Complex64[Array, "*space"]
    """As `jnp.fft.fftn` orders it, 0 where it was not acquired."""
    owner: Int[np.ndarray, "*space"]
    """The segment that acquired each sample, -1 where none did."""
    support: Float[Array, "*space"]
    """1 where the head may be, else 0."""
    spacing_mm: Float[Array, " axes"]
    numbers: Int[Array, " inside"]
    """The segments that acquired any of it, rising."""


def reconstruct(
    kspace: Complex64[np.ndarray, "*space"],
    poses: Poses,
    spacing_mm: Float32[np.ndarray, " axes"],
    phase_axis: int,
    support: Bool[np.ndarray, "*space"],
    steps: int = 8,
    damping: float = 1e-3,
) -> Float32[np.ndarray, "*space"]:
    """The real image inside the support whose k-space, seen in these poses, is the measured one.

    Args:
      kspace: as `jnp.fft.fftn` orders it, of a real object; 0 where a line was not acquired.
      poses: one for each segment.
      spacing_mm: between samples of the image along each axis.
      phase_axis: axis of phase encoding, whose lines are shared out by `segment_of_line`.
      support: False where there is nothing but air.
      steps: of conjugate gradients.
      damping: weight of the image's energy beside the residual's, which keeps frequencies down
        that no segment measured.
    """
    segments = len(poses.translation_mm)
    scan = cropped(kspace, spacing_mm, phase_axis, segments, support, kspace.shape)
    inside = jnp.concatenate(poses, axis=1)[scan.numbers]
    start = jnp.zeros(kspace.shape, jnp.float32)
    return np.asarray(solve(inside, start, scan, steps, damping))


def cropped(
    kspace: Complex64[np.ndarray, "*space"],
    spacing_mm: Float32[np.ndarray, " axes"],
    phase_axis: int,
    segments: int,
    support: Bool[np.ndarray, "*space"],
    shape: tuple[int, ...],
    margin: float = 1.0,
) -> Measured:
    """The centre of k-space, the same head about the same centre on a coarser grid.

    Args:
      kspace: as `jnp.fft.fftn` orders it.
      spacing_mm: between samples of the image along each axis.
      phase_axis: axis of phase encoding.
      segments: of the scan.
      support: False where there is nothing but air.
      shape: of the samples about the centre that are kept. On an axis that is cut short, the one
        frequency without a mirror is left out.
      margin: the grid is that much longer than `shape`, where it can be: the image may have
        frequencies that are not kept, which a rotation turns into those that are.
    """
    owner = segment_of_line(kspace.shape[phase_axis], segments)
    others = tuple(a for a in range(kspace.ndim) if a != phase_axis)
    owner = np.where(np.any(kspace != 0, axis=others), owner, -1)
    owner = np.broadcast_to(along(owner, phase_axis, kspace.ndim), kspace.shape)
    grid = [min(n, round(m * margin)) for n, m in zip(kspace.shape, shape, strict=True)]
    for axis, (n, m, kept) in enumerate(zip(kspace.shape, grid, shape, strict=True)):
        centre = np.fft.ifftshift(np.fft.fftshift(np.arange(n))[n // 2 - m // 2 :][:m])
        kspace = np.take(kspace, centre, axis) * np.float32(m / n)
        inside = np.abs(np.fft.fftfreq(m) * m) < (kept / 2 if kept < n else n)
        owner = np.where(along(inside, axis, owner.ndim), np.take(owner, centre, axis), -1)
        # Large voxels begin where small ones do; about the same centre they begin farther in.
        turns = np.fft.fftfreq(m) * (1 - m / n) / 2
        kspace = kspace * np.exp(2j * np.pi * along(turns, axis, kspace.ndim)).astype(np.complex64)
    coarse = kspace.shape != support.shape
    small = resize(support.astype(np.float32), kspace.shape) > 0.05 if coarse else support
    spacing = spacing_mm * np.asarray(support.shape, np.float32) / np.asarray(grid, np.float32)
    return Measured(
        jnp.asarray(np.where(owner >= 0, kspace, 0)),
        owner,
        jnp.asarray(small, jnp.float32),
        jnp.asarray(spacing),
        jnp.asarray(np.unique(owner[owner >= 0]), jnp.int32),
    )


@functools.partial(jax.jit, static_argnums=(3,))
def solve(
    poses: Float[Array, "inside parameters"],
    start: Float[Array, "*space"],
    scan: Measured,
    steps: int,
    damping: float,
) -> Float[Array, "*space"]:
    """The image that fits k-space in these poses, some steps on from another image."""

    def forward(image: Float[Array, "*space"]) -> Float[Array, "2 *space"]:
        return predicted(poses, image, scan)

    _, backward = jax.vjp(forward, start)
    measured = as_real(scan.kspace)

    def normal(image: Float[Array, "*space"]) -> Float[Array, "*space"]:
        return backward(forward(image))[0] + damping * image

    image, _ = jax.scipy.sparse.linalg.cg(normal, backward(measured)[0], x0=start, maxiter=steps)
    return image * scan.support


def predicted(
    poses: Float[Array, "inside parameters"],
    image: Float[Array, "*space"],
    scan: Measured,
) -> Float[Array, "2 *space"]:
    """What a scan like this would measure of an image, as `as_real` gives it."""
    axes = image.ndim
    split = Poses(poses[:, :axes], poses[:, axes:])
    inside = image * scan.support
    return as_real(kspace_of_segments(inside, split, scan.numbers, scan.owner, scan.spacing_mm))


def as_real(kspace: Complex64[Array, "*space"]) -> Float[Array, "2 *space"]:
    """Real and imaginary parts, scaled so that they hold the image's energy."""
    return jnp.stack([kspace.real, kspace.imag]) / np.float32(np.sqrt(kspace.size))
