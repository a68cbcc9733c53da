"""Triggers, early stopping, the best checkpoint and plateaus: the same decisions, and the same bits, by any route."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import fdl
import fdl_spark
from fdl import optim
from fdl_spark import EarlyStopping, Plateau, every, when
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.compute.program import Program
from fdl_spark.data.shards import Schedule

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
    "stop": EarlyStopping("accuracy", mode="max", patience=2),
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


@pytest.mark.parametrize(("sync", "partitions"), [("driver", 4), ("resident", 2), ("shuffle", 1), ("blocks", 2)])
def test_same_decisions_by_any_route(train, straight, digest, sync, partitions):
    run = train(**CONTROLLED, sync=sync, partitions=partitions)
    assert decisions(run) == decisions(straight)
    assert digest(run.params) == digest(straight.params) and run.history.loss == straight.history.loss
    for path, leaf in straight.optimizer_state.items():
        np.testing.assert_array_equal(run.optimizer_state[path], leaf)


def saved_steps(folder):
    """The step of each checkpoint that was written, in order."""
    return CheckpointFolder(folder).steps()


def test_a_loss_stops_inside_of_a_group(train, digest):
    """The group is taken again up to the step, to the same bits; when the call is repeated, nothing is left to do."""
    whole = train(epochs=2, validation=None, metrics=None)
    bound = sorted(whole.history.loss)[3]
    first = next(n for n, loss in enumerate(whole.history.loss, 1) if loss < bound)
    assert 1 < first < 10
    run = train(epochs=2, validation=None, metrics=None, sync="resident", group=10, stop=when(loss_below=bound))
    assert run.step == first and run.history.events[-1]["event"] == f"stopped by when(loss_below={bound!r})"
    assert digest(run.params) == digest(train(steps=first, validation=None, metrics=None).params)


def test_a_round_of_local_steps_ends_before_what_fires_in_it_is_done(train, digest):
    run = train(validation=None, metrics=None, sync=every(3), stop=when(step=4))
    assert run.step == 5  # epochs have 5 steps: rounds end after 3 and 5
    assert digest(run.params) == digest(train(validation=None, metrics=None, sync=every(3), steps=5).params)


class Clock:
    """A clock that a callback moves on by a second each step."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        clock = self

        class Ticks(fdl_spark.Callback):
            def step(self, run, record):
                clock.now += 1.0

        self.callback = Ticks()
        monkeypatch.setattr("fdl_spark.training.controls.time.monotonic", lambda: self.now)


def test_clocks_save_and_stop(train, tmp_path, monkeypatch):
    written, save = [], CheckpointFolder.save
    monkeypatch.setattr(CheckpointFolder, "save", lambda s, saved, *a: (written.append(saved.step), save(s, saved, *a)))
    clock = Clock(monkeypatch)
    run = train(
        validation=None, metrics=None, checkpoint=tmp_path, keep=4, callbacks=[clock.callback],
        save=every(seconds=3) & every(steps=2) | when(step=11), stop=when(seconds=12),
    )  # fmt: skip
    assert run.step == 13 and run.history.events[-1]["event"] == "stopped by when(seconds=12)"
    assert written == [4, 8, 11, 12, 13] and saved_steps(tmp_path) == [8, 11, 12, 13]


def test_the_end_is_validated_and_decides_nothing(train, digest, tmp_path):
    """A run that is prolonged validates, reduces its rate and keeps the best as one that was long from the start."""
    options = {"validate": every(steps=3), "plateau": Plateau(patience=1, factor=0.5), "best": "loss"}
    train(steps=7, checkpoint=tmp_path, **options)
    longer, long = train(steps=16, checkpoint=tmp_path, **options), train(steps=16, **options)
    assert [record["step"] for record in longer.history.epochs if "validation" in record] == [6, 14, 15]
    assert decisions(longer) == decisions(long) and digest(longer.params) == digest(long.params)
    assert digest(longer.best.params) == digest(long.best.params)
    (newest, *_) = sorted(tmp_path.glob("step-*.json"), reverse=True)
    assert json.loads(newest.read_text())["best"] == long.best.step


