"""How one series is cut into windows, whoever asks for it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fdl_spark.errors import ColumnError


@dataclass(frozen=True)
class Windows:
    """How series are cut.

    Attributes:
      order: the column that numbers the steps.
      columns: what goes into windows.
      by: the columns that tell series apart.
      past, future, stride: of the windows, as `windows` takes them.
    """

    order: str
    columns: tuple[str, ...]
    by: tuple[str, ...]
    past: int
    future: int
    stride: int

    @property
    def read(self) -> list[str]:
        """The columns that a table must have."""
        return [*self.by, self.order, *self.columns]

    @property
    def written(self) -> list[str]:
        """The columns of the result."""
        parts = ["past", "future"] if self.future else ["past"]
        return [*self.by, self.order, *(f"{name}_{part}" for name in self.columns for part in parts)]

    def of_series(self, series: pa.Table, first: int | None = None, count: int = 0) -> list[pa.Array]:
        """The columns of one series' windows, in their order.

        Args:
          series: the columns `read`, in any order of rows.
          first, count: windows only whose number is one of [first, first + count); None for first means all.
        """
        steps = self._steps(series[len(self.by)])
        order = np.argsort(steps, kind="stable")
        steps = steps[order]
        if (repeated := np.flatnonzero(steps[1:] == steps[:-1])).size:
            raise ColumnError(self.order, f"two rows of one series have the number {steps[repeated[0]]}")
        length = self.past + self.future
        starts = np.arange(max(len(steps) - length + 1, 0))
        now = steps[starts] + self.past
        chosen = (steps[starts + length - 1] - steps[starts] == length - 1) & (now % self.stride == 0)
        if first is not None:
            chosen &= (now >= first) & (now < first + count)
        starts = starts[chosen]
        lists = [series[place].combine_chunks() for place in range(len(self.by) + 1, len(self.read))]
        parts = [(0, self.past), (self.past, self.future)][: 2 if self.future else 1]
        return [
            *(series[place].combine_chunks().take(pa.array(np.zeros_like(starts))) for place in range(len(self.by))),
            pa.array(now[chosen]),
            *(_lists(values, order[starts[:, None] + np.arange(a, a + n)]) for values in lists for a, n in parts),
        ]

    def _steps(self, column: pa.ChunkedArray) -> np.ndarray:
        if not pa.types.is_integer(column.type):
            raise ColumnError(self.order, f"windows need whole numbers that count steps, not {column.type}")
        if column.null_count:
            raise ColumnError(self.order, "null; windows need the number of each step")
        return column.to_numpy().astype(np.int64)


def _lists(values: pa.Array, places: np.ndarray) -> pa.Array:
    """Lists of the elements at places (rows, length)."""
    offsets = np.arange(len(places) + 1, dtype=np.int32) * places.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), values.take(pa.array(places.ravel())))
