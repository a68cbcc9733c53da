"""The same rows give the same blocks, whatever they come from; tables of other kinds are read as such or refused."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

import fdl_spark
from fdl_spark.data import load as module
from fdl_spark.data import parquet, source
from fdl_spark.data.block import KINDS
from fdl_spark.data.load import load
from fdl_spark.data.scan import scanned_files

ROWS = 41
X = np.random.default_rng(3).standard_normal((ROWS, 3)).astype(np.float32)
Y = np.arange(ROWS, dtype=np.int64)
# Of unequal lengths, so that Spark would read the last file first.
CUTS = [(0, 5), (5, 11), (11, ROWS)]


def blocks(data, **options):
    """The bytes of all blocks, and whether files of the data set stay on disk afterwards."""
    dataset = load(data, batch_size=8, shards=3, tasks=2, **options)
    try:
        paths = [Path(block.path) for block in dataset.blocks.collect()]
        contents = [path.read_bytes() for path in paths]
        beside = [path for kind in KINDS for path in paths[0].parent.glob(f"fdl-{dataset.name}*.{kind}")]
        assert sorted(beside) == sorted(paths)
        return contents
    finally:
        dataset.close()


def table(first=0, last=ROWS):
    x = pa.array(list(X[first:last]), pa.list_(pa.float32()))
    return pa.table({"x": x, "y": Y[first:last]})


def write(folder, kind):
    """Files of one format, the folder of which is returned."""
    folder.mkdir(exist_ok=True)
    for number, (first, last) in enumerate(CUTS):
        path, rows = folder / f"part-{number}.{kind}", table(first, last)
        if kind == "parquet":
            pq.write_table(rows, path, row_group_size=7)
        elif kind == "orc":
            pyarrow.orc.write_table(rows, path)
        elif kind == "json":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows.to_pylist()))
        else:
            columns = {f"x{n}": X[first:last, n] for n in range(3)} | {"y": Y[first:last]}
            pd.DataFrame(columns).to_csv(path, index=False)
    (folder / "_SUCCESS").touch()
    return folder


@pytest.fixture(scope="module")
def expected(spark):
    return blocks({"x": X, "y": Y})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("rows") / "with space", "parquet")


def fixed():
    return pa.table({"x": pa.FixedSizeListArray.from_arrays(X.ravel(), 3), "y": Y})


MEMORY = {
    "an Arrow table": table,
    "an Arrow table of several chunks": lambda: pa.concat_tables([table(0, 7), table(7, 7), table(7)]),
    "a record batch": lambda: table().combine_chunks().to_batches()[0],
    "lists of fixed size": fixed,
    "large lists": lambda: table().cast(pa.schema([("x", pa.large_list(pa.float32())), ("y", pa.int64())])),
    "doubles": lambda: table().cast(pa.schema([("x", pa.list_(pa.float64())), ("y", pa.int64())])),
    "pandas": lambda: pd.DataFrame({"x": list(X), "y": Y}, index=range(5, 5 + ROWS)),
    "another library's table": lambda: SimpleNamespace(__arrow_c_stream__=table().__arrow_c_stream__),
}


@pytest.mark.parametrize("kind", MEMORY)
def test_tables_in_memory(expected, kind):
    assert blocks(MEMORY[kind]()) == expected


def test_frames_and_rdds(spark, expected):
    rdd = spark.sparkContext.parallelize(table().to_pylist(), 3)
    assert blocks(spark.createDataFrame(rdd, "x array<float>, y bigint")) == expected
    assert blocks(rdd) == expected


def test_parquet_files(spark, folder, expected, monkeypatch):
    """A folder, a pattern, a list in another order, and as Spark reads them."""
    assert blocks(folder) == expected
    assert blocks(f"{folder}/part-*.parquet") == expected
    assert blocks([str(path) for path in sorted(folder.glob("part-*"), reverse=True)]) == expected
    monkeypatch.setattr(parquet, "_is_plain", lambda *_: False)
    assert blocks(folder, columns=["x", "y"]) == expected


@pytest.fixture(params=["executors", "Spark"])
def reader(request, monkeypatch):
    """Who reads Parquet."""
    if request.param == "Spark":
        monkeypatch.setattr(parquet, "_is_plain", lambda *_: False)


def test_folders_in_folders(spark, tmp_path, expected, reader):
    """A folder stands for all files below it, each of them once, however deep they are and whatever names them."""
    for name, (first, last) in zip(("a.parquet", "b/c/d.parquet", "b/e.parquet"), CUTS, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table(first, last), tmp_path / name)
    assert blocks(tmp_path) == expected
    assert blocks([tmp_path, tmp_path / "b", tmp_path / "a.parquet", tmp_path]) == expected


def test_folders_above_a_path_name_no_columns(spark, tmp_path, expected):
    paths = [tmp_path / "rate=0.1" / "a.parquet", tmp_path / "b.parquet", tmp_path / "w=1" / "c.parquet"]
    for path, (first, last) in zip(paths, CUTS, strict=True):
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table(first, last), path)
    contents = [pq.read_table(path) for path in sorted(paths)]
    assert blocks(paths) == blocks(pa.concat_tables(contents))


def test_text_is_refused_before_rows_are_read(spark, tmp_path, monkeypatch):
    pq.write_table(pa.table({"x": [1.0, 2.0], "name": [None, "a"]}), tmp_path / "a.parquet")
    monkeypatch.setattr(parquet, "_batches", None)
    for data in (tmp_path, spark.read.parquet(str(tmp_path))):
        with pytest.raises(fdl_spark.ColumnError, match="column 'name': string is not numeric"):
            load(data, batch_size=2)


def test_files_that_are_cut_while_they_are_read(spark, tmp_path, monkeypatch):
    pq.write_table(table(), tmp_path / "a.parquet", row_group_size=7)
    whole, read = (tmp_path / "a.parquet").read_bytes(), parquet._promised

    def cut(*arguments):
        found = read(*arguments)
        (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
        return found

    monkeypatch.setattr(parquet, "_promised", cut)
    with pytest.raises(fdl_spark.DataError, match="a.parquet is damaged, or changed while it was read"):
        load(tmp_path, batch_size=2)


def test_rows_go_through_a_shuffle_where_workers_may_not_map_all_blocks(spark, folder, expected, monkeypatch):
    monkeypatch.setattr(module, "NEAR_TASKS", 1)
    assert blocks(folder) == expected


def test_unsigned_numbers_of_files(spark, tmp_path, reader):
    """Spark has none, and so they are what it makes of them, whoever reads."""
    kinds = {"a": np.uint8, "b": np.uint16, "c": np.uint32}
    rows = {name: np.array([np.iinfo(kind).max, 0, 7], kind) for name, kind in kinds.items()}
    lists = pa.FixedSizeListArray.from_arrays(np.arange(250, 256, dtype=np.uint8), 2)
    pq.write_table(pa.table({**rows, "d": lists}), tmp_path / "a.parquet")
    larger = dict(zip(kinds, (np.int16, np.int32, np.int64), strict=True))
    numbers = {name: rows[name].astype(kind) for name, kind in larger.items()}
    assert blocks(tmp_path) == blocks({**numbers, "d": np.arange(250, 256, dtype=np.int16).reshape(3, 2)})


FRAMES = {
    "files": lambda frame: frame,
    "columns": lambda frame: frame.select("y", "x"),
    "rows that are left out": lambda frame: frame.where("y >= 7"),
    "rows that are changed": lambda frame: frame.withColumn("y", frame.y + 1),
    "other types": lambda frame: frame.withColumn("x", frame.x.cast("array<double>")),
    "the first rows": lambda frame: frame.limit(20),
    "rows twice": lambda frame: frame.union(frame),
    "in another order": lambda frame: frame.orderBy("y", ascending=False),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_parquet_files(spark, folder, monkeypatch, kind):
    """The executors read the files themselves where a frame is nothing else, cut as Spark cuts them."""
    spark.conf.set("spark.sql.files.maxPartitionBytes", "800")
    spark.conf.set("spark.sql.files.openCostInBytes", "0")
    try:
        frame = FRAMES[kind](spark.read.parquet(str(folder)))
        assert (scanned_files(frame) is not None) == (kind in ("files", "columns"))
        found = blocks(frame)
        monkeypatch.setattr(source, "scanned_files", lambda frame: None)
        assert found == blocks(frame)
    finally:
        spark.conf.unset("spark.sql.files.maxPartitionBytes")
        spark.conf.unset("spark.sql.files.openCostInBytes")


def test_frames_with_a_schema_of_their_own(spark, folder):
    """Whole numbers as floats, columns that the files lack, rows of folders with values: Spark computes these."""
    for schema in ("x array<float>, y int", "x array<double>", "y bigint, z float"):
        frame = spark.read.schema(schema).parquet(str(folder))
        pieces, told = scanned_files(frame)
        assert parquet.parquet_chunks(pieces, told, spark.sparkContext, None, None) is None
    assert scanned_files(spark.range(3)) is None


def test_rows_that_go_through_a_shuffle(spark, folder, expected, monkeypatch):
    monkeypatch.setattr(module, "is_near", lambda context: False)
    for data in ({"x": X, "y": Y}, table(), spark.createDataFrame(table()), folder):
        assert blocks(data) == expected
    assert len(blocks(TEXT, features=Lengths())) == 2


def test_rows_are_read_and_encoded_once_where_they_go_through_a_shuffle(spark, tmp_path, monkeypatch):
    """And their files are gone when blocks were made again from lineage."""
    monkeypatch.setattr(module, "is_near", lambda context: False)
    reads = tmp_path / "reads"

    def told(row):
        with open(reads, "a") as file:
            file.write(f"{row['y']}\n")
        return row

    class Counted(Lengths):
        def encode(self, batch):
            with open(reads, "a") as file:
                file.writelines(f"{n}\n" for n in batch.column("n").to_pylist())
            return super().encode(batch)

    pq.write_table(TEXT, tmp_path / "rows.parquet")
    rows = [{"y": n} for n in range(ROWS)]
    for data, options in (
        (spark.sparkContext.parallelize(rows, 3).map(told), {}),
        (tmp_path / "rows.parquet", {"features": Counted()}),
        (spark.createDataFrame(TEXT), {"features": Counted()}),
    ):
        reads.unlink(missing_ok=True)
        dataset = load(data, batch_size=8, shards=3, tasks=2, **options)
        assert reads.read_text().splitlines().count(str(ROWS - 1)) == 1
        dataset.rebuild()
        paths = [Path(block.path) for block in dataset.blocks.collect()]
        beside = [path for kind in KINDS for path in paths[0].parent.glob(f"fdl-{dataset.name}*.{kind}")]
        dataset.close()
        assert sorted(beside) == sorted(paths)


def test_row_groups_that_are_read_apart(spark, folder, expected, monkeypatch):
    monkeypatch.setattr(parquet, "PART_BYTES", 1)
    assert blocks(f"file://{folder}") == expected


@pytest.mark.parametrize("kind", ["orc", "json"])
def test_files_that_spark_reads(spark, tmp_path, expected, kind):
    found = blocks(write(tmp_path / kind, kind))
    if kind == "json":  # numbers are doubles there, and columns in alphabetical order
        assert len(found) == 2 and sorted(map(len, found)) == sorted(map(len, expected))
    assert found == expected


def test_csv_files(spark, tmp_path):
    expected = blocks({**{f"x{n}": X[:, n] for n in range(3)}, "y": Y.astype(np.int32)})
    assert blocks(write(tmp_path / "csv", "csv")) == expected


def test_folders_of_partitions(spark, tmp_path):
    """The value in a folder's name is a column, and rows come in the order of the paths."""
    for number, (first, last) in enumerate(CUTS):
        (tmp_path / f"k={number}").mkdir()
        pq.write_table(table(first, last), tmp_path / f"k={number}" / "rows.parquet")
    keys = np.repeat(np.arange(3, dtype=np.int32), [last - first for first, last in CUTS])
    assert blocks(tmp_path, columns=["k", "y"]) == blocks({"k": keys, "y": Y})


