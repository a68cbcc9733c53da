"""Zero invariance: whether a Program of numbers leaves zeros as they are, found by following them through it."""

from typing import Any

import numpy as np

from fdl.core.program import Literal, Program, Var

#: What is known of a value: a number (0 for either zero), the input that it equals, or nothing (None).
Fact = float | Var | None

_KEEP_ZERO = ("neg", "abs", "sign", "sqrt", "convert")


def is_zero_invariant(program: Program, count: int) -> bool:
    """Whether the last of the first `count` inputs, and zeros in those before it, come out as they went in.

    All other inputs, and what is computed from them alone, count as finite.

    Args:
        program: of scalars, floating-point equations; it returns `count` values.
        count: of the values that it changes.
    """
    *states, last = program.inputs[:count]
    facts: dict[Var, Fact] = dict.fromkeys(states, 0.0) | {last: last}

    def fact(atom: Any) -> Fact:
        if isinstance(atom, Literal):
            return float(atom.value) if atom.value.dtype.kind == "f" or atom.value.dtype.kind in "iu" else None
        return facts.get(atom)

    for equation in program.equations:
        found = [fact(a) for a in equation.inputs]
        facts[equation.outputs[0]] = _result(equation, found)
    *zeros, same = (fact(a) for a in program.outputs)
    return all(_is_zero(z) for z in zeros) and same is last


def _is_zero(x: Fact) -> bool:
    return isinstance(x, float) and x == 0


def _result(equation: Any, facts: list[Fact]) -> Fact:
    name, zeros = equation.operation.name, [_is_zero(f) for f in facts]
    if name == "convert" and isinstance(facts[0], Var):
        wide = equation.outputs[0].type.dtype.itemsize >= facts[0].type.dtype.itemsize
        return facts[0] if wide else None
    if name == "mul" and any(zeros):
        return 0.0
    if name == "div" and zeros[0]:
        return 0.0 if isinstance(facts[1], float) and not zeros[1] else None
    if name in _KEEP_ZERO and zeros[0]:
        return 0.0
    if name == "add" and any(zeros):
        return facts[0] if zeros[1] else facts[1]
    if name == "sub" and zeros[1]:
        return facts[0]
    if name == "select":
        return facts[1] if facts[1] is facts[2] or (zeros[1] and zeros[2]) else None
    if name == "sqrt" and isinstance(facts[0], float) and facts[0] > 0:
        return float(np.sqrt(facts[0]))
    numbers = [f for f in facts if isinstance(f, float)]
    if name in ("max", "min") and len(numbers) == 2:
        return max(numbers) if name == "max" else min(numbers)
    return None
