"""Training is exact: the same bits by any route, and the numbers of a plain loop."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fdl
import fdl_spark
from fdl import optim
from fdl_spark.data.shards import Schedule
from fdl_spark.engines.shuffle import Shuffle
from fdl_spark.spark.failures import Lost
from fdl_spark.spark.repeated import Repeated

SETTINGS = {"batch_size": 100, "shards": 4, "seed": 11}


@pytest.fixture(scope="module")
def train(spark, problem):
    def run(**changes):
        settings = {"sync": "shuffle", "optimizer": optim.adam(0.02), "epochs": 2, **SETTINGS, **changes}
        loss, data = settings.pop("loss", problem.loss), settings.pop("data", problem.data)
        return fdl_spark.train(loss, problem.params, data, **settings)

    return run


@pytest.fixture(scope="module")
def once(train):
    """The run that others are compared to."""
    return train(partitions=1)


def plain_losses(problem, optimizer, steps):
    """The losses of a loop in one process over the same batches, each taken whole."""
    x, y = problem.data["x"], problem.data["y"]
    schedule = Schedule(len(x), SETTINGS["batch_size"], SETTINGS["shards"], SETTINGS["seed"])
    shard_of, slot_of = schedule.deal(np.arange(len(x)))
    params = problem.params
    state = optimizer.init(params)
    losses = []
    for step in range(steps):
        rows = [
            np.flatnonzero((shard_of == shard) & np.isin(slot_of, schedule.slots(step, shard)))
            for shard in range(schedule.shards)
        ]
        batch = {"x": x[np.concatenate(rows)], "y": y[np.concatenate(rows)]}
        value, gradient = fdl.value_and_grad(problem.loss)(params, batch)
        updates, state = optimizer.update(gradient, state, params)
        params = optim.apply_updates(params, updates)
        losses.append(float(value))
    return losses


@pytest.mark.parametrize("partitions", [2, 4])
def test_same_bits_on_any_number_of_partitions(train, once, digest, partitions):
    run = train(partitions=partitions)
    assert digest(run.params) == digest(once.params)
    assert run.history.loss == once.history.loss


def test_same_bits_through_the_driver(train, once, digest):
    assert digest(train(partitions=2, sync="driver").params) == digest(once.params)


@pytest.mark.parametrize("sync", ["shuffle", "blocks"])
def test_same_bits_on_slices(train, once, digest, monkeypatch, sync):
    """Parameters cut into several slices, each with its own state."""
    monkeypatch.setattr("fdl_spark.engines.common.cuts.best_slices", lambda *_, **__: 3)
    monkeypatch.setattr("fdl_spark.engines.common.cuts.ALIGNMENT", 8)
    run = train(partitions=4, sync=sync)
    assert run.history.engines[0]["slices"] == 3
    assert digest(run.params) == digest(once.params)
    for name, leaf in once.optimizer_state.items():
        np.testing.assert_array_equal(run.optimizer_state[name], leaf)


def test_no_parameter_passes_through_the_driver(spark, monkeypatch):
    """With sync="blocks" the driver sends parameters once, and gets them when the run ends."""
    sent, came, told, collect = [], [], Repeated.told, Repeated.collect

    def watched_told(self, numbers, *arrays):
        sent.append(sum(array.nbytes for array in arrays))
        return told(self, numbers, *arrays)

    def watched_collect(self, rdd):
        payloads = collect(self, rdd)
        came.append(sum(map(len, payloads)))
        return payloads

    monkeypatch.setattr(Repeated, "told", watched_told)
    monkeypatch.setattr(Repeated, "collect", watched_collect)
    fdl_spark.train(
        lambda w, batch: ((w - batch["x"].mean()) ** 2).mean(),
        np.zeros(50_000, np.float32),
        {"x": np.arange(80, dtype=np.float32)},
        optimizer=optim.adam(0.1),
        batch_size=20,
        partitions=2,
        sync="blocks",
    )
    assert [size // 100_000 for size in sent] == [6, 0, 0, 0]  # parameters and two moments
    assert [size // 100_000 for size in came] == [0, 0, 0, 0, 2, 4]


def test_losses_of_a_plain_loop(once, problem):
    expected = plain_losses(problem, optim.adam(0.02), len(once.history.loss))
    np.testing.assert_allclose(once.history.loss, expected, rtol=1e-5)


def test_training_learns_and_validates(train, problem):
    run = train(validation=problem.data, metrics={"accuracy": problem.accuracy}, epochs=6, partitions=2)
    first, last = (run.history.epochs[i]["validation"] for i in (0, -1))
    assert last["loss"] < 0.6 * first["loss"]
    assert last["accuracy"] > 0.9
    expected = float(problem.accuracy(run.params, problem.data))
    np.testing.assert_allclose(last["accuracy"], expected, rtol=1e-6)


WHOLE = {
    "global norm": optim.chain(optim.clip_by_global_norm(0.1), optim.adam(0.02)),
    "mask by leaf": optim.adamw(0.02, weight_decay=0.1, mask=lambda params: fdl.tree.map(lambda p: p.ndim > 1, params)),
    "says nothing": SimpleNamespace(init=optim.adam(0.02).init, update=optim.adam(0.02).update),
}


@pytest.mark.parametrize(("kind", "sync"), [*((kind, "shuffle") for kind in WHOLE), ("global norm", "blocks")])
def test_optimizers_that_need_the_whole_tree(train, problem, kind, sync):
    """They cannot be applied slice by slice; they must still be right."""
    optimizer = WHOLE[kind]
    run = train(optimizer=optimizer, partitions=2, steps=6, sync=sync)
    np.testing.assert_allclose(run.history.loss, plain_losses(problem, optimizer, 6), rtol=1e-5)


def test_random_keys_do_not_depend_on_partitions(train, problem, digest):
    runs = [train(loss=problem.noisy_loss, partitions=partitions, steps=4) for partitions in (1, 2)]
    assert digest(runs[0].params) == digest(runs[1].params)
    kept = [record["kept"] for record in runs[0].history.steps]
    assert len(set(kept)) > 1
    assert all(0.4 < value < 0.6 for value in kept)


def test_stop_and_resume_gives_the_same_bits(train, once, digest, tmp_path):
    folder = tmp_path / "run"
    stopped = train(partitions=1, checkpoint=folder, steps=3)
    assert stopped.step == 3
    resumed = train(partitions=2, checkpoint=folder)
    assert digest(resumed.params) == digest(once.params)
    assert resumed.history.loss == once.history.loss
    assert [record["epoch"] for record in resumed.history.epochs] == [1, 1, 2]


def test_a_finished_run_resumes_to_itself(train, digest, tmp_path):
    first = train(steps=3, checkpoint=tmp_path)
    again = train(steps=3, checkpoint=tmp_path)
    assert digest(again.params) == digest(first.params)
    assert again.history.loss == first.history.loss


def test_number_of_shards_comes_from_the_checkpoint(train, digest, tmp_path):
    train(steps=2, checkpoint=tmp_path, shards=3)
    resumed = train(steps=4, checkpoint=tmp_path, shards=None, partitions=2)
    assert digest(resumed.params) == digest(train(steps=4, shards=3).params)


def test_checkpoint_of_another_run(train, tmp_path):
    train(steps=1, checkpoint=tmp_path)
    with pytest.raises(fdl_spark.CheckpointError, match="seed was 11, is 12"):
        train(steps=2, checkpoint=tmp_path, seed=12)
    with pytest.raises(fdl_spark.CheckpointError, match=r"state.* was .*, is "):
        train(steps=2, checkpoint=tmp_path, optimizer=optim.sgd(0.1))


def test_damaged_checkpoint(train, tmp_path):
    train(steps=1, checkpoint=tmp_path)
    (tensors,) = tmp_path.glob("*.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-1])
    with pytest.raises(fdl_spark.CheckpointError, match="is damaged"):
        train(steps=2, checkpoint=tmp_path)
    (values,) = tmp_path.glob("*.json")
    values.write_text("{")
    with pytest.raises(fdl_spark.CheckpointError, match="cannot be read"):
        train(steps=2, checkpoint=tmp_path)


def test_checkpoint_is_readable_by_hand(train, tmp_path):
    run = train(steps=2, checkpoint=tmp_path)
    (values,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert values["step"] == 2
    assert [record["loss"] for record in values["history"]["steps"]] == run.history.loss
    import safetensors.numpy

    (path,) = tmp_path.glob("*.safetensors")
    tensors = safetensors.numpy.load_file(path)
    np.testing.assert_array_equal(tensors["params['hidden']['w']"], np.asarray(run.params["hidden"]["w"]))


def test_phases_add_up(once):
    for record in once.history.steps:
        assert abs(sum(record["phases"].values()) - record["seconds"]) < 1e-9
        assert min(record["phases"].values()) >= 0
        assert record["tasks"]["min"] <= record["tasks"]["median"] <= record["tasks"]["max"]
        assert record["tasks"]["straggler"].startswith("task 0 on ")


def test_batch_larger_than_the_data(train, problem):
    run = train(batch_size=1000, epochs=1)
    assert [record["rows"] for record in run.history.steps] == [len(problem.data["x"])]


def test_more_shards_than_rows_of_a_batch(train):
    run = train(batch_size=2, shards=4, steps=3)
    assert [record["rows"] for record in run.history.steps] == [2, 2, 2]


def test_nonfinite_loss_stops_with_step_and_shard(train, problem):
    def loss(params, batch):
        return problem.loss(params, batch) * fdl.numpy.where(fdl.numpy.max(batch["y"]) > 100, fdl.numpy.nan, 1.0)

    y = problem.data["y"].copy()
    y[7] = 101
    shard_of, slot_of = (found[7] for found in Schedule(len(y), 100, 4, 11).deal(np.arange(len(y))))
    schedule = Schedule(len(y), 100, 4, 11)
    step = next(s for s in range(schedule.steps_per_epoch) if slot_of in schedule.slots(s, int(shard_of)))
    data = {"x": problem.data["x"], "y": y}
    where = f"step {step}, shard {shard_of}"
    with pytest.raises(fdl_spark.NonFiniteError, match=rf"{where}: the loss \(nan\) is not finite"):
        train(loss=loss, data=data, epochs=1)
    skipped = train(loss=loss, data=data, epochs=1, nonfinite="skip")
    assert [event["step"] for event in skipped.history.events] == [step]
    assert np.isfinite(np.asarray(skipped.params["out"]["w"])).all()


def test_nonfinite_gradient_names_the_parameter(train, problem):
    def loss(params, batch):
        return problem.loss(params, batch) + fdl.numpy.sqrt(fdl.numpy.sum(params["out"]["b"] ** 2))

    with pytest.raises(fdl_spark.NonFiniteError, match=r"step 0, shard 0: the gradient of params\['out'\]\['b'\]"):
        train(loss=loss)


def test_user_error_on_an_executor(train):
    def unlucky():
        if "SPARK_LOCAL_DIRS" in os.environ:
            raise RuntimeError("no such luck")

    def loss(params, batch):
        fdl.debug.callback(unlucky)
        return fdl.numpy.mean(batch["x"]) * params["out"]["b"][0]

    with pytest.raises(fdl_spark.UserFunctionError, match="step 0: a function raised RuntimeError: no such luck"):
        train(loss=loss)


def test_loss_must_be_a_number(train):
    with pytest.raises(fdl_spark.LossError, match=r"one floating-point number; it returned shape \(25, 6\)"):
        train(loss=lambda params, batch: batch["x"])


def test_missing_column(train):
    text = r"the loss asked for column 'z'; the data has the columns \['x', 'y'\]"
    with pytest.raises(fdl_spark.MissingColumnError, match=text):
        train(loss=lambda params, batch: batch["z"])


def test_callbacks(train, tmp_path, capsys):
    seen = []

    class Stop(fdl_spark.Callback):
        def start(self, run):
            seen.append(("start", run.step, run.steps))

        def step(self, run, record):
            seen.append((record["step"], run.step))
            return run.step == 3

        def end(self, run):
            seen.append("end")

    run = train(callbacks=[Stop(), fdl_spark.Progress(), fdl_spark.TensorBoard(str(tmp_path))])
    assert run.step == 3
    assert seen == [("start", 0, 10), (0, 1), (1, 2), (2, 3), "end"]
    assert "step 3 of 10, loss" in capsys.readouterr().err  # no terminal: lines
    assert list(tmp_path.glob("events.*"))


def test_history_plots_itself(train, problem, tmp_path):
    run = train(steps=8, validation=problem.data, metrics={"accuracy": problem.accuracy})
    run.history.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    assert run.history._repr_png_().startswith(b"\x89PNG")


def test_arguments():
    with pytest.raises(ValueError, match="sync must be one of"):
        fdl_spark.train(None, {}, {}, optimizer=None, batch_size=1, sync="none")
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        fdl_spark.train(None, {}, {}, optimizer=None, batch_size=0)


def test_going_back_to_a_snapshot_changes_nothing(train, once, digest, monkeypatch):
    """What happens when the cluster loses more than Spark can make again: twice, the second time on the way back."""
    step, failures = Shuffle.step, [4, 2]

    def failing(self, number):
        if failures and number == failures[0]:
            failures.pop(0)
            raise Lost("both copies")
        return step(self, number)

    monkeypatch.setattr(Shuffle, "step", failing)
    run = train(partitions=2)
    assert not failures
    assert digest(run.params) == digest(once.params)
    assert run.history.loss == once.history.loss
    assert [event["event"] for event in run.history.events] == ["back to step 0: both copies"] * 2


def test_a_worker_that_dies(train, problem, once, digest, tmp_path):
    """A Python worker is killed in the middle of a task; in local mode Spark does not try again by itself."""
    mark = tmp_path / "died"

    def die_once():
        if "SPARK_LOCAL_DIRS" in os.environ and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def loss(params, batch):
        fdl.debug.callback(die_once)
        return problem.loss(params, batch)

    run = train(loss=loss, partitions=2)
    assert mark.exists()
    assert digest(run.params) == digest(once.params)
    assert len(run.history.events) == 1


def test_blocks_that_vanish(train, once, digest, monkeypatch):
    """The files are deleted under the first step, as when a task runs on another host than the one that wrote them."""
    step, blocks = Shuffle.step, []

    def losing(self, number):
        if not blocks:
            blocks.extend(self.dataset.blocks.collect())
            for block in blocks:
                os.unlink(block.path)
        return step(self, number)

    monkeypatch.setattr(Shuffle, "step", losing)
    run = train(partitions=2)
    assert digest(run.params) == digest(once.params)
    (event,) = run.history.events
    assert "BlockMissing" in event["event"]


def test_state_that_vanishes(train, once, digest, monkeypatch):
    """The files of the optimizer's state are deleted, as when their executor is lost."""
    step, gone = Shuffle.step, []

    def losing(self, number):
        if number == 4 and not gone:
            folder = Path(self.dataset.blocks.first().path).parent
            gone.extend(folder.glob(f"fdl-{self.dataset.name}-slice*"))
            for path in gone:
                path.unlink()
        return step(self, number)

    monkeypatch.setattr(Shuffle, "step", losing)
    run = train(partitions=2)
    assert len(gone) == 2  # those before and after the last step, which might be repeated
    assert digest(run.params) == digest(once.params)
    (event,) = run.history.events
    assert "back to step 0" in event["event"]
    assert "state of slice 0 after step 4 is not on this executor" in event["event"]


