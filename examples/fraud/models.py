"""The stages of the pipelines: features, networks, and the models of Spark ML beside them."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import fdl
import fdl.numpy as fnp
import fdl_spark
from examples.fraud.data import COMPONENTS
from fdl import nn
from fdl_spark import metrics

FEATURES = (*COMPONENTS, "hour", "log_amount")
WEIGHTS = (1.0, 25.0)  # of classes in the loss; the inverse of their shares, 1 to 577, lets a few frauds rule a step
BATCH_SIZE = 1024  # rows of a step


def features() -> list[Any]:
    """Stages: the label from text ("no" is 0), and the columns as one vector of mean 0 and deviation 1."""
    from pyspark.ml.feature import StandardScaler, StringIndexer, VectorAssembler

    return [
        StringIndexer(inputCol="fraud", outputCol="label", stringOrderType="alphabetAsc"),
        VectorAssembler(inputCols=list(FEATURES), outputCol="columns"),
        StandardScaler(inputCol="columns", outputCol="features", withMean=True, withStd=True),
    ]


def init(key: Any, features: int, classes: int, *, hidden: int = 64) -> Any:
    """Parameters of a perceptron with two hidden layers and one logit."""
    keys = fdl.random.split(key, 3)
    sizes = [features, hidden, hidden // 2, 1]
    return [nn.init_dense(k, m, n) for k, (m, n) in zip(keys, pairwise(sizes), strict=True)]


def apply(params: Any, x: Any, key: Any = None, *, rate: float = 0.2) -> Any:
    """The logit of fraud, (rows, 1); with a key, with dropout."""
    for number, layer in enumerate(params[:-1]):
        x = nn.relu(nn.dense(layer, x))
        if key is not None:
            x = nn.dropout(fdl.random.fold_in(key, number), rate, x)
    return nn.dense(params[-1], x)


def focal(logits: Any, labels: Any, *, gamma: float = 2.0) -> Any:
    """The focal loss of each row (Lin et al., ICCV 2017): rows that are told easily count less."""
    return nn.sigmoid_focal_loss(logits[:, 0], labels, alpha=0.75, gamma=gamma)


def perceptron(
    kind: str, epochs: int, batch_size: int = BATCH_SIZE, callbacks: Sequence[Any] = (), **more: Any
) -> fdl_spark.Classifier:
    """The classifier, with one answer to the imbalance.

    Args:
      kind: "plain"; "weighted": the classes weigh `WEIGHTS` in the loss; "focal": the focal loss; "thinned": rows weigh
        what the column `weight` says, and a step takes an eighth of the rows, since few rows would be few steps.
      epochs: at most; the parameters with the best AUPRC of the validation are kept.
      batch_size: rows of a step.
      callbacks: of `fdl_spark.train`.
      **more: further Params.
    """
    options: dict[str, Any] = {"best": fdl_spark.Best("auprc", mode="max"), "callbacks": callbacks}
    if kind == "weighted":
        options["class_weights"] = dict(enumerate(WEIGHTS))
    if kind == "thinned":
        more["weightCol"], batch_size = "weight", max(1, batch_size // 8)
    return fdl_spark.Classifier(
        apply,
        init,
        loss=focal if kind == "focal" else None,
        metrics={"auprc": metrics.pr_auc},
        options=options,
        optimizer="adam",
        learningRate=1e-3,
        batchSize=batch_size,
        epochs=epochs,
        validationIndicatorCol="held_out",
        **more,
    )


def init_reconstruction(key: Any, features: Any, *, code: int = 8) -> Any:
    """Parameters of an autoencoder with one code of `code` numbers."""
    width = features["features"]
    sizes = [width, 24, code, 24, width]
    keys = fdl.random.split(key, 4)
    return [nn.init_dense(k, m, n) for k, (m, n) in zip(keys, pairwise(sizes), strict=True)]


def error(params: Any, batch: Any) -> Any:
    """The mean squared error of each row's reconstruction, (rows,)."""
    x = found = batch["features"]
    for number, layer in enumerate(params):
        found = nn.dense(layer, found)
        if number < len(params) - 1:
            found = nn.tanh(found)
    return fnp.mean((found - x) ** 2, axis=1)


def robust(params: Any, batch: Any) -> Any:
    """The mean of log(1 + error): rows far from all others count little, so that they are not learnt by heart."""
    return fnp.mean(fnp.log1p(error(params, batch)))


def autoencoder(
    epochs: int, batch_size: int = BATCH_SIZE, callbacks: Sequence[Any] = (), **more: Any
) -> fdl_spark.Estimator:
    """An estimator that knows no labels: its prediction is the error of a row's reconstruction."""
    return fdl_spark.Estimator(
        error, init_reconstruction, loss=robust, inputCols=["features"], optimizer="adam", learningRate=1e-3,
        batchSize=batch_size, epochs=epochs, options={"callbacks": callbacks}, **more,
    )  # fmt: skip


def of_spark(trees: int = 40) -> dict[str, Any]:
    """Spark ML's own, by name: logistic regression, and so many gradient-boosted trees, if any."""
    from pyspark.ml.classification import GBTClassifier, LogisticRegression

    found: dict[str, Any] = {"logistic regression": LogisticRegression(maxIter=100, regParam=1e-4)}
    if trees:
        found["gradient-boosted trees"] = GBTClassifier(maxIter=trees, maxDepth=5, stepSize=0.1, seed=0)
    return found


average_precision = partial(fdl_spark.Evaluator, metrics.pr_auc)
