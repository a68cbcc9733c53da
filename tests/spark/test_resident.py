"""Groups of steps in one barrier job: the bits of the other engines, whatever ends or breaks a group."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fdl
import fdl_spark
from fdl import optim
from fdl_spark.engines.resident import Resident


@pytest.fixture(scope="module")
def train(spark, problem):
    def run(**changes):
        settings = {"optimizer": optim.adam(0.02), "batch_size": 100, "shards": 4, "seed": 11, "epochs": 4}
        settings |= {"sync": "resident", "partitions": 2, **changes}
        loss, data = settings.pop("loss", problem.loss), settings.pop("data", problem.data)
        return fdl_spark.train(loss, problem.params, data, **settings)

    return run


@pytest.fixture(scope="module")
def expected(train):
    """The same run through the driver."""
    return train(sync="driver")


def same(run, expected, digest):
    assert digest(run.params) == digest(expected.params)
    assert run.history.loss == expected.history.loss
    assert [record["epoch"] for record in run.history.epochs] == [record["epoch"] for record in expected.history.epochs]
    for name, leaf in expected.optimizer_state.items():
        np.testing.assert_array_equal(run.optimizer_state[name], leaf)


@pytest.mark.parametrize("partitions", [1, 2])
@pytest.mark.parametrize("group", ["auto", 1, 3])
def test_same_bits(train, expected, digest, partitions, group):
    same(train(partitions=partitions, group=group), expected, digest)


def test_same_bits_on_slices_of_any_owner(train, expected, digest, monkeypatch):
    monkeypatch.setattr("fdl_spark.engines.common.cuts.best_slices", lambda *_, **__: 2)
    monkeypatch.setattr("fdl_spark.engines.common.cuts.ALIGNMENT", 8)
    monkeypatch.setattr("fdl_spark.net.exchange.PIECE", 24)
    same(train(group=3), expected, digest)


@pytest.mark.parametrize("shards", [2, 3, 5, 7])
def test_same_bits_on_numbers_of_shards_that_are_no_powers_of_two(train, digest, shards):
    same(train(shards=shards, epochs=1), train(shards=shards, epochs=1, sync="driver"), digest)


def test_batches_smaller_than_the_number_of_shards(train, digest):
    settings = {"batch_size": 3, "shards": 4, "steps": 9}
    same(train(**settings), train(**settings, sync="driver"), digest)


def test_an_optimizer_that_needs_all_parameters(train, digest):
    settings = {"optimizer": optim.chain(optim.clip_by_global_norm(0.1), optim.adam(0.02)), "epochs": 2}
    same(train(**settings), train(**settings, sync="driver"), digest)


def test_random_losses_with_metrics_and_validation(train, problem, digest):
    settings = {"loss": problem.noisy_loss, "validation": problem.data, "metrics": {"accuracy": problem.accuracy}}
    run, expected = train(**settings), train(**settings, sync="driver")
    same(run, expected, digest)
    assert run.history.epochs == expected.history.epochs


def test_the_phases_are_those_of_the_tasks_and_add_up(train):
    run = train(group=5)
    names = ["compute", "send", "wait", "sum", "update", "gather"]
    for record in run.history.steps:
        assert [name for name in record["phases"] if name != "schedule"] == names
        assert record["seconds"] == pytest.approx(sum(record["phases"].values()))
        assert min(record["phases"].values()) >= 0
        assert record["tasks"]["straggler"].split()[:2] in (["task", "0"], ["task", "1"])
    assert [record["step"] for record in run.history.steps if "schedule" in record["phases"]] == [0, 5, 10, 15]


class Watch(fdl_spark.Callback):
    def __init__(self, read=(), stop=None):
        self.read, self.stop, self.seen, self.params = read, stop, [], {}

    def step(self, run, record):
        self.seen.append((record["step"], run.step))
        if run.step in self.read:
            self.params[run.step] = run.params
        return run.step == self.stop


def test_a_callback_reads_parameters_in_the_middle_of_a_group(train, digest):
    watch = Watch(read=(3, 4, 9))
    run = train(callbacks=[watch])
    assert watch.seen == [(step, step + 1) for step in range(20)]
    for step, params in watch.params.items():
        assert digest(params) == digest(train(steps=step, sync="driver").params)
    assert digest(run.params) == digest(train(sync="driver").params)


def test_a_callback_stops_in_the_middle_of_a_group(train, digest, tmp_path):
    run = train(callbacks=[Watch(stop=7)], checkpoint=tmp_path)
    assert run.step == len(run.history.steps) == 7
    assert digest(run.params) == digest(train(steps=7, sync="driver").params)
    resumed = train(checkpoint=tmp_path)
    assert digest(resumed.params) == digest(train(sync="driver").params)


def test_a_group_that_lasts_long_ends_when_the_callback_says_so(train, spark):
    """The rank that is asked ends the group; nobody waits for the steps that are left."""
    started = time.monotonic()
    run = train(callbacks=[Watch(stop=3)], group=10**6, steps=10**6)
    assert run.step == 3
    assert time.monotonic() - started < 300


def test_ctrl_c_keeps_what_was_trained(train, digest):
    class Interrupt(fdl_spark.Callback):
        passive = True

        def step(self, run, record):
            if run.step == 5:
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(callbacks=[Interrupt()], steps=10**6)
    run = caught.value.run
    assert run.step == len(run.history.steps) >= 5
    assert digest(run.params) == digest(train(steps=run.step, sync="driver").params)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_step_that_is_not_finite(train, problem, digest):
    def loss(params, batch):
        return problem.loss(params, batch) / fdl.numpy.where(fdl.numpy.max(batch["y"]) > 100, 0.0, 1.0)

    y = problem.data["y"].copy()
    y[[7, 100]] = 101
    settings = {"loss": loss, "data": {"x": problem.data["x"], "y": y}, "epochs": 2}
    errors = []
    for sync in ("driver", "resident"):
        with pytest.raises(fdl_spark.NonFiniteError) as caught:
            train(**settings, sync=sync)
        errors.append((str(caught.value), caught.value.run.step, digest(caught.value.run.params)))
    assert errors[0] == errors[1]
    runs = [train(**settings, nonfinite="skip", sync=sync) for sync in ("driver", "resident")]
    same(runs[1], runs[0], digest)
    events = [[(event["step"], event["event"]) for event in run.history.events] for run in runs]
    assert events[0] == events[1]


def test_a_process_that_dies_in_a_group(train, problem, digest, tmp_path):
    mark = tmp_path / "died"

    def loss(params, batch):
        if "SPARK_LOCAL_DIRS" in os.environ and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return problem.loss(params, batch)

    run = train(loss=loss)
    assert digest(run.params) == digest(train(sync="driver").params)
    assert len(run.history.events) == 1


def test_processes_that_have_forgotten_the_run(train, digest, monkeypatch):
    """As when Spark has ended idle workers between two groups: the group starts from the driver's copy."""
    take = Resident._take

    def taking(self, job):
        take(self, job)
        self.dataset.map(forgetting(self._run))

    def forgetting(run):
        def function(task, blocks):
            from fdl_spark.engines.members import forget

            list(blocks)
            forget(run)
            return iter(())

        return function

    monkeypatch.setattr(Resident, "_take", taking)
    run = train(group=5)
    assert digest(run.params) == digest(train(sync="driver").params)
    assert run.history.events == []


