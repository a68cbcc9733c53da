"""Windows that slide over padded and dilated axes: what convolutions and pooling share."""

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

Pairs = tuple[tuple[int, int], ...]


def dilated(extent: int, dilation: int) -> int:
    """The extent of an axis whose elements are put `dilation` apart."""
    return (extent - 1) * dilation + 1 if extent else 0


def out_extents(
    shape: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> tuple[int, ...]:
    """How many places a window has along each axis."""
    found = []
    for n, k, step, (low, high), d, e in zip(
        shape, window, strides, padding, base_dilation, window_dilation, strict=True
    ):
        room = dilated(n, d) + low + high - dilated(k, e)
        found.append(room // step + 1 if room >= 0 else 0)
    return tuple(found)


def gradient_padding(
    shape: Sequence[int],
    window: Sequence[int],
    strides: Sequence[int],
    padding: Pairs,
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Pairs:
    """Padding with which a window sliding over results, `strides` apart, meets every element of the operand once."""
    extents = out_extents(shape, window, strides, padding, base_dilation, window_dilation)
    found = []
    for n, k, m, step, (low, _), d, e in zip(
        shape, window, extents, strides, padding, base_dilation, window_dilation, strict=True
    ):
        before = dilated(k, e) - 1 - low
        found.append((before, dilated(n, d) + dilated(k, e) - 1 - dilated(m, step) - before))
    return tuple(found)


def sliding(x: np.ndarray, window: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> np.ndarray:
    """A view of `x` of shape (places along each axis..., elements of a window along each axis...)."""
    none = ((0, 0),) * x.ndim
    places = out_extents(x.shape, window, strides, none, (1,) * x.ndim, dilation)
    steps = tuple(b * s for b, s in zip(x.strides, strides, strict=True))
    within = tuple(b * d for b, d in zip(x.strides, dilation, strict=True))
    return as_strided(x, places + tuple(window), steps + within, writeable=False)
