"""Regressors and estimators of Spark ML: NumPy's least squares, and the kinds of outputs and inputs."""

import numpy as np
import pytest
from pyspark.ml.evaluation import RankingEvaluator, RegressionEvaluator
from pyspark.ml.linalg import Vectors
from pyspark.ml.regression import LinearRegression

import fdl.numpy as fnp
import fdl_spark
from fdl_spark.ml import Estimator, Regressor

QUICK = {"sync": "driver"}


def numbers(rows=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    return x, x @ [1.5, -2.0] + 0.5 + 0.3 * rng.normal(size=rows)


def apply(params, x):
    return x @ params["w"] + params["b"]


def init(key, features):
    return {"w": np.zeros(features, np.float32), "b": np.zeros((), np.float32)}


def test_least_squares_are_those_of_numpy_and_of_spark(spark):
    x, y = numbers()
    weights = np.arange(60) % 3 + 0.5
    rows = [(float(b), Vectors.dense(a), float(c)) for a, b, c in zip(x, y, weights, strict=True)]
    frame = spark.createDataFrame(rows, ["label", "features", "weight"])
    regressor = Regressor(apply, init, optimizer="sgd", learningRate=0.3, epochs=40, batchSize=60, weightCol="weight")
    model = regressor.fit(frame)
    design = np.column_stack([x, np.ones(60)]) * np.sqrt(weights)[:, None]
    expected = np.linalg.lstsq(design, y * np.sqrt(weights), rcond=None)[0]
    np.testing.assert_allclose([*model.parameters["w"], model.parameters["b"]], expected, atol=1e-4)
    scored = model.transform(frame)
    other = LinearRegression(weightCol="weight").fit(frame).transform(frame)
    for metric in ("rmse", "r2"):
        evaluator = RegressionEvaluator(metricName=metric)
        np.testing.assert_allclose(evaluator.evaluate(scored), evaluator.evaluate(other), rtol=1e-4)
    assert scored.schema == model.transformSchema(frame.schema)
    np.testing.assert_allclose(model.predict(rows[0][1]), scored.first().prediction, rtol=1e-6)


def test_several_numbers_a_row_are_vectors(spark):
    x, _ = numbers(8)
    rows = [(Vectors.dense(a), (a * [1, 2]).tolist()) for a in x]
    frame = spark.createDataFrame(rows, ["features", "label"])
    model = Regressor(lambda params, x: x * params, np.float32([1, 2]), epochs=1, options=QUICK).fit(frame)
    scored = model.transform(frame)
    assert scored.schema == model.transformSchema(frame.schema)
    assert type(scored.schema["prediction"].dataType).__name__ == "VectorUDT"
    np.testing.assert_allclose([row.prediction.toArray() for row in scored.collect()], x * [1, 2], atol=0.02)
    with pytest.raises(fdl_spark.DataError, match="apply gives 1 numbers a row, and labelCol 'label' has 2"):
        Regressor(lambda params, x: x[:, 0] * params, np.float32(1), options=QUICK).fit(frame)


def test_an_estimator_ranks_items_for_spark_s_evaluator(spark):
    rows = [(user, [float(user), float(4 - user)]) for user in range(4)]
    frame = spark.createDataFrame(rows, "user long, liked array<double>")

    def loss(params, batch):
        chosen = fnp.take_along_axis(params[batch["user"]], batch["liked"].astype(int), axis=1)
        return fnp.square(chosen - 1).mean()

    def best(params, batch):
        return fnp.argsort(-params[batch["user"]], axis=1)[:, :2]

    estimator = Estimator(
        best, np.zeros((4, 5), np.float32), loss=loss, inputCols=["user"], labelCols=["liked"], epochs=3,
        learningRate=0.1, options=QUICK, predictionCol="items",
    )  # fmt: skip
    model = estimator.fit(frame)
    scored = model.transform(frame)
    assert scored.schema["items"].dataType.simpleString() == "array<double>"
    assert scored.schema == model.transformSchema(frame.schema)
    evaluator = RankingEvaluator(predictionCol="items", labelCol="liked", metricName="precisionAtK", k=2)
    assert evaluator.evaluate(scored) == 0.875  # of user 2, who likes item 2 twice, one of two
    other = model.copy({model.inputCols: ["who"]}).transform(frame.withColumnRenamed("user", "who"))
    assert [row["items"] for row in other.collect()] == [row["items"] for row in scored.collect()]
    with pytest.raises(fdl_spark.ArgumentError, match="name the columns that the model reads"):
        Estimator(best, init, loss=loss).fit(frame)


def test_a_key_reaches_the_function_in_training_only(spark):
    frame = spark.createDataFrame([(1.0, Vectors.dense(float(n))) for n in range(8)], ["label", "features"])
    seen = []

    def noisy(params, x, key=None):
        seen.append(key is not None)
        return x[:, 0] * params

    model = Regressor(noisy, np.float32(0), epochs=1, options=QUICK).fit(frame)
    assert True in seen
    seen.clear()
    assert model.transform(frame).count() == 8
    model.predict(Vectors.dense(1.0))
    assert seen and True not in seen
