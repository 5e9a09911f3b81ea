"""The static description of a convolution and how padding arguments become numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flax.typing import PrecisionLike
from jax import lax

PaddingLike = str | int | Sequence[int | tuple[int, int]]

# Names of `jnp.pad` for padding that is not zeros.
_MODES = {"REFLECT": "reflect", "EDGE": "edge", "CIRCULAR": "wrap"}


@dataclass(frozen=True)
class Geometry:
    """A strided convolution apart from its arrays; hashable, one entry a spatial dimension.

    Attributes:
        strides: window strides.
        pads: zeros before and after each dimension; negative numbers crop.
        dilation: of the kernel.
        groups: number of groups into which channels and features are split.
        precision: as in `lax.conv_general_dilated`.
    """

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    precision: PrecisionLike = None

    def first(self, n: int) -> "Geometry":
        """The same along the first `n` dimensions only."""
        return replace(
            self, strides=self.strides[:n], pads=self.pads[:n], dilation=self.dilation[:n]
        )

    def rest(self) -> "Geometry":
        """The same without the first dimension."""
        return replace(
            self, strides=self.strides[1:], pads=self.pads[1:], dilation=self.dilation[1:]
        )

    def check(self, shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> None:
        """Raise ValueError unless input and kernel of these shapes can be convolved."""
        if len(shape) != len(kernel_shape):
            raise ValueError(f"input and kernel differ in rank: {shape} and {kernel_shape}")
        if shape[-1] != kernel_shape[-2] * self.groups:
            raise ValueError(
                f"input {shape} has {shape[-1]} channels, kernel {kernel_shape} in {self.groups} "
                f"groups takes {kernel_shape[-2] * self.groups}"
            )
        if kernel_shape[-1] % self.groups:
            raise ValueError(f"{kernel_shape[-1]} features do not split into {self.groups} groups")

    def out_space(self, space: tuple[int, ...], window: tuple[int, ...]) -> tuple[int, ...]:
        """Spatial shape of the convolved input."""
        return tuple(
            max(0, (s + sum(p) - (k - 1) * d - 1) // t + 1)
            for s, k, t, p, d in zip(
                space, window, self.strides, self.pads, self.dilation, strict=True
            )
        )


def per_dimension(value: int | Sequence[int] | None, n: int) -> tuple[int, ...]:
    """One int a dimension; `None` means 1, as in Flax."""
    value = 1 if value is None else value
    values = (value,) * n if isinstance(value, int) else tuple(value)
    if len(values) != n:
        raise ValueError(f"{values} has {len(values)} entries for {n} spatial dimensions")
    return values


def pad_mode(padding: PaddingLike) -> str | None:
    """The mode of `jnp.pad` for padding with other than zeros, else None."""
    return _MODES.get(padding) if isinstance(padding, str) else None


def explicit_padding(
    padding: PaddingLike,
    space: tuple[int, ...],
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each dimension of a convolution's input."""
    if not isinstance(padding, str):
        return _numbers(padding, len(space))
    extent = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    if padding == "CAUSAL":
        if len(space) != 1:
            raise ValueError("CAUSAL padding is for one spatial dimension")
        return ((extent[0] - 1, 0),)
    if padding not in ("SAME", "SAME_LOWER", "VALID"):
        raise ValueError(f"unknown padding {padding!r}")
    return tuple((lo, hi) for lo, hi in lax.padtype_to_pads(space, extent, strides, padding))


def transposed_padding(
    padding: PaddingLike,
    window: tuple[int, ...],
    strides: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """Zeros around the zero-interleaved input of `lax.conv_transpose`."""
    if not isinstance(padding, str):
        return _numbers(padding, len(window))
    if padding not in ("SAME", "VALID"):
        raise ValueError(f"a transposed convolution cannot be padded by {padding!r}")
    return tuple(
        _transposed_pair((k - 1) * d, t, padding)
        for k, t, d in zip(window, strides, dilation, strict=True)
    )


def _transposed_pair(extent: int, stride: int, padding: str) -> tuple[int, int]:
    """Low and high padding of one dimension; `extent` is the dilated kernel size less one."""
    if padding == "VALID":
        return extent, max(extent, stride - 1)
    total = extent + stride - 1
    low = extent if stride > extent else -(-total // 2)
    return low, total - low


def _numbers(padding: int | Sequence[int | tuple[int, int]], n: int) -> tuple[tuple[int, int], ...]:
    if isinstance(padding, int):
        return ((padding, padding),) * n
    if len(padding) != n:
        raise ValueError(f"padding {padding!r} has {len(padding)} entries for {n} dimensions")
    pairs = tuple((p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding)
    return pairs
