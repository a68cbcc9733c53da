"""Products of rows with the matrix of the group that they are in."""

from typing import Any

from fdl.array import as_operand as as_array
from fdl.dtypes import int32
from fdl.errors import DtypeError, ShapeError
from fdl.lax.control import scan
from fdl.lax.reductions import dot
from fdl.numpy._operands import expand_to
from fdl.ops.arithmetic import add
from fdl.ops.bitwise import and_
from fdl.ops.compare import ge, lt
from fdl.ops.convert import convert
from fdl.ops.cumulative import cumsum
from fdl.ops.select import select
from fdl.ops.shape import full, full_like, iota, reshape

__all__ = ["ragged_dot"]


def ragged_dot(
    lhs: Any,
    rhs: Any,
    group_sizes: Any,
    precision: Any = None,
    preferred_element_type: Any = None,
    group_offset: Any = None,
    **ignored: Any,
) -> Any:
    """Rows in consecutive groups, each group multiplied by a matrix of its own, as in a mixture of experts.

    Args:
        lhs: array [m, k], whose rows are ordered by group.
        rhs: array [g, k, n].
        group_sizes: integers [g], how many rows each group has; rows after the last group are not multiplied.
        precision: accepted for ports.
        preferred_element_type: dtype in which to sum and return.
        group_offset: must be None.
        **ignored: further keywords, accepted for ports.

    Returns:
        Array [m, n]; 0 in rows without a group.

    Raises:
        ShapeError: the shapes do not fit.
        DtypeError: `group_sizes` are no integers.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.lax.ragged_dot(fnp.ones((3, 1)), fnp.array([[[1.0]], [[5.0]]]), fnp.array([1, 2])).tolist()
    [[1.0], [5.0], [5.0]]
    """
    if group_offset is not None:
        raise NotImplementedError("ragged_dot: group_offset is for groups that are spread over devices; there is one")
    x, w, sizes = (as_array(v, "an operand of ragged_dot") for v in (lhs, rhs, group_sizes))
    if sizes.dtype.kind not in "iu":
        raise DtypeError(f"ragged_dot: group_sizes must be integers, got {sizes.type}")
    if x.ndim != 2 or w.ndim != 3 or sizes.shape != w.shape[:1] or x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"ragged_dot multiplies [m, k] by [g, k, n] with g group_sizes, got {x.type}, {w.type} and {sizes.type}"
        )
    sizes = convert(sizes, int32 if sizes.dtype.itemsize < 4 else sizes.dtype)
    ends = cumsum(sizes, 0)
    rows = iota(sizes.dtype, (x.shape[0],), 0)

    def step(total: Any, group: Any) -> tuple[Any, None]:
        matrix, size, end = group
        start = expand_to(end - size, rows.shape)
        inside = and_(ge(rows, start), lt(rows, expand_to(end, rows.shape)))
        mask = expand_to(reshape(inside, (*inside.shape, 1)), x.shape)
        part = dot(select(mask, x, full_like(x, 0)), matrix, preferred_element_type=preferred_element_type)
        return add(total, part), None

    dtype = dot(x[:0], w[0], preferred_element_type=preferred_element_type).dtype if w.shape[0] else x.dtype
    return scan(step, full(0, (x.shape[0], w.shape[2]), dtype), (w, sizes, ends))[0]
