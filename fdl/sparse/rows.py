"""Rows: an array that is zero but for some rows, as the gradient of a table of which few rows were looked up."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl import tree
from fdl.array import as_array
from fdl.core.types import TensorType
from fdl.dtypes import int32
from fdl.errors import DtypeError, ShapeError
from fdl.ops.bitwise import and_
from fdl.ops.compare import ge, lt
from fdl.ops.convert import convert
from fdl.ops.indexing import GatherDimensionNumbers, ScatterDimensionNumbers, gather, scatter
from fdl.ops.select import select
from fdl.ops.shape import full, full_like, reshape, zeros_of
from fdl.ops.slicing import concatenate
from fdl.sparse.distinct import distinct


class Rows:
    """An array of `shape` that is zero but for some rows: the sum of ``values[i]`` at row ``rows[i]`` over all i.

    A row may be named several times; rows out of bounds, negative ones too, are left out. Made by
    ``fdl.value_and_grad(loss, sparse=...)``; the transformations of ``fdl.optim`` keep it as it is. Products with
    numbers and sums with its like are Rows again; where an array is needed it turns into one. It is a pytree node with
    the leaves `rows` and `values`, which `fdl.tree.map` and `fdl.tree.reduce` take as one value.

    Args:
        rows: integers of shape (count,).
        values: floating, of shape (count, ...).
        shape: of the whole array; ``values.shape[1:] == shape[1:]``.
        is_combined: whether no row within bounds is named twice.

    Raises:
        ShapeError: the shapes do not fit together.
        DtypeError: `rows` are no integers.

    >>> import fdl, fdl.numpy as fnp
    >>> found = fdl.Rows(fnp.array([2, 0, 2]), fnp.ones((3, 2)), (4, 2))
    >>> (2.0 * found).dense().tolist()
    [[2.0, 2.0], [0.0, 0.0], [4.0, 4.0], [0.0, 0.0]]
    """

    #: NumPy leaves operators to this class.
    __array_ufunc__ = None

    def __init__(self, rows: Any, values: Any, shape: tuple[int, ...], is_combined: bool = False) -> None:
        self.rows, self.values = as_array(rows, "argument rows of Rows"), as_array(values, "argument values of Rows")
        self.shape, self.is_combined = tuple(shape), is_combined
        if not self.shape or self.values.shape != (*self.rows.shape, *self.shape[1:]) or self.rows.ndim != 1:
            raise ShapeError(
                f"Rows of an array of shape {self.shape} needs rows (count,) and values (count, "
                f"{', '.join(map(str, self.shape[1:]))}), got {self.rows.type} and {self.values.type}"
            )
        if self.rows.dtype.kind not in "iu":
            raise DtypeError(f"argument rows of Rows must be integers, the numbers of rows, got {self.rows.dtype}")

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the elements."""
        return self.values.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, zeros included."""
        return TensorType(self.shape, self.dtype).size

    def __repr__(self) -> str:
        return f"Rows(rows={self.rows!r}, values={self.values!r}, shape={self.shape})"

    def dense(self) -> Any:
        """The array itself.

        >>> import fdl.numpy as fnp
        >>> Rows(fnp.array([1]), fnp.ones((1, 2)), (2, 2)).dense().tolist()
        [[0.0, 0.0], [1.0, 1.0]]
        """
        return self.added_to(zeros_of(TensorType(self.shape, self.dtype)))

    __fdl_array__ = dense

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.dense(), dtype, copy=copy)

    def added_to(self, x: Any) -> Any:
        """The sum with an array, in its dtype; compiled, and with `x` donated, it touches the rows only.

        >>> import fdl.numpy as fnp
        >>> Rows(fnp.array([1]), fnp.ones((1, 2)), (2, 2)).added_to(fnp.ones((2, 2))).tolist()
        [[1.0, 1.0], [2.0, 2.0]]
        """
        if x.dtype == self.dtype:
            return write_rows("add", x, self.rows, self.values, self.is_combined)
        found = self.combined()
        sums = (read_rows(x, found.rows) + found.values).astype(x.dtype)
        return write_rows("set", x, found.rows, sums, True)

    def combined(self) -> "Rows":
        """The same array with every row named once; the places that are left over name a row beyond the last one.

        >>> import fdl.numpy as fnp
        >>> found = Rows(fnp.array([2, 0, 2]), fnp.ones((3, 1)), (4, 1)).combined()
        >>> found.rows.tolist(), found.values.tolist()
        ([2, 0, 4], [[2.0], [1.0], [0.0]])
        """
        if self.is_combined or not self.rows.size:
            return self
        count, outside = self.rows.shape[0], full(self.shape[0], self.rows.shape, int32)
        ids = row_numbers(self.rows, self.shape[0])
        numbers = select(lt(ids, outside), distinct(ids), full(count, ids.shape, int32))
        rows = write_rows("set", outside, numbers, ids)
        return Rows(rows, write_rows("add", zeros_of(self.values.type), numbers, self.values), self.shape, True)

    def map(self, function: Callable[[Any], Any]) -> "Rows":
        """An elementwise function of the array that maps zero to zero.

        >>> import fdl.numpy as fnp
        >>> found = Rows(fnp.array([1, 1]), fnp.ones((2, 1)), (2, 1))
        >>> found.map(lambda x: fnp.minimum(x, 1.5)).dense().tolist()
        [[0.0], [1.5]]
        """
        found = self.combined()
        return found._with(function(found.values))

    def astype(self, dtype: Any) -> "Rows":
        """The same numbers in another dtype."""
        return self._with(self.values.astype(dtype))

    def _with(self, values: Any) -> "Rows":
        return Rows(self.rows, values, self.shape, self.is_combined)

    def __mul__(self, other: Any) -> Any:
        if other is self:
            return self.map(lambda x: x * x)
        return self._with(self.values * other) if _is_number(other) else self.dense() * other

    def __rmul__(self, other: Any) -> Any:
        return self * other

    def __truediv__(self, other: Any) -> Any:
        return self._with(self.values / other) if _is_number(other) else self.dense() / other

    def __neg__(self) -> "Rows":
        return self._with(-self.values)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Rows) and other.shape == self.shape and other.dtype == self.dtype:
            rows = concatenate([convert(self.rows, int32), convert(other.rows, int32)], 0)
            return Rows(rows, concatenate([self.values, other.values], 0), self.shape)
        if getattr(other, "shape", None) == self.shape and other.dtype == self.dtype:
            return self.added_to(as_array(other))
        return self.dense() + other

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other


def _is_number(x: Any) -> bool:
    return type(x) in (int, float) or (not isinstance(x, Rows) and getattr(x, "shape", None) == ())


def row_numbers(ids: Any, count: int) -> Any:
    """Numbers of rows, of any integer dtype, as int32; those out of bounds become `count`."""
    if ids.dtype.kind == "u" and np.iinfo(ids.dtype).max < count:
        return convert(ids, int32)
    inside = lt(ids, full_like(ids, count))
    if ids.dtype.kind == "i":
        inside = and_(inside, ge(ids, full_like(ids, 0)))
    return select(inside, convert(ids, int32), full(count, ids.shape, int32))


def read_rows(x: Any, rows: Any) -> Any:
    """Rows of `x`; zeros for those out of bounds."""
    if not x.shape[0]:
        return zeros_of(x.type.with_shape((*rows.shape, *x.shape[1:])))
    numbers = GatherDimensionNumbers(tuple(range(1, x.ndim)), (0,), (0,))
    return gather(x, reshape(rows, (*rows.shape, 1)), numbers, (1, *x.shape[1:]), "fill", 0)


def write_rows(kind: str, x: Any, rows: Any, values: Any, is_unique: bool = False) -> Any:
    """`x` with `values` put at, or added to, rows; those out of bounds are left out."""
    if not x.shape[0]:
        return x
    numbers = ScatterDimensionNumbers(tuple(range(1, values.ndim)), (0,), (0,))
    return scatter(kind, x, reshape(rows, (*rows.shape, 1)), values, numbers, "fill", is_unique)


def _restored(auxiliary: Any, children: Any) -> Rows:
    """Of anything that may stand in the place of the leaves."""
    found = object.__new__(Rows)
    found.rows, found.values = children
    found.shape, found.is_combined = auxiliary
    return found


tree.register_pytree_with_keys(
    Rows,
    lambda r: (((tree.GetAttrKey("rows"), r.rows), (tree.GetAttrKey("values"), r.values)), (r.shape, r.is_combined)),
    _restored,
    is_value=True,
)
