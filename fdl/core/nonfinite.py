"""Naming the operation that makes a NaN or an infinity, for `config.debug_nans` and `config.debug_infs`.

Outside of transforms each result is looked at as it is made. A compiled function is looked at when it returns: if its
results hold a NaN that is looked for, its Program is run again, operation by operation, and the NaN followed back to
where it came from; one that is masked on the way out stays unsaid.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from fdl.config import config
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, subprograms
from fdl.core.types import TensorType
from fdl.dtypes import ALL, INEXACT, bool_
from fdl.errors import NonFiniteError


def wanted(array: np.ndarray) -> str:
    """What an array holds that is looked for: "NaN", "infinity" or nothing."""
    if array.dtype not in INEXACT:
        return ""
    if config.debug_nans and np.isnan(array).any():
        return "NaN"
    return "infinity" if config.debug_infs and np.isinf(array).any() else ""


def check_results(
    operation: Operation, operands: Sequence[np.ndarray], results: Sequence[np.ndarray], source: str
) -> None:
    """Raise if an operation has made what is looked for.

    Args:
        operation: what was run.
        operands: of it.
        results: of it.
        source: the user's line.

    Raises:
        NonFiniteError: names the operation (an inner one, if it holds Programs), its line and the ranges of operands.
    """
    for result in results:
        found = wanted(result)
        if not found or (_only_moves(operation) and any(wanted(x) == found for x in operands)):
            continue
        if any(True for _ in subprograms(operation)):
            with replay.looking():
                operation.reference(*operands)
        raise NonFiniteError(_said(operation, operands, result, found, source))


def check_program(program: Program, arrays: Sequence[np.ndarray]) -> None:
    """Run a Program again by the references of its operations; raise if one has made what its results hold.

    Raises:
        NonFiniteError: see `check_results`.
    """
    with replay.looking():
        replay.run(program, arrays)


class _Replay(threading.local):
    """How this thread runs Programs: without their effects, which have been seen already."""

    active = False
    looks = False

    def looking(self) -> "_Looking":
        """A context in which the results of Programs are followed back."""
        return _Looking(True)

    def run(self, program: Program, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results of a Program."""
        values: dict[Atom, np.ndarray] = dict(program.constants)
        values.update(zip(program.inputs, map(np.asarray, arrays), strict=True))

        def read(atom: Atom) -> np.ndarray:
            return atom.value if isinstance(atom, Literal) else values[atom]

        looks = self.looks
        with _Looking(False), np.errstate(all="ignore"):
            for equation in program.equations:
                operation = equation.operation
                if not equation.outputs:
                    continue
                outs = operation.reference(*map(read, equation.inputs))
                values.update(zip(equation.outputs, outs if operation.multiple else (outs,), strict=True))
        if looks:
            made: dict[Atom, Equation] = {var: e for e in program.equations for var in e.outputs}
            for atom in program.outputs:
                if found := wanted(read(atom)):
                    _follow(atom, found, made, read)
        return [np.asarray(read(atom)) for atom in program.outputs]


class _Looking:
    def __init__(self, looks: bool) -> None:
        self.looks = looks

    def __enter__(self) -> None:
        self.before = replay.active, replay.looks
        replay.active, replay.looks = True, self.looks

    def __exit__(self, *_: object) -> None:
        replay.active, replay.looks = self.before


replay = _Replay()


def _follow(atom: Atom, found: str, made: dict[Atom, Equation], read: Callable[[Atom], np.ndarray]) -> None:
    """Raise for the first operation that made what a result holds; not if it came in and was only moved."""
    holders: dict[Equation, list[Atom]] = {}
    waiting = [atom]
    while waiting:
        equation = made.get(waiting.pop())
        if equation is not None and equation not in holders:
            holders[equation] = [a for a in equation.inputs if wanted(read(a)) == found]
            waiting += holders[equation]
    for equation in dict.fromkeys(made.values()):
        if equation in holders and not (holders[equation] and _only_moves(equation.operation)):
            operands = [read(a) for a in equation.inputs]
            check_results(equation.operation, operands, [read(var) for var in equation.outputs], equation.source)


def _only_moves(operation: Operation) -> bool:
    return operation.transports or operation.lowering_kind == "move"


def _said(operation: Operation, operands: Sequence[np.ndarray], result: np.ndarray, found: str, source: str) -> str:
    where = f"{operation.name} at {source}" if source else operation.name
    count = np.count_nonzero(np.isnan(result) if found == "NaN" else np.isinf(result))
    ranges = ", ".join(map(value_range, operands)) or "nothing"
    return f"{where} made {found} in {count} of the {result.size} elements of {_type(result)}, from {ranges}"


def _type(array: np.ndarray) -> TensorType:
    return TensorType(array.shape, array.dtype)


def value_range(array: np.ndarray) -> str:
    """The type of an array and the range of its numbers, in words.

    >>> value_range(np.float32([3, np.nan, -1]))
    'f32[3] in [-1, 3] and 1 NaN'
    """
    type = _type(array)
    if array.dtype not in ALL or not array.size:
        return str(type)
    if array.dtype == bool_:
        return f"{type} with {np.count_nonzero(array)} true"
    size = np.abs(array) if array.dtype.kind == "c" else array
    nans, infs = np.isnan(size), np.isinf(size)
    finite = size[~(nans | infs)]
    parts = []
    if finite.size:
        low, high = finite.min(), finite.max()
        wide = (lambda x: x.astype(np.float64).item()) if array.dtype in INEXACT else (lambda x: x.item())
        shown = f"{wide(low):.6g}" if low == high else f"[{wide(low):.6g}, {wide(high):.6g}]"
        of = "with absolute values in" if array.dtype.kind == "c" else "in" if low != high else "of"
        parts.append(f"{of} {shown}")
    parts += [f"{n} {word}" for mask, word in ((nans, "NaN"), (infs, "infinite")) if (n := np.count_nonzero(mask))]
    return f"{type} {' and '.join(parts)}"
