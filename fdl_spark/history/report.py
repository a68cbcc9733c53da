"""A run on one page: HTML that needs nothing else, neither files beside it nor a network nor a script."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np

from fdl_spark.history.history import History
from fdl_spark.history.markup import Markup, bytes_, duration, element, number, share, table
from fdl_spark.history.outcome import flat_numbers
from fdl_spark.history.records import COUNTS
from fdl_spark.history.style import STYLE
from fdl_spark.history.svg import NARROW, Line, bar, line_chart, stairs_chart

MOST_ROWS = 500  # of a table; what lies in between is left out, and said so
MOST_CHARTS = 24

Record = Mapping[str, Any]


def page(history: History, done: int, steps: int) -> str:
    """The page of a run.

    Args:
      history: what happened.
      done: how many steps are done.
      steps: of how many.

    Returns:
      The HTML.
    """
    last = history.sessions[-1] if history.sessions else {}
    name = last.get("name") or "Training run"
    sections = [
        _head(history, last, name, done, steps),
        _section("Loss", _losses(history)),
        _section("Metrics", _metrics(history)),
        _section("Time", _time(history), _phases(history)),
        _section("Tasks", _tasks(history)),
        _section("Failures and events", _events(history)),
        _section("Engines", _engines(history)),
        _section("Bytes", _bytes(last)),
        _section("Parameters", _parameters(last)),
        _section("Epochs", _epochs(history)),
        _section("Sessions", [_session(history, number) for number in reversed(range(len(history.sessions)))]),
    ]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", name),
        element("style", Markup(STYLE)),
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", element("main", sections)), lang="en") + "\n"


def _section(title: str, *content: Any) -> list[Markup]:
    """A section, or nothing if it would be empty."""
    return [element("section", element("h2", title), content)] if any(content) else []


def _head(history: History, last: Record, name: str, done: int, steps: int) -> Markup:
    rows = sum(record["rows"] for record in history.steps)
    seconds = [session.get("seconds") for session in history.sessions]
    spent = sum(filter(None, seconds)) if any(seconds) else None
    facts: list[tuple[str, Any]] = [
        ("outcome", last.get("outcome") or ("no end recorded yet" if last else None)),
        ("started (UTC)", _moment(history.sessions[0].get("started")) if history.sessions else None),
        ("duration", duration(spent) if spent is not None else None),
        ("sessions", number(len(history.sessions)) if len(history.sessions) > 1 else None),
        ("steps", f"{number(done)} of {number(steps)}"),
        ("epochs", number(len(history.epochs)) if history.epochs else None),
        ("rows trained on", number(rows)),
        ("rows a second", number(_rate(rows, sum(r["seconds"] for r in history.steps))) if history.steps else None),
        ("last loss", number(history.steps[-1]["loss"]) if history.steps else None),
        ("engine", history.engines[-1]["engine"] if history.engines else None),
    ]
    _, validation = (history.validations() or [(0, {})])[-1]
    facts += [(f"validation {metric}", _cell(value)) for metric, value in validation.items()]
    tiles = [
        element("div", element("dt", fact), element("dd", value)) for fact, value in facts if value not in (None, "")
    ]
    return element("header", element("h1", name), element("dl", tiles, class_="tiles"))


def _moment(time: str | None) -> str:
    """An ISO time, to the second."""
    return (time or "")[:19].replace("T", " ")


def _rate(rows: float, seconds: float) -> float:
    return rows / seconds if seconds else float("nan")


def _losses(history: History) -> list[Markup]:
    if not history.steps:
        return [element("p", "No step was taken.")]
    steps, losses = _numbers(history.steps), np.array([r["loss"] for r in history.steps], float)
    ends = [r["step"] + 1 for r in history.epochs]
    means = [(r["step"] + 1, r["loss"]) for r in history.epochs if "loss" in r]
    held_out = [(step + 1, found["loss"]) for step, found in history.validations() if "loss" in found]
    lines = [Line("loss of each step", steps, losses, faint=bool(means), marks=True)]
    lines += [_line("mean of the epoch", means)] if means else []
    lines += [_line("validation", held_out)] if held_out else []
    events = [(r["step"] + 1, f"step {r['step'] + 1}: {r['event']}") for r in history.events]
    missing = int((~np.isfinite(losses)).sum())
    told = [element("p", f"Losses that are not finite: {number(missing)}", class_="note")] if missing else []
    return [line_chart("loss by step", lines, ends, events), *told]


def _metrics(history: History) -> list[Markup]:
    """A chart for each name: of the epochs' means, and of the validation."""
    charts = []
    found: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(dict)
    trained = [(record["step"], flat_numbers({**record, "validation": None})) for record in history.epochs]
    for kind, records in (("training", trained), ("validation", history.validations())):
        for step, metrics in records:
            for name, value in metrics.items():
                if name not in (*COUNTS, "epoch", "loss"):
                    found[name].setdefault(kind, []).append((step + 1, value))
    for name, kinds in list(found.items())[:MOST_CHARTS]:
        lines = [_line(kind, points) for kind, points in kinds.items()]
        title = name if len(kinds) > 1 else f"{name} ({lines[0].name})"
        charts.append(element("div", element("h3", title), line_chart(name, lines, width=NARROW)))
    left_out = len(found) - len(charts)
    more = [element("p", f"{left_out} more metrics are in the history.", class_="note")] if left_out else []
    return [element("div", charts, class_="charts"), *more] if charts else []


