"""How fast data becomes shards on the executors, and how much memory that takes.

    python -m benchmarks.spark.ingest                        rows of 32 floats, and images as numbers and as JPEG
    python -m benchmarks.spark.ingest --gigabytes 10 --memory 2g    Parquet larger than the memory of executors

Each case is a process of its own, so that its peak is its own: the resident memory of the driver, of the JVM and of the
Python workers, sampled from /proc. Beside fdl_spark stand `toPandas`, and what a program under TorchDistributor does
with a DataFrame: Spark writes it as Parquet, and each process reads its part into tensors.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import fdl_spark
from benchmarks.spark.side import ROOT
from fdl_spark.data.load import load

FLOATS, SIDE, FILE_ROWS = 32, 28, 125_000
SAMPLE_SECONDS = 0.1


def write_floats(folder: Path, rows: int) -> None:
    """Rows of 32 floats as `array<float>`, and a label, in files of 16 MB."""
    random = np.random.default_rng(0)
    for start in range(0, rows, FILE_ROWS):
        count = min(FILE_ROWS, rows - start)
        x = pa.array(random.standard_normal(count * FLOATS, np.float32))
        offsets = pa.array(np.arange(0, count * FLOATS + 1, FLOATS, dtype=np.int32))
        table = pa.table({"x": pa.ListArray.from_arrays(offsets, x), "y": random.integers(0, 10, count)})
        # Random bits do not compress, and Spark's own files have such pages too.
        pq.write_table(table, folder / f"part-{start:012}.parquet", use_dictionary=["y"])


def write_images(folder: Path, rows: int) -> None:
    """Images of 28 x 28 bytes as `array<tinyint>`, which they are in Spark."""
    random = np.random.default_rng(1)
    for start in range(0, rows, FILE_ROWS // 5):
        count = min(FILE_ROWS // 5, rows - start)
        pixels = pa.array(random.integers(0, 128, count * SIDE * SIDE, np.int8))
        offsets = pa.array(np.arange(0, count * SIDE * SIDE + 1, SIDE * SIDE, dtype=np.int32))
        table = pa.table({"image": pa.ListArray.from_arrays(offsets, pixels), "y": random.integers(0, 10, count)})
        pq.write_table(table, folder / f"part-{start:012}.parquet", use_dictionary=["y"])


def write_jpeg(folder: Path, rows: int) -> None:
    """The same as JPEG, of which there are a thousand different ones."""
    from PIL import Image

    random, images = np.random.default_rng(2), []
    for _ in range(1000):
        content = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (SIDE, SIDE), np.uint8)).save(content, "JPEG")
        images.append(content.getvalue())
    for start in range(0, rows, FILE_ROWS // 5):
        count = min(FILE_ROWS // 5, rows - start)
        table = pa.table({"image": [images[n % 1000] for n in range(start, start + count)], "y": np.arange(count) % 10})
        pq.write_table(table, folder / f"part-{start:012}.parquet")


class Pixels:
    """Decodes JPEG, as an encoder of `fdl_spark.features` does."""

    inputs, outputs = ("image", "y"), ("pixels", "label")

    def encode(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        from PIL import Image

        images = [np.asarray(Image.open(io.BytesIO(content.as_py()))) for content in batch.column("image")]
        return {"pixels": np.stack(images), "label": batch.column("y").to_numpy()}

    def to_json(self) -> dict[str, Any]:
        return {}


def loaded(data: Any, **options: Any) -> int:
    """Rows that are on the executors then."""
    dataset = load(data, batch_size=1024, **options)
    rows = dataset.schedule.rows
    dataset.close()
    return rows


def as_arrays(folder: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(folder)
    x, y = (table[name].combine_chunks() for name in table.column_names)
    return {"x": x.flatten().to_numpy().reshape(len(x), -1), "y": y.to_numpy()}


def to_pandas(spark: Any, folder: Path) -> int:
    return len(spark.read.parquet(str(folder)).toPandas())


def to_torch(spark: Any, folder: Path) -> int:
    """What `TorchDistributor` leaves to its users."""
    import torch

    with tempfile.TemporaryDirectory(dir=folder.parent) as copy:
        spark.read.parquet(str(folder)).write.mode("overwrite").parquet(copy)
        arrays = as_arrays(Path(copy))
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return len(tensors["y"])


CASES: dict[str, Callable[[Any, Path], Callable[[], int]]] = {
    "path": lambda spark, folder: lambda: loaded(folder),
    "frame": lambda spark, folder: lambda: loaded(spark.read.parquet(str(folder))),
    "arrow": lambda spark, folder: partial(loaded, pq.read_table(folder)),
    "arrays": lambda spark, folder: partial(loaded, as_arrays(folder)),
    "encoded": lambda spark, folder: lambda: loaded(folder, features=Pixels()),
    "toPandas": lambda spark, folder: lambda: to_pandas(spark, folder),
    "torch": lambda spark, folder: lambda: to_torch(spark, folder),
}
FOLDERS = {
    "floats": (write_floats, ["path", "frame", "arrow", "arrays", "toPandas", "torch"]),
    "images": (write_images, ["path", "frame", "arrow", "toPandas", "torch"]),
    "jpeg": (write_jpeg, ["encoded", "toPandas"]),
}


@contextmanager
def peaks() -> Iterator[dict[str, float]]:
    """Megabytes at most of the driver, of JVMs, of Python workers that live at once; samples until the end."""
    found, ended = {"driver": 0.0, "jvm": 0.0, "workers": 0.0}, threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            now = dict.fromkeys(found, 0.0)
            for pid, kind in _family():
                now[kind] += _resident(pid)
            found.update({kind: max(found[kind], size) for kind, size in now.items()})

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _family() -> Iterator[tuple[int, str]]:
    """This process and those it started, and what they are."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (entry / "stat").read_text().rpartition(")")
        except OSError:
            continue
        parents[int(entry.name)], names[int(entry.name)] = int(rest.split()[1]), name.partition("(")[2]
    for pid in parents:
        above = pid
        while above > 1 and above != os.getpid():
            above = parents.get(above, 0)
        if above == os.getpid():
            yield pid, "driver" if pid == above else "jvm" if names[pid] == "java" else "workers"


