"""Operations and Programs as JSON values, for the compiler's cache and for exported functions: reading runs no code.

An operation is the name of its class and its parameters. Those are numbers, texts, dtypes, types, Programs, and tuples
of these; what a user's function is a parameter of (callbacks, custom derivative rules) is no data. A Program numbers
its variables: first the inputs, then the constants, then the results of the equations in their order, whose types
follow from the operations. Its constants are arrays beside the JSON.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np

import fdl.control
import fdl.ops
from fdl.core.primitive import registry
from fdl.core.program import Atom, Equation, Literal, Program, Var, parameters
from fdl.core.types import TensorType
from fdl.dtypes import ANY, BOOLEAN, COMPLEX, INTEGER, key
from fdl.ops.conv import ConvDimensionNumbers
from fdl.ops.windows import GatherDimensionNumbers, ScatterDimensionNumbers

#: Classes of parameters, by name.
_PARAMETERS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind for kind in (ConvDimensionNumbers, GatherDimensionNumbers, ScatterDimensionNumbers, TensorType)
}
_DTYPES = {"key" if dtype == key else str(dtype): dtype for dtype in ANY}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_PLAIN = (bool, int, float, str, type(None))
#: What stands for a number of Python among the parameters; True is no number.
_NUMBERS: dict[Any, Any] = {
    bool: (bool, np.bool_),
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
}


class NoDataError(Exception):
    """What cannot be written as data, or data that is not as it was written."""


def write_operation(operation: Any, constants: list[np.ndarray] | None = None) -> Any:
    """An operation as JSON.

    Args:
        operation: a primitive.
        constants: those of Programs inside are appended to it; None refuses operations that hold Programs.

    Raises:
        NoDataError: it has parameters that are no data, or is no registered primitive.
    """
    kind = type(operation)
    if registry.get(kind.__name__) is not kind:
        raise NoDataError(f"{operation!r} is an operation of the compiler's own")
    return [kind.__name__, *(_write(getattr(operation, name), constants) for name in parameters(operation))]


def read_operation(data: Any, constants: Sequence[np.ndarray] = ()) -> Any:
    """The inverse of `write_operation`.

    Raises:
        NoDataError: there is no operation of that name, or it does not take such parameters.
        ValueError, LookupError, TypeError: `write_operation` has not written this.
    """
    name, *values = data
    kind = _class_of(name)
    wanted = fields(kind)
    values = [_read(value, constants) for value in values]
    if len(values) != len(wanted):
        raise NoDataError(f"{name} has {len(wanted)} parameters, not {len(values)}")
    for field, value in zip(wanted, values, strict=True):
        if not _fits(value, field.type):
            raise NoDataError(f"{field.name} of {name} cannot be {value!r}")
    return kind(**{field.name: value for field, value in zip(wanted, values, strict=True)})


def _class_of(name: Any) -> Any:
    if name not in registry:
        for package in (fdl.ops, fdl.control):  # some are imported when they are used first
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{package.__name__}.{module.name}")
    if name not in registry:
        raise NoDataError(f"there is no operation {name}")
    return registry[name]


def write_program(program: Program, constants: list[np.ndarray]) -> Any:
    """A Program as JSON.

    Args:
        program: what to write.
        constants: its constants, and those of Programs inside, are appended to it.

    Raises:
        NoDataError: an operation cannot be written; the message names the user's line.
    """
    variables = [*program.inputs, *(var for var, _ in program.constants)]
    numbers = {var: number for number, var in enumerate(variables)}
    first = len(constants)
    constants += [value for _, value in program.constants]

    def write_atom(atom: Atom) -> Any:
        return write_scalar(atom.value) if isinstance(atom, Literal) else numbers[atom]

    equations = []
    for equation in program.equations:
        try:
            operation = write_operation(equation.operation, constants)
        except NoDataError as error:
            raise NoDataError(f"{equation.operation.name} at {equation.source}: {error}") from None
        equations.append([operation, list(map(write_atom, equation.inputs)), equation.source])
        for var in equation.outputs:
            numbers[var] = len(numbers)
    return {
        "inputs": list(map(write_type, program.input_types)),
        "constants": list(range(first, first + len(program.constants))),
        "equations": equations,
        "outputs": list(map(write_atom, program.outputs)),
    }


def read_program(data: Any, constants: Sequence[np.ndarray]) -> Program:
    """The inverse of `write_program`: every operation is a known one, and takes the operands that it is given.

    Raises:
        NoDataError: an operation is not known, or does not take its operands.
        ValueError, LookupError, TypeError: `write_program` has not written this.
    """
    inputs = [Var(read_type(type)) for type in data["inputs"]]
    held = []
    for number in data["constants"]:
        value = constants[_index(number, len(constants))]
        held.append((Var(TensorType(value.shape, value.dtype)), value))
    variables = [*inputs, *(var for var, _ in held)]

    def read_atom(atom: Any) -> Atom:
        return Literal(read_scalar(atom)) if isinstance(atom, list) else variables[_index(atom, len(variables))]

    equations = []
    for number, (operation, operands, source) in enumerate(data["equations"]):
        applied = read_operation(operation, constants)
        atoms = tuple(map(read_atom, operands))
        try:
            result = applied.result(*(atom.type for atom in atoms))
        except Exception as error:  # whatever an operation raises of operands that it does not take
            raise NoDataError(f"equation {number} ({applied.name}): {error}") from error
        outputs = tuple(map(Var, result if applied.multiple else (result,)))
        if any(extent < 0 for var in outputs for extent in var.type.shape):
            raise NoDataError(f"equation {number} ({applied.name}): there is no shape {outputs[0].type.shape}")
        equations.append(Equation(applied, atoms, outputs, str(source)))
        variables += outputs
    return Program(tuple(inputs), tuple(equations), tuple(map(read_atom, data["outputs"])), tuple(held))


def _index(number: Any, count: int) -> int:
    if type(number) is not int or not 0 <= number < count:
        raise NoDataError(f"there is no number {number!r} among {count}")
    return number


def write_type(type: TensorType) -> Any:
    """A type as JSON."""
    return [list(type.shape), _NAMES[type.dtype]]


def read_type(data: Any) -> TensorType:
    """The inverse of `write_type`."""
    shape, dtype = data
    if not all(type(extent) is int and extent >= 0 for extent in shape):
        raise NoDataError(f"there is no shape {shape}")
    return TensorType(tuple(shape), _DTYPES[dtype])


def write_scalar(value: Any) -> Any:
    """A scalar of NumPy as its dtype and a number, or text for what JSON has no number for."""
    value = np.asarray(value)[()]
    dtype = value.dtype
    if dtype == key:
        return ["key", [int(value["word0"]), int(value["word1"])]]
    if dtype in COMPLEX:
        return [_NAMES[dtype], [_number(value.real), _number(value.imag)]]
    return [_NAMES[dtype], value.item() if dtype in BOOLEAN + INTEGER else _number(value)]


def _number(value: Any) -> float | str:
    value = float(value)  # exact: no dtype is wider than 64 bits
    return value if np.isfinite(value) else str(value)


def read_scalar(data: Any) -> np.ndarray:
    """The inverse of `write_scalar`, as an array without axes."""
    name, value = data
    dtype = _DTYPES[name]
    if dtype == key:
        return np.array(tuple(value), dtype)
    if dtype in COMPLEX:
        real, imaginary = map(float, value)
        return np.array(complex(real, imaginary), dtype)
    if dtype in BOOLEAN + INTEGER and not isinstance(value, int):
        raise NoDataError(f"there is no {name} {value!r}")
    return np.array(value if isinstance(value, int) else float(value), dtype)


def _write(value: Any, constants: list[np.ndarray] | None) -> Any:
    """A parameter: plain values as they are, others as a list that begins with what they are."""
    if type(value) is float and not np.isfinite(value):
        return ["float", str(value)]
    if type(value) in _PLAIN:
        return value
    if type(value) is tuple:
        return ["tuple", *(_write(v, constants) for v in value)]
    if isinstance(value, np.dtype):
        return ["dtype", _NAMES[value]]
    if isinstance(value, np.generic) and value.dtype in _NAMES:
        return ["scalar", *write_scalar(value)]
    if isinstance(value, Program) and constants is not None:
        return ["Program", write_program(value, constants)]
    name = type(value).__name__
    if _PARAMETERS.get(name) is not type(value):
        raise NoDataError(f"{value!r} is no data")
    return [name, *(_write(getattr(value, field), constants) for field in parameters(value))]


def _read(data: Any, constants: Sequence[np.ndarray]) -> Any:
    if not isinstance(data, list):
        return data
    kind, *values = data
    if kind == "Program":
        return read_program(values[0], constants)
    if kind == "dtype":
        return _DTYPES[values[0]]
    if kind == "float":
        return float(values[0])
    if kind == "scalar":
        return read_scalar(values)[()]
    parts = tuple(_read(value, constants) for value in values)
    if kind == "tuple":
        return parts
    found = _PARAMETERS[kind](*parts)
    if not all(_fits(getattr(found, field.name), field.type) for field in fields(found)):
        raise NoDataError(f"there is no {found!r}")
    return found


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a parameter is of the type that the operation's class says."""
    if annotation is Any or isinstance(annotation, str):
        return isinstance(value, (*_PLAIN, np.generic))
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(v, arguments[0]) for v in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    kinds = _NUMBERS.get(annotation)
    return isinstance(value, annotation if kinds is None else kinds) and (annotation is bool or type(value) is not bool)
