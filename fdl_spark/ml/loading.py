"""Models and estimators from their folders, whichever they are."""

from typing import Any

from pyspark.sql import SparkSession

from fdl_spark.ml.classifier import Classifier, ClassifierModel
from fdl_spark.ml.estimator import Estimator, EstimatorModel
from fdl_spark.ml.persistence import read_instance
from fdl_spark.ml.regressor import Regressor, RegressorModel

CLASSES = {
    kind.__name__: kind for kind in (Classifier, ClassifierModel, Estimator, EstimatorModel, Regressor, RegressorModel)
}


def load(path: str, spark: SparkSession | None = None) -> Any:
    """The model or estimator of this package that a folder holds; opening it runs no code.

    `fdl.export.load(path)` gives the function of a model with its parameters where there is no Spark.

    Args:
      path: of the folder.
      spark: decides on which file system a path is; None means the active session.

    Returns:
      A model, or an estimator without functions: `bound` gives it those.

    Raises:
      ModelError: the folder cannot be read, is damaged, or holds something else.

    >>> load("no/such/model")
    Traceback (most recent call last):
    fdl_spark.errors.ModelError: no/such/model holds no model: metadata/part-* is not there
    """
    return read_instance(path, CLASSES, spark)
