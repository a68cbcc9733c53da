"""A long history costs no more a step than a short one: in memory, on disk, and in its picture."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from fdl_spark.checkpoints import journal
from fdl_spark.history import History
from fdl_spark.history.plot import POINTS

HERE = runpy.run_path(str(Path(__file__).with_name("disks.py")))
Disk, folder_on, saved = HERE["Disk"], HERE["folder_on"], HERE["saved"]


class Counted(dict):
    """A record that counts how often anything asks it for something."""

    asked = 0

    def __getitem__(self, name):
        Counted.asked += 1
        return super().__getitem__(name)


def record(step, loss=1.0, kind=dict):
    return kind(step=step, loss=loss, rows=4, seconds=0.5, phases={"send": 0.25, "update": 0.25})


def test_epochs_are_averaged_without_looking_at_those_before():
    """Steps in epochs of ten, and after going back: reads grow with the epochs, not with their square."""
    history, counts = History(), []
    for epoch in range(300):
        history.steps += [record(10 * epoch + n, n, Counted) for n in range(10)]
        before = Counted.asked
        made = history.add_epoch(epoch + 1, 10 * epoch + 9, None)
        counts.append(Counted.asked - before)
        assert made["loss"] == np.mean(range(10))
        before = Counted.asked
        history.back_to(10 * epoch + 10)
        assert Counted.asked - before <= 20
    assert max(counts) <= 10 * 5 + 40 and len(history.steps) == 3000 and len(history.epochs) == 300


def test_going_back_forgets_what_came_after_and_nothing_else():
    history = History([record(n) for n in range(10)])
    for step in (3, 7, 9):
        history.add_epoch(1, step, None)
    history.add_event(8, "lost")
    history.back_to(7)
    assert [r["step"] for r in history.steps] == list(range(7))
    assert [r["step"] for r in history.epochs] == [3] and len(history.events) == 1
    history.back_to(0)
    assert not history.steps and not history.epochs


def test_an_epoch_of_a_run_that_ended_in_the_middle_counts_its_own_steps():
    history = History([record(n, float(n)) for n in range(6)])
    assert history.add_epoch(1, 3, None)["loss"] == 1.5
    assert history.add_epoch(1, 5, None)["loss"] == 4.5


def test_what_callbacks_add_to_a_record_is_no_metric():
    history = History([{**record(n), "note": "text", "rate": 0.5} for n in range(4)])
    assert history.add_epoch(1, 3, None) == {"epoch": 1, "step": 3, "loss": 1.0, "rate": 0.5}


def test_engines_with_other_phases_share_a_history():
    history = History([record(0), {**record(1), "phases": {"wait": 1.0}}, {**record(2), "phases": {"wait": 3.0}}])
    assert history.phases() == ["send", "update", "wait"]
    assert history.timings() == {"send": 0.0, "update": 0.0, "wait": 1.0}
    assert history.seconds("wait").tolist() == [0.0, 1.0, 3.0]


def test_each_checkpoint_writes_what_is_new(monkeypatch):
    """10,000 steps, a checkpoint every 100: as many bytes for the last one as for the first ones."""
    monkeypatch.setattr(journal, "SEGMENT", 1 << 15)
    disk = Disk()
    folder = folder_on(disk)
    folder.prepare()
    history, costs, step, length = History(), [], 0, len(journal._line(record(10_000)))
    while step < 10_000:
        history.steps += [record(step + n) for n in range(100)]
        step += 100
        history.add_epoch(step // 100, step - 1, None)
        before = disk.written
        folder.save(saved(step, history.records))
        costs.append(disk.written - before)
    most = 2 * (journal.SEGMENT + 100 * length) + 2000
    assert max(costs[50:]) <= max(costs[:50]) + 4096 < most
    assert sum(map(len, disk.files.values())) < 10_000 * 1.3 * length + journal.SEGMENT
    found = folder_on(disk).load().history
    assert found == history.to_json()
    # A run that goes on from there appends too.
    again = folder_on(disk)
    resumed = History.from_json(again.load().history)
    resumed.steps += [record(step + n) for n in range(100)]
    before = disk.written
    again.save(saved(step + 100, resumed.records))
    assert disk.written - before <= max(costs)
    assert folder_on(disk).load().history == resumed.to_json()


def test_a_checkpoint_before_goes_on_with_its_own_history(monkeypatch):
    """Segments are shared: what a later checkpoint appended does not show in an earlier one."""
    monkeypatch.setattr(journal, "SEGMENT", 500)
    disk = Disk()
    folder = folder_on(disk)
    whole = saved(40).history
    for step in (10, 20, 30, 40):
        folder.save(saved(step, {kind: records[:step] for kind, records in whole.items()}))
        if step == 30:
            files = disk.files
    assert sum(name.startswith("history") for name in disk.files) == 4
    later = {name: content for name, content in disk.files.items() if name not in files}
    for name in disk.files:
        if name.startswith("step-000000040"):
            disk.delete(name)
    assert later and folder_on(disk).load().history == saved(30).history


def test_a_history_that_does_not_continue_is_written_anew(monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT", 500)
    folder = folder_on(Disk())
    folder.save(saved(30))
    other = saved(31)
    for records in other.history.values():
        records[3] = {**records[3], "note": 1}
    folder.save(other)
    assert folder.load().history == other.history


def test_what_a_callback_adds_after_a_checkpoint_is_in_the_next(monkeypatch):
    monkeypatch.setattr(journal, "SEGMENT", 500)
    folder, history = folder_on(Disk()), History()
    for step in range(0, 30, 10):
        history.steps += [record(step + n) for n in range(10)]
        folder.save(saved(step + 10, history.records))
        history.steps[-1]["note"] = np.float32(step)
    history.steps.append(record(30))
    folder.save(saved(31, history.records))
    assert [r.get("note") for r in folder.load().history["steps"][9::10]] == [0.0, 10.0, 20.0]


@pytest.mark.parametrize("count", [1, POINTS, POINTS + 1, 50_000])
def test_the_picture_of_a_long_run_has_few_points_and_every_spike(count):
    history = History([record(n, float(n % 5)) for n in range(count)])
    history.steps[count // 3]["loss"] = 1e6
    history.steps[count // 2]["loss"] = float("nan")
    history.steps[2 * count // 3]["loss"] = -1e6
    history.add_epoch(1, count - 1, None)
    losses, phases = history.plot().axes  # there are no metrics, and no empty panel for them
    x, y = losses.lines[0].get_data()
    assert len(x) <= max(count, 1) and len(x) <= POINTS and (np.diff(x) >= 0).all()
    if count > 1:
        assert {(count // 3, 1e6), (2 * count // 3, -1e6)} <= set(zip(x, y, strict=True))
    for path in (collection.get_paths()[0] for collection in phases.collections):
        assert len(path.vertices) <= 2 * POINTS + 5
    top = max(path.vertices[:, 1].max() for c in phases.collections for path in c.get_paths())
    assert top == pytest.approx(500.0)  # milliseconds: 250 of each phase


def test_the_phases_are_as_high_as_their_own_step():
    """A group's first step carries its scheduling: nothing of it shows in the steps beside it."""
    phases = [{"compute": 0.001}, {"compute": 0.002, "schedule": 0.05}, {"compute": 0.003}]
    steps = [{"step": n, "loss": 1.0, "rows": 1, "phases": phases[n]} for n in range(3)]
    panel = History(steps=steps).plot().axes[1]
    tops = []
    for step in range(3):
        inside = [(x, y) for x in (step + 0.01, step + 0.99) for y in np.arange(0.25, 60, 0.5)]
        found = [any(c.get_paths()[0].contains_point(point) for c in panel.collections) for point in inside]
        tops.append([sum(found[: len(found) // 2]) / 2, sum(found[len(found) // 2 :]) / 2])
    np.testing.assert_allclose(tops, [[1, 1], [52, 52], [3, 3]])  # milliseconds, at both ends of the step


def test_the_picture_says_which_engine_took_the_steps_and_why():
    engines = [
        {"step": 0, "engine": "driver", "why": "asked for"},  # as a checkpoint of before has it
        {"step": 1, "engine": "resident", "slices": 2, "why": "measured: resident in 2 slices 2.8 ms a step"},
    ]
    steps = [{"step": n, "loss": 1.0, "rows": 1, "phases": {"compute": 0.1}} for n in range(2)]
    figure = History(steps=steps, engines=engines).plot()
    lines = figure._supxlabel.get_text().splitlines()
    assert lines == [
        "from step 1 by driver, slices: 1; asked for",
        "from step 2 by resident, slices: 2; measured: resident in 2 slices 2.8 ms a step",
    ]
