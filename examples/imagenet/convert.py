"""ImageNet as Parquet files of JPEGs: `python -m examples.imagenet.convert SOURCE TARGET`.

SOURCE has the folders train and val. In each are either folders of images, one for a class (ImageNet's after its
archives are unpacked: train/n01440764/n01440764_10026.JPEG), or Hadoop sequence files, *.seq, as BigDL writes them.
Spark's executors read, a few images at a time, and write; paths may be URIs of any file system that they know.
"""

import argparse
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs
from pyspark.sql import functions as F

import fdl_spark
from examples.command import without_pandas_warning
from examples.imagenet.sequence_files import labelled_images

SCHEMA = pa.schema([("image", pa.binary()), ("label", pa.int32())])
SQL_SCHEMA = "image binary, label int"
PARTS = ("train", "val")
ROWS = 16  # images of a record batch
QUALITY = 95  # of the JPEGs that pixels of sequence files become
IMAGES = "*.{JPEG,jpeg,jpg,JPG,png}"


def convert(spark: Any, source: str, target: str, *, rows: int = 10_000) -> list[str]:
    """Write target/train and target/val, columns image (binary) and label (int).

    Args:
      spark: the session.
      source: folder or URI, with train and val.
      target: folder or URI, which does not exist.
      rows: the most images of a file.

    Returns:
      The names of the classes in the order of their labels; those of sequence files have none.

    Raises:
      FileNotFoundError: there are neither images nor sequence files.
    """
    classes: list[str] = []
    for part in PARTS:
        frame, found = _read(spark, f"{source.rstrip('/')}/{part}", classes)
        classes = classes or found
        writer = frame.write.option("maxRecordsPerFile", rows).option("compression", "uncompressed")
        writer.option("parquet.block.size", 32 << 20).parquet(f"{target.rstrip('/')}/{part}")
    if classes:
        spark.createDataFrame([(name,) for name in classes], "value string").coalesce(1).write.text(f"{target}/classes")
    return classes


def _read(spark: Any, folder: str, classes: Sequence[str]) -> tuple[Any, list[str]]:
    """The images below a folder, and the names of the classes, where they are not given."""
    sequences = _files(spark, folder, "*.seq")
    if sequences:
        paths = spark.createDataFrame([(path,) for path in sequences], "path string").repartition(len(sequences))
        with without_pandas_warning():
            return paths.mapInArrow(_of_sequence_files, SQL_SCHEMA), []
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    files = files.option("pathGlobFilter", IMAGES).load(folder)
    name = F.element_at(F.split("path", "/"), -2)
    names = list(classes) or sorted(row[0] for row in files.select(name).distinct().collect())
    if not names:
        raise FileNotFoundError(f"{folder} has neither folders of images nor sequence files *.seq")
    place = F.array_position(F.array(*map(F.lit, names)), name) - 1
    label = F.when(place >= 0, place.cast("int")).otherwise(
        F.raise_error(F.concat(F.lit("no class of the training images: "), "path")).cast("int")
    )
    return files.select(F.col("content").alias("image"), label.alias("label")), names


def _files(spark: Any, folder: str, pattern: str) -> list[str]:
    """The files of a folder whose names are of a pattern, in the order of their paths."""
    frame = spark.read.format("binaryFile").option("pathGlobFilter", pattern).load(folder)
    return sorted(row.path for row in frame.select("path").collect())


def _of_sequence_files(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for path in batch["path"].to_pylist():
            system, place = fs.FileSystem.from_uri(path.replace("file:/", "file:///") if "///" not in path else path)
            rows: list[dict[str, Any]] = []
            with system.open_input_stream(place) as file:
                for image, label in labelled_images(file, path, _jpeg):
                    rows.append({"image": image, "label": label})
                    if len(rows) == ROWS:
                        yield pa.RecordBatch.from_pylist(rows, SCHEMA)
                        rows = []
            if rows:
                yield pa.RecordBatch.from_pylist(rows, SCHEMA)


def _jpeg(pixels: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    options = argparse.ArgumentParser(prog="python -m examples.imagenet.convert", description=__doc__.splitlines()[0])
    options.add_argument("source", help="with train/ and val/, of folders of images or of sequence files")
    options.add_argument("target", help="a new folder")
    options.add_argument("--master", help="Spark's, such as local[2] or spark://host:7077")
    given = options.parse_args(arguments)
    spark = fdl_spark.session(given.master, "imagenet")
    classes = convert(spark, given.source, given.target)
    for part in PARTS:
        count = spark.read.parquet(f"{given.target}/{part}").count()
        print(f"{given.target}/{part}: {count:,} images")
    print(f"{len(classes):,} classes by name" if classes else "classes by number, as the sequence files have them")


if __name__ == "__main__":
    main()
