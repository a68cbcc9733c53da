"""What the models of this package have in common: a function with its parameters, applied to a DataFrame."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.util import MLReadable, MLWritable, MLWriter
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T

import fdl
from fdl import export
from fdl.errors import ExportError
from fdl_spark.applying.predict import predict
from fdl_spark.errors import ArgumentError, ColumnError, ModelError
from fdl_spark.history.history import History
from fdl_spark.ml.inputs import Inputs, batch_types, to_row
from fdl_spark.ml.params import InputParams
from fdl_spark.ml.persistence import (
    FEATURES,
    HISTORY,
    MODEL,
    Contents,
    DataReader,
    DataWriter,
    as_json,
    read_features,
    whole,
)
from fdl_spark.ml.scores import columns, renamed


@dataclass(frozen=True)
class Output:
    """A column that a model adds.

    Attributes:
      name: the column's; "" leaves it out.
      first: its place among the numbers of a row.
      count: how many of them it has; None is one number, as a double.
      vector: whether several numbers are a vector of Spark ML, and no array.
    """

    name: str
    first: int
    count: int | None = None
    vector: bool = True

    @property
    def type(self) -> T.DataType:
        """Its type."""
        if self.count is None:
            return T.DoubleType()
        return VectorUDT() if self.vector else T.ArrayType(T.DoubleType())

    @property
    def metadata(self) -> dict[str, Any]:
        """What Spark ML is told of a vector: its length."""
        return {"ml_attr": {"num_attrs": self.count}} if isinstance(self.type, VectorUDT) else {}


@dataclass(frozen=True)
class Fit:
    """What an estimator has found.

    Attributes:
      apply: the function (params, x) -> output.
      params: its parameters.
      inputs: what x is made of.
      types: the shape and dtype of each column of x, without the rows.
      output: the shape and dtype of a row of the output.
      history: the record of the training.
      info: what else the model is made from, JSON values.
    """

    apply: Callable[[Any, Any], Any]
    params: Any
    inputs: Inputs
    types: dict[str, Any]
    output: Any
    history: History = field(default_factory=History)
    info: dict[str, Any] = field(default_factory=dict)


class TrainingSummary:
    """How a training went, as Spark ML's summaries tell it.

    Attributes:
      history: the record of every step and epoch.
    """

    def __init__(self, history: History):
        self.history = history

    @property
    def objectiveHistory(self) -> list[float]:
        """The mean loss of each epoch."""
        return [record["loss"] for record in self.history.epochs]

    @property
    def totalIterations(self) -> int:
        """The number of epochs."""
        return len(self.history.epochs)


class Fitted(InputParams, MLReadable, MLWritable):
    """A model that adds columns of `predict` to a DataFrame."""

    fitted: Fit

    @property
    def parameters(self) -> Any:
        """The trained parameters, a pytree."""
        return self.fitted.params

    @property
    def apply(self) -> Callable[[Any, Any], Any]:
        """The function (params, x) -> output."""
        return self.fitted.apply

    @property
    def history(self) -> History:
        """The record of the training."""
        return self.fitted.history

    @property
    def features(self) -> Any:
        """The encoders of the raw columns; None if there are none."""
        return self.fitted.inputs.features

    @property
    def hasSummary(self) -> bool:
        """Whether there is a record of the training."""
        return bool(self.history.epochs)

    @property
    def summary(self) -> TrainingSummary:
        """How the training went."""
        return TrainingSummary(self.history)

    @property
    def numFeatures(self) -> int:
        """The width of the features; -1 if the model reads several columns, or no vectors."""
        (first, *others) = self.fitted.types.values()
        return first.shape[0] if self.fitted.inputs.single and not others and first.ndim == 1 else -1

    def outputs(self) -> list[Output]:
        """The columns that the model adds, those without a name too."""
        raise NotImplementedError

    def numbers(self) -> Callable[[Any, Any], Any]:
        """The function (params, batch) -> float array (rows, n), the numbers that the outputs are made from."""
        raise NotImplementedError

    def reads(self) -> tuple[str, ...]:
        """The columns that are read as they are: those that were trained on, or what the Params say now."""
        inputs = self.fitted.inputs
        if inputs.single:
            return (self.getFeaturesCol(),)
        return tuple(self.getOrDefault(self.inputCols)) if self.isDefined(self.inputCols) else inputs.columns

    def transformSchema(self, schema: T.StructType) -> T.StructType:
        """The schema of the transformed DataFrame, found without data.

        Raises:
          ColumnError: an output column is there already.
        """
        return self._with_outputs(schema, SparkSession.getActiveSession())

    def _with_outputs(self, schema: T.StructType, session: SparkSession | None) -> T.StructType:
        exact = session is not None and session.conf.get("spark.sql.caseSensitive", "false").lower() == "true"
        taken = {name if exact else name.lower() for name in schema.names}
        for output in self.named():
            name = output.name if exact else output.name.lower()
            if name in taken:
                raise ColumnError(
                    output.name, "the DataFrame has this column already; choose another name, or drop it before"
                )
            taken.add(name)
        added = (T.StructField(output.name, output.type, True, output.metadata) for output in self.named())
        return T.StructType([*schema.fields, *added])

    def named(self) -> list[Output]:
        """The columns that the model adds."""
        return [output for output in self.outputs() if output.name]

    def _transform(self, dataset: DataFrame) -> DataFrame:
        outputs = self.named()
        if not outputs:
            return dataset
        self._with_outputs(dataset.schema, dataset.sparkSession)
        reads, inputs = self.reads(), self.fitted.inputs
        if len(reads) != len(inputs.columns):
            raise ArgumentError(f"the model reads the columns {list(inputs.columns)}; inputCols names {list(reads)}")
        numbers = self.numbers()
        if reads != inputs.columns:
            numbers = partial(renamed, numbers, dict(zip(reads, inputs.columns, strict=True)))
        renames = dict(zip(inputs.columns, reads, strict=True))
        shapes = {renames.get(name, name): row.shape for name, row in self.fitted.types.items() if row.shape}
        return predict(
            partial(columns, numbers, {output.name: (output.first, output.count) for output in outputs}),
            self.parameters,
            dataset,
            {output.name: output.type for output in outputs},
            columns=reads or None,
            features=inputs.features,
            shapes=shapes,
            batch_size=self.getPredictionBatchSize(),
        )

    def numbers_of(self, value: Any) -> np.ndarray:
        """The numbers of one row, from its features.

        Raises:
          ArgumentError: the model reads several columns.
        """
        inputs, (types, *_) = self.fitted.inputs, self.fitted.types.values()
        if not inputs.single:
            raise ArgumentError("the model reads several columns; use transform")
        return np.asarray(self.numbers()(self.parameters, {inputs.columns[0]: to_row(types, value)})[0], float)

    def write(self) -> MLWriter:
        """What saves the model as data: the Program of `apply`, the parameters, Params and encoders."""
        return DataWriter(self)

    @classmethod
    def read(cls) -> DataReader:
        """What loads a model; opening it runs no code."""
        return DataReader(cls)

    def contents(self) -> Contents:
        """The files of its folder.

        Raises:
          ModelError: `apply` calls Python functions when it runs, or a Param is no data.
        """
        found = self.fitted
        types = batch_types(found.types, self.getPredictionBatchSize())
        x = types[found.inputs.columns[0]] if found.inputs.single else types
        info = {
            "columns": list(found.inputs.columns),
            "single": found.inputs.single,
            "output": [list(found.output.shape), found.output.dtype.name],
            **found.info,
        }
        try:
            exported = export.export(found.apply, found.params, x, {"fdl_spark": info})
        except ExportError as error:
            raise ModelError(f"{type(self).__name__} cannot be saved: {error}") from None
        files = {MODEL: export.to_bytes(exported), HISTORY: as_json(found.history.to_json(), "the history")}
        if found.inputs.features is not None:
            files[FEATURES] = as_json(found.inputs.features.to_json(), "features")
        return whole(self, files)

    @classmethod
    def from_contents(cls, values: Mapping[str, Any], contents: Mapping[str, bytes], path: str) -> Any:
        """The model that the files are of; may raise what NOT_AS_WRITTEN lists."""
        exported = export.from_bytes(contents[MODEL], MODEL)
        if not isinstance(exported, export.Exported):
            raise ValueError(f"{MODEL} is no function of parameters and rows")
        info = dict(exported.info["fdl_spark"])
        columns, single = tuple(info.pop("columns")), info.pop("single")
        shape, dtype = info.pop("output")
        batch = exported.apply.batch
        types = {columns[0]: batch} if single else batch
        types = {name: fdl.ShapeDtypeStruct(found.shape[1:], found.dtype) for name, found in types.items()}
        history = History.from_json(json.loads(contents[HISTORY]))
        inputs = Inputs(columns, single, read_features(contents))
        output = fdl.ShapeDtypeStruct(tuple(shape), dtype)
        return cls(Fit(exported.apply, exported.params, inputs, types, output, history, info))  # type: ignore[call-arg]
