"""Dates and timestamps, in UTC: their parts, or the time since an origin."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdl_spark.data.columns import BadColumn
from fdl_spark.errors import ArgumentError
from fdl_spark.features.column_encoder import Arrays, Floating, OneColumn
from fdl_spark.features.reading import Batch, as_dtype, no_nulls

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECONDS = {"seconds": 10**6, "minutes": 60 * 10**6, "hours": 3600 * 10**6, "days": 86400 * 10**6}
Part = Literal["year", "month", "day", "day_of_week", "day_of_year", "hour", "minute", "second"]
FIRST = {"month": 1, "day": 1, "day_of_year": 1}
PERIODS = {"month": 12, "day": 31, "day_of_week": 7, "day_of_year": 366, "hour": 24, "minute": 60, "second": 60}


def microseconds(text: str) -> int:
    """Microseconds from 1970 in UTC to an instant in ISO 8601; without an offset it is in UTC too."""
    instant = datetime.fromisoformat(text)
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    difference = instant - EPOCH
    return (difference.days * 86400 + difference.seconds) * 10**6 + difference.microseconds


def check_instant(encoder: OneColumn, name: str, text: str | None) -> None:
    """Raise ArgumentError unless a parameter is an instant, or None."""
    try:
        microseconds(text or "1970-01-01")
    except ValueError:
        raise ArgumentError(
            f'{encoder.kind}: {name} must be a date or time in ISO 8601, such as "2020-01-31T12:00:00", not {text!r}'
        ) from None


def instants(name: str, column: pa.Array, missing: str | None) -> pa.Array:
    """Dates and timestamps as Arrow's timestamps of microseconds, without a time zone; in UTC if they had one."""
    kind = column.type
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_null(kind)):
        raise BadColumn(name, f"{kind} is no date or timestamp; Spark's to_timestamp makes one of a string", 0)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        column = column.cast(pa.timestamp(kind.unit, "UTC")).cast(pa.int64()).cast(pa.timestamp(kind.unit))
    column = column.cast(pa.timestamp("us"), safe=False)
    if missing is None:
        no_nulls(name, column)
        return column
    return column.fill_null(pa.scalar(microseconds(missing), pa.int64()).cast(pa.timestamp("us")))


def date_parts(
    column: str,
    output: str | None = None,
    *,
    parts: Sequence[Part] = ("month", "day_of_week", "hour"),
    cyclic: bool = True,
    missing: str | None = None,
    dtype: Floating = "float32",
) -> "DateParts":
    """The parts of a date or timestamp in UTC; by default each as sine and cosine, so that December is near January.

    Args:
      column: a column of dates or timestamps; those without a time zone count as UTC.
      output: the name of the array [rows, numbers]; None means the column's.
      parts: which ones, in which order: year, month, day, day_of_week (Monday is 0), day_of_year, hour, minute, second.
      cyclic: whether each part becomes two numbers, the sine and cosine of its angle on a circle; a year becomes none.
      missing: the instant that a null becomes before, in ISO 8601; None makes it an error.
      dtype: of the array.

    >>> when = pa.array([1_000_000_000], pa.timestamp("s"))  # 2001-09-09, a Sunday, 01:46:40
    >>> date_parts("when", parts=["year", "month", "day_of_week", "hour"], cyclic=False).encode({"when": when})
    {'when': array([[2.001e+03, 9.000e+00, 6.000e+00, 1.000e+00]], dtype=float32)}
    """
    return DateParts(column, output, parts, cyclic, missing, dtype)


@dataclass(frozen=True, repr=False)
class DateParts(OneColumn, kind="date_parts"):
    parts: Sequence[Part]
    cyclic: bool
    missing: str | None
    dtype: Floating

    def check(self) -> None:
        self.require(bool(self.parts), "parts is empty; name some")
        self.require(len(set(self.parts)) == len(self.parts), f"parts has a name twice: {self.parts}")
        self.require(not (self.cyclic and "year" in self.parts), "a year has no cycle; say cyclic=False")
        check_instant(self, "missing", self.missing)

    def encode(self, batch: Batch) -> Arrays:
        when = instants(self.column, batch[self.column], self.missing)
        columns: list[np.ndarray] = []
        for part in self.parts:
            values = getattr(pc, part)(when).to_numpy(zero_copy_only=False).astype(np.int64)
            columns += _circle(values - FIRST.get(part, 0), PERIODS[part]) if self.cyclic else [values]
        return {self.name: as_dtype(self.column, np.stack(columns, axis=1), self.dtype)}


def _circle(values: np.ndarray, period: int) -> list[np.ndarray]:
    """Sine and cosine, from a table, so that they do not depend on the neighbours in a vector of the processor."""
    angles = [2 * math.pi * value / period for value in range(period)]
    return [np.array([function(angle) for angle in angles])[values] for function in (math.sin, math.cos)]


def seconds_since(
    column: str,
    output: str | None = None,
    *,
    origin: str,
    unit: Literal["seconds", "minutes", "hours", "days"] = "seconds",
    missing: str | None = None,
    dtype: Floating | Literal["int64"] = "float32",
) -> "SecondsSince":
    """The time from an origin to a date or timestamp.

    Args:
      column: a column of dates or timestamps; those without a time zone count as UTC.
      output: the name of the array; None means the column's.
      origin: in ISO 8601; without an offset in UTC.
      unit: of the result.
      missing: the instant that a null becomes before, in ISO 8601; None makes it an error.
      dtype: of the array; whole units, rounded down, if it is int64. Beyond 2^24 seconds, half a year, float32 rounds.

    >>> day = pa.array([18262], pa.date32())
    >>> seconds_since("day", origin="2019-12-31", unit="hours").encode({"day": day})
    {'day': array([24.], dtype=float32)}
    """
    return SecondsSince(column, output, origin, unit, missing, dtype)


@dataclass(frozen=True, repr=False)
class SecondsSince(OneColumn, kind="seconds_since"):
    origin: str
    unit: Literal["seconds", "minutes", "hours", "days"]
    missing: str | None
    dtype: Floating | Literal["int64"]

    def check(self) -> None:
        check_instant(self, "origin", self.origin)
        check_instant(self, "missing", self.missing)

    def encode(self, batch: Batch) -> Arrays:
        when = instants(self.column, batch[self.column], self.missing).cast(pa.int64()).to_numpy(zero_copy_only=False)
        since, unit = when - microseconds(self.origin), MICROSECONDS[self.unit]
        return {self.name: since // unit if self.dtype == "int64" else as_dtype(self.column, since / unit, self.dtype)}
