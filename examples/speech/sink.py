"""What is in the folder of a query: the rows of committed micro-batches, and when each was committed."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

COLUMNS = ["id", "word", "probability", "timestamp"]


def commits(folder: Path) -> list[tuple[float, list[Path]]]:
    """For each micro-batch in order, when it was committed (seconds since 1970), and its new files.

    A micro-batch counts from when its file in `_spark_metadata` has its name; every tenth repeats what is in those
    before it.
    """
    found, known = [], set()
    logs = [path for path in (folder / "_spark_metadata").glob("[0-9]*") if path.suffix in ("", ".compact")]
    for log in sorted(logs, key=lambda path: int(path.stem)):
        entries = [json.loads(line) for line in log.read_text().splitlines()[1:]]
        paths = [Path(unquote(urlsplit(entry["path"]).path)) for entry in entries if entry["action"] == "add"]
        new = [path for path in paths if path not in known]
        known.update(new)
        found.append((log.stat().st_mtime, new))
    return found


def rows(folder: Path) -> pa.Table:
    """The committed rows: id, word, probability, timestamp, and "late", the seconds from the timestamp to the commit.

    Raises:
      ValueError: nothing is committed.
    """
    tables = []
    for time, files in commits(folder):
        for path in files:
            table = pq.read_table(path, columns=COLUMNS)
            sent = table["timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy() / 1e6
            tables.append(table.append_column("late", pa.array(time - sent)))
    if not tables:
        raise ValueError(f"no micro-batch is committed in {folder}")
    return pa.concat_tables(tables)


def count(folder: Path, counted: dict[Path, int]) -> int:
    """How many rows are committed.

    Args:
      folder: of the query.
      counted: rows by file, kept from the last call.
    """
    files = [path for _, files in commits(folder) for path in files]
    for path in files:
        if path not in counted:
            counted[path] = pq.read_metadata(path).num_rows
    return sum(counted[path] for path in files)


def quantiles(late: Any) -> tuple[float, float]:
    """Median and 99th percentile, seconds."""
    p50, p99 = np.quantile(np.asarray(late), (0.5, 0.99))
    return float(p50), float(p99)
