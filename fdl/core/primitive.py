"""Primitive: one class per operation, holding all of its rules.

An operation is an immutable instance: its fields are the static parameters (``Sum(axes=(0,))``), and calling it applies
it to values in the current interpreter. Subclasses are turned into frozen dataclasses and registered; a class that
lacks a rule is refused.
"""

import inspect
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any, dataclass_transform

import numpy as np

from fdl.core import trace
from fdl.core.operation import Operation
from fdl.core.program import Program, parameters
from fdl.core.types import TensorType
from fdl.core.weak import apply_weakly, weak_classes
from fdl.errors import PrimitiveError

#: Every concrete primitive class by name.
registry: dict[str, type["Primitive"]] = {}

REQUIRED = ("result", "reference", "jvp", "batch", "samples")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Primitive(Operation):
    """Base of the operations that users apply; its class attributes and rules are those of `Operation`."""

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if _has_own_fields(cls):
            dataclass(frozen=True, repr=False)(cls)
        if abstract:
            return
        needed = (
            REQUIRED
            + (("transpose",) if cls.linear else ())
            + (("lower",) if cls.lowering_kind == "elementwise" else ())
        )
        missing = [rule for rule in needed if getattr(cls, rule, None) is getattr(Primitive, rule, None)]
        if missing:
            raise PrimitiveError(
                f"primitive {cls.__name__} lacks the rule{'s' * (len(missing) > 1)} {', '.join(missing)}"
            )
        if cls.__name__ in registry and registry[cls.__name__].__module__ != cls.__module__:
            raise PrimitiveError(f"two primitives are called {cls.__name__}")
        registry[cls.__name__] = cls

    def __setattr__(self, name: str, value: Any) -> None:
        raise FrozenInstanceError(f"operations are immutable: cannot set {name} of {self!r}")

    def __call__(self, *args: Any) -> Any:
        """Apply to values in the current interpreter."""
        if weak_classes.isdisjoint(map(type, args)):
            outs = trace.current().process(self, args)
        else:
            outs = apply_weakly(self, args)
        return tuple(outs) if self.multiple else outs[0]

    def __repr__(self) -> str:
        shown = [f"{name}={_brief(getattr(self, name))}" for name in parameters(self)]
        return self.name + (f"[{' '.join(shown)}]" if shown else "")


def _has_own_fields(cls: type) -> bool:
    """Whether a class has other fields than its first base that is a dataclass.

    Other classes inherit all that dataclass would generate once more, slowly.
    """
    bases = [b for b in cls.__mro__[1:] if "__dataclass_fields__" in vars(b)]
    names = [set(b.__dataclass_fields__) for b in bases]  # type: ignore[attr-defined]
    plain = [b for b in cls.__mro__ if b not in bases and b not in (Primitive, Operation)]
    return not names or names[0] != set().union(*names) or any(map(inspect.get_annotations, plain))


@dataclass(frozen=True)
class Linear:
    """Stands for an operand of a linear operation while it is transposed: only the type is known.

    An input of a Program may be a subclass that makes cotangents in a form of its own, which have to add up, by ``+``,
    with each other and with arrays.
    """

    type: TensorType

    def cotangent_through(self, operation: Operation, cotangents: Sequence[Any], operands: Sequence[Any]) -> Any:
        """Its cotangent from those of the results of an operation that is linear in it alone; by default None, which
        leaves it to the operation's ``transpose``."""
        return None


def _brief(value: Any) -> str:
    if isinstance(value, Program):
        return "program"
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, tuple):
        return f"({','.join(map(_brief, value))})"
    return getattr(value, "__qualname__", None) or str(value)
