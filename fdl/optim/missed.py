"""The steps that rows missed, as `fdl.sparse.replay` needs them: what a step does to an element, and its numbers."""

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
    scalars = [TensorType((), h.dtype) for h in history]
    program, captured = trace_program(step, [*scalars, *(TensorType((), d) for d in elements)])
    known = len(captured) + len(history)
    unknown = tuple(n >= known for n in range(len(program.inputs)))
    of_scalars, body, _, types = partial_eval_program(program, unknown, (True,) * len(program.outputs))
    # What is the same in all steps becomes part of the body.
    simple = otherwise("simplify", of_scalars, lambda: prepared(of_scalars), of_scalars)
    constants = [a.value if isinstance(a, Literal) else None for a in simple.outputs]
    moving = [t for t, c in zip(types, constants, strict=True) if c is None]

    def short(*values: Any) -> list[Any]:
        rest = iter(values[len(elements) :])
        return apply_program(body, [*values[: len(elements)], *(next(rest) if c is None else c for c in constants)])

    whole, _ = trace_program(short, [*program.input_types[known:], *moving])
    if not moving:
        return whole, []
    each = batch_values(
        lambda *xs: apply_program(of_scalars, [*captured, *xs]), steps, [*map(lift, history)], [True] * len(history)
    )
    numbers = [o if b else repeat(lift(o), steps) for o, b in zip(*each, strict=True)]
    return whole, [n for n, c in zip(numbers, constants, strict=True) if c is None]
