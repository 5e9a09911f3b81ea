"""The margin around training patches that augmentation needs, and how it is found again."""

import functools

from medjax.data.augment import Augment, margin
from medjax.errors import UserError


@functools.lru_cache
def equal_margin(config: Augment, patch: tuple[int, ...]) -> int:
    """Samples on every side of a patch that `augment_and_crop` needs, the same along all axes.

    Raises:
      UserError: there is a margin and the patch's sides differ.
    """
    if config.warp_probability == 0:
        return 0
    most = max(margin(config, patch))
    if most and len(set(patch)) > 1:
        sides = " ".join(map(str, patch))
        raise UserError(f"data.patch {sides}: rotation and deformation take sides of one length")
    return most


@functools.lru_cache
def margin_within(config: Augment, whole: tuple[int, ...]) -> int:
    """`equal_margin` of the patch that is `whole` with its margins."""
    if config.warp_probability == 0:
        return 0
    candidates = range((min(whole) + 1) // 2)
    found = (m for m in candidates if equal_margin(config, tuple(n - 2 * m for n in whole)) == m)
    return next(found)
