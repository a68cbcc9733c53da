"""Training, evaluation and prediction of fdl functions on Apache Spark."""

from fdl_spark.applying.evaluate import evaluate
from fdl_spark.applying.predict import predict
from fdl_spark.errors import (
    ArgumentError,
    CheckpointError,
    ClusterError,
    ColumnError,
    DataError,
    JavaNotFoundError,
    LossError,
    MissingColumnError,
    NonFiniteError,
    SparkTrainingError,
    UserFunctionError,
)
from fdl_spark.history.history import History
from fdl_spark.history.run import Run
from fdl_spark.spark.session import session
from fdl_spark.training.callback import Callback
from fdl_spark.training.every import Every, every
from fdl_spark.training.progress import Progress
from fdl_spark.training.tensorboard import TensorBoard
from fdl_spark.training.train import train

__all__ = [
    "ArgumentError",
    "Callback",
    "CheckpointError",
    "ClusterError",
    "ColumnError",
    "DataError",
    "Every",
    "History",
    "JavaNotFoundError",
    "LossError",
    "MissingColumnError",
    "NonFiniteError",
    "Progress",
    "Run",
    "SparkTrainingError",
    "TensorBoard",
    "UserFunctionError",
    "evaluate",
    "every",
    "predict",
    "session",
    "train",
]
