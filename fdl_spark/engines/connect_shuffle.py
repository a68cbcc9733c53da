"""`sync="shuffle"` over Spark Connect: a query of two stages; slices of gradients meet, and the driver updates.

    forward-backward, task p --- slice n of its parts ---> sum, task n --- slice n of the gradient ---> driver

The tasks need not reach each other. What the driver would send or receive is as long whether the executors or the
driver update, and a state that the driver holds is never lost with an executor, nor read for a snapshot.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from fdl_spark.compute.job import Job
from fdl_spark.compute.part import received, sliced, timings_of, total_of
from fdl_spark.compute.update import Leaves
from fdl_spark.data.block import Block
from fdl_spark.data.connect_dataset import ConnectDataset
from fdl_spark.engines.common.residuals import Residuals
from fdl_spark.engines.engine import Snapshot
from fdl_spark.engines.stepping import SteppingEngine, Stopwatch, slowest
from fdl_spark.history.outcome import Outcome
from fdl_spark.spark.wire import pack, unpack


class ConnectShuffle(SteppingEngine):
    """Sum the gradients slice by slice on the executors, and update on the driver."""

    name = "shuffle"
    dataset: ConnectDataset

    def restore(self, snapshot: Snapshot) -> None:
        leaves, self._residuals = self._residuals.restored(snapshot.leaves)
        self.weights, self.leaves, self.done = snapshot.weights, leaves, snapshot.done

    def state(self) -> Leaves:
        return [*self.leaves, *self._residuals.leaves(self.dataset)]

    def step(self, step: int) -> Outcome:
        watch = Stopwatch()
        shards = self.dataset.schedule.shards
        with self.job(step) as job, self._residuals.shared(self.dataset) as lost:
            watch.lap("broadcast")
            sent = partial(_scatter, job, lost, self.cuts)
            payloads = self.dataset.exchange(sent, partial(_sum, shards), self.slices)
        answers = [unpack(payload) for payload in payloads]
        (total, timings), _ = answers[0]
        watch.lap("schedule", forward_backward=slowest(timings))
        gradient = None if total.bad else np.concatenate([array for _, array in answers])
        watch.lap("collect")
        if gradient is not None:
            weights, leaves = self.program.updated(self.weights, gradient, self.leaves, total.sums)
            taken = self._residuals.taken(step + 1)
            self.weights, self.leaves, self._residuals, self.done = weights, leaves, taken, step + 1
        watch.lap("update")
        return Outcome(total.sums, total.bad, watch.phases, timings)


def _scatter(
    job: Job, lost: Residuals, cuts: list[int], task: int, blocks: Iterable[Block]
) -> Iterator[tuple[int, bytes]]:
    for node, part in lost.parts(job, task, blocks):
        yield from sliced(node, part, cuts)


def _sum(shards: int, n: int, payloads: Iterable[bytes]) -> Iterator[bytes]:
    parts = received(payloads)
    total = total_of(parts, shards)
    yield pack((replace(total, gradient=None), timings_of(parts)), total.gradient)
