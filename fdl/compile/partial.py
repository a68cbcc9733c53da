"""Convolutions whose few outputs are long sums: sums over chunks of the input channels, which threads share.

The gradient by the weights of a first layer is one: its channels are the images of the batch. How many chunks there are
depends on the shapes only, so that bits do not depend on the number of threads.
"""

from dataclasses import replace
from math import prod
from typing import Any

from fdl.compile.affine import Affine
from fdl.compile.build import Build
from fdl.compile.kernels import conv
from fdl.compile.kernels.moves import call_divided
from fdl.compile.loops import Reduce
from fdl.compile.nest import NestEmitter
from fdl.compile.split import combined
from fdl.compile.team import Team
from fdl.core.program import Var
from fdl.core.types import TensorType

#: Chunks, if the channels can be divided evenly; the first is best.
_CHUNKS = (16, 8, 12, 10, 20, 14)
#: No chunks for more outputs than this, for less work, or where the kernel has so many units of work itself.
_OUTPUTS, _FLOPS, _UNITS = 4096, 4_000_000, 8
#: Output features of a tile: what kernels cut the work of a convolution into.
_PANEL = 16


def chunks(operation: Any, x: TensorType, w: TensorType, out: TensorType) -> int:
    """Into how many sums a convolution is divided, its operands having features last; 1 is as it is."""
    channels, outputs = x.shape[-1], out.shape[-1]
    if operation.feature_group_count > 1 or operation.batch_group_count > 1 or out.size > _OUTPUTS:
        return 1
    units = out.shape[1] if x.shape[0] == 1 else -(-outputs // _PANEL) * prod(out.shape[1:-1])
    if units >= _UNITS or 2 * out.size * (w.size // max(1, outputs)) < _FLOPS:
        return 1
    return next((n for n in _CHUNKS if channels % n == 0 and channels >= 2 * n), 1)


def emit_chunks(emitter: Any, step: Any, spec: conv.Convolution, count: int) -> None:
    """Convolve every chunk into the workspace of the step, and add up."""
    emission, build, dtype = emitter.emission, emitter.build, spec.dtype
    team, (out,) = emission.team, step.equation.outputs
    one = replace(spec, in_features=spec.in_features // count)
    kernel = emission.shared(f"{one}", lambda: conv.emit(emission.module, emission.target, one))
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
