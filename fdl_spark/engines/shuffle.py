"""`sync="shuffle"`: a job of two stages; gradients are reduce-scattered by Spark's shuffle and updated slice by slice.

    forward-backward, task p --- slice n of its parts ---> synchronise, task n --- new weights ---> driver, broadcast
                                                            ^      |
                                         the slice's state  +------+  a file on the executor, from step to step

Spark runs task n where the state of slice n is, because a cached RDD has its partition n there (its home). If the
state is lost, with its executor or because the task had to run elsewhere, the driver goes back to its snapshot.

What a step asks of the JVM is kept small, as each question takes as long as adding up some ten thousand numbers: the
functions are pickled once, and only the shuffle is made anew, since its number must never be used twice: old gradients
would be taken for new ones.
"""

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

from fdl_spark.classic import SparkContext
from fdl_spark.data.blocks import Block, RddDataset
from fdl_spark.data.shards import owned
from fdl_spark.engines.engine import Outcome, SteppingEngine, Stopwatch, slowest
from fdl_spark.engines.kept import Kept, Layout
from fdl_spark.repeated import Repeated, told
from fdl_spark.tree_sum import cover, gather
from fdl_spark.update import Leaves, join
from fdl_spark.wire import Payload, pack, raw_output, unpack
from fdl_spark.worker import Job, Part, Timing, forward_backward


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

    @property
    def context(self) -> SparkContext:
        """Where the data is."""
        return self.dataset.context


class Shuffle(RddEngine):
    """Synchronise through Spark's shuffle, as BigDL does (Dai et al., SoCC 2019, section 3.3)."""

    name = "shuffle"
    _jobs: Repeated | None = None
    _leaves: Leaves | None = None  # the state, while it is on the driver
    _branch = 0
    _homes: Any = None  # an RDD of empty frames

    def restore(self, weights: np.ndarray, leaves: Leaves, done: int) -> None:
        self.weights, self._leaves, self.done = weights, leaves, done
        self._branch += 1
        if self._jobs is None:
            self.layout = Layout.of(leaves)
            self._prepare()

    def state(self) -> Leaves:
        if self._leaves is not None:
            return self._leaves
        read = partial(_read, [self._slice(n) for n in range(self.slices)], self._branch, self.done)
        packed = raw_output(self._homes, read).collect()
        leaves = [self._slice(n).layout.views(np.frombuffer(one, np.uint8)) for n, one in enumerate(packed)]
        return join(leaves, [stop - start for start, stop in pairwise(self.cuts)])

    def renew(self) -> None:
        self._forget_jobs()
        super().renew()

    def close(self) -> None:
        self._forget_jobs()
        super().close()

    def step(self, step: int) -> Outcome:
        watch = Stopwatch()
        assert self._jobs is not None
        arrays = [self.weights] if self._leaves is None else [self.weights, self.layout.pack(self._leaves)]
        with self._jobs.told([step, self._branch], *arrays):
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
        if self._homes is None:
            if not first.total.bad:
                weights, leaves = self.program.update(self.weights, result, self._leaves)
                self.weights, self._leaves, self.done = weights, leaves, step + 1
            watch.lap("update")
        elif not first.total.bad or self.skip:
            self.weights, self._leaves, self.done = result, None, step + 1
        return Outcome(first.total.sums, first.total.bad, watch.phases, first.timings)

    def _prepare(self) -> None:
        """What all steps have in common."""
        schedule, tasks = self.dataset.schedule, self.dataset.tasks
        self._jobs, count = Repeated(self.context), self.slices
        scatter = self._jobs.function(
            partial(_scatter, self.lasting(), self.cuts), self.dataset.blocks._jrdd_deserializer
        )
        parts = self._jobs.rdd(scatter, self.dataset.blocks._jrdd.rdd(), True)
        self._scattered = self._jobs.pairs(parts).asJavaPairRDD()
        self._partitioner = self.context._jvm.PythonPartitioner(count, 0)
        if self.program.update.elementwise:
            synchronise = partial(_update_slice, self.lasting(), [self._slice(n) for n in range(count)])
            frames = sum(
                len(list(cover(owned(task, tasks, schedule.shards), schedule.shards))) for task in range(tasks)
            )
            self._homes = raw_output(self.context.parallelize(range(count), count), partial(_empty, frames))
            self._homes.persist(StorageLevel.MEMORY_AND_DISK)
            self._homes._jrdd.count()
        else:
            synchronise = partial(_sum_slice, self.lasting())
        self._synchronise = self._jobs.function(synchronise, NoOpSerializer())

    def _forget_jobs(self) -> None:
        if self._jobs is not None:
            self._jobs.close()
        if self._homes is not None:
            with suppress(Exception):  # what the cluster has lost is free
                self._homes.unpersist()
        self._jobs = self._homes = None

    def _slice(self, n: int) -> Kept:
        start, stop = self.cuts[n], self.cuts[n + 1]
        return Kept(self.dataset.name, n, start, stop, self.cuts[-1], self.layout)


def _scatter(job: Job, cuts: list[int], task: int, blocks: Iterable[Block]) -> Iterator[Payload]:
    news = told()
    for node, part in forward_backward(job.at(news.numbers[0], news.arrays[0]), task, blocks):
        header = node, replace(part, gradient=None)
        for n, (start, stop) in enumerate(pairwise(cuts)):
            yield pack_long(n)
            yield pack(header, None if part.gradient is None else part.gradient[start:stop])


def gathered(job: Job, n: int, payloads: Iterable[bytes], started: float) -> tuple[Part, Answer]:
    """Slice n of the sum over all shards, and the answer so far."""
    parts = {}
    for payload in payloads:
        (node, part, *_), gradient = unpack(payload)
        parts[node] = replace(part, gradient=gradient)
    fetched = time.perf_counter()
    timings = tuple(part.timing for part in parts.values() if part.timing)
    total = gather(parts, job.schedule.shards, Part.add, Part())
    return total, Answer(n, replace(total, gradient=None), timings, fetched - started, time.perf_counter() - fetched)


def _sum_slice(job: Job, n: int, payloads: Iterable[bytes]) -> Iterator[bytes]:
    total, answer = gathered(job, n, payloads, time.perf_counter())
    yield pack(answer, total.gradient)


def _update_slice(job: Job, kept: list[Kept], n: int, frames: Iterable[bytes]) -> Iterator[bytes]:
    """The new slice; its state stays here."""
    news, own = told(), kept[n]
    step, branch = news.numbers
    total, answer = gathered(job, n, filter(None, frames), time.perf_counter())  # homes are empty frames
    before = time.perf_counter()
    weights, *seed = news.arrays
    weights = weights[own.start : own.stop]
    if seed:
        own.forget()
        leaves = own.cut(seed[0])
    else:
        leaves = own.read(branch, step)
    if not total.bad:
        weights, leaves = job.program.compiled().update(weights, total.gradient, leaves)
    own.write(branch, step + 1, leaves)
    answer = replace(answer, update=answer.update + time.perf_counter() - before)
    yield pack(answer, weights)


def _read(kept: list[Kept], branch: int, step: int, n: int, frames: Iterable[bytes]) -> Iterator[Payload]:
    for _ in frames:  # a task that leaves some of its input unread loses its worker
        pass
    yield kept[n].layout.pack(kept[n].read(branch, step)).data


def _empty(count: int, n: int, numbers: Iterable[int]) -> Iterator[bytes]:
    for _ in numbers:
        pass
    yield from [b""] * count
