"""Primitive: one class per operation, holding all of its rules.

An operation is an immutable instance: its fields are the static parameters (``Sum(axes=(0,))``), and calling it applies
it to values in the current interpreter. Subclasses are turned into frozen dataclasses and registered; a class that
lacks a rule is refused.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import FrozenInstanceError, dataclass, field
from functools import cache
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from fdl.core import trace
from fdl.core.program import Program, parameters
from fdl.core.types import TensorType
from fdl.errors import PrimitiveError

#: Every concrete primitive class by name.
registry: dict[str, type["Primitive"]] = {}

REQUIRED = ("result", "reference", "jvp", "batch", "samples")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Primitive:
    """Base of all operations.

    Class attributes:
        family: which part of the compiler makes its code; ``"host"`` calls the reference from inside the plan.
        multiple: whether the operation returns a tuple of results.
        heavy: whether eager calls are compiled instead of run by the reference.
        linear: in which operands it is linear, and so has a ``transpose`` rule: in all together if True; else in those
            of each of these groups, while all other operands are given (see `linear_groups`).
        effect: whether it does something besides computing its result, so that it must not be dropped or repeated.
        recomputed: whether it holds a Program whose values are forgotten and computed again.
    """

    family: ClassVar[str] = "host"
    multiple: ClassVar[bool] = False
    heavy: ClassVar[bool] = False
    linear: ClassVar[bool | tuple[tuple[int, ...], ...]] = False
    effect: ClassVar[bool] = False
    recomputed: ClassVar[bool] = False

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if _has_own_fields(cls):
            dataclass(frozen=True, repr=False)(cls)
        if abstract:
            return
        needed = REQUIRED + (("transpose",) if cls.linear else ()) + (("lower",) if cls.family == "elementwise" else ())
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
        outs = trace.current().process(self, args)
        return tuple(outs) if self.multiple else outs[0]

    def __repr__(self) -> str:
        shown = [f"{name}={_brief(getattr(self, name))}" for name in parameters(self)]
        return self.name + (f"[{' '.join(shown)}]" if shown else "")

    @property
    def name(self) -> str:
        """The name printed in programs and messages."""
        return _snake(type(self).__name__)

    def result(self, *types: TensorType) -> Any:
        """The TensorType of the result (a tuple of them if ``multiple``); raises for operands it does not take."""
        raise NotImplementedError

    def reference(self, *arrays: np.ndarray) -> Any:
        """The result computed by NumPy: the meaning of the operation, and the compiler's oracle."""
        raise NotImplementedError

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """Result and its tangent. A tangent that is zero is None, in and out; at least one given is not None."""
        raise NotImplementedError

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        """Groups of its operands: it is linear in those of a group together, while all others are given."""
        if isinstance(self.linear, tuple):
            return self.linear
        return (range(len(types)),) if self.linear else ()

    def transpose(self, cotangent: Any, *args: Any) -> Sequence[Any]:
        """Cotangents of the operands; those it is linear in arrive as ``Linear(type)``, None is zero."""
        raise NotImplementedError

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        """The result for operands with an extra leading axis where `batched`; the result has it too.

        ``multiple`` operations return (results, which of them are batched).
        """
        raise NotImplementedError

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        """Like :meth:`batch`, for Programs inside that may name the axis in collectives."""
        return self.batch(size, args, batched)

    @property
    def inlined(self) -> Program | None:
        """The Program that the operation computes, if the compiler may put it in its place."""
        return None

    def partial(self, known: Sequence[Any], types: Sequence[TensorType]) -> Any:
        """For operations that hold Programs: see :mod:`fdl.transforms.linearize`."""
        return NotImplemented

    def lower(self, build: Any, *values: Any) -> Any:
        """Native code for one element (or vector of elements) of the result, for the elementwise family."""
        raise NotImplementedError

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """Operations of this class with operands, for the laws: yields (operation, operand, ...)."""
        raise NotImplementedError


def _has_own_fields(cls: type) -> bool:
    """Whether a class has other fields than its first base that is a dataclass.

    Other classes inherit all that dataclass would generate once more, slowly.
    """
    bases = [b for b in cls.__mro__[1:] if "__dataclass_fields__" in vars(b)]
    names = [set(b.__dataclass_fields__) for b in bases]  # type: ignore[attr-defined]
    plain = [b for b in cls.__mro__ if b not in bases and b is not Primitive]
    return not names or names[0] != set().union(*names) or any(map(inspect.get_annotations, plain))


@dataclass(frozen=True)
class Linear:
    """Stands for an operand of a linear operation while it is transposed: only the type is known."""

    type: TensorType


def _brief(value: Any) -> str:
    if isinstance(value, Program):
        return "program"
    if isinstance(value, np.dtype):
        return str(value)
    if isinstance(value, tuple):
        return f"({','.join(map(_brief, value))})"
    return getattr(value, "__qualname__", None) or str(value)


@cache
def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))
