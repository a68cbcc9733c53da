"""Steps that are one equation: control flow, kernels, and host calls for everything else."""

from typing import Any

from fdl.compile import control
from fdl.compile.buffers import SingleStep


def emit_single(emitter: Any, step: SingleStep) -> None:
    """Emit the code of a step."""
    if all(v.type.size == 0 for v in step.outputs) and not step.equation.operation.effect:
        return
    emit = control.EMITTERS.get(step.equation.operation.name) if step.plans else None
    if emit is not None:
        emit(emitter, step)
    else:
        emitter.host(step)
