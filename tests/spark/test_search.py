"""A search's trials have the bits of single runs, go on from where they were, and fail alone."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from pyspark import TaskContext
from safetensors.numpy import load_file

import fdl
import fdl_spark
from fdl import optim
from fdl_spark import metrics
from fdl_spark.searching import choice, integer, log_uniform, uniform
from fdl_spark.searching.space import configurations, rungs

RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(90, 3)).astype(np.float32)
DATA = {"x": X, "y": (X @ np.float32([1, -2, 0.5]) + 0.1 * RANDOM.normal(size=90)).astype(np.float32)}
HELD_OUT = {name: column[:31] for name, column in DATA.items()}


def apply(params, batch):
    return batch["x"] @ params["w"]


def loss(params, batch, key):
    error = apply(params, batch) - batch["y"]
    return (error * error * fdl.random.bernoulli(key, 0.9, error.shape)).mean()


def make(rate, batch=16, made=None, fails=None):
    if made is not None and TaskContext.get() is not None:
        Path(made, f"{rate} {os.getpid()} {len(os.listdir(made))}").touch()
    if fails == "raise":
        raise ValueError("no such model")
    if fails == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    chosen = {"loss": loss, "params": {"w": np.ones(3, np.float32)}, "optimizer": optim.adam(rate), "batch_size": batch}
    if fails == "nan":
        chosen["loss"] = lambda params, batch: apply(params, batch).mean() * np.float32(np.nan)
    return chosen


OPTIONS = {"seed": 3, "shards": 3, "validation": HELD_OUT, "metrics": {"r2": metrics.r2(apply, "y")}}
SEARCH = OPTIONS | {"metric": "r2", "mode": "max", "batch_size": 16}


def single(rate, batch=16, epochs=4, **more):
    chosen = make(rate, batch)
    options = OPTIONS | {"epochs": epochs, "sync": "driver"} | more
    return fdl_spark.train(chosen.pop("loss"), chosen.pop("params"), DATA, **options, **chosen)


def weights_of(folder, number):
    (path,) = sorted(Path(folder, f"trial-{number:05d}").glob("*.safetensors"))[-1:]
    return load_file(path)["params['w']"]


def test_trials_have_the_bits_of_train(spark, tmp_path):
    space = {"rate": [0.03, 0.3], "batch": [16, 45]}
    found = fdl_spark.search(make, space, DATA, epochs=2, checkpoint=tmp_path, **SEARCH)
    assert [trial.hyperparameters for trial in found.trials[:2]] == [{"rate": 0.03, "batch": b} for b in (16, 45)]
    best = found.best.hyperparameters
    trial = next(trial for trial in found.trials if all(trial.hyperparameters[name] != best[name] for name in best))
    run = single(**trial.hyperparameters, epochs=2)
    assert trial.value == run.history.epochs[-1]["validation"]["r2"]
    assert weights_of(tmp_path, trial.number).tobytes() == np.asarray(run.params["w"]).tobytes()
    assert found.best.value == max(trial.value for trial in found.trials)
    assert np.asarray(found.best.params["w"]).tobytes() == weights_of(tmp_path, found.best.number).tobytes()
    assert [trial.params is None for trial in found.trials].count(False) == 1
    # `train` goes on with a trial, to the bits of a run that was never divided.
    number, chosen = found.best.number, make(**found.best.hyperparameters)
    loss, params = chosen.pop("loss"), chosen.pop("params")
    more = fdl_spark.train(
        loss, params, DATA, epochs=3, checkpoint=tmp_path / f"trial-{number:05d}", **OPTIONS, **chosen
    )
    straight = single(**best, epochs=3)
    assert found.best.value == straight.history.epochs[1]["validation"]["r2"]
    assert np.asarray(more.params["w"]).tobytes() == np.asarray(straight.params["w"]).tobytes()


def test_trials_side_by_side_keep_what_rounding_lost_apart(spark):
    space = {"rate": [0.03, 0.1, 0.2, 0.3]}
    found = fdl_spark.search(make, space, DATA, epochs=3, wire="bfloat16", **SEARCH)
    for trial in found.trials:
        run = single(**trial.hyperparameters, epochs=3, wire="bfloat16")
        assert trial.value == run.history.epochs[-1]["validation"]["r2"]


def test_halving_goes_on_with_the_best(spark):
    space = {"rate": log_uniform(1e-3, 1.0)}
    found = fdl_spark.search(make, space, DATA, trials=9, halving=3, epochs=9, **SEARCH)
    assert [sum(trial.rung >= rung for trial in found.trials) for rung in range(3)] == [9, 3, 1]
    ended = sorted(trial.resource for trial in found.trials)
    assert ended == [1] * 6 + [3] * 2 + [9]
    run = single(found.best.hyperparameters["rate"], epochs=9)
    assert found.best.value == run.history.epochs[-1]["validation"]["r2"]
    assert np.asarray(found.best.params["w"]).tobytes() == np.asarray(run.params["w"]).tobytes()
    after_one = {n: single(t.hyperparameters["rate"], epochs=1) for n, t in enumerate(found.trials) if t.rung == 1}
    first = [run.history.epochs[-1]["validation"]["r2"] for run in after_one.values()]
    assert min(first) >= max(trial.value for trial in found.trials if trial.rung == 0)


def test_trials_fail_alone(spark):
    space = {"rate": [0.1], "fails": ["raise", "nan", "die", None]}
    found = fdl_spark.search(make, space, DATA, epochs=2, **SEARCH)
    raised, nan, died, well = found.trials
    assert "ValueError: no such model" in raised.error
    assert "NonFiniteError" in nan.error
    assert "worker" in died.error
    assert well.error is None and found.best is well
    assert "4 trials, 3 failed" in repr(found)
    assert "no such model" in found._repr_html_() and "<th>fails</th>" in found._repr_html_()
    table = found.to_pandas()
    assert list(table.columns) == ["trial", "rate", "fails", "r2", "resource", "rung", "seconds", "error"]
    assert table["r2"].notna().tolist() == [False, False, False, True]
    with pytest.raises(fdl_spark.SearchError, match=r"all 2 trials failed; trial 0: .*no such model"):
        fdl_spark.search(make, {"rate": [0.1, 0.2], "fails": ["raise"]}, DATA, **SEARCH)


def test_it_goes_on_from_its_folder(spark, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    space = {"rate": [0.3, 0.1, 0.01, 0.03], "made": [str(made)]}
    options = SEARCH | {"checkpoint": tmp_path / "search", "epochs": 4, "halving": 2}
    whole = fdl_spark.search(make, space, DATA, **options | {"checkpoint": tmp_path / "other"})
    count = len(os.listdir(made))
    assert count == 4 + 2 + 1

    def interrupted(*args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        note = fdl_spark.search.__globals__["_note"]
        patch.setitem(
            fdl_spark.search.__globals__,
            "_note",
            lambda t, r, rung, n: note(t, r, rung, n) if rung < 1 else interrupted(),
        )
        with pytest.raises(KeyboardInterrupt):
            fdl_spark.search(make, space, DATA, **options)
    assert len(os.listdir(made)) == count + 4 + 2
    found = fdl_spark.search(make, space, DATA, **options)
    assert len(os.listdir(made)) == count + 4 + 2 + 2 + 1
    assert [trial.value for trial in found.trials] == [trial.value for trial in whole.trials]
    assert np.array_equal(found.best.params["w"], whole.best.params["w"])
    again = fdl_spark.search(make, space, DATA, **options)
    assert len(os.listdir(made)) == count + 9
    assert repr(again) == repr(whole)
    assert np.array_equal(again.best.params["w"], whole.best.params["w"])
    with pytest.raises(fdl_spark.CheckpointError, match="is of another search: epochs was 4, is 5"):
        fdl_spark.search(make, space, DATA, **options | {"epochs": 5})
    with pytest.raises(fdl_spark.CheckpointError, match=r"trial 0 had .*0\.3.*, has .*0\.5"):
        fdl_spark.search(make, space | {"rate": [0.5, 0.1, 0.01, 0.03]}, DATA, **options)
    table = tmp_path / "search" / "search.json"
    table.write_bytes(table.read_bytes().replace(b"0.3", b"0.4"))
    with pytest.raises(fdl_spark.CheckpointError, match="another SHA-256"):
        fdl_spark.search(make, space, DATA, **options)


def once(x):
    return x


def test_a_trial_that_stops_early_is_ranked_by_the_parameters_it_gives(spark, tmp_path):
    """Its best ones, not the last; functions and optimizers among the hyper-parameters are known again."""

    def made(of_x, optimizer):
        def loss(params, batch):
            return ((of_x(batch["x"]) @ params["w"] - batch["y"]) ** 2).mean()

        return {"loss": loss, "params": {"w": np.zeros(3, np.float32)}, "optimizer": optimizer}

    space = {"of_x": [once, lambda x: x * x], "optimizer": [optim.sgd(0.9, momentum=0.5)]}
    options = SEARCH | {"stop": fdl_spark.EarlyStopping(patience=1), "epochs": 30, "checkpoint": tmp_path}
    found = fdl_spark.search(made, space, DATA, **options)
    best = found.best
    assert best.hyperparameters["of_x"] is once and best.step < 6 * len(best.epochs) < 6 * 30
    assert best.value == pytest.approx(metrics.r2(apply, "y")(best.params, HELD_OUT), rel=1e-6)
    assert best.value != pytest.approx(best.epochs[-1]["validation"]["r2"], rel=1e-4)
    again = fdl_spark.search(made, {**space, "of_x": [once, lambda x: x * x]}, DATA, **options)
    assert [trial.value for trial in again.trials] == [trial.value for trial in found.trials]
    np.testing.assert_array_equal(again.best.params["w"], best.params["w"])
    with pytest.raises(fdl_spark.CheckpointError, match="trial 0 had .*test_search.once"):
        fdl_spark.search(made, {**space, "of_x": [abs, once]}, DATA, **options)


def test_data_may_be_a_frame_and_steps_no_whole_epochs(spark):
    rows = [(*map(float, x), float(y)) for x, y in zip(X, DATA["y"], strict=True)]
    frame = spark.createDataFrame(rows, "a float, b float, c float, y float")

    def of_frame(rate):
        def columns(params, batch):
            x = fdl.numpy.stack([batch["a"], batch["b"], batch["c"]], axis=1)
            return ((x @ params - batch["y"]) ** 2).mean()

        return {"loss": columns, "params": np.ones(3, np.float32), "optimizer": optim.sgd(rate)}

    options = {"batch_size": 20, "steps": 7, "shards": 4}
    found = fdl_spark.search(of_frame, {"rate": [0.1]}, frame, partitions=1, **options)
    made = of_frame(0.1)
    run = fdl_spark.train(made["loss"], made["params"], frame, optimizer=made["optimizer"], **options)
    assert np.asarray(found.best.params).tobytes() == np.asarray(run.params).tobytes()
    assert found.best.value == run.history.epochs[-1]["loss"]


# Spaces.


def test_configurations():
    assert configurations({"a": [1, 2], "b": ["xy", "z"]}, None, 0) == [
        {"a": 1, "b": "xy"}, {"a": 1, "b": "z"}, {"a": 2, "b": "xy"}, {"a": 2, "b": "z"},
    ]  # fmt: skip
    assert configurations({}, None, 0) == [{}]
    space = {
        "rate": log_uniform(1e-4, 1),
        "width": integer(2, 5),
        "drop": uniform(-1, 1),
        "kind": ["a", "b"],
        "c": choice([7]),
    }
    drawn = configurations(space, 400, 1)
    assert configurations(space, 900, 1)[:400] == drawn != configurations(space, 400, 2)
    logs = np.log10([each["rate"] for each in drawn])
    assert logs.min() >= -4 and logs.max() <= 0 and abs(logs.mean() + 2) < 0.25
    assert {each["width"] for each in drawn} == {2, 3, 4, 5}
    assert {each["kind"] for each in drawn} == {"a", "b"}
    assert abs(np.mean([each["drop"] for each in drawn])) < 0.15 and drawn[0]["c"] == 7


def test_rungs_are_those_of_hyperband():
    assert rungs(81, 81, 3) == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]
    assert rungs(10, 4, 3) == [(10, 1), (3, 4)]
    assert rungs(2, 50, 3) == [(2, 50)]
    assert rungs(7, 1, 2) == [(7, 1)]


@pytest.mark.parametrize(
    "space, options, match",
    [
        ({"rate": uniform(0, 1)}, {}, r"space\['rate'\] is a distribution: say how many trials="),
        ({"rate": "abc"}, {}, r"space\['rate'\] must be a list"),
        ({"rate": []}, {}, r"space\['rate'\] must be a list"),
        (["rate"], {}, "space must be a dict"),
        ({"rate": [1]}, {"mode": "best"}, "mode must be one of"),
        ({"rate": [1]}, {"trials": 0}, "trials must be at least 1"),
        ({"rate": [1]}, {"halving": 1}, "halving must be at least 2"),
        ({"rate": [1]}, {"optimizer": 3}, "optimizer is what make returns"),
        ({"rate": [1]}, {"ephocs": 3}, "no argument 'ephocs'"),
    ],
)
def test_mistakes(space, options, match):
    with pytest.raises(fdl_spark.ArgumentError, match=match):
        fdl_spark.search(make, space, DATA, **SEARCH | options)


def test_mistakes_of_make_are_those_of_all_trials(spark):
    for made, match in (
        (lambda: None, "make must return a dict with loss, params and optimizer; it returned NoneType"),
        (lambda: make(0.1) | {"seed": 1}, "make must not return seed"),
    ):
        with pytest.raises(fdl_spark.SearchError, match=match):
            fdl_spark.search(made, {}, DATA, **SEARCH)
    with pytest.raises(fdl_spark.SearchError, match="metric='auc' is none of those that were measured: loss, r2"):
        fdl_spark.search(make, {"rate": [0.1]}, DATA, **SEARCH | {"metric": "auc"})
    for wrong in (lambda: uniform(2, 1), lambda: log_uniform(0, 1), lambda: choice("ab"), lambda: integer(0.5, 2)):
        with pytest.raises(fdl_spark.ArgumentError):
            wrong()
