"""Products of vectors, matrices and tensors, all by one contraction; factorizations are in `linalg`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl.composite import composite
from fdl.dtypes import as_dtype, bool_
from fdl.errors import ShapeError
from fdl.numpy._operands import Array, ArrayLike, DTypeLike, axis_index, axis_tuple, cast, expand_to, no_out, promote
from fdl.numpy._operands import broadcast_shapes as common_shape
from fdl.numpy.arithmetic import conj, multiply
from fdl.numpy.diagonals import diagonal
from fdl.numpy.reductions import sum as total
from fdl.numpy.shapes import moveaxis, ravel, stack
from fdl.ops.compare import ne
from fdl.ops.contract import dot_general
from fdl.ops.shape import full_like, reshape, transpose


def contract(
    x: Array,
    y: Array,
    contracting: tuple[Sequence[int], Sequence[int]],
    batch: tuple[Sequence[int], Sequence[int]] = ((), ()),
    dtype: DTypeLike | None = None,
) -> Array:
    """The product of two Values of one dtype; of booleans, whether any pair is true."""
    preferred = None if dtype is None else as_dtype(dtype)
    if x.type.dtype != bool_ or preferred is not None:
        return dot_general(x, y, (contracting, batch), preferred)
    x, y = (cast(v, np.dtype(np.int32)) for v in (x, y))
    counted = dot_general(x, y, (contracting, batch))
    return ne(counted, full_like(counted, 0))


def _differ(name: str, x: Array, y: Array, rule: str) -> ShapeError:
    return ShapeError(
        f"{name}: shapes {x.type.shape} and {y.type.shape} do not fit: {rule}. Transpose or reshape an operand"
    )


@composite
def dot(a: ArrayLike, b: ArrayLike, *, precision: Any = None, preferred_element_type: DTypeLike | None = None) -> Array:
    """The sum of products over the last axis of `a` and the second to last (of a vector: the only) axis of `b`.

    Args:
        a: array of shape (..., n), or a scalar.
        b: array of shape (n,) or (..., n, m), or a scalar.
        precision: accepted for compatibility; products are computed in the precision of the dtype.
        preferred_element_type: dtype in which to sum and of the result.

    Raises:
        ShapeError: the extents n differ.

    >>> dot(array([1.0, 2.0]), array([3.0, 4.0]))
    Array(11., dtype=float32)
    """
    x, y = promote("dot", a, b)
    if x.type.ndim == 0 or y.type.ndim == 0:
        product = multiply(x, y)
        return product if preferred_element_type is None else cast(product, as_dtype(preferred_element_type))
    axis = max(y.type.ndim - 2, 0)
    if x.type.shape[-1] != y.type.shape[axis]:
        extents = f"({x.type.shape[-1]}) must equal axis {axis} of the second ({y.type.shape[axis]})"
        raise _differ("dot", x, y, f"the last axis of the first {extents}")
    return contract(x, y, ((x.type.ndim - 1,), (axis,)), dtype=preferred_element_type)


@composite
def matmul(
    a: ArrayLike, b: ArrayLike, *, precision: Any = None, preferred_element_type: DTypeLike | None = None
) -> Array:
    """The matrix product; leading axes broadcast, a vector counts as one row or column that is dropped again.

    Args:
        a: array of shape (..., m, n) or (n,).
        b: array of shape (..., n, k) or (n,).
        precision: accepted for compatibility; products are computed in the precision of the dtype.
        preferred_element_type: dtype in which to sum and of the result.

    Returns:
        Array of shape (..., m, k).

    Raises:
        ShapeError: a scalar, or shapes that do not fit.

    >>> matmul(ones((2, 3)), ones((3, 4))).shape
    (2, 4)
    """
    x, y = promote("matmul", a, b)
    if x.type.ndim == 0 or y.type.ndim == 0:
        raise _differ("matmul", x, y, "scalars have no matrix product; use *")
    inner = x.type.shape[-1], y.type.shape[max(y.type.ndim - 2, 0)]
    if inner[0] != inner[1]:
        which = "the last axis of the first" if y.type.ndim < 2 else "the columns of the first"
        raise _differ("matmul", x, y, f"{which} ({inner[0]}) must equal the rows of the second ({inner[1]})")
    if y.type.ndim <= 2:
        return contract(x, y, ((x.type.ndim - 1,), (max(y.type.ndim - 2, 0),)), dtype=preferred_element_type)
    return _matrix_product("matmul", x, y, preferred_element_type)


def _matrix_product(name: str, x: Array, y: Array, dtype: DTypeLike | None) -> Array:
    """A leading axis that only one operand has, or has with an extent above 1, is a free axis of that operand."""
    x_lead, y_lead = x.type.shape[:-2], y.type.shape[:-2]
    lead = common_shape(x_lead, y_lead, name=name)
    count = len(lead)
    x_full, y_full = (1,) * (count - len(x_lead)) + x_lead, (1,) * (count - len(y_lead)) + y_lead
    shared = [i for i in range(count) if x_full[i] == y_full[i] != 1]
    x_own = [i for i in range(count) if i not in shared and x_full[i] != 1]
    y_own = [i for i in range(count) if i not in shared and x_full[i] == 1 and y_full[i] != 1]
    x = reshape(x, tuple(n for i, n in enumerate(x_full) if i in shared or i in x_own) + x.type.shape[-2:])
    y = reshape(y, tuple(n for i, n in enumerate(y_full) if i in shared or i in y_own) + y.type.shape[-2:])
    x_places = [i for i in range(count) if i in shared or i in x_own]
    y_places = [i for i in range(count) if i in shared or i in y_own]
    batch = [x_places.index(i) for i in shared], [y_places.index(i) for i in shared]
    out = contract(x, y, ((x.type.ndim - 1,), (max(y.type.ndim - 2, 0),)), batch, dtype)
    # The axes of `out`: shared, x's own, rows (unless x is a vector), y's own, columns (unless y is a vector).
    rows, columns = ([("rows",)] if x.type.ndim > 1 else []), ([("columns",)] if y.type.ndim > 1 else [])
    made = [*shared, *x_own, *rows, *y_own, *columns]
    wanted = [i for i in range(count) if i in made] + rows + columns
    out = transpose(out, tuple(made.index(w) for w in wanted))
    matrix = tuple(n for n, present in ((x.type.shape[-2:][0], rows), (y.type.shape[-1], columns)) if present)
    return reshape(out, lead + matrix)


@composite
def vdot(
    a: ArrayLike, b: ArrayLike, *, precision: Any = None, preferred_element_type: DTypeLike | None = None
) -> Array:
    """The scalar product of the flattened arrays, the first one conjugated.

    >>> vdot(array([1j]), array([1j]))
    Array(1.+0.j, dtype=complex64)
    """
    return dot(ravel(conj(a)), ravel(b), preferred_element_type=preferred_element_type)


@composite
def vecdot(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    *,
    axis: int = -1,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """Scalar products along an axis, the first operand conjugated; other axes broadcast.

    >>> vecdot(ones((2, 3)), ones(3))
    Array([3., 3.], dtype=float32)
    """
    x, y = promote("vecdot", x1, x2)
    x, y = moveaxis(conj(x), axis, -1), moveaxis(y, axis, -1)
    if x.type.shape[-1] != y.type.shape[-1]:
        raise _differ("vecdot", x, y, f"axis {axis} must have the same extent in both")
    product = _matrix_product("vecdot", x[..., None, :], y[..., None], preferred_element_type)
    return product[..., 0, 0]


@composite
def matvec(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Matrices times vectors; leading axes broadcast.

    >>> matvec(ones((2, 3)), ones((5, 3))).shape
    (5, 2)
    """
    x, y = promote("matvec", x1, x2)
    if x.type.ndim < 2 or y.type.ndim < 1 or x.type.shape[-1] != y.type.shape[-1]:
        raise _differ("matvec", x, y, "shapes (..., m, n) and (..., n) are needed")
    return _matrix_product("matvec", x, y[..., None], None)[..., 0]


