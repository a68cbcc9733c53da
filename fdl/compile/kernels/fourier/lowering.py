"""Which transforms have kernels, and the stages that they are made of."""

from collections.abc import Sequence
from math import log2, prod

from fdl.compile.ir.plan import aligned
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.fourier.columns import Columns
from fdl.compile.kernels.fourier.factors import radices
from fdl.compile.kernels.fourier.large import First, Second, split
from fdl.compile.kernels.fourier.layout import PairLayout
from fdl.compile.kernels.fourier.passes import Ends
from fdl.compile.kernels.fourier.real import LongRealSpectrum
from fdl.compile.kernels.fourier.rows import ManyRows, OneRow
from fdl.compile.kernels.fourier.stage import Job, Stage
from fdl.compile.kernels.kernel import Kernel, kernel_function, run_kernel
from fdl.compile.llvm.target import host_target
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Types
from fdl.core.types import TensorType
from fdl.dtypes import complex64, float32, float64
from fdl.ops.fft import Fft

#: A stage, and where its operand and its result are: "in", "out", or the number of a workspace.
Placed = tuple[Stage, str | int, str | int]

#: Points of a row that is transformed as one; the tables of longer ones would be large.
SHORT = 1 << 14

#: Points of columns, and of rows that cannot be taken apart: more would need much memory for each thread.
LONG = 1 << 16


class FftLowering(Lowering[Fft]):
    """Transforms of lengths without large prime factors."""

    operations = (Fft,)
    parallel = True

    def flops(self, operation: Fft, operands: Types, results: Types) -> int:
        points = max(operands[0].size, results[0].size)
        return int(5 * points * log2(max(prod(operation.lengths), 2)))

    def supports(self, step: KernelStep) -> bool:
        return step.views[0].type.size > 0 and self._stages(step) is not None

    def workspace_bytes(self, step: KernelStep) -> int:
        if not step.views[0].type.size:
            return 0
        stages = self._stages(step) or []
        places = [place for _, *ends in stages for place in ends if isinstance(place, int)]
        return (max(places, default=-1) + 1) * _room(step)

    def _stages(self, step: KernelStep) -> Sequence[Placed] | None:
        type, result = step.views[0].type, step.equation.operation.result(step.views[0].type)
        dtype = float32 if complex64 in (type.dtype, result.dtype) else float64
        return stages_of(self.operation(step), type, PairLayout(dtype, host_target().lanes(dtype)))

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        emission, room = emitter.emission, _room(step)

        def pointer(place: str | int) -> object:
            if isinstance(place, int):
                return emitter.workspace(step.workspace + place * room)
            return emitter.first(step.views[0]) if place == "in" else emitter.pointer(step.outputs[0])

        for number, (stage, source, target) in enumerate(self._stages(step) or []):
            if number:
                emission.team.barrier()

            def make(stage: Stage = stage, same: bool = source == target) -> Kernel:
                build = kernel_function(emission.module, emission.target, "fourier", 3 if same else 4)
                *ends, table, exact, scratch, _, _ = build.function.args
                with build.loop(build.argument(-2, "int64"), build.argument(-1, "int64")) as unit:
                    stage.emit(Job(build, emission, ends[0], ends[-1], table, exact, scratch, unit))
                build.ret()
                return Kernel(build.function, stage.scratch_bytes, stage.units)

            ends = [pointer(source)] if source == target else [pointer(source), pointer(target)]
            tables = [emission.constant(t) for t in (stage.table(), stage.exact())]
            run_kernel(emitter, f"fourier {stage.key} {stage.units} {source == target}", make, [*ends, *tables])


def _room(step: KernelStep) -> int:
    """Bytes of one workspace: enough for operand and result."""
    result = step.equation.operation.result(step.views[0].type)
    return aligned(max(t.size * t.dtype.itemsize for t in (step.views[0].type, result)))


def stages_of(operation: Fft, type: TensorType, layout: PairLayout) -> Sequence[Placed] | None:
    """The stages of a transform of numbers of a type; None if there are none for its lengths."""
    *others, last = operation.lengths
    real = operation.kind if operation.kind.startswith(("r", "ir")) else ""
    backward = operation.kind.startswith("i")
    scale = 1 / prod(operation.lengths) if backward else 1.0
    if real == "irfft" and last % 2 == 0:
        scale = 2 / prod(operation.lengths)  # of a complex transform that is half as long
    if any(radices(n) is None for n in (*others, last)) or max(others, default=0) > LONG:
        return None
    axes = type.shape[type.ndim - len(operation.lengths) :]
    count = prod(type.shape[: type.ndim - 1])
    plain, final = Ends(swap=backward), Ends(swap=backward, scale=scale)
    inner = last // 2 + 1 if real else last
    columns: list[tuple[int, int, int]] = []
    for axis in reversed(range(len(others))):
        outer = prod(type.shape[: type.ndim - len(operation.lengths) + axis])
        columns.append((others[axis], inner, outer))
        inner *= axes[axis]
    if real == "irfft":
        before = [(Columns(n, i, o, layout, plain), "in" if k == 0 else 0, 0) for k, (n, i, o) in enumerate(columns)]
        rows = _rows(last, count, layout, final, real, (0 if columns else "in", "out"), len(columns[:1]))
        return None if rows is None else [*before, *rows]
    rows = _rows(last, count, layout, plain if columns else final, real, ("in", "out"), 0)
    if rows is None:
        return None
    behind: list[Placed] = []
    for k, (n, i, o) in enumerate(columns):
        ends = final if k == len(columns) - 1 else plain
        behind.append((Columns(n, i, o, layout, ends), "out", "out"))
    return [*rows, *behind]


def _rows(
    points: int, count: int, layout: PairLayout, ends: Ends, real: str, places: tuple[str | int, str | int], free: int
) -> list[Placed] | None:
    """The stages of the last axis; workspaces from number `free` on may be used."""
    source, target = places
    n = points // 2 if real else points
    parts = None if real and points % 2 else split(n, layout.lanes)
    if n <= SHORT or parts is None:
        kind = OneRow if OneRow.fits(points, layout, real) else ManyRows
        stage = kind(points, count, layout, ends, real)
        return [(stage, source, target)] if n <= LONG else None
    middle = free
    stages: list[Placed] = []
    if real == "irfft":
        stages.append((LongRealSpectrum(n, count, layout, True), source, free + 1))
        source = free + 1
    last = free + 1 if real == "rfft" else target
    stages.append((First(parts, count, layout, ends.swap), source, middle))
    stages.append((Second(parts, count, layout, ends), middle, last))
    if real == "rfft":
        stages.append((LongRealSpectrum(n, count, layout, False), last, target))
    return stages
