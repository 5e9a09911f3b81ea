"""Missing samples: lines, blocks and slices that an acquisition lost, and a smooth first guess.

Masks are True where a sample is missing, `[batch, *space, 1]`, drawn on the device with static
shapes, so every step of a training loop loses others.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from medjax.errors import UserError

MISSING = -4096.0
"""Stands in for a missing sample: finite, for filters and pictures, and no value of any scan."""

MOST = 2.0
"""The largest `amount` that `missing_mask` takes."""


@dataclass(frozen=True)
class Gaps:
    """Which samples are lost, as shares of the image; kinds add up (and may overlap).

    Attributes:
      lines: share of the lines along the last axis (readout) that are lost, as dead detector rows
        or corrupted transfers lose them; in volumes each slice loses its own.
      line_width: fewest and most neighbouring lines that go together.
      blocks: share of the image that rectangular blocks cover, overlaps counted twice.
      block_side: shortest and longest side of a block in samples.
      slices: share of the slices of a volume that are lost; 0 for 2-D.
    """

    lines: float = 0.2
    line_width: tuple[int, int] = (1, 4)
    blocks: float = 0.1
    block_side: tuple[int, int] = (8, 24)
    slices: float = 0.0

    def __post_init__(self) -> None:
        for name in ("lines", "blocks", "slices"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"gaps.{name} {getattr(self, name)}: must be 0 or more, under 1")
        for name in ("line_width", "block_side"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise UserError(f"gaps.{name} {low} {high}: must be at least 1, in order")


def is_missing(values: Shaped[Any, "*shape"]) -> Bool[Any, "*shape"]:
    """Where an array, of NumPy or JAX, holds `MISSING`."""
    return values <= MISSING / 2


def missing_mask(
    key: PRNGKeyArray,
    batch: int,
    space: tuple[int, ...],
    gaps: Gaps,
    amount: Float[Array, " batch"] | float = 1.0,
) -> Bool[Array, "batch *space 1"]:
    """Draws what each image of a batch loses.

    Args:
      key: of this step.
      batch: images.
      space: their shape, (y, x) or (z, y, x).
      gaps: kinds and shares.
      amount: factor on the shares, 0 to `MOST`, one or one an image; traced.

    Raises:
      ValueError: `slices` is asked of a 2-D image.
    """
    if gaps.slices and len(space) < 3:
        raise ValueError(f"a 2-D image has no slices to lose: gaps.slices is {gaps.slices}")
    amounts = jnp.broadcast_to(jnp.asarray(amount, jnp.float32).reshape(-1), (batch,))
    keys = jax.random.split(key, 3)
    mask = jnp.zeros((batch, *space), bool)
    if gaps.lines:
        planes = batch * math.prod(space[:-2])
        share = jnp.repeat(amounts * gaps.lines, planes // batch)
        rows = _lost_along(keys[0], planes, space[-2], share, gaps.line_width)
        mask |= rows.reshape(batch, *space[:-1], 1)
    if gaps.blocks:
        mask |= _blocks(keys[1], batch, space, amounts, gaps)
    if gaps.slices:
        lost = _lost_along(keys[2], batch, space[0], amounts * gaps.slices, (1, 1))
        mask |= lost.reshape(batch, space[0], *[1] * (len(space) - 1))
    return mask[..., None]


def _lost_along(
    key: PRNGKeyArray,
    count: int,
    length: int,
    share: Float[Array, " count"],
    width: tuple[int, int],
) -> Bool[Array, "count length"]:
    """Which of `length` lines are lost, in runs of a width that each image draws for itself."""
    width_key, offset_key, lose_key = jax.random.split(key, 3)
    widths = jax.random.randint(width_key, (count, 1), width[0], width[1] + 1)
    offset = jax.random.randint(offset_key, (count, 1), 0, width[1])
    run = (jnp.arange(length) + offset) // widths
    lost = jax.random.uniform(lose_key, (count, length + width[1])) < share[:, None]
    return jnp.take_along_axis(lost, run, axis=1)


def _blocks(
    key: PRNGKeyArray,
    batch: int,
    space: tuple[int, ...],
    amounts: Float[Array, " batch"],
    gaps: Gaps,
) -> Bool[Array, "batch *space"]:
    """Blocks of random place and sides, as many as cover the share on average."""
    low, high = gaps.block_side
    # A block may stick out on either side, so places are counted on a larger image.
    room = [n + high for n in space]
    expected = gaps.blocks * math.prod(room) / ((low + high) / 2) ** len(space)
    count = max(1, math.ceil(MOST * expected))
    side_key, place_key, use_key = jax.random.split(key, 3)
    # All blocks are drawn and each is used with the probability that the share asks for.
    used = jax.random.uniform(use_key, (batch, count)) * count < amounts[:, None] * expected
    inside = []
    for axis, n in enumerate(space):
        side_of, place_of = (jax.random.fold_in(k, axis) for k in (side_key, place_key))
        sides = jax.random.randint(side_of, (batch, count, 1), low, high + 1)
        ends = jax.random.randint(place_of, (batch, count, 1), 0, n + high)
        index = jnp.arange(n)
        inside.append((index <= ends) & (index > ends - sides))
    inside[0] &= used[..., None]
    letters = "zyx"[-len(space) :]
    product = ",".join(f"bk{letter}" for letter in letters) + f"->b{letters}"
    return jnp.einsum(product, *(i.astype(jnp.float32) for i in inside)) > 0.5


def fill_linearly(
    image: Float[Array, "batch *space 1"], missing: Bool[Array, "batch *space 1"]
) -> Float[Array, "batch *space 1"]:
    """A first guess for missing samples from the known ones around; known ones stay exactly.

    Linear interpolation along every axis, weighted by the inverse square of the gap that it
    bridges: across a lost line, from all sides into a block. At the border the last known sample
    goes on. What no axis reaches takes the mean of the known samples over the least of 2, 4, 8,
    ... samples an axis that holds any (the push-pull of Gortler et al., "The lumigraph", SIGGRAPH
    1996). All axes count alike, whatever their spacing. With nothing known all is 0.
    """
    known = ~missing
    values = jnp.where(known, image, 0.0)
    guess = jnp.zeros_like(image)
    weight = jnp.zeros_like(image)
    for axis in range(1, image.ndim - 1):
        along, share = _between(values, known, axis)
        guess, weight = guess + share * along, weight + share
    guess = guess / jnp.maximum(weight, 1e-12)
    coarse = _push_pull(values, known.astype(jnp.float32))
    return jnp.where(known, image, jnp.where(weight > 0, guess, coarse))


def _between(
    values: Float[Array, "batch *space 1"], known: Bool[Array, "batch *space 1"], axis: int
) -> tuple[Float[Array, "batch *space 1"], Float[Array, "batch *space 1"]]:
    """Linear interpolation along one axis, and the inverse square of the gaps it bridges."""
    n = values.shape[axis]
    index = jnp.arange(n).reshape([n if i == axis else 1 for i in range(values.ndim)])
    before = jax.lax.cummax(jnp.where(known, index, -1), axis=axis)
    after = jax.lax.cummin(jnp.where(known, index, n), axis=axis, reverse=True)
    has_before, has_after = before >= 0, after < n
    # A side without any known sample borrows the other's.
    first = jnp.clip(jnp.where(has_before, before, after), 0, n - 1)
    last = jnp.clip(jnp.where(has_after, after, before), 0, n - 1)
    left, right = (jnp.take_along_axis(values, i, axis=axis) for i in (first, last))
    gap = jnp.maximum(last - first, 1).astype(jnp.float32)
    part = jnp.clip((index - first).astype(jnp.float32) / gap, 0.0, 1.0)
    reach = jnp.where(has_before & has_after, gap, 2.0 * jnp.abs(index - first).astype(jnp.float32))
    share = jnp.where(has_before | has_after, 1 / jnp.maximum(reach, 1.0) ** 2, 0.0)
    return left + part * (right - left), share


def _push_pull(
    total: Float[Array, "batch *space 1"], weight: Float[Array, "batch *space 1"]
) -> Float[Array, "batch *space 1"]:
    mean = total / jnp.maximum(weight, 1e-12)
    if max(total.shape[1:-1]) == 1:
        return mean
    coarse = _push_pull(_halve(total), _halve(weight))
    for axis, n in enumerate(total.shape[1:-1], 1):
        coarse = jax.lax.slice_in_dim(jnp.repeat(coarse, 2, axis), 0, n, axis=axis)
    return jnp.where(weight > 0, mean, coarse)


def _halve(x: Float[Array, "batch *space 1"]) -> Float[Array, "batch *half 1"]:
    """Sums of 2 samples an axis; an odd last one stands alone."""
    space = x.shape[1:-1]
    x = jnp.pad(x, [(0, 0), *((0, n % 2) for n in space), (0, 0)])
    split = itertools.chain(*((-(-n // 2), 2) for n in space))
    return x.reshape(len(x), *split, 1).sum(tuple(range(2, 2 * len(space) + 1, 2)))
