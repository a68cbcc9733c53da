"""The numbers of the Spark benchmark as tables in markdown."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.report import table
from benchmarks.spark.work import WORKS

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- spark begins -->", "<!-- spark ends -->"
BEGIN_MODEL, END_MODEL = "<!-- model begins -->", "<!-- model ends -->"
BEGIN_NETWORK, END_NETWORK = "<!-- network begins -->", "<!-- network ends -->"

ORDER = ("driver", "shuffle", "blocks", "resident", "auto")

#: Milliseconds above computing that two ranks may need, by engine and megabytes; the goals of this benchmark.
GOALS = {
    "resident": {0.1: 1, 4: 4, 28: 25, 100: 90},
    "shuffle": {0.1: 45, 4: 70, 28: 300},
}
#: How many times as fast as TorchDistributor each work should be.
RATIOS = {"lenet": 3.0, "resnet": 1.3, "ncf": 1.6, "ncf_large": 1.6}
SCALING = 1.85
PEERS = ("torch", "torch-dense")  # with sparse gradients of tables, or dense ones
USERS = ("auto", "resident")  # the sides that have goals
START, DIGITS = 1.5, 8.0


def milliseconds(seconds: float) -> str:
    value = seconds * 1e3
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def sizes(numbers: Iterable[dict[str, Any]]) -> list[float]:
    return sorted({found["size"] for found in numbers if "size" in found})


def engines(results: dict[str, dict[str, Any]]) -> list[str]:
    """Tables of what engines add to computing."""
    measured = [found for found in results.values() if "above" in found]
    parts = []
    two = {(f["engine"], f["size"]): f for f in measured if f["ranks"] == 2}
    names = sorted({engine for engine, _ in two}, key=rank)
    columns = sizes(two.values())
    if two:
        rows = []
        for name in names:
            goals = GOALS.get(name, {})
            rows.append([name, *(above(two.get((name, size)), goals.get(size / 1e6)) for size in columns)])
        alone = {size: next(f["alone"] for (_, s), f in two.items() if s == size) for size in columns}
        rows.append(["computing alone", *(milliseconds(sum(alone[size].values())) for size in columns)])
        parts += [
            "### A step above its computing, two ranks on two cores",
            "Milliseconds of a step less those of a rank's forward-backward and of the update of its slice, measured "
            "in a process without Spark; in brackets the goal.",
            table(["engine", *(f"{size / 1e6:g} MB" for size in columns)], rows),
            "#### Where the time goes",
            "Medians of the phases in the history, milliseconds.",
            phases([(f"{f['engine']}, {f['size'] / 1e6:g} MB", f) for f in sorted(two.values(), key=case)]),
        ]
    many = {(f["engine"], f["ranks"]): f for f in measured if f["size"] == 4e6}
    counts = sorted({ranks for _, ranks in many})
    if len(counts) > 1:
        rows = [
            [name, *(above(many.get((name, ranks))) for ranks in counts)]
            for name in sorted({engine for engine, _ in many}, key=rank)
        ]
        base = many.get(("resident", 2))
        if base:
            linear = [base["above"] * (ranks - 1) if ranks > 1 else 0.0 for ranks in counts]
            rows.append(["resident, if linear in bytes", *map(milliseconds, linear)])
        parts += [
            "### More ranks than cores, 4 MB",
            "Milliseconds of a step above its computing; all ranks are on the same two cores, which distorts: they "
            "take turns, so all that would happen at once on as many machines is added up, messages wait for the "
            "receiver's turn, and what is a network elsewhere is memory here. N ranks exchange 2 (N - 1) times the "
            "parameters in total: the last row is two ranks' time, times the bytes.",
            table(["engine", *(counted(ranks) for ranks in counts)], rows),
        ]
    parts += reasons(results)
    return parts


def rank(engine: str) -> tuple[int, str]:
    return (ORDER.index(engine) if engine in ORDER else len(ORDER), engine)


def case(found: dict[str, Any]) -> tuple[Any, ...]:
    return (*rank(found["engine"]), found["size"])


def counted(ranks: int) -> str:
    return "1 rank" if ranks == 1 else f"{ranks} ranks"


def above(found: dict[str, Any] | None, goal: float | None = None) -> str:
    if found is None:
        return ""
    return milliseconds(found["above"]) + (f" ({goal:g})" if goal else "")


def phases(cases: list[tuple[str, dict[str, Any]]]) -> str:
    names = list(dict.fromkeys(name for _, found in cases for name in found["phases"]))
    rows = [
        [label, *(milliseconds(found["phases"][n]) if n in found["phases"] else "" for n in names)]
        for label, found in cases
    ]
    return table(["", *(name.replace("_", " ") for name in names)], rows)


def reasons(results: dict[str, dict[str, Any]]) -> list[str]:
    found = [f"* {name}: {numbers['left out']}" for name, numbers in results.items() if "left out" in numbers]
    return ["Left out:", "\n".join(found)] if found else []


def against(results: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Tables of fdl and TorchDistributor."""
    rows, scaling, wheres = [], [], []
    for name, sides in results.items():
        work = WORKS[name]
        torch = min((found["step"] for side, found in sides.items() if side in PEERS and "step" in found), default=0.0)
        for side, found in sides.items():
            if "step" not in found:
                continue
            ratio = torch / found["step"] if torch and not side.startswith("torch") else None
            goal = f" ({RATIOS[name]:g})" if side in USERS and name in RATIOS else ""
            speed = [milliseconds(found["step"]), f"{work.batch / found['step']:,.0f}"]
            memory = [f"{found.get(kind, 0) / 2**20:.0f}" for kind in ("python", "java")]
            rows.append([work.title, side, *speed, f"{ratio:.2f}{goal}" if ratio else "", *memory])
            alone = sides.get(f"{side}/1", {}).get("step")
            if alone:
                goal = f" ({SCALING:g})" if side in USERS else ""
                scaling.append([work.title, side, f"{alone / found['step']:.2f}{goal}"])
            if found["phases"]:
                chosen = f" ({found['engine']})" if found.get("engine") and found["engine"] != side else ""
                wheres.append((f"{work.title}, {side}{chosen}", found))
    if not rows:
        return []
    parts = [
        "### Against TorchDistributor",
        "Two processes of one thread each, the same rows in every batch; milliseconds of a step and rows a second; how "
        "many times as fast as the faster of PyTorch's two (in brackets the goal); MiB of all Python processes and of "
        "the JVM at the peak. A name that ends in /1 is one process that computes the whole batch.",
        table(["", "", "ms a step", "rows/s", "torch / this", "Python", "Java"], rows),
    ]
    if scaling:
        parts += ["Two ranks over one:", table(["", "", "speed-up"], scaling)]
    if wheres:
        parts += ["#### Where the time goes", phases(wheres)]
    left = {f"{WORKS[name].title}, {side}": found for name, sides in results.items() for side, found in sides.items()}
    return parts + reasons(left)


def start(results: dict[str, Any]) -> list[str]:
    """How long runs take to start."""
    if "left out" in results:
        return reasons({"start": results})
    goals = {"LeNet-5 again": START, "small again": START, "digits, training": DIGITS}
    rows = [
        [
            name,
            f"{seconds[0]:.2f}",
            f"{statistics.median(seconds[1:]):.2f}" if seconds[1:] else "",
            f"{goals[name]:g}" if name in goals else "",
        ]
        for name, seconds in results.items()
    ]
    return [
        "### Start",
        "Seconds from the call of `train` to the first step's record, two tasks, runs one after the other in one "
        "session; and the README's job. First with an empty disk cache of compiled code, then without.",
        table(["", "cache empty", "warm", "goal"], rows),
    ]


def tables(results: dict[str, Any]) -> str:
    """All tables."""
    about = results["machine"]
    parts = [f"{about['processor']}; " + ", ".join(f"{k} {v}" for k, v in about.items() if k != "processor")]
    for name, write in (("engines", engines), ("against", against), ("start", start)):
        if results.get(name):
            parts += write(results[name])
    return "\n\n".join(parts)


def write(text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put tables between two markers of the README."""
    before, rest = README.read_text().split(begin)
    README.write_text(f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}")
