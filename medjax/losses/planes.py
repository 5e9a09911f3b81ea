"""A loss of 2-D images on volumes and series: on slices along an axis that the data draw."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

from medjax.losses.pixel import check_shapes

PlaneLoss = Callable[[Float[Array, "n y x c"], Float[Array, "n y x c"]], Float[Array, ""]]


def over_planes(
    loss: PlaneLoss,
    restored: Float[Array, "batch *space c"],
    clean: Float[Array, "batch *space c"],
    *,
    slices: int,
    smallest: int,
    preferred: int = 16,
) -> Float[Array, ""]:
    """`loss` on the images themselves, or on slices of volumes [z, y, x] or series [t, z, y, x].

    One of the three space axes is drawn, then up to `slices` slices a case, evenly spaced from a
    drawn start, of a series from all its times. A loss has no random key, so the draw is seeded
    with the bits of the clean images: the same batch gives the same slices on any number of
    devices, and a training's ever new augmentation gives ever new ones.

    Args:
      loss: of two batches of 2-D images.
      restored: what the network gave.
      clean: what it should have given.
      slices: most slices a case and step.
      smallest: samples a side that `loss` needs.
      preferred: slices smaller a side than this are left alone where there are larger ones.

    Raises:
      ValueError: the images have no 2 to 4 space axes, or no slice is large enough.
    """
    check_shapes(restored, clean)
    dims = restored.ndim - 2
    if dims not in (2, 3, 4):
        raise ValueError(f"needs 2 to 4 space axes, got shape {restored.shape}")
    if dims == 2:
        return loss(restored, clean)
    sides = [min(np.delete(clean.shape[-4:-1], i)) for i in range(3)]
    axes = [i for i, side in enumerate(sides) if side >= min(max(preferred, smallest), max(sides))]
    if max(sides) < smallest:
        raise ValueError(f"slices of {clean.shape} are smaller than {smallest} a side")
    draw_axis, draw_start = jax.random.split(_key_of(clean))

    def along(axis: int) -> Callable[[Array, Array], Array]:
        def mean(restored: Array, clean: Array) -> Array:
            return loss(*(_slices(x, axis, slices, draw_start) for x in (restored, clean)))

        return mean

    if len(axes) == 1:
        return along(axes[0])(restored, clean)
    choice = jax.random.randint(draw_axis, (), 0, len(axes))
    return lax.switch(choice, [along(axis) for axis in axes], restored, clean)


def _key_of(x: Array) -> Key[Array, ""]:
    """A random key made of an array's bits; integer sums do not depend on their order."""
    bits = lax.bitcast_convert_type(lax.stop_gradient(x).astype(jnp.float32), jnp.uint32)
    return jax.random.key(jnp.sum(bits, dtype=jnp.uint32))


def _slices(
    x: Float[Array, "batch *space c"], axis: int, slices: int, key: Key[Array, ""]
) -> Float[Array, "n y x c"]:
    """Evenly spaced slices along `axis` of [z, y, x]; times and slices are counted through."""
    along = x.ndim - 4 + axis
    x = jnp.moveaxis(x, along, x.ndim - 4)
    x = x.reshape(x.shape[0], -1, *x.shape[-3:])
    total = x.shape[1]
    if total > slices:
        steps = jnp.arange(slices, dtype=jnp.float32) + jax.random.uniform(key)
        places = jnp.floor(steps * (total / slices)).astype(jnp.int32)
        x = jnp.take(x, places, axis=1, mode="clip")
    return x.reshape(-1, *x.shape[2:])


def fold_short(
    x: Float[Array, "batch *space c"], shortest: int
) -> Float[Array, "batch_and_more *long c"]:
    """`x` with its times, and leading axes of fewer than `shortest` samples, joined to the batch.

    Two axes at least are kept.
    """
    keep = min(x.ndim - 2, 3)
    while keep > 2 and x.shape[-keep - 1] < shortest:
        keep -= 1
    return x.reshape(-1, *x.shape[-keep - 1 :])
