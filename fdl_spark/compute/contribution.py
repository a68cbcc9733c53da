"""What a rank contributes to the sum of a step, or of a round of local steps, and what its shards keep for the next."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fdl_spark.compute.job import Job
from fdl_spark.compute.part import Part, parts_at
from fdl_spark.compute.program import Program
from fdl_spark.compute.tree_sum import Node
from fdl_spark.compute.update import Leaves
from fdl_spark.compute.wire_precision import round_with_feedback
from fdl_spark.compute.worker import shard_part
from fdl_spark.data.block import Block


class Contribution:
    """The parts of one rank.

    Args:
      job: the job; its step is the first of the round.
      program: the Program.
      block: the rank's shards.
      nodes: where the rank's parts are in the tree; single shards if gradients are rounded.
      kept: what each shard keeps, by its number.

    Attributes:
      kept: what each shard keeps if the step is taken.
    """

    def __init__(self, job: Job, program: Program, block: Block, nodes: Sequence[Node], kept: dict[int, Leaves]):
        self.job, self.program, self.block, self.nodes = job, program, block, nodes
        self._before = {shard: kept.get(shard, []) for shard in block.shards}
        self.kept = dict(self._before)

    def parts(self, weights: Any, count: int) -> list[list[Part]]:
        """The parts at the nodes, of each step of a round; the gradients are those of the whole round, in the last one.

        Args:
          weights: the parameters, as Program.loss_and_gradient takes them.
          count: number of steps of the round; one unless shards step on their own.
        """
        found: list[dict[int, Part]] = [{} for _ in range(count)]
        for shard in self.block.shards:
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
        for shard in self.block.shards:
            slots = self.job.schedule.slots(step, shard)
            if slots.size:
                batch = self.block.batch(shard, slots, self.job.template)
                leaves, state = tables.catch_up(leaves, state, batch, step, shard)
        return leaves, state

    def _step(self, shard: int, weights: Any) -> Part | None:
        return shard_part(self.job, self.program, weights, self.block, shard)

    def _local(self, shard: int, start: np.ndarray, count: int) -> list[Part | None]:
        """A shard's steps on its own; the last part has what it has moved, as a gradient."""
        schedule, first, inner = self.job.schedule, self.job.step, self.program.inner
        assert inner is not None
        size = len(self._before[shard]) - self.program.rounded
        weights, leaves = start, self._before[shard][:size]
        parts: list[Part | None] = []
        rows = 0
        for step in range(first, first + count):
            part = shard_part(replace(self.job, step=step), self.program, weights, self.block, shard, whole=False)
            if part is not None:
                weights, leaves = inner(weights, part.gradient, leaves)
                rows += int(part.sums["rows"])
                part = replace(part, gradient=None)
            parts.append(part)
        self.kept[shard] = [*leaves, *self._before[shard][size:]]
        share = start.dtype.type(rows / sum(schedule.batch_rows(step) for step in range(first, first + count)))
        moved = (start - weights) * share
        parts[-1] = replace(parts[-1] or Part(), gradient=moved)
        return parts

    def _rounded(self, shard: int, part: Part) -> Part:
        *others, residual = self.kept[shard]
        rounded, left = round_with_feedback(part.gradient, residual)
        self.kept[shard] = [*others, left]
        return replace(part, gradient=rounded.view(np.uint16))
