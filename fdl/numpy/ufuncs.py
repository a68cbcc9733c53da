"""Universal functions: what NumPy's ufuncs do besides being called, for the elementwise functions of this package."""

import inspect
import itertools
from collections.abc import Callable, Mapping
from math import inf, prod
from typing import Any

import numpy as np

from fdl.array import alias
from fdl.dtypes import as_dtype, index_dtype
from fdl.errors import ShapeError
from fdl.lax.associative import associative_scan
from fdl.lax.control import scan
from fdl.numpy import reductions
from fdl.numpy._operands import Array, ArrayLike, DTypeLike, axis_tuple, cast, expand_to, no_out, number, value
from fdl.numpy.functional import vectorize
from fdl.numpy.indexing import IndexUpdate
from fdl.numpy.shapes import concatenate, moveaxis, reshape
from fdl.ops.select import select
from fdl.ops.shape import full_like

_REDUCTIONS: dict[str, Callable[..., Array]] = {
    "add": reductions.sum,
    "multiply": reductions.prod,
    "maximum": reductions.max,
    "minimum": reductions.min,
    "logical_and": reductions.all,
    "logical_or": reductions.any,
}
_UPDATES = {"add": "add", "subtract": "subtract", "multiply": "multiply", "maximum": "max", "minimum": "min"}
_IDENTITIES: dict[str, Any] = {
    "add": 0, "multiply": 1, "logical_and": True, "logical_or": False, "logical_xor": False, "bitwise_and": -1,
    "bitwise_or": 0, "bitwise_xor": 0, "logaddexp": -inf, "logaddexp2": -inf, "gcd": 0, "hypot": 0,
}  # fmt: skip
#: Associative and commutative, so that they are folded in whichever order is fast.
_IN_ANY_ORDER = frozenset(_IDENTITIES) | {"maximum", "minimum", "fmax", "fmin", "lcm"}
_ONE = """abs absolute acos acosh arccos arccosh arcsin arcsinh arctan arctanh asin asinh atan atanh bitwise_count
    bitwise_invert bitwise_not cbrt ceil conj conjugate cos cosh deg2rad degrees exp exp2 expm1 fabs floor invert
    isfinite isinf isnan log log10 log1p log2 logical_not negative positive rad2deg radians reciprocal rint sign signbit
    sin sinh spacing sqrt square tan tanh trunc"""
_TWO = """add arctan2 atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide
    equal float_power floor_divide fmax fmin fmod gcd greater greater_equal heaviside hypot lcm ldexp left_shift less
    less_equal logaddexp logaddexp2 logical_and logical_or logical_xor maximum minimum mod multiply nextafter not_equal
    pow power remainder right_shift subtract true_divide"""


