"""Params that the estimators of this package share; the names are Spark ML's where it has one."""

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasBatchSize,
    HasInputCols,
    HasLearningRate,
    HasSeed,
    HasValidationIndicatorCol,
    HasWeightCol,
)

import fdl
from fdl_spark.arguments import check_optimizer
from fdl_spark.errors import ArgumentError

P = TypeVar("P", bound=Params)

#: Optimizers that take a learning rate and nothing else that has no default.
OPTIMIZERS = (
    "adabelief", "adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "lamb", "lars", "lion", "nadam", "nadamw",
    "radam", "rmsprop", "sgd", "sign_sgd",
)  # fmt: skip


def to_optimizer(value: Any) -> Any:
    """A value of the Param `optimizer`: a name, or a pair of pure functions.

    Raises:
      ArgumentError: it is neither.
    """
    if isinstance(value, str):
        if value not in OPTIMIZERS:
            raise ArgumentError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, or an object; it is {value!r}")
        return value
    check_optimizer(value)
    return value


class InputParams(HasInputCols):
    """What estimators and models read, and how many rows a model computes at once."""

    predictionBatchSize: Param[int] = Param(
        Params._dummy(),
        "predictionBatchSize",
        "how many rows a model computes at once; a saved model is compiled for so many.",
        TypeConverters.toInt,
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(predictionBatchSize=1024)

    def setInputCols(self: P, value: list[str]) -> P:
        """Set the columns that the function's batch is a dict of, in place of the features column."""
        return self._set(inputCols=value)

    def getPredictionBatchSize(self) -> int:
        """The value of predictionBatchSize or its default."""
        return self.getOrDefault(self.predictionBatchSize)

    def setPredictionBatchSize(self: P, value: int) -> P:
        """Set how many rows a model computes at once."""
        return self._set(predictionBatchSize=value)


class TrainingParams(HasBatchSize, HasLearningRate, HasSeed, HasValidationIndicatorCol, HasWeightCol):
    """How an estimator trains: Params that become arguments of `fdl_spark.train`."""

    epochs: Param[int] = Param(
        Params._dummy(), "epochs", "how often each row takes part in training.", TypeConverters.toInt
    )
    optimizer: Param[Any] = Param(
        Params._dummy(),
        "optimizer",
        "the name of an optimizer of fdl.optim, which gets learningRate, or an object such as fdl.optim.adam(1e-3).",
        to_optimizer,
    )
    shards: Param[int] = Param(
        Params._dummy(),
        "shards",
        "number of logical shards, which decides the bits of the result; unset: one a partition.",
        TypeConverters.toInt,
    )
    partitions: Param[int] = Param(
        Params._dummy(),
        "partitions",
        "number of tasks; unset: as many as the cluster runs at once.",
        TypeConverters.toInt,
    )
    checkpoint: Param[str] = Param(
        Params._dummy(), "checkpoint", "folder or URI of checkpoints; unset: none.", TypeConverters.toString
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(batchSize=128, learningRate=1e-3, seed=0, epochs=10, optimizer="adam")

    def setBatchSize(self: P, value: int) -> P:
        """Set the number of rows of a global batch."""
        return self._set(batchSize=value)

    def setLearningRate(self: P, value: float) -> P:
        """Set the learning rate of an optimizer that is given by its name."""
        return self._set(learningRate=value)

    def setSeed(self: P, value: int) -> P:
        """Set the seed of the first parameters, the shards and the order of rows."""
        return self._set(seed=value)

    def setValidationIndicatorCol(self: P, value: str) -> P:
        """Set the column that is true for rows of the validation."""
        return self._set(validationIndicatorCol=value)

    def setWeightCol(self: P, value: str) -> P:
        """Set the column of the rows' weights."""
        return self._set(weightCol=value)

    def getEpochs(self) -> int:
        """The value of epochs or its default."""
        return self.getOrDefault(self.epochs)

    def setEpochs(self: P, value: int) -> P:
        """Set how often each row takes part."""
        return self._set(epochs=value)

    def getOptimizer(self) -> Any:
        """The value of optimizer or its default."""
        return self.getOrDefault(self.optimizer)

    def setOptimizer(self: P, value: Any) -> P:
        """Set the optimizer: a name, or an object."""
        return self._set(optimizer=value)

    def getShards(self) -> int:
        """The value of shards."""
        return self.getOrDefault(self.shards)

    def setShards(self: P, value: int) -> P:
        """Set the number of logical shards."""
        return self._set(shards=value)

    def getPartitions(self) -> int:
        """The value of partitions."""
        return self.getOrDefault(self.partitions)

    def setPartitions(self: P, value: int) -> P:
        """Set the number of tasks."""
        return self._set(partitions=value)

    def getCheckpoint(self) -> str:
        """The value of checkpoint."""
        return self.getOrDefault(self.checkpoint)

    def setCheckpoint(self: P, value: str) -> P:
        """Set the folder or URI of checkpoints."""
        return self._set(checkpoint=value)

    def chosen_optimizer(self) -> Any:
        """The optimizer as a pair of functions."""
        optimizer = self.getOptimizer()
        if isinstance(optimizer, str):
            return getattr(fdl.optim, optimizer)(self.getLearningRate())
        if self.isSet(self.learningRate):
            raise ArgumentError("learningRate is for an optimizer that is given by its name; leave one of them out")
        return optimizer

    def setting(self, param: Param[Any]) -> Any:
        """The value of a Param, None if it is not set or empty."""
        return self.getOrDefault(param) or None if self.isDefined(param) else None


def hyperparameters(**functions: Callable[..., Any] | None) -> dict[str, Any]:
    """The keyword-only parameters of functions, with their defaults (or Parameter.empty).

    Raises:
      ArgumentError: two functions have different defaults of one name.
    """
    found: dict[str, Any] = {}
    for function in functions.values():
        if function is None:
            continue
        for name, parameter in signature(function).parameters.items():
            if parameter.kind is not Parameter.KEYWORD_ONLY or name == "key":
                continue
            if name in found and found[name] != parameter.default and Parameter.empty not in (
                found[name], parameter.default,
            ):  # fmt: skip
                raise ArgumentError(
                    f"{' and '.join(functions)} have different defaults of {name!r}: {found[name]!r} and "
                    f"{parameter.default!r}; give it one"
                )
            if found.get(name, Parameter.empty) is Parameter.empty:
                found[name] = parameter.default
    return found


def takes(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Those of the hyperparameters that a function takes."""
    names = signature(function).parameters
    return {name: value for name, value in values.items() if name in names}


def converter(default: Any) -> Callable[[Any], Any]:
    """The type converter of a hyperparameter, by its default."""
    for kind, convert in (
        (bool, TypeConverters.toBoolean),
        (int, TypeConverters.toInt),
        (float, TypeConverters.toFloat),
        (str, TypeConverters.toString),
    ):
        if isinstance(default, kind):
            return convert
    return TypeConverters.identity
