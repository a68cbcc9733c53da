"""JAX's libraries on fdl: their own tests, run under `fdl.install_as_jax`, as a table of passed, failed and why.

Not a part of CI. In an environment with the libraries but without jax (docs/jax.md says how to make one)::

    python -m benchmarks.libraries optax chex                      # what their wheels bring along
    python -m benchmarks.libraries equinox=path/to/equinox/tests   # tests from a clone
    python -m benchmarks.libraries flax.linen=path/to/flax/tests/linen
    python -m benchmarks.libraries lineax=path/to/tests@200        # a sample of 200 tests, the same each time

Each library that benchmarks/quick_starts.py has an example for runs that, too. The table is written to
benchmarks/libraries.md, a row for each library; rows of other libraries are kept.
"""

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("libraries.md")
HEAD = """# JAX's libraries on fdl

The libraries' own tests, unmodified, run by `python -m benchmarks.libraries`. Subtests count with their test.

| library | version | passed | failed | skipped | passed of run | why others failed | quick start |
|---|---|---|---|---|---|---|---|
"""
#: Name of the distribution, where it is not that of the package.
DISTRIBUTIONS = {"haiku": "dm-haiku", "flax.linen": "flax", "flax.nnx": "flax"}
#: Tests that are left out because they break those that follow, and count as failed.
LEFT_OUT = {"chex": {"test_uninspected_checks": "runs all exit handlers of the process"}}
#: Files that are left out because they turn on 64 bits for all tests of the process.
WITH_64_BITS = {"distrax": "*float64_test.py"}
#: Why a test fails, by its message; the first that matches counts.
REASONS = [
    (r"consts: a list of \d+ against", "Jaxprs have scalars as literals"),
    (r"has changed type from .*Number", "compares classes of arrays by `is`"),
    (r"Timeout \(>([\d.]+)s\)", r"longer than \1 s on a busy machine"),
    (r"not enough values to unpack \(expected 2, got 1\)", "needs several devices"),
    (r"No module named '(dill|tensorflow\w*|cloudpickle)", r"no \1 installed"),
    (r"jax2tf", "jax2tf"),
    (r"Cannot convert to Funsor", "funsor knows no arrays of fdl"),
    (r"compiler_ir|as_hlo|as_text|hlo", "reads XLA's own text"),
    (r"fdl has no arrays of (float8\w*|int4|\w+)", r"no arrays of \1"),
    (r"fdl has no mutable arrays", "needs mutable arrays"),
    (r"fdl has no (jax[\w.]*)", r"no \1"),
    (r"no module named '?(jax[\w.]*)", r"no \1"),
    (r"needs \d+ devices|one device", "needs several devices"),
    (r"does not match \"", "expects the words of JAX's message"),
    (r"branches of cond must return the same|dtype\('float32'\) != |weak_", "needs weak arrays"),
    (r"numpy_dtype_promotion is 'strict'", "strict promotion, and needs weak arrays"),
    (r"Missing checkpoint file|FileNotFoundError", "reads files of its repository"),
    (r"JaxUsageError not raised", "expects that checkpoint traces when eager"),
    (r"PartitionSpec|NamedSharding|SingleDeviceSharding", "one device has no partitions"),
    (r"used outside the transform", "traced values under ensure_compile_time_eval"),
    (r"no attribute '(invars|eqns|constvars|at_least_vspace|unsafe_buffer_pointer)'", "reads JAX's internals"),
    (r"TreePathError", "files of arrays, read back as other leaves"),
    (r"unexpected keyword argument '(\w+)'", r"no argument \1"),
    (r"(ModuleNotFoundError|ImportError): (.*)", r"\2"),
    (r"(\w*Error)", r"\1"),
]


class Outcome(NamedTuple):
    """What the tests of a library came to.

    Attributes:
        passed, failed, skipped: numbers of tests; a file that cannot be imported counts as one that failed.
        reasons: how many failed for which reason.
    """

    passed: int
    failed: int
    skipped: int
    reasons: Counter[str]


