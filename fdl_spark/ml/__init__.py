"""Estimators and models of Spark ML, made of functions of fdl.

>>> from fdl_spark.ml import Classifier
>>> classifier = Classifier(lambda params, x: x @ params, None, epochs=5)
>>> classifier.getEpochs(), classifier.getFeaturesCol()
(5, 'features')
"""

from fdl_spark.ml.classifier import Classifier, ClassifierModel
from fdl_spark.ml.estimator import Estimator, EstimatorModel
from fdl_spark.ml.loading import load
from fdl_spark.ml.regressor import Regressor, RegressorModel

__all__ = [
    "Classifier",
    "ClassifierModel",
    "Estimator",
    "EstimatorModel",
    "Regressor",
    "RegressorModel",
    "load",
]
