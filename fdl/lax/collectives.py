"""Collectives over an axis that an enclosing vmap names."""

from collections.abc import Sequence
from typing import Any

from fdl import tree
from fdl.array import as_array
from fdl.control.collective import AllGather, AxisIndex, Pmax, Pmin, Ppermute, Psum, PsumScatter, bound
from fdl.control.collective import axis_size as axis_size
from fdl.ops.arithmetic import div
from fdl.ops.convert import convert
from fdl.ops.shape import full_like, move_axis, reshape


def _names(axis_name: Any) -> tuple[Any, ...]:
    return tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)


def psum(x: Any, axis_name: Any) -> Any:
    """Sum of `x` (a pytree) over the named axis, or axes.

    Args:
        x: pytree of arrays of numbers; Python numbers are multiplied by the size of the axis.
        axis_name: name of an axis, or a tuple of names.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: x / fdl.lax.psum(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([0.25, 0.75], dtype=float32)
    """

    def one(leaf: Any) -> Any:
        if type(leaf) in (int, float):
            for name in _names(axis_name):
                leaf = leaf * axis_size(name)
            return leaf
        leaf = as_array(leaf)
        for name in _names(axis_name):
            leaf = bound(Psum, name)(leaf)
        return leaf

    return tree.map(one, x)


def pmean(x: Any, axis_name: Any) -> Any:
    """Mean of `x` (a pytree) over the named axis, or axes.

    Args:
        x: pytree of arrays of numbers.
        axis_name: name of an axis, or a tuple of names.

    Returns:
        A pytree of the same structure and shapes; integers become the default float.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: x - fdl.lax.pmean(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([-1.,  1.], dtype=float32)
    """
    count = 1
    for name in _names(axis_name):
        count *= axis_size(name)
    total = psum(tree.map(_inexact, x), axis_name)
    return tree.map(lambda t: div(t, full_like(t, count)), total)


def _inexact(x: Any) -> Any:
    from fdl.dtypes import default_dtype, is_inexact

    x = as_array(x)
    return x if is_inexact(x.type.dtype) else convert(x, default_dtype(float))


def pmax(x: Any, axis_name: Any) -> Any:
    """Largest `x` (a pytree, elementwise) over the named axis.

    Args:
        x: pytree of arrays of real numbers.
        axis_name: name of an axis.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pmax(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([3., 3.], dtype=float32)
    """
    return tree.map(lambda leaf: bound(Pmax, axis_name)(as_array(leaf)), x)


def pmin(x: Any, axis_name: Any) -> Any:
    """Smallest `x` (a pytree, elementwise) over the named axis.

    Args:
        x: pytree of arrays of real numbers.
        axis_name: name of an axis.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pmin(x, "i"), axis_name="i")(fnp.array([1.0, 3.0]))
    Array([1., 1.], dtype=float32)
    """
    return tree.map(lambda leaf: bound(Pmin, axis_name)(as_array(leaf)), x)


def axis_index(axis_name: Any) -> Any:
    """The number of this example along the named axis.

    Args:
        axis_name: name of an axis.

    Returns:
        An int32 scalar.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: x * fdl.lax.axis_index("i"), axis_name="i")(fnp.array([5, 6, 7]))
    Array([ 0,  6, 14], dtype=int32)
    """
    return bound(AxisIndex, axis_name)()


def all_gather(x: Any, axis_name: Any, *, axis: int = 0, tiled: bool = False) -> Any:
    """All examples' `x` (a pytree) along a new axis at `axis`; with `tiled`, joined along the axis that is there.

    Args:
        x: pytree of arrays.
        axis_name: name of an axis, of size n.
        axis: where the examples go in the result.
        tiled: whether to join along an existing axis.

    Returns:
        A pytree of the same structure; each array has a new axis of extent n, or an axis n times as long.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.all_gather(x, "i"), axis_name="i")(fnp.array([1, 2]))
    Array([[1, 2],
           [1, 2]], dtype=int32)
    """
    size = axis_size(axis_name)

    def one(leaf: Any) -> Any:
        gathered = AllGather(axis_name, size)(as_array(leaf))
        shape = list(gathered.type.shape[1:])
        place = axis % (len(shape) if tiled else len(shape) + 1)
        moved = move_axis(gathered, 0, place)
        if not tiled:
            return moved
        shape[place] *= size
        return reshape(moved, shape)

    return tree.map(one, x)


def psum_scatter(x: Any, axis_name: Any, *, scatter_dimension: int = 0, tiled: bool = False) -> Any:
    """Sum over the named axis, of which example i gets slice i along `scatter_dimension`.

    Args:
        x: pytree of arrays of numbers, whose extent along the axis is n, or with `tiled` a multiple of n.
        axis_name: name of an axis, of size n.
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
        leaf = as_array(leaf)
        if tiled:
            shape = leaf.type.shape
            parts = (size, shape[scatter_dimension] // size)
            leaf = reshape(leaf, shape[:scatter_dimension] + parts + shape[scatter_dimension + 1 :])
        return PsumScatter(axis_name, size)(move_axis(leaf, scatter_dimension, 0))

    return tree.map(one, x)


def ppermute(x: Any, axis_name: Any, perm: Sequence[tuple[int, int]]) -> Any:
    """Send `x` (a pytree) from example to example by (source, destination) pairs; zeros where nothing arrives.

    Args:
        x: pytree of arrays.
        axis_name: name of an axis.
        perm: (source, destination) pairs of numbers of examples.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.ppermute(x, "i", [(0, 1), (1, 0)]), axis_name="i")(fnp.array([1, 2]))
    Array([2, 1], dtype=int32)
    """
    pairs = tuple((int(s), int(d)) for s, d in perm)
    return tree.map(lambda leaf: bound(Ppermute, axis_name, pairs)(as_array(leaf)), x)