def test_without_a_validation_epochs_are_observed(train):
    run = train(validation=None, metrics=None, best="loss", stop=when(metric="loss", below=0.6))
    means = [record["loss"] for record in run.history.epochs]
    assert run.step == 5 * len(means) and means[-1] < 0.6 <= min(means[:-1])
    assert run.best.step == run.step and run.best.value == means[-1]


def test_another_plateau_is_another_run(train, tmp_path):
    train(steps=2, checkpoint=tmp_path, plateau=Plateau(patience=2))
    with pytest.raises(fdl_spark.CheckpointError, match="plateau was .*'patience': 2.*'patience': 3"):
        train(steps=4, checkpoint=tmp_path, plateau=Plateau(patience=3))
    with pytest.raises(fdl_spark.CheckpointError, match="is of another run: state"):
        train(steps=4, checkpoint=tmp_path)
    table = optim.by_rows(optim.adam(0.1), lambda params: fdl.tree.map(lambda p: p.ndim > 1, params))
    with pytest.raises(fdl_spark.ArgumentError, match="plateau: rows that catch up"):
        train(steps=4, optimizer=table, plateau=Plateau())


def test_a_metric_that_is_not_there(train):
    with pytest.raises(fdl_spark.ArgumentError, match=r"no metric 'acc' to go by; there are \['accuracy', 'loss'\]"):
        train(stop=EarlyStopping("acc", mode="max", patience=1))


@pytest.mark.parametrize("kind", ["run", "folder"])
def test_a_run_continues_from_another(train, problem, digest, tmp_path, kind):
    """With its optimizer's state two runs of one epoch are a loop that goes through the first epoch's rows twice."""
    first = train(epochs=1, validation=None, metrics=None, checkpoint=tmp_path / "first")
    source = first if kind == "run" else tmp_path / "first"
    run = train(
        epochs=1,
        validation=None,
        metrics=None,
        continue_from=source,
        params=fdl.tree.map(np.zeros_like, problem.params),
    )
    params, _ = loop(problem, optim.adam(0.05), 5, twice=True)
    np.testing.assert_array_equal(flat(run.params), params)
    assert [leaf for path, leaf in run.optimizer_state.items() if "count" in path] == [10]
    assert run.step == 5 and "with the optimizer's state" in run.history.events[0]["event"]
    again = train(epochs=1, validation=None, metrics=None, continue_from=source, optimizer=optim.sgd(0.1))
    assert "begins anew, as it was another: state[0].count was int32[], is absent" in again.history.events[0]["event"]
    assert digest(again.params) == digest(
        train(epochs=1, validation=None, metrics=None, params=first.params, optimizer=optim.sgd(0.1)).params
    )


def test_a_run_and_its_folder_continue_with_the_best_parameters_alike(train_here, problem, held_out, digest, tmp_path):
    """A run that EarlyStopping ended has the best parameters, and the optimizer's state of its last step."""

    def train(folder=None, **changes):
        settings = {"optimizer": optim.adam(0.3), "epochs": 12, **SETTINGS, "validation": held_out} | changes
        return train_here(problem.loss, problem.params, problem.data, checkpoint=folder, **settings)

    run = train(tmp_path, stop=EarlyStopping(patience=2))
    assert run.params_step == run.best.step < run.step < 60
    more = [train(steps=1, continue_from=source) for source in (run, tmp_path)]
    assert digest(more[0].params) == digest(more[1].params)
    for path, leaf in more[0].optimizer_state.items():
        np.testing.assert_array_equal(leaf, more[1].optimizer_state[path])
    assert all(f", with the best parameters, of step {run.best.step}," in m.history.events[0]["event"] for m in more)
    (tmp_path / f"step-{run.best.step:09d}.json").unlink()
    with pytest.raises(
        fdl_spark.CheckpointError, match=f"those of step {run.best.step}, whose checkpoint is not there"
    ):
        train(continue_from=tmp_path)


