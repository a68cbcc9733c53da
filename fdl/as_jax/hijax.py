"""Mutable values and values with effects of JAX: libraries define classes by these names, and fdl refuses their use."""

from collections.abc import Callable
from typing import Any, NoReturn


def _refuse(what: str) -> NoReturn:
    raise NotImplementedError(
        f"{what}: fdl has no mutable arrays and no values with effects; pass values along instead"
    )


class EffectType:
    """What an operation does besides returning results."""


class AbstractValue:
    """The type of a value."""


class AbstractRef(AbstractValue):
    """The type of a mutable array: no value has it."""


class Ref:
    """A mutable array: there is none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _refuse("Ref")


class AvalQDD:
    """A type with what it holds at the moment."""

    def __init__(self, aval: Any, qdd: Any) -> None:
        self.aval, self.qdd = aval, qdd


class AvalMutableQDD(AvalQDD):
    """The same of a mutable value."""


class MutableHiType(AbstractValue):
    """The type of a mutable value."""


class HiPrimitive:
    """An operation on such values, which can be defined and not called."""

    multiple_results = False

    def __init__(self, name: str) -> None:
        self.name = name

    def bind(self, *args: Any, **params: Any) -> NoReturn:
        """Raise a NotImplementedError."""
        _refuse(self.name)


class Effects:
    """Effects that control flow may have."""

    def __init__(self) -> None:
        self.types: list[type[Any]] = []

    def add_type(self, effect: type[Any]) -> None:
        """Accept a type of effects."""
        self.types.append(effect)

    def contains(self, effect: Any) -> bool:
        """Whether it was accepted."""
        return isinstance(effect, tuple(self.types))


control_flow_allowed_effects = Effects()


def aval_method(fun: Callable[..., Any]) -> Any:
    """A method that a type has for its values: kept as it is."""
    return fun


def aval_property(fget: Callable[..., Any]) -> Any:
    """A property that a type has for its values."""
    return property(fget)


def register_hitype(value: type[Any], type_of: Callable[..., Any]) -> None:
    """Accept a type of values."""