def test_files_of_no_rows_and_of_other_columns(spark, tmp_path, expected):
    folder = write(tmp_path / "rows", "parquet")
    pq.write_table(table(0, 0), folder / "part-00.parquet")
    assert blocks(folder) == expected
    with pytest.raises(fdl_spark.MissingColumnError, match=r"columns= asked for column 'z'; .*\['x', 'y'\]"):
        load(folder, batch_size=2, columns=["z"])
    pq.write_table(pa.table({"y": Y.astype(np.int32)}), folder / "part-9.parquet")
    with pytest.raises(fdl_spark.ColumnError, match="column 'x': null, first at row 41"):
        load(folder, batch_size=2)


def test_bad_rows_of_files_have_the_number_that_they_have_in_the_data(spark, tmp_path):
    folder = write(tmp_path / "rows", "parquet")
    pq.write_table(pa.table({"x": [[1.0, 2.0]], "y": [1]}, table().schema), folder / "part-1.parquet")
    with pytest.raises(
        fdl_spark.ColumnError, match=r"column 'x': arrays of unequal lengths: .*3.* before, .*2.*row 5$"
    ):
        load(folder, batch_size=2)
    pq.write_table(pa.table({"x": [[1.0, 2.0, float("nan")]], "y": [1]}, table().schema), folder / "part-1.parquet")
    with pytest.raises(fdl_spark.ColumnError, match="column 'x': NaN, first at row 5$"):
        load(folder, batch_size=2)


