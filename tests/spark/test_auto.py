"""The engine that is chosen by itself: the same bits, and a reason that is told."""

import logging

import pytest

import fdl_spark
from fdl import optim
from fdl_spark.data.blocks import RddDataset
from fdl_spark.engines import auto
from fdl_spark.engines.resident import Resident
from fdl_spark.failures import NoBarrier


@pytest.fixture(scope="module")
def train(spark, problem):
    def run(**changes):
        settings = {"optimizer": optim.adam(0.02), "batch_size": 100, "shards": 4, "seed": 11, "steps": 25}
        settings |= {"partitions": 2, **changes}
        return fdl_spark.train(problem.loss, problem.params, problem.data, **settings)

    return run


@pytest.fixture(scope="module")
def expected(train, digest):
    return digest(train(sync="driver").params)


def chosen(run):
    return [record["engine"] for record in run.history.engines]


def test_tasks_that_stay_are_the_first_choice(train, digest, expected, tmp_path):
    run = train(checkpoint=tmp_path)
    assert digest(run.params) == expected
    assert chosen(run) == ["resident", "resident"]
    assert run.history.engines[-1]["why"].startswith("measured: resident ")
    assert "predicted: driver " in run.history.engines[-1]["why"]
    assert train(checkpoint=tmp_path).history.engines[:2] == run.history.engines


def test_fewer_slots_than_tasks(train, digest, expected, caplog):
    with caplog.at_level(logging.WARNING):
        run = train(partitions=4)
    assert digest(run.params) == expected
    assert set(chosen(run)) <= {"driver", "shuffle", "blocks"}
    (line,) = [record.message for record in caplog.records if "tasks cannot stay" in record.message]
    assert "4 tasks do not run at once, the cluster runs 2" in line
    assert run.history.engines[-1]["why"].startswith("measured: ")


def test_dynamic_allocation(train, digest, expected, monkeypatch):
    monkeypatch.setattr(RddDataset, "slots", lambda self: 0)
    assert digest(train().params) == expected
    with pytest.raises(fdl_spark.ArgumentError, match="Spark cannot do that with dynamic allocation"):
        train(sync="resident")


@pytest.mark.parametrize("kept", ["resident", "shuffle"])
def test_an_engine_that_is_predicted_to_be_faster_is_tried(train, digest, expected, monkeypatch, kept):
    monkeypatch.setattr(auto, "choose", lambda names, *_: {name: 0.0 if name == "shuffle" else 9.0 for name in names})
    monkeypatch.setattr(auto.Auto, "_seconds", lambda self, name, outcomes: 2.0 - (name == kept))
    run = train(group=5)
    assert digest(run.params) == expected
    assert chosen(run) == ["resident", "shuffle", kept]
    assert "resident" in run.history.engines[-1]["why"] and "shuffle" in run.history.engines[-1]["why"]


def test_slots_that_are_lost_for_good(train, digest, expected, monkeypatch):
    attempt, calls = Resident._attempt, []

    def attempting(self, *arguments):
        calls.append(self)
        if len(calls) == 3:
            raise NoBarrier("2 tasks do not run at once, the cluster runs 1")
        return (yield from attempt(self, *arguments))

    monkeypatch.setattr(Resident, "_attempt", attempting)
    run = train(group=5)
    assert digest(run.params) == expected
    assert len(run.history.steps) == 25
    assert chosen(run)[:2] == ["resident", "resident"]
    assert set(chosen(run)[2:]) <= {"driver", "shuffle", "blocks"}
