"""`sync="blocks"`: as `shuffle`, but parameters never pass through the driver: tasks read them from the block manager.

    forward-backward, task p --- slice n of its parts ---> synchronise, task n --- sums, times ---> driver
            ^                                                 ^      |
            +------- all slices of the parameters ------------+------+  persisted, on two executors

A forward-backward task depends narrowly on all slices: the Cartesian product of the data's blocks and the slices, which
are joined into one partition, makes Spark fetch what is elsewhere when the task runs, and writes no files. The state of
a slice is zipped to its parts in the same way. Each step's lineage is cut by a local checkpoint: chains of shuffles
would overflow the JVM's stack, and a lost executor would recompute them to the first step. If both copies are lost the
job fails, and the driver goes back to its snapshot, as it does if what shards lost in rounding (`residuals.py`) is.
"""

import pickle
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from pyspark import StorageLevel
from pyspark.serializers import NoOpSerializer, pack_long

from fdl_spark.compute.job import Job
from fdl_spark.compute.update import Leaves, join
from fdl_spark.data.block import Block
from fdl_spark.data.layout import Layout
from fdl_spark.engines.common.kept import Slice
from fdl_spark.engines.common.residuals import Residuals
from fdl_spark.engines.engine import Snapshot
from fdl_spark.engines.shuffle import Answer, RddEngine, gathered, slices_of
from fdl_spark.engines.stepping import Stopwatch, slowest
from fdl_spark.history.outcome import Outcome
from fdl_spark.spark.repeated import Repeated, Told, told
from fdl_spark.spark.wire import Payload, pack, unpack

# Py4J sends a number as java.lang.Long, which the pairs' keys are, only if it does not fit an int.
ANSWER, WEIGHTS, STATE = 1 << 40, (1 << 40) + 1, (1 << 40) + 2


class Blocks(RddEngine):
    """Synchronise through Spark's shuffle and send parameters from executor to executor, as BigDL's task-side broadcast
    does (Dai et al., SoCC 2019, section 3.3): for large models and many executors."""

    name = "blocks"
    _kept: Any = None  # Java pairs of the last step: by tag an answer, the parameters and the state of each slice
    _weights: np.ndarray | None = None  # the parameters and the state, while they are on the driver
    _leaves: Leaves | None = None

    @property
    def weights(self) -> np.ndarray:  # type: ignore[override]
        """The flat parameters after `done` steps; asking brings them to the driver."""
        if self._weights is None:
            arrays = dict(unpack(payload) for payload in self._collected(WEIGHTS))
            self._weights = np.concatenate([arrays[n] for n in range(len(arrays))])
        return self._weights

    def restore(self, snapshot: Snapshot) -> None:
        self._forget()
        leaves, self._residuals = self._residuals.restored(snapshot.leaves)
        self._weights, self._leaves, self.done = snapshot.weights, leaves, snapshot.done
        if self._jobs is None:
            self.layout = Layout.of(leaves)
            self._prepare()

    def _cut(self, weights: np.ndarray, slices: int | None) -> list[int]:
        return super()._cut(weights, slices if self.program.update.elementwise else 1)  # it needs the whole tree

    def state(self) -> Leaves:
        if self._leaves is None:
            packed = dict(unpack(payload) for payload in self._collected(STATE) if payload)
            leaves = [own.layout.views(packed[own.number]) for own in self._slices()]
            self._leaves = join(leaves, [stop - start for start, stop in pairwise(self.cuts)])
        return [*self._leaves, *self._residuals.leaves(self.dataset)]

    def close(self) -> None:
        self._forget()
        super().close()

    def step(self, step: int) -> Outcome:
        watch = Stopwatch()
        assert self._jobs is not None
        jobs, blocks = self._jobs, self.dataset.blocks._jrdd
        seed: list[np.ndarray] = []
        if self._kept is None:
            assert self._weights is not None and self._leaves is not None
            seed = [self._weights, self.layout.pack(self._leaves), *self._residuals.arrays]
        else:
            # Values of pairs name no preferred place, so that a task runs where its block is.
            blocks = blocks.cartesian(jobs.values(self._kept.filterByRange(WEIGHTS, WEIGHTS).coalesce(1)))
        with jobs.told([step, *self._residuals.numbers], *seed):
            watch.lap("broadcast")
            scattered = jobs.pairs(jobs.rdd(self._scatter, blocks.rdd(), True)).asJavaPairRDD()
            together = jobs.values(scattered.partitionBy(self._partitioner))
            if self._kept is not None:
                together = together.zip(jobs.values(self._kept.filterByRange(WEIGHTS, STATE)))
            together = together.rdd()
            kept = self._union_of_one(jobs.pairs(jobs.rdd(self._synchronise, together)).asJavaPairRDD())
            kept.persist(self._level(step))
            try:
                kept.rdd().localCheckpoint()
                payloads = self._collected(ANSWER, kept)
            except BaseException:
                _unpersist(kept)
                raise
            finally:
                with suppress(Exception):
                    together.cleanShuffleDependencies(False)
        answers: list[tuple[Answer, float]] = [unpack(payload)[0] for payload in payloads]
        first = answers[0][0]
        fetch, update = (max(getattr(answer, name) for answer, _ in answers) for name in ("fetch", "update"))
        read = max(seconds for _, seconds in answers)
        watch.lap("schedule", broadcast=read, forward_backward=slowest(first.timings), shuffle=fetch, update=update)
        if first.total.bad:
            _unpersist(kept)
        else:
            before, lost = self._kept, self._residuals.taken(step + 1)
            self._kept, self._weights, self._leaves, self._residuals, self.done = kept, None, None, lost, step + 1
            if before is not None:
                _unpersist(before)
        watch.lap("collect")
        return Outcome(first.total.sums, first.total.bad, watch.phases, first.timings)

    def _prepare(self) -> None:
        """What all steps have in common."""
        self._jobs = Repeated(self.context)
        lasting, lost = self.lasting(), self._residuals.lasting()
        self._scatter = self._jobs.function(partial(_scatter, lasting, lost, self.cuts), NoOpSerializer())
        self._synchronise = self._jobs.function(partial(_update_slice, lasting, self._slices()), NoOpSerializer())
        jvm: Any = self.context._jvm
        self._partitioner = jvm.PythonPartitioner(self.slices, 0)
        self._array_class = jvm.org.apache.spark.api.java.JavaPairRDD

    def _union_of_one(self, pairs: Any) -> Any:
        """The same pairs by an RDD that lets go of its parents when it is checkpointed, which PairwiseRDD does not."""
        rdds = self.context._gateway.new_array(self._array_class, 1)
        rdds[0] = pairs
        return self.context._jsc.union(rdds)

    def _collected(self, tag: int, kept: Any = None) -> list[bytes]:
        """The payloads with one tag, picked inside the JVM."""
        assert self._jobs is not None
        pairs = self._kept if kept is None else kept
        return self._jobs.collect(self._jobs.values(pairs.filterByRange(tag, tag)).rdd())

    def _level(self, step: int) -> Any:
        """Two copies where there are two executors to hold them; the driver is counted too."""
        if self._kept is None or step % LEVEL_STEPS == 0:
            alone = self.context._jsc.sc().getExecutorMemoryStatus().size() < 3
            level = StorageLevel(True, True, False, True, 1 if alone else 2)
            self._java_level = self.context._getJavaStorageLevel(level)
        return self._java_level

    def _forget(self) -> None:
        if self._kept is not None:
            _unpersist(self._kept)
        self._kept = self._weights = self._leaves = None


