"""Ratings of films: https://grouplens.org/datasets/movielens/ (Harper and Konstan, "The MovieLens datasets", 2015)."""

from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from examples.data.cache import fetch

COLUMNS = {"user": pa.int32(), "item": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}


def ratings(name: str = "movielens-100k") -> pa.Table:
    """A table of user, item (int32), rating (float32, 0.5 to 5) and timestamp (int64, seconds since 1970).

    The order is that of the file. The ids are those of the set: from 1, and for the larger sets with gaps.

    Args:
      name: movielens-100k, movielens-1m or movielens-20m.

    Raises:
      DataError: the set cannot be had.
    """
    return read(fetch(name))


def read(folder: Path) -> pa.Table:
    """The ratings of a folder, in whichever of the four formats they are."""
    formats = {"ml-100k.inter": (b"\t", 1), "u.data": (b"\t", 0), "ratings.dat": (b"::", 0), "ratings.csv": (b",", 1)}
    for file, (separator, header) in formats.items():
        path = folder / file
        if path.exists():
            data = path.read_bytes() if separator == b"::" else None
            source = path if data is None else pa.BufferReader(data.replace(separator, b","))
            delimiter = "," if data is not None else separator.decode()
            return csv.read_csv(
                source,
                csv.ReadOptions(column_names=list(COLUMNS), skip_rows=header),
                csv.ParseOptions(delimiter=delimiter),
                csv.ConvertOptions(column_types=COLUMNS),
            )
    raise FileNotFoundError(f"{folder} has none of {', '.join(formats)}")
