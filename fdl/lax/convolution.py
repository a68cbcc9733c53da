"""Convolutions, by their lax names."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from fdl.array import as_array
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.lax.precisions import summation
from fdl.lax.structure import rev
from fdl.numpy._operands import integers, is_sequence, promote, shape_tuple
from fdl.ops import conv as conv_ops
from fdl.ops.contract import dot_general
from fdl.ops.conv import ConvDimensionNumbers
from fdl.ops.shape import transpose

__all__ = [
    "ConvDimensionNumbers",
    "conv",
    "conv_dimension_numbers",
    "conv_general_dilated",
    "conv_general_dilated_local",
    "conv_general_dilated_patches",
    "conv_transpose",
    "conv_with_general_padding",
    "padtype_to_pads",
]

Padding = str | Sequence[tuple[int, int]]


def conv_dimension_numbers(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], dimension_numbers: Any
) -> ConvDimensionNumbers:
    """Layouts given as strings such as ``("NHWC", "HWIO", "NHWC")``, as ConvDimensionNumbers, or None.

    Args:
        lhs_shape: shape of the data.
        rhs_shape: shape of the kernel.
        dimension_numbers: layouts of data, kernel and result; None stands for NC, OI and NC followed by the space.

    Returns:
        The ConvDimensionNumbers they stand for.

    Raises:
        ShapeError: the strings do not fit the operands' numbers of axes.

    >>> import fdl
    >>> fdl.lax.conv_dimension_numbers((1, 8, 3), (2, 3, 4), ("NHC", "HIO", "NHC")).rhs_spec
    (2, 1, 0)
    """
    if isinstance(dimension_numbers, ConvDimensionNumbers):
        return dimension_numbers
    lhs_shape, rhs_shape = (shape_tuple("conv_dimension_numbers", shape) for shape in (lhs_shape, rhs_shape))
    ndim = len(lhs_shape)
    if dimension_numbers is None:
        same = tuple(range(ndim))
        return ConvDimensionNumbers(same, same, same)
    texts = tuple(dimension_numbers) if isinstance(dimension_numbers, (tuple, list)) else ()
    if len(texts) != 3 or not all(isinstance(text, str) for text in texts):
        raise ShapeError(
            "dimension_numbers must be three strings, the layouts of data, kernel and result, as "
            f"('NHWC', 'HWIO', 'NHWC'), or None; got {dimension_numbers!r:.80}"
        )
    lhs, rhs, out = texts
    if not (len(lhs) == len(rhs) == len(out) == ndim == len(rhs_shape)):
        raise ShapeError(
            f"dimension_numbers {(lhs, rhs, out)} do not fit operands of {ndim} and {len(rhs_shape)} axes: each string "
            "needs a letter for every axis"
        )
    spatial = [c for c in rhs if c not in "OI"]
    if set(lhs) - set("NC") != set(spatial) or set(out) - set("NC") != set(spatial) or len(set(lhs)) != ndim:
        raise ShapeError(
            f"dimension_numbers {(lhs, rhs, out)} must use N and C (O and I in the kernel) and the same spatial letters"
        )

    def spec(text: str, first: str, second: str) -> tuple[int, ...]:
        return (text.index(first), text.index(second), *(text.index(c) for c in spatial))

    return ConvDimensionNumbers(spec(lhs, "N", "C"), spec(rhs, "O", "I"), spec(out, "N", "C"))


def padtype_to_pads(
    in_shape: Sequence[int], window_shape: Sequence[int], window_strides: Sequence[int], padding: str
) -> list[tuple[int, int]]:
    """(low, high) padding of each axis for "SAME", "SAME_LOWER" or "VALID".

    Args:
        in_shape: extents of the data.
        window_shape: extents of the window.
        window_strides: steps of the window.
        padding: one of those names.

    Returns:
        A pair for each axis.

    Raises:
        ShapeError: the three have different lengths, or a step is no positive number.
        ValueError: the padding has another name.

    >>> import fdl
    >>> fdl.lax.padtype_to_pads((5,), (2,), (1,), "SAME")
    [(0, 1)]
    """
    kind = padding.upper() if isinstance(padding, str) else ""
    if kind not in ("SAME", "SAME_LOWER", "VALID"):
        raise ValueError(f"padding must be 'SAME', 'SAME_LOWER', 'VALID' or pairs of numbers, got {padding!r:.80}")
    extents, windows, strides = check_windows("padtype_to_pads", in_shape, window_shape, window_strides)
    if kind == "VALID":
        return [(0, 0)] * len(extents)
    pads = []
    for extent, window, stride in zip(extents, windows, strides, strict=True):
        out = -(-extent // stride)
        total = max((out - 1) * stride + window - extent, 0)
        small = total // 2
        pads.append((small, total - small) if kind == "SAME" else (total - small, small))
    return pads


def check_windows(name: str, *numbers: Any) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Extents of the data and the windows, and strides, as integers: one of each for every axis.

    Raises:
        ShapeError: they are of different lengths, or a stride is no positive number.
    """
    extents, windows, strides = (
        integers(f"{name}: {what}", given)
        for what, given in zip(("extents", "windows", "strides"), numbers, strict=True)
    )
    if not len(extents) == len(windows) == len(strides):
        raise ShapeError(
            f"{name}: {len(extents)} axes need a window and a stride each, got windows {windows} and strides {strides}"
        )
    if min(strides, default=1) < 1:
        raise ShapeError(f"{name}: strides are positive, got {strides}")
    return extents, windows, strides


