"""Training that takes a block of steps when it is told to, and waits in between."""

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from fdl_spark import Callback


@dataclass(frozen=True)
class Block:
    """A block of steps that was taken.

    Attributes:
      seconds: of the whole block, starting and ending its groups included.
      records: those of its steps in the history.
      engine: the engine that took the last of them, where the history says.
    """

    seconds: float
    records: list[dict[str, Any]]
    engine: str = ""

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return self.seconds / len(self.records)


#: Yields how many steps the next block has, is sent the block, and ends the training by returning.
Plan = Generator[int, Block, None]


class Turns(Callback):
    """Takes blocks of steps as a plan says; groups of steps end with the blocks.

    Args:
      plan: says how many steps the next block has and is sent the block, until it returns.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.interval = self.target = next(plan)
        self.first = 0
        self.since = time.perf_counter()

    def start(self, run: Any) -> None:
        self.since = time.perf_counter()

    def step(self, run: Any, record: dict[str, Any]) -> bool:
        if run.step < self.target:
            return False
        seconds = time.perf_counter() - self.since
        engine = run.history.engines[-1]["engine"] if run.history.engines else ""
        block = Block(seconds, run.history.steps[self.first : run.step], engine)
        try:
            count = self.plan.send(block)
        except StopIteration:
            return True
        self.first = run.step
        self.interval = self.target = run.step + count  # the next multiple of the interval is the target
        self.since = time.perf_counter()
        return False


def blocks_of(seconds: float, blocks: int, found: list[Block], most: float = 60.0) -> Plan:
    """A plan: warm up, then take blocks of about so many seconds.

    Args:
      seconds: of one block; a block has a step at least.
      blocks: how many are kept.
      found: where they are kept.
      most: seconds after which no further block is taken.
    """
    started = time.perf_counter()
    yield 1  # the first step compiles
    sizing = sizes(seconds)
    count = next(sizing)
    while True:
        block = yield count
        if time.perf_counter() - started > most / 2:
            break
        try:
            count = sizing.send(block.seconds)
        except StopIteration as end:
            count = end.value
            break
    while len(found) < blocks and (not found or time.perf_counter() - started < most):
        found.append((yield count))


def sizes(seconds: float) -> Generator[int, float, int]:
    """Find how many steps take about so many seconds, besides what starting and ending a group takes.

    Args:
      seconds: what they are to take.

    Yields:
      A number of steps to try; it is sent the seconds that they took.

    Returns:
      The number of steps.
    """
    count, before = 4, (yield 1)
    tried = 1
    while True:
        taken = yield count
        step = max((taken - before) / (count - tried), 1e-7)
        if count * step >= seconds / 2 or step * 2 > seconds:
            return max(1, min(round(seconds / step), 2 * count))
        before, tried = taken, count
        count = min(8 * count, max(2 * count, round(seconds / step)))
