"""Sparse matrices by coordinates, differentiated by the elements that they store.

>>> import fdl.numpy as fnp
>>> a = BCOO.fromdense(fnp.array([[0.0, 2.0], [3.0, 0.0]]))
>>> a @ fnp.array([1.0, 10.0])
Array([20.,  3.], dtype=float32)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.core.trace import Tracer
from fdl.errors import ConcretizationError, ShapeError

__all__ = [
    "BCOO",
    "bcoo_dot_general",
    "bcoo_fromdense",
    "bcoo_multiply_dense",
    "bcoo_reduce_sum",
    "bcoo_sum_duplicates",
    "bcoo_todense",
    "bcoo_transpose",
    "empty",
    "eye",
]


@tree.register_pytree_node_class
class BCOO:
    """An array of which only some elements are stored, each with its coordinates; a pytree of both.

    Args:
        args: (data, indices): the elements, an array [nse]; their coordinates, an array of integers [nse, ndim].
        shape: of the whole array. Elements whose coordinates are outside of it do not count, and those with the same
            coordinates are added up.

    >>> import fdl.numpy as fnp
    >>> BCOO((fnp.array([5.0]), fnp.array([[1, 0]])), shape=(2, 2)).todense()
    Array([[0., 0.],
           [5., 0.]], dtype=float32)
    """

    def __init__(
        self, args: tuple[Any, Any], *, shape: Sequence[int], indices_sorted: bool = False, unique_indices: bool = False
    ) -> None:
        self.data, self.indices = (fnp.asarray(a) for a in args)
        self.shape = tuple(shape)
        self.indices_sorted, self.unique_indices = indices_sorted, unique_indices
        if self.data.ndim != 1 or self.indices.shape != (self.data.shape[0], len(self.shape)):
            raise ShapeError(
                f"BCOO of shape {self.shape} needs data [n] and indices [n,{len(self.shape)}], got {self.data.type} "
                f"and {self.indices.type}; batched and dense axes are not supported"
            )

    @classmethod
    def fromdense(cls, mat: Any, *, nse: int | None = None, index_dtype: Any = np.int32) -> "BCOO":
        """The elements of an array that are not zero; see :func:`bcoo_fromdense`."""
        return bcoo_fromdense(mat, nse=nse, index_dtype=index_dtype)

    @classmethod
    def from_scipy_sparse(cls, mat: Any, *, index_dtype: Any = np.int32) -> "BCOO":
        """A sparse matrix of SciPy."""
        found = mat.tocoo()
        indices = np.stack([found.row, found.col], 1).astype(index_dtype)
        return cls((found.data, indices), shape=found.shape)

    @property
    def nse(self) -> int:
        """How many elements are stored."""
        return self.data.shape[0]

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return self.data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements, zeros too."""
        return int(np.prod(self.shape))

    n_batch = 0
    n_dense = 0

    @property
    def n_sparse(self) -> int:
        """Number of axes that are stored by coordinates: all."""
        return self.ndim

    @property
    def T(self) -> "BCOO":
        """With its axes in the opposite order."""
        return self.transpose()

    def transpose(self, axes: Sequence[int] | None = None) -> "BCOO":
        """With its axes in another order; see :func:`bcoo_transpose`."""
        return bcoo_transpose(self, permutation=tuple(range(self.ndim))[::-1] if axes is None else axes)

    def todense(self) -> Any:
        """The whole array; see :func:`bcoo_todense`."""
        return bcoo_todense(self)

    def sum(self, axis: int | Sequence[int] | None = None) -> Any:
        """The sum over axes: an array of one element over all, else a BCOO."""
        axes = range(self.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        found = bcoo_reduce_sum(self, axes=axes)
        return found.todense() if found.ndim == 0 else found

    def sum_duplicates(self, nse: int | None = None) -> "BCOO":
        """With one element for each of the coordinates; see :func:`bcoo_sum_duplicates`."""
        return bcoo_sum_duplicates(self, nse=nse)

    def astype(self, dtype: Any) -> "BCOO":
        """With elements of another dtype."""
        return self._with(self.data.astype(dtype))

    def tree_flatten(self) -> tuple[tuple[Any, Any], Any]:
        """Elements and coordinates; and the rest."""
        return (self.data, self.indices), (self.shape, self.indices_sorted, self.unique_indices)

    @classmethod
    def tree_unflatten(cls, auxiliary: Any, children: Any) -> "BCOO":
        """The opposite."""
        made = object.__new__(cls)
        made.data, made.indices = children
        made.shape, made.indices_sorted, made.unique_indices = auxiliary
        return made

    def _with(self, data: Any) -> "BCOO":
        options = {"indices_sorted": self.indices_sorted, "unique_indices": self.unique_indices}
        return BCOO((data, self.indices), shape=self.shape, **options)

    def __neg__(self) -> "BCOO":
        return self._with(-self.data)

    def __mul__(self, other: Any) -> "BCOO":
        return bcoo_multiply_dense(self, other) if np.ndim(other) else self._with(self.data * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "BCOO":
        return self * (1 / other)

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, BCOO):
            return self.todense() + other
        if other.shape != self.shape:
            raise ShapeError(f"BCOO of shapes {self.shape} and {other.shape} cannot be added")
        parts = [self.data, other.data], [self.indices, other.indices]
        return BCOO((fnp.concatenate(parts[0]), fnp.concatenate(parts[1])), shape=self.shape)

    def __radd__(self, other: Any) -> Any:
        return self + other

    def __sub__(self, other: Any) -> Any:
        return self + (-other)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, BCOO):
            other = other.todense()
        other = fnp.asarray(other)
        found = self._contracted(other, max(other.ndim - 2, 0))
        return fnp.moveaxis(found, 0, -2) if other.ndim > 1 else found

    def __rmatmul__(self, other: Any) -> Any:
        other = fnp.asarray(other)
        return fnp.moveaxis(self.T._contracted(other, other.ndim - 1), 0, -1)

    def _contracted(self, other: Any, axis: int) -> Any:
        """Sums over the last axis and an axis of `other`, whose remaining axes are the last ones of the result."""
        return bcoo_dot_general(self, other, dimension_numbers=(((self.ndim - 1,), (axis,)), ((), ())))

    #: Arrays leave ``array @ sparse`` to :meth:`__rmatmul__`.
    __array_priority__ = 200
    __array_ufunc__ = None

    def __repr__(self) -> str:
        return f"BCOO({self.data.type}, nse={self.nse}, shape={list(self.shape)})"


