"""A regressor: any function to numbers, as an estimator of Spark ML."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pyspark.ml.regression import RegressionModel
from pyspark.ml.regression import Regressor as SparkRegressor
from pyspark.sql import DataFrame

from fdl_spark.data.encoder import Encoder
from fdl_spark.errors import DataError
from fdl_spark.ml.fitted import Fit, Fitted, Output
from fdl_spark.ml.fitting import Fitting
from fdl_spark.ml.inputs import row_types, with_columns
from fdl_spark.ml.objective import objective, squared_error
from fdl_spark.ml.rows import check_apart, survey
from fdl_spark.ml.scores import plain_numbers


class Regressor(Fitting, SparkRegressor):
    """Trains a function to numbers with `fdl_spark.train`, as an estimator of Spark ML.

    Labels are numbers, or vectors and arrays of as many numbers as the function gives. Keyword-only arguments of the
    functions are Params of the estimator too, which grids can vary.

    Args:
      apply: (params, x) -> predictions, float array (rows,), (rows, 1) or (rows, n). With a third argument, `key=None`,
        training passes a random key.
      init: (key, features) -> params, where features is the width of the vectors (the shape of other rows; of several
        columns a dict), or the params themselves.
      loss: (predictions, labels) -> losses (rows,); by default the squared difference, summed over a row's numbers.
      features: fitted encoders of `fdl_spark.features`, for raw columns.
      options: further arguments of `fdl_spark.train`, by name.
      **values: Params by name; `explainParams()` lists them.

    >>> import numpy as np
    >>> from fdl_spark import session
    >>> frame = session().createDataFrame([(3.0 * x, [x, 1.0]) for x in (-1.0, 0.0, 1.0)], ["label", "features"])
    >>> regressor = Regressor(
    ...     lambda params, x: x @ params, lambda key, features: np.zeros(features, np.float32),
    ...     optimizer="sgd", learningRate=0.5, epochs=20, batchSize=3,
    ... )
    >>> model = regressor.fit(frame)
    >>> model.parameters.round(2).tolist()
    [3.0, 0.0]
    """

    def __init__(
        self,
        apply: Callable[..., Any] | None,
        init: Any,
        *,
        loss: Callable[[Any, Any], Any] | None = None,
        features: Encoder | None = None,
        options: Mapping[str, Any] | None = None,
        **values: Any,
    ):
        super().__init__()
        self._begin({"apply": apply, "init": init, "loss": loss or squared_error}, features, options, values)

    def _fit(self, dataset: DataFrame) -> "RegressorModel":
        apply, loss = self.function("apply"), self.function("loss")
        inputs = self.inputs(self.getFeaturesCol())
        label, weight = self.getLabelCol(), self.setting(self.weightCol)
        indicator = self.setting(self.validationIndicatorCol)
        check_apart({"labelCol": label, "weightCol": weight, "validationIndicatorCol": indicator}, inputs.read)
        survey(dataset, None, weight, indicator)
        others = {label: None} | ({} if weight is None else {weight: "double"})
        chosen = with_columns(dataset, inputs, others | ({} if indicator is None else {indicator: None}))
        types = row_types(chosen, [*inputs.columns, label], inputs.features)
        labels = types.pop(label)
        x = types[inputs.columns[0]] if inputs.single else types
        params = self.first_params(x)
        output = self.output_types(apply, params, x)
        if output.size != labels.size:
            raise DataError(f"apply gives {output.size} numbers a row, and labelCol {label!r} has {labels.size}")
        mean = objective(apply, loss, inputs, label, self.weighs())
        params, history = self.trained(mean, params, chosen, inputs, list(others))
        fit = Fit(apply, params, inputs, types, output, history)
        return self._copyValues(RegressorModel(fit)._resetUid(self.uid))


class RegressorModel(Fitted, RegressionModel):
    """A function to numbers with trained parameters, as a model of Spark ML.

    `transform` adds prediction: a double, or a vector if the function gives several numbers a row.

    Args:
      fitted: what the estimator has found.
    """

    def __init__(self, fitted: Fit):
        super().__init__()
        self.fitted = fitted

    def outputs(self) -> list[Output]:
        """The prediction."""
        size = self.fitted.output.size
        return [Output(self.getPredictionCol(), 0, None if size == 1 else size)]

    def numbers(self) -> Callable[[Any, Any], Any]:
        """The predictions."""
        return partial(plain_numbers, self.apply, self.fitted.inputs)

    def predict(self, value: Any) -> Any:
        """The prediction for one vector of features: a float, or an array if there are several numbers."""
        found = self.numbers_of(value)
        return float(found[0]) if self.fitted.output.size == 1 else found
