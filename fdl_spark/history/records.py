"""Records of a history for other programs: as columns, and as numbers with names."""

from collections.abc import Iterable, Mapping
from typing import Any

from fdl_spark.history.outcome import flat_numbers

Record = Mapping[str, Any]


def columns_of(records: Iterable[Record]) -> dict[str, list[Any]]:
    """The columns of records, with dicts inside taken apart; None where a record has no such entry.

    >>> columns_of([{"a": 1, "b": {"c": 2}}, {"a": 3, "d": "x"}])
    {'a': [1, 3], 'b.c': [2, None], 'd': [None, 'x']}
    """
    columns: dict[str, list[Any]] = {}
    for count, record in enumerate(records):
        flat = _flat(record)
        for name in [name for name in flat if name not in columns]:
            columns[name] = [None] * count
        for name, column in columns.items():
            column.append(flat.get(name))
    return columns


def _flat(record: Record) -> dict[str, Any]:
    flat = {name: value for name, value in record.items() if not isinstance(value, Mapping)}
    for name, inside in record.items():
        if isinstance(inside, Mapping):
            for inner, value in _flat(inside).items():
                dotted = f"{name}.{inner}"
                flat[f"{name}[{inner!r}]" if dotted in flat else dotted] = value
    return flat


def step_scalars(record: Record) -> dict[str, float]:
    """The numbers of a step's record under the names that TensorBoard and the like show: "train/loss".

    >>> step_scalars({"step": 3, "loss": 0.5, "rows": 8, "seconds": 2.0, "phases": {"update": 1.0}, "note": "x"})
    {'train/loss': 0.5, 'rows_per_second': 4.0, 'seconds/update': 1.0}
    """
    found = {f"train/{name}": value for name, value in record.items() if name not in COUNTS and _is_number(value)}
    if record["seconds"] > 0:
        found["rows_per_second"] = record["rows"] / record["seconds"]
    return found | {f"seconds/{name}": seconds for name, seconds in record["phases"].items()}


def validation_scalars(record: Record) -> dict[str, float]:
    """The numbers of the validation in a step's or an epoch's record: "validation/loss"."""
    return {f"validation/{name}": value for name, value in flat_numbers(record.get("validation", {})).items()}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or getattr(value, "shape", None) == ()


COUNTS = ("step", "rows", "seconds", "phases", "tasks")  # entries of a step's record that are no means over its rows
