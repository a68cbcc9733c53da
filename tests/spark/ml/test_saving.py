"""Saved models: the same bits, in Pipelines too and without Spark; damaged folders are one clear error."""

import gc
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator, RegressionEvaluator
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.ml.tuning import (
    CrossValidator,
    CrossValidatorModel,
    ParamGridBuilder,
    TrainValidationSplit,
)
from pyspark.sql import functions as F

import fdl
import fdl_spark
from fdl_spark import features, ml
from fdl_spark.ml.classifier import ClassifierModel

HERE = runpy.run_path(str(Path(__file__).with_name("models.py")))
init, linear, points = (HERE[name] for name in ("init", "linear", "points"))
QUICK = {"sync": "driver"}


@pytest.fixture(scope="module")
def table(spark):
    """Raw columns: two numbers and the name of a class."""
    x, labels = points(60)
    names = np.array(["c", "a", "b"])[labels]
    rows = [(float(a), float(b), str(name)) for (a, b), name in zip(x, names, strict=True)]
    return spark.createDataFrame(spark.sparkContext.parallelize(rows, 3), "x double, y double, name string").cache()


@pytest.fixture(scope="module")
def pipeline():
    classifier = fdl_spark.Classifier(
        linear, init, learningRate=0.3, epochs=4, batchSize=20, seed=3, options=QUICK, predictionBatchSize=16
    )
    assemble = VectorAssembler(inputCols=["x", "y"], outputCol="features")
    return Pipeline(stages=[StringIndexer(inputCol="name", outputCol="label"), assemble, classifier])


@pytest.fixture(scope="module")
def fitted(pipeline, table):
    return pipeline.fit(table)


def test_a_pipeline_gives_the_same_bits_after_it_was_saved(fitted, table, tmp_path):
    fitted.save(str(tmp_path / "pipeline"))
    again = PipelineModel.load(str(tmp_path / "pipeline"))
    expected = fitted.transform(table)
    assert again.transform(table).collect() == expected.collect()
    assert again.transform(table).schema == expected.schema
    old, new = fitted.stages[-1], again.stages[-1]
    assert (new.uid, new.numClasses, new.getPredictionBatchSize()) == (old.uid, 3, 16)
    assert new.extractParamMap() == old.extractParamMap()
    assert new.history == old.history
    fdl.tree.map(np.testing.assert_array_equal, new.parameters, old.parameters)
    new.write().overwrite().save(str(tmp_path / "pipeline"))  # a model that was loaded can be saved
    assert ml.load(str(tmp_path / "pipeline")).transform(fitted.stages[1].transform(table)).count() == 60
    assert os.listdir(tmp_path) == ["pipeline"]


def test_a_pipeline_scores_a_stream(fitted, table, tmp_path):
    table.write.parquet(str(tmp_path / "rows"))
    stream = table.sparkSession.readStream.schema(table.schema).parquet(str(tmp_path / "rows"))
    scored = fitted.transform(stream).select("x", "probability", "prediction")
    query = scored.writeStream.format("memory").queryName("scored").trigger(availableNow=True).start()
    try:
        query.awaitTermination()
        found = table.sparkSession.table("scored").orderBy("x").collect()
    finally:
        query.stop()
        table.sparkSession.catalog.dropTempView("scored")
    assert found == fitted.transform(table).select("x", "probability", "prediction").orderBy("x").collect()


def test_a_process_without_spark_and_the_users_module_runs_a_model(fitted, table, tmp_path):
    model = fitted.stages[-1]
    model.save(f"file://{tmp_path}/model")
    assert sorted(os.listdir(tmp_path / "model")) == ["history.json", "metadata", "model.safetensors"]
    x, _ = points(60)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    code = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pyspark", "py4j", "pyarrow", "safetensors", "tests", "fdl_spark"):
            raise ImportError(name)
sys.meta_path.insert(0, Hidden())
import numpy as np, fdl
model = fdl.export.load({str(tmp_path / "model")!r})
assert model.info["fdl_spark"]["numClasses"] == 3
np.save({str(tmp_path / "out.npy")!r}, model(np.load({str(tmp_path / "x.npy")!r})))
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    raw = [row.rawPrediction.toArray() for row in fitted.transform(table).collect()]
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.array(raw, np.float32))


