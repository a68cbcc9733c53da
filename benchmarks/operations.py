"""Compare single operations with PyTorch and JAX, family by family (`benchmarks/cases`).

    python -m benchmarks.operations [--family matmul FFT ...] [--peers torch jax] [--threads 1] [--missing] [--check]
    python -m benchmarks.operations --report      write the tables of what was measured to operations.md

Every framework runs in a process of its own, pinned to the same cores; its results are compared with fdl's before
anything is timed, and a peer with other results is left out of the case. Blocks of calls alternate. Times go to a JSON
file after each case, so that `--missing` continues a run that was stopped; `--check` compares results and measures
nothing. The table has the geometric mean of the best peer's time over fdl's, of results and of gradients, for each
family, its worst case, and how many cases are below 1 and below 0.95.
"""

import argparse
import json
import platform
import statistics
import tempfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

import fdl
from benchmarks import cases, report
from benchmarks.cases import calls
from benchmarks.team import Team

RESULTS = Path(__file__).with_name("operations.json")
PAGE = Path(__file__).with_name("operations.md")
HEAD = """# Single operations beside PyTorch and JAX

`python -m benchmarks.operations` measures the cases of `benchmarks/cases`: medians of alternated blocks, each framework
in a process of its own, results equal first. Numbers are the best peer's time over fdl's, geometric means of results
(forward) and gradients; below 1 fdl is slower. PyTorch is eager, which is how single operations are called; images are
in its channels-last format. The second table has every case below 0.95.

"""
SLOWER = 0.95


def load(path: str) -> list[np.ndarray]:
    with np.load(path) as found:
        return [found[name] for name in found.files]


def measure(
    team: Team, family: str, name: str, place: str, options: argparse.Namespace
) -> dict[str, dict[str, float | str]]:
    """Seconds of a call of each framework, or why there are none."""
    case = cases.of(family)[name]
    answers = team.each(f"operation {quote(family)} {quote(name, safe='')} {place}/{{name}}.npz", options.limit)
    found: dict[str, dict[str, float | str]] = {f: dict(answer) for f, answer in answers.items() if answer is not None}
    made = [framework for framework, answer in found.items() if "first" in answer]
    if "fdl" not in made:
        return found
    ours = load(f"{place}/fdl.npz")
    for framework in made:
        if not calls.agree(case, ours, load(f"{place}/{framework}.npz")):
            found[framework] = {"left out": "another result"}
    right = [framework for framework in made if "first" in found[framework]]
    if not options.check:
        for framework, seconds in team.alternate(right, options.rounds, options.seconds).items():
            found[framework] = {"step": float(f"{seconds:.4g}")}
    return found


def write(path: Path, results: dict[str, Any]) -> None:
    """Keep results, a line for each case."""
    families = []
    for family, found in results["cases"].items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(numbers)}" for name, numbers in found.items())
        families.append(f" {json.dumps(family)}: {{\n{lines}\n }}")
    rest = {name: value for name, value in results.items() if name != "cases"}
    body = ",\n".join(families)
    path.write_text(f'{json.dumps(rest)[:-1]}, "cases": {{\n{body}\n}}}}\n')


def ratio(numbers: dict[str, Any]) -> float | None:
    """The best peer's time over fdl's."""
    times = {framework: found["step"] for framework, found in numbers.items() if "step" in found}
    ours = times.pop("fdl", None)
    return min(times.values()) / ours if ours and times else None


def mean(ratios: list[float]) -> str:
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else ""


