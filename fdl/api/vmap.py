"""vmap: a function of one example as a function of a batch."""

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction, argument_path, check_leaf, lengthened, name_of, require_function
from fdl.api.wrapping import wraps
from fdl.core.trace import Value, lift
from fdl.errors import BatchError, LeafError, TreeError
from fdl.ops.shape import move_axis, repeat
from fdl.tracebacks import boundary
from fdl.transforms.batch import batch_values
from fdl.tree.structures import explain_structures, subtrees

P = ParamSpec("P")
R = TypeVar("R")


def vmap(
    fun: Callable[P, R],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    spmd_axis_name: Any = None,
) -> Callable[P, R]:
    """Map `fun` over an axis of its arguments, without a loop.

    Args:
        fun: works on one example.
        in_axes: for the positional arguments: an int, None (not mapped), or a tuple of these or of pytree prefixes.
            Keyword arguments are always mapped along axis 0.
        out_axes: where the mapped axis appears in the output: an int, None (output does not depend on it), or a pytree
            prefix of the output.
        axis_name: a name for the axis, for collectives such as ``fdl.lax.psum``.
        axis_size: the extent, needed only if nothing is mapped.
        spmd_axis_name: accepted for ports, and ignored: there is one device.

    Returns:
        The mapped function.

    Raises:
        BatchError: extents differ, or `in_axes` do not fit the arguments.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.vmap(fnp.dot)(fnp.ones((2, 3)), fnp.ones((2, 3)))
    Array([3., 3.], dtype=float32)
    """
    require_function("vmap", "fun", fun)
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if not isinstance(in_axes, (int, tuple, type(None))) or isinstance(in_axes, bool):
        raise TypeError(f"vmap in_axes must be an int, None, or a tuple with an entry per argument, got {in_axes!r}")
    if axis_size is not None and (not isinstance(axis_size, (int, np.integer)) or axis_size < 0):
        raise TypeError(f"vmap axis_size must be the extent of an axis, not negative, got {axis_size!r}")

    @boundary
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if isinstance(in_axes, tuple) and len(in_axes) != len(args):
            raise BatchError(
                f"vmap in_axes has {len(in_axes)} entries, but {name_of(fun)} was called with {len(args)} "
                "positional arguments"
            )
        given, structure = tree.flatten((args, kwargs))
        axes = flatten_axes("in_axes", tree.structure(args), in_axes)
        axes += [0] * (len(given) - len(axes))
        # What is not mapped is passed on as it came: a Python number stays one, and it may be of any kind.
        leaves = [
            leaf if a is None else _mapped(fun, args, kwargs, n, leaf)
            for n, (leaf, a) in enumerate(zip(given, axes, strict=True))
        ]
        places = _places(fun, args, kwargs, leaves, axes)
        size = _batch_size(fun, (args, kwargs), leaves, places, axis_size)
        moved = [leaf if p is None else move_axis(leaf.held, p, 0) for leaf, p in zip(leaves, places, strict=True)]
        weak = [None if p is None or not x.weak else x.type.dtype for x, p in zip(leaves, places, strict=True)]
        flat = FlatFunction(fun, structure, weak=weak)
        outs, batched = batch_values(flat, size, moved, [p is not None for p in places], axis_name)
        out_places = flatten_axes("out_axes", flat.out_structure, out_axes)
        placed = [_place(fun, o, b, p, size) for o, b, p in zip(outs, batched, out_places, strict=True)]
        return lengthened(flat.unflatten(placed), size)

    return wrapped


def _mapped(fun: Any, args: Any, kwargs: Any, number: int, leaf: Any) -> Any:
    """A leaf that is mapped, as a value."""
    try:
        return leaf if isinstance(leaf, Value) else lift(leaf)
    except LeafError:
        path = tree.leaves_with_path((args, kwargs))[number][0]
        return check_leaf(leaf, f"{argument_path(fun, path)} of {name_of(fun)}")


def flatten_axes(name: str, structure: Any, axes: Any) -> list[int | None]:
    """One axis, or None, for every leaf of `structure`, of which `axes` is a prefix.

    Raises:
        TreeError: it is not a prefix.
    """
    given, prefix = tree.flatten(axes, is_leaf=lambda a: a is None)
    for axis in given:
        if not (axis is None or isinstance(axis, int)) or isinstance(axis, bool):
            raise TypeError(f"vmap {name} must hold ints and None, got {axis!r}")
    different = explain_structures(prefix, structure)
    if different:
        of = {"in_axes": "arguments", "out_axes": "output"}[name]
        raise TreeError(f"vmap {name}={axes!r} must be a tree prefix of the {of}, but they part {different}")
    parts = subtrees(prefix, structure)
    return [axis for axis, part in zip(given, parts, strict=True) for _ in range(part.num_leaves)]


def _places(fun: Any, args: Any, kwargs: Any, leaves: Sequence[Any], axes: Sequence[int | None]) -> list[int | None]:
    places: list[int | None] = []
    for number, (leaf, axis) in enumerate(zip(leaves, axes, strict=True)):
        ndim = 0 if axis is None else leaf.type.ndim
        if axis is not None and not -ndim <= axis < ndim:
            path = tree.leaves_with_path((args, kwargs))[number][0]
            raise BatchError(
                f"vmap was asked to map axis {axis} of {argument_path(fun, path)} of {name_of(fun)}, "
                f"which is {leaf.type} and has "
                f"{ndim} axes; use in_axes=None for arguments that are not mapped"
            )
        places.append(None if axis is None else axis % ndim)
    return places


def _batch_size(fun: Any, call: Any, leaves: Sequence[Any], places: Sequence[int | None], given: int | None) -> int:
    sizes = [None if p is None else leaf.type.shape[p] for leaf, p in zip(leaves, places, strict=True)]
    found = {s for s in sizes if s is not None} | ({given} if given is not None else set())
    if len(found) == 1:
        return found.pop()
    if not found:
        raise BatchError(
            f"vmap of {name_of(fun)} maps no argument: give axis_size, or an in_axes entry that is not None"
        )
    lines = [
        f"  {argument_path(fun, path)}: axis {place} of {leaf.type} has extent {size}"
        for (path, _), leaf, place, size in zip(tree.leaves_with_path(call), leaves, places, sizes, strict=True)
        if size is not None
    ]
    lines += [] if given is None else [f"  axis_size={given}"]
    raise BatchError(f"vmap of {name_of(fun)} needs mapped axes of one extent:\n" + "\n".join(lines))


def _place(fun: Any, out: Any, batched: bool, axis: int | None, size: int) -> Any:
    if axis is None:
        if batched:
            raise BatchError(f"vmap out_axes is None for an output of {name_of(fun)} that depends on the mapped axis")
        return out
    out = lift(out) if batched else repeat(lift(out), size)
    ndim = out.type.ndim
    if not -ndim <= axis < ndim:
        raise BatchError(
            f"vmap out_axes={axis} does not fit an output of {name_of(fun)} with {ndim} axes (the mapped one included)"
        )
    return move_axis(out, 0, axis % ndim)
