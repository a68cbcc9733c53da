"""The test suite of the Array API, run on `fdl.numpy`, as a table of passed, failed and why others are skipped.

Not a part of CI. With a clone of github.com/data-apis/array-api-tests, its submodule, and what it
requires::

    python -m benchmarks.array_api path/to/array-api-tests --examples 200

The table is written to benchmarks/array_api.md.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

TABLE = Path(__file__).with_suffix(".md")
#: Tests that write into an array, which no change of fdl's could make pass.
IMMUTABLE = """array_api_tests/test_array_object.py::test_setitem
array_api_tests/test_array_object.py::test_setitem_masking
array_api_tests/test_creation_functions.py::test_asarray_arrays
"""
REASONS = [
    (r"skips-file", "write into an array, and arrays are immutable"),
    (r"VERSION >= ([\d.]+)", r"for the standard of \1"),
    (r"flaky", "called flaky by the suite, for all libraries"),
    (r"", "others"),
]


def why(message: str) -> str:
    """Why a test is skipped, in a few words.

    >>> why("requires ARRAY_API_TESTS_VERSION >= 2025.12")
    'for the standard of 2025.12'
    """
    found = ((re.search(pattern, message), words) for pattern, words in REASONS)
    return next(match.expand(words) for match, words in found if match)


def main() -> None:
    """Run the suite and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path)
    parser.add_argument("--examples", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        skips, report = Path(folder) / "skips.txt", Path(folder) / "report.xml"
        skips.write_text(IMMUTABLE)
        options = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "--disable-warnings", f"--junitxml={report}"]
        options += [f"--max-examples={given.examples}", f"--skips-file={skips}"]
        environment = os.environ | {"ARRAY_API_TESTS_MODULE": "fdl.numpy"}
        command = [sys.executable, "-m", "pytest", *options, "array_api_tests"]
        subprocess.run(command, cwd=given.suite.resolve(), env=environment)
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = Counter(why(str(skip.get("message"))) for case in cases for skip in case.iter("skipped"))
    passed = len(cases) - len(failed) - skipped.total()
    reasons = ", ".join(f"{count} {words}" for words, count in skipped.most_common())
    TABLE.write_text(
        f"""# The Array API's test suite on fdl.numpy

data-apis/array-api-tests, unmodified, by `python -m benchmarks.array_api` with {given.examples} examples a test.

| passed | failed | skipped | why skipped |
|---|---|---|---|
| {passed} | {len(failed)} | {skipped.total()} | {reasons} |
"""
        + "".join(f"\nFailed: `{name}`\n" for name in failed)
    )
    print(TABLE.read_text())


if __name__ == "__main__":
    main()