def test_what_a_run_cannot_continue_from(train, problem, tmp_path):
    other = {**problem.params, "out": {"w": np.zeros((6, 3), np.float32)}}
    run = train(steps=1)
    with pytest.raises(
        fdl_spark.ArgumentError, match=r"params\['out'\]\['b'\] was float32\[3\], is absent; .*\['w'\] was"
    ):
        train(params=other, continue_from=run)
    with pytest.raises(fdl_spark.CheckpointError, match="has no checkpoint"):
        train(continue_from=tmp_path)
    with pytest.raises(fdl_spark.ArgumentError, match="must be a Run, or a folder"):
        train(continue_from={"w": 1})


def flat(params):
    return np.asarray(fdl.flatten_util.ravel_pytree(params)[0])


def loop(problem, optimizer, steps, twice=False):
    """A loop in one process over the same shards, whose gradients are added in the order of the tree.

    Returns:
      The parameters as one vector, and the optimizer's state, of the tree.
    """
    rows, program = problem.data, Program(problem.loss, problem.params, seed=11)
    schedule = Schedule(len(rows["x"]), 100, 4, 11)
    shard_of, slot_of = schedule.deal(np.arange(len(rows["x"])))
    places = {(int(s), int(t)): row for row, (s, t) in enumerate(zip(shard_of, slot_of, strict=True))}
    weights, state = program.flat(), optimizer.init(problem.params)

    @fdl.jit
    def update(params, gradient, state):
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state

    for step in [*range(steps)] * (1 + twice):
        parts = []
        for shard in range(4):
            chosen = [places[shard, int(slot)] for slot in schedule.slots(step, shard)]
            batch = {name: column[chosen] for name, column in rows.items()}
            share = len(chosen) / schedule.batch_rows(step)
            parts.append(program.loss_and_gradient(weights, batch, step, shard, share)[1])
        gradient = (parts[0] + parts[1]) + (parts[2] + parts[3])
        params, state = update(program.tree(weights), program.tree(gradient), state)
        weights = flat(params)
    return weights, state


OPTIMIZERS = {
    "by path": optim.by_path({"*/b": optim.set_to_zero(), "hidden/*": optim.adam(0.02), "*": optim.sgd(0.1, 0.9)}),
    "by label": optim.multi_transform(
        {"fast": optim.sgd(0.1), "slow": optim.adam(1e-3)},
        lambda params: {name: "fast" if name == "out" else "slow" for name in params},
    ),
    "clip": optim.chain(optim.clip(0.01), optim.sgd(0.1)),
    "clip_by_block_norm": optim.chain(optim.clip_by_block_norm(0.1), optim.sgd(0.1)),
    "clip_by_block_rms": optim.chain(optim.clip_by_block_rms(0.01), optim.sgd(0.1)),
    "clip_by_global_norm": optim.chain(optim.clip_by_global_norm(0.1), optim.adam(0.02)),
    "lookahead": optim.lookahead(optim.adam(0.02), 2, 0.5),
    "multi_steps": optim.multi_steps(optim.adam(0.02), 2),
    "params_ema": optim.chain(optim.adam(0.02), optim.params_ema(0.9)),
    "schedule by epoch": optim.sgd(optim.epoch_schedule(lambda epoch: 0.1 / epoch, 2, 3)),
}


@pytest.mark.parametrize(
    ("name", "sync"),
    [
        *((name, "resident") for name in OPTIMIZERS),
        *((n, s) for n in ("by path", "params_ema") for s in ("driver", "shuffle")),
    ],
)
def test_optimizers_take_the_steps_of_a_plain_loop(train, problem, monkeypatch, name, sync):
    """To the bit: updated in slices if they are element-wise, whole if not; gradients are added in slices anyway."""
    monkeypatch.setattr("fdl_spark.engines.common.cuts.best_slices", lambda *_, **__: 2)
    monkeypatch.setattr("fdl_spark.engines.common.cuts.ALIGNMENT", 64)
    optimizer = OPTIMIZERS[name]
    run = train(optimizer=optimizer, steps=4, validation=None, metrics=None, sync=sync)
    params, state = loop(problem, optimizer, 4)
    np.testing.assert_array_equal(flat(run.params), params)
    assert run.history.engines[0]["slices"] == 2
    if name == "params_ema":
        np.testing.assert_array_equal(flat(run.ema), flat(state[1].params_ema))
    else:
        assert run.ema is None
    if name == "by path":
        for layer in ("hidden", "out"):
            assert np.asarray(run.params[layer]["b"]).tobytes() == problem.params[layer]["b"].tobytes()


