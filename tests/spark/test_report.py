"""The report of a run: one page that needs nothing else, whose numbers are the history's, whatever the run was like."""

import json
import logging
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from fdl_spark import Run
from fdl_spark.history import History
from fdl_spark.history.markup import bytes_, duration, number
from fdl_spark.history.outcome import Choice, Outcome, Timing
from fdl_spark.history.svg import Line, line_chart, stairs_chart, ticks
from fdl_spark.history.thin import POINTS
from fdl_spark.logs import JsonFormatter

HOSTILE = "<script>alert('1')</script>&\""
VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page that is well-formed: every element that begins ends, in order."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.words, self.urls = [], [], [], []
        self.tables, self.paths = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append(tag)
        self.urls += [value for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]
        if tag == "path":
            self.paths.append((attributes["class"], attributes["d"]))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            self.urls += re.findall(r"url\(|@import", data)
            return
        self.words.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, *heads):
        """The rows of the table that has these heads."""
        (found,) = [table for table in self.tables if table[0][: len(heads)] == list(heads)]
        return found[1:]


def history_of(steps, losses=None, epoch=5, tasks=2):
    random = np.random.default_rng(0)
    history = History()
    history.add_choices([Choice(0, "driver", "tried first"), Choice(3, "resident", "measured: faster", 2)])
    for step in range(steps):
        loss = 1 / (step + 1) if losses is None else losses[step % len(losses)]
        timings = tuple(Timing(task, f"host-{task}", 0.002 + 0.001 * task) for task in range(tasks))
        phases = {"compute": 0.003, "send": 0.001 * float(random.random())}
        history.add_step(step, Outcome({"rows": 8.0, "loss": 8 * loss, "kept": 4.0}, (), phases, timings))
        if (step + 1) % epoch == 0:
            history.add_epoch((step + 1) // epoch, step, {"loss": loss, HOSTILE: 0.25, "f1": {"0": 0.5, "1": 1.0}})
    return history


def session(**more):
    parameters = [
        {"subtree": "['a']", "path": f"['a'][{n}]", "dtype": "float32", "shape": [n], "size": n, "bytes": 4 * n}
        for n in (2, 3)
    ]
    record = {"step": 0, "run": "abc", "started": "2026-11-29T02:00:00.000Z", "seconds": 75.0, "outcome": "finished"}
    record |= {"phases": {"load": 60.0, "train": 15.0}, "settings": {"seed": 7, "metrics": {HOSTILE: "f"}}}
    return record | {"versions": {"fdl": "0.1.0"}, "parameters": parameters, "bytes": {"parameters": 20}} | more


def page_of(history, done=None, steps=None):
    done = len(history.steps) if done is None else done
    return Page(Run(steps or done, done, history)._page())


def test_the_numbers_on_the_page_are_those_of_the_history(tmp_path):
    history = history_of(20)
    history.sessions.append(session())
    history.add_event(7, f"back to step 5: {HOSTILE}")
    page = page_of(history, steps=40)
    tiles = dict(zip(page.words[2:40], page.words[3:41], strict=True))
    assert tiles["last loss"] == number(1 / 20) == "0.05" and tiles["steps"] == "20 of 40"
    assert tiles["rows trained on"] == "160" and tiles["duration"] == "1 min 15 s" and tiles["engine"] == "resident"
    phases = {row[0]: row[1:] for row in page.table("phase", "all steps")}
    for name in ("compute", "send"):
        spent = history.seconds(name)
        assert phases[name][:2] == [duration(float(spent.sum())), duration(float(np.median(spent)))]
    shares = [float(row[2].split()[0]) for row in phases.values()]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    epochs = page.table("epoch", "step")
    assert [row[:3] for row in epochs] == [[str(n + 1), str(5 * n + 5), number(np.mean([1 / (k + 1) for k in
            range(5 * n, 5 * n + 5)]))] for n in range(4)]  # fmt: skip
    assert {f"validation {HOSTILE}", "validation f1/0"} <= {cell for table in page.tables for cell in table[0]}
    (event,) = page.table("step", "time (UTC)", "event")
    assert event == ["8", history.events[0]["time"][:19].replace("T", " "), f"back to step 5: {HOSTILE}"]
    engines = page.table("from step", "engine", "slices", "why")
    assert engines == [["1", "driver", "1", "tried first"], ["4", "resident", "2", "measured: faster"]]
    assert page.table("subtree") == [["['a']", "2", "5", "20 B", "100.0 %"]]
    tasks = page.table("task", "host")  # the slower one first
    assert [(row[0], row[1], row[2], row[3], row[5]) for row in tasks] == [
        ("1", "host-1", "20", "3 ms", "100.0 %"), ("0", "host-0", "20", "2 ms", "0.0 %"),
    ]  # fmt: skip
    settings = [row for table in page.tables if table[0] == ["setting", "value"] for row in table]
    assert ["metrics." + HOSTILE, "f"] in settings and ["seed", "7"] in settings and ["fdl", "0.1.0"] in settings


@pytest.mark.parametrize("steps", [0, 1, 2, 300])
@pytest.mark.parametrize(
    "losses", [None, [float("nan")], [1.0, float("nan"), float("inf"), -float("inf")], [1e30, -1e30, 0.0]]
)
def test_a_page_is_whole_and_needs_nothing_else(steps, losses):
    history = history_of(steps, losses)
    text = Run(1000, steps, history)._page()
    page = Page(text)
    assert "script" not in page.elements and not page.urls and "<script" not in text.lower()
    for _, path in page.paths:
        assert "nan" not in path and "inf" not in path and "e" not in path
    if steps == 0:
        assert "No step was taken." in page.words


def test_a_loss_that_is_not_finite_leaves_a_gap_and_a_mark():
    page = page_of(history_of(9, [1.0, 1.0, float("nan")], epoch=100))
    line = next(path for kind, path in page.paths if "line" in kind)
    assert line.count("M") == 3 and sum("mark" in kind for kind, _ in page.paths) == 3
    assert "Losses that are not finite: 3" in page.words


def test_a_long_run_has_a_short_page():
    history = history_of(30_000, epoch=50)
    for n in range(2000):
        history.add_event(n, "lost")
    text = Run(30_000, 30_000, history)._page()
    page = Page(text)
    assert len(text) < 1_000_000
    assert all(len(path.split()) <= POINTS + 1 for _, path in page.paths)
    assert any("… 1,500 more …" in cell for table in page.tables for row in table for cell in row)


def test_a_chart_has_its_points_where_the_axes_say():
    chart = str(line_chart("c", [Line("l", np.array([0.0, 5.0, 10.0]), np.array([1.0, 3.0, 2.0]))]))
    ((_, path),) = [found for found in Page(chart).paths if found[0] == "line"]
    points = np.array([point.split(",") for point in path.removeprefix("M").split(" ")], float)
    assert (points[:, 0] - points[0, 0]).tolist() == pytest.approx([0, 344, 688])
    heights = points[0, 1] - points[:, 1]
    assert heights.tolist() == pytest.approx([0, heights[1], heights[1] / 2], abs=0.1) and heights[1] > 0
    stairs = Page(str(stairs_chart("s", np.arange(3), {"a": np.array([1.0, 2.0, 1.0]), "b": np.ones(3)})))
    assert stairs.elements.count("polygon") == 2


@pytest.mark.parametrize("low, high", [(0, 1), (-3e-8, 5e-8), (1e6, 1.5e6), (0.1, 0.1000001), (-1e300, 1e300), (5, 5)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high, 5)
    assert len(found) in range(2, 12) or low == high
    room = 1e-6 * (high - low)
    assert all(low - room <= tick <= high + room for tick in found) and found == sorted(found)


def test_numbers_for_people():
    assert [number(v) for v in (0, 1234.5678, 12345.678, -0.5)] == ["0", "1235", "12,346", "-0.5"]
    assert [duration(v) for v in (0, 59.4, 3599.9, 90_000)] == ["0 ms", "59.4 s", "1 h 00 min", "25 h 00 min"]
    assert [bytes_(v) for v in (0, 1500, 999_600)] == ["0 B", "1.5 kB", "1 MB"]


def test_the_newest_session_is_first_and_open():
    history = history_of(4)
    history.sessions += [session(run=name, step=step) for name, step in (("first", 0), ("second", 2))]
    text = Run(4, 4, history)._page()
    found = re.findall(r"<details( open[^>]*)?><summary>Session (\d)", text)
    assert [(number, bool(opened)) for opened, number in found] == [("2", True), ("1", False)]


def test_a_report_replaces_a_file_only_when_it_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("before")
    with pytest.raises(OSError):
        Run(1).report(tmp_path / "nowhere" / "report.html")
    monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        Run(1).report(path)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    assert Run(1).report(path) == path and path.read_text().startswith("<!DOCTYPE html>")


def test_records_for_pandas_and_as_lines(tmp_path):
    history = history_of(6, [1.0, float("nan")])
    history.steps[2]["note"] = np.float32(2)
    frame = history.to_pandas()
    assert list(frame["step"]) == list(range(6)) and frame["phases.compute"].tolist() == [0.003] * 6
    np.testing.assert_array_equal(frame["loss"], history.loss)
    assert frame["note"].notna().tolist() == [False, False, True, False, False, False]
    assert history.to_pandas("epochs")["validation.f1.1"].tolist() == [1.0]
    assert history.to_pandas("events").empty and list(history.to_pandas("engines")["engine"]) == ["driver", "resident"]
    with pytest.raises(ValueError, match="kind must be one of"):
        history.to_pandas("rows")
    history.to_json_lines(tmp_path / "history.jsonl")
    lines = [
        json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "history.jsonl").read_text().splitlines()
    ]
    assert [line["kind"] for line in lines] == ["steps"] * 6 + ["epochs"] + ["engines"] * 2
    assert [line["loss"] for line in lines[:4]] == [1.0, "NaN", 1.0, "NaN"] and lines[2]["note"] == 2.0


def test_a_notebook_shows_a_history_without_matplotlib(monkeypatch):
    history = history_of(20)
    page = Page(history._repr_html_())
    assert "svg" in page.elements and repr(history) in page.words
    assert {"th", "td"} <= set(page.elements) and "validation loss" not in Page(History()._repr_html_()).words
    monkeypatch.setattr("fdl_spark.history.history.find_spec", lambda name: None)
    assert history._repr_png_() is None
    assert "svg" not in Page(History()._repr_html_()).elements


def test_logs_as_json(caplog):
    with caplog.at_level(logging.INFO, "fdl_spark"):
        history = history_of(10, [2.0, float("inf")])
        history.add_event(3, "lost")
    lines = [json.loads(JsonFormatter().format(record), parse_constant=pytest.fail) for record in caplog.records]
    assert [line["event"] for line in lines] == ["engine", "engine", "epoch", "epoch", "survived"]
    assert lines[0]["engine"] == "driver" and lines[-1] | {"step": 3, "level": "INFO", "what": "lost"} == lines[-1]
    assert lines[2]["metrics"]["loss"] == "Infinity" and lines[2]["metrics"]["validation"][HOSTILE] == 0.25
    assert all(line["time"].endswith("+00:00") for line in lines)


def test_logs_are_quiet_by_default(capfd):
    history_of(5)
    assert capfd.readouterr() == ("", "")
