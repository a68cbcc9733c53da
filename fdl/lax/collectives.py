"""Collectives over an axis that an enclosing vmap names."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from fdl import tree
from fdl.array import as_operand as as_array
from fdl.control.collective import AllGather, AxisIndex, Pmax, Pmin, Ppermute, Psum, PsumScatter, bound, names_of
from fdl.control.collective import axis_size as axis_size
from fdl.dtypes import WEAK, bool_, default_dtype, is_inexact, python_number
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index as place_of
from fdl.ops.arithmetic import add, div, mul
from fdl.ops.convert import convert
from fdl.ops.reduce import reduce_max, reduce_min, sum_
from fdl.ops.shape import full_like, move_axis, reshape


def _over(make: Callable[[Any], Any], leaf: Any, axis_name: Any) -> Any:
    """`leaf` combined over every named axis, one after another."""
    leaf = as_array(leaf, "an operand of a collective")
    for name in names_of(axis_name):
        leaf = bound(make, name)(leaf)
    return leaf


#: Groups of examples, by their numbers.
Groups: TypeAlias = Sequence[Sequence[int]] | None


def group_of(axis_name: Any, groups: Sequence[Sequence[int]]) -> Any:
    """The numbers of the examples in the group of this example.

    Raises:
        ValueError: the groups do not hold each example once, or differ in size.
    """
    size = axis_size(axis_name)
    if sorted(n for group in groups for n in group) != list(range(size)) or len(set(map(len, groups))) > 1:
        raise ValueError(f"axis_index_groups needs {size} examples in groups of one size, got {groups}")
    of = {example: number for number, group in enumerate(groups) for example in group}
    mine = as_array(np.array([of[n] for n in range(size)], np.int32))[axis_index(axis_name)]
    return as_array(np.array(groups, np.int32))[mine]


def _of_group(reduce: Callable[..., Any], x: Any, axis_name: Any, groups: Sequence[Sequence[int]]) -> Any:
    """`x` (a pytree) combined over the examples of a group."""
    members = group_of(axis_name, groups)
    return tree.map(lambda leaf: reduce(_gathered(leaf, axis_name)[members], (0,)), x)


def psum(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """Sum of `x` (a pytree) over the named axis, or axes.

    Args:
        x: pytree of arrays of numbers; Python numbers are multiplied by the size of the axis.
        axis_name: name of an axis, or a tuple of names.
        axis_index_groups: numbers of examples; each group of them is combined by itself.

    Returns:
        A pytree of the same structure, shapes and dtypes; booleans are counted.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: x / fdl.lax.psum(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([0.25, 0.75], dtype=float32)
    """

    def one(leaf: Any) -> Any:
        if type(leaf) in WEAK:
            return python_number(leaf) * (axis_size(axis_name) if not axis_index_groups else len(axis_index_groups[0]))
        leaf = as_array(leaf, "an operand of psum")
        leaf = convert(leaf, default_dtype(int)) if leaf.type.dtype == bool_ else leaf
        if axis_index_groups is not None:
            return _of_group(sum_, leaf, axis_name, axis_index_groups)
        return _over(Psum, leaf, axis_name)

    return tree.map(one, x)


def pmean(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """Mean of `x` (a pytree) over the named axis, or axes.

    Args:
        x: pytree of arrays of numbers.
        axis_name: name of an axis, or a tuple of names.
        axis_index_groups: numbers of examples; each group of them is combined by itself.

    Returns:
        A pytree of the same structure and shapes; integers become the default float.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: x - fdl.lax.pmean(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([-1.,  1.], dtype=float32)
    """
    count = axis_size(axis_name) if axis_index_groups is None else len(axis_index_groups[0])
    total = psum(tree.map(_inexact, x), axis_name, axis_index_groups=axis_index_groups)
    return tree.map(lambda t: div(t, full_like(t, count)), total)


def _inexact(x: Any) -> Any:
    x = as_array(x, "an operand of pmean")
    return x if is_inexact(x.type.dtype) else convert(x, default_dtype(float))


def pmax(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """Largest `x` (a pytree, elementwise) over the named axis, or axes.

    Args:
        x: pytree of arrays of real numbers.
        axis_name: name of an axis, or a tuple of names.
        axis_index_groups: numbers of examples; each group of them is combined by itself.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pmax(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([3., 3.], dtype=float32)
    """
    if axis_index_groups is not None:
        return _of_group(reduce_max, x, axis_name, axis_index_groups)
    return tree.map(lambda leaf: _over(Pmax, leaf, axis_name), x)


def pmin(x: Any, axis_name: Any, *, axis_index_groups: Groups = None) -> Any:
    """Smallest `x` (a pytree, elementwise) over the named axis, or axes.

    Args:
        x: pytree of arrays of real numbers.
        axis_name: name of an axis, or a tuple of names.
        axis_index_groups: numbers of examples; each group of them is combined by itself.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pmin(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([1., 1.], dtype=float32)
    """
    if axis_index_groups is not None:
        return _of_group(reduce_min, x, axis_name, axis_index_groups)
    return tree.map(lambda leaf: _over(Pmin, leaf, axis_name), x)


def axis_index(axis_name: Any) -> Any:
    """The number of this example along the named axis; along several, in row-major order.

    Args:
        axis_name: name of an axis, or a tuple of names.

    Returns:
        An int32 scalar.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: x * fdl.lax.axis_index("i"), axis_name="i")(fnp.array([5, 6, 7]))
    Array([ 0,  6, 14], dtype=int32)
    """
    number = as_array(np.int32(0))
    for name in names_of(axis_name):
        here = bound(AxisIndex, name)()
        number = add(mul(number, full_like(number, axis_size(name))), here)
    return number


def all_gather(x: Any, axis_name: Any, *, axis_index_groups: Groups = None, axis: int = 0, tiled: bool = False) -> Any:
    """All examples' `x` (a pytree) along a new axis at `axis`; with `tiled`, joined along the axis that is there.

    Args:
        x: pytree of arrays.
        axis_name: name of an axis, or a tuple of names, in row-major order; of size n together.
        axis: where the examples go in the result.
        tiled: whether to join along an existing axis.
        axis_index_groups: numbers of examples; each group of them gathers what it has itself.

    Returns:
        A pytree of the same structure; each array has a new axis of extent n, or an axis n times as long.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.all_gather(x, "i"), axis_name="i")(fnp.array([1, 2]))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    members = None if axis_index_groups is None else group_of(axis_name, axis_index_groups)

    def one(leaf: Any) -> Any:
        gathered = _gathered(leaf, axis_name)
        gathered = gathered if members is None else gathered[members]
        shape = list(gathered.type.shape[1:])
        place = place_of("all_gather", axis, len(shape) if tiled else len(shape) + 1)
        moved = move_axis(gathered, 0, place)
        if not tiled:
            return moved
        shape[place] *= gathered.type.shape[0]
        return reshape(moved, shape)

    return tree.map(one, x)


def _gathered(leaf: Any, axis_name: Any) -> Any:
    """All examples' `leaf` along a new leading axis."""
    leaf = as_array(leaf, "an operand of a collective")
    names, shape = names_of(axis_name), leaf.type.shape
    for name in reversed(names):
        leaf = AllGather(name, axis_size(name))(leaf)
    return reshape(leaf, (axis_size(axis_name), *shape))


def psum_scatter(x: Any, axis_name: Any, *, scatter_dimension: int = 0, tiled: bool = False) -> Any:
    """Sum over the named axis, of which example i gets slice i along `scatter_dimension`.

    Args:
        x: pytree of arrays of numbers, whose extent along the axis is n, or with `tiled` a multiple of n.
        axis_name: name of an axis, or a tuple of names, in row-major order; of size n together.
        scatter_dimension: the axis to distribute.
        tiled: whether the axis stays, 1/n as long, instead of being removed.

    Returns:
        A pytree of the same structure and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.psum_scatter(x, "i"), axis_name="i")(fnp.array([[1, 2], [3, 4]]))
    Array([4, 6], dtype=int32)
    """
    size = axis_size(axis_name)

    def one(leaf: Any) -> Any:
        leaf = as_array(leaf, "an operand of psum_scatter")
        shape = leaf.type.shape
        place = place_of("psum_scatter", scatter_dimension, len(shape))
        if shape[place] != size and not (tiled and shape[place] % size == 0):
            raise ShapeError(
                f"psum_scatter distributes axis {place} of {leaf.type} over {size} examples, so its extent must be "
                f"{'a multiple of ' if tiled else ''}{size}"
            )
        if tiled:
            leaf = reshape(leaf, (*shape[:place], size, shape[place] // size, *shape[place + 1 :]))
        leaf = move_axis(leaf, place, 0)
        names = names_of(axis_name)
        leaf = reshape(leaf, (*map(axis_size, names), *leaf.type.shape[1:]))
        for name in names:
            leaf = PsumScatter(name, axis_size(name))(leaf)
        return leaf

    return tree.map(one, x)


def ppermute(x: Any, axis_name: Any, perm: Sequence[tuple[int, int]]) -> Any:
    """Send `x` (a pytree) from example to example by (source, destination) pairs; zeros where nothing arrives.

    Args:
        x: pytree of arrays.
        axis_name: name of an axis, or a tuple of names, whose examples are numbered in row-major order.
        perm: (source, destination) pairs of numbers of examples.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.ppermute(x, "i", [(0, 1), (1, 0)]), axis_name="i")(fnp.array([1, 2]))
    Array([2, 1], dtype=int32)
    """
    size = axis_size(axis_name)
    try:
        pairs = tuple((int(s), int(d)) for s, d in perm)
    except (TypeError, ValueError):
        raise TypeError(f"ppermute takes perm as (source, destination) pairs of integers, got {perm!r}") from None
    ends = [list(end) for end in zip(*pairs, strict=True)]
    if any(len(set(end)) < len(end) or not all(0 <= n < size for n in end) for end in ends):
        raise ValueError(f"ppermute needs distinct sources and distinct destinations among {size} examples, got {perm}")
    names = names_of(axis_name)
    if len(names) == 1:
        return tree.map(lambda leaf: _over(lambda name: Ppermute(name, pairs), leaf, names), x)
    source = {d: s for s, d in pairs}
    place = axis_index(axis_name)
    origin = as_array(np.asarray([source.get(d, size) for d in range(size)], np.int32))[place]

    def one(leaf: Any) -> Any:
        gathered = _gathered(leaf, axis_name)
        return gathered.at[origin].get(mode="fill", fill_value=0)

    return tree.map(one, x)
