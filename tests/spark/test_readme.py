"""The README's example of training on Spark does what it says."""

import re
from pathlib import Path

import numpy as np
import pytest

import fdl_spark
from fdl import optim

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_readme_trains_predicts_and_resumes(
    spark, problem, digest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.S) if "fdl_spark.train(" in block]
    monkeypatch.chdir(tmp_path)
    data = problem.data
    rows = [([float(v) for v in x], int(y)) for x, y in zip(data["x"], data["y"], strict=True)]
    names = {
        "fdl_spark": fdl_spark,
        "optim": optim,
        "loss": problem.loss,
        "params": problem.params,
        "frame": spark.createDataFrame(rows, "x array<float>, y int"),
        "held_out": {name: column[:100] for name, column in data.items()},
        "accuracy": problem.accuracy,
        "apply": problem.scores,
    }
    exec(block, names)
    run = names["run"]
    assert len(run.history.steps) == 5  # an epoch is one batch
    assert run.history.steps[-1]["loss"] < run.history.steps[0]["loss"]
    expected = problem.scores(run.params, {"x": data["x"]})
    predicted = np.array([row["probability"] for row in names["scored"].collect()])
    np.testing.assert_allclose(predicted, np.asarray(expected), rtol=1e-5, atol=1e-6)
    capfd.readouterr()  # the bar of Progress

    exec(block, names)  # "to resume, call again": nothing is left to do
    assert digest(names["run"].params) == digest(run.params)
    assert len(names["run"].history.steps) == 5
