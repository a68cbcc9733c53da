"""Numbers: as they are, standardised, or with others in place of those that are missing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdl_spark.data.columns import BadColumn
from fdl_spark.errors import ColumnError
from fdl_spark.features.column_encoder import Arrays, Floating, SeveralColumns, Whole, flattened
from fdl_spark.features.reading import Batch, as_dtype, first_row, floats, no_nulls, without_missing
from fdl_spark.features.statistics import counts, frequencies_of_numbers, moments, quantiles, read_moments, root

PerColumn = Sequence[Sequence[float]]


def numeric(
    *columns: str,
    output: str | None = None,
    dtype: Floating | Whole | Literal["bool"] = "float32",
    missing: float | None = None,
) -> "Numeric":
    """Numbers as they are.

    Args:
      *columns: columns of numbers, truth values, lists of equal length, or Spark ML's vectors.
      output: the name of one array of all columns side by side; None gives each column one of its own name.
      dtype: of the arrays; a number that does not fit it is an error.
      missing: what a null or NaN becomes; None makes it an error.

    >>> numeric("age", dtype="int32").encode({"age": pa.array([34, 8])})
    {'age': array([34,  8], dtype=int32)}
    """
    return Numeric(columns, output, dtype, missing)


@dataclass(frozen=True, repr=False)
class Numeric(SeveralColumns, kind="numeric"):
    dtype: Floating | Whole | Literal["bool"]
    missing: float | None

    def encode(self, batch: Batch) -> Arrays:
        return self.arranged([self._array(name, batch[name]) for name in self.columns])

    def _array(self, name: str, column: pa.Array) -> np.ndarray:
        if pa.types.is_integer(column.type) and np.dtype(self.dtype).kind in "iu":
            # Not through float64, in which those beyond 2^53 have no place.
            if self.missing is None:
                no_nulls(name, column)
            else:
                column = column.fill_null(pa.scalar(self.missing).cast(column.type))
            return as_dtype(name, column.to_numpy(zero_copy_only=False), self.dtype)
        return as_dtype(name, without_missing(name, column, floats(name, column), self.missing), self.dtype)

    def check(self) -> None:
        super().check()
        if self.missing is not None and np.dtype(self.dtype).kind != "f":
            self.require(self.missing == int(self.missing), f"missing is {self.missing}, which is no {self.dtype}")


def standardise(
    *columns: str,
    output: str | None = None,
    with_mean: bool = True,
    with_std: bool = True,
    missing: float | Literal["mean"] | None = None,
    dtype: Floating = "float32",
    mean: PerColumn | None = None,
    scale: PerColumn | None = None,
) -> "Standardise":
    """(x - mean) / standard deviation, as Spark ML's StandardScaler: mean and deviation are learned, and exact.

    Args:
      *columns: columns of numbers, lists of equal length, or Spark ML's vectors, whose elements are standardised each.
      output: the name of one array of all columns side by side; None gives each column one of its own name.
      with_mean: whether the mean is subtracted.
      with_std: whether the result is divided by the standard deviation of the sample; a constant is divided by 1.
      missing: what a null or NaN becomes before, a number or the mean; None makes it an error. It is not counted.
      dtype: of the arrays.
      mean: for each column the means of its elements; None: learned.
      scale: for each column what its elements are divided by; None: learned.

    >>> encoder = standardise("age", mean=[[30.0]], scale=[[10.0]])
    >>> encoder.encode({"age": pa.array([35, 10])})
    {'age': array([ 0.5, -2. ], dtype=float32)}
    """
    return Standardise(columns, output, with_mean, with_std, missing, dtype, mean, scale)


@dataclass(frozen=True, repr=False)
class Standardise(SeveralColumns, kind="standardise"):
    with_mean: bool
    with_std: bool
    missing: float | Literal["mean"] | None
    dtype: Floating
    mean: PerColumn | None
    scale: PerColumn | None

    def check(self) -> None:
        super().check()
        self.require((self.mean is None) == (self.scale is None), "give both mean and scale, or neither")
        if self.mean is not None and self.scale is not None:
            widths = [[len(row) for row in rows] for rows in (self.mean, self.scale)]
            self.require(
                widths[0] == widths[1] and len(widths[0]) == len(self.columns),
                f"mean and scale must have one list of numbers for each of the columns {self.columns}",
            )
            self.require(all(s > 0 for row in self.scale for s in row), "scale must be greater than 0")

    @property
    def learns(self) -> bool:
        return self.mean is None

    def count(self, batch: Batch) -> pa.Table:
        found = []
        for place, name in enumerate(self.columns):
            values = floats(name, batch[name])
            if self.missing is None:
                without_missing(name, batch[name], values, None)
            if np.isinf(values).any():
                raise BadColumn(name, "an infinite number, which has no mean", first_row(np.isinf(values)))
            found.append(moments(flattened(values), str(place)))
            if values.size:
                found.append(counts([1], text=f"{place} width", number=values[0].size))
        return pa.concat_tables(found)

    def learned(self, table: pa.Table) -> Self:
        mean, scale = [], []
        for place, name in enumerate(self.columns):
            widths = table.filter(pc.equal(table["text"], f"{place} width"))["number"].to_pylist()
            if len(widths) > 1:
                raise ColumnError(
                    name, f"lists of unequal lengths, {', '.join(f'{width:g}' for width in sorted(widths))}"
                )
            found = read_moments(table, str(place))
            if not found or not all(count for count, _, _ in found):
                raise ColumnError(name, f"{self.kind} has nothing to learn from: no row has a value")
            deviations = [root(squares / (count - 1)) if count > 1 else 0.0 for count, _, squares in found]
            mean.append([float(average) for _, average, _ in found])
            scale.append([deviation or 1.0 for deviation in deviations])
        return replace(self, mean=mean, scale=scale)

    def encode(self, batch: Batch) -> Arrays:
        assert self.mean is not None and self.scale is not None
        columns = zip(self.columns, self.mean, self.scale, strict=True)
        return self.arranged([self._array(name, batch[name], *map(np.array, learned)) for name, *learned in columns])

    def _array(self, name: str, column: pa.Array, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        x = floats(name, column, len(mean))
        if x.ndim > 2:
            raise BadColumn(name, "lists of lists; standardise takes numbers and lists of them", 0)
        if self.missing == "mean":
            x = np.where(np.isnan(x), mean, x) if x.ndim == 2 else np.where(np.isnan(x), mean[0], x)
        else:
            x = without_missing(name, column, x, self.missing)
        if x.ndim == 1:
            mean, scale = mean[0], scale[0]
        if self.with_mean:
            x = x - mean
        if self.with_std:
            x = x / scale
        return as_dtype(name, x, self.dtype)


def impute(
    *columns: str,
    output: str | None = None,
    strategy: Literal["mean", "median", "most_frequent"] = "mean",
    indicator: bool = False,
    dtype: Floating = "float32",
    value: Sequence[float] | None = None,
) -> "Impute":
    """Numbers with another one in place of null and NaN, as Spark ML's Imputer.

    Args:
      *columns: columns of numbers.
      output: the name of one array of all columns side by side; None gives each column one of its own name.
      strategy: what stands in: the mean, the median (of an even number of values the mean of the middle two), or the
        most frequent value, the least of several.
      indicator: whether there is another array, "NAME_missing", that tells which numbers were missing.
      dtype: of the arrays.
      value: what stands in, for each column; None: learned.

    >>> encoder = impute("age", value=[40.0], indicator=True)
    >>> encoder.encode({"age": pa.array([35.0, None])})
    {'age': array([35., 40.], dtype=float32), 'age_missing': array([False,  True])}
    """
    return Impute(columns, output, strategy, indicator, dtype, value)


@dataclass(frozen=True, repr=False)
class Impute(SeveralColumns, kind="impute"):
    strategy: Literal["mean", "median", "most_frequent"]
    indicator: bool
    dtype: Floating
    value: Sequence[float] | None

    def check(self) -> None:
        super().check()
        self.require(
            self.value is None or len(self.value) == len(self.columns),
            f"value must have one number for each of the columns {self.columns}",
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        names = super().outputs
        return (*names, *(f"{name}_missing" for name in names)) if self.indicator else names

    @property
    def learns(self) -> bool:
        return self.value is None

    def count(self, batch: Batch) -> pa.Table:
        found = []
        for place, name in enumerate(self.columns):
            values = self._numbers(name, batch[name])
            values = values[~np.isnan(values)]
            if np.isinf(values).any():
                raise BadColumn(name, "an infinite number", first_row(np.isinf(self._numbers(name, batch[name]))))
            if self.strategy == "mean":
                found.append(moments(values[:, None], str(place)))
            else:
                found.append(frequencies_of_numbers(values, str(place)))
        return pa.concat_tables(found)

    def learned(self, table: pa.Table) -> Self:
        return replace(self, value=[self._learned(table, n, name) for n, name in enumerate(self.columns)])

    def _learned(self, table: pa.Table, place: int, name: str) -> float:
        if self.strategy == "mean":
            found = read_moments(table, str(place))
            if found and found[0][0]:
                return float(found[0][1])
        else:
            table = table.filter(pc.equal(table["text"], str(place)))
            if table.num_rows and self.strategy == "median":
                total = pc.sum(table["count"]).as_py()
                # The numbers at both sides of the middle: of an odd number of values they are one.
                low, high = quantiles(table, [total, total + 2 - total % 2], 2 * total)
                return float((Fraction(low) + Fraction(high)) / 2)
            if table.num_rows:
                return table.sort_by([("count", "descending"), ("number", "ascending")])["number"][0].as_py()
        raise ColumnError(name, f"{self.kind} has nothing to learn from: no row has a value")

    def _numbers(self, name: str, column: pa.Array) -> np.ndarray:
        x = floats(name, column)
        if x.ndim > 1:
            raise BadColumn(name, "lists; impute takes numbers", 0)
        return x

    def encode(self, batch: Batch) -> Arrays:
        assert self.value is not None
        values, missing = [], []
        for name, value in zip(self.columns, self.value, strict=True):
            x = self._numbers(name, batch[name])
            missing.append(np.isnan(x))
            values.append(as_dtype(name, np.where(missing[-1], value, x), self.dtype))
        found = self.arranged(values)
        if self.indicator:
            found |= {f"{name}_missing": array for name, array in self.arranged(missing).items()}
        return found
