"""Shapes of what convolutions and sliding windows return, by their lax names."""

from collections.abc import Sequence
from typing import Any

from fdl.errors import ShapeError
from fdl.lax.convolution import Padding, check_windows, conv_dimension_numbers, padding_pairs, padtype_to_pads
from fdl.numpy._operands import integers

__all__ = [
    "conv_general_permutations",
    "conv_general_shape_tuple",
    "conv_shape_tuple",
    "conv_transpose_shape_tuple",
    "reduce_window_shape_tuple",
]


def _count(extent: int, window: int, stride: int, pad: Sequence[int]) -> int:
    return max(0, (extent + sum(pad) - window) // stride + 1)


def _shapes(name: str, lhs: Any, rhs: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes of as many axes, at least two."""
    data, kernel = (integers(f"{name}: {what}", shape) for what, shape in (("lhs_shape", lhs), ("rhs_shape", rhs)))
    if len(data) != len(kernel) or len(data) < 2 or min(data + kernel) < 0:
        raise ShapeError(
            f"{name}: data and kernel have as many axes, batch and features among them, got {data} and {kernel}"
        )
    return data, kernel


def conv_shape_tuple(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], strides: Sequence[int], pads: Any, batch_group_count: int = 1
) -> tuple[int, ...]:
    """The shape (batch, features, *space) of a convolution of (batch, features, *space) with (out, in, *space).

    Args:
        lhs_shape, rhs_shape: extents of data and kernel.
        strides: a positive number for each axis of space.
        pads: "SAME", "SAME_LOWER", "VALID", or a (low, high) pair for each axis of space.
        batch_group_count: by which the batch is divided.

    Raises:
        ShapeError: they do not fit one another.

    >>> conv_shape_tuple((8, 3, 10), (4, 3, 3), (2,), "VALID")
    (8, 4, 4)
    """
    lhs, rhs = _shapes("conv_shape_tuple", lhs_shape, rhs_shape)
    data, window, steps = check_windows("conv_shape_tuple", lhs[2:], rhs[2:], strides)
    pairs = padding_pairs("conv_shape_tuple", data, window, steps, pads)
    space = (_count(*each) for each in zip(data, window, steps, pairs, strict=True))
    return (lhs[0] // batch_group_count, rhs[0], *space)


def conv_general_shape_tuple(
    lhs_shape: Sequence[int],
    rhs_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    dimension_numbers: Any,
) -> tuple[int, ...]:
    """The shape of :func:`conv_general_dilated` without dilation, in the layouts `dimension_numbers`.

    Raises:
        ShapeError: the arguments do not fit one another.

    >>> conv_general_shape_tuple((8, 10, 3), (3, 3, 4), (2,), "SAME", ("NHC", "HIO", "NHC"))
    (8, 5, 4)
    """
    lhs, rhs = _shapes("conv_general_shape_tuple", lhs_shape, rhs_shape)
    numbers = conv_dimension_numbers(lhs, rhs, dimension_numbers)
    plain = conv_shape_tuple(
        [lhs[i] for i in numbers.lhs_spec], [rhs[i] for i in numbers.rhs_spec], window_strides, padding
    )
    return _placed(plain, numbers.out_spec)


def conv_transpose_shape_tuple(
    lhs_shape: Sequence[int],
    rhs_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    dimension_numbers: Any,
) -> tuple[int, ...]:
    """The shape of :func:`conv_transpose`, of a kernel that is not transposed.

    Raises:
        ShapeError: the arguments do not fit one another.

    >>> conv_transpose_shape_tuple((8, 5, 4), (3, 4, 6), (2,), "SAME", ("NHC", "HIO", "NHC"))
    (8, 10, 6)
    """
    name = "conv_transpose_shape_tuple"
    lhs, rhs = _shapes(name, lhs_shape, rhs_shape)
    numbers = conv_dimension_numbers(lhs, rhs, dimension_numbers)
    space, window = [lhs[i] for i in numbers.lhs_spec[2:]], [rhs[i] for i in numbers.rhs_spec[2:]]
    data, kernel, steps = check_windows(name, space, window, window_strides)
    if isinstance(padding, str):
        padtype_to_pads(data, kernel, steps, padding)  # raises for other names
        same = padding.upper().startswith("SAME")
        ends = zip(data, kernel, steps, strict=True)
        space = [n * s if same else n * s + max(k - s, 0) for n, k, s in ends]
    else:
        pairs = padding_pairs(name, data, kernel, steps, padding)
        dilated = [(n - 1) * s + 1 for n, s in zip(data, steps, strict=True)]
        space = [_count(n, k, 1, p) for n, k, p in zip(dilated, kernel, pairs, strict=True)]
    return _placed((lhs[numbers.lhs_spec[0]], rhs[numbers.rhs_spec[0]], *space), numbers.out_spec)


def conv_general_permutations(dimension_numbers: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The axes of data, kernel and result in the order batch (or out), features (or in), space.

    Args:
        dimension_numbers: the layouts of the three as strings.

    Raises:
        ShapeError: they are no layouts.

    >>> conv_general_permutations(("NHC", "HIO", "NHC"))
    ((0, 2, 1), (2, 1, 0), (0, 2, 1))
    """
    first = dimension_numbers[0] if isinstance(dimension_numbers, (tuple, list)) and dimension_numbers else ""
    shape = (0,) * (len(first) if isinstance(first, (str, tuple)) else 0)
    if dimension_numbers is None:
        raise ShapeError("conv_general_permutations needs the layouts of data, kernel and result as strings, got None")
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

    Raises:
        ShapeError: there is not a window, a stride, a dilation and a pair of padding for each axis.

    >>> reduce_window_shape_tuple((4, 6), (2, 3), (1, 2), "VALID")
    (3, 2)
    """
    name = "reduce_window_shape_tuple"
    shape, window, strides = check_windows(name, operand_shape, window_dimensions, window_strides)
    ones = (1,) * len(shape)
    base, apart = (
        ones if given is None else integers(f"{name}: dilations", given) for given in (base_dilation, window_dilation)
    )
    if not len(base) == len(apart) == len(shape):
        raise ShapeError(f"{name}: {len(shape)} axes need a dilation each, got {base} and {apart}")
    extents = [max(0, (n - 1) * d + 1) for n, d in zip(shape, base, strict=True)]
    windows = [(n - 1) * d + 1 for n, d in zip(window, apart, strict=True)]
    pairs = padding_pairs(name, extents, windows, strides, padding)
    return tuple(_count(*each) for each in zip(extents, windows, strides, pairs, strict=True))


def _placed(plain: Sequence[int], spec: Sequence[int]) -> tuple[int, ...]:
    found = [0] * len(plain)
    for extent, place in zip(plain, spec, strict=True):
        found[place] = extent
    return tuple(found)