def padding_pairs(name: str, data: Any, window: Any, strides: Any, padding: Any) -> list[tuple[int, int]]:
    """A padding, by its name or as pairs, as a (low, high) pair for each axis.

    Raises:
        ShapeError: it has not a pair for each axis.
        ValueError: the name is none.
    """
    if isinstance(padding, str):
        return padtype_to_pads(data, window, strides, padding)
    padding = tuple(padding) if hasattr(padding, "__iter__") else padding
    if not is_sequence(padding) or not all(is_sequence(pair) and len(pair) == 2 for pair in padding):
        raise ShapeError(
            f"{name}: padding must be 'SAME', 'SAME_LOWER', 'VALID' or a (low, high) pair for each axis, got "
            f"{padding!r:.80}"
        )
    pairs = [integers(f"{name}: a pair of padding", pair) for pair in padding]
    if len(pairs) != len(data):
        raise ShapeError(f"{name}: {len(data)} axes need a pair of padding each, got {pairs}")
    return [(low, high) for low, high in pairs]


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    **ignored: Any,
) -> Array:
    """Convolution of any number of spatial axes (the kernel is not flipped).

    Args:
        lhs: data, by default (batch, features, *space).
        rhs: kernel, by default (output features, input features / groups, *space).
        window_strides: step along each spatial axis.
        padding: "SAME", "SAME_LOWER", "VALID", or a (low, high) pair for each spatial axis.
        lhs_dilation: distance of the data's elements: the stride of a transposed convolution.
        rhs_dilation: distance of the kernel's elements: an atrous convolution.
        dimension_numbers: layouts, e.g. ``("NHWC", "HWIO", "NHWC")``.
        feature_group_count: groups of features with a kernel each.
        batch_group_count: groups of examples with a kernel each.
        precision: None, "default" or `Precision.DEFAULT` lets 3x3 convolutions of float32 be computed with fewer
            multiplications, where a NaN or an infinity spreads to the 4x4 results that are computed together (see
            :class:`Precision`); "high", "highest" and all others sum all products directly.
        preferred_element_type: dtype in which to sum and return.
        **ignored: further keywords, accepted for ports.

    Returns:
        An array, by default (batch, output features, *space).

    Raises:
        ShapeError: features, groups or numbers of axes do not agree.

    Source: the operation `Conv` of XLA, https://openxla.org/xla/operation_semantics#conv_convolution

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.conv_general_dilated(fnp.ones((1, 1, 4)), fnp.ones((1, 1, 2)), (1,), "VALID")
    Array([[[2., 2., 2.]]], dtype=float32)
    """
    lhs, rhs = promote("conv_general_dilated", lhs, rhs)
    numbers = conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    space = lhs.ndim - 2
    if len(tuple(window_strides)) != space:
        raise ShapeError(
            f"conv_general_dilated of {lhs.type} has {space} spatial axes, but window_strides is "
            f"{tuple(window_strides)}"
        )
    if isinstance(padding, str):
        data = [
            _dilated(lhs.shape[a], d) for a, d in zip(numbers.lhs_spec[2:], lhs_dilation or (1,) * space, strict=True)
        ]
        window = [
            _dilated(rhs.shape[a], d) for a, d in zip(numbers.rhs_spec[2:], rhs_dilation or (1,) * space, strict=True)
        ]
        padding = padtype_to_pads(data, window, window_strides, padding)
    return conv_ops.conv_general(
        lhs, rhs, tuple(window_strides), padding, numbers, lhs_dilation, rhs_dilation, feature_group_count,
        batch_group_count, preferred_element_type, summation(precision),
    )  # fmt: skip


def _dilated(extent: int, dilation: int) -> int:
    return (extent - 1) * dilation + 1 if extent else 0