def bcoo_fromdense(mat: Any, *, nse: int | None = None, index_dtype: Any = np.int32) -> BCOO:
    """The elements of an array that are not zero, in row-major order.

    Args:
        mat: an array.
        nse: how many to store, the last ones as padding outside of the array; needed under jit, and by default as many
            as there are.
        index_dtype: of the coordinates.

    Raises:
        ConcretizationError: `mat` is traced, and `nse` is not given.

    >>> import fdl.numpy as fnp
    >>> bcoo_fromdense(fnp.array([0.0, 4.0, 5.0])).indices.tolist()
    [[1], [2]]
    """
    mat = fnp.asarray(mat)
    if nse is None:
        if isinstance(mat, Tracer):
            raise ConcretizationError("bcoo_fromdense of a traced array needs nse, how many elements are stored")
        nse = int((mat != 0).sum())
    if not mat.ndim:
        return BCOO((mat[None], fnp.zeros((1, 0), index_dtype)), shape=())
    places = fnp.nonzero(mat, size=nse, fill_value=tuple(mat.shape))
    indices = fnp.stack([p.astype(index_dtype) for p in places], 1)
    data = mat.at[places].get(mode="fill", fill_value=0)
    return BCOO((data, indices), shape=mat.shape, indices_sorted=True, unique_indices=True)


