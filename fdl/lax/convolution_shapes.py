"""Shapes of what convolutions and sliding windows return, by their lax names."""

from collections.abc import Sequence
from typing import Any

from fdl.errors import ShapeError
from fdl.lax.convolution import Padding, conv_dimension_numbers, padtype_to_pads

__all__ = [
    "conv_general_permutations",
    "conv_general_shape_tuple",
    "conv_shape_tuple",
    "conv_transpose_shape_tuple",
    "reduce_window_shape_tuple",
]


def _count(extent: int, window: int, stride: int, pad: Sequence[int]) -> int:
    return max(0, (extent + sum(pad) - window) // stride + 1)


def conv_shape_tuple(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], strides: Sequence[int], pads: Any, batch_group_count: int = 1
) -> tuple[int, ...]:
    """The shape (batch, features, *space) of a convolution of (batch, features, *space) with (out, in, *space).

    >>> conv_shape_tuple((8, 3, 10), (4, 3, 3), (2,), "VALID")
    (8, 4, 4)
    """
    if isinstance(pads, str):
        pads = padtype_to_pads(lhs_shape[2:], rhs_shape[2:], strides, pads)
    if not len(lhs_shape) - 2 == len(rhs_shape) - 2 == len(strides) == len(pads):
        raise ShapeError(
            f"conv_shape_tuple: {tuple(strides)} and {tuple(pads)} do not fit the axes of {tuple(lhs_shape)}"
        )
    space = (_count(*each) for each in zip(lhs_shape[2:], rhs_shape[2:], strides, pads, strict=True))
    return (lhs_shape[0] // batch_group_count, rhs_shape[0], *space)


def conv_general_shape_tuple(
    lhs_shape: Sequence[int],
    rhs_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    dimension_numbers: Any,
) -> tuple[int, ...]:
    """The shape of :func:`conv_general_dilated` without dilation, in the layouts `dimension_numbers`.

    >>> conv_general_shape_tuple((8, 10, 3), (3, 3, 4), (2,), "SAME", ("NHC", "HIO", "NHC"))
    (8, 5, 4)
    """
    lhs, rhs, out = conv_general_permutations(dimension_numbers)
    plain = conv_shape_tuple([lhs_shape[i] for i in lhs], [rhs_shape[i] for i in rhs], window_strides, padding)
    return _placed(plain, out)


def conv_transpose_shape_tuple(
    lhs_shape: Sequence[int],
    rhs_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    dimension_numbers: Any,
) -> tuple[int, ...]:
    """The shape of :func:`conv_transpose`, of a kernel that is not transposed.

    >>> conv_transpose_shape_tuple((8, 5, 4), (3, 4, 6), (2,), "SAME", ("NHC", "HIO", "NHC"))
    (8, 10, 6)
    """
    lhs, rhs, out = conv_general_permutations(dimension_numbers)
    data, kernel = [lhs_shape[i] for i in lhs], [rhs_shape[i] for i in rhs]
    if isinstance(padding, str):
        same = padding.upper().startswith("SAME")
        ends = zip(data[2:], kernel[2:], window_strides, strict=True)
        space = [n * s if same else n * s + max(k - s, 0) for n, k, s in ends]
    else:
        dilated = [(n - 1) * s + 1 for n, s in zip(data[2:], window_strides, strict=True)]
        space = [_count(n, k, 1, p) for n, k, p in zip(dilated, kernel[2:], padding, strict=True)]
    return _placed((data[0], kernel[0], *space), out)


def conv_general_permutations(dimension_numbers: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The axes of data, kernel and result in the order batch (or out), features (or in), space.

    >>> conv_general_permutations(("NHC", "HIO", "NHC"))
    ((0, 2, 1), (2, 1, 0), (0, 2, 1))
    """
    shape = (0,) * len(dimension_numbers[0])
    numbers = conv_dimension_numbers(shape, shape, dimension_numbers)
    return tuple(numbers.lhs_spec), tuple(numbers.rhs_spec), tuple(numbers.out_spec)


def reduce_window_shape_tuple(
    operand_shape: Sequence[int],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """The shape of :func:`reduce_window`.

    >>> reduce_window_shape_tuple((4, 6), (2, 3), (1, 2), "VALID")
    (3, 2)
    """
    ones = (1,) * len(operand_shape)
    base, apart = base_dilation or ones, window_dilation or ones
    extents = [max(0, (n - 1) * d + 1) for n, d in zip(operand_shape, base, strict=True)]
    windows = [(n - 1) * d + 1 for n, d in zip(window_dimensions, apart, strict=True)]
    if isinstance(padding, str):
        padding = padtype_to_pads(extents, windows, window_strides, padding)
    return tuple(_count(*each) for each in zip(extents, windows, window_strides, padding, strict=True))


def _placed(plain: Sequence[int], spec: Sequence[int]) -> tuple[int, ...]:
    found = [0] * len(plain)
    for extent, place in zip(plain, spec, strict=True):
        found[place] = extent
    return tuple(found)