def test_more_ranks_than_the_cluster_runs_at_once(train):
    with pytest.raises(fdl_spark.ArgumentError, match="all of its 4 tasks to run at once, and the cluster runs 2"):
        train(partitions=4)


@pytest.fixture(scope="module")
def two_workers(spark):
    """Spark has two Python workers, whatever other tests have left: more would take turns, and keep nothing."""
    rdd = spark.sparkContext.parallelize(range(2), 2)
    found = {pid for _ in range(6) for pid in rdd.mapPartitions(lambda part: [len(list(part)), os.getpid()]).collect()}
    for pid in sorted(found - {1})[2:]:
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)


@pytest.fixture
def staying(two_workers, monkeypatch):
    """Parameters and state stay with the tasks, as those do that take long to hand over; how often they came."""
    monkeypatch.setattr("fdl_spark.training.loop.SMALL", -1)
    monkeypatch.setattr("fdl_spark.training.loop.HANDOVER", 1e-12)
    take, came = Resident._take, []

    def taking(self, job):
        take(self, job)
        came.append((job.done, job.handed_over))

    monkeypatch.setattr(Resident, "_take", taking)
    return came


def test_parameters_stay_with_the_tasks_until_they_are_needed(train, expected, digest, staying):
    same(train(group=3), expected, digest)
    # The first group tells how long handing over takes, and the second that what it left is found again. A group of no
    # steps asks for what the last one kept.
    kept = [(done, False) for done in (9, 12, 15, 18, 20)]
    assert staying == [(3, True), (6, True), *kept, (20, True)]


def test_validation_and_checkpoints_fetch_what_stays(train, problem, digest, staying, tmp_path):
    settings = {"validation": problem.data, "metrics": {"accuracy": problem.accuracy}, "checkpoint": tmp_path / "run"}
    run = train(group=2, checkpoint_steps=8, steps=18, **settings)
    assert [done for done, came in staying if came] == [2, 4, 5, 8, 10, 15, 16, 18]
    assert [done for done, came in staying if not came] == [5, 7, 8, 10, 12, 14, 15, 16, 18]
    resumed = train(group=2, checkpoint_steps=8, **settings)
    expected = train(sync="driver", **settings | {"checkpoint": None})
    assert digest(resumed.params) == digest(expected.params)
    assert resumed.history.loss == expected.history.loss and run.history.events == []
    assert resumed.history.epochs[:3] == expected.history.epochs[:3]


