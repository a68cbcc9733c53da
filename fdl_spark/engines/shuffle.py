"""`sync="shuffle"`: a job of two stages; gradients are reduce-scattered by Spark's shuffle and updated slice by slice.

    forward-backward, task p --- slice n of its parts ---> synchronise, task n --- new weights ---> driver, broadcast
                                                            ^      |
                                         the slice's state  +------+  persisted between the steps, on two executors

The state of step t-1 is zipped to the shuffled parts of step t inside the JVM, so it never leaves the executors. Each
step's lineage is cut by a local checkpoint: chains of shuffles would overflow the JVM's stack, and a lost executor
would recompute them to the first step. If both copies are lost the job fails, and the driver goes back to its snapshot.
"""

import pickle
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.serializers import pack_long

from fdl_spark.broadcasts import lend
from fdl_spark.classic import Broadcast, SparkContext
from fdl_spark.data.blocks import Block, RddDataset
from fdl_spark.engines.engine import Outcome, SteppingEngine, Stopwatch, slowest
from fdl_spark.tree_sum import gather
from fdl_spark.update import Leaves, cut, join
from fdl_spark.wire import pack, raw_input, raw_output, raw_shuffle, tagged, unpack
from fdl_spark.worker import Job, Part, Timing, destroy, forward_backward

SLICE_BYTES = 1 << 20  # smaller ones cost more in shuffle blocks than they save
ALIGNMENT = 1024  # elements: slices start where whole vectors of the compiled loops do
# Py4J sends a number as java.lang.Long, which the pairs' keys are, only if it does not fit an int.
WEIGHTS, STATE = 1 << 40, (1 << 40) + 1


@dataclass(frozen=True)
class Answer:
    """What a synchronise task tells the driver along with its slice of the new parameters (or of the gradient)."""

    slice: int
    total: Part
    timings: tuple[Timing, ...]
    fetch: float
    update: float


class Shuffle(SteppingEngine):
    """Synchronise through Spark's shuffle, as BigDL does (Dai et al., SoCC 2019, section 3.3)."""

    name = "shuffle"
    dataset: RddDataset
    _kept: Any = None  # Java pairs of the last step, which hold the state
    _leaves: Leaves | None = None  # the state, while it is on the driver

    @property
    def context(self) -> SparkContext:
        """Where the data is."""
        return self.dataset.context

    def restore(self, weights: np.ndarray, leaves: Leaves, done: int) -> None:
        self._forget()
        self.weights, self._leaves, self.done = weights, leaves, done
        self.cuts = slices(weights.size, weights.itemsize, self.dataset.tasks)

    def state(self) -> Leaves:
        if self._leaves is not None:
            return self._leaves
        kept = raw_input(_with_tag(self.context, self._kept, STATE), self.context).collect()
        slices_of = dict(pickle.loads(payload) for payload in kept if payload)
        lengths = [stop - start for start, stop in pairwise(self.cuts)]
        return join([slices_of[n] for n in range(len(lengths))], lengths)

    def close(self) -> None:
        self._forget()
        super().close()

    def step(self, step: int) -> Outcome:
        watch = Stopwatch()
        reduce = self._update_slices if self.program.update.elementwise else self._sum_slices
        with self.job(step) as job:
            watch.lap("broadcast")
            parts = raw_shuffle(self.dataset.blocks, partial(_scatter, job, self.cuts), len(self.cuts) - 1)
            try:
                payloads = reduce(job, parts)
            finally:
                with suppress(Exception):
                    parts.rdd().cleanShuffleDependencies(False)
        answers = sorted((unpack(payload) for payload in payloads), key=lambda answer: answer[0].slice)
        first: Answer = answers[0][0]
        fetch, update = (max(getattr(answer, name) for answer, _ in answers) for name in ("fetch", "update"))
        watch.lap("schedule", forward_backward=slowest(first.timings), shuffle=fetch, update=update)
        result = np.concatenate([array for _, array in answers])
        watch.lap("collect")
        if self.program.update.elementwise:
            self.weights = result
        elif not first.total.bad and self._leaves is not None:
            self.weights, self._leaves = self.program.update(self.weights, result, self._leaves)
            watch.lap("update")
        return Outcome(first.total.sums, first.total.bad, watch.phases, first.timings)

    def _sum_slices(self, job: Job, parts: Any) -> list[bytes]:
        return raw_output(raw_input(parts, self.context), partial(_sum_slice, job)).collect()

    def _update_slices(self, job: Job, parts: Any) -> list[bytes]:
        previous, seed = self._kept, None
        if self._leaves is not None:
            seed = lend(self.context, self._leaves)
        else:
            parts = parts.zip(_with_tag(self.context, previous, STATE))
        update = partial(_update_slice, job, self.cuts, seed)
        kept = _union_of_one(self.context, tagged(raw_input(parts, self.context).mapPartitionsWithIndex(update)))
        kept.persist(self.context._getJavaStorageLevel(self._level()))
        try:
            kept.rdd().localCheckpoint()
            payloads = raw_input(_with_tag(self.context, kept, WEIGHTS), self.context).collect()
        except BaseException:
            _unpersist(kept)
            raise
        finally:
            if seed is not None:
                destroy(seed)
        self._forget()
        self._kept = kept
        return payloads

    def _level(self) -> StorageLevel:
        """Two copies where there are two executors to hold them (the driver is counted too)."""
        alone = self.context._jsc.sc().getExecutorMemoryStatus().size() < 3
        return StorageLevel.MEMORY_AND_DISK if alone else StorageLevel.MEMORY_AND_DISK_2

    def _forget(self) -> None:
        if self._kept is not None:
            _unpersist(self._kept)
        self._kept = self._leaves = None


