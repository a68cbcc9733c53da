"""Transforms along an axis that is not the last one: neighbouring columns fill the lanes."""

import numpy as np

from fdl.compile.kernels.fourier.factors import pass_factors, radices
from fdl.compile.kernels.fourier.layout import PairLayout
from fdl.compile.kernels.fourier.passes import Ends, run_passes
from fdl.compile.kernels.fourier.stage import Job, Stage, packed
from fdl.compile.llvm.values import Value
from fdl.dtypes import float64, uint64


class Columns(Stage):
    """Columns of matrices; a unit is a group of columns of a matrix.

    Source and target may be the same.

    Args:
        n: the length of a column.
        inner: columns of a matrix.
        outer: matrices.
        layout: of pairs.
        ends: `swap` and `scale`.
    """

    def __init__(self, n: int, inner: int, outer: int, layout: PairLayout, ends: Ends) -> None:
        self.n, self.inner, self.outer, self.layout = n, inner, outer, layout
        self.ends = Ends(layout.lanes, True, ends.swap, ends.scale)
        self.lengths = radices(n) or ()
        self.groups = -(-inner // layout.lanes)
        self.units = outer * self.groups
        self.scratch_bytes = 3 * n * layout.bytes

    @property
    def key(self) -> str:
        return f"columns {self.n} {self.inner} {self.layout} {self.ends}"

    def table(self) -> np.ndarray:
        return np.concatenate([*(packed(t, self.layout.dtype) for t in pass_factors(self.lengths)), super().table()])

    def emit(self, job: Job) -> None:
        build, layout, inner = job.build, self.layout, self.inner
        matrix = build.quotient(job.unit, self.groups)
        first = (job.unit - matrix * self.groups) * layout.lanes
        place = (matrix * (self.n * inner) + first) * 2
        source, target = (build.at(p, place, layout.dtype) for p in (job.source, job.target))

        def whole() -> None:
            run_passes(
                build, job.emission, layout, self.lengths, self.ends, (source, inner), (target, inner), job.table,
                job.room,
            )  # fmt: skip

        def few() -> None:
            """The columns that are left are copied to where there are enough."""
            copy = job.after(job.room, layout, 2 * self.n)
            self._copy(job, (source, inner), (copy, layout.lanes), inner % layout.lanes)
            ends = ((copy, layout.lanes),) * 2
            run_passes(build, job.emission, layout, self.lengths, self.ends, *ends, job.table, job.room)
            self._copy(job, (copy, layout.lanes), (target, inner), inner % layout.lanes)

        if inner % layout.lanes == 0:
            whole()
        elif inner < layout.lanes:
            few()
        else:
            with build.if_else(first + layout.lanes <= inner) as (then, otherwise):
                with then:
                    whole()
                with otherwise:
                    few()

    def _copy(self, job: Job, source: tuple[object, int], target: tuple[object, int], columns: int) -> None:
        build = job.build
        wide = self.layout.dtype == float64
        (a, a_step), (b, b_step) = source, target
        with build.loop(0, self.n) as j, build.loop(0, columns) as c:
            read: Value = j * a_step + c
            written: Value = j * b_step + c
            if wide:
                build.store(build.load(a, float64, read * 2, 2), b, written * 2)
            else:
                build.store(build.load(a, uint64, read), b, written)