def tables(results: dict[str, Any]) -> str:
    """The families, and the cases in which fdl is slower."""
    rows, slower, everything = [], [], {False: [], True: []}  # type: ignore[var-annotated]
    beside: Counter[str] = Counter()
    for family in cases.FAMILIES:
        by_kind: dict[bool, dict[str, float]] = {False: {}, True: {}}
        for name, numbers in results["cases"].get(family, {}).items():
            known = cases.of(family).get(name)
            if known and (found := ratio(numbers)):
                by_kind[known.gradient][name] = found
        both = by_kind[False] | by_kind[True]
        if not both:
            continue
        for name in both:
            beside.update(f for f, found in results["cases"][family][name].items() if f != "fdl" and "step" in found)
        worst = min(both, key=lambda name: both[name])
        kinds = [list(by_kind[kind].values()) for kind in (False, True)]
        for kind in (False, True):
            everything[kind] += kinds[kind]
        rows.append([family, *counts(*kinds), f"{worst}: {both[worst]:.2f}"])
        for name in sorted(both, key=lambda name: both[name]):
            if both[name] < SLOWER:
                numbers = results["cases"][family][name]
                best = min(
                    (f for f in numbers if f != "fdl" and "step" in numbers[f]), key=lambda f: numbers[f]["step"]
                )
                slower.append(
                    [family, name, microseconds(numbers["fdl"]), microseconds(numbers[best]), best, f"{both[name]:.2f}"]
                )
    rows.append(["all", *counts(*(everything[kind] for kind in (False, True))), ""])
    machine = results["machine"]
    heads = ["family", "cases", "forward", "gradient", "below 1", "below 0.95", "worst"]
    return "\n\n".join(
        [
            f"{machine['processor']}, {report.counted(str(results['threads']))}; "
            + ", ".join(f"{name} {value}" for name, value in machine.items() if name != "processor")
            + f"; {rows[-1][1]} of {sum(len(cases.of(f)) for f in cases.FAMILIES)} cases measured, "
            + ", ".join(f"{count} beside {peer}" for peer, count in sorted(beside.items())),
            report.table(heads, rows),
            report.table(["family", "case", "fdl, us", "peer, us", "peer", "peer / fdl"], slower) if slower else "",
        ]
    ).strip()


def counts(forward: list[float], gradient: list[float]) -> list[str]:
    both = forward + gradient
    below = (sum(x < limit for x in both) for limit in (1.0, SLOWER))
    return [str(len(both)), mean(forward), mean(gradient), *map(str, below)]


def microseconds(numbers: dict[str, Any]) -> str:
    value = numbers["step"] * 1e6
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def main() -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", nargs="+", choices=cases.FAMILIES, default=list(cases.FAMILIES))
    parser.add_argument("--peers", nargs="*", default=["torch", "jax"], choices=["torch", "jax"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="blocks of each framework")
    parser.add_argument("--seconds", type=float, default=0.02, help="of one block")
    parser.add_argument("--limit", type=float, default=60, help="seconds after which a first call is given up")
    parser.add_argument("--cache", help="a folder for compiled code that is kept from run to run")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--missing", action="store_true", help="only the cases that have no time yet")
    parser.add_argument("--below", type=float, help="only cases whose ratio was below this when it was last measured")
    parser.add_argument("--check", action="store_true", help="only compare results")
    parser.add_argument("--report", action="store_true", help="only write the page")
    options = parser.parse_args()
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    if options.report:
        PAGE.write_text(HEAD + tables(results) + "\n")
        return
    packages = {name: version(name) for name in ("numpy", *options.peers)}
    fresh = {"processor": report.cpu(), "Python": platform.python_version(), "fdl": fdl.__version__} | packages
    if results.get("machine") != fresh or results.get("threads") != options.threads:
        results = {"machine": fresh, "threads": options.threads, "cases": {}}
    wanted = [(family, name) for family in options.family for name in cases.of(family)]
    if options.below:
        kept = ((f, n, ratio(results["cases"].get(f, {}).get(n, {}))) for f, n in wanted)
        wanted = [(f, n) for f, n, found in kept if found and found < options.below]
    if options.missing:
        wanted = [(f, n) for f, n in wanted if "step" not in results["cases"].get(f, {}).get(n, {}).get("fdl", {})]
    with (
        tempfile.TemporaryDirectory() as place,
        Team(["fdl", *options.peers], options.threads, options.cache or place) as team,
    ):
        for family, name in wanted:
            numbers = measure(team, family, name, place, options)
            out = {f: found["left out"] for f, found in numbers.items() if "left out" in found} | team.left_out
            shown = ratio(numbers)
            print(f"{family}: {name}: {f'{shown:.2f}' if shown else '' if out else 'right'} {out or ''}", flush=True)
            if not options.check:
                results["cases"].setdefault(family, {})[name] = numbers
                write(options.results, results)
    if not options.check:
        print(tables(results))


if __name__ == "__main__":
    main()
