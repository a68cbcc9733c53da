"""`sync="shuffle"`: a job of two stages; gradients are reduce-scattered by Spark's shuffle and updated slice by slice.

    forward-backward, task p --- slice n of its parts ---> synchronise, task n --- new weights ---> driver, broadcast
                                                            ^      |
                                         the slice's state  +------+  a file on the executor, from step to step

Spark runs task n where the state of slice n is, because a cached RDD has its partition n there (its home). If the
state is lost, with its executor or because the task had to run elsewhere, the driver goes back to its snapshot. What
shards lose when gradients are rounded is kept in the same way where forward-backward runs (`residuals.py`).

What a step asks of the JVM is kept small, as each question takes as long as adding up some ten thousand numbers: the
functions are pickled once, and only the shuffle is made anew, since its number must never be used twice: old gradients
would be taken for new ones.
"""

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.serializers import NoOpSerializer, pack_long

from fdl_spark.compute.job import Job
from fdl_spark.compute.part import Part, nodes_of, received, sliced, timings_of, total_of
from fdl_spark.compute.tree_sum import Node
from fdl_spark.compute.update import Leaves, join
from fdl_spark.data.block import Block
from fdl_spark.data.layout import Layout
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.engines.common.kept import Kept, Slice
from fdl_spark.engines.common.residuals import Residuals
from fdl_spark.engines.engine import Snapshot
from fdl_spark.engines.stepping import SteppingEngine, Stopwatch, slowest
from fdl_spark.history.outcome import Outcome, Timing
from fdl_spark.spark.classic import SparkContext
from fdl_spark.spark.repeated import Repeated, told
from fdl_spark.spark.wire import Payload, pack, raw_output, unpack


@dataclass(frozen=True)
class Answer:
    """What a synchronise task tells the driver along with its slice of the new parameters (or of the gradient)."""

    slice: int
    total: Part
    timings: tuple[Timing, ...]
    fetch: float
    update: float


class RddEngine(SteppingEngine):
    """An engine on the RDDs of a classic session."""

    dataset: RddDataset
    layout: Layout  # of the optimizer's state

    @property
    def context(self) -> SparkContext:
        """Where the data is."""
        return self.dataset.context

    def _slices(self) -> list[Slice]:
        size = self.cuts[-1]
        return [Slice(n, *bounds, size, self.layout) for n, bounds in enumerate(pairwise(self.cuts))]


class Shuffle(RddEngine):
    """Synchronise through Spark's shuffle, as BigDL does (Dai et al., SoCC 2019, section 3.3)."""

    name = "shuffle"
    _leaves: Leaves | None = None  # the optimizer's state, while it is on the driver
    _homes: Any = None  # an RDD of empty frames

    def restore(self, snapshot: Snapshot) -> None:
        leaves, self._residuals = self._residuals.restored(snapshot.leaves)
        self.weights, self._leaves, self.done = snapshot.weights, leaves, snapshot.done
        if self._jobs is None:
            self.layout = Layout.of(leaves)
            self._prepare()

    def state(self) -> Leaves:
        return [*self._optimizer_leaves(), *self._residuals.leaves(self.dataset)]

    def _optimizer_leaves(self) -> Leaves:
        if self._leaves is not None:
            return self._leaves
        packed = raw_output(self._homes, partial(_read, self._keeps, self._residuals.branch, self.done)).collect()
        leaves = [
            kept.layout.views(np.frombuffer(one, np.uint8)) for kept, one in zip(self._keeps, packed, strict=True)
        ]
        return join(leaves, [stop - start for start, stop in pairwise(self.cuts)])

    def step(self, step: int) -> Outcome:
        watch = Stopwatch()
        assert self._jobs is not None
        seed = [] if self._leaves is None else [self.layout.pack(self._leaves)]
        arrays = [self.weights, *seed, *self._residuals.arrays]
        with self._jobs.told([step, len(seed), *self._residuals.numbers], *arrays):
            watch.lap("broadcast")
            shuffled = self._jobs.values(self._scattered.partitionBy(self._partitioner))
            together = (shuffled if self._homes is None else self._homes._jrdd.zip(shuffled)).rdd()
            try:
                payloads = self._jobs.collect(self._jobs.rdd(self._synchronise, together))
            finally:
                with suppress(Exception):
                    together.cleanShuffleDependencies(False)
        answers = sorted((unpack(payload) for payload in payloads), key=lambda answer: answer[0].slice)
        first: Answer = answers[0][0]
        fetch, update = (max(getattr(answer, name) for answer, _ in answers) for name in ("fetch", "update"))
        watch.lap("schedule", forward_backward=slowest(first.timings), shuffle=fetch, update=update)
        result: Any = np.concatenate([array for _, array in answers]) if len(answers) > 1 else answers[0][1]
        watch.lap("collect")
        bad = bool(first.total.bad)
        lost = self._residuals if bad else self._residuals.taken(step + 1)
        if self._homes is None:
            if not bad:
                assert self._leaves is not None
                weights, leaves = self.program.updated(self.weights, result, self._leaves, first.total.sums)
                self.weights, self._leaves, self._residuals, self.done = weights, leaves, lost, step + 1
            watch.lap("update")
        elif not bad or self.skip:
            self.weights, self._leaves, self._residuals, self.done = result, None, lost, step + 1
        return Outcome(first.total.sums, first.total.bad, watch.phases, first.timings)

    def _prepare(self) -> None:
        """What all steps have in common."""
        tasks = self.dataset.tasks
        self._jobs, count = Repeated(self.context), self.slices
        scatter = self._jobs.function(
            partial(_scatter, self.lasting(), self._residuals.lasting(), self.cuts),
            self.dataset.blocks._jrdd_deserializer,
        )
        parts = self._jobs.rdd(scatter, self.dataset.blocks._jrdd.rdd(), True)
        self._scattered = self._jobs.pairs(parts).asJavaPairRDD()
        self._partitioner = self.context._jvm.PythonPartitioner(count, 0)
        if self.program.update.elementwise:
            key = secrets.token_bytes(32) if self.dataset.encrypts_files() else None
            slices = self._slices()
            self._keeps = [Kept(self.dataset.name, f"slice {n.number}", n.layout, key) for n in slices]
            synchronise = partial(_update_slice, self.lasting(), slices, self._keeps)
            shards, rounded = self.dataset.schedule.shards, self.program.rounded
            frames = sum(len(nodes_of(task, tasks, shards, rounded)) for task in range(tasks))
            self._homes = raw_output(self.context.parallelize(range(count), count), partial(_empty, frames))
            self._homes.persist(StorageLevel.MEMORY_AND_DISK)
            self._homes._jrdd.count()
        else:
            synchronise = partial(_sum_slice, self.lasting())
        self._synchronise = self._jobs.function(synchronise, NoOpSerializer())

    def _forget_jobs(self) -> None:
        super()._forget_jobs()
        if self._homes is not None:
            with suppress(Exception):  # what the cluster has lost is free
                self._homes.unpersist()
        self._homes = None


