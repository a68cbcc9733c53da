"""Programs in the place of Jaxprs: a function of arrays as data that can be called again."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from fdl import tree
from fdl.api.inspect import ShapeDtypeStruct, trace_call
from fdl.as_jax.core import ShapedArray
from fdl.core.interpret import apply_program
from fdl.core.program import Program


class ClosedJaxpr:
    """A Program and the values that it closes over, which are its first inputs.

    >>> closed = make_jaxpr(lambda x: x * x)(3.0)
    >>> eval_jaxpr(closed.jaxpr, closed.consts, 4.0)
    [Array(16., dtype=float32)]
    """

    def __init__(self, jaxpr: Program, consts: Sequence[Any]) -> None:
        self.jaxpr, self.consts = jaxpr, list(consts)

    @property
    def in_avals(self) -> list[ShapedArray]:
        """Types of the arguments."""
        return [ShapedArray(t.shape, t.dtype) for t in self.jaxpr.input_types[len(self.consts) :]]

    @property
    def out_avals(self) -> list[ShapedArray]:
        """Types of the results."""
        return [ShapedArray(t.shape, t.dtype) for t in self.jaxpr.output_types]

    @property
    def literals(self) -> list[Any]:
        """The values that it closes over."""
        return self.consts

    def __repr__(self) -> str:
        return str(self.jaxpr)


def make_jaxpr(
    fun: Callable[..., Any], static_argnums: int | Sequence[int] = (), axis_env: Any = None, return_shape: bool = False
) -> Callable[..., Any]:
    """A function that returns the :class:`ClosedJaxpr` of `fun` for given arguments instead of running it.

    >>> print(make_jaxpr(lambda x: x + 1)(1.0).out_avals[0])
    f32[]
    """
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fixed = {n % len(args): args[n] for n in static}

        def partly(*rest: Any, **named: Any) -> Any:
            left = iter(rest)
            return fun(*(fixed[n] if n in fixed else next(left) for n in range(len(args))), **named)

        program, captured, flat = trace_call(partly, [a for n, a in enumerate(args) if n not in fixed], kwargs)
        closed = ClosedJaxpr(program, captured)
        if not return_shape:
            return closed
        return closed, flat.unflatten([ShapeDtypeStruct(t.shape, t.dtype) for t in program.output_types])

    return wrapped


def eval_jaxpr(jaxpr: Program, consts: Sequence[Any], *args: Any, **_: Any) -> list[Any]:
    """The results of a Jaxpr for arguments, in the current interpreter."""
    return apply_program(jaxpr, [*consts, *args])


def jaxpr_as_fun(closed_jaxpr: ClosedJaxpr) -> Callable[..., list[Any]]:
    """A Jaxpr as a function of its arguments.

    >>> jaxpr_as_fun(make_jaxpr(lambda x: x + 1)(1.0))(2.0)
    [Array(3., dtype=float32)]
    """
    return lambda *args: eval_jaxpr(closed_jaxpr.jaxpr, closed_jaxpr.consts, *tree.leaves(args))
