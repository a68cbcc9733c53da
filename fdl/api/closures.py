"""Functions without closures: traced values that a function closes over, as arguments."""

from collections.abc import Callable, Sequence
from typing import Any

from fdl import tree
from fdl.api.inspect import trace_call
from fdl.control.linear_solve import LinearCall
from fdl.core.interpret import apply_program
from fdl.core.program import Program, Var
from fdl.core.rewrite import eliminate_dead
from fdl.core.trace import lift
from fdl.errors import TreeError


def closure_convert(fun: Callable[..., Any], *example_args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """`fun` with the traced values that it closes over as further arguments, so that derivatives can be taken by them.

    Args:
        fun: a function of arrays.
        *example_args: arguments of the structure, shapes and dtypes that it will get.

    Returns:
        ``converted(*args, *consts)`` and the list of values `consts`. Arrays that are not traced stay in `converted`.

    >>> import fdl
    >>> def f(scale):
    ...     converted, consts = fdl.closure_convert(lambda x: scale * x, 1.0)
    ...     return converted(3.0, *consts)
    >>> fdl.grad(f)(2.0)
    Array(3., dtype=float32)
    """
    program, captured, flat = trace_call(fun, example_args, {})
    structure, count = tree.structure(tuple(example_args)), len(captured)

    def converted(*args: Any) -> Any:
        split = len(args) - count
        leaves, given = tree.flatten(args[:split])
        if given != structure:
            raise TreeError(f"a converted closure takes arguments of the structure {structure}, but got {given}")
        return flat.unflatten(apply_program(program, [*args[split:], *map(lift, leaves)]))

    return converted, list(captured)


def share_captured(programs: Sequence[Program], captured: Sequence[Sequence[Any]]) -> tuple[list[Program], list[Any]]:
    """Programs with one common list of captured values as their first inputs."""
    merged = list({id(v): v for values in captured for v in values}.values())
    shared = []
    for program, values in zip(programs, captured, strict=True):
        place = {id(v): var for v, var in zip(values, program.inputs, strict=False)}
        inputs = tuple(place.get(id(v)) or Var(lift(v).type) for v in merged) + program.inputs[len(values) :]
        shared.append(eliminate_dead(Program(inputs, program.equations, program.outputs, program.constants)))
    return shared, merged


def linear_call(
    fun: Callable[..., Any], fun_transpose: Callable[..., Any], residual_args: Any, linear_args: Any
) -> Any:
    """A linear function whose transpose is given.

    Args:
        fun: ``fun(residual_args, linear_args)``, linear in its second argument.
        fun_transpose: ``fun_transpose(residual_args, cotangent)``, from a cotangent of the output to one of
            `linear_args`.
        residual_args: any pytree of arrays.
        linear_args: any pytree of arrays.

    Returns:
        The output of `fun`.

    Raises:
        TreeError: `fun_transpose` returns another structure, or other types, than those of `linear_args`.

    >>> import fdl
    >>> def f(x, scale):
    ...     return fdl.custom_derivatives.linear_call(lambda r, x: x / r, lambda r, t: 10 * t / r, scale, x)
    >>> f(6.0, 2.0), fdl.linear_transpose(lambda x: f(x, 2.0), 1.0)(6.0)
    (Array(3., dtype=float32), (Array(30., dtype=float32),))
    """
    program, captured, flat = trace_call(fun, (residual_args, linear_args), {})
    out = flat.unflatten(program.output_types)
    back, back_captured, back_flat = trace_call(fun_transpose, (residual_args, out), {})
    linear, structure = tree.flatten(linear_args)
    values = [lift(leaf) for leaf in linear]
    if back_flat.out_structure != structure or list(back.output_types) != [v.type for v in values]:
        types = ", ".join(map(str, back.output_types))
        raise TreeError(
            f"linear_call: fun_transpose returned {back_flat.out_structure} of ({types}), where linear_args are "
            f"{structure} of ({', '.join(str(v.type) for v in values)})"
        )
    shared, merged = share_captured([program, back], [captured, back_captured])
    residuals = [*merged, *map(lift, tree.leaves(residual_args))]
    return flat.unflatten(LinearCall(shared[0], shared[1], len(residuals))(*residuals, *values))