@pytest.mark.parametrize("sync", ["shuffle", "blocks"])
def test_steps_left_out_keep_parameters_and_state(train, problem, sync):
    """A step that is not finite changes nothing, wherever parameters and state are: also the first one."""

    def loss(params, batch):
        return problem.loss(params, batch) / fdl.numpy.where(fdl.numpy.any(batch["y"] > 100), 0.0, 1.0)

    y = problem.data["y"].copy()
    shards, slots = Schedule(len(y), 100, 4, 11).deal(np.arange(len(y)))
    schedule = Schedule(len(y), 100, 4, 11)
    for step in (0, 3):
        taken = schedule.slots(step, 0)[0]
        y[np.flatnonzero((shards == 0) & (slots == taken))] = 101
    data = {"x": problem.data["x"], "y": y}
    runs = [
        train(loss=loss, data=data, nonfinite="skip", partitions=2, steps=5, sync=kind) for kind in (sync, "driver")
    ]
    assert [event["step"] for event in runs[0].history.events] == [0, 3]
    for name, leaf in runs[1].optimizer_state.items():
        np.testing.assert_array_equal(runs[0].optimizer_state[name], leaf)
    for one, other in zip(*(fdl.tree.leaves(run.params) for run in runs), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_leaves_nothing_behind(train, spark):
    context = spark.sparkContext
    persistent = context._jsc.getPersistentRDDs().size()
    lineages = []

    class Watch(fdl_spark.Callback):
        def step(self, run, record):
            lineages.append(max(len(text.toDebugString()) for text in context._jsc.getPersistentRDDs().values()))

    train(partitions=2, steps=6, callbacks=[Watch()])
    assert context._jsc.getPersistentRDDs().size() == persistent
    assert max(lineages) < lineages[0] + 50  # only numbers get longer: each step's lineage is cut


def test_a_frame_trains_to_the_same_bits(train, spark, problem, once, digest):
    rows = [(x.tolist(), int(y)) for x, y in zip(*problem.data.values(), strict=True)]
    frame = spark.createDataFrame(spark.sparkContext.parallelize(rows, 3), "x array<double>, y int")
    assert digest(train(data=frame, partitions=2).params) == digest(once.params)


def test_a_cluster_that_stays_broken(train, monkeypatch):
    def failing(self, number):
        raise Lost("no executors")

    monkeypatch.setattr(Shuffle, "step", failing)
    with pytest.raises(fdl_spark.ClusterError, match=r"step 0 failed 4 times.*no executors"):
        train()
