"""Classifiers of Spark ML: scikit-learn's and Spark's own numbers, and clear errors about labels and columns."""

import math
import runpy
from pathlib import Path

import numpy as np
import pytest
from pyspark.ml.classification import LogisticRegression
from pyspark.ml.evaluation import BinaryClassificationEvaluator, MulticlassClassificationEvaluator
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.ml.linalg import Vectors
from pyspark.sql import Row
from pyspark.sql import functions as F
from sklearn.linear_model import LogisticRegression as Reference

import fdl_spark
from fdl import optim
from fdl_spark.spark.quiet import no_pandas_warning

HERE = runpy.run_path(str(Path(__file__).with_name("models.py")))
init, linear, one_logit, points = (HERE[name] for name in ("init", "linear", "one_logit", "points"))
QUICK = {"sync": "driver"}
RIDGE = 0.1  # what weights, but not biases, are regularised by


def converging(**values):
    """Descent by whole batches on a strongly convex problem: 24 steps come to four digits."""
    decay = optim.add_decayed_weights(RIDGE, mask={"w": True, "b": False})
    optimizer = optim.chain(decay, optim.sgd(1.3, momentum=0.5, nesterov=True))
    return {"optimizer": optimizer, "epochs": 24, "batchSize": 150, "options": QUICK, **values}


def vector(n, x):
    """Of every second row a sparse one."""
    return Vectors.sparse(len(x), list(enumerate(x))) if n % 2 else Vectors.dense(x)


def frame_of(spark, features, labels, **more):
    rows = [
        Row(label=float(label), features=vector(n, x), **{name: values[n] for name, values in more.items()})
        for n, (x, label) in enumerate(zip(features.tolist(), labels, strict=True))
    ]
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, 3))


@pytest.fixture(scope="module")
def frame(spark):
    features, labels = points()
    return frame_of(spark, features, labels, **{"a.name": [f"row {n}" for n in range(len(labels))]}).cache()


@pytest.fixture(scope="module")
def model(frame):
    return fdl_spark.Classifier(linear, init, seed=1, **converging()).fit(frame)


def column(frame, name):
    return np.array(
        [np.array(row[0].toArray() if hasattr(row[0], "toArray") else row[0]) for row in frame.select(name).collect()]
    )


def test_coefficients_and_probabilities_are_those_of_scikit_learn_and_of_spark(frame, model):
    features, labels = points()
    reference = Reference(C=1 / (RIDGE * len(labels)), tol=1e-9, max_iter=1000).fit(features, labels)
    scored = model.transform(frame)
    np.testing.assert_allclose(column(scored, "probability"), reference.predict_proba(features), atol=2e-4)
    np.testing.assert_allclose(model.parameters["w"], reference.coef_.T, atol=2e-4)
    regression = LogisticRegression(
        family="multinomial", regParam=RIDGE, standardization=False, maxIter=100, tol=1e-9
    ).fit(frame)
    np.testing.assert_allclose(model.parameters["w"], regression.coefficientMatrix.toArray().T, atol=2e-4)
    np.testing.assert_allclose(model.parameters["b"], regression.interceptVector.toArray(), atol=2e-4)
    other = regression.transform(frame)
    np.testing.assert_allclose(column(scored, "probability"), column(other, "probability"), atol=2e-4)
    np.testing.assert_array_equal(column(scored, "prediction"), column(other, "prediction"))
    evaluator = MulticlassClassificationEvaluator(metricName="accuracy")
    assert evaluator.evaluate(scored) == evaluator.evaluate(other)
    loss = MulticlassClassificationEvaluator(metricName="logLoss").evaluate(scored)
    np.testing.assert_allclose(model.summary.objectiveHistory[-1], loss, rtol=1e-3)


