"""One program of DataFrames against a flow of files between processes: `examples.image_pipeline`, in scenes a second.

    python -m examples.image_pipeline --folder file:///tmp/scenes --save /tmp/networks.safetensors
    python -m benchmarks.image_pipeline --folder /tmp/scenes --networks /tmp/networks.safetensors

Both sides begin with JPEGs in Parquet and end with Parquet of objects, codes and neighbours, have the same weights and
two cores. The flow is what a user has who connects Spark to networks elsewhere: the images are written as files, a
PyTorch process detects and writes crops, another one encodes them and looks for neighbours, and the result is read
back. It is given what it can be: its processes are there already and warm, objects are written a batch a file and
without compression, images are decoded by two threads, and channels are last if that is faster. PyTorch's results are
compared with ours before anything is timed. Rounds alternate, and medians are compared.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import fdl
import fdl_spark
from examples.image_pipeline import pipeline, task
from examples.image_pipeline.scenes import SCHEMA, materials, write_scenes
from fdl import random
from fdl.models import ssd


class Flow:
    """The processes of the connector flow.

    Args:
      params: of the detector and of the encoder.
      gallery: codes, as of `pipeline.as_gallery`.
      work: folder for files.
      layout: "first" or "last": where channels of images are in memory.
    """

    def __init__(self, params: Any, gallery: Any, work: Path, layout: str):
        content = work / f"weights-{layout}.npz"
        plain: dict[str, Any] = {name: np.array(fdl.tree.map(np.asarray, one), object) for name, one in params.items()}
        np.savez(content, priors=np.asarray(ssd.priors(task.DETECTOR)), gallery=np.array(gallery, object), **plain)
        self.work, self.rounds = work / layout, 0
        self.work.mkdir()
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        self.stages = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.image_pipeline_stages", stage, str(content), layout],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )
            for stage in ("detect", "encode")
        ]  # fmt: skip
        for stage in self.stages:
            self._answer(stage)

    def _answer(self, stage: subprocess.Popen) -> Any:
        assert stage.stdout is not None
        line = stage.stdout.readline()
        if not line:
            raise RuntimeError(f"a stage of the flow ended with {stage.wait()}")
        return json.loads(line)

    def run(self, scenes: Path, out: Path) -> dict[str, float]:
        """From Parquet to Parquet; the seconds of each part."""
        folder = self.work / str(self.rounds)
        self.rounds += 1
        folder.mkdir()
        marks = [time.perf_counter()]
        (folder / "images").mkdir()
        table = pq.read_table(scenes, columns=["scene", "image"])
        for number, image in zip(table["scene"].to_pylist(), table["image"].to_pylist(), strict=True):
            (folder / "images" / f"{number:09d}.jpg").write_bytes(image)
        marks.append(time.perf_counter())
        places = [folder / name for name in ("images", "objects", "codes")]
        for stage, (source, target) in zip(self.stages, pairwise(places), strict=True):
            assert stage.stdin is not None
            stage.stdin.write(json.dumps([str(source), str(target)]) + "\n")
            stage.stdin.flush()
            self._answer(stage)
            marks.append(time.perf_counter())
        pq.write_table(self.gathered(folder / "codes"), out)
        marks.append(time.perf_counter())
        shutil.rmtree(folder)
        names = ("write files", "detect", "encode and compare", "read back")
        return dict(zip(names, np.diff(marks).tolist(), strict=True))

    def gathered(self, folder: Path) -> pa.Table:
        """The results of all files, as one table."""
        tables = []
        for path in sorted(folder.glob("*.npz")):
            with np.load(path) as read:
                columns = {name: list(read[name]) if read[name].ndim > 1 else read[name] for name in read.files}
            columns["crop"] = [crop.tobytes() for crop in columns["crop"]]
            tables.append(pa.table(columns))
        return pa.concat_tables(tables)

    def close(self) -> None:
        """End the processes."""
        for stage in self.stages:
            assert stage.stdin is not None
            stage.stdin.close()
            stage.wait()


def compare(ours: pa.Table, theirs: pa.Table) -> str:
    """Raise unless the tables have the same objects; what differs in the last bits, as text."""
    ours = ours.sort_by([("scene", "ascending"), ("score", "descending")])
    theirs = theirs.sort_by([("scene", "ascending"), ("score", "descending")])
    for name in ("scene", "digit"):
        np.testing.assert_array_equal(ours[name].to_numpy(), theirs[name].to_numpy(), name)
    arrays = [[np.stack(table[name].to_numpy()) for table in (ours, theirs)] for name in ("box", "score")]
    for a, b in arrays:
        np.testing.assert_allclose(a, b, atol=1e-4)
    crops = [np.frombuffer(b"".join(table["crop"].to_pylist()), np.uint8).astype(int) for table in (ours, theirs)]
    far = np.abs(crops[0] - crops[1])
    assert far.max() <= 1, f"crops differ by {far.max()} of 255"
    codes = [table["code"].to_numpy() for table in (ours, theirs)]
    bits = np.mean([int(a ^ b).bit_count() for a, b in zip(*codes, strict=True)])
    near = [np.stack(table["neighbour"].to_numpy()) for table in (ours, theirs)]
    same = np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(*near, strict=True)])
    assert bits < 0.05 and same > 0.99, f"{bits} bits of a code, {same} of neighbours"
    return (
        f"{len(codes[0]):,} objects, the same scenes and digits; {100 * np.mean(far > 0):.3f} % of the bytes of crops "
        f"differ by 1, {bits:.4f} bits a code, {100 * (1 - same):.2f} % of neighbours (ties)"
    )


def composed(spark: Any, folder: str, count: int) -> Any:
    """So many scenes of held-out digits and photographs, which are kept in the folder."""
    path = Path(folder) / f"scenes-{count}"
    if not (path / "_SUCCESS").exists():
        write_scenes(spark, materials()[1], 1, 0, count, path.as_uri(), 2)
    return spark.read.schema(SCHEMA).parquet(path.as_uri())


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_pipeline", description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="of a run of the example: its gallery; scenes are added to it")
    parser.add_argument("--networks", required=True, help="file that the example saved")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=4, help="runs of the program before those that are timed")
    parser.add_argument("--scenes", type=int, nargs="+", default=[250, 500, 2000])
    given = parser.parse_args()
    params = fdl.load(given.networks, like=networks())
    spark = fdl_spark.session("local[2]", "benchmarks.image_pipeline")
    with tempfile.TemporaryDirectory(prefix="flow.") as temporary:
        work = Path(temporary)
        every = composed(spark, given.folder, max(given.scenes))
        for count in given.scenes:
            some = every.where(f"scene < {count}").select("scene", "image")
            some.repartition(2).write.parquet(f"{work}/scenes-{count}")
        gallery = pipeline.as_gallery(spark.read.parquet(f"{given.folder}/gallery"))
        print(f"{len(gallery['code']):,} objects in the gallery", flush=True)

        def program(count: int) -> float:
            began = time.perf_counter()
            scenes = spark.read.schema("scene bigint, image binary").parquet(f"{work}/scenes-{count}")
            made = pipeline.pipeline(params["detector"], params["encoder"], gallery, scenes)
            made.write.mode("overwrite").parquet(f"{work}/ours")
            return time.perf_counter() - began

        def connector(layout: str, count: int) -> dict[str, float]:
            return flows[layout].run(work / f"scenes-{count}", work / "theirs.parquet")

        flows = {layout: Flow(params, gallery, work, layout) for layout in ("first", "last")}
        try:
            least = min(given.scenes)
            for _ in range(given.warm):
                program(least)
            for layout in flows:
                connector(layout, least)
                print(compare(pq.read_table(work / "ours"), pq.read_table(work / "theirs.parquet")), flush=True)
            trial = {layout: sum(connector(layout, least).values()) for layout in flows}
            layout = min(trial, key=lambda name: trial[name])
            for count in given.scenes:
                ours, theirs = [], []
                for _ in range(given.rounds):
                    theirs.append(connector(layout, count))
                    ours.append(program(count))
                report(count, layout, ours, theirs)
        finally:
            for flow in flows.values():
                flow.close()


def report(count: int, layout: str, ours: list[float], theirs: list[dict[str, float]]) -> None:
    """Print medians and ratios for a number of scenes."""
    parts = {name: statistics.median(one[name] for one in theirs) for name in theirs[0]}
    whole = statistics.median(sum(one.values()) for one in theirs)
    mine = statistics.median(ours)
    print(f"{count:,} scenes")
    print(f"  one program      {count / mine:8.1f} scenes/s   {mine:.2f} s")
    print(f"  connector flow   {count / whole:8.1f} scenes/s   {whole:.2f} s, channels {layout}: {_seconds(parts)}")
    ratios = [sum(a.values()) / b for a, b in zip(theirs, ours, strict=True)]
    print(
        f"  times            {whole / mine:8.2f}            rounds from {min(ratios):.2f} to {max(ratios):.2f}",
        flush=True,
    )


def networks() -> Any:
    """Parameters like those that the example saves."""
    key = random.key(0)
    make = {"detector": lambda: ssd.init(key, task.DETECTOR), "encoder": lambda: task.init_encoder(key)}
    return {name: fdl.eval_shape(made) for name, made in make.items()}


def _seconds(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in parts.items())


if __name__ == "__main__":
    main()