class _UfuncType(type):
    """Makes ``isinstance(add, ufunc)`` true, though the functions of this package stay functions: calls are faster."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return type(instance) is cls or type(getattr(instance, "__dict__", {}).get("as_ufunc")) is cls


class ufunc(metaclass=_UfuncType):
    """A function of scalars, applied to each element of arrays, and the methods of NumPy's ufuncs.

    Attributes:
        nin: number of arguments.
        nout: number of results.
        nargs: number of arguments, as in JAX: NumPy counts results too, which its functions take as ``out``.
        identity: what leaves the other argument as it is, or None.

    >>> isinstance(add, ufunc), add.nin
    (True, 2)
    """

    def __init__(self, function: Callable[..., Any], nin: int, nout: int, name: str, identity: Any = None) -> None:
        self.__name__ = name
        self.__wrapped__ = function
        self.nin, self.nout, self.nargs, self.identity = nin, nout, nin, identity

    def __call__(self, *args: ArrayLike) -> Any:
        if len(args) != self.nin:
            raise TypeError(f"{self.__name__} takes {self.nin} arguments, got {len(args)}")
        return self.__wrapped__(*args)

    def _key(self) -> tuple[Any, ...]:
        return inspect.unwrap(self.__wrapped__), self.nin, self.nout, self.identity

    def __eq__(self, other: object) -> bool:
        return type(other) is ufunc and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"<fdl.numpy.ufunc '{self.__name__}'>"

    def _of_two(self, method: str) -> str:
        if (self.nin, self.nout) != (2, 1):
            raise ValueError(f"{self.__name__}.{method}: only functions of two arguments with one result have it")
        return f"{self.__name__}.{method}"

    def reduce(
        self,
        a: ArrayLike,
        axis: Any = 0,
        dtype: DTypeLike | None = None,
        out: None = None,
        keepdims: bool = False,
        initial: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> Array:
        """The function applied along an axis, to what it gave so far and the next element.

        Args:
            a: array.
            axis: over which; several, or None for all, if the order does not matter or there is an identity.
            dtype: to which `a` is converted first.
            out: not supported.
            keepdims: whether reduced axes stay, with extent 1.
            initial: where to start; default the identity, or the first element.
            where: booleans; only elements where they are True count.

        >>> add.reduce(array([[1, 2], [3, 4]])), subtract.reduce(array([9, 3, 2]))
        (Array([4, 6], dtype=int32), Array(4, dtype=int32))
        """
        name = self._of_two("reduce")
        no_out(name, out)
        known = _REDUCTIONS.get(self.__name__)
        if known is not None:
            given = {"initial": initial, "where": where}
            options = {key: v for key, v in given.items() if v is not None}
            if self.__name__ in ("add", "multiply"):
                return known(a, axis, dtype, keepdims=keepdims, **options)
            x = a if dtype is None else cast(value(name, a), as_dtype(dtype))
            if initial is not None and known in (reductions.all, reductions.any):
                return self(known(x, axis, keepdims=keepdims, where=where), initial)
            return known(x, axis, keepdims=keepdims, **options)
        x = _converted(name, a, dtype)
        axes = axis_tuple(name, axis, x.type.ndim)
        if len(axes) > 1 and self.__name__ not in _IN_ANY_ORDER and self.identity is None:
            raise ValueError(f"{name}: the order matters, so that it takes one axis, got {axis}")
        needed = initial is None and (where is not None or _empty(x, axes))
        if initial is None and self.identity is not None and prod(x.type.shape[i] for i in axes) == 1:
            needed = True  # hypot and gcd of one element are its absolute value
        start = self._identity_of(x.type.dtype) if needed else initial
        if start is None and (where is not None or _empty(x, axes)):
            raise ValueError(f"{name} has no identity: give initial=, for no elements and with where=")
        rows, shape = _rows(x, axes), [1 if i in axes else n for i, n in enumerate(x.type.shape)]
        if where is not None:
            mask = _rows(expand_to(value(name, where), x.type.shape), axes)
            found = self._fold(rows, start, mask)
        else:
            found = self._fold(rows, start, None)
        return reshape(found, shape) if keepdims else found

    def _fold(self, rows: Array, start: Any, mask: Array | None) -> Array:
        """The function over rows of one shape, from `start` if there is one, only where the mask says."""
        inner = rows.type.shape[1:]
        if self.__name__ in _IN_ANY_ORDER and (mask is None or self.identity is not None):
            rows = cast(rows, self(rows[:0], rows[:0]).type.dtype)
            if mask is not None:
                rows = select(mask, rows, full_like(rows, self._identity_of(rows.type.dtype)))
            if start is None:
                return _halved(self, rows)
            begin = expand_to(_as(start, rows), inner)
            found: Array = self(begin, _halved(self, rows)) if rows.type.shape[0] else begin
            return found
        first, rest = (rows[0], rows[1:]) if start is None else (expand_to(_as(start, rows), inner), rows)
        result = self(first, rest[0]).type.dtype if rest.type.shape[0] else first.type.dtype

        def step(found: Array, row: tuple[Array, Any]) -> tuple[Array, None]:
            new = cast(self(found, row[0]), result)
            return (new if row[1] is None else select(row[1], new, found)), None

        last: Array = scan(step, cast(first, result), (rest, mask))[0]
        return last

    def _identity_of(self, dtype: np.dtype) -> Any:
        return ~np.zeros((), dtype) if self.__name__ == "bitwise_and" else self.identity

    def accumulate(self, a: ArrayLike, axis: int = 0, dtype: DTypeLike | None = None, out: None = None) -> Array:
        """All that :meth:`reduce` gives on its way along an axis.

        Args:
            a: array.
            axis: along which.
            dtype: to which `a` is converted first.
            out: not supported.

        >>> maximum.accumulate(array([1, 3, 2])), subtract.accumulate(array([9, 3, 2]))
        (Array([1, 3, 3], dtype=int32), Array([9, 6, 4], dtype=int32))
        """
        name = self._of_two("accumulate")
        no_out(name, out)
        if self.__name__ in ("add", "multiply"):
            return (reductions.cumsum if self.__name__ == "add" else reductions.cumprod)(a, axis, dtype)
        x = _converted(name, a, dtype)
        (place,) = axis_tuple(name, (axis,), x.type.ndim)
        rows = moveaxis(x, place, 0)
        if not rows.type.shape[0]:
            return x
        if rows.type.shape[0] > 1:
            rows = cast(rows, self(rows[0], rows[1]).type.dtype)
        if self.__name__ in _IN_ANY_ORDER:
            return moveaxis(associative_scan(self, rows), 0, place)

        def step(found: Array, row: Array) -> tuple[Array, Array]:
            new = self(found, row)
            return new, new

        return moveaxis(concatenate([rows[:1], scan(step, rows[0], rows[1:])[1]]), 0, place)

    def outer(self, A: ArrayLike, B: ArrayLike, /) -> Array:
        """The function of every element of `A` with every element of `B`; the shape is that of both together.

        >>> maximum.outer(array([1, 3]), array([0, 2]))
        Array([[1, 2],
               [3, 3]], dtype=int32)
        """
        name = self._of_two("outer")
        a, b = value(name, A), value(name, B)
        left = A if a.type.ndim == 0 and not hasattr(A, "type") else a  # numbers stay weak
        right = B if b.type.ndim == 0 and not hasattr(B, "type") else b
        if b.type.ndim and a.type.ndim:
            left = reshape(a, a.type.shape + (1,) * b.type.ndim)
        found: Array = self(left, right)
        return found

    def at(self, a: ArrayLike, indices: Any, b: ArrayLike | None = None, /, *, inplace: bool = True) -> Array:
        """`a` with the function applied to the elements at `indices`, as often as they come.

        Args:
            a: array.
            indices: as in ``a[indices]``.
            b: the second argument of a function of two, which broadcasts to ``a[indices]``.
            inplace: must be False: arrays are immutable, and the changed copy is returned.

        >>> add.at(array([1, 1]), array([0, 0]), 5, inplace=False)
        Array([11,  1], dtype=int32)
        """
        name = f"{self.__name__}.at"
        if inplace:
            raise NotImplementedError(f"{name}: arrays are immutable; pass inplace=False, and use the result")
        if self.nout != 1 or self.nin not in (1, 2) or (b is None) != (self.nin == 1):
            raise TypeError(f"{name} takes {self.nin} operands, and needs a function with one result")
        x = value(name, a)
        if self.__name__ in _UPDATES:
            found: Array = getattr(IndexUpdate(x)[indices], _UPDATES[self.__name__])(b)
            return found
        numbers = reshape(np.arange(x.type.size, dtype=index_dtype(x.type.size)), x.type.shape)
        places = IndexUpdate(numbers)[indices].get()
        others = () if b is None else (reshape(expand_to(value(name, b), places.type.shape), -1),)

        def step(flat: Array, operands: tuple[Array, ...]) -> tuple[Array, None]:
            place, *rest = operands
            return IndexUpdate(flat)[place].set(cast(self(flat[place], *rest), x.type.dtype)), None

        return reshape(scan(step, reshape(x, -1), (reshape(places, -1), *others))[0], x.type.shape)

    def reduceat(
        self, a: ArrayLike, indices: Any, axis: int = 0, dtype: DTypeLike | None = None, out: None = None
    ) -> Array:
        """:meth:`reduce` of the slices from each index to the next, or of one element where the next is not larger.

        Args:
            a: array.
            indices: integers of shape (k,).
            axis: along which.
            dtype: to which `a` is converted first.
            out: not supported.

        Returns:
            Array with k instead of the extent of the axis.

        >>> add.reduceat(array([1, 2, 3, 4]), array([0, 2]))
        Array([3, 7], dtype=int32)
        """
        name = self._of_two("reduceat")
        no_out(name, out)
        starts = number(name, indices)
        if starts.type.ndim != 1 or starts.type.dtype.kind not in "iu":
            raise ShapeError(f"{name}: indices must be a vector of integers, got {starts.type}")
        x = _converted(name, a, dtype)
        (place,) = axis_tuple(name, (axis,), x.type.ndim)
        rows = moveaxis(x, place, 0)
        extent, count = rows.type.shape[0], starts.type.shape[0]
        last = full_like(starts[:1], extent)
        nexts = concatenate([starts[1:], last]) if count else starts
        stops = select(nexts > starts, nexts, starts + 1)
        result = self(rows[0], rows[0]).type.dtype if extent else x.type.dtype
        inner = (count, *(1 for _ in rows.type.shape[1:]))

        def step(found: Array, operand: tuple[Array, Array]) -> tuple[Array, None]:
            index, row = operand
            new = expand_to(cast(row, result), found.type.shape)
            begins = expand_to(reshape(starts == index, inner), found.type.shape)
            within = expand_to(reshape((starts < index) & (index < stops), inner), found.type.shape)
            return select(begins, new, select(within, cast(self(found, new), result), found)), None

        start = np.zeros((count, *rows.type.shape[1:]), result)
        numbers = np.arange(extent, dtype=starts.type.dtype)
        return moveaxis(scan(step, value(name, start), (numbers, rows))[0], 0, place)


def frompyfunc(func: Callable[..., Any], /, nin: int, nout: int, *, identity: Any = None) -> ufunc:
    """A function of scalars as a :class:`ufunc`, which takes arrays, broadcasts them, and has the ufuncs' methods.

    Args:
        func: takes `nin` scalars and returns `nout`, a tuple if there are several; traced.
        nin: number of arguments.
        nout: number of results.
        identity: what leaves the other argument as it is.

    Returns:
        The function.

    >>> frompyfunc(lambda x, y: 10 * x + y, 2, 1).reduce(array([1, 2, 3]))
    Array(123, dtype=int32)
    """
    if not all(isinstance(n, int | np.integer) for n in (nin, nout)):
        raise TypeError(f"frompyfunc: nin and nout must be whole numbers, got {nin!r} and {nout!r}")
    if nin < 1 or nout < 1:
        raise ValueError(f"frompyfunc: a function has at least one argument and one result, got nin={nin}, nout={nout}")
    return ufunc(vectorize(func), nin, nout, getattr(func, "__name__", "frompyfunc"), identity)


def install(namespace: Mapping[str, Any]) -> None:
    """Give the elementwise functions of `namespace` the attributes and methods of ufuncs."""
    for name, nin in itertools.chain(((n, 1) for n in _ONE.split()), ((n, 2) for n in _TWO.split())):
        function = namespace[name]
        if not hasattr(function, "as_ufunc"):
            made = ufunc(function, nin, 1, function.__name__, _IDENTITIES.get(name))
            methods = {key: getattr(made, key) for key in ("reduce", "accumulate", "outer", "at", "reduceat")}
            facts = {key: getattr(made, key) for key in ("nin", "nout", "nargs", "identity")}
            vars(function).update(as_ufunc=made, **methods, **facts)


def _converted(name: str, a: ArrayLike, dtype: DTypeLike | None) -> Array:
    x = value(name, a)
    return alias(x) if dtype is None else cast(x, as_dtype(dtype))


def _as(start: ArrayLike, rows: Array) -> Array:
    return value("reduce: initial", start) if hasattr(start, "type") else cast(start, rows.type.dtype)


def _empty(x: Array, axes: tuple[int, ...]) -> bool:
    return any(x.type.shape[i] == 0 for i in axes)


def _rows(x: Array, axes: tuple[int, ...]) -> Array:
    """The axes in front, as one."""
    front = moveaxis(x, axes, tuple(range(len(axes))))
    extents = [x.type.shape[i] for i in axes]
    return reshape(front, (prod(extents), *front.type.shape[len(axes) :]))


def _halved(function: Callable[..., Any], rows: Array) -> Array:
    """`function` over all rows, half of them with the other half, until one is left."""
    while (count := rows.type.shape[0]) > 1:
        half = count // 2
        folded = function(rows[:half], rows[half : 2 * half])
        rows = concatenate([folded, rows[2 * half :].astype(folded.dtype)]) if count % 2 else folded
    return rows[0]