def _unpersist(pairs: Any) -> None:
    with suppress(Exception):  # what the cluster has lost is free
        pairs.unpersist(False)


def slices(size: int, itemsize: int, tasks: int, least: int | None = None) -> list[int]:
    """Where to cut the flat vector: at most one slice a task, none much smaller than `least` (SLICE_BYTES) bytes.

    >>> slices(1_000_000, 4, 2)
    [0, 500736, 1000000]
    """
    count = max(1, min(tasks, size * itemsize // (least or SLICE_BYTES)))
    length = -(-size // (count * ALIGNMENT)) * ALIGNMENT
    return [*range(0, size, length), size] if size else [0, 0]


def _union_of_one(context: SparkContext, pairs: Any) -> Any:
    """The same pairs by an RDD that lets go of its parents when it is checkpointed, which PairwiseRDD does not."""
    rdds = context._gateway.new_array(context._jvm.org.apache.spark.api.java.JavaPairRDD, 1)
    rdds[0] = pairs
    return context._jsc.union(rdds)


def _with_tag(context: SparkContext, pairs: Any, tag: int) -> Any:
    """The payloads with one tag, picked inside the JVM."""
    return context._jvm.PythonRDD.valueOfPair(pairs.filterByRange(tag, tag))


def _scatter(job: Job, cuts: list[int], task: int, blocks: Iterable[Block]) -> Iterator[tuple[int, bytes]]:
    for node, part in forward_backward(job, task, blocks):
        header = node, replace(part, gradient=None)
        for n, (start, stop) in enumerate(pairwise(cuts)):
            yield n, pack(header, None if part.gradient is None else part.gradient[start:stop])


def _gathered(job: Job, n: int, payloads: Iterable[bytes], started: float) -> tuple[Part, Answer]:
    """Slice n of the sum over all shards, and the answer so far."""
    parts = {}
    for payload in payloads:
        (node, part), gradient = unpack(payload)
        parts[node] = replace(part, gradient=gradient)
    fetched = time.perf_counter()
    timings = tuple(part.timing for part in parts.values() if part.timing)
    total = gather(parts, job.schedule.shards, Part.add, Part())
    return total, Answer(n, replace(total, gradient=None), timings, fetched - started, time.perf_counter() - fetched)


def _sum_slice(job: Job, n: int, payloads: Iterable[bytes]) -> Iterator[bytes]:
    total, answer = _gathered(job, n, payloads, time.perf_counter())
    yield pack(answer, total.gradient)


def _update_slice(
    job: Job, cuts: list[int], seed: Broadcast | None, n: int, frames: Iterable[bytes]
) -> Iterator[bytes]:
    """The new slice and its state, and as many empty frames as make the next step's zip come out even."""
    started = time.perf_counter()
    start, stop = cuts[n], cuts[n + 1]
    if seed is None:
        together = list(frames)
        payloads, leaves = together[::2], next(pickle.loads(state)[1] for state in together[1::2] if state)
    else:
        payloads, leaves = list(frames), cut(seed.value, cuts[-1], start, stop)
    total, answer = _gathered(job, n, payloads, started)
    before = time.perf_counter()
    assert job.weights is not None
    weights = job.weights.value[start:stop]
    if not total.bad:
        weights, leaves = job.program.compiled().update(weights, total.gradient, leaves)
    answer = replace(answer, update=answer.update + time.perf_counter() - before)
    states = [pickle.dumps((n, leaves), protocol=5)] + [b""] * (len(payloads) - 1)
    for tag, payload in ((WEIGHTS, pack(answer, weights)), *((STATE, state) for state in states)):
        yield pack_long(tag)
        yield payload
