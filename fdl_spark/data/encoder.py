"""What turns raw columns into arrays: fitted once, then a pure function of a row."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa


@runtime_checkable
class Encoder(Protocol):
    """A fitted set of encoders, which tasks unpickle and call on every batch of rows that they read."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The raw columns that it reads."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns that it gives."""

    def encode(self, batch: pa.RecordBatch) -> dict[str, np.ndarray]:
        """The arrays of some rows.

        Args:
          batch: the columns `inputs`, as Spark's types are in Arrow; ML vectors are lists of doubles.

        Returns:
          An array with rows first for each of `outputs`. What a row becomes does not depend on the rows beside it.

        Raises:
          BadColumn: a row cannot be encoded.
        """

    def to_json(self) -> dict[str, Any]:
        """All that was fitted, as JSON's types."""
