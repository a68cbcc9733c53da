"""Which columns of the data a batch is made of: those that are numbers as they are, and those that are encoded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fdl_spark.data.columns import Arrays, arrow_arrays, is_numeric, not_numeric, without_nan
from fdl_spark.data.encoder import Encoder
from fdl_spark.errors import ArgumentError, ColumnError, DataError, MissingColumnError


@dataclass(frozen=True)
class Selection:
    """The columns that are read from the data, and what they become.

    Attributes:
      numeric: columns that become arrays as they are.
      features: encodes its `inputs`; None encodes nothing.
    """

    numeric: tuple[str, ...]
    features: Encoder | None = None

    @staticmethod
    def of(there: Sequence[str], columns: Sequence[str] | None, features: Encoder | None) -> "Selection":
        """The columns that arguments name.

        Args:
          there: the columns of the data.
          columns: those that are used as they are; None means all, or none if there are `features`.
          features: encodes others.

        Raises:
          ColumnError, MissingColumnError, ArgumentError, DataError: a name is not there, or ambiguous.
        """
        if columns is None:
            columns = there if features is None else ()
        selection = Selection(tuple(columns), features)
        without = "a label that a prediction does not read is left out by features=encoders.without(...)"
        for names, argument, remedy in ((selection.numeric, "columns=", ""), (selection.raw, "features=", without)):
            for name in names:
                count = list(there).count(name)
                if count == 0:
                    raise MissingColumnError(name, there, argument, remedy)
                if count > 1:
                    raise ColumnError(name, f"{count} columns have this name; rename or drop all but one of them")
                if names.count(name) > 1:
                    raise ColumnError(name, f"{argument} has it twice")
        for name in selection.numeric:
            if features is not None and name in features.outputs:
                raise ArgumentError(f"columns= and features= both give column {name!r}; leave it out of columns=")
        if not selection.names:
            raise DataError("the data has no columns")
        return selection

    @property
    def raw(self) -> tuple[str, ...]:
        """The columns that are encoded."""
        return () if self.features is None else tuple(self.features.inputs)

    @property
    def read(self) -> tuple[str, ...]:
        """What is read from the data, in this order; a column may be used as it is and be encoded too."""
        return (*self.numeric, *self.raw)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of a batch."""
        return (*self.numeric, *(() if self.features is None else self.features.outputs))

    @property
    def template(self) -> dict[str, str]:
        """The pytree of a batch, with the columns' names as leaves."""
        return {name: name for name in self.names}

    def arrays(self, batch: pa.RecordBatch) -> Arrays:
        """The arrays of a record batch, whose columns are those that are `read`.

        Raises:
          BadColumn: a row does not become numbers.
        """
        split = len(self.numeric)
        arrays = arrow_arrays(pa.RecordBatch.from_arrays(batch.columns[:split], list(self.numeric)))
        if self.features is not None:
            raw = pa.RecordBatch.from_arrays(batch.columns[split:], list(self.raw))
            arrays.update(_encoded(self.features, raw))
        return arrays


def _encoded(features: Encoder, raw: pa.RecordBatch) -> Arrays:
    """What an encoder gives, if it is what it must be."""
    found, arrays = features.encode(raw), {}
    if missing := [name for name in features.outputs if name not in found]:
        raise DataError(f"features= gave the columns {sorted(found)}, without {missing} of its outputs")
    for name in features.outputs:
        array = np.asarray(found[name])
        if array.ndim == 0 or len(array) != raw.num_rows:
            raise DataError(f"features= gave {array.shape} for column {name!r} of {raw.num_rows} rows")
        if not is_numeric(array.dtype):
            raise DataError(f"features=: column {name!r}: {not_numeric(f'an array of {array.dtype}')}")
        arrays[name] = without_nan(name, array)  # in the dtype that the encoder says
    return arrays
