"""JAX's own test files on fdl, unmodified, run under `fdl.install_as_jax`: a table of run, passed, and why not.

Not a part of CI. With a folder of test files of a release of JAX, and absl::

    python -m benchmarks.jax_tests path/to/jax/tests lax_numpy_test nn_test

Of each product of parameters some cases are drawn, by a fixed seed (``JAX_TESTS_CASES=3``); ``lax_test@200`` runs 200
of the tests, the same each time. What the files ask of `jax._src.test_util` is in jax_test_util.py; helpers that lie
beside JAX itself are read from the folder with a release of JAX that ``JAX_TESTS_RELEASE`` names.
The table is written to benchmarks/jax_tests.md; others stay.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks import libraries
from benchmarks.libraries import Outcome, read

TABLE = Path(__file__).with_suffix(".md")
HEAD = """# JAX's own tests on fdl

Test files of JAX 0.10.2, unmodified, by `python -m benchmarks.jax_tests`; of each product of parameters three cases.

| file | run | passed | passed of run | skipped | why others failed |
|---|---|---|---|---|---|
"""
REASONS = [
    (r"Missing: reads jax\._src\.test_util\.(\w+)", r"no stand-in of \1"),
    (r"Missing: (reads|expects)", "JAX's internals"),
    (r"_Private|NoneType|jax__read|_device_assignment|UnfilteredStackTrace|__notes__", "JAX's internals"),
    (r"FooArray|foo is no dtype|AttributeError: __delitem__|DType\(\) is no dtype", "dtypes of a test's own"),
    (r"default_prng_impl|has one generator", "no random generator but threefry"),
    (r"jaxpr|Jaxpr", "reads Jaxprs"),
    (r"Error not raised|Exception not raised", "no error, where JAX has one"),
    (r"PyTreeDef", "the text of tree structures"),
    (r"(Raises|does not match)", "another error, or other words"),
    (r"dtype\('(\w+)'\) != dtype\('(\w+)'\)", "another dtype"),
    (r"Not equal to tolerance|Arrays are not equal", "other numbers"),
]


def run(path: Path, seconds: int, sample: str = "") -> Outcome:
    """Run one file, or a sample of its tests."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "ignore", "--tb=short"]
        options += ["-p", "benchmarks.jax_test_util", f"--junitxml={report}", f"--rootdir={folder}", "--no-header"]
        options += ["-p", "benchmarks.sampling"] if sample else []
        home = Path(__file__).resolve().parent.parent
        environment = os.environ | {"PYTHONPATH": f"{home}:{os.environ.get('PYTHONPATH', '')}", "FDL_SAMPLE": sample}
        command = [sys.executable, "-m", "fdl.as_jax", "-m", "pytest", *options, str(path.resolve())]
        done = subprocess.run(command, cwd=folder, env=environment, timeout=seconds)
        if not report.exists():
            return Outcome(0, 1, 0, Counter({f"the run ended with status {done.returncode}": 1}))
        return read(report)


def row(name: str, outcome: Outcome, is_sample: bool) -> str:
    """The row of a file."""
    count = outcome.passed + outcome.failed
    why = ", ".join(f"{number} {words}" for words, number in outcome.reasons.most_common(8))
    share = f"{100 * outcome.passed / max(1, count):.1f} %"
    label = f"{name} (a sample)" if is_sample else name
    return f"| {label} | {count} | {outcome.passed} | {share} | {outcome.skipped} | {why} |"


def main(arguments: list[str]) -> None:
    """Run the named files of a folder, and bring the table up to date."""
    libraries.REASONS[:0] = REASONS
    rows = {}
    if TABLE.exists():
        rows = {line.split()[1]: line for line in TABLE.read_text().splitlines() if re.match(r"\| \w+_test", line)}
    folder, *names = arguments
    for given in names:
        name, _, sample = given.partition("@")
        rows[name] = row(name, run(Path(folder) / f"{name}.py", 3600, sample), bool(sample))
        print(rows[name])
        TABLE.write_text(HEAD + "\n".join(rows[key] for key in sorted(rows)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
