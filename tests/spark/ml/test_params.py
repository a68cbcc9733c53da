"""Params behave as those of Spark ML's own estimators; functions' keywords are Params too."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.ml.param import Param

import fdl
import fdl_spark
from fdl_spark.ml import Classifier, Estimator, Regressor

HERE = runpy.run_path(str(Path(__file__).with_name("models.py")))
init, linear = HERE["init"], HERE["linear"]


def test_every_param_has_a_getter_a_setter_and_a_line_of_explanation():
    for estimator in (Classifier(linear, init), Regressor(linear, init), Estimator(linear, init)):
        own = {"scale"}  # a keyword of init
        for param in estimator.params:
            assert f"{param.name}: {param.doc}" in estimator.explainParams()
            if param.name in own:
                continue
            capital = param.name[0].upper() + param.name[1:]
            assert callable(getattr(estimator, f"set{capital}")), param
            if estimator.isDefined(param):
                value = getattr(estimator, f"get{capital}")()
                assert getattr(estimator, f"set{capital}")(value) is estimator
                assert estimator.getOrDefault(param) == value


def test_values_given_set_and_copied():
    first = Classifier(linear, init, epochs=3, learningRate=0.5, featuresCol="x")
    assert (first.getEpochs(), first.getLearningRate(), first.getFeaturesCol()) == (3, 0.5, "x")
    assert first.getBatchSize() == 128 and first.hasDefault("batchSize") and not first.isSet("batchSize")
    second = first.copy({first.epochs: 9, first.scale: 2.0})
    assert (first.getEpochs(), second.getEpochs(), second.uid) == (3, 9, first.uid)
    assert second.getOrDefault("scale") == 2.0 and first.getOrDefault("scale") == 0.0
    assert second.getLearningRate() == 0.5
    second.setBatchSize(7)
    assert first.getBatchSize() == 128
    second.clear(second.epochs)
    assert second.getEpochs() == 10
    assert Classifier(linear, init).uid != first.uid
    assert "epochs: how often each row takes part in training. (default: 10, current: 3)" in first.explainParams()
    assert first.setParams(seed=4, scale=1.5) is first
    assert first.extractParamMap()[first.seed] == 4
    with pytest.raises(TypeError, match='param "epochs". Could not convert'):
        first.setEpochs("many")
    with pytest.raises(ValueError, match="does not belong"):
        first.getOrDefault(Regressor(linear, init).epochs)


def test_keywords_of_functions_are_params_with_the_type_of_their_defaults():
    def start(key, features, classes, *, hidden=8, bias=True, name="relu"):
        return {}

    def apply(params, x, *, hidden=8, slope):
        return x

    estimator = Classifier(apply, start, slope=0.1)
    assert estimator.hyperparameters() == {"hidden": 8, "bias": True, "name": "relu", "slope": 0.1}
    assert isinstance(estimator.hidden, Param)
    assert estimator.copy({estimator.hidden: 3}).hyperparameters()["hidden"] == 3
    for wrong in ({"hidden": 1.5}, {"bias": 1}, {"name": 3}):
        with pytest.raises(TypeError, match="Invalid param value"):
            estimator.copy().setParams(**wrong)
    with pytest.raises(fdl_spark.ArgumentError, match="slope has no default and no value"):
        Classifier(apply, start).hyperparameters()
    with pytest.raises(fdl_spark.ArgumentError, match="different defaults of 'hidden': 8 and 9"):
        Classifier(lambda params, x, *, hidden=8: x, lambda key, features, classes, *, hidden=9: {})
    names = ("epochs", "setEpochs", "uid", "features", "options", "functions", "own", "loss", "_paramMap")
    for name in names:
        apply = eval(f"lambda params, x, *, {name}=8: x")
        with pytest.raises(fdl_spark.ArgumentError, match=f"keyword '{name}' of a function is a name of Classifier"):
            Classifier(apply, start)
        with pytest.raises(fdl_spark.ArgumentError, match=f"keyword '{name}' of a function is a name of Classifier"):
            estimator.bound(apply=apply)
    assert estimator.bound(loss=lambda output, labels: output).hyperparameters() == {
        "hidden": 8,
        "bias": True,
        "name": "relu",
        "slope": 0.1,
    }


def test_mistakes_in_the_arguments():
    with pytest.raises(fdl_spark.ArgumentError, match="Classifier has no Param 'epoch'; it has batchSize, "):
        Classifier(linear, init, epoch=3)
    with pytest.raises(fdl_spark.ArgumentError, match="apply must be a function of"):
        Classifier(3, init)
    with pytest.raises(TypeError, match="optimizer must be one of adabelief, .*'adm'"):
        Classifier(linear, init, optimizer="adm")
    with pytest.raises(fdl_spark.ArgumentError, match="options: 'epochs' is an argument or a Param"):
        Classifier(linear, init, options={"epochs": 3})
    with pytest.raises(fdl_spark.ArgumentError, match="apply has no key for predictions"):
        Classifier(lambda params, x, key: x, init)
    object_ = fdl.optim.adam(1e-2)
    assert Classifier(linear, init, optimizer=object_).chosen_optimizer() is object_
    with pytest.raises(fdl_spark.ArgumentError, match="leave one of them out"):
        Classifier(linear, init, optimizer=object_, learningRate=0.1).chosen_optimizer()
    with pytest.raises(fdl_spark.ArgumentError, match="checkpoint is a folder of one run"):
        Classifier(linear, init, checkpoint="runs").fitMultiple(None, [{}])


def test_an_estimator_without_functions_says_what_it_needs():
    empty = Classifier(None, None)
    with pytest.raises(fdl_spark.ArgumentError, match="has no function 'apply'.*estimator.bound"):
        empty.function("apply")
    whole = empty.setEpochs(4).bound(apply=linear, init=init)
    assert whole.getEpochs() == 4 and whole.uid == empty.uid and whole.function("apply") is linear
    assert whole.hyperparameters() == {"scale": 0.0}
    with pytest.raises(fdl_spark.ArgumentError, match="has the functions apply, init, loss, no 'lose'"):
        empty.bound(lose=linear)


def test_spark_ml_is_imported_when_it_is_used():
    code = "import sys, fdl_spark; assert not [m for m in sys.modules if m.startswith(('pyspark.ml', 'fdl_spark.ml'))]"
    code += "; fdl_spark.Classifier; assert 'fdl_spark.ml' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