def _scatter(job: Job, lost: Residuals, cuts: list[int], task: int, blocks: Iterable[Block]) -> Iterator[Payload]:
    news = told()
    step, _, *numbers = news.numbers
    for node, part in lost.at(numbers, news.arrays).parts(job.at(step, news.arrays[0]), task, blocks):
        yield from slices_of(node, part, cuts)


def slices_of(node: Node, part: Part, cuts: list[int], *more: Any) -> Iterator[Payload]:
    """The slices of a part, each after its number; `more` goes along."""
    for n, payload in sliced(node, part, cuts, *more):
        yield pack_long(n)
        yield payload


def gathered(job: Job, n: int, payloads: Iterable[bytes], started: float) -> tuple[Part, Answer]:
    """Slice n of the sum over all shards, and the answer so far."""
    parts = received(payloads)
    fetched = time.perf_counter()
    total = total_of(parts, job.schedule.shards)
    added = time.perf_counter()
    return total, Answer(n, replace(total, gradient=None), timings_of(parts), fetched - started, added - fetched)


def _sum_slice(job: Job, n: int, payloads: Iterable[bytes]) -> Iterator[bytes]:
    total, answer = gathered(job, n, payloads, time.perf_counter())
    yield pack(answer, total.gradient)


def _update_slice(job: Job, slices: list[Slice], keeps: list[Kept], n: int, frames: Iterable[bytes]) -> Iterator[bytes]:
    """The new slice; its state stays here."""
    news, own, kept = told(), slices[n], keeps[n]
    step, seeded, branch, _ = news.numbers
    total, answer = gathered(job, n, filter(None, frames), time.perf_counter())  # homes are empty frames
    before = time.perf_counter()
    weights = news.arrays[0][own.start : own.stop]
    leaves = own.cut(news.arrays[1]) if seeded else kept.read(branch, step)
    if not total.bad:
        program = job.program.compiled()
        weights, leaves = program.updated(weights, total.gradient, leaves, total.sums, own.start)
    kept.write(branch, step + 1, leaves, step)
    answer = replace(answer, update=answer.update + time.perf_counter() - before)
    yield pack(answer, weights)


def _read(keeps: list[Kept], branch: int, step: int, n: int, frames: Iterable[bytes]) -> Iterator[Payload]:
    for _ in frames:  # a task that leaves some of its input unread loses its worker
        pass
    yield keeps[n].layout.pack(keeps[n].read(branch, step)).data


def _empty(count: int, n: int, numbers: Iterable[int]) -> Iterator[bytes]:
    for _ in numbers:
        pass
    yield from [b""] * count