REFUSED = {
    "a Delta table": (["_delta_log/0.json", "a.parquet"], "", "is a delta table, and this session cannot read one"),
    "a file of a Delta table": (["_delta_log/0.json", "a.parquet"], "a.parquet", "files of a delta table, .*give the"),
    "a part of a Delta table": (["_delta_log/0.json", "k=1/a.parquet"], "k=1", "files of a delta table"),
    "an Iceberg table": (["metadata/v1.metadata.json", "data/a.parquet"], "", "is a iceberg table"),
    "several formats": (["a.parquet", "b.csv"], "", r"several formats, \['csv', 'parquet'\]"),
    "an unknown format": (["a.xyz"], "", r"does not end with .*spark.read.format"),
    "no files": (["_SUCCESS"], "", "there are no files at"),
    "nothing": (["a.csv"], "b.csv", "PATH_NOT_FOUND"),
    "folders with and without values": (["k=1/a.json", "b.json"], "", r"different columns .*\[\[\], \['k'\]\]"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_paths_that_are_refused(spark, tmp_path, kind):
    files, path, text = REFUSED[kind]
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    with pytest.raises(fdl_spark.DataError, match=text):
        load(tmp_path / path, batch_size=2)


def test_empty_paths(spark):
    with pytest.raises(fdl_spark.DataError, match="a path must be text that is not empty"):
        load("", batch_size=2)


BAD_TABLES = {
    "text": (pa.table({"x": ["a"]}), r"column 'x': string is not numeric; encode it with features="),
    "times": (
        pa.table({"x": pa.array([0], pa.timestamp("us"))}),
        "timestamp.* is not numeric; .*date_parts or seconds",
    ),
    "structs": (pa.table({"x": [{"a": 1}]}), "column 'x': struct.* is not numeric"),
    "nulls": (pa.table({"x": [1.0, None]}), "column 'x': null, first at row 1$"),
    "nulls late": (
        pa.concat_tables([pa.table({"x": [1.0]}), pa.table({"x": pa.array([None], "f8")})]),
        "null, .*row 1$",
    ),
    "twice a name": (pa.Table.from_arrays([[1.0], [2.0]], ["x", "x"]), "column 'x': 2 columns have this name"),
    "no rows": (pa.table({"x": pa.array([], pa.float32())}), "no rows"),
    "no columns": (pa.table({}), "no columns"),
    "pandas' objects": (pd.DataFrame({"x": [object()]}), "the pandas DataFrame does not become an Arrow table"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_bad_tables(spark, kind):
    data, text = BAD_TABLES[kind]
    with pytest.raises((fdl_spark.ColumnError, fdl_spark.DataError), match=text):
        load(data, batch_size=2)


class Lengths:
    """Encodes text as its length, and a number as its double."""

    inputs, outputs = ("s", "n"), ("length", "twice")

    def encode(self, batch):
        lengths = [len(text) for text in batch.column("s").to_pylist()]
        return {"length": np.array(lengths, np.int32), "twice": 2 * batch.column("n").to_numpy().astype(np.float32)}

    def to_json(self):
        return {}


TEXT = pa.table({"s": ["a" * (n % 5) for n in range(ROWS)], "n": Y, "y": Y})
ENCODED = {"y": Y, "length": (Y % 5).astype(np.int32), "twice": (2 * Y).astype(np.float32)}


def test_encoded_columns(spark, tmp_path):
    """Of a frame, a table, a dict of columns and files, each encoded once."""
    expected = blocks({name: ENCODED[name] for name in ("length", "twice")})
    beside = blocks(pa.table(ENCODED))
    pq.write_table(TEXT, tmp_path / "rows.parquet")
    frame = spark.createDataFrame(TEXT).repartition(1).sort("y")
    for data in (frame, TEXT, {name: TEXT[name].to_numpy() for name in TEXT.column_names}, tmp_path):
        assert blocks(data, features=Lengths()) == expected
        assert blocks(data, features=Lengths(), columns=["y"]) == beside


def test_encoders_that_do_not_fit(spark):
    class Short(Lengths):
        def encode(self, batch):
            return {name: array[1:] for name, array in super().encode(batch).items()}

    class Missing(Lengths):
        inputs = ("s", "z")

    with pytest.raises(fdl_spark.DataError, match=r"features= gave \(\d+,\) for column 'length' of \d+ rows"):
        load(TEXT, batch_size=2, features=Short())
    with pytest.raises(fdl_spark.MissingColumnError, match="features= asked for column 'z'"):
        load(TEXT, batch_size=2, features=Missing())
    with pytest.raises(fdl_spark.ArgumentError, match="columns= and features= both give column 'length'"):
        renamed = TEXT.rename_columns(["s", "n", "length"])
        load(renamed, batch_size=2, features=Lengths(), columns=["length"])
    with pytest.raises(fdl_spark.ArgumentError, match="features must be "):
        fdl_spark.evaluate(lambda p, b: p, np.float32(0), {"x": X}, features="s")
    with pytest.raises(fdl_spark.ArgumentError, match="make a DataFrame of the RDD"):
        load(spark.sparkContext.parallelize([{"s": "a"}]), batch_size=2, features=Lengths())


def test_batches_are_cut_by_bytes(spark, monkeypatch, tmp_path):
    """A narrow row first, wide ones later, one of them wider than a chunk."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 1 << 16)
    widths = [1] * 10 + [1000] * 300 + [40_000] + [1000] * 300

    class Widths(Lengths):
        inputs, outputs = ("x",), ("width", "rows")

        def encode(self, batch):
            widths = batch.column("x").value_lengths().to_numpy()
            return {"width": widths, "rows": np.full(len(widths), batch.num_rows)}

    wide = spark.range(0, len(widths), numPartitions=1).selectExpr(
        "case when id < 10 then array(0f) when id = 310 then array_repeat(0f, 40000) else array_repeat(0f, 1000) end x"
    )
    dataset = load(wide, batch_size=8, shards=1, tasks=1, features=Widths())
    (block,) = dataset.blocks.collect()
    found = {name: np.array(array) for name, array in block.arrays.items()}
    dataset.close()
    assert sorted(found["width"].tolist()) == sorted(widths)
    assert found["rows"].max() * 4000 < 4 << 20