LEVEL_STEPS = 10  # how often to look whether executors came or went


def _unpersist(pairs: Any) -> None:
    with suppress(Exception):  # what the cluster has lost is free
        pairs.unpersist(False)


def _scatter(job: Job, lost: Residuals, cuts: list[int], task: int, frames: Iterable[bytes]) -> Iterator[Payload]:
    """Slices of the task's parts, and from task 0 an empty frame more for each, so that there are two at least."""
    started, news = time.perf_counter(), told()
    step, *numbers = news.numbers
    block, weights = _block_and_weights(news, cuts, frames)
    read = time.perf_counter() - started
    for node, part in lost.at(numbers, news.arrays).parts(job.at(step, weights), task, [block]):
        yield from slices_of(node, part, cuts, read)
    if task == 0:
        for n in range(len(cuts) - 1):
            yield pack_long(n)
            yield b""


def _block_and_weights(news: Told, cuts: list[int], frames: Iterable[bytes]) -> tuple[Block, np.ndarray]:
    """The task's block, and the parameters: what was told, or the slices that come with the block, each after it."""
    weights = news.arrays[0] if news.arrays else None
    blocks = b""
    for place, frame in enumerate(frames):
        if place % 2 == 0:
            blocks = frame
        else:
            n, array = unpack(frame)
            assert array is not None
            if weights is None:
                weights = np.empty(cuts[-1], array.dtype)
            weights[cuts[n] : cuts[n + 1]] = array
    (block,) = pickle.loads(blocks)
    assert weights is not None
    return block, weights


def _update_slice(job: Job, slices: list[Slice], n: int, frames: Iterable[bytes]) -> Iterator[Payload]:
    """The answer, the new slice and its state, and as many empty frames as make the next step's zip come out even."""
    started, news, own = time.perf_counter(), told(), slices[n]
    arrived = list(frames)
    weights: Any
    packed: Any
    if news.arrays:
        payloads, weights, leaves = arrived, news.arrays[0][own.start : own.stop], own.cut(news.arrays[1])
    else:
        payloads = arrived[::2]
        (_, weights), (_, packed) = unpack(arrived[1]), unpack(arrived[3])
        leaves = own.layout.views(packed)
    count, payloads = len(payloads), [payload for payload in payloads if payload]
    read = max(unpack(payload)[0][2] for payload in payloads)
    total, answer = gathered(job, n, payloads, started)
    before = time.perf_counter()
    if not total.bad:
        program = job.program.compiled()
        weights, leaves = program.updated(weights, total.gradient, leaves, total.sums, own.start)
    answer = replace(answer, update=answer.update + time.perf_counter() - before)
    tagged = [
        (ANSWER, pack((answer, read), None)),
        (WEIGHTS, pack(n, weights)),
        (STATE, pack(n, own.layout.pack(leaves))),
    ]
    for tag, payload in tagged + [(STATE, b"")] * (count - 2):
        yield pack_long(tag)
        yield payload
