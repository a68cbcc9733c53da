"""Offsets of topics' partitions: as JSON, as the end of a batch under a limit, as ranges for tasks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql.datasource import InputPartition

from fdl_spark.errors import ArgumentError

EARLIEST, LATEST = -2, -1  # as Kafka's protocol and Spark write them
Place = tuple[str, int]
Offsets = dict[Place, int]


@dataclass
class Range(InputPartition):
    """The records of one partition from `start` up to, but not including, `end`."""

    topic: str
    partition: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}, offsets {self.start} to {self.end}"


def to_json(offsets: Mapping[Place, int]) -> dict[str, dict[str, int]]:
    """Offsets as Spark's checkpoints have them.

    >>> to_json({("a", 1): 7, ("a", 0): 5})
    {'a': {'0': 5, '1': 7}}
    """
    found: dict[str, dict[str, int]] = {}
    for (topic, partition), offset in sorted(offsets.items()):
        found.setdefault(topic, {})[str(partition)] = offset
    return found


def from_json(content: Mapping[str, Mapping[str, int]]) -> Offsets:
    """The inverse of `to_json`.

    >>> from_json({"a": {"0": 5, "1": 7}})
    {('a', 0): 5, ('a', 1): 7}
    """
    return {(topic, int(partition)): offset for topic, each in content.items() for partition, offset in each.items()}


def parsed(option: str, text: str, least: int = EARLIEST) -> Offsets:
    """What an option gives for each partition.

    Raises:
      ArgumentError: it is no such JSON.

    >>> parsed("startingOffsets", '{"a": {"0": 23, "1": -2}}')
    {('a', 0): 23, ('a', 1): -2}
    """
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or not all(isinstance(each, dict) for each in content.values()):
            raise ValueError
        found = from_json(content)
        if any(type(offset) is not int or offset < least for offset in found.values()):
            raise ValueError
    except ValueError:
        raise ArgumentError(
            f'{option} must be JSON such as {{"topic": {{"0": 23, "1": -2}}}} with integers from {least} on; '
            f"it is {text}"
        ) from None
    return found


def limited(start: Offsets, end: Offsets, most: int | None) -> Offsets:
    """Where a batch of at most so many records ends: each partition gives in proportion to what it has.

    >>> limited({("a", 0): 0, ("a", 1): 0}, {("a", 0): 30, ("a", 1): 10}, 8)
    {('a', 0): 6, ('a', 1): 2}
    """
    waiting = {place: max(0, end[place] - start.get(place, 0)) for place in end}
    total = sum(waiting.values())
    if most is None or total <= most:
        return {place: max(end[place], start.get(place, 0)) for place in end}
    taken = {place: count * most // total for place, count in waiting.items()}
    # What rounding left goes to those that lost most, so that a batch is never empty.
    rest = most - sum(taken.values())
    for place in sorted(waiting, key=lambda place: (-(waiting[place] * most % total), place))[:rest]:
        taken[place] += 1
    return {place: start.get(place, 0) + taken[place] for place in end}


def ranges(start: Offsets, end: Offsets, least: int = 1) -> list[Range]:
    """The ranges between two offsets, one a partition; long ones are cut if there are fewer than `least`.

    >>> [str(part) for part in ranges({("a", 0): 0, ("a", 1): 5}, {("a", 0): 10, ("a", 1): 5}, least=2)]
    ['a-0, offsets 0 to 5', 'a-0, offsets 5 to 10']
    """
    whole = [Range(*place, start[place], end[place]) for place in sorted(end) if end[place] > start[place]]
    total = sum(part.end - part.start for part in whole)
    found = []
    for part in whole:
        length = part.end - part.start
        pieces = min(length, -(-least * length // total)) if len(whole) < least else 1
        cuts = [part.start + length * n // pieces for n in range(pieces + 1)]
        found += [Range(part.topic, part.partition, *cuts[n : n + 2]) for n in range(pieces)]
    return found
