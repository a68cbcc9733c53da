"""Running a Program: in the current interpreter, or by NumPy references alone."""

import contextvars
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from fdl.core import trace
from fdl.core.nonfinite import replay
from fdl.core.operation import Operation
from fdl.core.program import Atom, Literal, Program, Var
from fdl.core.trace import ReplayedLines, lift


def apply_program(program: Program, args: Sequence[Any]) -> list[Any]:
    """Run `program` on values, each operation in the current interpreter."""
    environment: dict[Var, Any] = {var: lift(value) for var, value in program.constants}
    environment.update(zip(program.inputs, args, strict=True))
    process = trace.current().process

    def read(atom: Atom) -> Any:
        return lift(atom.value) if isinstance(atom, Literal) else environment[atom]

    with ReplayedLines() as at:
        for equation in program.equations:
            at(equation.source)
            outs = process(equation.operation, [read(a) for a in equation.inputs])
            environment.update(zip(equation.outputs, outs, strict=True))
    return [read(a) for a in program.outputs]


def interpret(program: Program, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run `program` on NumPy arrays by the references of its operations: the oracle of the compiler."""
    if replay.active:
        return replay.run(program, arrays)
    environment: dict[Var, np.ndarray] = dict(program.constants)
    environment.update(zip(program.inputs, arrays, strict=True))

    def read(atom: Atom) -> np.ndarray:
        return atom.value if isinstance(atom, Literal) else environment[atom]

    for equation in program.equations:
        outs = evaluate(equation.operation, [read(a) for a in equation.inputs])
        environment.update(zip(equation.outputs, outs, strict=True))
    return [np.asarray(read(a)) for a in program.outputs]


class _Quiet(threading.local):
    """How each thread calls a function of NumPy without floating-point warnings: ``quiet.run(function, *operands)``.

    The settings of NumPy belong to a context, which is made once; ``np.errstate`` takes longer than a small addition.
    Functions that may call one another's references must not run in it.
    """

    def __init__(self) -> None:
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        self.run = context.run


quiet = _Quiet()


@cache
def calls_numpy_alone(module: str) -> bool:
    """Whether references of the operations of a module call no functions of fdl, and none of the user's."""
    return module.startswith("fdl.ops.")


def evaluate(operation: Operation, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """The reference of one operation, without NumPy's floating-point warnings; always a sequence."""
    try:
        if calls_numpy_alone(type(operation).__module__):
            result = quiet.run(operation.reference, *arrays)
            return result if operation.multiple else (result,)
    except RuntimeError as error:  # a field of the operation is an array, with which the reference computes
        if "cannot enter context" not in str(error):
            raise
    with np.errstate(all="ignore"):
        result = operation.reference(*arrays)
    return result if operation.multiple else (result,)