def test_transform_adds_columns_and_says_so_without_data(frame, model):
    assert (model.numClasses, model.numFeatures, model.hasSummary) == (3, 2, True)
    scored = model.transform(frame)
    assert scored.columns == ["label", "features", "a.name", "rawPrediction", "probability", "prediction"]
    assert scored.schema == model.transformSchema(frame.schema)
    assert [row["a.name"] for row in scored.collect()] == [f"row {n}" for n in range(150)]
    raw, probability = column(scored, "rawPrediction"), column(scored, "probability")
    features, _ = points()
    logits = features.astype(np.float32) @ model.parameters["w"] + model.parameters["b"]
    np.testing.assert_allclose(raw, logits, atol=1e-5)
    np.testing.assert_allclose(probability, np.exp(raw) / np.exp(raw).sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(column(scored, "prediction"), raw.argmax(1))
    value = Vectors.dense(features[4])
    assert model.predict(value) == raw[4].argmax()
    np.testing.assert_allclose(model.predictRaw(value).toArray(), raw[4], atol=1e-5)
    np.testing.assert_allclose(model.predictProbability(value).toArray(), probability[4], atol=1e-6)
    few = model.copy({model.rawPredictionCol: "", model.probabilityCol: "", model.predictionCol: "class"})
    assert few.transform(frame).columns == ["label", "features", "a.name", "class"]
    assert model.getPredictionCol() == "prediction"
    nothing = few.copy({few.predictionCol: ""})
    assert nothing.transform(frame).columns == frame.columns
    capital = model.copy({model.predictionCol: "Label"})
    with pytest.raises(fdl_spark.ColumnError, match="'Label': the DataFrame has this column already"):
        capital.transform(frame)
    frame.sparkSession.conf.set("spark.sql.caseSensitive", "true")
    try:
        assert capital.transform(frame).columns[-1] == "Label"
        assert capital.transformSchema(frame.schema).names[-1] == "Label"
        with pytest.raises(fdl_spark.ColumnError, match="'label': the DataFrame has this column already"):
            model.copy({model.predictionCol: "label"}).transform(frame)
    finally:
        frame.sparkSession.conf.unset("spark.sql.caseSensitive")
    empty = model.transform(frame.where("label > 5"))
    assert empty.schema == scored.schema
    assert empty.count() == 0


def test_thresholds_divide_probabilities(frame, model):
    found = column(model.copy({model.thresholds: [0.1, 0.5, 0.9]}).transform(frame), "prediction")
    probability = column(model.transform(frame), "probability")
    np.testing.assert_array_equal(found, (probability / [0.1, 0.5, 0.9]).argmax(1))
    assert set(column(model.copy({model.thresholds: [1.0, 0.0, 1.0]}).transform(frame), "prediction")) == {1.0}
    for wrong in ([0.5, 0.5], [0.0, 0.0, 1.0], [-1.0, 1.0, 1.0]):
        with pytest.raises(fdl_spark.ArgumentError, match="thresholds must be"):
            model.copy({model.thresholds: wrong}).transform(frame)
    classifier = fdl_spark.Classifier(linear, init, epochs=1, thresholds=[0.0, 1.0, 1.0], options=QUICK)
    assert classifier.fit(frame).getThresholds() == [0.0, 1.0, 1.0]
    with pytest.raises(fdl_spark.ArgumentError, match="thresholds must be one for each of the 3 classes"):
        classifier.setThresholds([0.5, 0.5]).fit(frame)


def test_one_logit_is_a_binary_classifier(spark):
    features, labels = points(120, 2)
    frame = frame_of(spark, features, labels)
    model = fdl_spark.Classifier(one_logit, init, **converging()).fit(frame)
    scored = model.transform(frame)
    reference = Reference(C=1 / (RIDGE * 120), tol=1e-9, max_iter=1000).fit(features, labels)
    np.testing.assert_allclose(column(scored, "probability"), reference.predict_proba(features), atol=2e-4)
    raw = column(scored, "rawPrediction")
    np.testing.assert_array_equal(raw[:, 0], -raw[:, 1])
    area = BinaryClassificationEvaluator().evaluate(scored)
    order = np.argsort(raw[:, 1])
    ranks = np.empty(120)
    ranks[order] = np.arange(1, 121)
    positive = labels == 1
    exact = (ranks[positive].sum() - positive.sum() * (positive.sum() + 1) / 2) / (positive.sum() * (~positive).sum())
    np.testing.assert_allclose(area, exact, atol=1e-12)


def test_a_weight_counts_as_copies_of_the_row(spark):
    features, labels = points(24)
    counts = np.arange(24) % 3 + 1
    once = frame_of(spark, features, labels, weight=counts.astype(float).tolist())
    copies = frame_of(spark, np.repeat(features, counts, 0), np.repeat(labels, counts))
    classifier = fdl_spark.Classifier(
        linear, init, optimizer="sgd", learningRate=0.5, epochs=3, batchSize=64, options=QUICK
    )
    weighed = classifier.copy({classifier.weightCol: "weight"}).fit(once).parameters
    repeated = classifier.fit(copies).parameters
    np.testing.assert_allclose(weighed["w"], repeated["w"], atol=1e-6)
    np.testing.assert_allclose(weighed["b"], repeated["b"], atol=1e-6)
    alike = classifier.fit(once).parameters
    assert np.abs(alike["w"] - repeated["w"]).max() > 1e-3
    classifier.options = {**QUICK, "class_weights": "balanced"}  # of a class there are 8, 16 or 24 copies
    np.testing.assert_allclose(classifier.fit(copies).parameters["w"], alike["w"], atol=1e-6)


def test_rows_of_the_validation_are_measured_and_not_trained_on(spark):
    features, labels = points(30)
    held_out = [n % 5 == 0 for n in range(30)]
    frame = frame_of(spark, features, labels, held_out=held_out)
    classifier = fdl_spark.Classifier(linear, init, epochs=2, batchSize=24, options=QUICK, shards=2)
    found = classifier.copy({classifier.validationIndicatorCol: "held_out"}).fit(frame)
    alone = classifier.fit(frame.where("not held_out"))
    np.testing.assert_array_equal(found.parameters["w"], alone.parameters["w"])
    last = found.history.epochs[-1]["validation"]
    scored = alone.transform(frame.where("held_out"))
    np.testing.assert_allclose(
        last["loss"], MulticlassClassificationEvaluator(metricName="logLoss").evaluate(scored), rtol=1e-5
    )
    np.testing.assert_allclose(
        last["accuracy"], MulticlassClassificationEvaluator(metricName="accuracy").evaluate(scored)
    )
    classifier.options = {**QUICK, "best": fdl_spark.Best("loss", mode="max")}  # so that it is not the last one
    best = classifier.copy({classifier.validationIndicatorCol: "held_out"}).fit(frame)
    first, last = (epoch["validation"]["loss"] for epoch in best.history.epochs)
    assert first > last
    kept = best.transform(frame.where("held_out"))
    np.testing.assert_allclose(first, MulticlassClassificationEvaluator(metricName="logLoss").evaluate(kept), rtol=1e-5)


@pytest.mark.parametrize(
    "value, said", [(0.5, "0.5"), (-1.0, "-1.0"), (math.nan, "NaN"), (None, "null"), (1e9, "1.0E9")]
)
def test_a_label_that_is_no_class_is_named_with_its_row(frame, value, said):
    number = F.monotonically_increasing_id() % (1 << 33) + F.spark_partition_id() * 50  # partitions have 50 rows
    label = F.when(number >= 117, F.lit(value).cast("double")).otherwise(F.col("label"))
    with pytest.raises(fdl_spark.ColumnError, match=f"'label': {said} is not a class, .*, first at row 117"):
        fdl_spark.Classifier(linear, init).fit(frame.withColumn("label", label))


def test_mistakes_about_columns(frame):
    classifier = fdl_spark.Classifier(linear, init, options=QUICK)

    def fails(data, message, kind=fdl_spark.ColumnError, **values):
        with pytest.raises(kind, match=message):
            classifier.copy().setParams(**values).fit(data)

    fails(frame, "labelCol asked for column 'y'", fdl_spark.MissingColumnError, labelCol="y")
    fails(frame, "asked for column 'x'", fdl_spark.MissingColumnError, featuresCol="x")
    fails(frame.withColumn("w", F.lit(-1.0)), "'w': -1.0 is not a weight, .*, first at row 0", weightCol="w")
    fails(frame.withColumn("w", F.lit(0.0)), "all weights of 'w' are zero", fdl_spark.DataError, weightCol="w")
    fails(frame.withColumn("v", F.lit(1)), "'v': validationIndicatorCol must be boolean", validationIndicatorCol="v")
    fails(frame.withColumn("v", F.lit(True)), "no rows to train on", fdl_spark.DataError, validationIndicatorCol="v")
    fails(frame.where("label > 7"), "no rows to train on", fdl_spark.DataError)
    fails(frame, "weightCol 'label' is also labelCol", fdl_spark.ArgumentError, weightCol="label")
    fails(
        frame.withColumn("label", F.lit("a")), "'label': labelCol must be a number; it is string; .*StringIndexer makes"
    )
    fails(frame, "there are 2 classes, so that labels are below 2; one is 2", numClasses=2)
    fails(
        frame.withColumn("features", F.when(F.col("label") < 1, F.col("features"))), "'features': null, first at row 1"
    )
    with pytest.raises(fdl_spark.DataError, match="apply gives 2 logits a row, and there are 3 classes"):
        fdl_spark.Classifier(lambda params, x: x @ params, np.zeros((2, 2), np.float32), options=QUICK).fit(frame)
    with pytest.raises(fdl_spark.LossError, match="loss must return a loss for each row"):
        fdl_spark.Classifier(linear, init, loss=lambda logits, labels: logits.mean(), options=QUICK).fit(frame)


def test_features_are_computed_once(spark, frame):
    computed = spark.sparkContext.accumulator(0)

    def counted(label):
        computed.add(1)
        return label

    with no_pandas_warning():
        made = frame.withColumn("n", F.udf(counted, "double")("label"))
    made = VectorAssembler(inputCols=["n"], outputCol="x").transform(made)
    fdl_spark.Classifier(linear, init, featuresCol="x", epochs=1, options=QUICK).fit(made)
    assert computed.value == 150


def test_classes_that_the_data_lacks_are_known_by_the_metadata(spark, frame):
    names = spark.createDataFrame([("red",), ("green",), ("blue",), ("rare",)], "name string")
    indexer = StringIndexer(inputCol="name", outputCol="label").fit(names)
    seen = frame.withColumn("name", F.when(F.col("label") > 0, "red").otherwise("blue")).drop("label")
    model = fdl_spark.Classifier(linear, init, epochs=1, options=QUICK).fit(indexer.transform(seen))
    assert model.numClasses == 4
    assert fdl_spark.Classifier(linear, init, epochs=1, numClasses=5, options=QUICK).fit(frame).numClasses == 5
