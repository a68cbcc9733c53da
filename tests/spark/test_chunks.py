"""Chunks and blocks by their bytes: rows may be wide, and shards larger than numbers of 32 bits can tell."""

import os

import numpy as np
import pyarrow as pa
import pytest

import fdl_spark
from fdl.dtypes import bfloat16
from fdl_spark.data import chunks as module
from fdl_spark.data.arrays import array_chunks
from fdl_spark.data.block import Block, _identity, _remember
from fdl_spark.data.chunks import chunks_of
from fdl_spark.data.columns import arrow_arrays
from fdl_spark.data.rows import row_chunks
from fdl_spark.data.shards import Schedule, permute
from fdl_spark.data.staged import stage
from fdl_spark.data.survey import merged, summaries


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    return 1000


def record_batch(start, rows, width):
    numbers = np.arange(start * width, (start + rows) * width, dtype=np.float32).reshape(rows, width)
    x = pa.array(list(numbers), pa.list_(pa.float32()))
    return pa.RecordBatch.from_arrays([x, pa.array(np.arange(start, start + rows))], ["x", "y"])


@pytest.mark.parametrize("width", [1, 10, 100, 1000])
@pytest.mark.parametrize("cuts", [[50], [1] * 50, [0, 20, 0, 0, 7, 23, 0], [0]])
def test_arrow_batches_are_joined_and_cut(small, width, cuts):
    starts = np.cumsum([0, *cuts])
    batches = [record_batch(int(at), rows, width) for at, rows in zip(starts, cuts, strict=False)]
    chunks = list(chunks_of(batches, arrow_arrays))
    rows = sum(cuts)
    for name, expected in (("x", np.arange(rows * width).reshape(-1, width)), ("y", np.arange(rows))):
        if rows:
            np.testing.assert_array_equal(np.concatenate([chunk[name] for chunk in chunks]), expected)
    row = 4 * width + 8 + 4  # with the offset of its array
    assert all(len(chunk["y"]) * row <= max(1.5 * small + 100, row + 8) for chunk in chunks)
    assert len(chunks) <= 1 + rows * row / min(small / 2, rows * row or 1)


@pytest.mark.parametrize("width", [1, 10, 100, 1000])
def test_rows_of_an_rdd_are_cut_by_their_bytes(small, width):
    rows = [{"x": [float(row)] * width, "y": row} for row in range(50)]
    chunks = list(row_chunks(["x", "y"], True, rows))
    np.testing.assert_array_equal(np.concatenate([chunk["y"] for chunk in chunks]), np.arange(50))
    assert all(chunk["x"].size * 8 <= max(small, 8 * width) for chunk in chunks)


def test_a_bad_row_of_a_later_chunk_keeps_its_place(small):
    rows = [{"x": np.zeros(100)} for _ in range(20)] + [{"x": None}]
    *good, bad = row_chunks(["x"], True, rows)
    assert sum(len(chunk["x"]) for chunk in good) + bad.row == 20 and bad.text == "null"


def test_numbers_of_bfloat16(tmp_path, monkeypatch):
    """Whose dtype tells NumPy's format of nothing but two bytes."""
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    x = np.arange(6, dtype=bfloat16).reshape(3, 2)
    (chunk,), _ = array_chunks({"x": x}, None)
    staged = stage("name", [((), chunk)])
    assert merged((0, summary) for summary in staged.summaries).columns == {"x": ("bfloat16", (2,))}
    ((_, found),) = staged.chunks()
    assert found["x"].dtype == bfloat16 and found["x"].tolist() == x.tolist()
    assert not list(tmp_path.iterdir())
    both = [x.astype(np.float32), x]
    assert merged((0, *summaries([((), {"x": one})])) for one in both).columns == {"x": ("<f4", (2,))}
    with pytest.raises(fdl_spark.ColumnError, match="column 'x': arrays of bfloat16 before, of <i8 here"):
        merged((0, *summaries([((), {"x": one})])) for one in (x, x.astype(np.int64)))
    for bad in (x + x * np.array(np.nan, bfloat16), x * complex(0, np.nan)):
        with pytest.raises(fdl_spark.ColumnError, match="column 'x': NaN"):
            array_chunks({"x": bad}, None)
    with pytest.raises(fdl_spark.ColumnError, match="not numeric"):
        array_chunks({"x": np.zeros(3, [("a", "<f4")])}, None)


def test_a_row_that_no_array_of_the_jvm_holds():
    wide = np.broadcast_to(np.uint8(0), (3, 1 << 31))
    with pytest.raises(fdl_spark.DataError, match="one row takes 2147483648 bytes"):
        array_chunks({"x": wide}, None)
    chunks, _ = array_chunks({"x": wide[:, : 1 << 30]}, None)
    assert [len(chunk["x"]) for chunk in chunks] == [1, 1, 1]


def test_a_block_of_more_bytes_than_32_bits_count(tmp_path):
    """A file of 5 GB that takes no room: its rows are where 64-bit arithmetic says."""
    path, width, rows = tmp_path / "large.block", 10_000_019, 500
    columns = {"x": ("|u1", (width,)), "y": ("<i8", ())}
    block = Block(str(path), range(1), Schedule(rows, 10, 1, 0), columns, checksum=7)
    with open(path, "wb") as file:
        size = block.layout.size
        assert size > 1 << 32
        file.truncate(size)
        for row in (0, 214, 215, 429, 430, 499):  # on both sides of 2 and 4 GB
            os.pwrite(file.fileno(), bytes([row % 251]), row * width + width - 1)
            os.pwrite(file.fileno(), np.int64(row).tobytes(), -(-rows * width // 64) * 64 + 8 * row)
    path.chmod(0o600)
    _remember(_identity(os.lstat(path)), 7)  # reading all of it for its checksum would take seconds
    slots = np.array([430, 0, 215, 214, 499, 429])
    batch = block.batch(0, slots, {"x": "x", "y": "y"})
    np.testing.assert_array_equal(batch["y"], slots)
    np.testing.assert_array_equal(batch["x"][:, -1], slots % 251)
    np.testing.assert_array_equal(batch["x"][:, :-1].max(axis=1), 0)


def test_rows_of_more_than_32_bits_are_dealt_to_each_place_once():
    size = 3 * 10**10 + 7
    places = permute(np.arange(size - 1000, size), size, (1, 2))
    assert len(np.unique(places)) == 1000 and places.min() >= 0 and places.max() < size
    schedule = Schedule(size, 4096, 7, 0)
    shards, slots = schedule.deal(np.arange(size - 1000, size))
    assert all(slot < schedule.shard_rows(shard) for shard, slot in zip(shards.tolist(), slots.tolist(), strict=True))
    assert schedule.first_row(7) == size and schedule.steps_per_epoch == -(-size // 4096)