def test_what_is_there_is_not_replaced_unless_asked(fitted, tmp_path):
    model, path = fitted.stages[-1], str(tmp_path / "model")
    model.save(path)
    with pytest.raises(fdl_spark.ModelError, match=r"is there already; write\(\).overwrite\(\).save"):
        model.save(path)
    broken = model.copy()
    broken.fitted = None
    with pytest.raises(AttributeError):
        broken.write().overwrite().save(path)
    assert ClassifierModel.load(path).numClasses == 3
    assert os.listdir(tmp_path) == ["model"]


def test_damaged_folders_are_one_clear_error(fitted, tmp_path):
    whole = tmp_path / "whole"
    fitted.stages[-1].save(str(whole))

    def fails(message, change, kind=ml.load):
        folder = tmp_path / "damaged"
        shutil.copytree(whole, folder)
        change(folder)
        with pytest.raises(fdl_spark.ModelError, match=message):
            kind(str(folder))
        shutil.rmtree(folder)

    def rewrite(name, change):
        def run(folder):
            values = json.loads((folder / name).read_text())
            change(values)
            (folder / name).write_text(json.dumps(values))

        return run

    part = "metadata/part-00000"
    fails("is half-written: metadata/part-.* is not there", lambda folder: shutil.rmtree(folder / "metadata"))
    fails("is damaged", lambda folder: (folder / part).write_text("{"))
    for name in ("model.safetensors", "history.json"):
        fails(f"is half-written, or .*: {name} is not there", lambda folder, name=name: (folder / name).unlink())
        fails(f"is damaged: {name} has another SHA-256", lambda folder, name=name: flip(folder / name))
    fails("is damaged: it has no file '../x'", rewrite(part, lambda values: values["files"].update({"../x": ""})))
    fails("is damaged", rewrite(part, lambda values: values["paramMap"].update(batchSizes=3)))
    fails("is damaged", rewrite(part, lambda values: values["paramMap"].update(predictionBatchSize="x")))
    fails("holds a os.system", rewrite(part, lambda values: values.update({"class": "os.system"})))
    fails("not a RegressorModel", lambda folder: None, kind=ml.RegressorModel.load)
    later = {"fdlVersion": "9.9.9", "sparkVersion": "x"}
    fails(f"is of fdl 9.9.9, and this is {fdl.__version__}: ", rewrite(part, lambda values: values.update(later)))
    with pytest.raises(fdl_spark.ModelError, match="must be text"):
        ml.load(3)
    with pytest.raises(fdl_spark.ModelError, match="no path that can be reached"):
        ml.load("nosuch://there/model")


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_what_no_file_can_hold(fitted, tmp_path):
    model = fitted.stages[-1].copy()
    model.fitted = ml.classifier.Fit(
        lambda params, x: fdl.pure_callback(np.tanh, linear(params, x), linear(params, x)),
        *[getattr(model.fitted, name) for name in ("params", "inputs", "types", "output", "history", "info")],
    )
    with pytest.raises(fdl_spark.ModelError, match="cannot be saved: .*callback at test_saving.py"):
        model.save(str(tmp_path / "model"))
    with pytest.raises(fdl_spark.ModelError, match="the Param optimizer, a Python object, cannot be saved"):
        fdl_spark.Classifier(linear, init, optimizer=fdl.optim.sgd(1.0)).save(str(tmp_path / "estimator"))
    assert os.listdir(tmp_path) == []


def test_an_estimator_is_saved_without_its_functions(pipeline, table, tmp_path):
    estimator = pipeline.getStages()[-1].copy()
    estimator.set(estimator.scale, 0.5)
    Pipeline(stages=[estimator]).save(str(tmp_path / "estimator"))
    (again,) = Pipeline.load(str(tmp_path / "estimator")).getStages()
    assert again.extractParamMap() == estimator.extractParamMap()
    assert again.options == QUICK
    with pytest.raises(fdl_spark.ArgumentError, match="no function 'apply': files hold none"):
        again.fit(table)
    again = again.bound(apply=linear, init=init)
    assert again.hyperparameters() == {"scale": 0.5}


