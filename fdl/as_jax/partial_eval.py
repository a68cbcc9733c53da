"""Evaluation with some arguments unknown, as ``jax.interpreters.partial_eval`` gives it to Flax."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fdl.array import as_array
from fdl.as_jax.jaxpr import ClosedJaxpr, Jaxpr
from fdl.as_jax.linear_util import WrappedFun
from fdl.core import trace
from fdl.core.trace import StagedTracer, Staging
from fdl.core.types import TensorType


class PartialVal(NamedTuple):
    """A value that is known, or the type of one that is not.

    >>> PartialVal.known(1.0).is_known()
    True
    """

    type: TensorType | None
    const: Any

    @classmethod
    def known(cls, const: Any) -> "PartialVal":
        """A known value."""
        return cls(None, const)

    @classmethod
    def unknown(cls, aval: TensorType) -> "PartialVal":
        """A value of which only the type is known."""
        return cls(aval, None)

    def is_known(self) -> bool:
        """Whether it is known."""
        return self.type is None


class _Unknowns(Staging):
    """Records what depends on unknown values; all else is computed by the interpreter around it."""

    def process(self, operation: Any, args: Sequence[Any]) -> Sequence[Any]:
        if any(isinstance(a, StagedTracer) and a.interpreter is self for a in args):
            return super().process(operation, args)
        with trace.use(self.parent):
            return self.parent.process(operation, args)

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        if any(isinstance(a, StagedTracer) and a.interpreter is self for a in args):
            return super().call_custom(call, args)
        with trace.use(self.parent):
            return self.parent.call_custom(call, args)


def trace_to_jaxpr_nounits(
    fun: WrappedFun, pvals: Sequence[PartialVal], instantiate: bool = False
) -> tuple[Jaxpr, list[PartialVal], list[Any]]:
    """Run a function of values some of which are unknown.

    Args:
        fun: from flat values to a list of them.
        pvals: its arguments.
        instantiate: count all results as unknown.

    Returns:
        The Jaxpr of what is unknown, the results, and the known values that the Jaxpr closes over.

    >>> from fdl.as_jax.linear_util import wrap_init
    >>> arguments = [PartialVal.known(2.0), PartialVal.unknown(as_array(1.0).type)]
    >>> outs = trace_to_jaxpr_nounits(wrap_init(lambda x, y: [x * x, x * y]), arguments)[1]
    >>> [(out.is_known(), out.const) for out in outs]
    [(True, 4.0), (False, None)]
    """
    staging = _Unknowns(trace.current(), fun.__name__)
    args = [pval.const if pval.type is None else staging.new_input(_plain(pval.type)) for pval in pvals]
    with trace.entered(staging):
        outs = list(fun.call_wrapped(*args))
        mine = [instantiate or (isinstance(o, StagedTracer) and o.interpreter is staging) for o in outs]
        program, captured = staging.finish([as_array(o) for o, unknown in zip(outs, mine, strict=True) if unknown])
    types = iter(program.output_types)
    found = [
        PartialVal(next(types), None) if unknown else PartialVal(None, o) for o, unknown in zip(outs, mine, strict=True)
    ]
    closed = ClosedJaxpr.of_program(program, captured)
    return closed.jaxpr, found, closed.consts


def _plain(aval: TensorType) -> TensorType:
    """A type of JAX as that of fdl's variables, which equals none of a subclass."""
    return TensorType(aval.shape, aval.dtype)
