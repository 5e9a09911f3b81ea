"""Head motion found from the k-space of the moving head itself.

The forward model of `mri_motion` is inverted: for given poses the image is the least-squares
solution of A(poses) image = k-space, and the poses are those that leave the smallest residual, as
in TAMER (Haskell, Cauley and Wald, IEEE TMI 2018), which needs several coils. Here what makes up
for them is that the object is real and lies inside a known outline: every sample of k-space is
then measured twice, in the two poses of the segments that hold it and its mirror sample.

That holds where the phase of the coil and of the field are known and removed before, and where the
order of the segments is known; it does not serve magnitude images, whose k-space is lost.
"""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex64, Float, Float32
from scipy.optimize import minimize

from medjax.errors import UserError
from medjax.physics.mri_motion import Poses, along, planes
from medjax.physics.mri_reconstruction import Measured, as_real, cropped, predicted, solve

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PoseSearch:
    """How poses are looked for: from the centre of k-space outwards.

    The centre fixes where the head is, and only near the right pose do the outer lines tell more:
    a millimetre turns their phase by as much as a radian.

    Attributes:
      lines: share of the phase-encode lines, about the centre, that each stage looks at.
      evaluations: of the residual and its gradient in each stage.
      others: share of the samples along the other axes, about the centre.
      inner: steps of conjugate gradients that an evaluation gives the image, from the last one.
      final: steps for the image at full resolution when the poses are found, see `reconstruct`.
      damping: weight of the image's energy beside the residual's, which keeps frequencies down
        that no segment measured.
    """

    lines: tuple[float, ...] = (0.5, 0.75, 1.0)
    evaluations: tuple[int, ...] = (30, 15, 20)
    others: float = 0.5
    inner: int = 3
    final: int = 8
    damping: float = 1e-3

    def __post_init__(self) -> None:
        if len(self.lines) != len(self.evaluations):
            raise UserError("search.lines and search.evaluations: give one number for each stage")
        if not all(0 < share <= 1 for share in (*self.lines, self.others)):
            raise UserError("search.lines and search.others: must be above 0 and at most 1")
        if min(*self.evaluations, self.inner, self.final) < 1 or self.damping < 0:
            raise UserError("search: counts must be at least 1, damping not negative")


