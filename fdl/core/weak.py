"""Weak values: scalars of Python in a transform, whose dtype yields to that of the arrays that they meet.

A weak value holds another one, of 64 bits for a number of Python, and shows the default dtype of its kind. What is made
of weak values alone is computed with all bits that they hold, and weak too; it is rounded to the dtype that it shows
where something else uses it, and to the dtype of an array where it meets one. So interpreters, and the Programs that
they record, know nothing of weakness: operations take the values that are held.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.config import config
from fdl.core.trace import Tracer, Value, check_alive, current, lift
from fdl.core.types import TensorType
from fdl.dtypes import bool_
from fdl.errors import ConcretizationError


class WeakTracer(Tracer):
    """A tracer that is weak."""

    __slots__ = ("_held",)
    weak = True
    #: The operation that converts to a dtype; set by `fdl.ops.convert`.
    conversion: Callable[[np.dtype], Any]

    def __init__(self, held: Tracer, dtype: np.dtype) -> None:
        super().__init__(held.interpreter, TensorType(held.type.shape, dtype))
        self._held = held

    @property
    def held(self) -> Tracer:
        check_alive(self)
        return self._held

    def strong(self) -> Value:
        found: Value = self._held if self._held.type == self.type else type(self).conversion(self.type.dtype)(self.held)
        return found

    def weakened(self, dtype: np.dtype) -> Value:
        return self._held.weakened(dtype)

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.type}, held={self._held!r}>"

    def origin(self) -> str:
        return self._held.origin()

    def concrete(self, why: str = "") -> np.ndarray:
        return self._known(self._held.concrete, why)

    def discrete(self, why: str = "") -> np.ndarray:
        return self._known(self._held.discrete, why)

    def _known(self, read: Callable[[str], np.ndarray], why: str) -> np.ndarray:
        try:
            return narrowed(read(why), self.type.dtype)
        except ConcretizationError as error:  # names what is held, which nobody has seen
            raise ConcretizationError(str(error).replace(f" {self._held.type}", f" {self.type}", 1)) from None


Tracer.weak_class = WeakTracer
#: The types of weak values.
weak_classes: set[type] = {WeakTracer}


def narrowed(data: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers in the dtype that a weak value shows; those that are too large become infinite, or wrap around."""
    with np.errstate(over="ignore"):
        return data.astype(dtype, copy=False)


def weak_as(like: Any, value: Any) -> Any:
    """`value`, which is weak if `like` is, where arrays are weak (`config.weak_arrays`)."""
    if not config.weak_arrays or value.weak == like.weak:
        return value
    return value.weakened(value.type.dtype) if like.weak else value.strong()


def apply_weakly(operation: Any, args: Sequence[Any]) -> Sequence[Any]:
    """The results of an operation that has weak values among its operands."""
    if config.weak_arrays:
        return _apply_to_weak_arrays(operation, args)
    dtype = _weak_result(operation, args)
    if dtype is None:
        return current().process(operation, [lift(a) for a in args])
    outs = current().process(operation, [a.held if isinstance(a, Value) else lift(a) for a in args])
    return outs if dtype == bool_ else [outs[0].weakened(dtype)]


def _weak_result(operation: Any, args: Sequence[Any]) -> np.dtype | None:
    """The dtype that the result of an operation shows, if it is to be computed from what its weak operands hold."""
    counted = () if operation.multiple or operation.weak_operands is None else args[operation.weak_operands]
    if operation.lowering_kind != "elementwise" or not (counted and all(getattr(a, "weak", False) for a in counted)):
        return None
    held, shown = {a.held.type.dtype for a in counted}, counted[0].type.dtype
    if len(held) > 1:
        return None
    found: np.dtype = operation.result(*[a.held.type if isinstance(a, Value) else lift(a).type for a in args]).dtype
    return shown if held == {found} else found if found == bool_ else None


def _apply_to_weak_arrays(operation: Any, args: Sequence[Any]) -> Sequence[Any]:
    """The same by JAX's rule: what is made of weak arrays alone is weak, whichever operation makes it."""
    outs = current().process(operation, [lift(a).strong() for a in args])
    weak = operation.weak_results([getattr(a, "weak", False) for a in args])
    if not any(weak):
        return outs
    weak = weak if len(weak) > 1 else [*weak] * len(outs)
    return [o.weakened(o.type.dtype) if w else o for o, w in zip(outs, weak, strict=True)]
