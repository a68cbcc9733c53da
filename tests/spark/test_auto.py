"""The engine that is chosen by itself: the same bits, and a reason that is told."""

import logging

import numpy as np
import pytest

import fdl_spark
from fdl import optim
from fdl_spark.cost import Cluster, Plan
from fdl_spark.data.load import load
from fdl_spark.data.rdd_dataset import RddDataset
from fdl_spark.engines import auto
from fdl_spark.engines.resident import Resident
from fdl_spark.spark.failures import NoBarrier


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


def test_dynamic_allocation(train, digest, expected, monkeypatch, caplog):
    monkeypatch.setattr(RddDataset, "slots", lambda self: 0)
    with caplog.at_level(logging.WARNING):
        assert digest(train().params) == expected
    (line,) = [record.message for record in caplog.records if "tasks cannot stay" in record.message]
    assert "2 tasks do not run at once, Spark cannot do that with dynamic allocation" in line
    with pytest.raises(fdl_spark.ArgumentError, match="Spark cannot do that with dynamic allocation"):
        train(sync="resident")


@pytest.mark.parametrize("kept", ["resident", "shuffle"])
def test_an_engine_that_is_predicted_to_be_faster_is_tried(train, digest, expected, monkeypatch, kept):
    def choose(names, **_):
        return {Plan(name, 1): 0.0 if name == "shuffle" else 9.0 for name in names}

    monkeypatch.setattr(auto, "choose", choose)
    monkeypatch.setattr(auto.Auto, "_seconds", lambda self, name, outcomes: 2.0 - (name == kept))
    run = train(group=5)
    assert digest(run.params) == expected
    assert chosen(run) == ["resident", "shuffle", kept]
    assert "resident" in run.history.engines[-1]["why"] and "shuffle" in run.history.engines[-1]["why"]


def test_an_engine_is_tried_in_other_slices(train, digest, expected, monkeypatch):
    """The update turns out to be dear, so that the model finds two slices to be faster than one."""
    calls = []

    def choose(names, **_):
        calls.append(names)
        return {Plan(name, 1 if len(calls) == 1 else 2): 0.0 if name == "resident" else 9.0 for name in names}

    monkeypatch.setattr(auto, "choose", choose)
    monkeypatch.setattr(auto, "step", lambda plan, **_: 1.0)
    monkeypatch.setattr(auto.Auto, "_seconds", lambda self, name, outcomes: 2.0 if self.slices == 1 else 1.0)
    monkeypatch.setattr("fdl_spark.engines.common.cuts.ALIGNMENT", 8)
    run = train(group=5)
    assert digest(run.params) == expected
    assert [(record["engine"], record["slices"]) for record in run.history.engines] == [
        ("resident", 1),
        ("resident", 2),
        ("resident", 2),
    ]
    assert "resident 2e+03 ms a step, resident in 2 slices 1e+03" in run.history.engines[-1]["why"]


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


def test_what_is_known_of_the_cluster(spark, monkeypatch):
    """A session on one host of two slots; a host has no more cores than there are, whatever it is asked to run."""
    dataset = load({"x": np.zeros(8, np.float32)}, batch_size=4)
    try:
        monkeypatch.setattr("fdl_spark.data.rdd_dataset.cores_of_host", lambda: 64)
        assert dataset.cluster() == Cluster(hosts=1, cores=2)
        monkeypatch.setattr("fdl_spark.data.rdd_dataset.cores_of_host", lambda: 1)
        assert dataset.cluster() == Cluster(hosts=1, cores=1)
    finally:
        dataset.close()


class Current:
    """An engine, as far as `Auto` sees it; not closed."""

    closed = False

    def snapshot(self):
        return "snapshot"

    def close(self):
        self.closed = True


def test_an_engine_that_cannot_begin_leaves_the_one_before():
    """The loop then goes back, with the engine that it had; what was refused once may be refused again."""

    def failing(*arguments, **options):
        raise ConnectionError("the broadcast failed")

    switching, before = object.__new__(auto.Auto), Current()
    switching.engines, switching._measured = {"shuffle": failing, "resident": Resident}, {}
    switching.current, switching.skip, switching.dataset, switching.program = before, False, None, None
    for _ in range(2):
        assert "lost an executor" in switching._refuse("lost an executor")
        with pytest.raises(ConnectionError):
            switching._switch(Plan("shuffle", 1), "why")
        assert switching.current is before and not before.closed