def bcoo_todense(mat: BCOO) -> Any:
    """The whole array.

    >>> import fdl.numpy as fnp
    >>> bcoo_todense(eye(2))
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    if not mat.ndim:
        return mat.data.sum()
    return fnp.zeros(mat.shape, mat.dtype).at[_columns(mat)].add(mat.data, mode="drop")


def _columns(mat: BCOO) -> tuple[Any, ...]:
    return tuple(mat.indices[:, n] for n in range(mat.ndim))


def bcoo_transpose(mat: BCOO, *, permutation: Sequence[int]) -> BCOO:
    """`mat` with its axes in another order.

    >>> import fdl.numpy as fnp
    >>> bcoo_transpose(bcoo_fromdense(fnp.array([[0, 1, 2]])), permutation=(1, 0)).shape
    (3, 1)
    """
    order = tuple(permutation)
    if sorted(order) != list(range(mat.ndim)):
        raise ShapeError(f"bcoo_transpose of {mat.ndim} axes needs each of them once, got {order}")
    shape = tuple(mat.shape[n] for n in order)
    return BCOO((mat.data, mat.indices[:, np.array(order, int)]), shape=shape, unique_indices=mat.unique_indices)


def bcoo_reduce_sum(mat: BCOO, *, axes: Sequence[int]) -> BCOO:
    """The sum over axes, whose elements keep their number.

    >>> import fdl.numpy as fnp
    >>> bcoo_reduce_sum(bcoo_fromdense(fnp.array([[1.0, 2.0], [0.0, 4.0]])), axes=(0,)).todense()
    Array([1., 6.], dtype=float32)
    """
    removed = {a % mat.ndim if -mat.ndim <= a < mat.ndim else _refuse(a, mat) for a in axes}
    kept = [n for n in range(mat.ndim) if n not in removed]
    # An element outside of the array along an axis that goes away must not come in again.
    outside = [mat.indices[:, n] >= mat.shape[n] for n in removed]
    data = fnp.where(fnp.stack(outside).any(0), 0, mat.data) if outside else mat.data
    return BCOO((data, mat.indices[:, np.array(kept, int)]), shape=tuple(mat.shape[n] for n in kept))


def _refuse(axis: int, mat: BCOO) -> int:
    raise ShapeError(f"there is no axis {axis} of a BCOO of shape {mat.shape}")


def bcoo_multiply_dense(sp_mat: BCOO, v: Any) -> BCOO:
    """Elementwise product with an array, which is broadcast to the shape.

    >>> import fdl.numpy as fnp
    >>> (eye(2) * fnp.array([3.0, 4.0])).todense()
    Array([[3., 0.],
           [0., 4.]], dtype=float32)
    """
    whole = fnp.broadcast_to(fnp.asarray(v), sp_mat.shape)
    return sp_mat._with(sp_mat.data * whole.at[_columns(sp_mat)].get(mode="fill", fill_value=0))


def bcoo_dot_general(lhs: BCOO, rhs: Any, *, dimension_numbers: Any) -> Any:
    """Sum of products over one pair of axes of a sparse matrix and an array.

    Args:
        lhs: a matrix or a vector.
        rhs: an array.
        dimension_numbers: ``(((axis of lhs,), (axis of rhs,)), ((), ()))``.

    Returns:
        An array: the other axis of `lhs`, then the other axes of `rhs`.

    >>> import fdl.numpy as fnp
    >>> bcoo_dot_general(eye(2), fnp.array([3.0, 4.0]), dimension_numbers=(((1,), (0,)), ((), ())))
    Array([3., 4.], dtype=float32)
    """
    (mine, theirs), (left_batch, right_batch) = dimension_numbers
    if len(mine) != 1 or len(theirs) != 1 or tuple(left_batch) or tuple(right_batch) or lhs.ndim > 2:
        raise ShapeError("bcoo_dot_general takes a BCOO of one or two axes and one pair of axes to sum over")
    rhs = fnp.moveaxis(fnp.asarray(rhs), theirs[0], 0)
    axis = mine[0] % lhs.ndim
    if lhs.shape[axis] != rhs.shape[0]:
        raise ShapeError(
            f"a BCOO of shape {lhs.shape} cannot be multiplied by an array whose axis {theirs[0]} has the extent "
            f"{rhs.shape[0]}: it must be {lhs.shape[axis]}"
        )
    rows = rhs.at[lhs.indices[:, axis]].get(mode="fill", fill_value=0)
    parts = rows * lhs.data.reshape(-1, *[1] * (rhs.ndim - 1))
    if lhs.ndim == 1:
        return parts.sum(0)
    other = 1 - axis
    return fnp.zeros((lhs.shape[other], *rhs.shape[1:]), parts.dtype).at[lhs.indices[:, other]].add(parts, mode="drop")


def bcoo_sum_duplicates(mat: BCOO, nse: int | None = None) -> BCOO:
    """`mat` with one element for each of the coordinates, in row-major order.

    Args:
        mat: a BCOO.
        nse: how many elements to store; by default as many as there are coordinates, or under jit as many as before.

    >>> import fdl.numpy as fnp
    >>> (eye(2) + eye(2)).sum_duplicates().data
    Array([2., 2.], dtype=float32)
    """
    inside = [(mat.indices[:, n] < mat.shape[n]) & (mat.indices[:, n] >= 0) for n in range(mat.ndim)]
    there = fnp.stack(inside).all(0) if inside else fnp.ones(mat.nse, bool)
    sizes = np.array([*mat.shape[1:], 1][: mat.ndim], np.int64)
    weights = np.cumprod(sizes[::-1])[::-1] if mat.ndim else sizes
    number = sum(
        (mat.indices[:, n].astype(np.int64) * int(w) for n, w in enumerate(weights)), fnp.zeros(mat.nse, np.int64)
    )
    number = fnp.where(there, number, mat.size)
    if nse is None:
        nse = mat.nse if isinstance(number, Tracer) else int(np.unique(np.asarray(number[np.asarray(there)])).size)
    distinct, place = fnp.unique(number, return_inverse=True, size=nse, fill_value=mat.size)
    data = fnp.zeros(nse, mat.dtype).at[place.reshape(-1)].add(fnp.where(there, mat.data, 0), mode="drop")
    whole = distinct < mat.size
    columns = [
        fnp.where(whole, distinct // int(w) % extent, extent) for w, extent in zip(weights, mat.shape, strict=True)
    ]
    indices = fnp.stack(columns, 1).astype(mat.indices.dtype) if columns else mat.indices[:nse]
    return BCOO((data, indices), shape=mat.shape, indices_sorted=True, unique_indices=True)


def eye(N: int, M: int | None = None, dtype: Any = None) -> BCOO:
    """The identity matrix.

    >>> eye(2, 3).shape
    (2, 3)
    """
    columns = N if M is None else M
    places = fnp.arange(min(N, columns), dtype=np.int32)
    return BCOO(
        (fnp.ones(places.shape, dtype), fnp.stack([places, places], 1)), shape=(N, columns), unique_indices=True
    )


def empty(shape: Sequence[int], dtype: Any = None) -> BCOO:
    """An array without stored elements.

    >>> empty((2, 3)).nse
    0
    """
    return BCOO((fnp.zeros(0, dtype), fnp.zeros((0, len(shape)), np.int32)), shape=tuple(shape))


def __dir__() -> list[str]:
    return __all__