@pytest.mark.parametrize("interval, came", [(1, [1, 2, 3, 9, 15, 20]), (4, [4, 3, 8, 12, 9, 16, 15, 20])])
def test_a_callback_reads_parameters_that_stay(train, digest, staying, interval, came):
    """One that reads where no group ends for it gets them too, and nothing stays any more."""
    watches = Watch(read=(3, 9, 15)), Watch(read=(3, 9, 15))
    watches[1].interval = interval
    expected, run = (train(sync=s, callbacks=[w]) for s, w in zip(("driver", "resident"), watches, strict=True))
    same(run, expected, digest)
    assert [digest(watches[1].params[step]) for step in (3, 9, 15)] == [digest(w) for w in watches[0].params.values()]
    assert [done for done, came in staying if came] == came


def test_groups_that_come_in_other_processes(train, expected, digest, staying, monkeypatch):
    """Where Spark has more workers than there are ranks, a group finds in files what the last one left."""
    attempt, orders = Resident._attempt, []

    def attempting(self, *rest):
        self._forget()  # as far as a process knows that has not been a rank of this run
        return attempt(self, *rest)

    order = Resident._order
    monkeypatch.setattr(Resident, "_attempt", attempting)
    monkeypatch.setattr(Resident, "_order", lambda *rest: orders.append(order(*rest)) or orders[-1])
    run = train(group=3)
    same(run, expected, digest)
    assert run.history.events == []
    assert staying == [(done, done <= 12) for done in (3, 6, 9, 12, 15, 18, 20)] + [(20, True)]
    # Only the first group, and once more the second one, which had found nothing, were sent the parameters.
    assert [made.first for made in orders if made.start is not None] == [0, 3]
    assert [made.first for made in orders if made.files is None] == [0, 3]


def test_what_callbacks_take_does_not_make_a_hand_over_due(train, expected, digest, staying, monkeypatch):
    class Slow(fdl_spark.Callback):
        interval, taken = 3, 0.0

        def step(self, run, record):
            self.taken += 3600.0 * (run.step % self.interval == 0)

    slow = Slow()
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + slow.taken, sleep=time.sleep)
    monkeypatch.setattr("fdl_spark.training.loop.time", clock)
    same(train(callbacks=[slow]), expected, digest)
    assert [done for done, came in staying if came] == [3, 6, 20]


@pytest.mark.parametrize("lost", ["between groups", "before it was fetched"])
def test_a_process_that_is_lost_with_what_it_kept(train, expected, digest, staying, monkeypatch, lost):
    """The steps since the last hand-over are taken again, and the history says so."""
    fetching, at = lost == "before it was fetched", []
    attempt = Resident._attempt

    def attempting(self, count, *rest):
        if not at and not self.here and (not count if fetching else self.done == 9):
            at.append(self.done)
            pids = self.dataset.map(lambda task, blocks: [str(os.getpid()).encode() for _ in blocks])
            os.kill(int(pids[0]), signal.SIGKILL)
        return attempt(self, count, *rest)

    monkeypatch.setattr(Resident, "_attempt", attempting)
    run = train(group=3)
    same(run, expected, digest)
    assert [event["step"] for event in run.history.events] == at == [20 if fetching else 9]
    # Either another worker has come without it, or the JVM notices the loss as it writes to the one that was killed.
    assert run.history.events[0]["event"].startswith("back to step 6: a Python worker has gone ")
    after = staying[staying.index((at[0], False)) + 1 :]
    assert after[0] == (9, True)  # what has been lost once is not risked again at once


def test_ctrl_c_keeps_what_stayed(train, digest, staying):
    class Interrupt(fdl_spark.Callback):
        passive = True

        def step(self, run, record):
            if run.step == 11:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        train(callbacks=[Interrupt()], group=4)
    run = caught.value.run
    assert run.step == len(run.history.steps) >= 11
    assert digest(run.params) == digest(train(steps=run.step, sync="driver").params)


def test_a_step_that_is_not_finite_keeps_what_stayed(train, problem, digest, staying):
    def loss(params, batch):
        return problem.loss(params, batch) / fdl.numpy.where(fdl.numpy.max(batch["y"]) > 100, 0.0, 1.0)

    y = problem.data["y"].copy()
    y[200] = 101
    errors = []
    for sync in ("driver", "resident"):
        with pytest.raises(fdl_spark.NonFiniteError) as caught:
            train(loss=loss, data={"x": problem.data["x"], "y": y}, group=1, sync=sync)
        errors.append((str(caught.value), caught.value.run.step, digest(caught.value.run.params)))
    assert errors[0] == errors[1] and errors[0][1] > 1
