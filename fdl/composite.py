"""Functions made of several operations, in eager calls: the operations of the second call on are known beforehand.

An eager call of such a function runs Python for each of its operations: it promotes dtypes, works out axes and checks
shapes, again and again for arguments of the same shapes. From the second call with the same shapes and options on the
operations come from a Program that was traced once, and only their NumPy references run. They are the same operations
on the same operands, so the bits of the results are those of the first call. If they are exact, machine code takes
their place in the end.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from fdl import tree
from fdl.array import MANY, Array, eager
from fdl.config import config
from fdl.core.interpret import apply_program
from fdl.core.program import Equation, Program
from fdl.core.trace import base, context, trace_program, use
from fdl.dtypes import ANY
from fdl.numpy_code import LEAF, SMALL, NumPyCode, draws, is_plain
from fdl.transforms.forward import DualTracer
from fdl.transforms.prepared import PreparedJVP, prepared

F = TypeVar("F", bound=Callable[..., Any])

_KEPT = 256  # Programs of a function; with one more it begins anew
_LARGE = 1 << 16  # elements of an array, from which on NumPy's time hides that of Python
_ONCE = object()  # seen once
_NEVER = object()  # what cannot be traced
_OFTEN = 256  # calls after which machine code is worth a compilation
_KINDS = (int, str, bool, type(None), type, np.dtype)  # of what a call depends on by value
_PLAIN = frozenset((*_KINDS, *[type(dtype) for dtype in ANY]))  # the commonest of their classes


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
    rules: dict[Any, Any] = {}
    find: Callable[[Any], Any] = kept.get

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if config.checks or config.weak_arrays:
            return function(*args, **kwargs)
        interpreter = context.interpreter
        if interpreter is not None:
            if type(interpreter) is PreparedJVP:
                return _with_tangents(function, rules, interpreter, args, kwargs)
            return function(*args, **kwargs)
        if not kwargs and 0 < len(args) < 3 and type(args[0]) is Array and args[0]._data is not None:
            steps: Any = _NEVER  # of the commonest kinds of calls, of which what follows would find the same
            first, last = args[0], args[-1]
            data, of = first._data, type(last)
            if len(args) == 1:
                steps = find((config.state, data.shape, data.dtype))
            elif of is Array and last._data is not None:
                other = last._data
                steps = find((config.state, data.shape, data.dtype, other.shape, other.dtype))
            elif of in _PLAIN:
                steps = find((config.state, data.shape, data.dtype, of, last))
            if steps is not None and steps is not _ONCE and steps is not _NEVER:
                return steps(first, last) if of is Array and len(args) == 2 else steps(first)
        arrays: list[Array] = []
        try:
            kind: list[Any] = [config.state]
            for a in args:
                of = type(a)
                if of is Array and a._data is not None:  # what `_describe` does
                    data = a._data
                    arrays.append(a)
                    kind += (data.shape, data.dtype)
                elif of in _PLAIN:
                    kind += (of, a)
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
            replace = functools.partial(kept.__setitem__, place)
            kept[place] = steps = _steps(function, args, kwargs, arrays, replace, True) if many else _ONCE
        elif steps is _ONCE:
            kept[place] = _steps(function, args, kwargs, arrays, functools.partial(kept.__setitem__, place), False)
            return function(*args, **kwargs)
        return function(*args, **kwargs) if steps is _ONCE or steps is _NEVER else steps(*arrays)

    return call  # type: ignore[return-value]


def _with_tangents(
    function: Callable[..., Any], rules: dict[Any, Any], interpreter: PreparedJVP, args: Any, kwargs: Any
) -> Any:
    """A call in an eager gradient: from the third of a kind on its derivative is prepared."""
    values: list[Any] = []
    kind: list[Any] = [config.state]
    try:
        for a in args:
            _describe_with_tangents(a, kind, values, interpreter)
        for name in kwargs:
            kind.append(name)
            _describe_with_tangents(kwargs[name], kind, values, interpreter)
        place = tuple(kind)
        rule = rules.get(place)
    except TypeError:  # an argument of another kind
        return function(*args, **kwargs)
    if rule is None:
        if len(rules) >= _KEPT:
            rules.clear()
        rules[place] = _ONCE
    elif rule is _ONCE:
        rules[place] = _prepared(function, args, kwargs, values)
    elif rule is not _NEVER:
        return interpreter.apply(rule, values)
    return function(*args, **kwargs)


def _describe_with_tangents(value: Any, kind: list[Any], values: list[Any], interpreter: PreparedJVP) -> None:
    """What `_describe` does, for values with a tangent too."""
    if type(value) is DualTracer:
        if not interpreter.has_unknown_tangent(value):
            raise TypeError
        values.append(value)
        data = value.primal._data  # type: ignore[attr-defined]
        kind += DualTracer, data.shape, data.dtype
    elif type(value) is tuple or type(value) is list:
        kind += type(value), len(value)
        for item in value:
            _describe_with_tangents(item, kind, values, interpreter)
    else:
        _describe(value, kind, values)


def _prepared(function: Callable[..., Any], args: Any, kwargs: Any, values: Sequence[Any]) -> Any:
    """The rule of a function for calls like this one; `_NEVER` if it has none."""
    active = [type(v) is DualTracer for v in values]
    types, structures = [v.type for v in values], list[Any]()

    def flat(*tracers: Any) -> Sequence[Any]:
        given = iter(tracers)
        result = function(*_replaced(args, given), **{name: _replaced(a, given) for name, a in kwargs.items()})
        leaves, structure = tree.flatten(result)
        structures.append(structure)
        return leaves

    with use(base()):
        try:
            program, captured = trace_program(flat, types)
        except Exception:  # what it is, the call tells
            return _NEVER
        if captured or program.effect or structures[-1] != LEAF or not any(active):
            return _NEVER
        if not all(map(is_plain, program.equations)) or program.outputs[0] in program.inputs:
            return _NEVER
        name = getattr(function, "__name__", "composite")
        return prepared(name, lambda *xs: apply_program(program, xs)[0], types, active) or _NEVER


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
            if type(item) is Array and item._data is not None:
                arrays.append(item)
                kind += (item._data.shape, item._data.dtype)
            else:
                _describe(item, kind, arrays)
    elif of in _PLAIN or isinstance(value, _KINDS):
        kind.append(of)
        kind.append(value)
    else:
        raise TypeError


def _steps(
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    arrays: Sequence[Array],
    replace: Callable[[Any], None],
    first: bool,
) -> Any:
    """What a call of a function does, a function of the arrays.

    It is `_NEVER` if that depends on more than the kind of the call, and `_ONCE` if this is the `first` such call, and
    only others are worth it. Once they have run often, `replace` puts others in the place of these steps.
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
    if captured or program.effect or any(data.nbytes > SMALL for _, data in program.constants):
        return _NEVER
    if not all(map(is_plain, program.equations)):
        return _NEVER
    operations = [equation.operation for equation in program.equations]
    if any(map(draws, operations)):
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
            slow = all(o.exact for o in operations) and any(map(_prefers_native, program.equations))
            return _counted(of_arrays, of_arrays, program, structures[-1], replace) if slow else _NEVER
    elif any(map(_is_inexact_work, program.equations)):
        return _NEVER  # functions inside of it that run machine code for several operations at once have other bits
    code = NumPyCode(program).function(structures[-1])
    if all(o.exact for o in operations) and any(o.lowering_kind != "move" for o in operations):
        return _counted(code, of_arrays, program, structures[-1], replace)
    return code


