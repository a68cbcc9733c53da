"""What encoders learn from data, as counts by key: counts add, so that their sums depend on no order.

A key is a text, a place and a number. Frequencies of strings are counts by text, those of numbers counts by number. A
sum of floating-point numbers is exact: each is a whole number times a power of two, and counts by exponent are sums of
these whole numbers.
"""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

KEYS = ["statistic", "text", "place", "number"]
SCHEMA = pa.schema(
    [
        pa.field("statistic", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("place", pa.int32()),
        pa.field("number", pa.float64()),
        pa.field("count", pa.int64()),
    ]
)
SPARK_SCHEMA = "statistic int, text string, place int, number double, count bigint"
LOW = 27  # bits of the lower part of a mantissa
MANTISSA = 53


def counts(count: Any, *, text: Any = "", place: Any = 0, number: Any = 0.0) -> pa.Table:
    """A table of counts by keys, each an array or the same for all."""
    count = np.asarray(count, np.int64)
    size = len(count)
    if isinstance(text, str):
        text = pa.array([text]).take(pa.array(np.zeros(size, np.int64)))
    place = np.broadcast_to(np.asarray(place, np.int32), size)
    number = np.broadcast_to(np.asarray(number, np.float64), size) + 0.0  # no negative zero beside the other
    return pa.table([np.zeros(size, np.int32), text.cast(pa.string()), place, number, count], schema=SCHEMA)


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """The sums of counts by keys."""
    if not tables:
        return SCHEMA.empty_table()
    found = pa.concat_tables(tables).group_by(KEYS).aggregate([("count", "sum")])
    return found.rename_columns(["count" if name == "count_sum" else name for name in found.column_names]).select(
        SCHEMA.names
    )


def frequencies_of_texts(values: pa.Array) -> pa.Table:
    """How often each string occurs."""
    found = values.value_counts()
    return counts(found.field("counts").to_numpy(zero_copy_only=False), text=found.field("values"))


def frequencies_of_numbers(values: np.ndarray, text: str = "") -> pa.Table:
    """How often each number of a vector occurs."""
    numbers, count = np.unique(values + 0.0, return_counts=True)
    return counts(count, text=text, number=numbers)


def moments(values: np.ndarray, name: str) -> pa.Table:
    """How many numbers there are, their exact sum, and the exact sum of their squares.

    Args:
      values: float64 [rows, width]; NaN is left out, and none is infinite.
      name: for the keys, whose place is the column of the values.
    """
    rows, places = np.nonzero(~np.isnan(values))
    width = values.shape[1]
    mantissa, exponent = np.frexp(values[rows, places])
    present = np.bincount(places, minlength=width)
    square, error = _squares(mantissa)
    return pa.concat_tables(
        [
            counts(present, text=f"{name} count", place=np.arange(width)),
            *_sums(mantissa, exponent, places, width, f"{name} sum"),
            *_sums(square, 2 * exponent, places, width, f"{name} squares"),
            *_sums(error, 2 * exponent, places, width, f"{name} squares"),
        ]
    )


def _squares(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers whose sum is x^2 exactly (Dekker 1971), for x that are neither huge nor tiny."""
    wide = 134217729.0 * x
    high = wide - (wide - x)
    low = x - high
    square = x * x
    return square, ((high * high - square) + 2 * high * low) + low * low


def _sums(x: np.ndarray, scale: np.ndarray, places: np.ndarray, width: int, text: str) -> Iterable[pa.Table]:
    """Exact sums of x 2^scale by place, as counts by exponent."""
    mantissa, exponent = np.frexp(x)
    exponent = exponent + scale
    whole = (mantissa * 2.0**MANTISSA).astype(np.int64)
    least = int(exponent.min()) if exponent.size else 0
    index = (exponent - least) * width + places
    for part, shift in ((whole >> LOW, LOW), (whole & ((1 << LOW) - 1), 0)):
        # Less than 2^26 numbers below 2^27: their sums are exact in float64.
        totals = np.bincount(index, weights=part)
        (found,) = np.nonzero(totals)
        number = found // width + (least + shift - MANTISSA)
        yield counts(totals[found], text=text, place=found % width, number=number)


def read_moments(table: pa.Table, name: str) -> list[tuple[int, Fraction, Fraction]]:
    """Of each place: how many numbers, their mean, and the sum of squared deviations from it; the last two exact."""
    sums: dict[tuple[str, int], list[tuple[int, int]]] = {}
    columns = (table[key].to_pylist() for key in ("text", "place", "number", "count"))
    for text, place, number, count in zip(*columns, strict=True):
        sums.setdefault((text, place), []).append((int(number), count))
    width = 1 + max((place for text, place in sums if text == f"{name} count"), default=-1)
    found = []
    for place in range(width):
        count = int(_exact(sums.get((f"{name} count", place), [])))
        total, squares = (_exact(sums.get((f"{name} {what}", place), [])) for what in ("sum", "squares"))
        mean = total / count if count else Fraction(0)
        found.append((count, mean, squares - mean * total))
    return found


def _exact(terms: Sequence[tuple[int, int]]) -> Fraction:
    """The sum of count 2^exponent."""
    least = min((exponent for exponent, _ in terms), default=0)
    return Fraction(sum(count << (exponent - least) for exponent, count in terms)) * Fraction(2) ** least


def root(x: Fraction) -> float:
    """The square root, to within a rounding error also where x is no float64."""
    shift = (x.numerator.bit_length() - x.denominator.bit_length()) // 2 if x else 0
    return math.ldexp(math.sqrt(x / Fraction(4) ** shift), shift)


def most_frequent(table: pa.Table, size: int | None, min_count: int) -> list[str]:
    """The texts of counts, the most frequent first and those of one frequency in the order of their code points."""
    table = table.filter(pc.greater_equal(table["count"], min_count))
    order = pc.sort_indices(table, sort_keys=[("count", "descending"), ("text", "ascending")])
    return table["text"].take(order[:size]).to_pylist()


def quantiles(table: pa.Table, numerators: Sequence[int], denominator: int) -> list[float]:
    """For each k the smallest number such that at least k/denominator of all are no greater; exact."""
    table = table.sort_by("number")
    numbers, up_to = table["number"].to_numpy(), np.cumsum(table["count"].to_numpy())
    total = int(up_to[-1])
    ranks = [-(-k * total // denominator) for k in numerators]
    return [float(numbers[np.searchsorted(up_to, max(rank, 1))]) for rank in ranks]