def find_poses(
    kspace: Complex64[np.ndarray, "*space"],
    spacing_mm: Float32[np.ndarray, " axes"],
    phase_axis: int,
    segments: int,
    support: Bool[np.ndarray, "*space"],
    search: PoseSearch = PoseSearch(),
) -> Poses:
    """The poses of a head in each segment, relative to that of the centre's segment.

    Args:
      kspace: as `jnp.fft.fftn` orders it, of a real object; 0 where a line was not acquired.
      spacing_mm: between samples of the image along each axis.
      phase_axis: axis of phase encoding, whose lines are shared out by `segment_of_line`.
      segments: of the scan; the head rests within each.
      support: False where there is nothing but air. The better it fits, the better the poses.
      search: how far to go.

    Raises:
      ValueError: the support's shape is not that of k-space, or it is empty.
    """
    if support.shape != kspace.shape or not support.any():
        raise ValueError(f"a support of {support.shape} for {kspace.shape}, or one without voxels")
    axes = kspace.ndim
    found = np.zeros((segments, axes + (1 if axes == 2 else 3)), np.float64)
    for lines, evaluations in zip(search.lines, search.evaluations, strict=True):
        shares = [lines if axis == phase_axis else search.others for axis in range(axes)]
        shape = tuple(round(n * share) for n, share in zip(kspace.shape, shares, strict=True))
        scan = cropped(kspace, spacing_mm, phase_axis, segments, support, shape)
        inside = np.asarray(scan.numbers)
        # Poses not yet looked for are most like their neighbours'.
        start = found[inside]
        found[inside] = _descend(scan, segments // 2, start, evaluations, search)
        found[: inside[0]], found[inside[-1] + 1 :] = found[inside[0]], found[inside[-1]]
    found = jnp.asarray(found, jnp.float32)
    return Poses(found[:, :axes], found[:, axes:])


def _descend(
    scan: Measured,
    fixed: int,
    start: Float[np.ndarray, "inside parameters"],
    evaluations: int,
    search: PoseSearch,
) -> Float[np.ndarray, "inside parameters"]:
    """Poses of the scan's segments that fit best, by L-BFGS; that of `fixed` stays 0."""
    moving = np.asarray(scan.numbers) != fixed
    if not moving.any():
        return np.zeros_like(start)
    stiffness = _stiffness(scan)[moving].ravel()
    image = jnp.zeros(scan.kspace.shape, jnp.float32)
    scale = 0.0

    def residual(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal image, scale
        poses = np.zeros_like(start)
        poses[moving] = (flat / stiffness).reshape(-1, start.shape[1])
        image, value, gradient = _evaluated(
            jnp.asarray(poses, jnp.float32), image, scan, search.inner, search.damping
        )
        scale = scale or max(float(value), 1e-30)
        slope = np.asarray(gradient, np.float64)[moving].ravel() / stiffness
        return float(value) / scale, slope / scale

    result = minimize(
        residual,
        start[moving].ravel() * stiffness,
        jac=True,
        method="L-BFGS-B",
        options={"maxfun": evaluations, "ftol": 1e-7, "gtol": 1e-8},
    )
    _log.info(
        "poses of %d segments: residual %.4g of its start after %d evaluations",
        len(moving),
        result.fun,
        result.nfev,
    )
    poses = np.zeros_like(start)
    poses[moving] = (result.x / stiffness).reshape(-1, start.shape[1])
    return poses


def _stiffness(scan: Measured) -> Float[np.ndarray, "inside parameters"]:
    """How strongly k-space changes with each pose's parameters, by which the search is scaled.

    Outer segments hold thousands of times less energy than those at the centre; unscaled, their
    poses would never be found. Of a translation it is the energy of the samples times their
    frequency squared; a rotation moves the head's outer parts most.
    """
    axes = scan.kspace.ndim
    energy = np.square(np.abs(np.asarray(scan.kspace)))
    moved = []
    for axis, mm in enumerate(np.asarray(scan.spacing_mm)):
        speed = 2 * np.pi * np.fft.fftfreq(energy.shape[axis]) / mm
        felt = energy * along(np.square(speed), axis, axes)
        moved.append(
            [
                felt[np.broadcast_to(scan.owner == s, felt.shape)].sum()
                for s in np.asarray(scan.numbers)
            ]
        )
    shift = np.stack(moved, axis=1)
    inside_support = np.argwhere(np.asarray(scan.support) > 0) * np.asarray(scan.spacing_mm)
    arm = np.deg2rad(np.sqrt(np.square(inside_support - inside_support.mean(0)).mean(0)))
    turn = [shift[:, a] * arm[b] ** 2 + shift[:, b] * arm[a] ** 2 for a, b in planes(axes)]
    strength = np.sqrt(np.concatenate([shift, np.stack(turn, axis=1)], axis=1))
    return np.maximum(strength / strength.max(), 1e-4)


@functools.partial(jax.jit, static_argnums=(3,))
def _evaluated(
    poses: Float[Array, "inside parameters"],
    image: Float[Array, "*space"],
    scan: Measured,
    steps: int,
    damping: float,
) -> tuple[Float[Array, "*space"], Float[Array, ""], Float[Array, "inside parameters"]]:
    """The image for these poses, what it leaves unexplained, and that residual's gradient.

    At the best image the residual does not change with the image, so the gradient for the poses
    is the one at this image (variable projection, Golub and Pereyra 1973).
    """
    image = solve(poses, image, scan, steps, damping)

    def residual(poses: Float[Array, "inside parameters"]) -> Float[Array, ""]:
        error = predicted(poses, image, scan) - as_real(scan.kspace)
        return jnp.sum(jnp.square(error)) + damping * jnp.sum(jnp.square(image))

    value, gradient = jax.value_and_grad(residual)(poses)
    return image, value, gradient
