"""Estimators and models of Spark ML, made of functions of fdl.

>>> from fdl_spark.ml import Classifier
>>> classifier = Classifier(lambda params, x: x @ params, None, epochs=5)
>>> classifier.getEpochs(), classifier.getFeaturesCol()
(5, 'features')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fdl_spark.ml.classifier import Classifier, ClassifierModel
    from fdl_spark.ml.estimator import Estimator, EstimatorModel
    from fdl_spark.ml.evaluator import Evaluator
    from fdl_spark.ml.loading import load
    from fdl_spark.ml.regressor import Regressor, RegressorModel

__all__ = [
    "Classifier",
    "ClassifierModel",
    "Estimator",
    "EstimatorModel",
    "Evaluator",
    "Regressor",
    "RegressorModel",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for: tasks, which compute scores only, need no Spark ML, and that is slow to import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "loading" if name == "load" else name.removesuffix("Model").lower()
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return __all__
