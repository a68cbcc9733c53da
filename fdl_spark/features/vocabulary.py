"""Strings become indices by a list of those that are known, and indices become one-hot vectors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from fdl_spark.features.column_encoder import Arrays, ColumnEncoder, Floating, IndexEncoder, Whole
from fdl_spark.features.params import Params
from fdl_spark.features.reading import Batch, texts
from fdl_spark.features.statistics import frequencies_of_texts, most_frequent


def vocabulary(
    column: str,
    output: str | None = None,
    *,
    size: int | None = None,
    min_count: int = 1,
    missing: str | None = None,
    values: Sequence[str] | None = None,
) -> "Vocabulary":
    """The index of a string among those that are known, from 1; 0 for all others.

    The most frequent string has index 1, as in Spark ML's StringIndexer, where it has 0; strings of one frequency stand
    in the order of their code points. All distinct strings of the column are counted on the driver.

    Args:
      column: a column of strings, whole numbers, truth values, decimals or dates.
      output: the name of the array, int32; None means the column's.
      size: how many strings are known at most; None: all.
      min_count: how often a string must occur to be known.
      missing: the string that a null becomes before, which is counted as any other; None makes it an error.
      values: the known strings in the order of their indices; None: learned.

    >>> vocabulary("city", values=["Bonn", "Köln"]).encode({"city": pa.array(["Köln", "Wien"])})
    {'city': array([2, 0], dtype=int32)}
    """
    return Vocabulary(column, output, size, min_count, missing, values)


def looked_up(words: pa.Array, places: dict[str, int], unknown: int) -> np.ndarray:
    """The index of each string, int32."""
    encoded = words.dictionary_encode()
    indices = np.array([places.get(word, unknown) for word in encoded.dictionary.to_pylist()], np.int32)
    return indices[encoded.indices.to_numpy()]


def check_vocabulary(params: Params, size: int | None, min_count: int, values: Sequence[str] | None) -> None:
    """Raise ArgumentError unless the parameters of a vocabulary fit each other."""
    params.require(size is None or size >= 1, f"size must be at least 1, not {size}")
    params.require(min_count >= 1, f"min_count must be at least 1, not {min_count}")
    if values is not None and len(set(values)) < len(values):
        twice = next(value for n, value in enumerate(values) if value in values[:n])
        params.require(False, f"values has {twice!r} twice")


@dataclass(frozen=True, repr=False)
class Vocabulary(IndexEncoder, kind="vocabulary"):
    size: int | None
    min_count: int
    missing: str | None
    values: Sequence[str] | None

    def check(self) -> None:
        check_vocabulary(self, self.size, self.min_count, self.values)

    @property
    def learns(self) -> bool:
        return self.values is None

    @property
    def depth(self) -> int:
        return len(self.values or ()) + 1

    def count(self, batch: Batch) -> pa.Table:
        return frequencies_of_texts(texts(self.column, batch[self.column], self.missing))

    def learned(self, table: pa.Table) -> Self:
        return replace(self, values=most_frequent(table, self.size, self.min_count))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {value: place for place, value in enumerate(self.values or (), 1)}

    def indices(self, batch: Batch) -> np.ndarray:
        return looked_up(texts(self.column, batch[self.column], self.missing), self._places, 0)


def one_hot(
    of: str | IndexEncoder,
    output: str | None = None,
    *,
    dtype: Floating | Whole | Literal["bool"] = "float32",
) -> "OneHot":
    """A vector that is 1 at an index and 0 elsewhere.

    Args:
      of: an encoder that gives an index, such as `bucketize("age")`; or a column, which means `vocabulary(of)`.
      output: the name of the array [rows, number of indices]; None means that of the index.
      dtype: of the array.

    >>> one_hot(vocabulary("city", values=["Bonn", "Köln"])).encode({"city": pa.array(["Köln", "Wien"])})
    {'city': array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)}
    """
    index: Any = vocabulary(of) if isinstance(of, str) else of
    return OneHot(index, output, dtype)


@dataclass(frozen=True, repr=False)
class OneHot(ColumnEncoder, kind="one_hot"):
    of: IndexEncoder
    output: str | None
    dtype: Floating | Whole | Literal["bool"]

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.of.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.of.name if self.output is None else self.output,)

    @property
    def inner(self) -> tuple[ColumnEncoder, ...]:
        return (self.of,)

    def with_inner(self, inner: tuple[ColumnEncoder, ...]) -> Self:
        return replace(self, of=inner[0])  # type: ignore[arg-type]

    def encode(self, batch: Batch) -> Arrays:
        indices = self.of.indices(batch)
        vectors = np.zeros((len(indices), self.of.depth), self.dtype)
        vectors[np.arange(len(indices)), indices] = 1
        return {self.outputs[0]: vectors}
