"""Functions with a batching rule of their own, under the names of ``jax.custom_batching``.

>>> import fdl
>>> @fdl.custom_batching.custom_vmap
... def f(x, y):
...     return x + y
>>> @f.def_vmap
... def rule(axis_size, in_batched, xs, ys):
...     return xs * ys, True
>>> fdl.vmap(f)(fdl.numpy.arange(3), fdl.numpy.arange(1, 4))
Array([0, 2, 6], dtype=int32)
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fdl import tree
from fdl.api.arguments import FlatFunction, flatten_values, name_of, require_function, weakened, weakness
from fdl.api.custom import by_position
from fdl.api.wrapping import update_wrapper
from fdl.array import as_array
from fdl.control.custom import Rule
from fdl.control.custom_vmap import CustomVmap
from fdl.core.trace import is_eager, trace_program
from fdl.errors import BatchError, TreeError
from fdl.lax.control import map as lax_map

__all__ = ["custom_vmap", "sequential_vmap"]


class custom_vmap:
    """A function whose results under :func:`fdl.vmap` are given by a rule.

    Args:
        fun: any function of arrays, without batch.

    Set the rule with :meth:`def_vmap`. Derivatives of the function under vmap are derivatives of the rule, in both
    modes; a rule of its own for those comes from :class:`fdl.custom_vjp` or :class:`fdl.custom_jvp` around it.

    >>> import fdl
    >>> f = custom_vmap(lambda x: x**2)
    >>> @f.def_vmap
    ... def rule(axis_size, in_batched, xs):
    ...     return 10 * xs**2, in_batched[0]
    >>> fdl.vmap(fdl.grad(f))(fdl.numpy.arange(3.0)), fdl.grad(f)(2.0)
    (Array([ 0., 20., 40.], dtype=float32), Array(4., dtype=float32))
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        require_function("custom_vmap", "fun", fun)
        update_wrapper(self, fun)
        self.fun = fun
        self.vmap_rule: Callable[..., Any] | None = None

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def def_vmap(self, vmap_rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set ``vmap_rule(axis_size, in_batched, *args) -> (output, out_batched)``; returns it.

        Batched arguments have the batch as their leading axis; `in_batched` is a list with a tree of bools for each
        argument, `out_batched` a tree of bools of the output's structure.
        """
        self.vmap_rule = vmap_rule
        return vmap_rule

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        name = name_of(self.fun)
        if self.vmap_rule is None:
            raise AttributeError(f"the custom_vmap function {name} has no rule yet; set one with def_vmap")
        args, named = by_position(self.fun, args, kwargs)
        if named:
            raise TypeError(f"the custom_vmap function {name} takes no keyword-only arguments: {sorted(named)}")
        if is_eager():
            return self.fun(*args)
        leaves, structure = flatten_values(self.fun, args, {})
        flat = FlatFunction(self.fun, structure, weak=weakness(leaves))
        leaves = [v.held for v in leaves]
        program, captured = trace_program(flat, [v.type for v in leaves], name)
        rule = Rule(_flat_rule(name, self.vmap_rule, flat))
        outs = CustomVmap(program, name, rule=rule, closed=len(captured))(*captured, *leaves)
        return flat.unflatten(outs)


def _flat_rule(name: str, rule: Callable[..., Any], flat: FlatFunction) -> Callable[..., Any]:
    """A rule of trees as one of flat values."""
    structure, out_structure = flat.structure, flat.out_structure

    def run(size: int, batched: Sequence[bool], values: Sequence[Any]) -> tuple[list[Any], Sequence[bool]]:
        args, in_batched = (
            tree.unflatten(structure, weakened(values, flat.weak))[0],
            tree.unflatten(structure, batched)[0],
        )
        result = rule(size, list(in_batched), *args)
        if not (isinstance(result, (tuple, list)) and len(result) == 2):
            raise TreeError(f"the vmap rule of {name} must return a pair (output, out_batched)")
        outs, its_structure = tree.flatten(result[0])
        flags, flag_structure = tree.flatten(result[1])
        if its_structure != out_structure or flag_structure != out_structure:
            raise TreeError(
                f"the vmap rule of {name} must return an output, and bools, of the structure {out_structure}, but "
                f"returned {its_structure} and {flag_structure}"
            )
        found = [as_array(o).strong() for o in outs]
        for out, flag in zip(found, flags, strict=True):
            if flag and out.type.shape[:1] != (size,):
                raise BatchError(
                    f"the vmap rule of {name} says that an output {out.type} is batched, but its leading axis does not "
                    f"have the extent {size}"
                )
        return found, [bool(f) for f in flags]

    return run


def sequential_vmap(f: Callable[..., Any]) -> custom_vmap:
    """`f`, which :func:`fdl.vmap` calls for one example after another, in a loop.

    Args:
        f: any function of arrays.

    Returns:
        A :class:`custom_vmap`.

    >>> import fdl
    >>> f = sequential_vmap(lambda x: [fdl.debug.print("{}", x), x + 1][1])
    >>> fdl.vmap(f)(fdl.numpy.arange(2))
    0
    1
    Array([1, 2], dtype=int32)
    """
    made = custom_vmap(f)

    def rule(axis_size: int, in_batched: Any, *args: Any) -> tuple[Any, Any]:
        leaves, structure = tree.flatten(args)
        flags = tree.leaves(tuple(in_batched))

        def one(rows: Any) -> Any:
            rest = iter(rows)
            whole = [next(rest) if b else leaf for leaf, b in zip(leaves, flags, strict=True)]
            return made(*tree.unflatten(structure, whole))

        if not any(flags):
            out = made.fun(*args)
            return out, tree.map(lambda _: False, out)
        out = lax_map(one, [leaf for leaf, b in zip(leaves, flags, strict=True) if b])
        return out, tree.map(lambda _: True, out)

    made.def_vmap(rule)
    return made


def __dir__() -> list[str]:
    return __all__
