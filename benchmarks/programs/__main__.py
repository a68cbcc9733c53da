"""Run each program on JAX and on fdl, in processes of their own, and compare the numbers that they print.

Not a part of CI. `--jax` is a folder that holds JAX, as `pip install --target` makes one::

    python -m benchmarks.programs --jax path/with/jax              # all of them
    python -m benchmarks.programs --jax path/with/jax kalman nuts  # some; the rows of the others are kept

Each file states its tolerance. The table is written to benchmarks/programs.md.
"""

import argparse
import math
import os
import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
TABLE = FOLDER.with_name("programs.md")
HEAD = """# Programs on JAX and on fdl

Each file of benchmarks/programs imports JAX only, and is run unmodified by JAX and by `python -m fdl.as_jax`. The
numbers that the two print are compared; brought up to date by `python -m benchmarks.programs --jax path/with/jax`.

| program | lines | JAX | fdl | agree | why not |
|---|---|---|---|---|---|
"""
NUMBER = re.compile(r"(?<![\w.])-?(?:\d+\.?\d*(?:e[+-]?\d+)?|inf|nan)(?!\w)")


def run(command: list[str], path: str) -> tuple[str, str]:
    """What a command prints, and why it stopped, or ""."""
    environment = {**os.environ, "PYTHONPATH": path}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, cwd=FOLDER)
    except subprocess.TimeoutExpired:
        return "", "did not end in 900 s"
    lines = done.stderr.strip().splitlines() or ["no message"]
    return done.stdout, lines[-1] if done.returncode else ""


def tolerance(text: str) -> float:
    """The relative tolerance that a program states."""
    found = re.search(r"^TOLERANCE = (\S+)", text, re.MULTILINE)
    assert found, "a program states TOLERANCE"
    return float(found[1])


def differences(expected: str, found: str, rtol: float) -> tuple[int, list[str]]:
    """How many numbers two outputs have, and how they differ: other words, or numbers outside the tolerance."""
    if NUMBER.sub("#", expected) != NUMBER.sub("#", found):
        return 0, ["prints something else"]
    pairs = list(zip(NUMBER.findall(expected), NUMBER.findall(found), strict=True))
    far = [
        f"{b} for {a}"
        for a, b in pairs
        if a != b and not math.isclose(float(a), float(b), rel_tol=rtol, abs_tol=rtol / 10)
    ]
    return len(pairs), far


def row(program: Path, jax: str) -> str:
    """The row of the table of a program."""
    text = program.read_text()
    expected, wrong = run([sys.executable, program.name], jax)
    found, stopped = run([sys.executable, "-m", "fdl.as_jax", program.name], str(FOLDER.parents[1]))
    count, far = differences(expected, found, tolerance(text))
    agree = "no" if wrong or stopped or far else f"{count} of {count}, within {tolerance(text):g}"
    why = (wrong or stopped or "; ".join(far[:3])).replace("|", "\\|")
    cells = [
        program.stem,
        len(text.splitlines()),
        "stops" if wrong else "runs",
        "stops" if stopped else "runs",
        agree,
        why,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs")
    parser.add_argument("--jax", required=True, help="folder with JAX, for PYTHONPATH")
    parser.add_argument("programs", nargs="*", help="names of programs; all without one")
    options = parser.parse_args()
    old = TABLE.read_text().splitlines() if TABLE.exists() else []
    rows = {line.split("|")[1].strip(): line for line in old if line.startswith("| ")}
    rows.pop("program", None)
    programs = {path.stem: path for path in sorted(FOLDER.glob("*.py")) if not path.stem.startswith("_")}
    for name in options.programs or programs:
        rows[name] = row(programs[name], options.jax)
        print(rows[name], flush=True)
        TABLE.write_text(HEAD + "".join(f"{rows[name]}\n" for name in programs if name in rows))


if __name__ == "__main__":
    main()
