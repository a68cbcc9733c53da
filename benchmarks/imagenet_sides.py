"""The sides of `benchmarks.imagenet`, each a process of its own: what is trained, and by whom.

Started as `python -m benchmarks.imagenet_sides --side fdl|torch|check FOLDER WORKERS BATCH DOOR`.
"""

import io
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import fdl
import fdl_spark
from benchmarks import arrays
from benchmarks.spark.channel import Channel
from benchmarks.spark.fdl_side import ENDLESS, asked
from benchmarks.spark.turns import Turns
from examples.imagenet.recipe import MOMENTUM, RECIPES
from examples.imagenet.task import AUGMENTATIONS, Network, encoders
from fdl.models.inception import MODULES

RECIPE = replace(RECIPES["bigdl"], rate=1e-4, warmup=0)
CHECKED = 4  # images of which both sides must give one loss
PIXEL_MEAN = np.array([123.0, 117.0, 104.0], np.float32)


def saved_parameters(folder: Path) -> None:
    """Write the initial parameters by path."""
    params, _ = Network(RECIPE).init(fdl.random.key(0))
    leaves: Any = arrays.flat(fdl.tree.map(np.asarray, params))
    np.savez(folder / "parameters.npz", **leaves)


def checked_batch(folder: Path) -> dict[str, np.ndarray]:
    """The first images as fdl's encoders give them."""
    return encoders(RECIPE).encode(pq.read_table(folder / "images.parquet").slice(0, CHECKED))


def fdl_side(folder: Path, workers: int, batch: int, door: str) -> None:
    """Train by `fdl_spark.train` until told to stop."""
    network = Network(RECIPE)
    params, state = network.init(fdl.random.key(0))
    settings = {"spark.ui.enabled": "false", "spark.driver.memory": "2g"}
    spark = fdl_spark.session(f"local[{workers}]", config=settings)
    channel = Channel.connect(door)
    fdl_spark.train(
        network.loss,
        params,
        spark.read.parquet(str(folder / "images.parquet")),
        state=state,
        features=encoders(RECIPE),
        augment=AUGMENTATIONS["crop"](RECIPE),
        optimizer=RECIPE.optimizer(),
        batch_size=batch * workers,
        microbatch=batch,
        steps=ENDLESS,
        shards=workers,
        partitions=workers,
        callbacks=[Turns(asked(channel))],
    )


