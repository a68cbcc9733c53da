"""Images a second of training Inception-v1 from JPEGs: fdl on Spark against PyTorch, on the same processors.

    python -m benchmarks.imagenet [--workers 1 2] [--batch 16] [--rounds 2] [--steps 1] [--folder FOLDER]

JPEGs of ImageNet's usual size, 500 x 375, of smooth random fields; random parts of 224 x 224 and their mirror images;
response norms, dropout, SGD with momentum and weight decay. fdl is `examples.imagenet`: tasks decode each image once
before the first step, and augmentation is compiled with the loss. PyTorch's processes, channels_last, eager, read
batches from a DataLoader that decodes with Pillow in every epoch, in a process of its own for each rank. Both have as
many processors as workers. Before anything is timed both must give the same loss of the same images and parameters.
With --folder what was prepared and compiled is kept there for the next run.
"""

import argparse
import io
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.imagenet_sides import CHECKED, RECIPE, checked_batch, saved_parameters
from benchmarks.report import table
from benchmarks.spark.side import Side
from examples.imagenet.convert import SCHEMA

WIDTH, HEIGHT, COARSE = 500, 375, 12  # pixels of a JPEG, and of the field that it is made of
IMAGES = 256
TOLERANCE = 1e-4
LONGEST = 600.0  # seconds for the first block, which compiles
SIDES = ("fdl", "torch")


def prepare(folder: Path) -> None:
    """Write the images, twice as train and val, and the parameters."""
    from PIL import Image

    rng = np.random.default_rng(0)
    rows = []
    for _ in range(IMAGES):
        field = Image.fromarray(rng.integers(0, 256, (COARSE, COARSE, 3), np.uint8)).resize((WIDTH, HEIGHT), 3)
        pixels = np.clip(np.asarray(field) + rng.normal(0, 6, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=92)
        rows.append({"image": file.getvalue(), "label": int(rng.integers(RECIPE.classes))})
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), folder / "images.parquet", row_group_size=32)
    saved_parameters(folder)


def our_loss(folder: Path) -> float:
    """fdl's loss of the images and parameters that are checked."""
    import fdl
    from examples.imagenet.task import Network

    network = Network(RECIPE)
    params, state = network.init(fdl.random.key(0))
    loss = fdl.jit(lambda params, batch: network.loss(params, state, batch, None, False)[0])
    return float(loss(params, checked_batch(folder)))


def measure(folder: Path, workers: int, batch: int, rounds: int, steps: int) -> dict[str, Any]:
    """Images a second of both sides in alternated blocks of so many steps."""
    sides: dict[str, Side] = {}
    found: dict[str, Any] = {}
    images = steps * batch * workers
    try:
        for name in SIDES:
            arguments = ["--side", name, str(folder), str(workers), str(batch)]
            sides[name] = Side(name, "benchmarks.imagenet_sides", arguments, str(folder), limit=300.0)
            started = time.perf_counter()
            sides[name].ask({"block": 1}, LONGEST)
            sides[name].ask({"block": 1}, LONGEST)
            found[name] = {"first": time.perf_counter() - started, "rates": []}
        for _ in range(rounds):
            for name, side in sides.items():
                found[name]["rates"].append(images / side.ask({"block": steps}, LONGEST)["seconds"])
        for name, side in sides.items():
            with side.watched() as peak:
                side.ask({"block": 1}, LONGEST)
            found[name]["python"] = peak.get("python", 0)
    finally:
        for side in sides.values():
            side.close()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.imagenet", description=__doc__.splitlines()[0])
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options.add_argument("--batch", type=int, default=16, help="images of a step on each worker")
    options.add_argument("--rounds", type=int, default=2)
    options.add_argument("--steps", type=int, default=1, help="of a block")
    options.add_argument("--folder", help="where data and machine code are kept")
    given = options.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "parameters.npz").exists():
            prepare(folder)
        check(folder)
        rows = []
        for workers in given.workers:
            found = measure(folder, workers, given.batch, given.rounds, given.steps)
            ours, theirs = (statistics.median(found[name]["rates"]) for name in SIDES)
            memory = " / ".join(f"{found[name]['python'] / 1e9:.2f}" for name in SIDES)
            rows.append([f"{workers}", f"{ours:.2f}", f"{theirs:.2f}", f"{ours / theirs:.2f}", memory])
            for name in SIDES:
                print(f"{workers} {name}: {[round(rate, 2) for rate in found[name]['rates']]}", flush=True)
    print(table(["workers", "fdl, images/s", "PyTorch, images/s", "times", "Python, GB: fdl / PyTorch"], rows))


def check(folder: Path) -> None:
    """Raise AssertionError unless both sides give one loss."""
    side = Side("torch", "benchmarks.imagenet_sides", ["--side", "check", str(folder), "1", str(CHECKED)], str(folder))
    try:
        theirs = side.ask({"block": 0}, LONGEST)["loss"]
    finally:
        side.close()
    ours = our_loss(folder)
    assert math.isclose(ours, theirs, rel_tol=TOLERANCE), f"losses {ours} and {theirs}"
    print(f"loss of {CHECKED} images: {ours:.6f} (fdl), {theirs:.6f} (PyTorch)", flush=True)


if __name__ == "__main__":
    main()
