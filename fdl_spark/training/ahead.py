"""Compiling on the driver, while Spark reads the data, what the tasks will need: once, and not in each worker.

The machine code travels with the Program. A worker whose processor or versions are others compiles for itself, as it
does for what is not made ahead: the smaller last batch of an epoch and the optimizer's update.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fdl_spark.compute.program import Program
from fdl_spark.data.sharded import Dataset

log = logging.getLogger("fdl_spark")


class Ahead:
    """Compiles functions of a program in a thread, one after the other, and appends them to its `machine_code`."""

    def __init__(self, program: Program):
        self.program = program
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fdl-compile")
        self._first: list[Future[None]] = []

    def gradient(self, dataset: Dataset) -> None:
        """Begin with the loss and gradient of the pieces of the shards' parts of a whole batch: two or three sizes."""
        schedule, recipe = dataset.schedule, self.program.recipe
        rows = {schedule.slots(0, shard).size for shard in range(schedule.shards)}
        sizes = {piece.stop - piece.start for count in rows for piece in recipe.pieces(count)}
        for size in sorted(sizes, reverse=True):
            more = recipe.example(schedule, size)
            self._first.append(self._begin(self.program.compile_gradient, dataset.example(size), more))

    def measure(self, dataset: Dataset, batch_size: int) -> None:
        """Begin with the metrics of the batches of a validation."""
        rows = {dataset.schedule.shard_rows(shard) for shard in range(dataset.schedule.shards)}
        sizes = {min(batch_size, size) for size in rows} | {size % batch_size for size in rows if size > batch_size}
        for size in sorted(sizes - {0}, reverse=True):
            self._begin(self.program.compile_measure, dataset.example(size))

    def wait(self) -> None:
        """Wait for what the first step needs."""
        for future in self._first:
            future.result()

    def close(self) -> None:
        """Begin with nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, compile: Callable[..., None], *batch: Any) -> "Future[None]":
        future = self._pool.submit(self._compile, compile, *batch)
        self.program.compiling.append(future)
        return future

    def _compile(self, compile: Callable[..., None], *batch: Any) -> None:
        try:
            compile(*batch)
        except Exception as error:  # the tasks find out for themselves, and say in which step it was
            log.debug("not compiled ahead: %s", error)
