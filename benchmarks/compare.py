"""What became slower between two states of fdl, by the number of instructions that callgrind counts.

    python -m benchmarks.compare                 the counts kept in instructions.json with this checkout
    python -m benchmarks.compare OLD [NEW]       each a git revision, a folder that holds fdl, or a JSON file of counts
    python -m benchmarks.compare --write         count this checkout and keep the counts: what it costs now is meant

Ends with status 1 if a case of `counted.py` takes more than `--threshold` percent more instructions than before. Counts
do not depend on what else runs, so that one run of each side is enough; they say nothing of caches and memory. They do
depend on the interpreter, LLVM and the libraries: kept counts made with others are not compared, but counted again from
the revision that wrote them. Where callgrind cannot run, a message says so and the status is 0.
"""

import argparse
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
KEPT = Path(__file__).with_name("instructions.json")
#: What programs are compiled for: vectors of 256 bits, the widest that callgrind understands.
CPU = "x86-64-v3"
LIMIT = 900.0


class Counts(NamedTuple):
    """Instructions of each case, and what they depend on besides fdl."""

    made_with: dict[str, str]
    instructions: dict[str, int]


def made_with() -> dict[str, str]:
    """What counts depend on besides fdl."""
    packages = {name: importlib.metadata.version(name) for name in ("llvmlite", "numpy", "ml_dtypes", "optree")}
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {"python": sys.version, "libc": "-".join(platform.libc_ver()), "valgrind": valgrind, "cpu": CPU} | packages


def obstacle() -> str:
    """Why callgrind cannot count here, or ""."""
    if not shutil.which("valgrind"):
        return "valgrind is not installed"
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "instructions are counted on x86-64 Linux only"
    features = set(
        next((x for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("flags")), "").split()
    )
    missing = {"avx2", "fma", "f16c", "bmi2"} - features
    return f"the processor lacks {', '.join(sorted(missing))} of {CPU}" if missing else ""


def count(folder: Path) -> Counts:
    """Count the instructions of every case with the fdl that lies in `folder`, and the cases of this checkout.

    A first run without callgrind fills a disk cache of machine code, so that LLVM does not compile under callgrind.
    """
    with tempfile.TemporaryDirectory() as place:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FDL_", "PYTHON"))}
        environment = kept | {
            "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONHASHSEED": "0", "FDL_CPU": CPU, "FDL_CACHE_DIR": f"{place}/cache",
            "FDL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "benchmarks.counted", str(folder)]
        callgrind = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={place}/out"]
        for prefix in ([], callgrind):
            subprocess.run([*prefix, *command], env=environment, cwd=place, check=True, timeout=LIMIT)
        dumps = sorted(Path(place).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        return Counts(made_with(), dict(parsed(path.read_text()) for path in dumps))


def parsed(dump: str) -> tuple[str, int]:
    """The name and the instructions of a file that callgrind wrote at a request."""
    name = re.search(r"^desc: Trigger: Client Request: (.+)$", dump, re.MULTILINE)
    total = re.search(r"^summary: (\d+)$", dump, re.MULTILINE)
    assert name and total, f"not a file of callgrind's: {dump[:200]!r}"
    return name[1], int(total[1])


def git(*arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def count_revision(revision: str) -> Counts:
    """Count the fdl of a git revision."""
    with tempfile.TemporaryDirectory() as folder:
        git("archive", f"--output={folder}/fdl.tar", revision, "fdl")
        shutil.unpack_archive(f"{folder}/fdl.tar", folder, filter="data")
        return count(Path(folder))


def load(path: Path) -> Counts:
    return Counts(**json.loads(path.read_text()))


def save(path: Path, counts: Counts) -> None:
    path.write_text(json.dumps(counts._asdict(), indent=1) + "\n")


def resolve(text: str) -> Counts | None:
    """Counts of a file, a folder or a revision; None, after a message, for a file whose counts cannot be made again."""
    path = Path(text)
    if path.is_dir():
        return count(path.resolve())
    if not path.is_file():
        return count_revision(text)
    counts = load(path)
    here = made_with()
    differing = [name for name in here if counts.made_with.get(name) != here[name]]
    if not differing:
        return counts
    try:
        revision = git("log", "-1", "--format=%H", "--", str(path.resolve()))
    except (OSError, subprocess.CalledProcessError):
        revision = ""
    was = ", ".join(f"{name} {counts.made_with.get(name)!r}, here {here[name]!r}" for name in differing)
    print(f"{path.name} was made with another {was}: ", end="")
    if not revision:
        print("no revision of git wrote it, so there is nothing to compare with")
        return None
    print(f"counting {revision[:12]}, which wrote it", flush=True)
    return count_revision(revision)


def compare(old: Mapping[str, int], new: Mapping[str, int], threshold: float) -> tuple[str, list[str]]:
    """A table of the cases whose counts differ by more than `threshold` percent, and the names of the slower ones."""
    factor = 1 + threshold / 100
    lines, slower = [], []
    both = [name for name in new if name in old]
    for name in sorted(both, key=lambda name: new[name] / old[name]):
        ratio = new[name] / old[name]
        if 1 / factor <= ratio <= factor:
            continue
        lines.append(f"{name:28} {old[name]:>12,} {new[name]:>12,} {100 * ratio - 100:+8.1f} %")
        if ratio > factor:
            slower.append(name)
    lines += [f"{name:28} is new" for name in new if name not in old]
    lines += [f"{name:28} is gone" for name in old if name not in new]
    mean = math.exp(sum(math.log(new[name] / old[name]) for name in both) / len(both)) if both else 1.0
    lines.append(
        f"{len(both)} cases, geometric mean of new / old {mean:.4f}, slower by more than {threshold:g} %: {len(slower)}"
    )
    return "\n".join(lines), slower


def main() -> int:
    """Count, print and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", nargs="?", default=str(KEPT))
    parser.add_argument("new", nargs="?", default=str(ROOT))
    parser.add_argument("--threshold", type=float, default=3.0, help="percent")
    parser.add_argument("--write", nargs="?", type=Path, const=KEPT, metavar="FILE", help="count NEW, write the file")
    options = parser.parse_args()
    if reason := obstacle():
        print(f"instructions are not counted: {reason}")
        return 0
    if options.write:
        save(options.write, count(ROOT))
        return 0
    old = resolve(options.old)
    new = old and resolve(options.new)
    if old is None or new is None:
        return 0
    text, slower = compare(old.instructions, new.instructions, options.threshold)
    print(text)
    if slower and options.old == str(KEPT):
        print("If the increase is meant, `python -m benchmarks.compare --write` keeps the counts of this checkout.")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
