"""A classifier: any function to logits, as an estimator of Spark ML."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyspark.ml.classification import ProbabilisticClassificationModel, ProbabilisticClassifier
from pyspark.ml.linalg import DenseVector
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.sql import DataFrame

from fdl_spark.data.encoder import Encoder
from fdl_spark.errors import ArgumentError, ColumnError, DataError
from fdl_spark.metrics.metric import Metric
from fdl_spark.ml.evaluator import of_validation
from fdl_spark.ml.fitted import Fit, Fitted, Output
from fdl_spark.ml.fitting import Fitting
from fdl_spark.ml.inputs import row_types, with_columns
from fdl_spark.ml.objective import accuracy, cross_entropy, objective
from fdl_spark.ml.rows import check_apart, column_of, declared_classes, survey
from fdl_spark.ml.scores import class_scores, probabilities


class Classifier(Fitting, ProbabilisticClassifier):
    """Trains a function to logits with `fdl_spark.train`, as an estimator of Spark ML.

    The function is given the features column as an array, or, with `inputCols` or `features`, a dict of arrays by
    column. Keyword-only arguments of the functions (`def init(key, features, classes, *, hidden=32)`) are Params of the
    estimator too, which grids can vary.

    Args:
      apply: (params, x) -> logits, float array (rows, classes); or one logit a row, that of class 1. With a third
        argument, `key=None`, training passes a random key.
      init: (key, features, classes) -> params, where features is the width of the vectors (the shape of other rows; of
        several columns a dict), or the params themselves.
      loss: (logits, labels) -> losses (rows,); by default the cross entropy of the softmax, or of the sigmoid.
      features: fitted encoders of `fdl_spark.features`, for raw columns.
      metrics: taken on the validation (`validationIndicatorCol`) beside loss and accuracy, by name: functions
        (scores, label) -> metric, such as `fdl_spark.metrics.pr_auc`. The scores are the probabilities: of two classes
        (rows,), those of class 1, else (rows, classes). `options={"best": fdl_spark.Best("pr_auc", mode="max")}` keeps
        the parameters of the best epoch.
      options: further arguments of `fdl_spark.train`, by name.
      **values: Params by name; `explainParams()` lists them.

    >>> from pyspark.ml.linalg import Vectors
    >>> import numpy as np
    >>> from fdl_spark import session
    >>> frame = session().createDataFrame(
    ...     [(float(x > 0), Vectors.dense(x)) for x in (-3.0, -2.0, 2.0, 3.0)], ["label", "features"]
    ... )
    >>> classifier = Classifier(
    ...     lambda params, x: x @ params, lambda key, features, classes: np.zeros((features, classes), np.float32),
    ...     learningRate=0.5, epochs=3, batchSize=4, seed=1,
    ... )
    >>> model = classifier.fit(frame)
    >>> [row.prediction for row in model.transform(frame).collect()]
    [0.0, 0.0, 1.0, 1.0]
    """

    numClasses: Param[int] = Param(
        Params._dummy(),
        "numClasses",
        "number of classes; unset: what the label's metadata says, else the largest label plus one.",
        TypeConverters.toInt,
    )

    def __init__(
        self,
        apply: Callable[..., Any] | None,
        init: Any,
        *,
        loss: Callable[[Any, Any], Any] | None = None,
        features: Encoder | None = None,
        metrics: Mapping[str, Callable[..., Metric]] | None = None,
        options: Mapping[str, Any] | None = None,
        **values: Any,
    ):
        super().__init__()
        self._begin({"apply": apply, "init": init, "loss": loss or cross_entropy}, features, options, values)
        self.metrics = dict(metrics or {})
        if "accuracy" in self.metrics or "loss" in self.metrics:
            raise ArgumentError("metrics: the validation has a loss and an accuracy of its own; choose other names")

    def setNumClasses(self, value: int) -> "Classifier":
        """Set the number of classes."""
        return self._set(numClasses=value)

    def getNumClasses(self) -> int:
        """The value of numClasses."""
        return self.getOrDefault(self.numClasses)

    def _fit(self, dataset: DataFrame) -> "ClassifierModel":
        apply, loss = self.function("apply"), self.function("loss")
        inputs = self.inputs(self.getFeaturesCol())
        label, weight = self.getLabelCol(), self.setting(self.weightCol)
        indicator = self.setting(self.validationIndicatorCol)
        check_apart({"labelCol": label, "weightCol": weight, "validationIndicatorCol": indicator}, inputs.read)
        found = survey(dataset, label, weight, indicator)
        classes = self._classes(dataset, label, found.classes)
        others = {label: "int"} | ({} if weight is None else {weight: "double"})
        chosen = with_columns(dataset, inputs, others | ({} if indicator is None else {indicator: None}))
        types = row_types(chosen, inputs.columns, inputs.features)
        x = types[inputs.columns[0]] if inputs.single else types
        params = self.first_params(x, classes)
        output = self.output_types(apply, params, x)
        classes = _logits(output, classes)
        thresholds(self, classes)
        params, history = self.trained(
            objective(apply, loss, inputs, label, self.weighs()),
            params,
            chosen,
            inputs,
            list(others),
            {"accuracy": accuracy(apply, inputs, label)}
            | of_validation(self.metrics, partial(probabilities, apply, inputs), label),
        )
        fit = Fit(apply, params, inputs, types, output, history, {"numClasses": classes})
        return self._copyValues(ClassifierModel(fit)._resetUid(self.uid))

    def _classes(self, dataset: DataFrame, label: str, seen: int) -> int:
        """The number of classes."""
        field = dataset.schema.fields[column_of(dataset, label, "labelCol")]
        said = self.setting(self.numClasses) or declared_classes(field)
        if said and seen > said:
            raise ColumnError(label, f"there are {said} classes, so that labels are below {said}; one is {seen - 1}")
        return max(said, seen, 2)


def _logits(output: Any, classes: int) -> int:
    """How many classes the logits are of.

    Raises:
      DataError: they are fewer than the labels, or have more axes than one.
    """
    if output.ndim > 1:
        raise DataError(f"apply must give logits (rows, classes); a row of its output has shape {output.shape}")
    count = 2 if output.shape in ((), (1,)) else output.shape[0]
    if count < classes:
        raise DataError(f"apply gives {output.size} logits a row, and there are {classes} classes")
    return count


def thresholds(stage: Any, classes: int) -> tuple[float, ...] | None:
    """The thresholds of an estimator or model of so many classes; None if there are none.

    Raises:
      ArgumentError: they are of another number, or not positive.
    """
    if not stage.isDefined(stage.thresholds):
        return None
    found = tuple(stage.getThresholds())
    if len(found) != classes or min(found) < 0 or found.count(0) > 1:
        raise ArgumentError(
            f"thresholds must be one for each of the {classes} classes, above 0 but for one that may be 0; "
            f"they are {list(found)}"
        )
    return found


class ClassifierModel(Fitted, ProbabilisticClassificationModel):
    """A function to logits with trained parameters, as a model of Spark ML.

    `transform` adds rawPrediction (the logits) and probability as vectors, and prediction, the class of the largest
    probability (divided by its threshold, if there are `thresholds`), as a double. A column whose Param is "" is left
    out.

    Args:
      fitted: what the estimator has found.
    """

    def __init__(self, fitted: Fit):
        super().__init__()
        self.fitted = fitted

    @property
    def numClasses(self) -> int:
        """The number of classes."""
        return self.fitted.info["numClasses"]

    def outputs(self) -> list[Output]:
        """Raw prediction, probability, prediction."""
        classes = self.numClasses
        return [
            Output(self.getRawPredictionCol(), 0, classes),
            Output(self.getProbabilityCol(), classes, classes),
            Output(self.getPredictionCol(), 2 * classes),
        ]

    def numbers(self) -> Callable[[Any, Any], Any]:
        """Logits, probabilities and the class."""
        return partial(class_scores, self.apply, self.fitted.inputs, thresholds(self, self.numClasses))

    def predictRaw(self, value: Any) -> DenseVector:
        """The logits of one vector of features."""
        return DenseVector(self.numbers_of(value)[: self.numClasses])

    def predictProbability(self, value: Any) -> DenseVector:
        """The probabilities of one vector of features."""
        return DenseVector(self.numbers_of(value)[self.numClasses : -1])

    def predict(self, value: Any) -> float:
        """The class of one vector of features."""
        return float(self.numbers_of(value)[-1])
