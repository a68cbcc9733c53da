"""Vectorisation: every value may carry one more axis, which is always the leading one inside."""

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fdl.core import trace
from fdl.core.interpret import apply_program
from fdl.core.operation import Operation
from fdl.core.program import Program, subprograms
from fdl.core.trace import Interpreter, Tracer, Value, entered, lift, use
from fdl.core.types import TensorType
from fdl.errors import ConcretizationError
from fdl.ops.shape import repeat


class BatchTracer(Tracer):
    """One element of a batch; `value` holds all of them along axis 0."""

    __slots__ = ("source", "value")

    def __init__(self, interpreter: Interpreter, value: Value, source: str = "") -> None:
        super().__init__(interpreter, TensorType(value.type.shape[1:], value.type.dtype))
        self.value = value
        self.source = source

    def origin(self) -> str:
        return f" (made at {self.source})" if self.source else ""

    def concrete(self, why: str = "") -> np.ndarray:
        trace.check_alive(self)
        raise ConcretizationError(
            f"{why or 'a concrete value'} was needed of a {self.type}{self.origin()} inside vmap, where it stands for "
            f"a batch of {self.value.type.shape[0]}. Use fdl.numpy.where or fdl.lax.cond, or keep the argument "
            "out of in_axes."
        )


class BatchInterpreter(Interpreter):
    """Applies the batching rule of every operation that meets a batched value."""

    def __init__(self, parent: Interpreter, size: int, axis_name: Hashable = None, tag: object = None) -> None:
        self.parent = parent
        self.size = size
        self.axis_name = axis_name
        #: What this interpreter shares with those that run the derivative rules of functions inside the same vmap.
        self.tag = tag or object()

    def axis_size(self, name: Hashable) -> int | None:
        return self.size if self.axis_name is not None and name == self.axis_name else self.parent.axis_size(name)

    def axis_sizes(self) -> tuple[tuple[Hashable, int], ...]:
        outer = self.parent.axis_sizes()
        own = (None, 0) if self.axis_name is None else (self.axis_name, self.size)
        return outer if own in outer else (*outer, own)

    def split(self, value: Any) -> tuple[Value, bool]:
        """What the parent sees of a value, and whether it is batched."""
        if type(value) is BatchTracer and value.interpreter.tag is self.tag:  # type: ignore[attr-defined]
            return value.value, True
        return lift(value), False

    def join(self, value: Any, batched: bool) -> Any:
        """The value, as one of a batch if `batched`."""
        return BatchTracer(self, value) if batched else value

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        values, batched = zip(*map(self.split, args), strict=True) if args else ((), ())
        with use(self.parent):
            collective = self.axis_name is not None and getattr(operation, "axis_name", None) == self.axis_name
            if collective:
                outs, flags = operation.across(self.size, values, batched)
            elif not any(batched):
                if not _mentions(operation, self.axis_name):
                    return self.parent.process(operation, values)
                outs, flags = operation.batch_named(self.size, values, batched, self.axis_name)
            elif operation.multiple:
                outs, flags = operation.batch_named(self.size, values, batched, self.axis_name)
            else:
                outs, flags = (operation.batch(self.size, values, batched),), (True,)
        source = trace.source_line()
        return [BatchTracer(self, o, source) if f else o for o, f in zip(outs, flags, strict=True)]

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        values, batched = zip(*map(self.split, args), strict=True) if args else ((), ())
        with use(self.parent):
            if self.axis_name is None and not any(batched) and not any(self.split(v)[1] for v in call.closed_over()):
                return self.parent.call_custom(call, values)
            outs = self.parent.call_custom(call.over_batch(self.size, batched, self.axis_name, self.tag), values)
        source = trace.source_line()
        return [BatchTracer(self, lift(o), source) for o in outs]


def _mentions(operation: Operation, axis_name: Hashable) -> bool:
    """Whether a Program inside `operation` holds a collective over the axis."""
    if axis_name is None or not operation.multiple:
        return False
    return any(
        getattr(e.operation, "axis_name", None) == axis_name or _mentions(e.operation, axis_name)
        for inner in subprograms(operation)
        for e in inner.equations
    )


def batch_values(
    function: Callable[..., Sequence[Any]],
    size: int,
    args: Sequence[Any],
    batched: Sequence[bool],
    axis_name: Hashable = None,
    tag: object = None,
) -> tuple[list[Value], list[bool]]:
    """Results of `function` over a batch along axis 0 of the batched args; and which results are batched.

    With the `tag` of another one, values of its batch count as those of this.
    """
    batch = BatchInterpreter(trace.current(), size, axis_name, tag)
    with entered(batch):
        outs = function(*[batch.join(a, b) for a, b in zip(args, batched, strict=True)])
        pairs = [batch.split(o) for o in outs]
    return [v for v, _ in pairs], [b for _, b in pairs]


@lru_cache(maxsize=1024)
def batch_program(
    program: Program, size: int, batched: tuple[bool, ...], instantiate: tuple[bool, ...], axis_name: Hashable = None
) -> tuple[Program, tuple[bool, ...]]:
    """The Program over a batch.

    Args:
        program: for one example.
        size: of the batch.
        batched: which inputs have a leading batch axis.
        instantiate: which outputs must have one, repeated if need be.
        axis_name: the name collectives inside may use.

    Returns:
        The Program, and which outputs are batched.
    """
    flags: tuple[bool, ...] = ()

    def run(*values: Value) -> list[Value]:
        nonlocal flags
        outs, found = batch_values(lambda *xs: apply_program(program, xs), size, values, batched, axis_name)
        outs = [o if b or not need else repeat(o, size) for o, b, need in zip(outs, found, instantiate, strict=True)]
        flags = tuple(b or need for b, need in zip(found, instantiate, strict=True))
        return outs

    types = [t.with_shape((size, *t.shape)) if b else t for t, b in zip(program.input_types, batched, strict=True)]
    result, captured = trace.trace_program(run, types)
    trace.require_closed(captured)
    return result, flags
