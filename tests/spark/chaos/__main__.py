"""Run scenarios and print a line on what came of each: each kind of failure once with each engine, or all.

python -m tests.spark.chaos [--all] [--engines ...] [--masters ...] [--only PATTERN ...] [--settings ...] [--json FILE]
"""

import argparse
import json
import signal
import sys
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path

from tests.spark.chaos.cluster import CLUSTERS
from tests.spark.chaos.runner import jobs, run
from tests.spark.chaos.scenarios import SCENARIOS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", help="names for sync; all engines but auto, unless --all")
    parser.add_argument("--masters", nargs="+", choices=list(CLUSTERS), default=list(CLUSTERS))
    parser.add_argument("--only", nargs="+", help="patterns of scenarios' names, brief or not")
    parser.add_argument("--settings", nargs="+", help="only scenarios with these settings")
    parser.add_argument("--all", action="store_true", help="all scenarios, each on every master that it knows")
    parser.add_argument("--list", action="store_true", help="print what would be run")
    parser.add_argument("--json", type=Path, help="where to keep the verdicts")
    parser.add_argument("--reference", default="", help="the digest of the undisturbed run, if it is known")
    parser.add_argument("--keep", action="store_true", help="leave the folders with the logs")
    options = parser.parse_args()
    chosen = [
        scenario
        for scenario in SCENARIOS
        if (
            any(fnmatch(scenario.name, pattern) for pattern in options.only)
            if options.only
            else options.all or scenario.brief
        )
        and (not options.settings or scenario.settings in options.settings)
    ]
    engines = options.engines or available(options.all)
    if options.list:
        for master, _, scenario, engine in jobs(chosen, engines, options.masters, options.all):
            print(f"{master:14} {engine:9} {scenario.name}")
        return
    verdicts = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended

    def tell(verdict):
        verdicts.append(verdict)
        seconds = "" if verdict.recovery is None else f"{verdict.recovery:.1f} s"
        print(f"{verdict.master:14} {verdict.engine:9} {verdict.scenario:50} {seconds:>7}  ", end="")
        print("ok" if not verdict.faults else "; ".join(verdict.faults)[:2000], flush=True)
        if options.json:
            options.json.write_text(json.dumps([asdict(one) for one in verdicts], indent=1))

    run(
        chosen, engines, options.masters, tell, every_master=options.all, keep=options.keep, reference=options.reference
    )
    sys.exit(any(verdict.faults for verdict in verdicts))


def available(every):
    """The engines, and what chooses among them if everything is asked for."""
    from fdl_spark.training.engine_choice import ENGINES

    return [*ENGINES, *(["auto"] if every else [])]


if __name__ == "__main__":
    main()
