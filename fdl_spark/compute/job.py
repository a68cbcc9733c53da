"""What the tasks of a job are told: the Program, which each worker loads once, the parameters, and what to compute."""

import hashlib
import socket
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import fdl
from fdl_spark.compute.program import Program
from fdl_spark.data.sharded import Dataset, Shareable
from fdl_spark.data.shards import Schedule
from fdl_spark.spark.cores import use_cores_of_task

KEPT_PROGRAMS = 8
# A reused worker keeps a module's attributes, but not what a task's closure made: compiled programs live here.
_programs: dict[str, Program] = {}


class OtherVersion(Exception):
    """A worker has another version of fdl than the driver."""


@dataclass(frozen=True)
class Shared:
    """A Program on its way to the workers, each of which loads it once, whatever number of runs uses it.

    Attributes:
      digest: names its content.
      version: of fdl on the driver, which the workers' must be.
      content: its bytes, shared.
      machine_code: what was compiled of it, by digest, shared.
    """

    digest: str
    version: str
    content: Shareable
    machine_code: tuple[tuple[str, Shareable], ...] = ()

    @staticmethod
    def of(program: Program, dataset: Dataset) -> "Shared":
        """Send a program to the tasks of a data set, with what was compiled of it."""
        content = program.to_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return Shared(digest, fdl.__version__, dataset.share(content))._with_code(program, dataset)

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
        """The Program of this worker, which runs on the cores of the task.

        Raises:
          OtherVersion: the worker has another version of fdl than the driver.
        """
        if self.version != fdl.__version__:
            raise OtherVersion(f"driver {self.version}, {socket.gethostname()} {fdl.__version__}")
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
