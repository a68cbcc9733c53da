"""`fdl_spark.predict` beside Spark's `predict_batch_udf` with PyTorch: the same rows, parameters and session settings.

    python -m benchmarks.spark.predict [--rows 1000000] [--works mlp scalars lenet] [--rounds 3] [--folder DIR]

Each side is a process with a session of two cores of its own. The sums of what they predict must agree before anything
is timed; then they take turns, and medians of rows a second are compared. What is timed is a query that reads the rows
from Parquet and sums the predictions; a query that only reads them says how much of that is reading.
"""

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import lenet, mlp
from benchmarks.report import table
from benchmarks.spark.channel import Channel, Closed
from benchmarks.spark.side import Side

WIDTH = 32
LAYERS = (WIDTH, 128, 64, 10)
TITLES = {
    "mlp": f"MLP {'-'.join(map(str, LAYERS))}, one array column",
    "scalars": f"the same, {WIDTH} scalar columns",
    "lenet": "LeNet-5, one array column of 784",
}
SIDES = ("fdl", "torch")
BATCH = 1024
LONGEST = 3600.0
SETTINGS = {"spark.ui.enabled": "false", "spark.driver.memory": "2g"}


def parameters(work: str) -> dict[str, Any]:
    """The parameters of a work, as NumPy arrays."""
    return lenet.inputs(1)[0] if work == "lenet" else mlp.inputs(1, LAYERS)[0]


def prepare(work: str, rows: int, folder: Path) -> None:
    """Write rows as Parquet: `x`, or x0 to x31."""
    import fdl_spark

    spark = fdl_spark.session("local[2]", config=SETTINGS)
    width = 784 if work == "lenet" else WIDTH
    values = [f"float(sin(id * {n + 1}))" for n in range(width)] if work != "lenet" else []
    if work == "scalars":
        chosen = [f"{value} AS x{n}" for n, value in enumerate(values)]
    elif work == "mlp":
        chosen = [f"array({', '.join(values)}) AS x"]
    else:
        chosen = [f"transform(sequence(1, {width}), n -> float(sin(id * n))) AS x"]
    spark.range(0, rows, 1, 8).selectExpr(*chosen).write.parquet(str(folder))
    spark.stop()


def fdl_apply(work: str) -> Callable[[Any, Any], Any]:
    """(params, batch) -> logits."""
    import fdl
    import fdl.numpy as fnp
    from benchmarks import functional

    def multilayer(params: Any, x: Any) -> Any:
        for i in range(len(params)):
            x = x @ params[f"dense{i}"]["w"] + params[f"dense{i}"]["b"]
            x = fdl.nn.relu(x) if i < len(params) - 1 else x
        return x

    def convolutional(params: Any, x: Any) -> Any:
        x = x.reshape(-1, 28, 28, 1)
        for name, padding in (("conv0", "SAME"), ("conv1", "VALID")):
            x = fdl.nn.relu(functional.conv(fdl, x, params[name]["w"], 1, padding) + params[name]["b"])
            x = functional.max_pool(fdl, x, 2, 2)
        return multilayer({f"dense{i}": params[f"dense{i}"] for i in range(3)}, x.reshape(x.shape[0], -1))

    def apply(params: Any, batch: Any) -> Any:
        x = fnp.stack([batch[f"x{n}"] for n in range(WIDTH)], axis=1) if work == "scalars" else batch["x"]
        return convolutional(params, x) if work == "lenet" else multilayer(params, x)

    return apply


def torch_function(work: str, params: dict[str, Any]) -> Callable[[], Callable[..., Any]]:
    """What `predict_batch_udf` takes: it makes the function of a batch of arrays, once in each worker."""

    def make() -> Callable[..., Any]:
        import torch

        torch.set_num_threads(1)
        F = torch.nn.functional
        leaves = {
            f"{name}.{kind}": torch.tensor(leaf) for name, layer in params.items() for kind, leaf in layer.items()
        }
        if work == "lenet":
            for name in ("conv0", "conv1"):
                leaves[f"{name}.w"] = leaves[f"{name}.w"].permute(3, 2, 0, 1).contiguous()
            w = leaves["dense0.w"].reshape(5, 5, 16, 120)
            leaves["dense0.w"] = w.permute(2, 0, 1, 3).reshape(400, 120)
        dense = sorted(name for name in params if name.startswith("dense"))
        for name in dense:
            leaves[f"{name}.w"] = leaves[f"{name}.w"].T.contiguous()

        def predict(*columns: np.ndarray) -> np.ndarray:
            x = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
            with torch.inference_mode():
                h = torch.from_numpy(np.ascontiguousarray(x, np.float32))
                if work == "lenet":
                    h = h.reshape(-1, 1, 28, 28)
                    h = F.max_pool2d(F.relu(F.conv2d(h, leaves["conv0.w"], leaves["conv0.b"], padding=2)), 2)
                    h = F.max_pool2d(F.relu(F.conv2d(h, leaves["conv1.w"], leaves["conv1.b"])), 2).flatten(1)
                for name in dense:
                    h = F.linear(h, leaves[f"{name}.w"], leaves[f"{name}.b"])
                    h = F.relu(h) if name != dense[-1] else h
                return np.asarray(h.numpy())

        return predict

    return make


