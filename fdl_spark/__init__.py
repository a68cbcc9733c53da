"""Training, evaluation and prediction of fdl functions on Apache Spark.

Without PySpark there are `fdl_spark.features` and the errors only: encoding rows and applying a model need no Spark.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from fdl_spark.errors import (
    ArgumentError,
    CheckpointError,
    ClusterError,
    ColumnError,
    DataError,
    JavaNotFoundError,
    LossError,
    MissingColumnError,
    ModelError,
    NonFiniteError,
    SearchError,
    SparkTrainingError,
    UserFunctionError,
)

if find_spec("pyspark") is not None:
    from fdl_spark.applying.evaluate import evaluate
    from fdl_spark.applying.predict import predict
    from fdl_spark.applying.udf import as_udf
    from fdl_spark.compute.recipe import LossScale
    from fdl_spark.data.frames import dataframe
    from fdl_spark.history.history import History
    from fdl_spark.history.run import Run
    from fdl_spark.searching.search import search
    from fdl_spark.spark.session import session
    from fdl_spark.training.callback import Callback
    from fdl_spark.training.event_files import read_tensorboard
    from fdl_spark.training.mlflow import MLflow
    from fdl_spark.training.monitors import Best, EarlyStopping
    from fdl_spark.training.plateau import Plateau
    from fdl_spark.training.progress import Progress
    from fdl_spark.training.tensorboard import TensorBoard
    from fdl_spark.training.train import train
    from fdl_spark.training.triggers import Every, Trigger, every, when
    from fdl_spark.training.wandb import WandB

if TYPE_CHECKING:
    from fdl_spark.ml import Classifier, Estimator, Evaluator, Regressor

__all__ = [
    "ArgumentError",
    "Best",
    "Callback",
    "CheckpointError",
    "Classifier",
    "ClusterError",
    "ColumnError",
    "DataError",
    "EarlyStopping",
    "Estimator",
    "Evaluator",
    "Every",
    "History",
    "JavaNotFoundError",
    "LossError",
    "LossScale",
    "MLflow",
    "MissingColumnError",
    "ModelError",
    "NonFiniteError",
    "Plateau",
    "Progress",
    "Regressor",
    "Run",
    "SearchError",
    "SparkTrainingError",
    "TensorBoard",
    "Trigger",
    "UserFunctionError",
    "WandB",
    "as_udf",
    "dataframe",
    "evaluate",
    "every",
    "predict",
    "read_tensorboard",
    "search",
    "session",
    "train",
    "when",
]

SUBPACKAGES = ("features", "metrics", "ml", "searching")  # which are imported when they are first used


#: Public names of subpackages, which are imported when they are used first: Spark ML is slow to import.
LATER = {"Classifier": "ml", "Estimator": "ml", "Evaluator": "ml", "Regressor": "ml"}


def __getattr__(name: str) -> Any:
    if name in LATER and find_spec("pyspark") is not None:
        return getattr(import_module(f"{__name__}.{LATER[name]}"), name)
    if name in SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    if name in __all__:
        raise ImportError(f"fdl_spark.{name} needs PySpark, which is not installed: pip install 'fdl[spark]'")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, *SUBPACKAGES]
