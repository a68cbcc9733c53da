"""Where new columns go in a DataFrame."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from pyspark.sql import DataFrame

from fdl_spark.applying.outputs import Output
from fdl_spark.errors import ArgumentError, ColumnError
from fdl_spark.spark.classic import package_of


class Places:
    """Where the new columns go among those of a DataFrame, whose names are compared as Spark compares them.

    Args:
      frame: the DataFrame.
      replace: whether a new column may take the place of one with its name.
    """

    def __init__(self, frame: DataFrame, replace: bool):
        self.columns, self.replace = frame.columns, replace
        self.exact = str(frame.sparkSession.conf.get("spark.sql.caseSensitive", "false")).strip().lower() == "true"

    def _key(self, name: str) -> str:
        return name if self.exact else name.lower()

    def check(self, names: Sequence[str] | Mapping[str, Any]) -> None:
        """Raise if a name is taken."""
        taken = set() if self.replace else {self._key(name) for name in self.columns}
        for name in names:
            if self._key(name) in taken:
                raise ColumnError(
                    name,
                    "the DataFrame has this column already; choose another output=, or replace it with replace=True",
                )
        if len({self._key(name) for name in names}) < len(names):
            raise ArgumentError(f"output has names that are one name to Spark: {list(names)}")

    def filled(self, results: DataFrame, outputs: Sequence[Output]) -> DataFrame:
        """The columns as they were with the new ones, in the places of those that they replace or behind them.

        Args:
          results: the numbered DataFrame with a column "results".
          outputs: the new columns.
        """
        package = package_of(results)
        col, when = (getattr(import_module(f"{package}.functions"), name) for name in ("col", "when"))
        made = {}
        for n, output in enumerate(outputs):
            column = col("results") if len(outputs) == 1 else col("results").getField(str(n))
            metadata = {}
            if output.vector:
                vectors = import_module(f"{package}.functions".replace(".sql", ".ml"))
                # A null must stay one, which array_to_vector does not take.
                column = when(column.isNotNull(), vectors.array_to_vector(column))
                metadata = {} if output.width is None else {"ml_attr": {"num_attrs": output.width}}
            made[self._key(output.name)] = column.alias(output.name, metadata=metadata)
        taken = {self._key(name) for name in self.columns}
        chosen = [made.get(self._key(name), col(str(n)).alias(name)) for n, name in enumerate(self.columns)]
        return results.select(*chosen, *(column for key, column in made.items() if key not in taken))
