"""Seconds of a step above its computing, by engine, bytes of parameters and number of ranks.

Started by the benchmark as `python -m benchmarks.spark.engines CASES OPTIMIZER SECONDS BLOCKS DOOR`, with cases as
`engine:ranks:bytes`, in one session of as many slots as the most ranks; tells each case's numbers as they are known.
"""

import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from typing import Any

import fdl_spark
from benchmarks.spark import flat
from benchmarks.spark.channel import Channel, Closed
from benchmarks.spark.side import Side
from benchmarks.spark.turns import Block, Turns, blocks_of
from benchmarks.spark.work import SETTINGS, any_engine

CORES = 2
ENDLESS = 10_000_000
LIMIT = 240.0  # seconds for a case


@dataclass(frozen=True)
class Case:
    """An engine with so many ranks and bytes of parameters."""

    engine: str
    ranks: int
    size: float

    @staticmethod
    def parse(text: str) -> "Case":
        engine, ranks, size = text.split(":")
        return Case(engine, int(ranks), float(size))

    def __str__(self) -> str:
        return f"{self.engine}:{self.ranks}:{self.size:.0f}"


def measure(cases: list[Case], optimizer: str, seconds: float, blocks: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Numbers of every case.

    Args:
      cases: what to measure; a session for each number of ranks.
      optimizer: one of `flat.OPTIMIZERS`.
      seconds: of a block of steps.
      blocks: of each case in each round.
      rounds: how often all cases take their turn.

    Returns:
      By case: "step" (median seconds of a step over all blocks), "blocks", "alone" (a rank's "forward_backward" and
      "update" in a process of its own), "above" (the step without them), "phases"; or "left out" with the reason.
    """
    found: dict[str, dict[str, Any]] = {}
    for slots in sorted({max(CORES, case.ranks) for case in cases}):
        mine = [case for case in cases if max(CORES, case.ranks) == slots]
        with tempfile.TemporaryDirectory() as folder:
            arguments = [json.dumps([str(case) for case in mine] * rounds), optimizer, str(seconds), str(blocks)]
            side = Side(f"{slots} slots", "benchmarks.spark.engines", arguments, folder)
            try:
                while (answer := side.receive(LIMIT)) != "done":
                    keep(found, answer)
            except Closed as closed:
                for case in mine:
                    found.setdefault(str(case), {"left out": str(closed)})
            finally:
                side.close()
    for numbers in found.values():
        if "blocks" in numbers:
            numbers["step"] = statistics.median(numbers["blocks"])
            turns = max(1.0, numbers["ranks"] / CORES)
            numbers["above"] = numbers["step"] - sum(numbers["alone"].values()) * turns
    return found


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
    return numbers | {"blocks": [block.step for block in kept], "phases": phases, "events": events[:5]}


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
    channel.send("done")


if __name__ == "__main__":
    main()
