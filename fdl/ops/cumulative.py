"""Running sums, products, extremes and log-sum-exps along an axis."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.array import Array
from fdl.core.interpret import quiet
from fdl.core.primitive import Primitive
from fdl.core.trace import computes_plainly
from fdl.core.types import TensorType
from fdl.dtypes import FLOATING, NUMERIC, REAL, bool_, index_dtype, int8
from fdl.errors import DtypeError, ShapeError
from fdl.ops.arithmetic import add, div, mul, sub
from fdl.ops.bitwise import or_
from fdl.ops.compare import eq, ge, ne
from fdl.ops.convert import convert, is_plain
from fdl.ops.indexing import take_along
from fdl.ops.precision import accumulated, accumulator
from fdl.ops.samples import draw
from fdl.ops.select import select
from fdl.ops.shape import Structural, full, full_like, iota
from fdl.ops.slicing import pad, reverse, slice_
from fdl.ops.transcendental import exp, log


class Cumulative(Primitive, abstract=True):
    """Element i of the result combines the elements up to i along `axis`, or those from i on if `reverse`.

    Class attributes:
        domain: dtypes it takes.
        function: the NumPy function of two numbers that is accumulated.
    """

    lowering_kind = "kernel"
    axis: int
    reverse: bool = False
    domain: ClassVar[tuple[np.dtype, ...]] = NUMERIC
    function: ClassVar[np.ufunc]

    def result(self, *types: TensorType) -> TensorType:
        (x,) = types
        if not 0 <= self.axis < x.ndim:
            raise ShapeError(f"{self.name} along axis {self.axis} of {x}, which it does not have")
        if x.dtype not in self.domain:
            raise DtypeError(f"{self.name} is not defined for {x}")
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        if self.reverse:
            return np.flip(type(self)(self.axis).reference(np.flip(x, self.axis)), self.axis)
        return accumulated(self.function, x, self.axis)

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        dtype, axis, accumulate = types[0].dtype, self.axis, self.function.accumulate
        if self.reverse or dtype != accumulator(dtype):
            return self.reference
        return lambda x: accumulate(x, axis, dtype)

    def prefers_native(self, *types: TensorType) -> bool:
        return self.exact and types[0].dtype.kind != "c"

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return type(self)(self.axis + 1, self.reverse)(args[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        cls = type(self)
        for reverse_ in (False, True):
            for shape, axis in (((3, 5, 2), 1), ((4,), 0), ((2, 7), 1), ((0, 2), 0), ((2, 0), 0), ((1, 3), 0)):
                yield cls(axis, reverse_), draw(rng, shape, np.dtype(np.float64))
        for dtype in self.domain:
            yield cls(0), draw(rng, (9, 2), dtype)


class Cumsum(Structural, Cumulative):
    """Running sum; integers wrap around, 16-bit floats are summed in float32."""

    lowering_kind = "kernel"
    exact = True
    function = np.add

    def transpose(self, cotangent: Any, x: Any) -> Sequence[Any]:
        return (Cumsum(self.axis, not self.reverse)(cotangent),)


class Cumprod(Cumulative):
    """Running product; integers wrap around, 16-bit floats are multiplied in float32."""

    exact = True
    function = np.multiply

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        def combine(earlier: Any, later: Any) -> Any:
            (x1, d1), (x2, d2) = earlier, later
            return mul(x1, x2), add(mul(d1, x2), mul(x1, d2))

        return self(primals[0]), _doubling(combine, (primals[0], tangents[0]), (1, 0), self.axis, self.reverse)[1]


class Cumlogsumexp(Cumulative):
    """Logarithm of the running sum of exponentials, without overflow."""

    domain = FLOATING
    function = np.logaddexp

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        def combine(earlier: Any, later: Any) -> Any:
            (x1, d1), (x2, d2) = earlier, later
            top = select(ge(x1, x2), x1, x2)
            # Infinite tops would give inf - inf: the weights of equal infinities are a half each.
            weights = [exp(select(eq(x, top), full_like(x, 0), sub(x, top))) for x in (x1, x2)]
            total = add(*weights)
            return add(top, log(total)), div(add(mul(weights[0], d1), mul(weights[1], d2)), total)

        return self(primals[0]), _doubling(combine, (primals[0], tangents[0]), (-np.inf, 0), self.axis, self.reverse)[1]


class Record(Cumulative, abstract=True):
    """Running extreme; NaN from the first NaN on. The last of equal elements has the derivative."""

    domain = REAL

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (x,), (dx,) = primals, tangents
        out = self(x)
        new = or_(eq(x, out), ne(x, x))
        last, integer = x.type.shape[self.axis] - 1, index_dtype(x.type.shape[self.axis])
        places, none = iota(integer, x.type.shape, self.axis), full(last if self.reverse else 0, x.type.shape, integer)
        nearest = (Cummin if self.reverse else Cummax)(self.axis, self.reverse)
        return out, take_along(dx, nearest(select(new, places, none)), self.axis)


class Cummax(Record):
    """Running maximum."""

    function = np.maximum


class Cummin(Record):
    """Running minimum."""

    function = np.minimum


def _doubling(
    combine: Callable[[Any, Any], Any], xs: Sequence[Any], identities: Sequence[Any], axis: int, backwards: bool
) -> Any:
    """All prefixes of `xs`, a tuple of arrays, under an associative function of tuples, in log2(n) steps."""
    if backwards:
        flipped = _doubling(combine, [reverse(x, (axis,)) for x in xs], identities, axis, False)
        return [reverse(x, (axis,)) for x in flipped]
    step, count = 1, xs[0].type.shape[axis]
    while step < count:
        xs = combine([_delayed(x, fill, axis, step) for x, fill in zip(xs, identities, strict=True)], xs)
        step *= 2
    return xs


def _delayed(x: Any, fill: Any, axis: int, step: int) -> Any:
    """`x` moved by `step` places along `axis`; `fill` comes in."""
    limits = [n - step if a == axis else n for a, n in enumerate(x.type.shape)]
    config = [(step if a == axis else 0, 0, 0) for a in range(x.type.ndim)]
    return pad(slice_(x, (0,) * x.type.ndim, limits), full(fill, (), x.type.dtype), config)


def cumsum(x: Any, axis: int, reverse: bool = False, dtype: np.dtype | None = None) -> Any:
    """Running sum along `axis`, in `dtype`, from the end if `reverse`; in booleans whether any was true."""
    if (dtype or x.type.dtype) == bool_:
        return convert(cummax(convert(convert(x, bool_), int8), axis, reverse), bool_)
    return _converted(Cumsum(axis, reverse), x, dtype)


def cumprod(x: Any, axis: int, reverse: bool = False, dtype: np.dtype | None = None) -> Any:
    """Running product along `axis`, in `dtype`, from the end if `reverse`; in booleans whether all were true."""
    if (dtype or x.type.dtype) == bool_:
        return convert(cummin(convert(convert(x, bool_), int8), axis, reverse), bool_)
    return _converted(Cumprod(axis, reverse), x, dtype)


def _converted(operation: Cumulative, x: Any, dtype: np.dtype | None) -> Any:
    """The running result of `x` converted to `dtype`, which outside all transforms makes no converted copy."""
    if dtype is None or x.type.dtype == dtype:
        return operation(x)
    if type(x) is Array and computes_plainly() and not operation.reverse and is_plain(x.type.dtype, dtype):
        operation.result(TensorType(x.type.shape, dtype))
        return Array(quiet.run(accumulated, operation.function, x.concrete(), operation.axis, dtype))
    return operation(convert(x, dtype))


def cummax(x: Any, axis: int, reverse: bool = False) -> Any:
    """Running maximum along `axis`, from the end if `reverse`."""
    return Cummax(axis, reverse)(x)


def cummin(x: Any, axis: int, reverse: bool = False) -> Any:
    """Running minimum along `axis`, from the end if `reverse`."""
    return Cummin(axis, reverse)(x)


def cumlogsumexp(x: Any, axis: int, reverse: bool = False) -> Any:
    """Logarithm of the running sum of exponentials along `axis`, from the end if `reverse`."""
    return Cumlogsumexp(axis, reverse)(x)
