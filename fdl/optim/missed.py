"""What an optimizer's step does to one element of a table, as the kernels of `fdl.sparse` need it, and its numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.compile.fallback import otherwise
from fdl.compile.passes.order import prepared
from fdl.core.interpret import apply_program
from fdl.core.program import Literal, Program
from fdl.core.trace import lift, trace_program
from fdl.core.types import TensorType
from fdl.ops.shape import repeat
from fdl.transforms.batch import batch_values
from fdl.transforms.linearize import partial_eval_program


def of_each_element(
    step: Callable[..., Sequence[Any]], history: Sequence[Any], elements: Sequence[np.dtype], steps: int
) -> tuple[Program, list[Any]]:
    """A step in two parts: what is computed from its scalars alone, once for each of the last steps, and the rest.

    Args:
        step: from the scalars of a step and one element of every table to the new elements.
        history: for each of the scalars its values in the last steps, (steps,).
        elements: dtypes of the tables.
        steps: how many are kept.

    Returns:
        The Program from elements and numbers of a step to the new elements; and these numbers, each (steps,).
    """
    of_scalars, body, types, captured = _halves(step, history, elements)
    # What is the same in all steps becomes part of the body.
    simple = otherwise("simplify", of_scalars, lambda: prepared(of_scalars), of_scalars)
    constants = [a.value if isinstance(a, Literal) else None for a in simple.outputs]
    moving = [t for t, c in zip(types, constants, strict=True) if c is None]

    def short(*values: Any) -> list[Any]:
        rest = iter(values[len(elements) :])
        return apply_program(body, [*values[: len(elements)], *(next(rest) if c is None else c for c in constants)])

    whole, _ = trace_program(short, [*body.input_types[: len(elements)], *moving])
    if not moving:
        return whole, []
    each = batch_values(
        lambda *xs: apply_program(of_scalars, [*captured, *xs]), steps, [*map(lift, history)], [True] * len(history)
    )
    numbers = [o if b else repeat(lift(o), steps) for o, b in zip(*each, strict=True)]
    return whole, [n for n, c in zip(numbers, constants, strict=True) if c is None]


def of_one_step(
    step: Callable[..., Sequence[Any]], scalars: Sequence[Any], elements: Sequence[np.dtype]
) -> tuple[Program, list[Any]]:
    """A step in two parts: what is computed from its scalars alone, and the rest.

    Args:
        step: from the scalars and one element of every table to the new elements.
        scalars: arrays ().
        elements: dtypes of the tables.

    Returns:
        The Program from elements and numbers to the new elements; and these numbers, each ().
    """
    of_scalars, body, _, captured = _halves(step, scalars, elements)
    return body, apply_program(of_scalars, [*captured, *map(lift, scalars)])


def _halves(
    step: Callable[..., Sequence[Any]], scalars: Sequence[Any], elements: Sequence[np.dtype]
) -> tuple[Program, Program, tuple[TensorType, ...], list[Any]]:
    """The Program from what `step` captures and scalars to numbers; the Program from elements and these numbers to the
    step's results; the types of the numbers; and what is captured."""
    types = [TensorType((), d) for d in (*(s.dtype for s in scalars), *elements)]
    program, captured = trace_program(step, types)
    known = len(captured) + len(scalars)
    unknown = tuple(n >= known for n in range(len(program.inputs)))
    of_scalars, body, _, numbers = partial_eval_program(program, unknown, (True,) * len(program.outputs))
    return of_scalars, body, numbers, captured
