"""Tasks compute on as many threads as Spark gives them cores."""

from types import SimpleNamespace

import pytest

import fdl
from fdl import threads
from fdl_spark.spark import cores


@pytest.fixture(autouse=True)
def before(monkeypatch):
    monkeypatch.setattr(threads, "_chosen", 5)
    monkeypatch.delenv("FDL_NUM_THREADS", raising=False)


def within(monkeypatch, count):
    monkeypatch.setattr(cores.TaskContext, "get", lambda: SimpleNamespace(cpus=lambda: count))


def test_a_task_uses_its_cores(monkeypatch):
    within(monkeypatch, 3)
    cores.use_cores_of_task()
    assert fdl.get_num_threads() == 3


def test_the_environment_decides_if_it_says_so(monkeypatch):
    within(monkeypatch, 3)
    monkeypatch.setenv("FDL_NUM_THREADS", "5")
    cores.use_cores_of_task()
    assert fdl.get_num_threads() == 5


def test_outside_a_task_nothing_changes():
    cores.use_cores_of_task()
    assert fdl.get_num_threads() == 5


def test_a_real_task_has_one_core(spark):
    def count(_):
        cores.use_cores_of_task()
        yield fdl.get_num_threads()

    assert spark.sparkContext.parallelize(range(2), 2).mapPartitions(count).collect() == [1, 1]
