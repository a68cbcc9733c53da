"""Operation: what the equations of a Program apply; the base of the primitives and of the compiler's own operations."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from fdl.core.types import TensorType


class Operation:
    """An immutable function of tensors, with its static parameters as fields.

    Class attributes:
        lowering_kind: how the compiler makes its code: ``"elementwise"`` (by `lower`, in loop nests), ``"reduce"`` (in
            loop nests), ``"move"`` (where it is read, by another index), ``"kernel"`` (by a lowering of its own, see
            `fdl.compile.lowerings`), ``"control"`` (it holds Programs), ``"random"``; ``"host"`` calls the reference
            from inside of the plan, unless there is a lowering.
        multiple: whether the operation returns a tuple of results.
        compile_eagerly: whether eager calls are compiled instead of run by the reference.
        exact: whether native code gives the bits of the reference, on processors that have fused multiply-adds.
        linear: in which operands it is linear, and so has a ``transpose`` rule: in all together if True; else in those
            of each of these groups, while all other operands are given (see `linear_groups`).
        effect: whether it does something besides computing its result, so that it must not be dropped or repeated.
        recomputed: whether it holds a Program whose values are forgotten and computed again.
        weak_operands: the operands of which all must be weak for the result to be (`fdl.core.weak`); None: it never is.
            An operation whose results differ states `weak_results`.
        transports: whether it only moves its operands' bits, so that its native code takes dtypes that have no
            arithmetic (complex numbers, random keys).
    """

    lowering_kind: ClassVar[str] = "host"
    multiple: ClassVar[bool] = False
    compile_eagerly: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    linear: ClassVar[bool | tuple[tuple[int, ...], ...]] = False
    effect: ClassVar[bool] = False
    recomputed: ClassVar[bool] = False
    transports: ClassVar[bool] = False
    weak_operands: ClassVar[slice | None] = slice(None)

    def prefers_native(self, *types: TensorType) -> bool:
        """Whether NumPy takes much longer than machine code where operands have many elements."""
        return False

    def weak_results(self, weak: Sequence[bool]) -> Sequence[bool]:
        """Which of its results are weak arrays (`fdl.config.weak_arrays`), by its operands; one answer is for all."""
        counted = () if self.multiple or self.weak_operands is None else weak[self.weak_operands]
        return (bool(counted) and all(counted),)

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

    def reference_for(self, *types: TensorType) -> Callable[..., Any]:
        """The reference as a function of arrays of these types, which may leave out what they decide."""
        return self.reference

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

    def across(self, size: int, values: Sequence[Any], batched: Sequence[bool]) -> tuple[Sequence[Any], Sequence[bool]]:
        """For collectives, where their own axis is the one that is batched: results, and which of them are batched."""
        raise NotImplementedError

    def without(self, read: Sequence[bool]) -> "Operation | None":
        """The operation that makes only those of its results that are `read`, bit for bit; None if there is none."""
        return None

    @property
    def repeats(self) -> bool:
        """Whether it repeats its operand in the way in which NumPy's functions of two arrays do it by themselves."""
        return False

    @property
    def inlined(self) -> Any:
        """The Program that the operation computes, if the compiler may put it in its place; else None."""
        return None

    def partial_eval(self, known: Sequence[Any], types: Sequence[TensorType]) -> Any:
        """For operations that hold Programs: their `fdl.transforms.linearize.Split`; None is unknown."""
        return NotImplemented

    def lower(self, build: Any, *values: Any) -> Any:
        """Native code for one element (or vector of elements) of the result, for elementwise operations."""
        raise NotImplementedError

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """Operations of this class with operands, for the laws: yields (operation, operand, ...)."""
        raise NotImplementedError


@cache
def _snake(name: str) -> str:
    return "".join("_" + c.lower() if c.isupper() and i else c.lower() for i, c in enumerate(name))
