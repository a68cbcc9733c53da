"""The options of the source: those of Spark's own, by the same names."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fdl_spark.errors import ArgumentError
from fdl_spark.kafka.offsets import EARLIEST, LATEST, Offsets, Place, parsed

PREFIX = "kafka."
SERVERS = "bootstrap.servers"
SUBSCRIPTIONS = ("assign", "subscribe", "subscribePattern")
READING = (
    *SUBSCRIPTIONS, "startingOffsets", "endingOffsets", "startingTimestamp", "endingTimestamp",
    "startingOffsetsByTimestamp", "endingOffsetsByTimestamp", "startingOffsetsByTimestampStrategy", "failOnDataLoss",
    "includeHeaders", "maxOffsetsPerTrigger", "minPartitions", "kafkaConsumer.pollTimeoutMs",
)  # fmt: skip
WRITING = ("topic", "includeHeaders")
IGNORED = ("path", "checkpointLocation", "queryName")  # Spark's own
JAVA_ONLY = {
    "sasl.jaas.config": 'give "kafka.sasl.username" and "kafka.sasl.password"',
    "key.deserializer": "keys and values are bytes; cast them in the DataFrame",
    "value.deserializer": "keys and values are bytes; cast them in the DataFrame",
    "auto.offset.reset": 'use "startingOffsets"',
    "enable.auto.commit": "the query's checkpoint holds the offsets",
}
Times = dict[Place, int]


@dataclass(frozen=True)
class Bound:
    """Where reading starts or ends.

    Attributes:
      offsets: EARLIEST, LATEST, or offsets by partition, in which the two may occur.
      times: milliseconds since 1970 by partition, or for all; in place of offsets.
      or_latest: whether a time after the last record means the end; else it is an error.
    """

    offsets: int | Offsets
    times: int | Times | None = None
    or_latest: bool = True


@dataclass(frozen=True)
class Reading:
    """How topics are read.

    Attributes:
      client: librdkafka's settings.
      topics: their names, if they were named.
      pattern: what their names match, if that was given.
      assigned: the partitions, if these were named.
      start: the first records; None for where a query begins by itself.
      end: behind the last ones, of a batch.
      fail: whether records that are gone are an error.
      headers: whether there is a column of headers.
      most: records of a micro-batch.
      partitions: tasks, at least, if there are so many records.
      patience: seconds without a record after which the broker is given up.
    """

    client: Mapping[str, str]
    topics: tuple[str, ...]
    pattern: str | None
    assigned: tuple[Place, ...]
    start: Bound
    end: Bound
    fail: bool
    headers: bool
    most: int | None
    partitions: int
    patience: float


def reading(options: Mapping[str, str], streaming: bool) -> Reading:
    """Options for a read.

    Raises:
      ArgumentError: an option is unknown, missing, or not what it must be.
    """
    given = {name.lower(): value for name, value in options.items()}
    client = client_of(options, READING)
    kinds = [kind for kind in SUBSCRIPTIONS if kind.lower() in given]
    if len(kinds) != 1:
        raise ArgumentError(
            f"give one of the options {', '.join(SUBSCRIPTIONS)}; there are {', '.join(kinds) or 'none'}"
        )
    if streaming:
        for name in ("endingOffsets", "endingTimestamp", "endingOffsetsByTimestamp"):
            if name.lower() in given:
                raise ArgumentError(f"{name} is of batches; a stream has no end")
    elif "maxoffsetspertrigger" in given:
        raise ArgumentError("maxOffsetsPerTrigger is of streams; a batch is read whole")
    end = _bound(given, "ending", LATEST)
    start = _bound(given, "starting", LATEST if streaming else EARLIEST)
    if not streaming and start.offsets == LATEST and start.times is None:
        raise ArgumentError('startingOffsets="latest" is of streams: a batch would have no rows')
    if end.offsets == EARLIEST:
        raise ArgumentError('endingOffsets="earliest": a batch would have no rows; give "latest" or offsets')
    return Reading(
        client, *_topics(kinds[0], given[kinds[0].lower()]), start, end,
        _flag(given, "failOnDataLoss", True), _flag(given, "includeHeaders", False),
        _number(given, "maxOffsetsPerTrigger", None), _number(given, "minPartitions", 1) or 1,
        (_number(given, "kafkaConsumer.pollTimeoutMs", 120_000) or 0) / 1000,
    )  # fmt: skip


def client_of(options: Mapping[str, str], known: tuple[str, ...]) -> dict[str, str]:
    """librdkafka's settings among options, which must all be known.

    Raises:
      ArgumentError: one is not, or the servers are missing.
    """
    client, names = {}, {name.lower() for name in (*known, *IGNORED)}
    for name, value in options.items():
        if name.lower().startswith(PREFIX):
            client[name[len(PREFIX) :].lower()] = value
        elif name.lower() not in names:
            raise ArgumentError(f"there is no option {name!r}; there are {PREFIX}* and {', '.join(known)}")
    for name, instead in JAVA_ONLY.items():
        if name in client:
            raise ArgumentError(f"the option {PREFIX}{name} is of the Java client; {instead}")
    if not client.get(SERVERS, "").strip():
        raise ArgumentError(f'the option "{PREFIX}{SERVERS}" is missing, such as "host1:9092,host2:9092"')
    return client


def _topics(kind: str, text: str) -> tuple[tuple[str, ...], str | None, tuple[Place, ...]]:
    if kind == "subscribe":
        topics = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if not topics:
            raise ArgumentError(f"subscribe must name topics, separated by commas; it is {text!r}")
        return topics, None, ()
    if kind == "subscribePattern":
        try:
            re.compile(text)
        except re.error as error:
            raise ArgumentError(f"subscribePattern={text!r} is no regular expression: {error}") from None
        return (), text, ()
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or not all(isinstance(each, list) for each in found.values()):
            raise ValueError
        if not all(type(partition) is int for each in found.values() for partition in each):
            raise ValueError
        places = tuple((topic, partition) for topic, each in sorted(found.items()) for partition in sorted(set(each)))
        if not places or any(partition < 0 for _, partition in places):
            raise ValueError
    except ValueError:
        raise ArgumentError(f'assign must be JSON such as {{"topic": [0, 1]}}; it is {text}') from None
    return (), None, places


def _bound(given: Mapping[str, str], which: str, default: int) -> Bound:
    strategy = given.get("startingoffsetsbytimestampstrategy", "error").lower()
    if strategy not in ("error", "latest"):
        raise ArgumentError(f'startingOffsetsByTimestampStrategy must be "error" or "latest", not {strategy!r}')
    or_latest = which == "ending" or strategy == "latest"
    # As in Spark's own source: one time for all, then times by partition, then offsets.
    if f"{which}timestamp" in given:
        return Bound(default, _number(given, f"{which}Timestamp", None, 0), or_latest)
    if f"{which}offsetsbytimestamp" in given:
        name = f"{which}OffsetsByTimestamp"
        return Bound(default, parsed(name, given[name.lower()], 0), or_latest)
    text = given.get(f"{which}offsets")
    if text is None:
        return Bound(default)
    word = {"earliest": EARLIEST, "latest": LATEST}.get(text.strip().lower())
    return Bound(parsed(f"{which}Offsets", text) if word is None else word)


def _flag(given: Mapping[str, str], name: str, default: bool) -> bool:
    text = given.get(name.lower(), str(default)).lower()
    if text not in ("true", "false"):
        raise ArgumentError(f'{name} must be "true" or "false", not {text!r}')
    return text == "true"


def _number(given: Mapping[str, str], name: str, default: int | None, least: int = 1) -> int | None:
    text = given.get(name.lower())
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ArgumentError(f"{name} must be an integer of at least {least}, not {text!r}")
    return int(text)
