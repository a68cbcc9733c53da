"""What a DataFrame's labels, weights and validation indicators hold, found out by one job."""

from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import types as T

from fdl_spark.data.source import numbered
from fdl_spark.errors import ArgumentError, ColumnError, DataError, MissingColumnError
from fdl_spark.spark.classic import package_of

MOST_CLASSES = 1 << 20  # a label above it is a mistake: each class has a logit


@dataclass(frozen=True)
class RowSurvey:
    """What was found.

    Attributes:
      count: rows to train on.
      classes: the largest label plus one; 0 if labels are no classes.
      held_out: rows of the validation.
    """

    count: int
    classes: int
    held_out: int


def column_of(frame: DataFrame, name: str, argument: str) -> int:
    """The place of a column.

    Raises:
      MissingColumnError, ColumnError: there is none, or several have the name.
    """
    places = [place for place, other in enumerate(frame.columns) if other == name]
    if not places:
        raise MissingColumnError(name, frame.columns, argument)
    if len(places) > 1:
        raise ColumnError(name, f"{len(places)} columns have this name; rename or drop all but one of them")
    return places[0]


def survey(frame: DataFrame, label: str | None, weight: str | None, indicator: str | None) -> RowSurvey:
    """Count rows and check their labels, weights and indicators.

    Args:
      frame: the data.
      label: a column of classes 0, 1, ...; None checks none.
      weight: a column of weights, which are not negative; None counts each row once.
      indicator: a boolean column, true for rows of the validation; None for none.

    Raises:
      ColumnError: with the value and the number of the first bad row.
      DataError: there is no row to train on, or all weights are zero.
    """
    functions = import_module(f"{package_of(frame)}.functions")
    plain = numbered(frame)

    def taken(name: str, argument: str, kind: str) -> Any:
        place = column_of(frame, name, argument)
        found = frame.schema.fields[place].dataType
        if kind == "boolean" and not isinstance(found, T.BooleanType):
            raise ColumnError(name, f"{argument} must be boolean; it is {found.simpleString()}")
        if kind == "double" and not isinstance(found, T.NumericType | T.BooleanType):
            more = "; pyspark.ml.feature.StringIndexer makes numbers of texts" if argument == "labelCol" else ""
            raise ColumnError(name, f"{argument} must be a number; it is {found.simpleString()}{more}")
        return functions.col(str(place)).cast(kind)

    checked: dict[str, tuple[Any, Any, str]] = {}  # by column: its values, which are bad, what they should be
    held_out = functions.lit(False)
    if indicator is not None:
        held_out = taken(indicator, "validationIndicatorCol", "boolean")
        checked[indicator] = held_out, held_out.isNull(), "true or false"
    weights = functions.lit(1.0)
    if weight is not None:
        weights = taken(weight, "weightCol", "double")
        bad = reduce(or_, (weights.isNull(), functions.isnan(weights), weights < 0, weights == float("inf")))
        checked[weight] = weights, bad, "a weight, a finite number that is not negative"
    labels = functions.lit(-1.0)
    if label is not None:
        labels = taken(label, "labelCol", "double")
        whole = labels == functions.floor(labels)
        bad = reduce(or_, (labels.isNull(), functions.isnan(labels), labels < 0, labels >= MOST_CLASSES, ~whole))
        checked[label] = labels, bad, "a class, one of 0, 1, 2, ... (pyspark.ml.feature.StringIndexer makes them)"
    # Rows are counted in the order of the partitions, as everywhere; the low bits of this are a row's place in its own.
    rows = plain.select(
        functions.spark_partition_id().alias("partition"),
        functions.monotonically_increasing_id().alias("place"),
        held_out.alias("held_out"),
        labels.alias("label"),
        weights.alias("weight"),
        *(bad.alias(f"bad {n}") for n, (_, bad, _) in enumerate(checked.values())),
        *(value.cast("string").alias(f"value {n}") for n, (value, _, _) in enumerate(checked.values())),
    )
    kept = ~functions.col("held_out")

    def first_bad(n: int) -> Any:
        return functions.min(functions.when(functions.col(f"bad {n}"), functions.struct("place", f"value {n}")))

    found = (
        rows.groupBy("partition")
        .agg(
            functions.count("*").alias("rows"),
            functions.sum(kept.cast("long")).alias("kept"),
            functions.max("label").alias("label"),
            functions.sum(functions.when(kept, functions.col("weight"))).alias("weight"),
            *(first_bad(n).alias(f"bad {n}") for n in range(len(checked))),
        )
        .orderBy("partition")
        .collect()
    )
    first = 0
    for row in found:
        for n, (name, (_, _, wanted)) in enumerate(checked.items()):
            if row[f"bad {n}"] is not None:
                where, value = row[f"bad {n}"]
                said = "null" if value is None else value
                raise ColumnError(name, f"{said} is not {wanted}", first + (where & ((1 << 33) - 1)))
        first += row["rows"]
    count = sum(row["kept"] or 0 for row in found)
    if not count:
        raise DataError("the DataFrame has no rows to train on")
    if sum(row["weight"] or 0.0 for row in found) <= 0:
        raise DataError(f"all weights of {weight!r} are zero")
    largest = max(row["label"] for row in found)
    return RowSurvey(count, int(largest) + 1, first - count)


def declared_classes(field: T.StructField) -> int:
    """How many classes the metadata of a label column tells of, as StringIndexer writes them; 0 if none."""
    attributes = (field.metadata or {}).get("ml_attr", {})
    if "vals" in attributes:
        return len(attributes["vals"])
    return int(attributes.get("num_vals", 0))


def check_apart(named: dict[str, str | None], inputs: tuple[str, ...]) -> None:
    """Raise if a column has two parts to play."""
    taken = dict.fromkeys(inputs, "an input")
    for argument, name in named.items():
        if name is None:
            continue
        if name in taken:
            raise ArgumentError(f"{argument} {name!r} is also {taken[name]}; copy the column under another name")
        taken[name] = argument
