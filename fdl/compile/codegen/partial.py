"""Convolutions as sums over chunks of their input channels, which threads share (`schedule.nested`)."""

from dataclasses import replace
from typing import Any

from fdl.compile.ir.affine import Affine
from fdl.compile.ir.loops import Reduce
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.conv import convolution
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.moves import call_divided
from fdl.compile.llvm.build import Build
from fdl.compile.loopnest.nest import NestEmitter
from fdl.compile.loopnest.team import Team
from fdl.compile.schedule.split import combined
from fdl.core.program import Var
from fdl.core.types import TensorType


def emit_chunks(emitter: Any, step: KernelStep, spec: Convolution, count: int) -> None:
    """Convolve every chunk into the workspace of the step, and add up."""
    emission, build, dtype = emitter.emission, emitter.build, spec.dtype
    team, (out,) = emission.team, step.equation.outputs
    one = replace(spec, in_features=spec.in_features // count)
    kernel = emission.shared(f"{one}", lambda: convolution.emit(emission.module, emission.target, one))
    scratch, partial = emission.scratch_for(kernel.scratch_bytes), emitter.workspace(step.workspace)
    pointers = [*map(emitter.first, step.views), partial]
    distances = one.in_features * spec.x[-1], one.in_features * spec.w[-2], out.type.size
    with build.loop(*team.share(count)) as chunk:
        moved = [build.at(p, chunk * d, dtype) for p, d in zip(pointers, distances, strict=True)]
        kernel.run(build, moved, scratch)
    team.barrier()
    sums, flat = Var(TensorType((count, out.type.size), dtype)), Affine(0, (1,), (out.type.size,))
    loops = combined(Reduce(out, flat, 0, "sum"), sums)

    def fill(build: Build, team: Team, y: Any, source: Any) -> None:
        nest = NestEmitter(build, loops, lambda var: source if var is sums else y)
        whole = team.together and nest.divide(team.share) == 1
        with team.alone() if whole else team.solo():
            nest.emit()

    call_divided(emitter, "total", (count, out.type.size, dtype), [emitter.pointer(out), partial], fill)
