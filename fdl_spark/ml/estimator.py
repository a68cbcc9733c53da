"""An estimator of any model and loss: rankings, embeddings, autoencoders."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from pyspark.ml import Estimator as SparkEstimator
from pyspark.ml import Model
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasPredictionCol
from pyspark.sql import DataFrame

from fdl_spark.data.encoder import Encoder
from fdl_spark.ml.fitted import Fit, Fitted, Output
from fdl_spark.ml.fitting import Fitting
from fdl_spark.ml.inputs import row_types, with_columns
from fdl_spark.ml.rows import check_apart, survey
from fdl_spark.ml.scores import plain_numbers


class Estimator(Fitting, SparkEstimator, HasPredictionCol):
    """Trains any function by any loss with `fdl_spark.train`, as an estimator of Spark ML.

    Args:
      apply: (params, batch) -> predictions, array with rows first; the batch is a dict of the arrays of `inputCols`.
      init: (key, features) -> params, where features is a dict by column of the width of vectors (of other columns the
        shape of a row), or the params themselves.
      loss: (params, batch) or (params, batch, key) -> mean loss, or (mean loss, dict of means), as `fdl_spark.train`
        takes it; the batch also has the columns of `labelCols`.
      features: fitted encoders of `fdl_spark.features`, for raw columns.
      options: further arguments of `fdl_spark.train`, by name.
      **values: Params by name; `explainParams()` lists them.

    >>> from fdl_spark import session
    >>> frame = session().createDataFrame([(x, 2.0 * x) for x in (-1.0, 0.5, 1.0)], ["x", "y"])
    >>> def loss(slope, batch):
    ...     return ((slope * batch["x"] - batch["y"]) ** 2).mean()
    >>> estimator = Estimator(
    ...     lambda slope, batch: slope * batch["x"], np.float32(0), loss=loss, inputCols=["x"], labelCols=["y"],
    ...     optimizer="sgd", learningRate=0.5, epochs=12, batchSize=3,
    ... )
    >>> model = estimator.fit(frame)
    >>> [round(row.prediction, 2) for row in model.transform(frame).collect()]
    [-2.0, 1.0, 2.0]
    """

    labelCols: Param[list[str]] = Param(
        Params._dummy(), "labelCols", "columns that the loss reads besides inputCols.", TypeConverters.toListString
    )

    def __init__(
        self,
        apply: Callable[..., Any] | None,
        init: Any,
        *,
        loss: Callable[..., Any] | None = None,
        features: Encoder | None = None,
        options: Mapping[str, Any] | None = None,
        **values: Any,
    ):
        super().__init__()
        self._begin({"apply": apply, "init": init, "loss": loss}, features, options, values)

    def getLabelCols(self) -> list[str]:
        """The value of labelCols."""
        return self.getOrDefault(self.labelCols)

    def setLabelCols(self, value: list[str]) -> "Estimator":
        """Set the columns that the loss reads besides inputCols."""
        return self._set(labelCols=value)

    def setPredictionCol(self, value: str) -> "Estimator":
        """Set the column of predictions."""
        return self._set(predictionCol=value)

    def _fit(self, dataset: DataFrame) -> "EstimatorModel":
        apply, loss = self.function("apply"), self.function("loss")
        inputs, labels = self.inputs(None), self.setting(self.labelCols) or []
        weight, indicator = self.setting(self.weightCol), self.setting(self.validationIndicatorCol)
        named = {f"labelCols' {name}": name for name in labels}
        check_apart(named | {"weightCol": weight, "validationIndicatorCol": indicator}, inputs.read)
        survey(dataset, None, weight, indicator)
        others = dict.fromkeys(labels) | ({} if weight is None else {weight: "double"})
        chosen = with_columns(dataset, inputs, others | ({} if indicator is None else {indicator: None}))
        types = row_types(chosen, inputs.columns, inputs.features)
        params = self.first_params(types)
        output = self.output_types(apply, params, types)
        params, history = self.trained(loss, params, chosen, inputs, list(others))
        fit = Fit(apply, params, inputs, types, output, history)
        return self._copyValues(EstimatorModel(fit)._resetUid(self.uid))


class EstimatorModel(Fitted, Model, HasPredictionCol):
    """Any function with trained parameters, as a model of Spark ML.

    `transform` adds prediction: a double; a vector if the function gives several numbers a row; an array of doubles if
    these are integers, such as the numbers of items in their ranking.

    Args:
      fitted: what the estimator has found.
    """

    def __init__(self, fitted: Fit):
        super().__init__()
        self.fitted = fitted

    def setPredictionCol(self, value: str) -> "EstimatorModel":
        """Set the column of predictions."""
        return self._set(predictionCol=value)

    def outputs(self) -> list[Output]:
        """The prediction."""
        output = self.fitted.output
        vector = np.dtype(output.dtype).kind == "f"
        return [Output(self.getPredictionCol(), 0, None if output.ndim == 0 else output.size, vector)]

    def numbers(self) -> Callable[[Any, Any], Any]:
        """The predictions."""
        return partial(plain_numbers, self.apply, self.fitted.inputs)
