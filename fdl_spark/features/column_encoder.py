"""An encoder of columns: parameters, what is to be learned from data among them, and the arrays that columns become."""

import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from fdl_spark.errors import ColumnError
from fdl_spark.features.params import Params
from fdl_spark.features.reading import Batch

Floating = Literal["float16", "float32", "float64"]
Whole = Literal["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, repr=False)
class ColumnEncoder(Params):
    """What some columns of a batch become: pure, and each row by itself.

    An encoder that learns from data is complete when the fields that it learns are there, be they learned or given.
    """

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of its arrays."""
        raise NotImplementedError

    @property
    def inner(self) -> "tuple[ColumnEncoder, ...]":
        """The encoders whose results it encodes further."""
        return ()

    def with_inner(self, inner: "tuple[ColumnEncoder, ...]") -> Self:
        """The same with other such encoders."""
        return self

    @property
    def learns(self) -> bool:
        """Whether it lacks what only data can tell."""
        return False

    def count(self, batch: Batch) -> pa.Table:
        """What it learns from a batch, as counts that can be added to those of others."""
        raise NotImplementedError

    def learned(self, table: pa.Table) -> Self:
        """The complete encoder.

        Raises:
          ColumnError: there is nothing to learn from.
        """
        raise NotImplementedError

    def encode(self, batch: Batch) -> Arrays:
        """The arrays of a batch, rows first.

        Raises:
          BadColumn: a row that has no encoding.
        """
        raise NotImplementedError


@dataclass(frozen=True, repr=False)
class OneColumn(ColumnEncoder):
    """An encoder of one column."""

    column: str
    output: str | None

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def name(self) -> str:
        """Of its array."""
        return self.column if self.output is None else self.output

    @property
    def mask(self) -> str:
        """The name of the array that says what is there."""
        return f"{self.name}_mask"

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name,)

    def nothing(self) -> ColumnError:
        """What to raise if there is nothing to learn from."""
        return ColumnError(self.column, f"{self.kind} has nothing to learn from: no row has a value")


@dataclass(frozen=True, repr=False)
class IndexEncoder(OneColumn):
    """An encoder whose array are indices, such as rows of a table."""

    @property
    def depth(self) -> int:
        """How many indices there are."""
        raise NotImplementedError

    def indices(self, batch: Batch) -> np.ndarray:
        """The index of each row, int32."""
        raise NotImplementedError

    def encode(self, batch: Batch) -> Arrays:
        return {self.name: self.indices(batch)}


@dataclass(frozen=True, repr=False)
class SeveralColumns(ColumnEncoder):
    """An encoder that does the same with several columns of numbers."""

    columns: tuple[str, ...]
    output: str | None

    def check(self) -> None:
        self.require(bool(self.columns), f'give it a column, as in {self.kind}("age")')
        self.require(len(set(self.columns)) == len(self.columns), f"the columns {self.columns} have a name twice")

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.columns

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.columns if self.output is None else (self.output,)

    def arranged(self, arrays: list[np.ndarray]) -> Arrays:
        """The columns' arrays by their names, or side by side under the name of the output."""
        if self.output is None:
            return dict(zip(self.columns, arrays, strict=True))
        if len(arrays) == 1:
            return {self.output: arrays[0]}
        return {self.output: np.concatenate([flattened(array) for array in arrays], axis=1)}


def flattened(array: np.ndarray) -> np.ndarray:
    """An array with one axis but that of the rows, of which there may be none."""
    return array.reshape(len(array), math.prod(array.shape[1:]))


def rebuilt(encoder: ColumnEncoder, learned: dict[ColumnEncoder, ColumnEncoder]) -> Any:
    """An encoder with what was learned in place of those that learn."""
    inner = tuple(rebuilt(part, learned) for part in encoder.inner)
    return encoder.with_inner(inner) if inner else learned.get(encoder, encoder)


def learners(encoder: ColumnEncoder) -> list[ColumnEncoder]:
    """The encoders that learn, of those that one is made of."""
    return [leaf for part in encoder.inner for leaf in learners(part)] + [encoder] * encoder.learns
