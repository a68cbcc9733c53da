"""What engines know of the data on the executors, whichever kind of session it belongs to."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Thread
from typing import Any, Protocol

import numpy as np

import fdl
from fdl_spark.cost import Cluster
from fdl_spark.data.shards import Schedule
from fdl_spark.data.survey import Cells
from fdl_spark.spark.wire import Payload

# Spark's settings that mean: what travels between hosts must not be readable there.
ENCRYPTING = (
    "spark.network.crypto.enabled",
    "spark.authenticate.enableSaslEncryption",
    "spark.ssl.rpc.enabled",
    "spark.ssl.enabled",
)


def encrypts_network(setting: Callable[[str, str], str | None]) -> bool:
    """Whether Spark encrypts what travels on its network.

    Args:
      setting: (name, default) -> value, as `SparkConf.get`.

    >>> encrypts_network({"spark.network.crypto.enabled": "true"}.get)
    True
    """
    return any((setting(name, "false") or "").strip().lower() == "true" for name in ENCRYPTING)


class Shareable(Protocol):
    """A value that is sent to the tasks along with the functions that refer to it."""

    value: Any

    def destroy(self) -> None:
        """Free it, here and on the executors."""


@dataclass(frozen=True)
class Network:
    """How processes of a cluster may talk to each other.

    Attributes:
      driver: where the driver can listen for tasks: an address of its host, or "unix"; None if they cannot reach it.
      encrypted: whether Spark encrypts what goes between hosts.
    """

    driver: str | None
    encrypted: bool


class Dataset(ABC):
    """Data cut into shards, on the executors.

    Attributes:
      template: the pytree of a batch, with the columns' names as leaves.
      columns: dtype and shape of one row, by column.
      schedule: which row is in which shard and which step.
      tasks: into how many tasks the shards are grouped.
      name: begins the names of its files after "fdl-", those of its tasks' states too, which are deleted with it.
      returns: whether a task runs, as a rule, where it ran before, and finds its files there.
    """

    template: Any
    columns: Cells
    schedule: Schedule
    tasks: int
    name: str
    returns = True

    def example(self, rows: int | None = None) -> Any:
        """A batch's types: the pytree of ShapeDtypeStructs of so many rows, or of a shard's largest part of a batch."""
        rows = rows or self.example_rows

        def column(name: str) -> fdl.ShapeDtypeStruct:
            dtype, shape = self.columns[name]
            return fdl.ShapeDtypeStruct((rows, *shape), np.dtype(dtype))

        return fdl.tree.map(column, self.template)

    @property
    def example_rows(self) -> int:
        """How many rows a shard's largest part of a batch has."""
        return -(-min(self.schedule.batch_size, self.schedule.rows) // self.schedule.shards)

    @abstractmethod
    def map(self, function: Callable[[int, Iterator], Iterable[Payload]], barrier: bool = False) -> list[bytes]:
        """What a function of each task's number and block yields, on the driver, in the order of the tasks.

        Args:
          function: (task, iterator over the one block, which it must read to its end) -> payloads.
          barrier: whether all tasks must run at once.
        """

    @abstractmethod
    def scatter(self, function: Callable[[int, Iterator], Iterable[Payload]], inputs: list[bytes]) -> list[bytes]:
        """What a function of the number and content of each input yields, on the driver, in the order of the inputs.

        Each is a task of its own, which runs wherever there is room, and not where its rows are.

        Args:
          function: (number, iterator over the one input, which it must read to its end) -> one payload.
          inputs: what is sent to each task alone.
        """

    @abstractmethod
    def share(self, value: Any) -> Shareable:
        """Send a value to the tasks: functions given to `map` may hold the result and read its `value`."""

    @abstractmethod
    def own_jobs(self) -> AbstractContextManager[None]:
        """Leave the settings of the user's jobs as they were, and none of ours running after an interrupt."""

    @abstractmethod
    def network(self) -> Network:
        """How the tasks may talk to each other and to the driver."""

    def encrypts_files(self) -> bool:
        """Whether Spark encrypts what it writes to local disks."""
        return False

    @abstractmethod
    def slots(self) -> int | None:
        """How many tasks the cluster can run at once now, for jobs that need all of theirs at once.

        Returns:
          The number, 0 where no such job can run at all; None if it cannot be found out.
        """

    @abstractmethod
    def cluster(self) -> Cluster:
        """Where the tasks run, for predictions; one core for each of them on one host where it cannot be found out."""

    @abstractmethod
    def thread(self, target: Callable[[], None]) -> Thread:
        """A thread, not started, whose jobs are those of this one."""

    @abstractmethod
    def describe(self, text: str) -> None:
        """Say in Spark's UI, as far as it has a place for this, what the next jobs do."""

    def changes(self) -> list[str]:
        """What has happened to the executors since the last call, for the history; nothing if it cannot be known."""
        return []

    @abstractmethod
    def rebuild(self, folder: str | None = None) -> None:
        """Forget the blocks; the next job makes them again.

        Args:
          folder: a local directory of Spark that is gone, to be made again too, wherever it was.
        """

    @abstractmethod
    def close(self) -> None:
        """Delete the blocks' files. Never raises, as that would hide why the run ended."""