def _validation(record: Record) -> dict[str, float]:
    return flat_numbers(record.get("validation", {}))


def _line(name: str, points: Sequence[tuple[int, float]]) -> Line:
    x, y = np.array(points, float).reshape(-1, 2).T
    return Line(name, x, y, dots=True)


def _numbers(records: Sequence[Record]) -> np.ndarray:
    """How many steps are done after each record."""
    return np.fromiter((record["step"] + 1 for record in records), float, len(records))


def _time(history: History) -> list[Markup]:
    """What the call of `train` did besides steps: in all sessions."""
    spent: dict[str, float] = defaultdict(float)
    for session in history.sessions:
        for phase, seconds in session.get("phases", {}).items():
            spent[phase] += seconds
    if not spent:
        return []
    rows = [[phase, duration(seconds), share(seconds, sum(spent.values()))] for phase, seconds in spent.items()]
    return [
        element("h3", "Phases of the run"),
        bar("phases of the run", spent),
        table(["phase", "time", "share"], rows),
    ]


def _phases(history: History) -> list[Markup]:
    names = history.phases()
    if not names:
        return []
    seconds = {name: history.seconds(name) for name in names}
    whole = sum(float(spent.sum()) for spent in seconds.values())
    rows = [
        [name, duration(float(spent.sum())), duration(float(np.median(spent))), share(float(spent.sum()), whole)]
        for name, spent in seconds.items()
    ]
    milliseconds = {name: spent * 1e3 for name, spent in seconds.items()}
    steps = _numbers(history.steps) - 1
    rates = np.array([_rate(r["rows"], r["seconds"]) for r in history.steps], float)
    return [
        element("h3", "Phases of a step, in milliseconds"),
        stairs_chart("milliseconds of each phase by step", steps, milliseconds),
        table(["phase", "all steps", "median step", "share"], rows),
        element("h3", "Rows a second"),
        line_chart("rows a second by step", [Line("rows a second", steps + 1, rates)]),
    ]


def _tasks(history: History) -> list[Markup]:
    """Which tasks and hosts are slow: forward-backward seconds, in the sessions that recorded them."""
    tasks = [record for session in history.sessions for record in session.get("tasks", ())]
    if not tasks:
        return []
    hosts: dict[str, list[Record]] = defaultdict(list)
    for record in tasks:
        hosts[record["host"]].append(record)
    whole, slowest = sum(r["slowest"] for r in tasks), max(tasks, key=lambda r: r["slowest"])
    usual = median(r["median"] for r in tasks)
    told = []
    if whole:
        told = [
            element(
                "p",
                f"The slowest task was most often task {slowest['task']} on {slowest['host']}: in "
                f"{share(slowest['slowest'], whole)} of the steps. Its median is {duration(slowest['median'])}, that "
                f"of all tasks {duration(usual)}.",
            )
        ]
    by_host = [
        [host, number(len(found)), duration(median(r["median"] for r in found)), _times(found, whole)]
        for host, found in sorted(hosts.items(), key=lambda item: -median(r["median"] for r in item[1]))
    ]
    by_task = [
        [
            number(r["task"]),
            r["host"],
            number(r["steps"]),
            duration(r["median"]),
            duration(r["seconds"]),
            _times([r], whole),
        ]
        for r in sorted(tasks, key=lambda r: -r["median"])
    ]
    heads = ["task", "host", "steps", "median", "all steps", "slowest"]
    return [
        *told,
        _cut(["host", "tasks", "median", "slowest"], by_host),
        _details(_count(len(tasks), "task"), _cut(heads, by_task)),
    ]


def _times(records: Sequence[Record], whole: int) -> Any:
    return share(sum(r["slowest"] for r in records), whole)


