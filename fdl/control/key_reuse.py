"""Random keys that are used twice, for `config.debug_key_reuse`.

Bits are drawn from a key once, or it is split once; what is drawn again is the same. Outside of transforms, keys are
known by their words: to make a key, by `key`, `split` or `fold_in`, makes it new again, and each array of keys that is
made so may be used once, whatever others have the same words. A Program is followed as it
stands: a key is a variable, or what an operation that moves elements takes out of one; what a loop uses in every step
is used twice.
"""

import sys
import threading
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from fdl.array import eager
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var, subprograms
from fdl.core.trace import is_replayed, source_line
from fdl.core.types import TensorType
from fdl.dtypes import key
from fdl.errors import KeyReuseError
from fdl.ops.random_bits import KeyWrap, RandomBits, RandomFoldIn, RandomSplit
from fdl.transforms.inline import inline

_CONSUMERS = (RandomBits, RandomSplit)
_MAKERS = (RandomSplit, RandomFoldIn, KeyWrap)


def _reused(type: TensorType, first: str, second: str, why: str = "") -> KeyReuseError:
    what = "a random key" if type.shape == () else f"random keys {type}"
    verb = "is" if type.shape == () else "are"
    return KeyReuseError(
        f"{what} used at {first or 'an unknown line'} {verb} used again at {second or 'an unknown line'}{why}, which "
        "gives the same numbers again. Split it first, key, subkey = fdl.random.split(key), and use each part once"
    )


@dataclass(eq=False)
class _Node:
    """Keys in a Program: which ones they are part of, where they were used, and where a part of them was."""

    type: TensorType
    parent: "_Node | None" = None
    used: str | None = None
    partly: str | None = None

    def consume(self, line: str, again: bool) -> None:
        """Note that they are used; raise if they have been, unless the same line does it `again` on purpose."""
        node: _Node | None = self
        before = self.used if self.used is not None else self.partly
        while node is not None and before is None:
            before, node = node.used, node.parent
        if before is not None:
            if again and before == line:
                return
            raise _reused(self.type, before, line)
        self.used, node = line, self.parent
        while node is not None:
            node.partly, node = line, node.parent


@dataclass(frozen=True)
class KeyUses:
    """What a Program does with keys.

    Attributes:
        consumed: numbers of inputs that it uses, and the lines.
        constants: constants that it uses, and the lines.
        outputs: for each output the number of the input that it is, or None; and where it was used, or None.
    """

    consumed: dict[int, str]
    constants: list[tuple[np.ndarray, str]]
    outputs: list[tuple[int | None, str | None]]


def summary(program: Program) -> KeyUses:
    """Follow the keys of a Program.

    Raises:
        KeyReuseError: one is used twice.
    """
    return _summary(program, _lines(program))


def _lines(program: Program) -> tuple[Any, ...]:
    """Where its equations were written: Programs from other places are equal."""
    return tuple((e.source, *map(_lines, subprograms(e.operation))) for e in program.equations)


@lru_cache(maxsize=512)
def _summary(program: Program, lines: tuple[Any, ...]) -> KeyUses:
    return _Follower(inline(program)).summary()


