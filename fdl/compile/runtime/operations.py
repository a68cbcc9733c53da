"""Operations that archives call Python for, as data: reading one runs no code.

An operation that the Program itself has is its number there, so that functions of users need no bytes. What passes of
the compiler have made instead (a product of swapped operands) is written as `fdl.control.data` writes operations.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

from fdl.compile.ir.host import HostOperation
from fdl.control.data import NoDataError, read_operation, read_type, write_operation, write_type
from fdl.core.program import Program, subprograms


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
            operation = write_operation(host.operation)
        return [operation, list(map(write_type, host.operands)), host.strides, list(map(write_type, host.results))]

    def read(self, data: Any) -> HostOperation:
        """The inverse of `write`.

        Raises:
            NoDataError: there is no class of that name, or no operation of that number.
            ValueError, LookupError, TypeError: `write` has not written this.
        """
        operation, operands, strides, results = data
        found = self._numbered(operation) if isinstance(operation, int) else read_operation(operation)
        return HostOperation(
            found, tuple(map(read_type, operands)), tuple(map(tuple, strides)), tuple(map(read_type, results))
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
