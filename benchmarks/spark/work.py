"""What fdl and PyTorch both train on Spark: models of the other benchmarks with data sets of realistic sizes."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fdl_spark.data.shards import Schedule

SHARDS, SEED = 2, 0
#: The JVM needs room for what passes through it: 127 MB of NeuMF's gradients from each task, by some engines.
SETTINGS = {"spark.ui.enabled": "false", "spark.driver.memory": "4g"}


def any_engine(sync: str) -> dict[str, Any]:
    """The argument of `train` for an engine of any name; one that it does not know is an error when it runs."""
    return {"sync": sync}


@dataclass(frozen=True)
class Work:
    """A model, a batch size and a data set.

    Attributes:
      name: what the command line calls it.
      model: the module of `benchmarks` that it is.
      batch: rows of a global batch.
      rows: of the data set; whole batches.
      tolerance: how far the losses of the first steps may be apart, relative.
      channels_last: whether PyTorch's images are; the faster of both.
    """

    name: str
    model: str
    batch: int
    rows: int
    tolerance: float = 1e-4
    channels_last: bool = False

    @property
    def title(self) -> str:
        title: str = importlib.import_module(f"benchmarks.{self.model}").TITLE
        return f"{title.split(', batch')[0]}, batch {self.batch:,}"

    def smaller(self) -> "Work":
        """The same for a try: a few steps an epoch."""
        batch = min(self.batch, 4096)
        return Work(self.name, self.model, batch, 4 * batch, self.tolerance, self.channels_last)


WORKS = {
    work.name: work
    for work in (
        Work("lenet", "lenet", 256, 234 * 256),  # an epoch of MNIST
        Work("resnet", "resnet", 128, 20 * 128, channels_last=True),
        # Exact Adam moves rows that are not looked up, SparseAdam doesn't: equal to the first digits.
        Work("ncf", "ncf", 2048, 200 * 2048, tolerance=1e-3),
        Work("ncf_large", "ncf", 98_304, 6 * 98_304, tolerance=1e-3),
    )
}


def prepare(work: Work, folder: Path) -> None:
    """Write the columns of the data set, and which rows are each shard's in each step of an epoch, for both sides."""
    model = importlib.import_module(f"benchmarks.{work.model}")
    rng = np.random.default_rng(1)
    if work.model == "ncf":
        batches = [model.batch(rng) for _ in range(-(-work.rows // model.BATCH))]
        columns = [np.concatenate(parts)[: work.rows] for parts in zip(*batches, strict=True)]
    else:
        shape = model.inputs(1)[1][0].shape[1:]
        columns = [rng.random((work.rows, *shape), np.float32), rng.integers(0, 10, work.rows).astype(np.int32)]
    for n, column in enumerate(columns):
        np.save(folder / f"column{n}.npy", column)
    schedule = Schedule(work.rows, work.batch, SHARDS, SEED)
    shards, slots = schedule.deal(np.arange(work.rows))
    for shard in range(SHARDS):
        rows = np.empty(schedule.shard_rows(shard), np.int64)
        mine = np.flatnonzero(shards == shard)
        rows[slots[mine]] = mine
        steps = np.stack([schedule.slots(step, shard) for step in range(schedule.steps_per_epoch)])
        np.save(folder / f"rows{shard}.npy", rows)
        np.save(folder / f"steps{shard}.npy", steps)
    (folder / "work.json").write_text(json.dumps(work.__dict__))


def prepared(folder: Path) -> Work:
    """The work of a folder."""
    return Work(**json.loads((folder / "work.json").read_text()))


def columns(folder: Path) -> tuple[np.ndarray, ...]:
    """The columns of a folder's data set, mapped."""
    return tuple(np.load(path, mmap_mode="r") for path in sorted(folder.glob("column*.npy")))


def parameters(work: Work) -> Any:
    """The initial parameters: the same numbers for both."""
    model = importlib.import_module(f"benchmarks.{work.model}")
    return model.parameters(np.random.default_rng(0)) if work.model == "ncf" else model.inputs(1)[0]