def torch_loss(torch: Any, params: dict[str, Any], images: Any, labels: Any, training: bool) -> Any:
    """The loss of the network of `fdl.models.inception`, in PyTorch's operations."""
    F = torch.nn.functional

    def conv(x: Any, name: str, stride: int = 1) -> Any:
        w = params[f"{name}.conv.w"]
        return F.relu(F.conv2d(x, w, params[f"{name}.conv.b"], stride, w.shape[-1] // 2))

    def pool(x: Any) -> Any:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    x = F.local_response_norm(pool(conv(images, "conv1", 2)), 5)
    x = F.local_response_norm(conv(conv(x, "conv2"), "conv3"), 5)
    for name in MODULES:
        x = pool(x) if name in ("3a", "4a", "5a") else x
        parts = [
            conv(x, f"{name}.one"),
            conv(conv(x, f"{name}.low3"), f"{name}.three"),
            conv(conv(x, f"{name}.low5"), f"{name}.five"),
            conv(F.max_pool2d(x, 3, 1, 1), f"{name}.pooled"),
        ]
        x = torch.cat(parts, 1)
    x = F.dropout(x.mean((2, 3)), 0.4, training)
    return F.cross_entropy(F.linear(x, params["out.w"], params["out.b"]), labels)


class Images:
    """A data set of JPEGs for a DataLoader: decoded, stretched, cut and mirrored as fdl's, in Pillow and NumPy."""

    def __init__(self, folder: Path, random: np.random.Generator | None):
        rows = pq.read_table(folder / "images.parquet")
        self.images, self.labels, self.random = rows["image"].to_pylist(), rows["label"].to_pylist(), random

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        from PIL import Image

        size, slack = RECIPE.size, RECIPE.stored - RECIPE.size
        picture = Image.open(io.BytesIO(self.images[row])).convert("RGB")
        pixels = np.asarray(picture.resize((RECIPE.stored, RECIPE.stored), Image.Resampling.BILINEAR))
        top, left = self.random.integers(0, slack + 1, 2) if self.random else (slack // 2, slack // 2)
        part = pixels[top : top + size, left : left + size]
        if self.random and self.random.random() < 0.5:
            part = part[:, ::-1]
        return part.astype(np.float32) - PIXEL_MEAN, self.labels[row]


def torch_parameters(torch: Any, folder: Path) -> dict[str, Any]:
    """The parameters of the folder: filters OIHW in channels_last, dense weights (out, in)."""
    found = {}
    for name, array in np.load(folder / "parameters.npz").items():
        tensor = torch.from_numpy(array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T).contiguous()
        tensor = tensor.contiguous(memory_format=torch.channels_last) if array.ndim == 4 else tensor
        found[name] = tensor.requires_grad_()
    return found


def torch_rank(rank: int, folder: Path, workers: int, batch: int, door: str, meeting: str, check: bool = False) -> None:
    """Train with a DataLoader until told to stop; with several ranks by DistributedDataParallel over gloo."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    leaves = torch_parameters(torch, folder)

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.leaves = torch.nn.ParameterList([torch.nn.Parameter(leaf.detach()) for leaf in leaves.values()])

        def forward(self, images: Any, labels: Any) -> Any:
            params = dict(zip(leaves, self.leaves, strict=True))
            return torch_loss(torch, params, images.permute(0, 3, 1, 2), labels, not check)

    module = Module()
    channel = Channel.connect(door) if rank == 0 else None
    data = Images(folder, None if check else np.random.default_rng(rank))
    if check:
        pictures, labels = zip(*(data[n] for n in range(batch)), strict=True)
        loss = module(torch.from_numpy(np.stack(pictures)), torch.tensor(labels))
        while channel is not None and channel.receive() != "stop":
            channel.send({"loss": float(loss.detach())})
        return
    parallel = (
        torch.nn.parallel.DistributedDataParallel(module, gradient_as_bucket_view=True) if workers > 1 else module
    )
    stepper = torch.optim.SGD(module.leaves, RECIPE.rate, momentum=MOMENTUM, weight_decay=RECIPE.decay, fused=True)
    loader = torch.utils.data.DataLoader(
        data, batch, shuffle=True, num_workers=1, drop_last=True, persistent_workers=True
    )

    def batches() -> Any:
        while True:
            yield from loader

    rows = batches()
    while True:
        told = torch.zeros(1, dtype=torch.int64)
        if channel is not None:
            request = channel.receive()
            told[0] = 0 if request == "stop" else request["block"]
        dist.broadcast(told, 0)
        if not int(told[0]):
            break
        started = time.perf_counter()
        for _ in range(int(told[0])):
            stepper.zero_grad()
            parallel(*next(rows)).backward()
            stepper.step()
        dist.barrier()
        if channel is not None:
            channel.send({"seconds": time.perf_counter() - started})
    dist.destroy_process_group()


def main() -> None:
    """Run the side that the command line names, on as many processors as it has workers."""
    _, _, side, folder, workers, batch, door = sys.argv
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(workers)])
    given = Path(folder), int(workers), int(batch), door
    meeting = f"{folder}/meeting-{os.getpid()}"
    if side == "fdl":
        fdl_side(*given)
    elif side == "check" or int(workers) == 1:
        torch_rank(0, *given, meeting, check=side == "check")
    else:
        import torch.multiprocessing

        torch.multiprocessing.spawn(torch_rank, (*given, meeting), nprocs=int(workers))


if __name__ == "__main__":
    main()
