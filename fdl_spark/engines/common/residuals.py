"""What shards lose when their gradients are rounded, for the engines that take each step by a job of its own.

A task keeps it where it computes its shards' gradients (`kept.py`), as it will run there again: its data is there. It
goes to the driver with its snapshots only, among the leaves of the optimizer's state (`leaves.py`), and comes back when
the driver goes back to one, or resumes a run.
"""

import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

import numpy as np

from fdl_spark.compute.contribution import Contribution
from fdl_spark.compute.feed import Feed
from fdl_spark.compute.job import Held, Job, destroy
from fdl_spark.compute.part import Part, nodes_of
from fdl_spark.compute.program import Program
from fdl_spark.compute.tree_sum import Node
from fdl_spark.compute.update import Leaves
from fdl_spark.compute.worker import forward_backward, timed
from fdl_spark.data.block import Block
from fdl_spark.data.layout import Layout
from fdl_spark.data.sharded import Dataset, Shareable
from fdl_spark.data.shards import owned
from fdl_spark.engines.common.kept import Kept
from fdl_spark.engines.common.leaves import LeafOrder
from fdl_spark.spark.wire import Payload

NOTHING, SENT = -1, -2  # in place of a number of steps: nothing was lost yet; what was lost is sent along


@dataclass(frozen=True)
class Residuals:
    """Where the residuals of all shards are. The driver's is replaced in the same statement as the parameters.

    Attributes:
      whole: how many leaves of the run are the optimizer's; the others are residuals.
      keeps: what each task keeps; empty if gradients are not rounded.
      branch: counts how often the driver went back to a snapshot.
      since: after how many steps the executors' files are; or NOTHING, or SENT.
      sent: the residuals as one array, float32 (shards * n), while they are on the driver and not zero.
    """

    whole: int
    keeps: tuple[Kept, ...] = ()
    branch: int = 0
    since: int = NOTHING
    sent: Shareable | None = None

    @staticmethod
    def of(program: Program, weights: np.ndarray, dataset: Dataset) -> "Residuals":
        """Those of a run that begins."""
        keeps = []
        if program.rounded:
            key = secrets.token_bytes(32) if dataset.encrypts_files() else None
            for task in range(dataset.tasks):
                shards = owned(task, dataset.tasks, dataset.schedule.shards)
                layout = Layout(((np.dtype(np.float32).str, weights.shape),) * len(shards))
                keeps.append(Kept(dataset.name, f"task {task}", layout, key))
        return Residuals(LeafOrder.of(program, weights).whole, tuple(keeps))

    def restored(self, leaves: Leaves) -> tuple[Leaves, "Residuals"]:
        """The optimizer's leaves of a run's, and the residuals that the others are."""
        leaves, lost = leaves[: self.whole], leaves[self.whole :]
        sent = Held(np.concatenate(lost, dtype=np.float32)) if any(leaf.any() for leaf in lost) else None
        return leaves, replace(self, branch=self.branch + 1, since=SENT if sent else NOTHING, sent=sent)

    def taken(self, step: int) -> "Residuals":
        """The residuals when a step is taken, after which so many are done: they are on the executors."""
        return replace(self, since=step, sent=None) if self.keeps else self

    @property
    def numbers(self) -> tuple[int, int]:
        """What `at` needs in a task."""
        return self.branch, self.since

    @property
    def arrays(self) -> list[np.ndarray]:
        """What is to be sent along with them."""
        return [] if self.sent is None else [self.sent.value]

    @contextmanager
    def shared(self, dataset: Dataset) -> Iterator["Residuals"]:
        """The residuals for functions that are sent anew with every job, as `Job.of`."""
        sent = None if self.sent is None else dataset.share(self.sent.value)
        try:
            yield replace(self, sent=sent)
        finally:
            if sent is not None:
                destroy(sent)

    def lasting(self) -> "Residuals":
        """What the tasks of all steps have in common."""
        return Residuals(self.whole, self.keeps)

    def at(self, numbers: Iterable[int], arrays: tuple[np.ndarray, ...]) -> "Residuals":
        """The residuals of a step, in the task that was told the numbers and, last of its arrays, what was sent."""
        branch, since = numbers
        return replace(self, branch=branch, since=since, sent=Held(arrays[-1]) if since == SENT else None)

    def leaves(self, dataset: Dataset) -> Leaves:
        """The residual of each shard."""
        if not self.keeps:
            return []
        if self.since in (NOTHING, SENT):
            return [leaf for kept, run in self._runs(dataset) for leaf in self._before(kept, run)]
        payloads = dataset.map(partial(_read, self.keeps, self.branch, self.since))
        return [np.frombuffer(payload, np.float32) for payload in payloads]

    def parts(self, job: Job, task: int, blocks: Iterable[Block], whole: bool = True) -> Iterator[tuple[Node, Part]]:
        """As `forward_backward`; gradients that are rounded are those of single shards, as the bits of bfloat16."""
        if not self.keeps:
            yield from forward_backward(job, task, blocks, whole)
            return
        started = time.perf_counter()
        (block,) = blocks
        assert job.weights is not None
        nodes, kept = nodes_of(task, job.tasks, job.schedule.shards, rounded=True), self.keeps[task]
        before = {shard: [leaf] for shard, leaf in zip(block.shards, self._before(kept, block.shards), strict=True)}
        program = job.program.compiled()
        feed = Feed(job, program, block)
        contribution = Contribution(job, program, feed, nodes, before)
        (parts,) = contribution.parts(job.weights.value, 1)
        lost = [leaf for shard in block.shards for leaf in contribution.kept[shard]]
        kept.write(self.branch, job.step + 1, lost, self.since)
        yield from zip(nodes, timed(parts, task, started, feed.waited), strict=True)

    def _runs(self, dataset: Dataset) -> Iterator[tuple[Kept, range]]:
        for task, kept in enumerate(self.keeps):
            yield kept, owned(task, dataset.tasks, dataset.schedule.shards)

    def _before(self, kept: Kept, shards: range) -> Leaves:
        """What shards have lost up to this step."""
        if self.since not in (NOTHING, SENT):
            return kept.read(self.branch, self.since)
        shape = kept.layout.arrays[0][1]
        if self.sent is None:
            return list(repeat(np.zeros(shape, np.float32), len(shards)))
        sent = self.sent.value.reshape(-1, *shape)
        return [sent[shard] for shard in shards]


def _read(keeps: tuple[Kept, ...], branch: int, step: int, task: int, blocks: Iterable[Block]) -> Iterator[Payload]:
    for _ in blocks:  # a task that leaves some of its input unread loses its worker
        pass
    for leaf in keeps[task].read(branch, step):
        yield leaf.data.cast("B")
