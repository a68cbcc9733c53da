"""What the backward pass of a function is kept for: its residuals, by where they come from."""

from collections.abc import Callable
from typing import Any

from fdl import tree
from fdl.api.arguments import FlatFunction, argument_path
from fdl.api.inspect import abstract_leaves
from fdl.control.checkpoint import Named
from fdl.core.program import Literal, Program, Var
from fdl.core.rewrite import eliminate_dead, uses
from fdl.core.trace import lift, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import INEXACT
from fdl.transforms.linearize import linearize_values


def saved_residuals(f: Callable[..., Any], *args: Any, **kwargs: Any) -> list[tuple[TensorType, str]]:
    """What reverse-mode differentiation of `f` keeps between its forward and its backward pass.

    Args:
        f: any function of arrays.
        *args, **kwargs: arrays or ShapeDtypeStructs.

    Returns:
        A list of pairs: the type of each value that is kept, and where it comes from (an argument, a constant, a name
        given by :func:`fdl.ad_checkpoint.checkpoint_name`, or an operation and its line), arguments first.

    >>> import fdl, fdl.numpy as fnp
    >>> [where for _, where in saved_residuals(lambda x, y: x * y, 1.0, 2.0)]
    ['from the argument x', 'from the argument y']
    """
    types, structure = abstract_leaves(f, args, kwargs)
    flat = FlatFunction(f, structure)
    active = [t.dtype in INEXACT for t in types]
    count = 0

    def run(*values: Any) -> list[Any]:
        nonlocal count
        outs, linear, residuals, _ = linearize_values(flat, values, active)
        linear = eliminate_dead(linear)
        read = set(uses(linear.equations)) | set(linear.outputs)
        count = len(outs)
        return [*outs, *(lift(r) for r, v in zip(residuals, linear.inputs, strict=False) if v in read)]

    program, _ = trace_program(run, types)
    place = {v: n for n, v in enumerate(program.inputs[len(program.inputs) - len(types) :])}
    paths = [argument_path(f, path) for path in tree.paths(structure)]
    kept = dict.fromkeys(program.outputs[count:])
    mine = sorted((a for a in kept if a in place), key=lambda a: place[a])
    found = [(a.type, f"from the {paths[place[a]]}") for a in mine]
    return found + [(a.type, _origin(program, a)) for a in kept if a not in place]


def _origin(program: Program, atom: Any) -> str:
    """Where a value that is no argument comes from."""
    if isinstance(atom, Literal):
        return "from a literal"
    for equation in program.equations:
        if isinstance(equation.operation, Named) and atom in equation.inputs:
            return f"named {equation.operation.label!r} from {equation.source}"
    for equation in program.equations:
        if atom in equation.outputs:
            operation = equation.operation
            inner = operation.inlined
            if inner is None:
                return f"output of {operation.name} from {equation.source}"
            result = inner.outputs[equation.outputs.index(atom)]
            if isinstance(result, Var) and result in inner.inputs:
                return _origin(program, equation.inputs[inner.inputs.index(result)])
            return _origin(inner, result)
    return "from a constant"


def print_saved_residuals(f: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Print what :func:`saved_residuals` finds, a line for each value.

    >>> import fdl, fdl.numpy as fnp
    >>> print_saved_residuals(lambda x: fnp.sin(fnp.exp(x)), fnp.ones(3))  # doctest: +ELLIPSIS
    f32[3] output of exp from ...
    f32[3] output of cos from ...
    """
    for type, where in saved_residuals(f, *args, **kwargs):
        print(f"{type} {where}")