def test_the_page_on_controls(spark, tmp_path, monkeypatch):
    """Its blocks, one after the other."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "controls.md").read_text()
    scope = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        *_, last = block.strip().splitlines()
        exec(block, scope)
        if "  # " in last:
            code, _, expected = last.partition("  # ")
            assert str(eval(code, scope)) == expected, code
    assert scope["run"].step == 15


@pytest.mark.parametrize("sync", ["driver", "resident"])
def test_frozen_parameters_are_constants_of_the_loss(train, problem, digest, tmp_path, sync):
    """The run is that of a loss that has them in itself; a checkpoint, and what reads it, has all parameters."""
    hidden = {name: leaf - np.float32(0.0) for name, leaf in problem.params["hidden"].items()}
    hidden["b"] = -hidden["b"]  # -0.0
    params = {"hidden": hidden, "out": problem.params["out"]}
    options = {"epochs": 2, "optimizer": optim.chain(optim.adam(0.05), optim.params_ema(0.9)), "sync": sync}
    run = train(params=params, frozen=["hidden/*"], checkpoint=tmp_path, best="loss", **options)
    other = fdl_spark.train(
        lambda out, batch: problem.loss({"hidden": hidden, "out": out}, batch), params["out"], problem.data,
        **SETTINGS, **options,
    )  # fmt: skip
    assert digest(run.params["out"]) == digest(other.params) and digest(run.params["hidden"]) == digest(hidden)
    assert digest(run.ema["out"]) == digest(other.ema) and digest(run.ema["hidden"]) == digest(hidden)
    assert digest(run.best.params["hidden"]) == digest(hidden)
    assert run.history.epochs[-1]["validation"]["accuracy"] > 0.3
    longer = train(params=params, frozen=["hidden/*"], checkpoint=tmp_path, best="loss", **options | {"epochs": 3})
    assert longer.step == 15 and digest(longer.params["hidden"]) == digest(hidden)
    thawed = train(continue_from=tmp_path, **options | {"epochs": 1})
    assert digest(thawed.params["hidden"]) != digest(hidden)
    with pytest.raises(fdl_spark.CheckpointError, match=r"params\['hidden'\]\['b'\] is frozen, and was another"):
        train(frozen=["hidden/*"], checkpoint=tmp_path, best="loss", **options)


def test_mistakes_about_what_is_frozen(train):
    for frozen, text in (
        ("hidden/*", "frozen must be a list of names"),
        (["hiden/*"], r"frozen: 'hiden/\*' matches none of the parameters \['hidden/b'"),
        (["*"], "nothing is left to train"),
    ):
        with pytest.raises(fdl_spark.ArgumentError, match=text):
            train(frozen=frozen)


@pytest.mark.parametrize(
    "optimizer", [optim.chain(optim.adam(0.1), optim.params_ema(0.9)), optim.lookahead(optim.sgd(0.1), 5, 0.5)]
)
def test_a_plateau_refuses_averages_that_would_not_see_it(train, optimizer):
    with pytest.raises(fdl_spark.ArgumentError, match="plateau: params_ema and lookahead would average"):
        train(optimizer=optimizer, plateau=fdl_spark.Plateau("loss"))


def test_histograms_are_written_when_a_trigger_fires(train, tmp_path):
    """Groups end there and only there, so that no step is taken twice for them."""
    seen = []

    class Watched(fdl_spark.TensorBoard):
        def _histograms(self, leaves, step):
            seen.append((step, sorted(leaves)))

    board = Watched(tmp_path, every=every(steps=4) & when(step=5) | every(epochs=1))
    train(epochs=2, validation=None, metrics=None, sync="resident", callbacks=[board])
    assert [step + 1 for step, _ in seen] == [5, 8, 10] and len(seen[0][1]) == 4
    with pytest.raises(fdl_spark.ArgumentError, match="every of TensorBoard.*must count steps"):
        fdl_spark.TensorBoard(tmp_path, every=when(loss_below=1.0))
