"""What a rank contributes to the sum of a step, or of a round of local steps, and what its shards keep for the next."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fdl_spark.compute.feed import Feed
from fdl_spark.compute.job import Job
from fdl_spark.compute.part import Part, parts_at
from fdl_spark.compute.program import Program
from fdl_spark.compute.tree_sum import Node
from fdl_spark.compute.update import Leaves
from fdl_spark.compute.wire_precision import round_with_feedback
from fdl_spark.compute.worker import shard_part
from fdl_spark.history.outcome import LOSS_WEIGHT


class Contribution:
    """The parts of one rank.

    Args:
      job: the job; its step is the first of the round.
      program: the Program.
      feed: gives the rows of the rank's shards.
      nodes: where the rank's parts are in the tree; single shards if gradients are rounded.
      kept: what each shard keeps, by its number.

    Attributes:
      kept: what each shard keeps if the step is taken.
    """

    def __init__(self, job: Job, program: Program, feed: Feed, nodes: Sequence[Node], kept: dict[int, Leaves]):
        self.job, self.program, self.feed, self.nodes = job, program, feed, nodes
        self.shards = feed.block.shards
        self._before = {shard: kept.get(shard, []) for shard in self.shards}
        self.kept = dict(self._before)

    def parts(self, weights: Any, count: int) -> list[list[Part]]:
        """The parts at the nodes, of each step of a round; the gradients are those of the whole round, in the last one.

        Args:
          weights: the parameters, as Program.loss_and_gradient takes them.
          count: number of steps of the round; one unless shards step on their own.
        """
        found: list[dict[int, Part]] = [{} for _ in range(count)]
        for shard in self.shards:
            parts = self._local(shard, weights, count) if self.program.inner else [self._step(shard, weights)]
            if self.program.rounded and parts[-1] is not None:
                parts[-1] = self._rounded(shard, parts[-1])
            for of_step, part in zip(found, parts, strict=True):
                if part is not None:
                    of_step[shard] = part

        return [parts_at(self.nodes, self.job.schedule.shards, of_step.get) for of_step in found]

    def caught_up(self, leaves: Any, state: Any) -> Any:
        """The leaves of parameters and state when the rows of tables that the rank's shards look up are up to date."""
        tables, step = self.program.tables, self.job.step
        assert tables is not None
        for shard in self.shards:
            for piece in self.feed.pieces(step, shard):
                leaves, state = tables.catch_up(leaves, state, piece.batch, step, shard, piece.more)
        return leaves, state

    def _step(self, shard: int, weights: Any) -> Part | None:
        return shard_part(self.job, self.program, weights, self.feed, shard)

    def _local(self, shard: int, start: np.ndarray, count: int) -> list[Part | None]:
        """A shard's steps on its own; the last part has what it has moved, as a gradient."""
        schedule, first = self.job.schedule, self.job.step
        own = len(self._before[shard]) - self.program.rounded
        weights, leaves = start, self._before[shard][:own]
        parts: list[Part | None] = []
        rows = 0
        for step in range(first, first + count):
            part = shard_part(replace(self.job, step=step), self.program, weights, self.feed, shard, whole=False)
            if part is not None:
                if part.sums.get(LOSS_WEIGHT) != 0:  # else there is no mean to follow
                    weights, leaves = self.program.updated(weights, part.gradient, leaves, part.sums, local=True)
                rows += int(part.sums["rows"])
                part = replace(part, gradient=None)
            parts.append(part)
        self.kept[shard] = [*leaves, *self._before[shard][own:]]
        share = start.dtype.type(rows / sum(schedule.batch_rows(step) for step in range(first, first + count)))
        moved = (start - weights) * share
        size = self.program.size
        moved[size:] = weights[size:] * share  # the state is a mean itself, not a change
        parts[-1] = replace(parts[-1] or Part(), gradient=moved)
        return parts

    def _rounded(self, shard: int, part: Part) -> Part:
        *others, residual = self.kept[shard]
        rounded, left = round_with_feedback(part.gradient, residual)
        self.kept[shard] = [*others, left]
        return replace(part, gradient=rounded.view(np.uint16))
