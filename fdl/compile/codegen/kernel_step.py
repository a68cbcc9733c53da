"""Steps that are one equation with a kernel: its lowering emits them."""

from typing import Protocol

from fdl.compile.fallback import during
from fdl.compile.ir.steps import KernelStep, LoopNest
from fdl.compile.kernels import lowering_of
from fdl.compile.loopnest.epilogue import as_nest
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.schedule.fuse import is_nothing


class StepEmitter(Emitter, Protocol):
    """An `Emitter` that emits loop nests too."""

    def loops(self, step: LoopNest) -> None:
        """Emit a loop nest."""


def emit_kernel(emitter: StepEmitter, step: KernelStep) -> None:
    """Emit the code of a step, which Python computes if its kernel does not take the operands."""
    if is_nothing(step.equation):
        return
    lowering = lowering_of(step.equation.operation)
    name = "kernels" if step.epilogue is None else "epilogues"
    with during(name):
        with during(name, type(lowering)):
            native = lowering.supports(step)
            if native:
                lowering.emit(emitter, step)
        if not native:
            emitter.host(step)
        if step.epilogue is not None and not (native and lowering.fuses_epilogue(step)):
            # Nobody else knows of the work after the first barrier, so that the step ends with another one.
            emitter.emission.team.barrier()
            emitter.loops(as_nest(step))
            emitter.emission.team.barrier()
