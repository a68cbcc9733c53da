"""Metrics of fdl_spark as evaluators of Spark ML: scikit-learn's numbers, and the choice of a CrossValidator."""

import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from pyspark.ml import Pipeline
from pyspark.ml.linalg import Vectors
from pyspark.ml.tuning import CrossValidator, ParamGridBuilder, TrainValidationSplit
from sklearn import metrics as reference

import fdl_spark
from fdl_spark import metrics

HERE = runpy.run_path(str(Path(__file__).with_name("models.py")))
init, linear, one_logit, points = (HERE[name] for name in ("init", "linear", "one_logit", "points"))
QUICK = {"sync": "driver"}


@pytest.fixture(scope="module")
def rows():
    x, labels = points(rows=120, classes=2)
    return x, labels, np.arange(120) % 3 / 2.0


@pytest.fixture(scope="module")
def frame(spark, rows):
    made = [
        (Vectors.dense(x), float(label), float(weight), number % 5 == 0)
        for number, (x, label, weight) in enumerate(zip(*(part.tolist() for part in rows), strict=True))
    ]
    return spark.createDataFrame(made, ["features", "label", "weight", "held_out"]).repartition(2).cache()


def test_values_are_those_of_scikit_learn(spark, rows):
    _, label, weight = rows
    score = np.round(np.random.default_rng(0).random(120), 2)
    vectors = [
        (Vectors.dense(1 - s, s), float(s), float(y), w) for s, y, w in zip(score, label, weight.tolist(), strict=True)
    ]
    frame = spark.createDataFrame(vectors, ["probability", "prediction", "label", "weight"])
    expected = reference.average_precision_score(label, score.astype(np.float32))
    for column in ("probability", "prediction"):
        found = fdl_spark.Evaluator(metrics.pr_auc, scoresCol=column).evaluate(frame)
        assert found == pytest.approx(expected, rel=1e-12)
    weighed = fdl_spark.Evaluator(metrics.auc).setWeightCol("weight").evaluate(frame)
    expected = reference.roc_auc_score(label, score.astype(np.float32), sample_weight=weight)
    assert weighed == pytest.approx(expected, rel=1e-12)
    strict = fdl_spark.Evaluator(partial(metrics.recall, threshold=0.9)).evaluate(frame)
    assert strict == reference.recall_score(label, score.astype(np.float32) > np.float32(0.9))


@pytest.mark.parametrize("apply", [linear, one_logit])
def test_the_best_epoch_by_a_metric_is_kept(frame, apply):
    classifier = fdl_spark.Classifier(
        apply, init, metrics={"ap": metrics.pr_auc}, options={**QUICK, "best": fdl_spark.Best("ap", mode="min")},
        validationIndicatorCol="held_out", optimizer="sgd", learningRate=0.05, epochs=3, batchSize=8, seed=1, scale=2.0,
    )  # fmt: skip
    model = classifier.fit(frame)
    values = [epoch["validation"]["ap"] for epoch in model.history.epochs]
    kept = fdl_spark.Evaluator(metrics.pr_auc).evaluate(model.transform(frame.where("held_out")))
    assert kept == pytest.approx(min(values), rel=1e-6) and min(values) < max(values)
    assert classifier.copy().metrics == classifier.metrics


@pytest.mark.filterwarnings(  # a pool of pyspark.ml.tuning that nobody closes
    "ignore:unclosed running multiprocessing pool", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("mode", ["max", "min"])
def test_it_chooses(frame, mode):
    """The value of a learning rate that learns, or that of one that does not, in a pipeline too."""
    classifier = fdl_spark.Classifier(
        linear, init, scale=3.0, optimizer="sgd", epochs=2, batchSize=30, seed=1, options=QUICK
    )  # fmt: skip
    grid = ParamGridBuilder().addGrid(classifier.learningRate, [1e-6, 0.5]).build()
    evaluator = fdl_spark.Evaluator(metrics.auc, mode=mode)
    if mode == "max":
        validator = CrossValidator(
            estimator=Pipeline(stages=[classifier]), estimatorParamMaps=grid, evaluator=evaluator, seed=3, numFolds=2
        )
        found = validator.fit(frame)
        values, chosen = found.avgMetrics, found.bestModel.stages[-1]
    else:
        validator = TrainValidationSplit(
            estimator=classifier, estimatorParamMaps=grid, evaluator=evaluator, seed=3, trainRatio=0.7
        )
        found = validator.fit(frame)
        values, chosen = found.validationMetrics, found.bestModel
    assert values[0] < values[1]
    rate = grid[values.index(getattr(np, mode)(values))][classifier.learningRate]
    expected = classifier.copy({classifier.learningRate: rate}).fit(frame)
    np.testing.assert_array_equal(chosen.parameters["w"], expected.parameters["w"])


def test_mistakes_are_named(frame):
    with pytest.raises(fdl_spark.ArgumentError, match="has no Param 'column'; it has labelCol, scoresCol, weightCol"):
        fdl_spark.Evaluator(metrics.auc, column="x")
    with pytest.raises(fdl_spark.ArgumentError, match="mode must be one of"):
        fdl_spark.Evaluator(metrics.auc, mode="best")
    with pytest.raises(fdl_spark.ArgumentError, match="metric must be a function of"):
        fdl_spark.Evaluator(metrics.auc("score", "label"))
    with pytest.raises(fdl_spark.MissingColumnError, match="probability"):
        fdl_spark.Evaluator(metrics.auc).evaluate(frame)
    with pytest.raises(fdl_spark.ArgumentError, match="must be a function .* that gives a metric, .* it gave float"):
        fdl_spark.Evaluator(lambda scores, label: 0.5, scoresCol="weight").evaluate(frame)
    with pytest.raises(fdl_spark.ArgumentError, match="choose other names"):
        fdl_spark.Classifier(linear, init, metrics={"loss": metrics.auc})
