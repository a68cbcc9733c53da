"""Seconds of a step above its computing, by engine, bytes of parameters and number of ranks.

Started by the benchmark as `python -m benchmarks.spark.engines CASES OPTIMIZER SECONDS BLOCKS DOOR`, with cases as
`engine:ranks:bytes` or `engine:ranks:bytes:slices`, in one session of as many slots as the most ranks; tells each
case's numbers as they are known.
"""

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock

import fdl_spark
from benchmarks.spark import flat
from benchmarks.spark.channel import Channel, Closed
from benchmarks.spark.side import Side
from benchmarks.spark.turns import Block, Turns, blocks_of
from benchmarks.spark.work import SETTINGS, any_engine
from fdl_spark.engines.common import cuts

CORES = 2
ENDLESS = 10_000_000
LIMIT = 240.0  # seconds for a case
GONE = "driver process is gone"  # what is said of a session that has ended: the next case needs another


@dataclass(frozen=True)
class Case:
    """An engine with so many ranks, bytes of parameters and, unless it is to choose by itself, slices."""

    engine: str
    ranks: int
    size: float
    slices: int | None = None

    @staticmethod
    def parse(text: str) -> "Case":
        engine, ranks, size, *slices = text.split(":")
        return Case(engine, int(ranks), float(size), *map(int, slices))

    def __str__(self) -> str:
        cut = f":{self.slices}" if self.slices else ""
        return f"{self.engine}:{self.ranks}:{self.size:.0f}{cut}"


def measure(
    cases: list[Case],
    optimizer: str,
    seconds: float,
    blocks: int,
    rounds: int,
    one_session: bool = False,
    most: float = math.inf,
) -> dict[str, dict[str, Any]]:
    """Numbers of every case.

    Args:
      cases: what to measure; a session for each number of ranks.
      optimizer: one of `flat.OPTIMIZERS`.
      seconds: of a block of steps.
      blocks: of each case in each round.
      rounds: how often all cases take their turn.
      one_session: whether one session of as many slots as the most ranks need runs all of them.
      most: seconds after which no further case is begun.

    Returns:
      By case: "step" (median seconds of a step over all blocks), "blocks", "alone" (a rank's "forward_backward" and
      "update" in a process of its own), "above" (the step without them), "phases", "slices", and "group" (steps of
      a block, which one job takes if the tasks stay); or "left out" with the reason.
    """
    found: dict[str, dict[str, Any]] = {}
    of_case = {case: max(CORES, case.ranks) for case in cases}
    if one_session:
        of_case = dict.fromkeys(cases, max(of_case.values()))
    end = time.monotonic() + most
    for slots in sorted(set(of_case.values())):
        rest = [case for case in cases if of_case[case] == slots] * rounds
        while rest and time.monotonic() < end:
            rest = rest[in_session(slots, rest, found, [optimizer, str(seconds), str(blocks)], end) :]
    for numbers in found.values():
        if "blocks" in numbers:
            numbers["step"] = statistics.median(numbers["blocks"])
            turns = max(1.0, numbers["ranks"] / CORES)
            numbers["above"] = numbers["step"] - sum(numbers["alone"].values()) * turns
    return found


def in_session(slots: int, cases: list[Case], found: dict[str, Any], arguments: list[str], end: float) -> int:
    """Measure cases in one session until it or the time ends; how many were, those that failed included."""
    with tempfile.TemporaryDirectory() as folder:
        asked = [json.dumps([str(case) for case in cases]), *arguments]
        side, count = Side(f"{slots} slots", "benchmarks.spark.engines", asked, folder), 0
        try:
            while count < len(cases) and time.monotonic() < end:
                answer = side.receive(LIMIT)
                keep(found, answer)
                count += 1
                if GONE in answer.get("left out", ""):
                    return count
        except Closed as closed:
            found.setdefault(str(cases[count]), {"left out": str(closed)})
            return count + 1
        finally:
            side.close()
    return count


def keep(found: dict[str, dict[str, Any]], answer: dict[str, Any]) -> None:
    """Add what one turn of a case gave."""
    before = found.get(answer["case"], {})
    print(
        f"      {answer['case']}: {answer.get('left out') or [round(b * 1e3, 2) for b in answer['blocks']]}",
        file=sys.stderr,
    )
    if "blocks" in before and "blocks" in answer:
        answer["blocks"] = before["blocks"] + answer["blocks"]
    if "blocks" in answer or not before:
        found[answer["case"]] = answer


def run(case: Case, optimizer: str, seconds: float, blocks: int) -> dict[str, Any]:
    """Train one case; seconds of a step in each block, and the phases of its last one."""
    numbers = {"case": str(case), **asdict(case)}
    kept: list[Block] = []
    try:
        with cut_into(case.slices):
            run = fdl_spark.train(
                flat.loss,
                flat.parameters(case.size),
                flat.data(case.ranks),
                optimizer=flat.OPTIMIZERS[optimizer](),
                batch_size=case.ranks * flat.ROWS_A_RANK,
                steps=ENDLESS,
                partitions=case.ranks,
                callbacks=[Turns(blocks_of(seconds, blocks, kept))],
                **any_engine(case.engine),
            )
    except fdl_spark.SparkTrainingError as error:
        return numbers | {"left out": f"{type(error).__name__}: {error}"}
    records = kept[-1].records
    phases = {name: statistics.median(r["phases"].get(name, 0.0) for r in records) for name in records[-1]["phases"]}
    events = [event["event"] for event in run.history.events]
    numbers |= {"group": len(records), "slices": run.history.engines[-1]["slices"]}
    return numbers | {"blocks": [block.step for block in kept], "phases": phases, "events": events[:5]}


@contextmanager
def cut_into(slices: int | None) -> Iterator[None]:
    """Let engines cut the parameters into so many slices, not into as many as the cost model says."""
    if slices is None:
        yield
        return
    with mock.patch.object(cuts, "best_slices", lambda *_, **__: slices):
        yield


def main() -> None:
    """Run the cases, telling each one's numbers."""
    cases = [Case.parse(text) for text in json.loads(sys.argv[1])]
    optimizer, seconds, blocks = sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    channel = Channel.connect(sys.argv[5])
    sizes = {(case.size, case.ranks) for case in cases}
    alone = {of: flat.alone(*of, optimizer, seconds) for of in sorted(sizes)}
    fdl_spark.session(f"local[{max(CORES, *(case.ranks for case in cases))}]", config=SETTINGS)
    # The JVM compiles what every step runs: without this the first cases would pay for it.
    warm = Case("driver", cases[0].ranks, 1e5)
    run(warm, optimizer, seconds, 3)
    for case in cases:
        channel.send(run(case, optimizer, seconds, blocks) | {"alone": alone[case.size, case.ranks]})


if __name__ == "__main__":
    main()
