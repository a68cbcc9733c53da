"""Operations that archives call Python for, as data: reading one runs no code.

An operation that the Program itself has is its number there, so that functions of users need no bytes. What passes of
the compiler have made instead (a product of swapped operands) is the name of its class and its parameters, which are
numbers, texts, dtypes, types, and tuples of these.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from fdl.compile.ir.host import HostOperation
from fdl.core.primitive import registry
from fdl.core.program import Program, parameters, subprograms
from fdl.core.types import TensorType
from fdl.dtypes import ANY
from fdl.ops.conv import ConvDimensionNumbers
from fdl.ops.windows import GatherDimensionNumbers, ScatterDimensionNumbers

#: Classes of parameters, by name.
_PARAMETERS: dict[str, Callable[..., Any]] = {
    kind.__name__: kind for kind in (ConvDimensionNumbers, GatherDimensionNumbers, ScatterDimensionNumbers, TensorType)
}
_DTYPES = {str(dtype): dtype for dtype in ANY}
_PLAIN = (bool, int, float, str, type(None))


class NoDataError(Exception):
    """An operation that cannot be written as data, or data of a class that is not known here."""


class Operations:
    """Writes and reads the operations of one Program.

    Args:
        program: all passes but inlining are still to come.
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    @cached_property
    def known(self) -> list[Any]:
        """The operations, by number."""
        return list(operations_of(self.program))

    @cached_property
    def numbers(self) -> dict[Any, int]:
        """The number of each operation; of equal ones, that of the first. (Zeros of both signs read differently.)"""
        return {(operation, repr(operation)): n for n, operation in reversed(list(enumerate(self.known)))}

    def write(self, host: HostOperation) -> Any:
        """A host operation as JSON.

        Raises:
            NoDataError: the Program has no such operation, and it has parameters that are no data.
        """
        operation: Any = self.numbers.get((host.operation, repr(host.operation)))
        if operation is None:
            operation = _write_operation(host.operation)
        return [operation, list(map(_type, host.operands)), host.strides, list(map(_type, host.results))]

    def read(self, data: Any) -> HostOperation:
        """The inverse of `write`.

        Raises:
            NoDataError: there is no class of that name, or no operation of that number.
            ValueError, LookupError, TypeError: `write` has not written this.
        """
        operation, operands, strides, results = data
        found = self._numbered(operation) if isinstance(operation, int) else _read_operation(operation)
        return HostOperation(
            found, tuple(map(_read_type, operands)), tuple(map(tuple, strides)), tuple(map(_read_type, results))
        )

    def _numbered(self, number: int) -> Any:
        if type(number) is not int or not 0 <= number < len(self.known):
            raise NoDataError(f"there is no operation {number}")
        return self.known[number]


def operations_of(program: Program) -> Iterator[Any]:
    """The operations of a Program and of those inside of it, in an order that follows from its structure."""
    for equation in program.equations:
        yield equation.operation
        for inner in subprograms(equation.operation):
            yield from operations_of(inner)


def _write_operation(operation: Any) -> Any:
    kind = type(operation)
    if registry.get(kind.__name__) is not kind:
        raise NoDataError(f"{operation!r} is an operation of the compiler's own")
    return [kind.__name__, *(_write(getattr(operation, name)) for name in parameters(operation))]


def _read_operation(data: Any) -> Any:
    name, *values = data
    if name not in registry:
        raise NoDataError(f"there is no operation {name}")
    return registry[name](*map(_read, values))


def _type(type: TensorType) -> Any:
    return [type.shape, str(type.dtype)]


def _read_type(data: Any) -> TensorType:
    shape, dtype = data
    return TensorType(tuple(shape), _DTYPES[dtype])


def _write(value: Any) -> Any:
    """A parameter: plain values as they are, others as a list that begins with what they are."""
    if type(value) in _PLAIN:
        return value
    if type(value) is tuple:
        return ["tuple", *map(_write, value)]
    if isinstance(value, np.dtype):
        return ["dtype", str(value)]
    name = type(value).__name__
    if _PARAMETERS.get(name) is not type(value):
        raise NoDataError(f"{value!r} is no data")
    return [name, *(_write(getattr(value, field)) for field in parameters(value))]


def _read(data: Any) -> Any:
    if not isinstance(data, list):
        return data
    kind, *values = data
    if kind == "dtype":
        return _DTYPES[values[0]]
    parts = tuple(map(_read, values))
    return parts if kind == "tuple" else _PARAMETERS[kind](*parts)