def _resident(pid: int) -> float:
    """Megabytes of its own: pages of files that it maps are the kernel's to drop."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(float(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem"))) / 1024


def run(case: str, folder: Path, master: str, memory: str, repeats: int) -> dict[str, Any]:
    """Seconds of each repetition of a case, its rows, and the peaks of memory."""
    config = {"spark.ui.enabled": "false", "spark.driver.memory": memory, "spark.driver.maxResultSize": "0"}
    if not master.startswith("local["):
        config["spark.executor.extraJavaOptions"] = f"-Xmx{memory}"
    with peaks() as found:
        spark = fdl_spark.session(master, config=config)
        load({"x": np.zeros(8)}, batch_size=8).close()
        measured, seconds = CASES[case](spark, folder), []
        for _ in range(repeats):
            start = time.perf_counter()
            rows = measured()
            seconds.append(time.perf_counter() - start)
        spark.stop()
    return {"rows": rows, "seconds": seconds, "megabytes": found}


def main() -> None:
    """Write the data, and run each case in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--gigabytes", type=float, default=0.0, help="only floats from a path, so many bytes of them")
    parser.add_argument("--memory", default="4g", help="of the JVM's heap")
    parser.add_argument("--master", default="local[2]")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="one kind of data, or one case of it: floats, floats/path")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        case, folder = options.case
        print(json.dumps(run(case, Path(folder), options.master, options.memory, options.repeats)))
        return
    for name, (write, cases) in FOLDERS.items():
        rows = options.rows if name == "floats" else options.images
        if options.gigabytes:
            rows, cases = int(options.gigabytes * 1e9 / (4 * FLOATS + 8)), ["path"] if name == "floats" else []
        chosen = [case for case in cases if f"{name}/{case}".startswith(options.only)]
        if chosen:
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder), rows)
                for case in chosen:
                    _told(name, case, folder, options)


def _told(name: str, case: str, folder: str, options: argparse.Namespace) -> None:
    """Run a case, and print a line."""
    command = [sys.executable, "-m", "benchmarks.spark.ingest", "--case", case, folder]
    for option in ("memory", "master", "repeats"):
        command += [f"--{option}", str(getattr(options, option))]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        print(f"{name:8} {case:9} left out: {done.stderr.strip().splitlines()[-1][:150]}", flush=True)
        return
    found = json.loads(done.stdout.splitlines()[-1])
    speeds = " ".join(f"{found['rows'] / seconds:11,.0f}" for seconds in found["seconds"])
    sizes = " ".join(f"{kind} {size:6,.0f}" for kind, size in found["megabytes"].items())
    print(f"{name:8} {case:9} rows/s {speeds}   MB {sizes}", flush=True)


if __name__ == "__main__":
    main()
