"""ConvGeneral: convolution (without flipping the kernel) with any layout, strides, padding, dilation and groups."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fdl.core.primitive import Linear, Primitive
from fdl.core.types import TensorType
from fdl.dtypes import NUMERIC, as_dtype, bfloat16, float32, int8, int32
from fdl.errors import DtypeError, ShapeError
from fdl.ops.arithmetic import add
from fdl.ops.convert import convert
from fdl.ops.precision import accumulator
from fdl.ops.samples import draw
from fdl.ops.shape import move_axis, reshape, zeros_of
from fdl.ops.slicing import Pad, reverse
from fdl.ops.strided import Pairs, dilated, gradient_padding, out_extents, sliding


@dataclass(frozen=True)
class ConvDimensionNumbers:
    """Which axes mean what.

    Attributes:
        lhs_spec: of the data: batch axis, feature axis, spatial axes.
        rhs_spec: of the kernel: output feature axis, input feature axis, spatial axes.
        out_spec: of the result: batch axis, feature axis, spatial axes.

    >>> ConvDimensionNumbers((0, 2, 1), (2, 1, 0), (0, 2, 1)).rhs_spec
    (2, 1, 0)
    """

    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


class ConvGeneral(Primitive):
    """Data of N examples with C features, kernel of O x C / groups: N examples with O features.

    Attributes:
        strides: step of the kernel along each spatial axis.
        padding: zeros before and after each spatial axis; negative ones cut off.
        lhs_dilation: distance of the elements of the data.
        rhs_dilation: distance of the elements of the kernel.
        numbers: the layouts.
        feature_group_count: into how many groups the features are split, each with its part of the kernel.
        batch_group_count: into how many groups the examples are split, each with its part of the kernel; their results
            are put side by side as features.
        dtype: in which products are summed, by default that of the operands (for 16-bit floats float32).
        precision: "highest" if all products are to be summed directly; None leaves kernels with fewer multiplications,
            which round more, to the compiler.
    """

    lowering_kind = "kernel"
    compile_eagerly = True
    linear = ((0,), (1,))
    strides: tuple[int, ...]
    padding: Pairs
    lhs_dilation: tuple[int, ...]
    rhs_dilation: tuple[int, ...]
    numbers: ConvDimensionNumbers
    feature_group_count: int = 1
    batch_group_count: int = 1
    dtype: np.dtype | None = None
    precision: str | None = None

    def result(self, *types: TensorType) -> TensorType:
        x, w = types
        n, shown = self.numbers, f"convolution of {x} with kernel {w}"
        if x.dtype != w.dtype or x.dtype not in NUMERIC:
            raise DtypeError(f"{shown}: both must have one numeric dtype")
        axes = list(range(x.ndim))
        if x.ndim < 2 or any(sorted(spec) != axes for spec in (n.lhs_spec, n.rhs_spec, n.out_spec)) or w.ndim != x.ndim:
            raise ShapeError(f"{shown}: {n} must give each of {x.ndim} axes its meaning")
        per_axis = (self.strides, self.padding, self.lhs_dilation, self.rhs_dilation)
        steps = (*self.strides, *self.lhs_dilation, *self.rhs_dilation)
        if any(len(p) != x.ndim - 2 for p in per_axis) or min(steps, default=1) < 1:
            raise ShapeError(f"{shown}: strides, padding and dilations need one (positive) entry for each spatial axis")
        groups, examples = self.feature_group_count, self.batch_group_count
        batch, features, *_ = (x.shape[a] for a in n.lhs_spec)
        out_features, in_features, *_ = (w.shape[a] for a in n.rhs_spec)
        if groups < 1 or examples < 1 or (groups > 1 and examples > 1):
            raise ShapeError(f"{shown}: of feature_group_count={groups} and batch_group_count={examples} one must be 1")
        if features != in_features * groups or out_features % (groups * examples) or batch % examples:
            raise ShapeError(
                f"{shown}: {features} features of the data and {in_features} of the kernel do not fit together with "
                f"feature_group_count={groups}, batch_group_count={examples}, {out_features} output features"
            )
        extents = (batch // examples, out_features, *out_extents(*self.spatial(x, w)))
        shape = [0] * x.ndim
        for axis, extent in zip(n.out_spec, extents, strict=True):
            shape[axis] = extent
        return TensorType(tuple(shape), self.dtype or x.dtype)

    def spatial(self, x: TensorType, w: TensorType) -> tuple[Any, ...]:
        """What happens along the spatial axes: the arguments of `fdl.ops.strided.out_extents`."""
        extents = tuple(x.shape[a] for a in self.numbers.lhs_spec[2:])
        kernel = tuple(w.shape[a] for a in self.numbers.rhs_spec[2:])
        return extents, kernel, self.strides, self.padding, self.lhs_dilation, self.rhs_dilation

    def reference(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        out = self.result(TensorType(x.shape, x.dtype), TensorType(w.shape, w.dtype))
        dtype, groups = accumulator(out.dtype), self.feature_group_count * self.batch_group_count
        data = x.transpose(self.numbers.lhs_spec).astype(dtype)
        kernel = w.transpose(self.numbers.rhs_spec).astype(dtype)
        low, high = ((0, 0, *(p[side] for p in self.padding)) for side in (0, 1))
        data = Pad(low, high, (0, 0, *(d - 1 for d in self.lhs_dilation))).reference(data, np.zeros((), dtype))
        # Axes of the data from here: group, example, feature, spatial axes.
        if self.batch_group_count > 1:
            data = data.reshape(groups, data.shape[0] // groups, *data.shape[1:])
        else:
            data = data.reshape(data.shape[0], groups, data.shape[1] // groups, *data.shape[2:]).swapaxes(0, 1)
        size = kernel.shape[2:]
        windows = sliding(data, (1, 1, 1, *size), (1, 1, 1, *self.strides), (1, 1, 1, *self.rhs_dilation))
        count = len(size)
        places = windows.shape[3 : 3 + count]
        windows = windows.reshape(*data.shape[:3], *places, *size)
        windows = windows.transpose(0, 1, *range(3, 3 + count), 2, *range(3 + count, 3 + 2 * count))
        taps, per_group = data.shape[2] * prod(size), kernel.shape[0] // groups
        columns = windows.reshape(groups, data.shape[1] * prod(places), taps)
        weights = kernel.reshape(groups, per_group, taps).swapaxes(1, 2)
        product = np.matmul(columns, weights).reshape(groups, data.shape[1], *places, per_group)
        product = product.transpose(1, 0, 2 + count, *range(2, 2 + count))
        product = product.reshape(data.shape[1], groups * per_group, *places)
        return product.transpose(np.argsort(self.numbers.out_spec)).astype(out.dtype, copy=False)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x, w), (dx, dw) = primals, tangents
        terms = ([] if dx is None else [self(dx, w)]) + ([] if dw is None else [self(x, dw)])
        return self(x, w), terms[0] if len(terms) == 1 else add(*terms)

    def transpose(self, cotangent: Any, x: Any, w: Any) -> Sequence[Any]:
        if isinstance(x, Linear):
            found = self.data_gradient(x.type, convert(w, cotangent.type.dtype), cotangent)
            return convert(found, x.type.dtype), None
        found = self.kernel_gradient(convert(x, cotangent.type.dtype), w.type, cotangent)
        return None, convert(found, w.type.dtype)

    def data_gradient(self, x: TensorType, w: Any, cotangent: Any) -> Any:
        """Cotangents, `strides` apart, convolved with the reversed kernel, whose two feature axes change places."""
        n, groups = self.numbers, max(self.feature_group_count, self.batch_group_count)
        if groups > 1:
            w = merge_axis(split_axis(w, n.rhs_spec[0], groups), n.rhs_spec[0], n.rhs_spec[1])
        numbers = ConvDimensionNumbers(n.out_spec, _swapped(n.rhs_spec), n.lhs_spec)
        padding = gradient_padding(*self.spatial(x, TensorType(w.type.shape, x.dtype)))
        back = ConvGeneral(
            self.lhs_dilation, padding, self.strides, self.rhs_dilation, numbers, groups, precision=self.precision
        )
        found = back(cotangent, reverse(w, n.rhs_spec[2:]))
        if self.batch_group_count > 1:
            found = merge_axis(split_axis(found, n.lhs_spec[1], groups), n.lhs_spec[1], n.lhs_spec[0])
        return found

    def kernel_gradient(self, x: Any, w: TensorType, cotangent: Any) -> Any:
        """The data convolved with the cotangents, examples and features of both changing places."""
        n = self.numbers
        numbers = ConvDimensionNumbers(_swapped(n.lhs_spec), _swapped(n.out_spec), _swapped(n.rhs_spec))
        extents, kernel, *_ = self.spatial(x.type, w)
        places = (cotangent.type.shape[a] for a in n.out_spec[2:])
        padding = tuple(
            (low, dilated(m, s) + dilated(k, e) - 1 - dilated(size, d) - low)
            for size, k, m, s, (low, _), d, e in zip(
                extents, kernel, places, self.strides, self.padding, self.lhs_dilation, self.rhs_dilation, strict=True
            )
        )
        steps = self.rhs_dilation, padding, self.lhs_dilation, self.strides
        groups = self.batch_group_count, self.feature_group_count
        return ConvGeneral(*steps, numbers, *groups, precision=self.precision)(x, cotangent)

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        (x, w), n = args, self.numbers
        examples, features = n.out_spec[:2]
        if size == 0:
            one = (TensorType(v.type.shape[b:], v.type.dtype) for v, b in zip(args, batched, strict=True))
            out_type = self.result(*one)
            return zeros_of(out_type.with_shape((0, *out_type.shape)))
        if all(batched):
            # Every element of the batch is a group of features, or of examples if there are such groups already.
            by_examples = self.batch_group_count > 1
            x = merge_axis(x, 0, n.lhs_spec[0 if by_examples else 1])
            w = merge_axis(w, 0, n.rhs_spec[0])
            count = "batch_group_count" if by_examples else "feature_group_count"
            out = replace(self, **{count: getattr(self, count) * size})(x, w)
            return move_axis(split_axis(out, features, size), features, 0)
        if batched[0]:
            out = self(_merge_within(x, n.lhs_spec[0], self.batch_group_count), w)
            return move_axis(split_axis(out, examples, size), examples, 0)
        groups = self.feature_group_count * self.batch_group_count
        out = self(x, _merge_within(w, n.rhs_spec[0], groups))
        out = split_axis(split_axis(out, features, groups), features + 1, size)
        out = move_axis(out, features + 1, 0)
        return merge_axis(out, features + 1, features + 1)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for operation, x, w in _cases():
            yield operation, rng.normal(size=x), rng.normal(size=w)
        operation, x, w = next(_cases())
        for dtype in NUMERIC:
            yield operation, draw(rng, x, dtype), draw(rng, w, dtype)
        yield replace(operation, dtype=float32), draw(rng, x, bfloat16), draw(rng, w, bfloat16)
        for operation, x, w in _cases():
            yield replace(operation, dtype=int32), draw(rng, x, int8), draw(rng, w, int8)


def _cases() -> Iterator[tuple[ConvGeneral, tuple[int, ...], tuple[int, ...]]]:
    """Operations with shapes of data and kernel."""
    nchw, nhwc = (0, 1, 2, 3), (0, 3, 1, 2)
    oihw, hwio = (0, 1, 2, 3), (3, 2, 0, 1)
    first, last = ConvDimensionNumbers(nchw, oihw, nchw), ConvDimensionNumbers(nhwc, hwio, nhwc)
    line = ConvDimensionNumbers((0, 1, 2), (0, 1, 2), (0, 1, 2))
    same: Pairs = ((1, 1), (1, 1))
    one, two = (1, 1), (2, 2)
    yield ConvGeneral(one, same, one, one, last), (2, 5, 4, 3), (3, 3, 3, 2)
    yield ConvGeneral(two, ((0, 1), (2, 0)), one, one, first), (2, 3, 5, 6), (4, 3, 3, 2)
    yield ConvGeneral((2, 1), ((2, 1), (1, 3)), (1, 2), (2, 1), last), (2, 5, 4, 3), (2, 3, 3, 2)
    yield ConvGeneral(two, same, one, one, first, 2), (2, 4, 5, 5), (6, 2, 3, 3)
    yield ConvGeneral(one, same, one, one, last, 3), (2, 4, 4, 3), (3, 3, 1, 6)
    yield ConvGeneral(one, same, one, two, first, 1, 2), (4, 3, 5, 5), (6, 3, 2, 3)
    yield ConvGeneral(one, ((-1, 1), (2, -2)), two, one, first), (1, 2, 4, 5), (2, 2, 2, 2)
    yield ConvGeneral((3, 3), ((0, 0), (0, 0)), one, one, last), (1, 8, 7, 1), (2, 2, 1, 1)
    yield ConvGeneral((3,), ((4, 5),), (2,), (3,), line), (2, 2, 6), (3, 2, 3)
    yield ConvGeneral((1,), ((0, 0),), (1,), (1,), line), (2, 2, 2), (3, 2, 5)
    yield ConvGeneral((1,), ((1, 1),), (1,), (1,), line), (0, 2, 4), (3, 2, 3)
    yield ConvGeneral((1,), ((1, 1),), (1,), (1,), line), (2, 0, 4), (3, 0, 3)
    yield ConvGeneral((), (), (), (), ConvDimensionNumbers((0, 1), (0, 1), (0, 1))), (2, 3), (4, 3)
    mixed = ConvDimensionNumbers((2, 0, 3, 1), (1, 3, 0, 2), (3, 2, 1, 0))
    yield ConvGeneral((2, 1), ((1, 0), (0, 1)), one, one, mixed, 2), (4, 5, 3, 6), (3, 6, 2, 2)


def _swapped(spec: tuple[int, ...]) -> tuple[int, ...]:
    return spec[1], spec[0], *spec[2:]


def split_axis(x: Any, axis: int, outer: int) -> Any:
    """`x` with one axis cut into two, of `outer` and of the remaining extent."""
    shape = x.type.shape
    return reshape(x, (*shape[:axis], outer, shape[axis] // outer, *shape[axis + 1 :]))


def merge_axis(x: Any, source: int, target: int) -> Any:
    """`x` with axis `source` made the outer part of axis `target`, as that is numbered without `source`."""
    moved = move_axis(x, source, target)
    shape = moved.type.shape
    return reshape(moved, (*shape[:target], shape[target] * shape[target + 1], *shape[target + 2 :]))


def _merge_within(x: Any, axis: int, groups: int) -> Any:
    """`x` with its leading axis merged into `axis`, inside of the `groups` that are its outer part."""
    return merge_axis(merge_axis(split_axis(x, axis + 1, groups), 0, axis + 1), axis, axis)


def conv_general(
    x: Any,
    w: Any,
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    numbers: ConvDimensionNumbers,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    dtype: Any = None,
    precision: str | None = None,
) -> Any:
    """The convolution of `x` with the kernel `w`; see :class:`ConvGeneral`."""
    ones = (1,) * len(strides)
    return ConvGeneral(
        tuple(strides), tuple((int(a), int(b)) for a, b in padding), tuple(lhs_dilation or ones),
        tuple(rhs_dilation or ones), numbers, feature_group_count, batch_group_count,
        None if dtype is None or as_dtype(dtype) == x.type.dtype else as_dtype(dtype), precision,
    )(x, w)  # fmt: skip
