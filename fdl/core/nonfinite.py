"""Naming the operation that makes a NaN or an infinity, for `config.debug_nans` and `config.debug_infs`.

Outside of transforms each result is looked at as it is made. A compiled function is looked at when it returns: if its
results hold a NaN that is looked for, its Program is run again, operation by operation, and the NaN followed back to
where it came from; one that is masked on the way out stays unsaid.
"""

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from fdl.config import config
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, subprograms
from fdl.core.types import TensorType
from fdl.dtypes import ALL, INEXACT, bool_
from fdl.errors import NonFiniteError


def wanted(array: np.ndarray) -> tuple[str, ...]:
    """What an array holds that is looked for: "NaN", "infinity", both or nothing."""
    if array.dtype not in INEXACT:
        return ()
    found = ("NaN",) if config.debug_nans and np.isnan(array).any() else ()
    return (*found, "infinity") if config.debug_infs and np.isinf(array).any() else found


def made(operands: Sequence[np.ndarray], result: np.ndarray, elementwise: bool = False) -> str:
    """What is looked for, is in a result, and is in none of the operands; empty if there is no such thing.

    If `elementwise`, each place of the result is compared with that of the operands, so that a NaN that was there
    before does not hide a new one.
    """
    found = wanted(result)
    if not found:
        return ""
    arrays = [np.asarray(x) for x in operands]
    if elementwise and all(x.shape in ((), result.shape) for x in arrays):
        arrays = [x for x in arrays if x.dtype in INEXACT]
        return next((kind for kind in found if _is_new(_TESTS[kind], arrays, result)), "")
    held = {kind for x in arrays for kind in wanted(x)}
    return next((kind for kind in found if kind not in held), "")


_TESTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"NaN": np.isnan, "infinity": np.isinf}


def _is_new(test: Callable[[np.ndarray], np.ndarray], operands: Sequence[np.ndarray], result: np.ndarray) -> bool:
    """Whether a place of the result passes a test that no operand passes there."""
    new = test(result)
    for x in operands:
        new = new & ~test(x)
    return bool(new.any())


def check_results(
    operation: Operation, operands: Sequence[np.ndarray], results: Sequence[np.ndarray], source: Callable[[], str]
) -> None:
    """Raise if an operation has made what is looked for: its results hold it, its operands do not.

    Args:
        operation: what was run.
        operands: of it.
        results: of it.
        source: gives the user's line.

    Raises:
        NonFiniteError: names the operation (an inner one, if it holds Programs), its line and the ranges of operands.
    """
    for result in results:
        if found := made(operands, result, operation.lowering_kind == "elementwise"):
            if any(True for _ in subprograms(operation)) and not has_results_of_effects(operation):
                with looking():
                    operation.reference(*operands)
            raise NonFiniteError(_said(operation, operands, result, found, source()))


@lru_cache(maxsize=512)
def has_results_of_effects(operation: Operation) -> bool:
    """Whether running an operation again would repeat what it does besides computing results."""
    if operation.effect and not any(True for _ in subprograms(operation)):
        return True
    return any(map(computes_by_effects, subprograms(operation)))


def computes_by_effects(program: Program) -> bool:
    """Whether results of effects, which cannot be had a second time, are among the values of a Program."""
    return program.effect and any(e.outputs and has_results_of_effects(e.operation) for e in program.equations)


def check_program(
    program: Program, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Run a Program by the references of its operations; raise if one has made what its results hold.

    Args:
        program: what to run.
        arrays: its operands.
        results: those that machine code has computed, if it has: then no effects happen a second time.

    Returns:
        The results of the references.

    Raises:
        NonFiniteError: see `check_results`; or what is looked for is in the given results alone.
    """
    with looking(effects=results is None):
        found = replay.run(program, arrays)
    for number, (result, again) in enumerate(zip(results or (), found, strict=False)):
        if kind := made([again], result, elementwise=True):
            raise NonFiniteError(
                f"result {number} holds {kind}, which no operation makes that is run by itself: compiled code adds up "
                "and rounds in another order. Its operands are near the largest numbers of their dtype, or near 0; run "
                "the function under fdl.disable_jit() and look at the values before it"
            )
    return found


class _Replay(threading.local):
    """How this thread runs Programs: as a rule without their effects, which have been seen already."""

    active = False
    looks = False
    effects = False

    def run(self, program: Program, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The results of a Program."""
        values: dict[Atom, np.ndarray] = dict(program.constants)
        values.update(zip(program.inputs, map(np.asarray, arrays), strict=True))

        def read(atom: Atom) -> np.ndarray:
            return atom.value if isinstance(atom, Literal) else values[atom]

        looks, effects = self.looks, self.effects
        with looking(effects, effects), np.errstate(all="ignore"):
            for equation in program.equations:
                operation = equation.operation
                if not equation.outputs and not effects:
                    continue
                outs = operation.reference(*map(read, equation.inputs))
                values.update(zip(equation.outputs, outs if operation.multiple else (outs,), strict=True))
        if looks:
            makers: dict[Atom, Equation] = {var: e for e in program.equations for var in e.outputs}
            for atom in program.outputs:
                if wanted(read(atom)):
                    _follow(atom, makers, read)
        return [np.asarray(read(atom)) for atom in program.outputs]


class looking:  # a context manager
    """A context in which what Programs compute is followed back; if `effects`, they happen."""

    def __init__(self, looks: bool = True, effects: bool = False) -> None:
        self.now = True, looks, effects

    def __enter__(self) -> None:
        self.before = replay.active, replay.looks, replay.effects
        replay.active, replay.looks, replay.effects = self.now

    def __exit__(self, *_: object) -> None:
        replay.active, replay.looks, replay.effects = self.before


replay = _Replay()


def _follow(atom: Atom, makers: dict[Atom, Equation], read: Callable[[Atom], np.ndarray]) -> None:
    """Raise for the first operation that made what a result holds; not if it came in."""
    holders: set[Equation] = set()
    waiting = [atom]
    while waiting:
        equation = makers.get(waiting.pop())
        if equation is not None and equation not in holders:
            holders.add(equation)
            waiting += [a for a in equation.inputs if wanted(read(a))]
    for equation in dict.fromkeys(makers.values()):
        if equation in holders:
            operands = [read(a) for a in equation.inputs]
            results = [read(var) for var in equation.outputs]
            check_results(equation.operation, operands, results, partial(str, equation.source))


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
        of = "in" if low != high else "of"
        parts.append(f"{'with absolute values ' * (array.dtype.kind == 'c')}{of} {shown}")
    odd = [f"{n} {word}" for mask, word in ((nans, "NaN"), (infs, "infinite")) if (n := np.count_nonzero(mask))]
    return f"{type} {' and '.join(parts + odd) if parts else 'with ' + ' and '.join(odd)}"
