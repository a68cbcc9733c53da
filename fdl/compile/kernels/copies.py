"""Copies of blocks: from one strided place to another, as loop nests."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import Affine, strides
from fdl.compile.ir.body import Apply, Constant, Load
from fdl.compile.ir.fusion import Copy
from fdl.compile.ir.loops import Loops, Store
from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.steps import KernelStep, View
from fdl.compile.kernels.kernel import call_divided
from fdl.compile.llvm.build import Build
from fdl.compile.loopnest.nest import NestEmitter
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering
from fdl.core.program import Var
from fdl.core.types import TensorType
from fdl.dtypes import uint8
from fdl.ops import arithmetic

#: How a block is combined with what is there, by the kind of a scatter.
COMBINE = {"add": arithmetic.add, "mul": arithmetic.mul, "min": arithmetic.min_, "max": arithmetic.max_}


class CopyLowering(Lowering[Copy]):
    """A value stored a second time: bytes as they are."""

    operations = (Copy,)
    parallel = True

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        build, size = emitter.build, nbytes(step.outputs[0].type)
        piece = build.target.tuning.copied_bytes
        begin, end = (unit * piece for unit in emitter.emission.team.share(-(-size // piece)))
        places = (emitter.first(step.views[0]), emitter.pointer(step.outputs[0]))
        source, target = (build.at(place, begin, uint8) for place in places)
        emitter.copy(source, target, build.min(end, size) - begin)


def copy_window(
    build: Build, team: Team | None, sizes: Sequence[int], dtype: np.dtype, source: tuple[Any, Sequence[int]] | bytes,
    target: tuple[Any, Sequence[int]], kind: str = "set",
) -> None:  # fmt: skip
    """Copy a strided block, or one element all over a block; or combine what is there with it.

    Args:
        build: where the code goes.
        team: the threads that divide the work; none if there is one.
        sizes: of the block.
        dtype: of its elements.
        source: pointer and strides, or the bytes of an element.
        target: pointer and strides.
        kind: ``set``, or the kind of a scatter.
    """
    axes = sorted((a for a, n in enumerate(sizes) if n != 1), key=lambda a: -abs(target[1][a]))
    extents = tuple(sizes[a] for a in axes)
    if 0 in extents:
        return

    def affine(steps: Sequence[int]) -> Affine:
        return Affine(0, tuple(steps[a] for a in axes), extents)

    read, written = Var(TensorType((), dtype)), Var(TensorType((), dtype))
    to = affine(target[1])
    given = Constant(source, dtype) if isinstance(source, bytes) else Load(read, affine(source[1]), ())
    instructions: list[Any] = [given]
    if kind != "set":
        instructions += [Load(written, to, ()), Apply(COMBINE[kind], (1, 0), dtype)]
    stores = (Store(written, to, len(instructions) - 1),)
    loops = Loops(extents, (False,) * len(extents), tuple(instructions), stores, ()).collapsed()
    nest = NestEmitter(build, loops, lambda var: source[0] if var is read else target[0])
    whole = team is not None and team.together and nest.divide(team.share) == 1
    with team.alone() if team is not None and whole else nullcontext():
        nest.emit()


def copy_operand(emitter: Emitter, x: View, out: Var) -> None:
    """Copy the operand into the result, unless the result took over its memory."""
    if emitter.in_place(x, out):
        return

    def fill(build: Build, team: Team, y: ir.Value, source: ir.Value) -> None:
        copy_window(build, team, x.type.shape, x.type.dtype, (source, x.strides), (y, strides(x.type.shape)))

    call_divided(emitter, "copy", (x.type, x.strides), [emitter.pointer(out), emitter.first(x)], fill)
    emitter.emission.team.barrier()
