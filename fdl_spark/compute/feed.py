"""The rows of a task's shards as the pieces of batches that are computed at once."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fdl_spark.compute.job import Job
from fdl_spark.compute.program import Program
from fdl_spark.data.block import Block


@dataclass(frozen=True)
class Piece:
    """Rows that are computed at once.

    Attributes:
      batch: pytree of arrays, rows first.
      rows: how many.
      more: what their random keys depend on besides step and shard, as Recipe.more gives it.
    """

    batch: Any
    rows: int
    more: tuple[Any, ...]


class Feed:
    """Gathers rows from the block.

    Args:
      job: the job, of any step.
      program: the Program.
      block: the task's shards.

    Attributes:
      waited: seconds that steps have waited for rows, since it was last set to zero.
    """

    def __init__(self, job: Job, program: Program, block: Block):
        self.job, self.program, self.block = job, program, block
        self.waited = 0.0

    def pieces(self, step: int, shard: int) -> Iterator[Piece]:
        """The pieces of a shard's part of a batch, in their order; none if no row of it takes part."""
        job, recipe = self.job, self.program.recipe
        slots = job.schedule.slots(step, shard)
        for number, places in enumerate(recipe.pieces(slots.size)):
            started, some = time.perf_counter(), slots[places]
            batch = self.block.batch(shard, some, job.template)
            if recipe.weighting is not None:
                recipe.weighting.check_batch(batch)
            piece = Piece(batch, some.size, recipe.more(job.schedule, step, shard, number, some))
            self.waited += time.perf_counter() - started
            yield piece