def _events(history: History) -> list[Markup]:
    if not history.events:
        return []
    rows = [[number(r["step"] + 1), _moment(r.get("time")), r["event"]] for r in history.events]
    return [_cut(["step", "time (UTC)", "event"], rows)]


def _engines(history: History) -> list[Markup]:
    rows = [[number(r["step"] + 1), r["engine"], number(r.get("slices", 1)), r["why"]] for r in history.engines]
    return [_cut(["from step", "engine", "slices", "why"], rows)] if rows else []


BYTES = {
    "parameters": "the parameters",
    "state": "the optimizer's state",
    "gradient": "the gradient that a task sends in an exchange; rows of tables come on top",
    "gradients": "the gradients of all tasks in an exchange, before any is added to another",
    "broadcast": "the parameters on their way to all tasks in an exchange",
    "data": "the rows on the executors",
}


def _bytes(last: Record) -> list[Markup]:
    found = last.get("bytes", {})
    rows = [[text, bytes_(found[name])] for name, text in BYTES.items() if name in found]
    return [table(["what", "bytes"], rows)] if rows else []


def _parameters(last: Record) -> list[Markup]:
    arrays = last.get("parameters", [])
    if not arrays:
        return []
    trees: dict[str, list[Record]] = defaultdict(list)
    for record in arrays:
        trees[record["subtree"]].append(record)
    sizes = {name: sum(r["size"] for r in found) for name, found in trees.items()}
    whole = sum(sizes.values())
    heads = ["subtree", "arrays", "numbers", "bytes", "share"]
    rows = [
        [
            name,
            number(len(found)),
            number(sizes[name]),
            bytes_(sum(r["bytes"] for r in found)),
            share(sizes[name], whole),
        ]
        for name, found in trees.items()
    ]
    each = [[r["path"], r["dtype"], str(r["shape"]), number(r["size"])] for r in arrays]
    details = _details(_count(len(arrays), "array"), _cut(["path", "dtype", "shape", "numbers"], each))
    return [_cut(heads, rows), details]


def _epochs(history: History) -> list[Markup]:
    if not history.epochs:
        return []
    names = list(dict.fromkeys(k for r in history.epochs for k in r if k not in ("epoch", "step", "validation")))
    held_out = list(dict.fromkeys(k for r in history.epochs for k in _validation(r)))
    heads = ["epoch", "step", *names, *(f"validation {name}" for name in held_out)]
    rows = [
        [number(r["epoch"]), number(r["step"] + 1)]
        + [_cell(found.get(name)) for found, chosen in ((r, names), (_validation(r), held_out)) for name in chosen]
        for r in history.epochs
    ]
    return [_details(_count(len(rows), "epoch"), _cut(heads, rows))]


def _cell(value: Any) -> Any:
    return number(value) if value is None or isinstance(value, int | float) else str(value)


def _session(history: History, index: int) -> Markup:
    session, newest = history.sessions[index], index == len(history.sessions) - 1
    told = {"ended": session.get("outcome") or "no end recorded", "run": session.get("run")}
    told |= {"from step": session["step"] + 1, "duration": duration(session.get("seconds"))}
    heads = ["setting", "value"]
    return _details(
        f"Session {index + 1}, {_moment(session.get('started'))}",
        table(heads, _rows(told)),
        *[
            [element("h3", title), table(heads, _rows(session[key]))]
            for key, title in (("settings", "Arguments of train"), ("data", "Data"), ("cluster", "Cluster"))
            if session.get(key)
        ],
        [element("h3", "Versions"), table(heads, _rows(session["versions"]))] if session.get("versions") else [],
        open=newest or None,
    )


def _rows(values: Record, before: str = "") -> list[list[Any]]:
    """A row for each value, those of dicts inside under dotted names."""
    rows: list[list[Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{before}{name}.") or [[f"{before}{name}", "{}"]]
        else:
            rows.append([f"{before}{name}", "None" if value is None else str(value)])
    return rows


def _count(count: int, what: str) -> str:
    return f"{number(count)} {what}{'' if count == 1 else 's'}"


def _details(title: str, *content: Any, open: Any = None) -> Markup:
    return element("details", element("summary", title), content, open=open)


def _cut(heads: list[str], rows: list[list[Any]]) -> Markup:
    """A table of the first and the last rows, if there are very many."""
    if len(rows) > MOST_ROWS:
        left_out = len(rows) - MOST_ROWS
        gap = [f"… {left_out:,} more …", *[""] * (len(heads) - 1)]
        rows = [*rows[: MOST_ROWS // 2], gap, *rows[-MOST_ROWS // 2 :]]
    return table(heads, rows)
