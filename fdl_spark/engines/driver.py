"""`sync="driver"`: one stage; the parts of the gradient go to the driver, which adds, updates and broadcasts."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from fdl_spark.data.blocks import Block
from fdl_spark.engines.engine import Outcome, SteppingEngine, Stopwatch, slowest
from fdl_spark.tree_sum import gather
from fdl_spark.update import Leaves
from fdl_spark.wire import pack, unpack
from fdl_spark.worker import Job, Part, forward_backward


class Driver(SteppingEngine):
    """Synchronise through the driver: least overhead for small models."""

    name = "driver"

    def restore(self, weights: np.ndarray, leaves: Leaves, done: int) -> None:
        self.weights, self.leaves, self.done = weights, leaves, done

    def state(self) -> Leaves:
        return self.leaves

    def step(self, step: int) -> Outcome:
        watch = Stopwatch()
        with self.job(step) as job:
            watch.lap("broadcast")
            payloads = self.dataset.map(partial(_parts, job))
        parts = {}
        for payload in payloads:
            (node, part), gradient = unpack(payload)
            parts[node] = replace(part, gradient=gradient)
        timings = [part.timing for part in parts.values() if part.timing]
        watch.lap("schedule", forward_backward=slowest(timings))
        total = gather(parts, self.dataset.schedule.shards, Part.add, Part())
        watch.lap("collect")
        if not total.bad:
            weights, leaves = self.program.update(self.weights, total.gradient, self.leaves)
            self.weights, self.leaves, self.done = weights, leaves, step + 1
        watch.lap("update")
        return Outcome(total.sums, total.bad, watch.phases, tuple(timings))


def _parts(job: Job, task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    for node, part in forward_backward(job, task, blocks):
        yield pack((node, replace(part, gradient=None)), part.gradient)
