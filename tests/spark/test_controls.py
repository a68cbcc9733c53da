"""Triggers, early stopping, the best checkpoint and plateaus: the same decisions, and the same bits, by any route."""

import numpy as np
import pytest

import fdl_spark
from fdl import optim
from fdl_spark import EarlyStopping, Plateau, every

SETTINGS = {"batch_size": 100, "shards": 4, "seed": 11, "partitions": 2}


@pytest.fixture(scope="module")
def held_out(problem):
    """Rows with some labels wrong, on which training too long does not pay."""
    y = problem.data["y"].copy()
    y[::5] = (y[::5] + 1) % 3
    return {"x": problem.data["x"][:150], "y": y[:150]}


@pytest.fixture(scope="module")
def train(spark, problem, held_out):
    def run(**changes):
        settings = {"optimizer": optim.adam(0.05), "epochs": 8, **SETTINGS, "metrics": {"accuracy": problem.accuracy}}
        settings |= {"validation": held_out, "sync": "driver"} | changes
        params = settings.pop("params", problem.params)
        return fdl_spark.train(problem.loss, params, problem.data, **settings)

    return run


CONTROLLED = {
    "validate": every(steps=3) | every(epochs=1),
    "plateau": Plateau(patience=1, factor=0.5, cooldown=1),
    "stop": EarlyStopping("accuracy", mode="max", patience=6),
}


def decisions(run):
    """All that was decided."""
    validations = [(r["step"], r["validation"]) for r in run.history.steps if "validation" in r]
    events = [(e["step"], e["event"]) for e in run.history.events]
    return run.step, validations, events, run.best.step, run.best.value


@pytest.fixture(scope="module")
def straight(train):
    return train(**CONTROLLED)


def test_the_run_is_worth_a_comparison(straight, digest):
    """It validated within epochs, reduced the rate more than once, and stopped early with the best parameters."""
    step, validations, events, best, value = decisions(straight)
    assert 5 < step < 40 and [s + 1 for s, _ in validations] == [
        s for s in range(1, step + 1) if not s % 3 or not s % 5
    ]
    assert sum("learning rate is" in text for _, text in events) > 1 and "stopped by EarlyStop" in events[-1][1]
    assert best < step and value == max(seen["accuracy"] for _, seen in validations)
    assert digest(straight.params) == digest(straight.best.params)


@pytest.mark.parametrize(("sync", "partitions"), [("driver", 1), ("driver", 4), ("resident", 2), ("shuffle", 2)])
def test_same_decisions_by_any_route(train, straight, digest, sync, partitions):
    run = train(**CONTROLLED, sync=sync, partitions=partitions)
    assert decisions(run) == decisions(straight)
    assert digest(run.params) == digest(straight.params) and run.history.loss == straight.history.loss
    for path, leaf in straight.optimizer_state.items():
        np.testing.assert_array_equal(run.optimizer_state[path], leaf)
