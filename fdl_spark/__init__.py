"""Training, evaluation and prediction of fdl functions on Apache Spark."""

from fdl_spark.callback import Callback
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
from fdl_spark.evaluate import evaluate
from fdl_spark.every import Every, every
from fdl_spark.history import History
from fdl_spark.predict import predict
from fdl_spark.progress import Progress
from fdl_spark.run import Run
from fdl_spark.session import session
from fdl_spark.tensorboard import TensorBoard
from fdl_spark.train import train

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
