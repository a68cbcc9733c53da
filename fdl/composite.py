"""Functions made of several operations, in eager calls: the operations of the second call on are known beforehand.

An eager call of such a function runs Python for each of its operations: it promotes dtypes, works out axes and checks
shapes, again and again for arguments of the same shapes. From the second call with the same shapes and options on the
operations come from a Program that was traced once, and only their NumPy references run. They are the same operations
on the same operands, so the bits of the results are those of the first call.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from fdl import tree
from fdl.array import MANY, Array, eager
from fdl.config import config
from fdl.core.interpret import calls_numpy_alone, evaluate, quiet
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, subprograms
from fdl.core.trace import is_eager, trace_program

F = TypeVar("F", bound=Callable[..., Any])

_KEPT = 256  # Programs of a function; with one more it begins anew
_SMALL = 1 << 12  # bytes of a result that is kept, instead of the operations that compute it
_LARGE = 1 << 16  # elements of an array, from which on NumPy's time hides that of Python
_ONCE = object()  # seen once
_NEVER = object()  # what cannot be traced
_PLAIN = (int, str, bool, type(None), type, np.dtype)


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
    find: Callable[[Any], Any] = kept.get

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if config.checks or config.weak_arrays or not is_eager():
            return function(*args, **kwargs)
        arrays: list[Array] = []
        try:
            kind: list[Any] = [config.state]
            for a in args:
                if type(a) is Array and a._data is not None:  # what `_describe` does
                    arrays.append(a)
                    kind += (a._data.shape, a._data.dtype)
                else:
                    _describe(a, kind, arrays)
            for name in kwargs:
                kind.append(name)
                _describe(kwargs[name], kind, arrays)
            place = tuple(kind)
            steps = find(place)
        except TypeError:  # an argument of another kind
            return function(*args, **kwargs)
        if steps is None:
            if len(kept) >= _KEPT:
                kept.clear()
            many = any(a._data.size >= MANY for a in arrays)
            kept[place] = steps = _steps(function, args, kwargs, arrays, True) if many else _ONCE
        elif steps is _ONCE:
            kept[place] = _steps(function, args, kwargs, arrays, False)
            return function(*args, **kwargs)
        return function(*args, **kwargs) if steps is _ONCE or steps is _NEVER else steps(*arrays)

    return call  # type: ignore[return-value]


def _describe(value: Any, kind: list[Any], arrays: list[Array]) -> None:
    """Append what of an argument decides about operations, and what arrays it is made of.

    Of an array these are a tuple and a dtype, of everything else a type comes first, so no two arguments look alike.
    """
    of = type(value)
    if of is Array:
        data = value.concrete()
        arrays.append(value)
        kind.append(data.shape)
        kind.append(data.dtype)
    elif of is float:
        kind.append(of)
        kind.append(value.hex())  # zeros of both signs, which are equal
    elif of is tuple or of is list:
        kind.append(of)
        kind.append(len(value))
        for item in value:
            _describe(item, kind, arrays)
    elif of in _PLAIN or isinstance(value, _PLAIN):
        kind.append(of)
        kind.append(value)
    else:
        raise TypeError


def _steps(function: Callable[..., Any], args: Any, kwargs: Any, arrays: Sequence[Array], first: bool) -> Any:
    """What a call of a function does, a function of the arrays.

    It is `_NEVER` if that depends on more than the kind of the call, and `_ONCE` if this is the first such call, and
    only others are worth it.
    """
    structures: list[Any] = []

    @functools.wraps(function)
    def of_arrays(*tracers: Any) -> Any:
        given = iter(tracers)
        return function(*_replaced(args, given), **{name: _replaced(a, given) for name, a in kwargs.items()})

    def flat(*tracers: Any) -> Sequence[Any]:
        leaves, structure = tree.flatten(of_arrays(*tracers))
        structures.append(structure)
        return leaves

    try:
        program, captured = trace_program(flat, [a.type for a in arrays])
    except Exception:  # what it is, the call tells
        return _NEVER
    if captured or program.effect or any(data.nbytes > _SMALL for _, data in program.constants):
        return _NEVER
    if not all(map(_is_plain, program.equations)):
        return _NEVER
    operations = [equation.operation for equation in program.equations]
    if any(map(_draws, operations)):
        if first:
            return _ONCE
        if all(o.exact for o in operations):
            compiled = eager.exactly(of_arrays)
            if compiled is not None:
                return compiled
    elif first:
        native = eager.compiled(program)
        if native is not None:
            return _of_native(native, structures[-1])
        if max(a._data.size for a in arrays) > _LARGE and any(o.lowering_kind != "move" for o in operations):
            return _NEVER
    elif any(map(_is_inexact_work, program.equations)):
        return _NEVER  # functions inside of it that run machine code for several operations at once have other bits
    return _Source(program).function(structures[-1])


def _is_inexact_work(equation: Equation) -> bool:
    """Whether an operation has many elements, and other bits in machine code."""
    return not equation.operation.exact and any(a.type.size >= MANY for a in (*equation.inputs, *equation.outputs))


def _of_native(native: Callable[..., Any], structure: Any) -> Callable[..., Any]:
    """A function of NumPy arrays as one of Arrays, whose results have a structure."""
    if structure == _LEAF:
        return lambda *arrays: Array(native(*[a._data for a in arrays]))

    def call(*arrays: Array) -> Any:
        made = native(*[a._data for a in arrays])
        return tree.unflatten(structure, [Array(m) for m in (made if type(made) is tuple else (made,))])

    return call


def _draws(operation: Operation) -> bool:
    """Whether an operation makes random bits: a hundred calls of NumPy, where native code is worth a compilation."""
    return operation.lowering_kind == "random" and operation.exact


def _compiled(operation: Operation) -> Callable[..., Any]:
    """An operation on NumPy arrays as native code."""

    def run(*arrays: np.ndarray) -> Any:
        results = eager.run_compiled(operation, arrays)  # type: ignore[misc]
        return results if operation.multiple else results[0]

    return run


def _is_plain(equation: Equation) -> bool:
    """Whether eager calls of an operation run its reference, which calls NumPy and nothing of fdl."""
    operation = equation.operation
    alone = calls_numpy_alone(type(operation).__module__)
    return alone and not operation.compile_eagerly and not any(subprograms(operation))


class _Source:
    """A Program as Python code that calls NumPy. Arguments are a0, a1, ..., what is computed is v0, v1, ..., what is
    known beforehand c0, c1, ..., and references of operations are f0, f1, ..."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.scope: dict[str, Any] = {"Array": Array, "ndarray": np.ndarray, "asarray": np.asarray, "quiet": quiet}
        self.lines: list[str] = []
        self.names: dict[Any, str] = {var: f"a{number}" for number, var in enumerate(program.inputs)}
        self.known: dict[Any, np.ndarray] = dict(program.constants)
        for equation in program.equations:
            self.add(equation)

    def add(self, equation: Equation) -> None:
        """The lines of one operation; small results that no argument decides are computed at once."""
        operation, operands = equation.operation, [self.numbers(atom) for atom in equation.inputs]
        known = [value for value in operands if value is not None]
        native = eager.native(operation, *[atom.type for atom in equation.inputs])
        if len(known) == len(operands):
            made = evaluate(operation, known) if native is None else [native(*known)]
            results = [np.asarray(value) for value in made]
            if sum(value.nbytes for value in results) <= _SMALL:
                self.known.update(zip(equation.outputs, results, strict=True))
                return
        names = [f"v{len(self.names) + number}" for number in range(len(equation.outputs))]
        given = ", ".join([self.name(atom) for atom in equation.inputs])
        if native is None:
            native = _compiled(operation) if _draws(operation) else operation.reference
        reference = self.constant("f", native)
        self.names.update(zip(equation.outputs, names, strict=True))
        self.lines.append(f"{', '.join(names)}{',' * operation.multiple} = {reference}({given})")
        for name in names:
            self.lines.append(f"if type({name}) is not ndarray: {name} = asarray({name})")

    def numbers(self, atom: Atom) -> np.ndarray | None:
        """The numbers of what is known beforehand."""
        return atom.value if isinstance(atom, Literal) else self.known.get(atom)

    def name(self, atom: Atom) -> str:
        value = self.numbers(atom)
        return self.names[atom] if value is None else self.constant("c", value)

    def constant(self, letter: str, value: Any) -> str:
        name = f"{letter}{len(self.scope)}"
        self.scope[name] = value
        return name

    def function(self, structure: Any) -> Callable[..., Any]:
        """The function of NumPy arrays; what it returns has the given structure."""
        results = []
        for atom in self.program.outputs:
            kept = self.numbers(atom) is not None  # a copy: who has a result may give its memory away
            results.append(f"Array({self.name(atom)}{'.copy()' * kept})")
        self.scope["whole"] = functools.partial(tree.unflatten, structure)
        whole = results[0] if structure == _LEAF else f"whole([{', '.join(results)}])"
        given = [f"a{number}" for number in range(len(self.program.inputs))]
        memory = ", ".join([f"{name}._data" for name in given])
        loud = f"def steps({', '.join(given)}):", *self.lines, f"return {whole}"
        silent = f"def call({', '.join(given)}):", f"return quiet.run(steps, {memory})"
        exec("\n".join(["\n    ".join(loud), "\n    ".join(silent)]), self.scope)
        made: Callable[..., Any] = self.scope["call"]
        return made


_LEAF = tree.flatten(0)[1]


def _replaced(value: Any, given: Any) -> Any:
    """An argument with tracers in the places of its arrays."""
    if type(value) is Array:
        return next(given)
    if type(value) is tuple or type(value) is list:
        return type(value)([_replaced(item, given) for item in value])
    return value