def conv(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Convolution in the layouts NC, OI and NC followed by the space; see :func:`conv_general_dilated`.

    Args:
        lhs: data, (batch, features, *space).
        rhs: kernel, (output features, input features, *space).
        window_strides: step along each spatial axis.
        padding: "SAME", "SAME_LOWER" or "VALID".
        precision: as in :func:`conv_general_dilated`.
        preferred_element_type: dtype in which to sum and return.

    Returns:
        An array (batch, output features, *space).

    Raises:
        ShapeError: features or numbers of axes do not agree.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.conv(fnp.ones((1, 1, 4)), fnp.ones((1, 1, 2)), (2,), "VALID")
    Array([[[2., 2.]]], dtype=float32)
    """
    return conv_general_dilated(
        lhs, rhs, window_strides, padding, precision=precision, preferred_element_type=preferred_element_type
    )


def conv_with_general_padding(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None,
    rhs_dilation: Sequence[int] | None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Convolution with any padding and dilations; see :func:`conv_general_dilated`.

    Args:
        lhs: data, (batch, features, *space).
        rhs: kernel, (output features, input features, *space).
        window_strides: step along each spatial axis.
        padding: "SAME", "SAME_LOWER", "VALID", or a (low, high) pair for each spatial axis.
        lhs_dilation: distance of the data's elements along each spatial axis; 1 if None.
        rhs_dilation: distance of the kernel's elements along each spatial axis; 1 if None.
        precision: as in :func:`conv_general_dilated`.
        preferred_element_type: dtype in which to sum and return.

    Returns:
        An array (batch, output features, *space).

    Raises:
        ShapeError: features or numbers of axes do not agree.

    >>> import fdl, fdl.numpy as fnp
    >>> data, kernel = fnp.arange(4.0).reshape(1, 1, 4), fnp.ones((1, 1, 2))
    >>> fdl.lax.conv_with_general_padding(data, kernel, (1,), [(1, 0)], None, (2,))
    Array([[[1., 2., 4.]]], dtype=float32)
    """
    return conv_general_dilated(
        lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, precision=precision,
        preferred_element_type=preferred_element_type,
    )  # fmt: skip


def conv_transpose(
    lhs: Any,
    rhs: Any,
    strides: Sequence[int],
    padding: Padding,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    transpose_kernel: bool = False,
    precision: Any = None,
    preferred_element_type: Any = None,
    use_consistent_padding: bool = False,
) -> Array:
    """Transposed (fractionally strided) convolution: `strides` is how much larger the result is.

    Args:
        lhs: data, by default (batch, *space, features).
        rhs: kernel, by default (*space, input features, output features).
        strides: the enlargement along each spatial axis.
        padding: "SAME" (result is strides x data), "VALID", or pairs of the padding of the dilated data.
        rhs_dilation: distance of the kernel's elements.
        dimension_numbers: layouts; the default is NHWC, HWIO with one to three spatial axes.
        transpose_kernel: flip the kernel and swap its features, which makes this the gradient of a convolution.
        precision: as in :func:`conv_general_dilated`.
        preferred_element_type: dtype in which to sum and return.
        use_consistent_padding: read pairs as the padding of the convolution of which this is the gradient.

    Returns:
        An array, by default (batch, *space, output features).

    Raises:
        ShapeError: features or numbers of axes do not agree.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.conv_transpose(fnp.ones((1, 3, 1)), fnp.ones((2, 1, 1)), (2,), "SAME").shape
    (1, 6, 1)
    """
    lhs, rhs = promote("conv_transpose", lhs, rhs)
    space = lhs.ndim - 2
    if dimension_numbers is None:
        letters = "DHW"[3 - space :]
        dimension_numbers = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
    numbers = conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    window = [rhs.shape[a] for a in numbers.rhs_spec[2:]]
    effective = [_dilated(k, d) for k, d in zip(window, rhs_dilation or (1,) * space, strict=True)]
    if isinstance(padding, str):
        pads = [_transpose_pads(k, s, padding) for k, s in zip(effective, strides, strict=True)]
    elif use_consistent_padding:
        pads = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(effective, padding, strict=True)]
    else:
        pads = [(int(low), int(high)) for low, high in padding]
    if transpose_kernel:
        rhs = rev(rhs, numbers.rhs_spec[2:])
        swapped = (numbers.rhs_spec[1], numbers.rhs_spec[0], *numbers.rhs_spec[2:])
        numbers = ConvDimensionNumbers(numbers.lhs_spec, swapped, numbers.out_spec)
    return conv_general_dilated(
        lhs, rhs, (1,) * space, pads, strides, rhs_dilation, numbers, precision=precision,
        preferred_element_type=preferred_element_type,
    )  # fmt: skip


