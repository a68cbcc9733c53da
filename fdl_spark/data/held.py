"""All shards of a data set in one task: sent once, kept as one file on each executor that needs it.

The file is a block of all shards, which workers map and compare with its checksum as any other. It is named after the
data set, and deleted with that one's.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import numpy as np

from fdl_spark.cost import Cluster
from fdl_spark.data.block import Block, BlockMissing, NewBlock, delete_files
from fdl_spark.data.sharded import Dataset, Network, Shareable
from fdl_spark.errors import ArgumentError
from fdl_spark.spark.directories import local_directories
from fdl_spark.spark.wire import Payload, pack, unpack

PIECE = 32 << 20  # bytes that come to the driver at once


@dataclass(frozen=True)
class Sent:
    """A data set on its way to any task.

    Attributes:
      name: of the data set.
      template: the pytree of a batch, with the columns' names as leaves.
      block: of all shards; its path is not known yet.
      content: the file's bytes, shared.
    """

    name: str
    template: Any
    block: Block
    content: Shareable

    @staticmethod
    def of(dataset: Dataset) -> "Sent":
        """Collect the shards of a data set, and send all of them to the tasks that ask for them."""
        block = Block("", range(dataset.schedule.shards), dataset.schedule, dataset.columns)
        content = np.zeros(block.layout.size, np.uint8)
        views = dict(zip(block.columns, block.layout.views(content), strict=True))
        for payload in dataset.map(_pieces):
            (name, first), flat = unpack(payload)
            view = views[name]
            piece = flat.reshape(-1, *view.shape[1:]) if flat is not None else view[:0]
            view[first : first + len(piece)] = piece
        block = replace(block, checksum=zlib.crc32(content.data))
        return Sent(dataset.name, dataset.template, block, dataset.share(content))

    def here(self) -> "Held":
        """The rows in this task."""
        name = f"fdl-{self.name}-all.block"
        for root in local_directories():
            block = replace(self.block, path=str(root / name))
            try:
                _ = block.arrays
            except BlockMissing:
                continue
            return Held(block, self.template)
        with NewBlock(self.name, self.block.shards, self.block.schedule, self.block.columns) as new:
            content = self.content.value
            for array, view in zip(new.arrays.values(), self.block.layout.views(content), strict=True):
                array[...] = view
            block = new.written()
            path = Path(block.path).with_name(name)
            os.replace(block.path, path)  # over that of another worker of this host, which has the same content
        return Held(replace(block, path=str(path)), self.template)


def _pieces(task: int, blocks: Iterable[Block]) -> Iterator[Payload]:
    for block in blocks:
        first = block.schedule.first_row(block.shards.start)
        for name, array in block.arrays.items():
            rows = max(1, PIECE * len(array) // max(1, array.nbytes))
            for start in range(0, len(array), rows):
                yield pack((name, first + start), array[start : start + rows])


@dataclass(frozen=True)
class Held:
    """The rows of a data set in one process, which `load` takes as data."""

    block: Block
    template: Any

    def dataset(self, batch_size: int, seed: int, shards: int | None) -> "HeldDataset":
        """The data set in batches of another size."""
        schedule = self.block.schedule
        if seed != schedule.seed or shards not in (None, schedule.shards):
            raise ArgumentError(f"the rows were dealt with seed={schedule.seed} to {schedule.shards} shards")
        return HeldDataset(self, batch_size)


class HeldDataset(Dataset):
    """A data set in this process, whose one task is run here."""

    def __init__(self, held: Held, batch_size: int):
        self.template, self.columns, self.tasks = held.template, held.block.columns, 1
        self.schedule = replace(held.block.schedule, batch_size=batch_size)
        # Its own, as trials of an executor run side by side; but that of the data set before it: files go with its.
        self.name = f"{Path(held.block.path).name.removeprefix('fdl-').removesuffix('-all.block')}-{uuid4().hex}"
        self._block = held.block

    def map(self, function: Callable[[int, Iterator], Iterable[Payload]], barrier: bool = False) -> list[bytes]:
        return list(map(bytes, function(0, iter([self._block]))))

    def scatter(self, function: Callable[[int, Iterator], Iterable[Payload]], inputs: list[bytes]) -> list[bytes]:
        return [bytes(payload) for n, one in enumerate(inputs) for payload in function(n, iter([one]))]

    def share(self, value: Any) -> Shareable:
        return _Here(value)

    def own_jobs(self) -> AbstractContextManager[None]:
        return nullcontext()

    def network(self) -> Network:
        return Network(None, False)

    def slots(self) -> int | None:
        return 0

    def cluster(self) -> Cluster:
        return Cluster(1, 1)

    def thread(self, target: Callable[[], None]) -> Thread:
        return Thread(target=target)

    def describe(self, text: str) -> None:
        """There is no job."""

    def rebuild(self, folder: str | None = None) -> None:
        """The file is there, or the task fails."""

    def close(self) -> None:
        """Delete what a run has left; the rows' file is deleted with the data set that it was made of."""
        delete_files(self.name)


@dataclass
class _Here:
    value: Any

    def destroy(self) -> None:
        """Nothing was sent."""
