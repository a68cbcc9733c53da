"""Metrics of `fdl_spark.metrics` as evaluators of Spark ML, and of the validation of an estimator."""

from collections.abc import Callable, Mapping
from typing import Any

from pyspark.ml.evaluation import Evaluator as SparkEvaluator
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasLabelCol, HasWeightCol
from pyspark.sql import DataFrame

from fdl_spark.applying.evaluate import evaluate
from fdl_spark.arguments import check_choice, check_function
from fdl_spark.errors import ArgumentError
from fdl_spark.metrics.metric import Metric
from fdl_spark.ml.scores import of_class_1


class Evaluator(SparkEvaluator, HasLabelCol, HasWeightCol):
    """A metric of the predictions of any model of Spark ML, for CrossValidator and TrainValidationSplit.

    Its value is exact, and depends on no partitions: Spark's own areas under curves are those of 1,000 thresholds, with
    straight lines between them. Scores are float32.

    Args:
      metric: (scores, label) -> a metric, such as `fdl_spark.metrics.pr_auc` or a `functools.partial` of it; with
        `weightCol` its argument `weight` is passed too.
      mode: whether a better model has a larger ("max") or a smaller ("min") value.
      **values: Params by name: scoresCol, labelCol, weightCol.

    >>> from fdl_spark import metrics, session
    >>> rows = [(0.1, 0.0), (0.4, 0.0), (0.35, 1.0), (0.8, 1.0)]
    >>> frame = session().createDataFrame(rows, ["prediction", "label"])
    >>> round(Evaluator(metrics.pr_auc, scoresCol="prediction").evaluate(frame), 6)
    0.833333
    """

    scoresCol: Param[str] = Param(
        Params._dummy(),
        "scoresCol",
        "column that the metric reads: numbers or vectors; of vectors of two numbers the second, that of class 1.",
        TypeConverters.toString,
    )

    def __init__(self, metric: Callable[..., Metric], *, mode: str = "max", **values: Any):
        super().__init__()
        check_function("metric", metric, "(scores, label)")
        if isinstance(metric, Metric):
            raise ArgumentError(
                "metric must be a function of (scores, label) that gives a metric, such as fdl_spark.metrics.pr_auc or "
                f"a functools.partial of it, not the metric itself ({type(metric).__name__})"
            )
        check_choice("mode", mode, ("max", "min"))
        self.metric, self.mode = metric, mode
        self._setDefault(scoresCol="probability")
        for name in values:
            if not self.hasParam(name):
                known = ", ".join(param.name for param in self.params)
                raise ArgumentError(f"Evaluator has no Param {name!r}; it has {known}")
        self._set(**values)

    def setScoresCol(self, value: str) -> "Evaluator":
        """Set the column that the metric reads."""
        return self._set(scoresCol=value)

    def getScoresCol(self) -> str:
        """The value of scoresCol."""
        return self.getOrDefault(self.scoresCol)

    def setLabelCol(self, value: str) -> "Evaluator":
        """Set the column of labels."""
        return self._set(labelCol=value)

    def setWeightCol(self, value: str) -> "Evaluator":
        """Set the column of weights."""
        return self._set(weightCol=value)

    def isLargerBetter(self) -> bool:
        """Whether a better model has a larger value."""
        return self.mode == "max"

    def _evaluate(self, dataset: DataFrame) -> float:
        scores, label = self.getScoresCol(), self.getLabelCol()
        weight = self.getWeightCol() if self.isSet(self.weightCol) else None
        weights = {} if weight is None else {"weight": weight}
        measured = made("metric", self.metric, lambda params, batch: of_class_1(batch[scores]), label, **weights)
        names = [scores, label, *weights.values()]
        return float(evaluate({"metric": measured}, {}, dataset, columns=names)["metric"])


def made(name: str, metric: Callable[..., Any], scores: Any, label: str, **weights: str) -> Metric:
    """The metric that a function gives.

    Raises:
      ArgumentError: it gives something else.
    """
    found = metric(scores, label, **weights)
    if not isinstance(found, Metric):
        raise ArgumentError(
            f"{name} must be a function (scores, label) that gives a metric, as fdl_spark.metrics.pr_auc is; "
            f"it gave {type(found).__name__}"
        )
    return found


def of_validation(
    given: Mapping[str, Callable[..., Metric]] | None, scores: Callable[[Any, Any], Any], label: str
) -> dict[str, Metric]:
    """The metrics that an estimator takes on its validation, by name."""
    return {name: made(f"metrics[{name!r}]", metric, scores, label) for name, metric in (given or {}).items()}
