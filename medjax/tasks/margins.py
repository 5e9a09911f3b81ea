"""The margin around training patches that augmentation needs, and how it is found again."""

import functools

from medjax.data.augment import Augment, margin
from medjax.errors import UserError
from medjax.tasks.base import Task


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
def margin_within(task: Task, whole: tuple[int, ...]) -> int:
    """The margin, the same along all axes, of the patch that is `whole` with it.

    The margin follows from the patch, so `prepare` finds it from the size that came.
    """
    candidates = range((min(whole) + 1) // 2)
    return next(m for m in candidates if set(task.margin(tuple(n - 2 * m for n in whole))) == {m})
