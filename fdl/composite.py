"""Functions made of several operations, in eager calls: the operations of the second call on are known beforehand.

An eager call of such a function runs Python for each of its operations: it promotes dtypes, works out axes and checks
shapes, again and again for arguments of the same shapes. From the second call with the same shapes and options on the
operations come from a Program that was traced once, and only their NumPy references run. They are the same operations
on the same operands, so the bits of the results are those of the first call.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from fdl import tree
from fdl.array import Array
from fdl.config import config
from fdl.core.program import Literal, subprograms
from fdl.core.trace import is_eager, trace_program
from fdl.core.types import TensorType

F = TypeVar("F", bound=Callable[..., Any])

_KEPT = 256  # Programs of a function; with one more it begins anew
_ONCE = object()  # seen once
_NEVER = object()  # what cannot be traced
_PLAIN = (int, str, bool, type(None), type, np.dtype)


class _Steps(NamedTuple):
    """A Program as calls of NumPy.

    Attributes:
        values: what is known: constants by their place, None elsewhere. Arguments come first.
        calls: the reference of each operation, the places it reads, and the place or places it writes.
        results: the places of the leaves of the result.
        structure: of the result.
    """

    values: list[Any]
    calls: list[tuple[Callable[..., Any], tuple[int, ...], Any]]
    results: list[int]
    structure: Any

    def run(self, arrays: Sequence[np.ndarray]) -> Any:
        values = self.values.copy()
        values[: len(arrays)] = arrays
        with np.errstate(all="ignore"):
            for reference, reads, writes in self.calls:
                found = reference(*[values[place] for place in reads])
                if type(writes) is int:
                    values[writes] = found if type(found) is np.ndarray else np.asarray(found)
                else:
                    for place, one in zip(writes, found, strict=True):
                        values[place] = np.asarray(one)
        return tree.unflatten(self.structure, [Array(values[place]) for place in self.results])


def composite(function: F) -> F:
    """Let eager calls of a function on arrays run its operations from a Program, from the second of a kind on.

    The function may depend on the shapes and dtypes of its arrays, and on all of its other arguments. It may not look
    at numbers in arrays: what it raises about them would be missed.

    Args:
        function: of arrays, lists of arrays, and numbers, strings, dtypes or tuples of these.

    >>> import fdl.numpy as fnp
    >>> @composite
    ... def halves(x, axis=0):
    ...     return fnp.sum(x / 2, axis=axis)
    >>> [halves(fnp.ones((2, 3))).tolist() for _ in range(3)]
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """
    kept: dict[Any, Any] = {}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not is_eager() or config.checks or config.weak_arrays:
            return function(*args, **kwargs)
        arrays: list[np.ndarray] = []
        try:
            kind = (config.state, *[_kind(a, arrays) for a in args])
            if kwargs:
                kind += tuple([(name, _kind(a, arrays)) for name, a in kwargs.items()])
        except TypeError:  # an argument of another kind
            return function(*args, **kwargs)
        steps = kept.get(kind)
        if type(steps) is _Steps:
            return steps.run(arrays)
        if steps is None and arrays:
            if len(kept) >= _KEPT:
                kept.clear()
            kept[kind] = _ONCE
        elif steps is _ONCE:
            kept[kind] = _steps(function, args, kwargs, arrays)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def _kind(value: Any, arrays: list[np.ndarray]) -> Any:
    """What of an argument decides about operations; the memory of arrays is appended to `arrays`."""
    of = type(value)
    if of is Array:
        data = value.concrete()
        arrays.append(data)
        return data.shape, data.dtype
    if of is float:
        return value.hex()  # zeros of both signs, which are equal
    if of is tuple or of is list:
        return of is list, *[_kind(item, arrays) for item in value]
    if of in _PLAIN or isinstance(value, _PLAIN):
        return of, value
    raise TypeError


def _steps(function: Callable[..., Any], args: Any, kwargs: Any, arrays: Sequence[np.ndarray]) -> Any:
    """What a call of a function does, or `_NEVER` if that depends on more than its kind."""
    structures: list[Any] = []

    def flat(*tracers: Any) -> Sequence[Any]:
        given = iter(tracers)
        out = function(*_replaced(args, given), **{name: _replaced(a, given) for name, a in kwargs.items()})
        leaves, structure = tree.flatten(out)
        structures.append(structure)
        return leaves

    try:
        program, captured = trace_program(flat, [TensorType(a.shape, a.dtype) for a in arrays])
    except Exception:  # what it is, the call tells
        return _NEVER
    if captured or program.effect:
        return _NEVER
    places: dict[Any, int] = {var: place for place, var in enumerate(program.inputs)}
    values: list[Any] = [None] * len(places)

    def place_of(atom: Any, value: Any = None) -> int:
        if isinstance(atom, Literal):
            values.append(atom.value)
            return len(values) - 1
        if atom not in places:
            places[atom] = len(values)
            values.append(value)
        return places[atom]

    for var, value in program.constants:
        place_of(var, value)
    calls = []
    for equation in program.equations:
        operation = equation.operation
        if operation.compile_eagerly or any(subprograms(operation)):
            return _NEVER
        reads = tuple([place_of(atom) for atom in equation.inputs])
        writes = [place_of(var) for var in equation.outputs]
        calls.append((operation.reference, reads, tuple(writes) if operation.multiple else writes[0]))
    return _Steps(values, calls, [place_of(atom) for atom in program.outputs], structures[-1])


def _replaced(value: Any, given: Any) -> Any:
    """An argument with tracers in the places of its arrays."""
    if type(value) is Array:
        return next(given)
    if type(value) is tuple or type(value) is list:
        return type(value)([_replaced(item, given) for item in value])
    return value
