"""One rank of PyTorch's DistributedDataParallel over gloo, with the rows that the same shard of fdl's has.

The gradients of tables are sparse, and SparseAdam leaves rows alone that were not looked up; as "torch-dense" they are
dense, as in MLPerf's reference, and Adam moves all rows.
"""

import importlib
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from benchmarks import ncf
from benchmarks.spark.channel import Channel
from benchmarks.spark.work import SHARDS, Work, columns, parameters, prepared


class Images(torch.nn.Module):
    """A model of images as a module whose forward is its loss."""

    def __init__(self, work: Work, model: ModuleType):
        super().__init__()
        leaves, _ = model.torch_inputs(torch, work.channels_last)
        self.names = list(leaves)
        self.leaves = torch.nn.ParameterList([torch.nn.Parameter(leaf.detach()) for leaf in leaves.values()])
        self.loss = model.torch_loss(torch, work.channels_last)

    def forward(self, images: Any, labels: Any) -> Any:
        return self.loss(dict(zip(self.names, self.leaves, strict=True)), (images, labels))


class Tables(torch.nn.Module):
    """NeuMF as a module whose forward is its loss."""

    def __init__(self, work: Work, sparse: bool):
        super().__init__()
        self.sparse = sparse
        tables, dense = ncf.torch_parameters(torch, parameters(work))
        # Only of modules of this class does DistributedDataParallel expect sparse gradients.
        embed = torch.nn.Embedding.from_pretrained
        self.tables = torch.nn.ModuleDict(
            {name: embed(table.detach(), freeze=False, sparse=sparse) for name, table in tables.items()}
        )
        self.dense = torch.nn.ParameterList([torch.nn.Parameter(leaf.detach()) for pair in dense for leaf in pair])

    def forward(self, users: Any, items: Any, labels: Any) -> Any:
        layers = [(self.dense[n], self.dense[n + 1]) for n in range(0, len(self.dense), 2)]
        return ncf.torch_loss(torch, self.weights(), layers, sparse=self.sparse)(users, items, labels)

    def weights(self) -> dict[str, Any]:
        """The tables by name."""
        return {name: table.weight for name, table in self.tables.items()}


class Rows:
    """The batches of a rank: of one shard, or of all where there is one rank."""

    def __init__(self, work: Work, folder: Path, rank: int, ranks: int):
        shards = range(SHARDS) if ranks == 1 else [rank]
        rows = [np.load(folder / f"rows{shard}.npy") for shard in shards]
        starts = np.cumsum([0, *(len(part) for part in rows[:-1])])
        steps = [np.load(folder / f"steps{n}.npy") + start for n, start in zip(shards, starts, strict=True)]
        self.steps = torch.from_numpy(np.concatenate(steps, axis=1))
        arrays = [np.asarray(column[np.concatenate(rows)]) for column in columns(folder)]
        if work.model != "ncf" and not work.channels_last:
            arrays[0] = np.ascontiguousarray(arrays[0].transpose(0, 3, 1, 2))
        self.columns = [
            torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array) for array in arrays
        ]
        self.images_last = work.channels_last

    def batch(self, step: int) -> list[Any]:
        """The columns of a step."""
        index = self.steps[step % len(self.steps)]
        found = [column[index] for column in self.columns]
        if self.images_last:  # rows of NHWC are what a tensor in channels_last has in memory
            found[0] = found[0].permute(0, 3, 1, 2)
        return found


def optimizers(work: Work, module: Any, model: ModuleType) -> list[Any]:
    """SparseAdam for tables with sparse gradients and Adam for the rest, or momentum."""
    if work.model == "ncf":
        tables, dense = list(module.weights().values()), module.dense
        if not module.sparse:
            return [torch.optim.Adam([*tables, *dense], lr=model.RATE, fused=True)]
        return [torch.optim.SparseAdam(tables, lr=model.RATE), torch.optim.Adam(dense, lr=model.RATE, fused=True)]
    return [model.torch_optimizer(torch, list(module.leaves))]


def main() -> None:
    """Train until told to stop."""
    folder, kind, door = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    work = prepared(folder)
    model = importlib.import_module(f"benchmarks.{work.model}")
    sparse = work.model == "ncf" and kind != "torch-dense"
    module = Tables(work, sparse) if work.model == "ncf" else Images(work, model)
    steppers = optimizers(work, module, model)
    rows = Rows(work, folder, rank, ranks)
    views = not sparse  # of buckets are faster, but sparse gradients have none
    parallel = torch.nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=views, broadcast_buffers=False)
    channel = Channel.connect(door) if rank == 0 else None
    done = 0

    def step() -> Any:
        nonlocal done
        for stepper in steppers:
            stepper.zero_grad()
        loss = parallel(*rows.batch(done))
        loss.backward()
        for stepper in steppers:
            stepper.step()
        done += 1
        return loss.detach()

    while True:
        told = torch.zeros(1, dtype=torch.int64)
        if channel is not None:
            request = channel.receive()
            told[0] = 0 if request == "stop" else request["block"]
        dist.broadcast(told, 0)
        count = int(told[0])
        if not count:
            break
        losses = []
        started = time.perf_counter()
        for _ in range(count):
            losses.append(step())
        dist.barrier()
        seconds = time.perf_counter() - started
        means = torch.stack(losses[:3])  # outside the time: nobody needs the global loss to train
        dist.all_reduce(means)
        if channel is not None:
            channel.send({"seconds": seconds, "losses": (means / ranks).tolist(), "phases": {}})
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
