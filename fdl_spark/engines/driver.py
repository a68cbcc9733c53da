"""`sync="driver"`: one stage; the parts of the gradient go to the driver, which adds, updates and broadcasts."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fdl_spark.compute.job import Job
from fdl_spark.compute.part import Part, made_whole, received, timings_of, total_of
from fdl_spark.compute.table_gradient import TableGradient
from fdl_spark.compute.update import Leaves
from fdl_spark.data.block import Block
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.engines.common.residuals import Residuals
from fdl_spark.engines.engine import Snapshot
from fdl_spark.engines.stepping import SteppingEngine, Stopwatch, slowest
from fdl_spark.history.outcome import Outcome
from fdl_spark.spark.repeated import Repeated, told
from fdl_spark.spark.wire import pack


class Driver(SteppingEngine):
    """Synchronise through the driver: least overhead for small models."""

    name = "driver"

    def restore(self, snapshot: Snapshot) -> None:
        leaves, self._residuals = self._residuals.restored(snapshot.leaves)
        self.weights, self.leaves, self.done = snapshot.weights, leaves, snapshot.done
        if self._jobs is None and isinstance(self.dataset, RddDataset):
            self._jobs = Repeated(self.dataset.context)
            told_parts = partial(_told_parts, self.lasting(), self._residuals.lasting())
            function = self._jobs.function(told_parts, self.dataset.blocks._jrdd_deserializer)
            self._parts = self._jobs.rdd(function, self.dataset.blocks._jrdd.rdd())

    def state(self) -> Leaves:
        return [*self.leaves, *self._residuals.leaves(self.dataset)]

    def step(self, step: int) -> Outcome:
        watch = Stopwatch()
        if self._jobs is None:
            with self.job(step) as job, self._residuals.shared(self.dataset) as lost:
                watch.lap("broadcast")
                payloads = self.dataset.map(partial(_parts, job, lost))
        else:
            with self._jobs.told([step, *self._residuals.numbers], self.weights, *self._residuals.arrays):
                watch.lap("broadcast")
                payloads = self._jobs.collect(self._parts)
        parts = received(payloads)
        timings = timings_of(parts)
        watch.lap("schedule", forward_backward=slowest(timings))
        total = total_of(parts, self.dataset.schedule.shards)
        watch.lap("collect")
        if not total.bad:
            weights, leaves = self._updated(total)
            lost = self._residuals.taken(step + 1)
            self.weights, self.leaves, self._residuals, self.done = weights, leaves, lost, step + 1
        watch.lap("update")
        return Outcome(total.sums, total.bad, watch.phases, timings)

    def _updated(self, total: Part) -> tuple[np.ndarray, Leaves]:
        """The parameters and the state after a step; what is lazy must see which rows were looked up."""
        tables = self.program.tables
        if tables is not None and tables.lazy:
            factor = self.program.weight_factor(total.sums)
            gradient = total.gradient if factor is None else total.gradient.scaled(factor)
            rows = tables.joined(gradient.tables)
            return tables.flat(*tables.update(*tables.copied(self.weights, self.leaves), gradient.dense, rows))
        whole: Any = made_whole(total.gradient)
        return self.program.updated(self.weights, whole, self.leaves, total.sums)


def _told_parts(job: Job, lost: Residuals, task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    news = told()
    step, *numbers = news.numbers
    return _parts(job.at(step, news.arrays[0]), lost.at(numbers, news.arrays), task, blocks)


def _parts(job: Job, lost: Residuals, task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    for node, part in lost.parts(job, task, blocks, whole=False):
        if isinstance(part.gradient, TableGradient):
            yield pack((node, part), None)
        else:
            yield pack((node, replace(part, gradient=None)), part.gradient)
