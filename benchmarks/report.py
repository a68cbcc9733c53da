"""Measured numbers as tables in markdown."""

import platform
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import kernels, models

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table begins -->", "<!-- table ends -->"

#: Columns, and the frameworks that may fill them.
STEPS = {
    "fdl": ["fdl"],
    "torch": ["torch"],
    "torch, channels last": ["torch channels_last"],
    "torch.compile": ["torch.compile", "torch.compile channels_last"],
    "JAX": ["jax"],
}
KERNELS = {"fdl": ["fdl"], "NumPy": ["numpy"]} | STEPS


def machine() -> dict[str, str]:
    """What the numbers depend on."""
    packages = {name: version(name) for name in ("fdl", "numpy", "torch", "jax")}
    return {"processor": cpu(), "Python": platform.python_version()} | packages


def cpu() -> str:
    """The processor's name."""
    with open("/proc/cpuinfo") as lines:
        return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def pick(numbers: dict[str, dict], names: list[str], show: Callable[[dict], str]) -> str:
    """The cell of the first of `names` that was measured."""
    return next((show(numbers[n]) for n in names if n in numbers and "left out" not in numbers[n]), "")


def ratios(numbers: dict[str, dict]) -> tuple[float | None, float | None]:
    """Times of the best peer and of JAX over fdl's."""
    times = {name: found["step"] for name, found in numbers.items() if "step" in found}
    ours = times.pop("fdl")
    return min(times.values()) / ours if times else None, times["jax"] / ours if "jax" in times else None


def comparison(
    results: dict[str, dict], columns: dict[str, list[str]], threads: str, label: str, show: Callable[[str], Callable]
) -> str:
    """A table of one thread count: a row for each case, a column for each framework, then the ratios and their mean."""
    measured = {name: by_threads[threads] for name, by_threads in results.items() if threads in by_threads}
    known = {framework for numbers in measured.values() for framework in numbers}
    columns = {column: names for column, names in columns.items() if known.intersection(names)}
    rows, best, jax = [], [], []
    for name, numbers in measured.items():
        to_best, to_jax = ratios(numbers)
        best += [to_best] if to_best else []
        jax += [to_jax] if to_jax else []
        cells = [pick(numbers, names, show(name)) for names in columns.values()]
        rows.append([title(name), *cells, *(f"{r:.2f}" if r else "" for r in (to_best, to_jax))])
    means = [f"{statistics.geometric_mean(found):.2f}" if found else "" for found in (best, jax)]
    rows.append(["geometric mean", *("" for _ in columns), *means])
    return table([label, *columns, "best peer / fdl", "JAX / fdl"], rows)


def title(name: str) -> str:
    return models.title(name) if name in models.MODELS else name


def milliseconds(numbers: dict) -> str:
    value = numbers["step"] * 1e3
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def mebibytes(numbers: dict) -> str:
    return f"{numbers['peak'] / 2**20:.0f}"


def cold_and_warm(numbers: dict) -> str:
    return f"{numbers['cold']:.1f} / {numbers['warm']:.1f}"


def costs(results: dict[str, dict]) -> list[str]:
    """Tables of first calls and of memory."""
    first, memory, reasons = [], [], []
    for name, by_threads in results.items():
        for threads, numbers in sorted(by_threads.items()):
            peak = [pick(numbers, names, lambda n: f"{n['peak'] / 2**20:.0f}") for names in STEPS.values()]
            memory.append([title(name), threads, *peak])
            if "cold" in numbers["fdl"]:
                cells = [
                    pick(numbers, names, lambda n: f"{n['cold']:.1f} / {n['warm']:.1f}") for names in STEPS.values()
                ]
                first.append([title(name), *cells])
            reasons += [
                f"* {title(name)}, {counted(threads)}: {found['left out']}"
                for found in numbers.values()
                if "left out" in found
            ]
    parts = [
        "### First call",
        "Seconds of the first call with an empty / with a warm disk cache.",
        table(["model", *STEPS], first),
        "### Memory",
        "MiB above the idle process while training, at the highest.",
        table(["model", "threads", *STEPS], memory),
    ]
    return [*parts, "Left out:", "\n".join(reasons)] if reasons else parts


def tables(results: dict[str, Any]) -> str:
    """All tables."""
    about = results["machine"]
    steps = {name: results["models"][name] for name in models.MODELS if name in results["models"]}
    found = {name: results["kernels"][name] for name in kernels.cases() if name in results["kernels"]}
    parts = [f"{about['processor']}; " + ", ".join(f"{k} {v}" for k, v in about.items() if k != "processor")]
    for threads in sorted({t for by_threads in steps.values() for t in by_threads}):
        parts += [
            f"### Training steps, {counted(threads)}",
            "Milliseconds of a step; then the best peer's and JAX's over fdl's: above 1 fdl is faster.",
            comparison(steps, STEPS, threads, "model", lambda _: milliseconds),
        ]
    if steps:
        parts += costs(steps)
    for threads in sorted({t for by_threads in found.values() for t in by_threads}):
        parts.append(f"### Kernels, {counted(threads)}")
        for unit, family in kernels.FAMILIES.items():
            chosen = {name: numbers for name, numbers in found.items() if kernels.family(name) in family}
            if any(threads in numbers for numbers in chosen.values()):
                parts.append(comparison(chosen, KERNELS, threads, unit, lambda name: lambda n: kernels.rate(name, n)))
    return "\n\n".join(parts)


def counted(threads: str) -> str:
    return "one thread" if threads == "1" else f"{threads} threads"


def write(text: str) -> None:
    """Put the tables between the README's markers."""
    before, rest = README.read_text().split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")
