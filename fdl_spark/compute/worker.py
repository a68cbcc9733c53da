"""The tasks' side of an iteration: gradients of a task's shards, added up along the tree."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from pyspark.taskcontext import TaskContext

from fdl_spark.compute.program import Program
from fdl_spark.compute.table_gradient import TableGradient
from fdl_spark.compute.tree_sum import Node, add_up, cover
from fdl_spark.data.block import Block
from fdl_spark.data.sharded import Dataset, Shareable
from fdl_spark.data.shards import Schedule, owned
from fdl_spark.history.outcome import Timing
from fdl_spark.spark.cores import use_cores_of_task

KEPT_PROGRAMS = 8
# A reused worker keeps a module's attributes, but not what a task's closure made: compiled programs live here.
_programs: dict[str, Program] = {}


@dataclass(frozen=True)
class Shared:
    """A Program on its way to the workers, each of which loads it once, whatever number of runs uses it.

    Attributes:
      digest: names its content.
      content: its bytes, shared.
      machine_code: what was compiled of it, by digest, shared.
    """

    digest: str
    content: Shareable
    machine_code: tuple[tuple[str, Shareable], ...] = ()

    @staticmethod
    def of(program: Program, dataset: Dataset) -> "Shared":
        """Send a program to the tasks of a data set, with what was compiled of it."""
        content = program.to_bytes()
        return Shared(hashlib.sha256(content).hexdigest(), dataset.share(content))._with_code(program, dataset)

    def whole(self, program: Program, dataset: Dataset) -> "Shared":
        """The same with all that is being compiled of the program: the workers would take longer."""
        wait(program.compiling)
        return self._with_code(program, dataset)

    def _with_code(self, program: Program, dataset: Dataset) -> "Shared":
        added = program.machine_code[len(self.machine_code) :]
        sent = tuple((hashlib.sha256(code).hexdigest(), dataset.share(code)) for code in added)
        return replace(self, machine_code=self.machine_code + sent) if sent else self

    def close(self) -> None:
        """Free what was sent."""
        for shared in (self.content, *(code for _, code in self.machine_code)):
            destroy(shared)

    def compiled(self) -> Program:
        """The Program of this worker, which runs on the cores of the task."""
        use_cores_of_task()
        if self.digest not in _programs:
            while len(_programs) >= KEPT_PROGRAMS:
                _programs.pop(next(iter(_programs)))
            _programs[self.digest] = Program.from_bytes(self.content.value)
        program = _programs[self.digest]
        for digest, code in self.machine_code:
            if digest not in program.adopted:
                program.adopt(code.value)
                program.adopted.add(digest)
        return program


def destroy(broadcast: Shareable) -> None:
    """Free what was shared, here and on the executors; whatever fails in doing so must not hide why the run ended."""
    with suppress(Exception):
        broadcast.destroy()


@dataclass(frozen=True)
class Job:
    """What the tasks of one job are told.

    Attributes:
      program: the Program.
      weights: the flat parameters, shared; None where the tasks have them.
      schedule: which rows take part.
      template: the pytree of a batch with columns' names as leaves.
      tasks: number of tasks.
      step: number of the step.
    """

    program: Shared
    weights: Shareable | None
    schedule: Schedule
    template: Any
    tasks: int
    step: int = 0

    @staticmethod
    @contextmanager
    def of(program: Shared, weights: np.ndarray, dataset: Dataset, step: int = 0) -> Iterator["Job"]:
        """A job on a data set, whose parameters are shared for as long as the context lasts."""
        shared = dataset.share(weights)
        try:
            yield Job(program, shared, dataset.schedule, dataset.template, dataset.tasks, step)
        finally:
            destroy(shared)

    def at(self, step: int, weights: np.ndarray) -> "Job":
        """The job of another step, in the task that was told its number and parameters."""
        return replace(self, step=step, weights=Held(weights))


@dataclass
class Held:
    """A value that is where it is used."""

    value: Any = None

    def destroy(self) -> None:
        """Nothing was sent."""


@dataclass(frozen=True)
class Part:
    """The sum at one node of the tree.

    Attributes:
      sums: sums over rows, by name of the metric, and "rows".
      gradient: the node's part of the gradient of the global mean loss, None if no row took part.
      bad: shards with a loss or gradient that is not finite, and what it was.
      timing: of the task, on the first of its nodes.
    """

    sums: dict[str, float] = field(default_factory=dict)
    gradient: Any = None
    bad: tuple[tuple[int, str], ...] = ()
    timing: Timing | None = None

    def add(self, other: "Part") -> "Part":
        """The sum of two parts; gradients are added into a new array only if the first one cannot be reused."""
        sums = {name: self.sums.get(name, 0.0) + other.sums.get(name, 0.0) for name in self.sums | other.sums}
        if self.gradient is None or other.gradient is None:
            gradient = other.gradient if self.gradient is None else self.gradient
        elif isinstance(self.gradient, TableGradient):
            gradient = self.gradient + other.gradient
        else:
            reused = self.gradient if self.gradient.flags.writeable else None
            gradient = np.add(self.gradient, other.gradient, out=reused)
        return Part(sums, gradient, self.bad + other.bad, self.timing)


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
    nodes = list(cover(owned(task, job.tasks, shards), shards))
    assert job.weights is not None
    program, weights = job.program.compiled(), job.weights.value
    parts = parts_at(nodes, shards, lambda shard: shard_part(job, program, weights, block, shard))
    if whole:
        parts = [replace(part, gradient=made_whole(part.gradient)) for part in parts]
    yield from zip(nodes, timed(parts, task, started), strict=True)


def timed(parts: list[Part], task: int, started: float) -> list[Part]:
    """The parts of a task, of which the first says how long the task has worked since it started."""
    context = TaskContext.get()
    attempt = context.attemptNumber() if context else 0
    timing = Timing(task, socket.gethostname(), time.perf_counter() - started, attempt)
    return [replace(part, timing=timing) for part in parts[:1]] + parts[1:]


def made_whole(gradient: Any) -> Any:
    """A gradient as one flat vector."""
    return gradient.whole() if isinstance(gradient, TableGradient) else gradient


def parts_at(nodes: Iterable[Node], shards: int, of_shard: Callable[[int], Part | None]) -> list[Part]:
    """The parts at nodes from those of the shards below, None of which means that it has none."""

    def leaf(node: Node) -> Part | None:
        return of_shard(node[1]) if node[0] == 0 else None

    return [add_up(node, shards, leaf, Part.add) or Part() for node in nodes]


def shard_part(job: Job, program: Program, weights: Any, block: Block, shard: int, whole: bool = True) -> Part | None:
    """A shard's part of a batch: the sums over its rows, and its share of the gradient of the mean over all rows.

    Args:
      job: the job.
      program: the Program.
      weights: the parameters, as Program.loss_and_gradient takes them.
      block: where the shard is.
      shard: its number.
      whole: whether the gradient is that share; else it is that of the mean over the shard's own rows.

    Returns:
      The Part, None if no row of the shard takes part.
    """
    slots = job.schedule.slots(job.step, shard)
    if not slots.size:
        return None
    batch = block.batch(shard, slots, job.template)
    share = slots.size / job.schedule.batch_rows(job.step) if whole else 1.0
    means, gradient, finite = program.loss_and_gradient(weights, batch, job.step, shard, share)
    sums = {name: mean * slots.size for name, mean in means.items()} | {"rows": float(slots.size)}
    bad = None
    if not np.isfinite(means["loss"]):
        bad = f"the loss ({means['loss']})"
    elif not finite:
        bad = f"the gradient of params{program.first_nonfinite(gradient)}"
    return Part(sums, gradient, ((shard, bad),) if bad else ())


def measure(job: Job, rows: int, task: int, blocks: Iterable[Block]) -> Iterator[tuple[Node, Part]]:
    """Sums of the loss and metrics over all rows of a task's shards, `rows` at a time, by node as forward_backward."""
    (block,) = blocks
    shards = job.schedule.shards
    assert job.weights is not None
    program, weights = job.program.compiled(), job.weights.value

    nodes = list(cover(owned(task, job.tasks, shards), shards))
    parts = parts_at(nodes, shards, lambda shard: _measured(job, program, weights, block, shard, rows))
    yield from zip(nodes, parts, strict=True)


def _measured(job: Job, program: Program, weights: np.ndarray, block: Block, shard: int, rows: int) -> Part | None:
    total = None
    size = job.schedule.shard_rows(shard)
    for start in range(0, size, rows):
        stop = min(start + rows, size)
        means = program.measure(weights, block.batch(shard, slice(start, stop), job.template))
        part = Part({name: mean * (stop - start) for name, mean in means.items()} | {"rows": float(stop - start)})
        total = part if total is None else total.add(part)
    return total