def run(package: str, tests: str, sample: str = "") -> Outcome:
    """Run the tests of a package, or a sample of so many."""
    left_out = LEFT_OUT.get(package, {})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", "-p", "no:cacheprovider", "-o", "python_files=*_test.py test_*.py", "-W", "ignore"]
        options += ["--continue-on-collection-errors", "--tb=line", f"--junitxml={report}", f"--rootdir={folder}"]
        options += ["-k", " and ".join(f"not {name}" for name in left_out)] if left_out else []
        options += [f"--ignore-glob={tests}/{WITH_64_BITS[package]}"] if package in WITH_64_BITS else []
        options += ["-p", "benchmarks.sampling"] if sample else []
        options += ["-o", "addopts="]  # of plugins that may not be installed
        environment = os.environ | {"FDL_SAMPLE": sample}
        command = [sys.executable, "-m", "fdl.as_jax", "-m", "pytest", *options, tests]
        subprocess.run(command, cwd=folder, env=environment)
        found = read(report)
    return found._replace(failed=found.failed + len(left_out), reasons=found.reasons + Counter(left_out.values()))


def quick_start(package: str) -> str:
    """What the first example of a package came to."""
    command = [sys.executable, "-m", "fdl.as_jax", "-m", "benchmarks.quick_starts", package]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TABLE.parent.parent)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return lines[-1].removeprefix(f"{package}: ").replace("|", " ")[:100] if lines else ""


def read(report: Path) -> Outcome:
    """The outcome that a report of pytest tells."""
    counts, reasons = Counter[str](), Counter[str]()
    for case in ElementTree.parse(report).iter("testcase"):
        bad = [child for child in case if child.tag in ("failure", "error")]
        if bad:
            reasons[reason(f"{bad[0].get('message', '')}\n{bad[0].text or ''}")] += 1
        skipped = case.find("skipped") is not None
        counts["failed" if bad else "skipped" if skipped else "passed"] += 1
    return Outcome(counts["passed"], counts["failed"], counts["skipped"], reasons)


def reason(message: str) -> str:
    """Why a test failed, in a few words.

    >>> reason("AttributeError: fdl has no jax.numpy.frompyfunc")
    'no jax.numpy.frompyfunc'
    """
    for pattern, words in REASONS:
        found = re.search(pattern, message)
        if found:
            return found.expand(words).replace("|", " ")[:60]
    return "another result"


def row(package: str, outcome: Outcome, example: str, sample: str = "") -> str:
    """A row of the table."""
    known = version(DISTRIBUTIONS.get(package, package)) + (f", a sample of {sample}" if sample else "")
    share = 100 * outcome.passed / max(1, outcome.passed + outcome.failed)
    why = ", ".join(f"{count} {words}" for words, count in outcome.reasons.most_common(12))
    counts = f"{outcome.passed} | {outcome.failed} | {outcome.skipped}"
    return f"| {package} | {known} | {counts} | {share:.1f} % | {why} | {example} |"


def main(arguments: list[str]) -> None:
    """Run the tests of the named libraries, and bring the table up to date."""
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    rows = {line.split(" | ")[0][2:]: line for line in lines if line.startswith("| ") and " | version | " not in line}
    for argument in arguments:
        package, _, tests = argument.partition("=")
        tests, _, sample = tests.partition("@")
        spec = find_spec(package.partition(".")[0])
        if spec is None or spec.origin is None:
            raise SystemExit(f"{package} is not installed; docs/jax.md says how to install it without jax")
        where = Path(tests).resolve() if tests else Path(spec.origin).parent
        rows[package] = row(package, run(package, str(where), sample), quick_start(package), sample)
        print(rows[package])
        TABLE.write_text(HEAD + "\n".join(rows[name] for name in sorted(rows)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
