"""The table of failures in benchmarks/README.md, from what `python -m tests.spark.chaos --json FILE` kept.

    python -m benchmarks.spark.failures FILE ... [--write]

Of each scenario and engine: whether the bits are those of an undisturbed run, the seconds to recover (or to stop), what
was wrong with the run if anything was, and what the history says. Later files take precedence over earlier ones.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.report import table
from benchmarks.spark.report import write

BEGIN, END = "<!-- failures begin -->", "<!-- failures end -->"
LONGEST = 150  # characters of what the history says

Verdict = dict[str, Any]


def cell(found: Verdict | None) -> str:
    """What came of a scenario with one engine."""
    if found is None:
        return "-"
    wrong = [fault for fault in found["faults"] if not fault.startswith("the history")]
    same = {True: "same bits", False: "OTHER BITS", None: "as it must" if not wrong else "not as it must"}[
        found["same"]
    ]
    seconds = "" if found["recovery"] is None else f", {found['recovery']:.1f} s"
    return f"{same}{seconds}" + (f" ({len(wrong)} faults)" if wrong and found["same"] is not None else "")


def said(verdicts: list[Verdict]) -> str:
    """What the history says, by the engine that says most; places and names of files differ from run to run."""
    longest: list[str] = max((found["said"] for found in verdicts), key=len, default=[])
    text = "; ".join(dict.fromkeys(longest))
    text = re.sub(r"127\.0\.0\.(\d):\d+", r"127.0.0.\1", text).replace("|", "/").replace("\n", " ")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def tables(verdicts: list[Verdict]) -> str:
    """A table with a row for each scenario and master, and a column for each engine."""
    found = {(v["scenario"], v["master"], v["engine"]): v for v in verdicts if v["engine"] != "all"}
    engines = list(dict.fromkeys(engine for _, _, engine in found))
    rows = []
    for scenario, master in dict.fromkeys((scenario, master) for scenario, master, _ in found):
        of = [found.get((scenario, master, engine)) for engine in engines]
        rows.append([scenario, master, *map(cell, of), said([one for one in of if one])])
    return table(["what fails", "master", *engines, "what the history says"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--write", action="store_true", help="write the table of the README")
    options = parser.parse_args()
    text = tables([verdict for file in options.files for verdict in json.loads(file.read_text())])
    print(text)
    if options.write:
        write(text, BEGIN, END)


if __name__ == "__main__":
    main()