#: Spark's validators leave their pools of threads to the collector of garbage.
spark_leaves_its_pool = pytest.mark.filterwarnings(
    "ignore:unclosed running multiprocessing pool", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@spark_leaves_its_pool
def test_a_cross_validator_picks_the_better_point_and_is_saved(pipeline, table, tmp_path):
    classifier = pipeline.getStages()[-1]
    grid = ParamGridBuilder().addGrid(classifier.learningRate, [1e-7, 0.3]).addGrid(classifier.scale, [0.0]).build()
    evaluator = MulticlassClassificationEvaluator(metricName="logLoss")
    validator = CrossValidator(
        estimator=pipeline, estimatorParamMaps=grid, evaluator=evaluator, numFolds=2, parallelism=2, seed=1
    )
    found = validator.fit(table)
    np.testing.assert_allclose(found.avgMetrics[0], np.log(3), atol=1e-3)  # nothing was learnt
    assert found.avgMetrics[1] < 1.0
    assert found.bestModel.stages[-1].history.loss[-1] < 1.0
    found.save(str(tmp_path / "validated"))
    again = CrossValidatorModel.load(str(tmp_path / "validated"))
    assert again.transform(table).collect() == found.transform(table).collect()
    assert again.getEstimatorParamMaps() == grid
    assert again.getEstimator().getStages()[-1].uid == classifier.uid
    gc.collect()


@spark_leaves_its_pool
def test_a_train_validation_split_varies_the_functions_own_hyperparameters(spark):
    x = np.linspace(-2, 2, 40)
    frame = spark.createDataFrame([(float(a), float(3 * a)) for a in x], "x double, label double")

    def start(key, features, *, frozen=False):
        return np.float32(0)

    def apply(slope, batch, *, frozen=False):
        return batch["x"] * (fdl.lax.stop_gradient(slope) if frozen else slope)

    regressor = fdl_spark.Regressor(
        apply, start, inputCols=["x"], optimizer="sgd", learningRate=0.3, epochs=6, batchSize=40, options=QUICK
    )
    grid = ParamGridBuilder().addGrid(regressor.frozen, [True, False]).build()
    split = TrainValidationSplit(
        estimator=regressor, estimatorParamMaps=grid, evaluator=RegressionEvaluator(), trainRatio=0.7, seed=1
    )
    found = split.fit(frame)
    assert found.validationMetrics[1] < 0.1 < 1 < found.validationMetrics[0]
    np.testing.assert_allclose(found.bestModel.parameters, 3, atol=0.05)
    gc.collect()


def test_encoders_of_raw_columns_are_saved_with_the_model(table, tmp_path):
    table = table.withColumn("both", F.array("x", "y"))
    encoders = [features.standardise("x"), features.vocabulary("name"), features.numeric("both")]
    encoders = features.fit(encoders, table)

    def apply(params, batch):
        return params["bias"][batch["name"]] + batch["x"] * params["slope"] + batch["both"] @ params["both"]

    start = {"bias": np.zeros(8, np.float32), "slope": np.float32(0), "both": np.zeros(2, np.float32)}
    regressor = fdl_spark.Regressor(apply, start, features=encoders, labelCol="y", epochs=2, options=QUICK)
    model = regressor.fit(table)
    scored = model.transform(table)
    model.save(str(tmp_path / "model"))
    again = ml.load(str(tmp_path / "model"))
    assert json.loads((tmp_path / "model/metadata/part-00000").read_text())["files"].keys() == {
        "model.safetensors", "history.json", "features.json",
    }  # fmt: skip
    assert again.features.to_json() == encoders.to_json()
    assert again.transform(table).collect() == scored.collect()
    assert scored.columns == [*table.columns, "prediction"]
    exported = fdl.export.load(tmp_path / "model")
    encoded = encoders.encode(table.select("x", "name", "both").toArrow().to_batches()[0])
    expected = [row.prediction for row in scored.collect()][: len(encoded["x"])]
    np.testing.assert_array_equal(np.asarray(exported(encoded), float), expected)