def scored(side: str, work: str, frame: Any) -> Any:
    """The frame with a column p of ten logits."""
    from pyspark.ml.functions import predict_batch_udf
    from pyspark.sql.types import ArrayType, FloatType

    import fdl_spark

    if side == "fdl":
        return fdl_spark.predict(fdl_apply(work), parameters(work), frame, "p", batch_size=BATCH)
    shapes = [[784 if work == "lenet" else WIDTH]] if work != "scalars" else None
    made = torch_function(work, parameters(work))
    udf = predict_batch_udf(made, return_type=ArrayType(FloatType()), batch_size=BATCH, input_tensor_shapes=shapes)
    return frame.withColumn("p", udf(*frame.columns))


def sums(frame: Any) -> list[float]:
    """What is asked for: the sums of the logits, of which Spark must compute all."""
    from pyspark.sql import functions as sql

    row = frame.select(*(sql.sum(sql.col("p")[n].cast("double")) for n in range(10))).first()
    return [float(value) for value in row]


def read(frame: Any) -> list[float]:
    """The rows without a model: the sums of what is read."""
    from pyspark.sql import functions as sql

    def whole(name: str) -> Any:
        column = sql.col(name)
        return sql.size(column) if name == "x" else column

    return [float(value) for value in frame.select(*(sql.sum(whole(name)) for name in frame.columns)).first()]


def serve() -> None:
    """A side: answers {"work", "folder"} with the seconds of its query and its sums."""
    import fdl_spark

    side, door = sys.argv[2:]
    spark = fdl_spark.session("local[2]", config=SETTINGS)
    channel = Channel.connect(door)

    @functools.cache
    def frame(work: str, folder: str) -> Any:
        rows = spark.read.parquet(folder)
        return rows if side == "read" else scored(side, work, rows)

    while (request := channel.receive()) != "stop":
        query = frame(request["work"], request["folder"])
        started = time.perf_counter()
        found = read(query) if side == "read" else sums(query)
        channel.send({"seconds": time.perf_counter() - started, "sums": found})
    spark.stop()


def measure(works: list[str], rows: int, rounds: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Seconds of each side's queries, by work.

    Raises:
      Closed: a side broke down, or the sums do not agree.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for work in works:
        data = folder / f"{work}-{rows}"
        if not data.exists():
            prepare(work, rows, data)
        sides: dict[str, Side] = {}
        with tempfile.TemporaryDirectory() as private:
            try:
                for name in ("read", *SIDES):
                    sides[name] = Side(name, "benchmarks.spark.predict", ["--serve", name], private)
                request = {"work": work, "folder": str(data)}
                first = {name: side.ask(request, LONGEST)["sums"] for name, side in sides.items()}
                check(work, rows, first["fdl"], first["torch"])
                found[work] = {name: [] for name in sides}
                for _ in range(rounds):
                    for name, side in sides.items():
                        found[work][name].append(side.ask(request, LONGEST)["seconds"])
            finally:
                for side in sides.values():
                    side.close()
        print(json.dumps({work: found[work]}), file=sys.stderr, flush=True)
    return found


def check(work: str, rows: int, ours: list[float], theirs: list[float]) -> None:
    """Raise Closed unless the means of the logits are those of the other side."""
    if not np.allclose(np.array(ours) / rows, np.array(theirs) / rows, rtol=1e-4, atol=1e-5):
        raise Closed(f"{work}: the sums are {ours} and {theirs}")


def report(found: dict[str, dict[str, list[float]]], rows: int) -> str:
    """A table of rows a second."""
    lines = []
    for work, seconds in found.items():
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        speed = [f"{rows / middle[name]:,.0f}" for name in ("read", *SIDES)]
        lines.append([TITLES[work], *speed, f"{middle['torch'] / middle['fdl']:.2f}"])
    return table(["rows a second", "without a model", "predict", "predict_batch_udf, PyTorch", "times"], lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--works", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keep the rows here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = options.folder or Path(folder)
        found = measure(options.works, options.rows, options.rounds, kept)
    print(report(found, options.rows))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve()
    else:
        main()