def _transpose_pads(window: int, stride: int, padding: str) -> tuple[int, int]:
    """Padding of the dilated data for which the result has the size that the gradient's input would have."""
    if padding.upper() == "SAME":
        total = window + stride - 2
        low = window - 1 if stride > window - 1 else -(-total // 2)
    elif padding.upper() == "VALID":
        total = window + stride - 2 + max(window - stride, 0)
        low = window - 1
    else:
        raise ValueError(f"padding must be 'SAME', 'VALID' or pairs of numbers, got {padding!r}")
    return low, total - low


def conv_general_dilated_patches(
    lhs: Any,
    filter_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: Padding,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The patches under a sliding kernel, laid out along the feature axis (features slowest, then space in order).

    Args:
        lhs: data, by default (batch, features, *space).
        filter_shape: extents of the kernel along the spatial axes.
        window_strides: step along each spatial axis.
        padding: "SAME", "SAME_LOWER", "VALID", or a (low, high) pair for each spatial axis.
        lhs_dilation: distance of the data's elements along each spatial axis; 1 if None.
        rhs_dilation: distance of the kernel's elements along each spatial axis; 1 if None.
        dimension_numbers: layouts, as for :func:`conv_general_dilated`.
        precision: accepted for ports.
        preferred_element_type: dtype of the result.

    Returns:
        An array in the layout of the data, with the product of features and `filter_shape` as its features.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.conv_general_dilated_patches(fnp.arange(4.0).reshape(1, 1, 4), (2,), (1,), "VALID")
    Array([[[0., 1., 2.],
            [1., 2., 3.]]], dtype=float32)
    """
    lhs = as_array(lhs)
    shape = tuple(filter_shape)
    layout = conv_dimension_numbers(lhs.shape, lhs.shape, dimension_numbers)
    features, size = lhs.shape[layout.lhs_spec[1]], prod(shape)
    kernel = np.tile(np.eye(size, dtype=lhs.dtype).reshape(size, 1, *shape), (features, *[1] * (lhs.ndim - 1)))
    numbers = ConvDimensionNumbers(layout.lhs_spec, tuple(range(lhs.ndim)), layout.out_spec)
    return conv_general_dilated(
        lhs, as_array(kernel), window_strides, padding, lhs_dilation, rhs_dilation, numbers, features,
        preferred_element_type=preferred_element_type,
    )  # fmt: skip


def conv_general_dilated_local(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: Padding,
    filter_shape: Sequence[int],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    precision: Any = None,
) -> Array:
    """A convolution whose kernel differs from place to place, also called a locally connected layer.

    Args:
        lhs: data, by default (batch, features, *space).
        rhs: kernels, by default (features out, features in times the product of `filter_shape`, *space of the
            result); its second axis counts features slowest, as :func:`conv_general_dilated_patches` does.
        window_strides: step along each spatial axis.
        padding: "SAME", "SAME_LOWER", "VALID", or a (low, high) pair for each spatial axis.
        filter_shape: extents of the kernels along the spatial axes.
        lhs_dilation: distance of the data's elements along each spatial axis; 1 if None.
        rhs_dilation: distance of the kernel's elements along each spatial axis; 1 if None.
        dimension_numbers: layouts, as for :func:`conv_general_dilated`.
        precision: accepted for ports.

    Returns:
        An array in the layout of the result.

    Raises:
        ShapeError: the kernels are not one for each place of the result.

    >>> import fdl, fdl.numpy as fnp
    >>> kernels = fnp.array([[[1.0, 0.0], [0.0, 1.0]]])  # at the first place the first element, then the second
    >>> fdl.lax.conv_general_dilated_local(fnp.arange(3.0).reshape(1, 1, 3), kernels, (1,), "VALID", (2,))
    Array([[[0., 2.]]], dtype=float32)
    """
    lhs, rhs = promote("conv_general_dilated_local", lhs, rhs)
    layout = conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    patches = conv_general_dilated_patches(
        lhs, filter_shape, window_strides, padding, lhs_dilation, rhs_dilation, layout
    )
    (batch, features, *space), (_, taken, *places) = layout.out_spec, layout.rhs_spec
    if [patches.shape[n] for n in (features, *space)] != [rhs.shape[n] for n in (taken, *places)]:
        raise ShapeError(
            f"conv_general_dilated_local needs kernels of {patches.shape[features]} numbers at each of the places "
            f"{tuple(patches.shape[n] for n in space)}, got {rhs.type} in the layout {layout.rhs_spec}"
        )
    product = dot_general(patches, rhs, (((features,), (taken,)), (tuple(space), tuple(places))))
    return transpose(product, np.argsort((*space, batch, features)).tolist())