def _counted(
    code: Callable[..., Any],
    function: Callable[..., Any],
    program: Program,
    structure: Any,
    replace: Callable[[Any], None],
) -> Any:
    """Steps that are exact: once they have run often, machine code takes their place, which has the same bits.

    Where there is none for all shapes, `function` is compiled for these if NumPy takes much longer.
    """
    left = _OFTEN
    weight = 1 + max([t.size for t in program.input_types], default=0) // _LARGE  # arrays are large: fewer calls

    def call(*arrays: Array) -> Any:
        nonlocal left
        left -= weight
        if -weight < left <= 0:
            native = eager.compiled(program, 1)
            if native is not None:
                replace(_of_native(native, structure))
            else:
                slow = any(map(_prefers_native, program.equations))
                replace((eager.exactly(function) if slow else None) or code)
        return code(*arrays)

    return call


def _prefers_native(equation: Equation) -> bool:
    """Whether NumPy takes much longer than machine code for an operation: it has many elements."""
    types = [atom.type for atom in equation.inputs]
    return any(t.size >= MANY for t in types) and equation.operation.prefers_native(*types)


def _is_inexact_work(equation: Equation) -> bool:
    """Whether an operation has many elements, and other bits in machine code."""
    return not equation.operation.exact and any(a.type.size >= MANY for a in (*equation.inputs, *equation.outputs))


def _of_native(native: Callable[..., Any], structure: Any) -> Callable[..., Any]:
    """A function that returns a tuple of Arrays as one whose results have a structure."""
    if structure == LEAF:
        return lambda *arrays: native(*arrays)[0]
    return lambda *arrays: tree.unflatten(structure, native(*arrays))


def _replaced(value: Any, given: Any) -> Any:
    """An argument with tracers in the places of its arrays."""
    if type(value) is Array or type(value) is DualTracer:
        return next(given)
    if type(value) is tuple or type(value) is list:
        return type(value)([_replaced(item, given) for item in value])
    return value
