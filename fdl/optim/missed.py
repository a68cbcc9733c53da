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
    step: Callable[..., tuple[Sequence[Any], Sequence[Any]]], scalars: Sequence[Any], elements: Sequence[np.dtype]
) -> tuple[Program, list[Any], list[Any]]:
    """A step in two parts: what is computed from its scalars alone, and the rest.

    Args:
        step: from the scalars and one element of every table to the new elements, and to the new scalars.
        scalars: arrays ().
        elements: dtypes of the tables.

    Returns:
        The Program from elements and numbers to the new elements; these numbers, each (); and the new scalars.

    Raises:
        ValueError: a new scalar is computed from elements.
    """
    of_scalars, body, _, captured = _halves(
        lambda *xs: [x for part in step(*xs) for x in part], scalars, elements, True
    )
    found = apply_program(of_scalars, [*captured, *map(lift, scalars)])
    return body, found[len(scalars) :], found[: len(scalars)]


def _halves(
    step: Callable[..., Sequence[Any]],
    scalars: Sequence[Any],
    elements: Sequence[np.dtype],
    gives_scalars: bool = False,
) -> tuple[Program, Program, tuple[TensorType, ...], list[Any]]:
    """The Program from what `step` captures and scalars to numbers, behind the new scalars if these are the last that
    it gives; the Program from elements and these numbers to its other results; the types of the numbers; and what is
    captured."""
    types = [TensorType((), d) for d in (*(s.dtype for s in scalars), *elements)]
    program, captured = trace_program(step, types)
    known, last = len(captured) + len(scalars), len(scalars) if gives_scalars else 0
    unknown = tuple(n >= known for n in range(len(program.inputs)))
    wanted = tuple(n < len(program.outputs) - last for n in range(len(program.outputs)))
    of_scalars, body, found, numbers = partial_eval_program(program, unknown, wanted)
    if found != wanted:
        raise ValueError("by_rows needs an optimizer whose scalars do not depend on the gradients of single rows")
    return of_scalars, body, numbers, captured