@composite
def vecmat(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Conjugated vectors times matrices; leading axes broadcast.

    >>> vecmat(ones((5, 2)), ones((2, 3))).shape
    (5, 3)
    """
    x, y = promote("vecmat", x1, x2)
    if x.type.ndim < 1 or y.type.ndim < 2 or x.type.shape[-1] != y.type.shape[-2]:
        raise _differ("vecmat", x, y, "shapes (..., n) and (..., n, m) are needed")
    return _matrix_product("vecmat", conj(x)[..., None, :], y, None)[..., 0, :]


@composite
def inner(
    a: ArrayLike, b: ArrayLike, *, precision: Any = None, preferred_element_type: DTypeLike | None = None
) -> Array:
    """The sum of products over the last axes.

    >>> inner(ones((2, 3)), ones((4, 3))).shape
    (2, 4)
    """
    x, y = promote("inner", a, b)
    if x.type.ndim == 0 or y.type.ndim == 0:
        return dot(x, y, preferred_element_type=preferred_element_type)
    return tensordot(x, y, (-1, -1), preferred_element_type=preferred_element_type)


@composite
def outer(a: ArrayLike, b: ArrayLike, out: None = None) -> Array:
    """All products of an element of `a` and one of `b`, both flattened.

    >>> outer(array([1, 2]), array([3, 4]))
    Array([[3, 4],
           [6, 8]], dtype=int32)
    """
    no_out("outer", out)
    x, y = (ravel(v) for v in promote("outer", a, b))
    return x[:, None] * y[None, :]


@composite
def tensordot(
    a: ArrayLike,
    b: ArrayLike,
    axes: Any = 2,
    *,
    precision: Any = None,
    preferred_element_type: DTypeLike | None = None,
) -> Array:
    """The sum of products over chosen axes of both arrays.

    Args:
        a: array.
        b: array.
        axes: an int n for the last n axes of `a` and the first n of `b`; or a pair of axes, or of sequences of axes.
        precision: accepted for compatibility.
        preferred_element_type: dtype in which to sum and of the result.

    Returns:
        Array with the other axes of `a`, then those of `b`.

    Raises:
        ShapeError: the chosen axes have different extents.

    >>> tensordot(ones((2, 3)), ones((3, 4)), 1).shape
    (2, 4)
    """
    x, y = promote("tensordot", a, b)
    if isinstance(axes, (tuple, list)):
        first, second = (s if isinstance(s, (tuple, list)) else (s,) for s in axes)
        pair = axis_tuple("tensordot", tuple(first), x.type.ndim), axis_tuple("tensordot", tuple(second), y.type.ndim)
    else:
        if not 0 <= axes <= min(x.type.ndim, y.type.ndim):
            raise _differ("tensordot", x, y, f"axes={axes} is more than an operand has")
        pair = tuple(range(x.type.ndim - axes, x.type.ndim)), tuple(range(axes))
    extents = [[v.type.shape[i] for i in p] for v, p in zip((x, y), pair, strict=True)]
    if extents[0] != extents[1]:
        raise _differ("tensordot", x, y, f"axes={axes} have extents {extents[0]} and {extents[1]}")
    return contract(x, y, pair, dtype=preferred_element_type)


@composite
def kron(a: ArrayLike, b: ArrayLike) -> Array:
    """The Kronecker product: every element of `a` times all of `b`.

    >>> kron(array([1, 10]), array([1, 2]))
    Array([ 1,  2, 10, 20], dtype=int32)
    """
    x, y = promote("kron", a, b)
    count = max(x.type.ndim, y.type.ndim)
    x_shape, y_shape = ((1,) * (count - v.type.ndim) + v.type.shape for v in (x, y))
    spread = reshape(x, tuple(n for m in x_shape for n in (m, 1))) * reshape(
        y, tuple(n for m in y_shape for n in (1, m))
    )
    return reshape(spread, tuple(m * n for m, n in zip(x_shape, y_shape, strict=True)))


@composite
def cross(
    a: ArrayLike, b: ArrayLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """The vector product of vectors of length 3 (or 2, whose third component is zero).

    Args:
        a: array with vectors along `axisa`.
        b: array with vectors along `axisb`.
        axisa: see above.
        axisb: see above.
        axisc: of the result; of two vectors of length 2 only the third component is returned.
        axis: instead of all three.

    >>> cross(array([1, 0, 0]), array([0, 1, 0]))
    Array([0, 0, 1], dtype=int32)
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = promote("cross", a, b)
    x, y = moveaxis(x, axisa, -1), moveaxis(y, axisb, -1)
    lengths = x.type.shape[-1], y.type.shape[-1]
    if not set(lengths) <= {2, 3}:
        raise _differ("cross", x, y, "vectors must have length 2 or 3")
    shape = common_shape(x.type.shape[:-1], y.type.shape[:-1], name="cross")
    x, y = expand_to(x, (*shape, lengths[0])), expand_to(y, (*shape, lengths[1]))
    third = x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0]
    if lengths == (2, 2):
        return third
    x2, y2 = (v[..., 2] if n == 3 else full_like(third, 0) for v, n in zip((x, y), lengths, strict=True))
    parts = [x[..., 1] * y2 - x2 * y[..., 1], x2 * y[..., 0] - x[..., 0] * y2, third]
    return stack(parts, axis_index("cross", axisc, len(shape) + 1))


@composite
def trace(
    a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: DTypeLike | None = None, out: None = None
) -> Array:
    """The sum along a diagonal.

    Args:
        a: array of at least two axes.
        offset: which diagonal.
        axis1: rows.
        axis2: columns.
        dtype: in which to add.
        out: not supported.

    >>> trace(eye(3))
    Array(3., dtype=float32)
    """
    return total(diagonal(a, offset, axis1, axis2), -1, dtype, out)
