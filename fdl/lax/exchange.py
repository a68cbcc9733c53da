"""Exchanges between the examples of a named axis: parts of arrays change places with examples; groups of examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.array import as_operand as as_array
from fdl.control.collective import axis_size
from fdl.errors import ShapeError
from fdl.lax.collectives import all_gather, axis_index, group_of, ppermute
from fdl.numpy._operands import axis_index as place_of
from fdl.numpy._operands import integers
from fdl.ops.shape import move_axis, reshape


def all_to_all(
    x: Any,
    axis_name: Any,
    split_axis: int,
    concat_axis: int,
    *,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    tiled: bool = False,
) -> Any:
    """Cut `x` (a pytree) along one axis, send part i to example i, and join along another axis what arrives.

    Args:
        x: pytree of arrays, whose extent along `split_axis` is the size n of the axis, or with `tiled` a multiple.
        axis_name: name of an axis, or a tuple of names, in row-major order; of size n together.
        split_axis: the axis that is cut; without `tiled` it is removed.
        concat_axis: the axis along which parts are joined, in the order of their examples; without `tiled` a new one.
        axis_index_groups: numbers of examples, of which each group exchanges parts among itself; n is then a group's
            size.
        tiled: whether axes stay, the one 1/n as long and the other n times.

    Returns:
        A pytree of the same structure and dtypes.

    Raises:
        AxisNameError: no enclosing vmap binds the name.
        ShapeError: the extent along `split_axis` cannot be cut so.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.all_to_all(x, "i", 0, 0), axis_name="i")(fnp.array([[1, 2], [3, 4]]))
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    size = axis_size(axis_name) if axis_index_groups is None else len(axis_index_groups[0])
    group = np.arange(size) if axis_index_groups is None else group_of(axis_name, axis_index_groups)
    place = (group == axis_index(axis_name)).argmax()

    def one(leaf: Any) -> Any:
        leaf = as_array(leaf, "an operand of all_to_all")
        shape = leaf.type.shape
        split = place_of("all_to_all", split_axis, len(shape))
        concat = place_of("all_to_all", concat_axis, len(shape))
        if shape[split] != size and not (tiled and shape[split] % size == 0):
            raise ShapeError(
                f"all_to_all distributes axis {split} of {leaf.type} over {size} examples, so its extent must be "
                f"{'a multiple of ' if tiled else ''}{size}"
            )
        parts = reshape(leaf, (*shape[:split], size, shape[split] // size, *shape[split + 1 :]))
        parts = parts if tiled else reshape(leaf, shape)
        arrived = move_axis(all_gather(move_axis(parts, split, 0), axis_name)[group, place], 0, concat)
        if not tiled:
            return arrived
        extents = arrived.type.shape
        return reshape(arrived, (*extents[:concat], extents[concat] * extents[concat + 1], *extents[concat + 2 :]))

    return tree.map(one, x)


def pswapaxes(x: Any, axis_name: Any, axis: int, *, axis_index_groups: Sequence[Sequence[int]] | None = None) -> Any:
    """Let an axis of `x` (a pytree) and the named axis change places.

    Args:
        x: pytree of arrays, whose extent along `axis` is the size of the named axis.
        axis_name: name of an axis, or a tuple of names.
        axis: the axis to exchange.
        axis_index_groups: as for :func:`all_to_all`.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pswapaxes(x, "i", 0), axis_name="i")(fnp.array([[1, 2], [3, 4]]))
    Array([[1, 3],
           [2, 4]], dtype=int32)
    """
    return all_to_all(x, axis_name, axis, axis, axis_index_groups=axis_index_groups)


def pshuffle(x: Any, axis_name: Any, perm: Sequence[int]) -> Any:
    """Give example i the `x` (a pytree) of example ``perm[i]``.

    Args:
        x: pytree of arrays.
        axis_name: name of an axis, or a tuple of names.
        perm: a permutation of the numbers of the examples.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    Raises:
        TypeError: `perm` is no sequence of integers.
        ValueError: it is no permutation.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pshuffle(x, "i", [2, 0, 1]), axis_name="i")(fnp.array([1, 2, 3]))
    Array([3, 1, 2], dtype=int32)
    """
    sources = integers("pshuffle: perm", perm)
    if sorted(sources) != list(range(axis_size(axis_name))):
        raise ValueError(f"pshuffle needs a permutation of {axis_size(axis_name)} examples, got {sources}")
    return ppermute(x, axis_name, list(zip(sources, range(len(sources)), strict=True)))


def pbroadcast(x: Any, axis_name: Any, source: int) -> Any:
    """Give every example the `x` (a pytree) of one.

    Args:
        x: pytree of arrays.
        axis_name: name of an axis, or a tuple of names.
        source: the number of that example.

    Returns:
        A pytree of the same structure, shapes and dtypes.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(lambda x: fdl.lax.pbroadcast(x, "i", 1), axis_name="i")(fnp.array([1, 2, 3]))
    Array([2, 2, 2], dtype=int32)
    """
    return tree.map(lambda leaf: all_gather(leaf, axis_name)[source], x)
