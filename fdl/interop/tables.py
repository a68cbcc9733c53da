"""Tables from the names of operators to functions, one function an operator."""

from collections.abc import Callable
from typing import Any

Function = Callable[..., Any]


class OperatorTable(dict[str, Function]):
    """A dict in which a name stands once.

    >>> table = OperatorTable()
    >>> table.define("add", "plus")(lambda a, b: a + b)(1, 2)
    3
    >>> table.define("add")(max)
    Traceback (most recent call last):
    KeyError: 'two functions for the operator add'
    """

    def define(self, *names: str) -> Callable[[Function], Function]:
        """Decorate the function of an operator with its names."""

        def enter(function: Function) -> Function:
            for name in names:
                self[name] = function
            return function

        return enter

    def __setitem__(self, name: str, function: Function) -> None:
        if name in self:
            raise KeyError(f"two functions for the operator {name}")
        super().__setitem__(name, function)


def joined(*tables: OperatorTable) -> OperatorTable:
    """One table of several that have no name in common."""
    result = OperatorTable()
    for table in tables:
        for name, function in table.items():
            result[name] = function
    return result
