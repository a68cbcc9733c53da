"""Products of rows with the matrix of the group that they are in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fdl.array import as_operand as as_array
from fdl.dtypes import int32
from fdl.errors import DtypeError, ShapeError
from fdl.lax.control import scan
from fdl.lax.reductions import dot, dot_general
from fdl.numpy._operands import expand_to
from fdl.ops.bitwise import and_
from fdl.ops.compare import ge, lt
from fdl.ops.convert import convert
from fdl.ops.cumulative import cumsum
from fdl.ops.select import select
from fdl.ops.shape import broadcast_in_dim, full, full_like, iota, reshape, transpose

__all__ = ["RaggedDotDimensionNumbers", "ragged_dot", "ragged_dot_general"]


@dataclass(frozen=True)
class RaggedDotDimensionNumbers:
    """Axes of :func:`ragged_dot_general`.

    Attributes:
        dot_dimension_numbers: ``((lhs contracting, rhs contracting), (lhs batch, rhs batch))``.
        lhs_ragged_dimensions: the one axis of `lhs` that is divided into groups.
        rhs_group_dimensions: the axis of `rhs` that counts the groups, if it has one.
    """

    dot_dimension_numbers: Any
    lhs_ragged_dimensions: Sequence[int]
    rhs_group_dimensions: Sequence[int]

    def __post_init__(self) -> None:
        numbers = tuple(tuple(tuple(axes) for axes in pair) for pair in self.dot_dimension_numbers)
        object.__setattr__(self, "dot_dimension_numbers", numbers)
        object.__setattr__(self, "lhs_ragged_dimensions", tuple(self.lhs_ragged_dimensions))
        object.__setattr__(self, "rhs_group_dimensions", tuple(self.rhs_group_dimensions))


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
    x, w, sizes = _operands("ragged_dot", lhs, rhs, group_sizes, group_offset)
    if x.ndim != 2 or w.ndim != 3 or sizes.shape != w.shape[:1] or x.shape[1] != w.shape[1]:
        raise ShapeError(
            f"ragged_dot multiplies [m, k] by [g, k, n] with g group_sizes, got {x.type}, {w.type} and {sizes.type}"
        )
    sizes, ends = _ends(sizes)
    rows = iota(sizes.dtype, (x.shape[0],), 0)

    def step(total: Any, group: Any) -> tuple[Any, None]:
        matrix, size, end = group
        start = expand_to(end - size, rows.shape)
        inside = and_(ge(rows, start), lt(rows, expand_to(end, rows.shape)))
        mine = reshape(inside, (*inside.shape, 1))
        # Rows of other groups are left out twice, so that neither values nor derivatives of this one reach them.
        part = select(expand_to(mine, x.shape), x, full_like(x, 0))
        part = dot(part, matrix, preferred_element_type=preferred_element_type)
        return select(expand_to(mine, part.shape), part, total), None

    dtype = dot(x[:0], w[0], preferred_element_type=preferred_element_type).dtype if w.shape[0] else x.dtype
    return scan(step, full(0, (x.shape[0], w.shape[2]), dtype), (w, sizes, ends))[0]


def ragged_dot_general(
    lhs: Any,
    rhs: Any,
    group_sizes: Any,
    ragged_dot_dimension_numbers: RaggedDotDimensionNumbers,
    precision: Any = None,
    preferred_element_type: Any = None,
    group_offset: Any = None,
    **ignored: Any,
) -> Any:
    """:func:`dot_general` where one axis of `lhs` is divided into consecutive groups.

    If that axis is a free one, each group is multiplied by a part of `rhs`, which has an axis of groups. If it is
    contracted, each group gives a product of its own, along a new first axis. If it is a batch axis, groups change
    nothing.

    Args:
        lhs, rhs: arrays.
        group_sizes: integers [g], or [..., g] with the extents of batch axes of `lhs`, and of the axes of the kind of
            the ragged one in front of it.
        ragged_dot_dimension_numbers: which axes.
        precision: accepted for ports.
        preferred_element_type: dtype in which to sum and return.
        group_offset: must be None.
        **ignored: further keywords, accepted for ports.

    Returns:
        An array of the axes batch, free of `lhs`, free of `rhs`; with groups in front if the ragged axis is contracted.
        What is in no group counts as 0. The products are made with an axis of groups at `lhs`, and at `rhs` if the
        ragged axis is contracted.

    Raises:
        ShapeError: the shapes or axes do not fit.
        DtypeError: `group_sizes` are no integers.

    >>> import fdl, fdl.numpy as fnp
    >>> numbers = fdl.lax.RaggedDotDimensionNumbers((((0,), (0,)), ((), ())), [0], [])
    >>> fdl.lax.ragged_dot_general(fnp.ones((3, 1)), fnp.ones((3, 1)), fnp.array([1, 2]), numbers).ravel().tolist()
    [1.0, 2.0]
    """
    name = "ragged_dot_general"
    x, w, sizes = _operands(name, lhs, rhs, group_sizes, group_offset)
    if sizes.ndim < 1:
        raise DtypeError(f"{name}: group_sizes must be integers of at least one axis, got {sizes.type}")
    numbers = ragged_dot_dimension_numbers
    if not isinstance(numbers, RaggedDotDimensionNumbers):
        raise TypeError(
            f"{name}: give ragged_dot_dimension_numbers as lax.RaggedDotDimensionNumbers, got {numbers!r:.80}"
        )
    ((contracted, rhs_contracted), (batch, rhs_batch)) = numbers.dot_dimension_numbers
    if len(numbers.lhs_ragged_dimensions) != 1:
        raise ShapeError(f"{name} expects exactly one lhs ragged dimension, got {numbers.lhs_ragged_dimensions}")
    (ragged,) = numbers.lhs_ragged_dimensions
    if not 0 <= ragged < x.ndim:
        raise ShapeError(
            f"{name} requires lhs ragged dimension numbers to be nonnegative and less than the number of axes of the "
            f"lhs, got {ragged} for {x.type}"
        )
    groups = tuple(numbers.rhs_group_dimensions)
    is_free = ragged not in (*contracted, *batch)
    if len(groups) != (1 if is_free else 0):
        kind, needed = ("free", "one axis") if is_free else ("contracted or batch", "no axis")
        raise ShapeError(f"{name}: the ragged axis {ragged} is a {kind} one, so that rhs has {needed} of groups")
    if groups and (not 0 <= groups[0] < w.ndim or groups[0] in (*rhs_contracted, *rhs_batch)):
        raise ShapeError(f"{name}: the group axis {groups[0]} of {w.type} is to be none of its other axes")
    if len(contracted) != len(rhs_contracted) or len(batch) != len(rhs_batch):
        raise ShapeError(f"{name}: as many axes of lhs as of rhs are needed, got {numbers.dot_dimension_numbers}")
    if groups and sizes.shape[-1] != w.shape[groups[0]]:
        raise ShapeError(f"{name}: expected rhs group dimension size {sizes.shape[-1]}, got {w.shape[groups[0]]}")
    before = contracted if ragged in contracted else batch if ragged in batch else _free(x.ndim, contracted, batch)
    place = before.index(ragged)
    prefix = batch[:place] if ragged in batch else (*batch, *before[:place])
    expected = (*(x.shape[a] for a in prefix), sizes.shape[-1])
    if sizes.ndim != 1 and sizes.shape != expected:
        raise ShapeError(f"{name}: expected group_sizes to have shape {expected}, got {sizes.shape}")
    if ragged in batch:
        return dot_general(x, w, numbers.dot_dimension_numbers, preferred_element_type=preferred_element_type)
    parts = _by_group(x, sizes, ragged, prefix)
    if groups:
        dimensions: Any = (((*contracted, x.ndim), (*rhs_contracted, groups[0])), (batch, rhs_batch))
    else:  # both are masked, so that nothing of other groups reaches this one, be it NaN
        of_rhs = dict(zip((*batch, *contracted), (*rhs_batch, *rhs_contracted), strict=True))
        dimensions = ((contracted, rhs_contracted), ((x.ndim, *batch), (w.ndim, *rhs_batch)))
        w = _by_group(w, sizes, of_rhs[ragged], tuple(of_rhs[axis] for axis in prefix))
    return dot_general(parts, w, dimensions, preferred_element_type=preferred_element_type)


def _operands(name: str, lhs: Any, rhs: Any, group_sizes: Any, group_offset: Any) -> tuple[Any, Any, Any]:
    """Both arrays, and the sizes of the groups, which are integers."""
    if group_offset is not None:
        raise NotImplementedError(f"{name}: group_offset is for groups that are spread over devices; there is one")
    x, w, sizes = (as_array(v, f"an operand of {name}") for v in (lhs, rhs, group_sizes))
    if sizes.dtype.kind not in "iu":
        raise DtypeError(f"{name}: group_sizes must be integers, got {sizes.type}")
    return x, w, sizes


def _ends(sizes: Any) -> tuple[Any, Any]:
    """The sizes of groups, the last axis, in a dtype that holds their sums, and where each group ends."""
    sizes = convert(sizes, int32 if sizes.dtype.itemsize < 4 else sizes.dtype)
    return sizes, cumsum(sizes, sizes.ndim - 1)


def _by_group(x: Any, sizes: Any, ragged: int, prefix: Sequence[int]) -> Any:
    """An operand repeated along a new last axis, one of groups, with 0 for what is in another group or in none."""
    if sizes.ndim > 1:
        order = sorted(range(len(prefix)), key=lambda place: prefix[place])
        sizes, prefix = transpose(sizes, (*order, len(prefix))), sorted(prefix)
    sizes, ends = _ends(sizes)
    grouped = (*x.shape, sizes.shape[-1])
    axes = (x.ndim,) if sizes.ndim == 1 else (*prefix, x.ndim)
    rows = iota(sizes.dtype, grouped, ragged)
    start, end = (broadcast_in_dim(v, grouped, axes) for v in (ends - sizes, ends))
    parts = broadcast_in_dim(x, grouped, range(x.ndim))
    return select(and_(ge(rows, start), lt(rows, end)), parts, full_like(parts, 0))


def _free(ndim: int, contracted: Sequence[int], batch: Sequence[int]) -> tuple[int, ...]:
    return tuple(axis for axis in range(ndim) if axis not in (*contracted, *batch))
