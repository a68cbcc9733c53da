"""The tasks' side of an iteration: gradients of a task's shards, added up along the tree."""

import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from pyspark.taskcontext import TaskContext

import fdl
from fdl_spark.compute.feed import Feed, Piece
from fdl_spark.compute.job import Job
from fdl_spark.compute.measured import Measured
from fdl_spark.compute.part import Part, made_whole, nodes_of, parts_at
from fdl_spark.compute.program import Program
from fdl_spark.compute.tree_sum import Node, add_up
from fdl_spark.data.block import Block
from fdl_spark.history.outcome import LOSS_SCALE, OVERFLOW, Timing


def forward_backward(job: Job, task: int, blocks: Iterable[Block], whole: bool = True) -> Iterator[tuple[Node, Part]]:
    """The parts of the gradient that a task's shards give, at the nodes that cover them.

    Args:
      job: the job.
      task: number of the task.
      blocks: the task's one block; read to its end, or Spark would throw the worker away.
      whole: whether the gradients of tables are made whole.

    Yields:
      (node, Part) for each node of the cover, empty ones too, so that their number is known beforehand.
    """
    started = time.perf_counter()
    (block,) = blocks
    shards = job.schedule.shards
    nodes = nodes_of(task, job.tasks, shards)
    assert job.weights is not None
    program, weights = job.program.compiled(), job.weights.value
    feed = Feed(job, program, block)
    parts = parts_at(nodes, shards, lambda shard: shard_part(job, program, weights, feed, shard))
    if whole:
        parts = [replace(part, gradient=made_whole(part.gradient)) for part in parts]
    yield from zip(nodes, timed(parts, task, started, feed.waited), strict=True)


def timed(parts: list[Part], task: int, started: float, waited: float) -> list[Part]:
    """The parts of a task; the first says how long the task has worked since it started, and has waited for rows."""
    context = TaskContext.get()
    attempt = context.attemptNumber() if context else 0
    timing = Timing(task, socket.gethostname(), time.perf_counter() - started, attempt, waited, fdl.vectors())
    return [replace(part, timing=timing) for part in parts[:1]] + parts[1:]


def shard_part(job: Job, program: Program, weights: Any, feed: Feed, shard: int, whole: bool = True) -> Part | None:
    """A shard's part of a batch: the sums over its rows, and its share of the gradient of the mean over all rows.

    Args:
      job: the job.
      program: the Program.
      weights: the parameters, as Program.loss_and_gradient takes them.
      feed: gives the shard's rows.
      shard: its number.
      whole: whether the gradient is that share; else it is that of the mean over the shard's own rows.

    Returns:
      The Part, None if no row of the shard takes part.
    """
    schedule, step = job.schedule, job.step
    rows = schedule.batch_rows(step) if whole else schedule.slots(step, shard).size
    total = None
    for piece in feed.pieces(step, shard):
        part = _piece_part(program, weights, piece, step, shard, piece.rows / rows)
        total = part if total is None else total.add(part)
    return total


def _piece_part(program: Program, weights: Any, piece: Piece, step: int, shard: int, share: float) -> Part:
    means, gradient, finite = program.loss_and_gradient(weights, piece.batch, step, shard, share, piece.more)
    bad = None
    if not np.isfinite(means["loss"]):
        bad = f"the loss ({means['loss']})"
    elif not finite and means.get(LOSS_SCALE, 1.0) == 1:
        bad = program.first_nonfinite(gradient)
    if LOSS_SCALE in means:  # it follows the gradients, and is what an overflow changes
        means[OVERFLOW] = float(not finite)
        gradient = gradient if finite else np.zeros_like(gradient)
    sums = {name: mean * piece.rows for name, mean in means.items()} | {"rows": float(piece.rows)}
    return Part(sums, gradient, ((shard, bad),) if bad else ())


def measure(job: Job, rows: int, task: int, blocks: Iterable[Block]) -> Iterator[tuple[Node, Measured]]:
    """What the loss and metrics give of all rows of a task's shards, `rows` at a time, by node as forward_backward."""
    (block,) = blocks
    shards = job.schedule.shards
    assert job.weights is not None
    program, weights = job.program.compiled(), job.weights.value

    def measured(node: Node) -> Measured | None:
        return _measured(job, program, weights, block, node[1], rows) if node[0] == 0 else None

    for node in nodes_of(task, job.tasks, shards):
        yield node, add_up(node, shards, measured, Measured.adding(program.metrics)) or Measured()


def _measured(job: Job, program: Program, weights: np.ndarray, block: Block, shard: int, rows: int) -> Measured | None:
    total, add = None, Measured.adding(program.metrics)
    size = job.schedule.shard_rows(shard)
    for start in range(0, size, rows):
        stop = min(start + rows, size)
        batch = block.batch(shard, slice(start, stop), job.template)
        if program.recipe.weighting is not None:
            program.recipe.weighting.check_batch(batch)
        means, statistics = program.measure(weights, batch)
        sums = {name: mean * (stop - start) for name, mean in means.items()} | {"rows": float(stop - start)}
        found = Measured(sums, statistics)
        total = found if total is None else add(total, found)
    return total
