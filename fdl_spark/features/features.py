"""Encoders that have learned what they need: from record batches to arrays, and to a file and back."""

import json
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from fdl_spark.checkpoints.files import FAILED, open_files
from fdl_spark.errors import ArgumentError, DataError, MissingColumnError
from fdl_spark.features import params
from fdl_spark.features.column_encoder import ColumnEncoder, learners
from fdl_spark.features.reading import plain

VERSION = 1


@dataclass(frozen=True, repr=False)
class Features:
    """Fitted encoders, as `fit` makes them: an `Encoder` for `train`, `evaluate` and `predict`.

    Args:
      encoders: in the order of their arrays; each has learned what it needs.

    Raises:
      ArgumentError: an encoder has not learned yet, or two arrays have one name.

    >>> from fdl_spark import features
    >>> encoders = [features.numeric("age"), features.vocabulary("city", values=["Bonn"])]
    >>> fitted = features.Features(tuple(encoders))
    >>> fitted.inputs, fitted.outputs
    (('age', 'city'), ('age', 'city'))
    >>> fitted.encode(pa.record_batch({"age": [34], "city": ["Bonn"]}))
    {'age': array([34.], dtype=float32), 'city': array([1], dtype=int32)}
    """

    encoders: tuple[ColumnEncoder, ...]

    def __post_init__(self) -> None:
        check_encoders(self.encoders)
        for encoder in self.encoders:
            if unfitted := learners(encoder):
                raise ArgumentError(f"{unfitted[0]!r} has not learned yet; features.fit([...], frame) lets it learn")

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The columns that are read."""
        return tuple(dict.fromkeys(name for encoder in self.encoders for name in encoder.inputs))

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return tuple(name for encoder in self.encoders for name in encoder.outputs)

    def encode(self, batch: Any) -> dict[str, np.ndarray]:
        """The arrays of a batch by their names, rows first.

        Args:
          batch: a pyarrow RecordBatch or Table, a pandas DataFrame, or a dict of columns, which has the columns
            `inputs`, and maybe others.

        Raises:
          DataError: it is none of these.
          MissingColumnError: it lacks a column, or has two of its name.
          BadColumn: a row that has no encoding.

        >>> from fdl_spark import features
        >>> features.fit([features.numeric("age")], {"age": [34]}).encode({"age": [20, 30]})
        {'age': array([20., 30.], dtype=float32)}
        """
        rows = batch if isinstance(batch, pa.RecordBatch | pa.Table) else local_table(batch)
        if rows is None:
            raise DataError(
                f"encode takes a pyarrow Table, a pandas DataFrame or a dict of columns, not {type(batch).__name__}; "
                f"for a DataFrame of Spark pass features= to train, evaluate or predict"
            )
        columns = read(rows, self.inputs)
        return {name: array for encoder in self.encoders for name, array in encoder.encode(columns).items()}

    def of(self, name: str) -> Any:
        """The encoder that gives an array, whose attributes tell what it has learned.

        Args:
          name: of the array.

        Raises:
          ArgumentError: none gives such an array.

        >>> from fdl_spark import features
        >>> texts = {"text": ["the cat", "the dog"]}
        >>> encoders = features.fit([features.tokenise("text", "words", length=3)], texts)
        >>> encoders.of("words").depth, encoders.of("words").values  # 0 is the padding, 1 a word that is not known
        (5, ('the', 'cat', 'dog'))
        """
        for encoder in self.encoders:
            if name in encoder.outputs:
                return encoder
        raise ArgumentError(f"no encoder gives an array {name!r}; there are {list(self.outputs)}")

    def without(self, *names: str) -> "Features":
        """These encoders but for those that give some arrays, as those of labels, which data to predict does not have.

        Args:
          names: of arrays. An encoder that gives several of them is left out with all of its arrays.

        Raises:
          ArgumentError: no encoder gives an array of such a name, or none is left.

        >>> from fdl_spark import features
        >>> encoders = features.fit([features.numeric("age"), features.numeric("bought")], {"age": [34], "bought": [1]})
        >>> encoders.without("bought").inputs
        ('age',)
        """
        for name in names:
            if name not in self.outputs:
                raise ArgumentError(f"no encoder gives an array {name!r}; there are {list(self.outputs)}")
        left = tuple(encoder for encoder in self.encoders if not set(encoder.outputs) & set(names))
        if not left:
            raise ArgumentError(f"without {list(names)} no encoder is left")
        return Features(left)

    def explain(self) -> str:
        """What each encoder does, with its parameters, their meaning, default and value."""
        return "\n\n".join(
            f"{encoder.kind}: {', '.join(encoder.inputs)} -> {', '.join(encoder.outputs)}\n"
            + "\n".join(f"  {line}" for line in encoder.explain().splitlines())
            for encoder in self.encoders
        )

    def to_json(self) -> dict[str, Any]:
        """All of it as what JSON can hold."""
        return {"version": VERSION, "encoders": [encoder.to_json() for encoder in self.encoders]}

    def save(self, path: str) -> None:
        """Write it as a JSON file, whole or not at all.

        Args:
          path: of the file, whose folder is made; or a URI such as `s3://bucket/features.json`.

        Raises:
          DataError: it cannot be written.
        """
        folder, name = split(path)
        content = json.dumps(self.to_json(), allow_nan=False, ensure_ascii=False, indent=1).encode()
        hidden = f".{name}.{uuid.uuid4().hex}"
        try:
            files = open_files(folder)
        except FAILED as error:
            raise DataError(f"{path} cannot be written: {error}") from error
        try:
            files.make()
            files.write(hidden, content)
            files.move(hidden, name)
            files.sync()
        except FAILED as error:
            with suppress(*FAILED):
                files.delete(hidden)
            raise DataError(f"{path} cannot be written: {error}") from error

    def __repr__(self) -> str:
        return "Features(\n" + "".join(f"  {encoder!r},\n" for encoder in self.encoders) + ")"

    def __getstate__(self) -> dict[str, Any]:
        return {"encoders": self.encoders}


def split(path: str) -> tuple[str, str]:
    """The folder of a file, and its name."""
    folder, slash, name = str(path).rpartition("/")
    if not name:
        raise ArgumentError(f'path must be that of a file, such as "model/features.json", not {path!r}')
    return (folder or slash or "."), name


def check_encoders(encoders: Any) -> None:
    """Raise ArgumentError unless the encoders are some, of which no two give arrays of one name."""
    if not isinstance(encoders, tuple | list) or not encoders:
        raise ArgumentError(f"the encoders must be a list, such as [features.numeric('age')], not {encoders!r}")
    names: dict[str, ColumnEncoder] = {}
    for encoder in encoders:
        if not isinstance(encoder, ColumnEncoder):
            raise ArgumentError(f"an encoder is what features.numeric and others make, not {encoder!r:.100}")
        for name in encoder.outputs:
            if name in names:
                raise ArgumentError(
                    f"{names[name].kind} and {encoder.kind} both give {name!r}; give one of them another output="
                )
            names[name] = encoder


def local_table(data: Any) -> pa.Table | None:
    """Data that needs no Spark, as a table; None for other data."""
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    try:
        if isinstance(data, Mapping):
            return pa.table({name: _one_axis(column) for name, column in data.items()})
        if type(data).__module__.split(".")[0] == "pandas":
            return pa.Table.from_pandas(data, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise DataError(f"the data is no table: {error}") from None
    return data if isinstance(data, pa.Table) else None


def _one_axis(column: Any) -> Any:
    """An array with more axes than one as a list of arrays, which Arrow takes."""
    return list(column) if isinstance(column, np.ndarray) and column.ndim > 1 else column


def read(batch: pa.RecordBatch | pa.Table, names: Sequence[str], what: str = "the encoders") -> dict[str, pa.Array]:
    """Some columns of a batch in one piece each; `what` needs them, say errors."""
    for name in names:
        if batch.schema.get_field_index(name) < 0:  # also if there are two
            raise MissingColumnError(name, batch.schema.names, what)
    return {name: plain(batch.column(batch.schema.get_field_index(name))) for name in names}


def from_json(value: Any, where: str = "features") -> Features:
    """The encoders that `to_json` wrote; no code of theirs is run.

    Args:
      value: what `to_json` gave.
      where: what is being read, for messages.

    Raises:
      DataError: it is of another version, or not what `to_json` gives.

    >>> from fdl_spark import features
    >>> fitted = features.Features((features.numeric("age"),))
    >>> features.from_json(fitted.to_json()) == fitted
    True
    """
    if not isinstance(value, Mapping) or "version" not in value:
        raise DataError(f"{where} holds no encoders: there is no version in it")
    if value["version"] != VERSION or isinstance(value["version"], bool):
        raise DataError(f"{where} is of version {value['version']!r}, and this fdl_spark reads version {VERSION}")
    encoders = value.get("encoders")
    if not isinstance(encoders, list) or set(value) != {"version", "encoders"}:
        raise DataError(f"{where} must have a version and a list of encoders, and nothing else")
    found = tuple(params.from_json(encoder, where) for encoder in encoders)
    try:
        return Features(found)  # type: ignore[arg-type]
    except ArgumentError as error:
        raise DataError(f"{where}: {error}") from None


def load(path: str) -> Features:
    """The encoders that `save` wrote; no code of theirs is run.

    Args:
      path: of the file, or a URI.

    Raises:
      DataError: there is no such file, or it is of another version, or not what `save` writes.
    """
    folder, name = split(path)
    try:
        value = json.loads(open_files(folder).read(name))
    except FAILED as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON ({error})") from None
    return from_json(value, str(path))
