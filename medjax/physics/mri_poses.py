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
from jaxtyping import Array, Bool, Complex64, Float, Float32, Int
from scipy.optimize import minimize

from medjax.errors import UserError
from medjax.physics.mri_motion import Poses, along, planes
from medjax.physics.mri_reconstruction import Measured, as_real, cropped, predicted, solve

_log = logging.getLogger(__name__)
# How much softer a pair is that moves together than one that moves apart.
TOGETHER = 0.2
# The search begins with a step of this many millimetres or degrees of the stiffest movement; a
# long one throws the soft movements far from where they began.
FIRST_STEP = 0.1


@dataclasses.dataclass(frozen=True)
class PoseSearch:
    """How poses are looked for: from the centre of k-space outwards.

    The centre fixes where the head is, and only near the right pose do the outer lines tell more:
    a millimetre turns their phase by as much as a radian.

    Attributes:
      lines: share of the phase-encode lines, about the centre, that each stage looks at.
      evaluations: of the residual and its gradient in each stage.
      others: share of the samples along the other axes, about the centre.
      margin: of the image's frequencies beyond those that a stage looks at, as a ratio; without
        it a rotation brings in what the image does not have, and wrong poses fit better.
      inner: steps of conjugate gradients that an evaluation gives the image, from the last one.
      final: steps for the image at full resolution when the poses are found, see `reconstruct`.
      damping: weight of the image's energy beside the residual's, which keeps frequencies down
        that no segment measured.
    """

    lines: tuple[float, ...] = (0.5, 0.75, 1.0)
    evaluations: tuple[int, ...] = (50, 15, 15)
    others: float = 0.5
    margin: float = 1.2
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
        if self.margin < 1:
            raise UserError("search.margin: must be at least 1")


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
    known = 0
    for lines, evaluations in zip(search.lines, search.evaluations, strict=True):
        shares = [lines if axis == phase_axis else search.others for axis in range(axes)]
        shape = tuple(round(n * share) for n, share in zip(kspace.shape, shares, strict=True))
        scan = cropped(kspace, spacing_mm, phase_axis, segments, support, shape, search.margin)
        inside = np.asarray(scan.numbers)
        place = inside - segments // 2
        # Those found before stay: they are known better than a stage with outer lines could tell.
        movements = _movements(place, known)
        if movements.size:
            found[inside] = _descend(scan, movements, found[inside], evaluations, search)
        # Poses not yet looked for are most like their neighbours'.
        found[: inside[0]], found[inside[-1] + 1 :] = found[inside[0]], found[inside[-1]]
        known = np.abs(place).max()
    found = jnp.asarray(found, jnp.float32)
    return Poses(found[:, :axes], found[:, axes:])


def _descend(
    scan: Measured,
    movements: Float[np.ndarray, "inside movements"],
    start: Float[np.ndarray, "inside parameters"],
    evaluations: int,
    search: PoseSearch,
) -> Float[np.ndarray, "inside parameters"]:
    """Poses that fit best among `start` and sums of movements, by L-BFGS."""
    stiffness = (np.abs(movements).T[..., None] * _stiffness(scan)).max(1)
    stiffness[np.all(movements >= 0, axis=0)] *= TOGETHER
    stiffness /= FIRST_STEP
    image = jnp.zeros(scan.kspace.shape, jnp.float32)
    scale = 0.0

    def poses_of(flat: np.ndarray) -> Float[np.ndarray, "inside parameters"]:
        return start + movements @ (flat.reshape(stiffness.shape) / stiffness)

    def residual(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal image, scale
        image, value, gradient = _evaluated(
            jnp.asarray(poses_of(flat), jnp.float32), image, scan, search.inner, search.damping
        )
        scale = scale or max(float(value), 1e-30)
        slope = movements.T @ np.asarray(gradient, np.float64) / stiffness
        return float(value) / scale, slope.ravel() / scale

    result = minimize(
        residual,
        np.zeros(stiffness.size),
        jac=True,
        method="L-BFGS-B",
        options={"maxfun": evaluations, "ftol": 1e-7, "gtol": 1e-8},
    )
    _log.info(
        "poses of %d segments: residual %.4g of its start after %d evaluations",
        len(start),
        result.fun,
        result.nfev,
    )
    return poses_of(result.x)


def _movements(
    place: Int[np.ndarray, " inside"], known: int
) -> Float[np.ndarray, "inside movements"]:
    """Movements that add up to any poses of the segments farther than `known` from the centre.

    A real object ties two segments that mirror each other about the centre (`place` 0) together,
    and what holds such a pair where it is are mostly the next ones inwards. So either the two move
    apart, or a pair moves with all that lie outside of it; moved one by one they hardly would.
    """
    ring = np.abs(place)
    movements = []
    for r in range(known + 1, ring.max() + 1):
        movements.append(np.where(ring >= r, 1.0, 0.0))
        if (ring == r).sum() == 2:
            movements.append(np.where(ring == r, np.sign(place), 0.0))
    return np.stack(movements, axis=1) if movements else np.zeros((len(place), 0))


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
