"""What the history says of executors and tasks that were lost, and who is told that a group was."""

import re
from types import SimpleNamespace

import pytest

import fdl
from fdl_spark.compute.job import Held, OtherVersion, Shared
from fdl_spark.history import History
from fdl_spark.history.outcome import Outcome, Timing
from fdl_spark.history.processors import Processors
from fdl_spark.spark.classic import Py4JError
from fdl_spark.spark.failures import Lost
from fdl_spark.spark.membership import Membership
from fdl_spark.training.group import Group
from fdl_spark.training.loop import Loop


class Session:
    """A SparkContext as far as Membership asks it."""

    def __init__(self, places, reasons=()):
        self.places, self.reasons = places, dict(reasons)

    @property
    def _jsc(self):
        if self.places is None:
            raise AttributeError("stopped")
        return SimpleNamespace(sc=lambda: self)

    def getExecutorMemoryStatus(self):
        return SimpleNamespace(keySet=lambda: SimpleNamespace(mkString=lambda between: between.join(self.places)))

    def statusStore(self):
        def summary(place, reason):
            told = SimpleNamespace(isDefined=lambda: bool(reason), get=lambda: reason)
            return SimpleNamespace(isActive=lambda: False, removeReason=lambda: told, hostPort=lambda: place)

        found = [summary(*pair) for pair in self.reasons.items()]
        listed = SimpleNamespace(size=lambda: len(found), apply=found.__getitem__)
        return SimpleNamespace(executorList=lambda active: listed)


def test_changes_are_told_once_with_their_reasons():
    session = Session(["driver:1", "a:2", "b:3"])
    members = Membership(session)
    assert members.changes() == []
    session.places, session.reasons = ["driver:1", "b:3", "a:9"], {"a:2": "Command exited\n with code 137", "a:9": ""}
    assert members.changes() == ["lost the executor at a:2 (Command exited with code 137)", "new executor at a:9"]
    assert members.changes() == []
    session.places, session.reasons = ["driver:1"], {}  # before Spark knows why
    assert members.changes() == ["lost the executor at a:9", "lost the executor at b:3"]


def test_a_stopped_session_has_no_changes():
    session = Session(["driver:1", "a:2"])
    members = Membership(session)
    session.places = None
    assert members.changes() == []


def test_real_executors_are_seen(spark):
    assert Membership(spark.sparkContext).changes() == []
    assert Membership(spark.sparkContext)._known  # in local mode the driver alone


def test_tasks_that_were_run_again_are_events():
    loop = Loop.__new__(Loop)
    loop._processors = Processors()
    loop.run = SimpleNamespace(step=3, history=History())
    loop.dataset = SimpleNamespace(changes=lambda: ["lost the executor at a:2"])
    outcome = Outcome({"loss": 2.0, "rows": 2.0}, (), {"x": 1.0}, (Timing(0, "a", 1.0), Timing(1, "b", 1.0, attempt=1)))
    loop._record(outcome)
    told = [event["event"] for event in loop.run.history.events]
    assert told == ["task 1 was run again on b (attempt 2)", "lost the executor at a:2"]
    assert {event["step"] for event in loop.run.history.events} == {3}


def test_a_group_that_is_lost_is_lost_for_whoever_waits_for_its_end():
    def outcomes():
        yield Outcome({}, (), {})
        raise Py4JError("An error occurred: ExecutorLostFailure")

    group = Group(outcomes(), "step 3")
    next(iter(group))
    with pytest.raises(Lost, match="ExecutorLost"):
        group.drain()


def test_a_worker_of_another_version_refuses_the_program():
    shared = Shared("digest", "0.0.1", Held(b""))
    with pytest.raises(OtherVersion, match=rf"driver 0\.0\.1, .* {re.escape(fdl.__version__)}"):
        shared.compiled()