@dataclass
class _Follower:
    program: Program
    nodes: dict[Any, _Node] = field(default_factory=dict)
    known: dict[Any, _Node] = field(default_factory=dict)
    constants: dict[bytes, tuple[_Node, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes.update((var, self.constant(array)) for var, array in self.program.constants if array.dtype == key)

    def constant(self, array: np.ndarray) -> _Node:
        """Keys that are known, whatever Program holds them."""
        return self.constants.setdefault(array.tobytes(), (_Node(TensorType(array.shape, array.dtype)), array))[0]

    def node(self, atom: Atom) -> _Node:
        """The keys of a variable."""
        if isinstance(atom, Literal):
            return self.constant(atom.value)
        return self.nodes.setdefault(atom, _Node(atom.type))

    def summary(self) -> KeyUses:
        """Follow all equations."""
        for equation in self.program.equations:
            self.follow(equation)
        inputs = {self.node(v): n for n, v in enumerate(self.program.inputs) if v.type.dtype == key}

        def line(node: _Node) -> str | None:
            return node.used if node.used is not None else node.partly

        consumed = {n: used for node, n in inputs.items() if (used := line(node)) is not None}
        constants = [(array, used) for node, array in self.constants.values() if (used := line(node)) is not None]
        outputs: list[tuple[int | None, str | None]] = []
        for atom in self.program.outputs:
            node = self.node(atom) if atom.type.dtype == key else None
            outputs.append((None, None) if node is None else (inputs.get(node), line(node)))
        return KeyUses(consumed, constants, outputs)

    def follow(self, equation: Equation) -> None:
        """Follow the keys of an equation."""
        operation: Any = equation.operation
        keys = [a for a in equation.inputs if a.type.dtype == key]
        if not keys and not any(True for _ in subprograms(operation)):
            return
        if isinstance(operation, _CONSUMERS):
            self.node(keys[0]).consume(equation.source, again=bool(equation.scope))
        elif isinstance(operation, Cond):
            self.branches(equation, [summary(b) for b in operation.branches])
        elif isinstance(operation, Scan):
            first, second = operation.constants, operation.constants + operation.carries
            self.loop(equation, summary(operation.body), equation.inputs, first, second, operation.length > 1)
        elif isinstance(operation, While):
            n, m = operation.condition_constants, operation.condition_constants + operation.body_constants
            inside = summary(operation.body)
            self.loop(equation, inside, equation.inputs[n:], m - n, len(inside.outputs) + m - n, True)
        elif len(keys) == len(equation.outputs) == 1 and equation.outputs[0].type.dtype == key:
            self.moved(equation, keys[0])

    def moved(self, equation: Equation, given: Atom) -> None:
        """Follow an operation that moves keys: all of them are the same keys, some are a part of them."""
        node, (out,) = self.node(given), equation.outputs
        if isinstance(equation.operation, _MAKERS):
            return
        if out.type.size >= given.type.size:
            self.nodes[out] = node
            return
        places = tuple(
            a.value.tobytes() if isinstance(a, Literal) else id(self.nodes.get(a, a)) for a in equation.inputs
        )
        self.nodes[out] = self.known.setdefault((repr(equation.operation), places), _Node(out.type, node))

    def branches(self, equation: Equation, found: Sequence[KeyUses]) -> None:
        """Follow branches, of which one runs."""
        operands = equation.inputs[1:]
        used_constants = {array.tobytes(): (array, line) for inside in found for array, line in inside.constants}
        for array, at in used_constants.values():
            self.constant(array).consume(at, again=bool(equation.scope))
        lines = {n: line for inside in found for n, line in inside.consumed.items()}
        for n, line in lines.items():
            self.node(operands[n]).consume(line, again=bool(equation.scope))
        for number, var in enumerate(equation.outputs):
            sources = {inside.outputs[number][0] for inside in found}
            (source,) = sources if len(sources) == 1 else (None,)
            if source is not None:
                self.nodes[var] = self.node(operands[source])
            else:
                used = (inside.outputs[number][1] for inside in found)
                self.node(var).used = next((line for line in used if line is not None), None)

    def loop(
        self, equation: Equation, inside: KeyUses, operands: Sequence[Atom], first: int, second: int, repeats: bool
    ) -> None:
        """Follow a loop: constants come before operand `first`, the carry before `second`, then what is scanned."""
        for array, line in inside.constants:
            if repeats:
                raise _reused(TensorType(array.shape, array.dtype), line, line, " in every step of a loop")
            self.constant(array).consume(line, again=bool(equation.scope))
        for n, line in inside.consumed.items():
            stays = n < first
            if first <= n < second:
                source, used = inside.outputs[n - first]
                stays = used is not None or (source is not None and source in inside.consumed)
            if stays and repeats:
                raise _reused(operands[n].type, line, line, " in every step of a loop")
            self.node(operands[n]).consume(line, again=bool(equation.scope))
        for var, (source, used) in zip(equation.outputs, inside.outputs, strict=True):
            if source is not None and source < second:
                self.nodes[var] = self.node(operands[source])
            elif used is not None:
                self.node(var).used = used


class _Used:
    """The keys that have been used outside of transforms, by their words, and where."""

    def __init__(self) -> None:
        self.lines: dict[int, str] = {}
        #: Arrays of keys as they were made, that have not been used since.
        self.made: dict[int, weakref.ref[np.ndarray]] = {}
        self.lock = threading.Lock()

    def consume(self, keys: np.ndarray, line: str, again: bool = False) -> list[int]:
        """Note that keys are used; the words of those that were not before."""
        type = TensorType(keys.shape, keys.dtype)
        own = self.made.pop(id(keys), None)
        with self.lock:
            for word in _words(keys) if own is None else ():
                before = self.lines.get(word)
                if before is not None and not (again and before == line):
                    raise _reused(type, before, line)
            fresh = [word for word in _words(keys) if word not in self.lines]
            self.lines.update(dict.fromkeys(fresh, line))
        return fresh

    def forget(self, words: Iterable[int]) -> None:
        """Keys were not used after all: what was about to use them failed."""
        with self.lock:
            for word in words:
                self.lines.pop(word, None)

    def renew(self, keys: np.ndarray) -> None:
        """Note that keys have been made."""
        self.forget(_words(keys))
        number = id(keys)
        self.made[number] = weakref.ref(keys, lambda _: self.made.pop(number, None))


def _words(keys: np.ndarray) -> list[int]:
    found: list[int] = np.ascontiguousarray(keys).view(np.uint64).ravel().tolist()
    return found


used = _Used()


def check_program(program: Program, arrays: Sequence[np.ndarray], again: bool = False) -> list[int]:
    """Note the keys that a Program is about to use; the words to `forget` if it fails.

    Raises:
        KeyReuseError: one has been used, or is used twice.
    """
    found, fresh = summary(program), list[int]()
    try:
        for number, line in found.consumed.items():
            fresh += used.consume(np.asarray(arrays[number]), line, again)
        for array, line in found.constants:
            fresh += used.consume(array, line, again)
    except KeyReuseError:
        used.forget(fresh)
        raise
    return fresh


def note_results(program: Program, results: Iterable[np.ndarray]) -> None:
    """Note the keys that a Program has made."""
    for (source, line), result in zip(summary(program).outputs, results, strict=True):
        if result.dtype == key and source is None:
            used.renew(result)
            if line is not None:
                used.consume(result, line)


def before(operation: Operation, arrays: Sequence[np.ndarray]) -> list[int]:
    """Note the keys that an operation is about to use, and return the words to `forget` if it fails.

    Those that a recomputation uses again may be used again.
    """
    if isinstance(operation, _CONSUMERS):
        return used.consume(arrays[0], source_line(), is_replayed())
    if not any(True for _ in subprograms(operation)):
        return []
    single = _single(operation, tuple(TensorType(a.shape, a.dtype) for a in arrays))
    return check_program(single, arrays, is_replayed())


def after(operation: Operation, results: Sequence[np.ndarray]) -> None:
    """Note the keys that an operation has made."""
    if isinstance(operation, _MAKERS):
        used.renew(results[0])
    elif any(r.dtype == key for r in results) and any(True for _ in subprograms(operation)):
        for result in results:
            if result.dtype == key:
                used.renew(result)


@lru_cache(maxsize=512)
def _single(operation: Operation, types: tuple[TensorType, ...]) -> Program:
    inputs = tuple(map(Var, types))
    outputs = tuple(map(Var, operation.result(*types)))
    return Program(inputs, (Equation(operation, inputs, outputs),), outputs)


eager.keys = sys.modules[__name__]
