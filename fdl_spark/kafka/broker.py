"""What the driver asks the brokers: which partitions topics have, and their offsets."""

import re
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from fdl_spark.errors import ArgumentError, ClusterError, DataError
from fdl_spark.kafka.offsets import EARLIEST, LATEST, Offsets, Place
from fdl_spark.kafka.options import PREFIX, SERVERS, Bound, Reading

ASKING = 30.0  # seconds for a broker to answer
#: Kafka's own topics, which a pattern does not mean.
INTERNAL = {"__consumer_offsets", "__share_group_state", "__transaction_state"}
INSTALL = "Kafka topics are read by confluent-kafka, which is not installed here: pip install 'fdl[kafka]'"


def confluent() -> Any:
    """The module confluent_kafka.

    Raises:
      ClusterError: it is not installed.
    """
    try:
        import confluent_kafka
    except ModuleNotFoundError as error:
        raise ClusterError(INSTALL) from error
    return confluent_kafka


@contextmanager
def asking(client: Mapping[str, str], what: str) -> Any:
    """Turn the client's errors inside into one that names the servers and what was asked."""
    try:
        yield
    except confluent().KafkaException as error:
        refused(error.args[0], client, what)


def refused(error: Any, client: Mapping[str, str], what: str) -> NoReturn:
    """Raise what an error of the client means."""
    said = error.str() if hasattr(error, "str") else str(error)
    if (setting := re.search(r'configuration property:? "([^"]+)"', said)) is not None:
        raise ArgumentError(f'the option "{PREFIX}{setting.group(1)}": {said}')
    raise ClusterError(f"{what} from {client[SERVERS]}: {said}")


def ignore(_error: Any) -> None:
    """What matters is raised by the calls; the client tells of each lost connection besides."""


class Broker:
    """The topics that a query reads.

    Args:
      reading: which.

    Raises:
      ArgumentError: the client knows no such setting.
    """

    def __init__(self, reading: Reading):
        from confluent_kafka.admin import AdminClient

        self.reading = reading
        with asking(reading.client, "the client's settings"):
            self._admin = AdminClient({**reading.client, "error_cb": ignore})

    def places(self) -> list[Place]:
        """The partitions there are now, in order.

        Raises:
          DataError: a topic or partition that was named is not there.
          ClusterError: no broker answers.
        """
        with asking(self.reading.client, "asking for the topics"):
            found = self._admin.list_topics(timeout=ASKING).topics
        there = {topic: sorted(about.partitions) for topic, about in found.items() if about.error is None}
        reading = self.reading
        topics = {*reading.topics, *(topic for topic, _ in reading.assigned)}
        if reading.pattern is not None:
            topics = {topic for topic in there if re.fullmatch(reading.pattern, topic)} - INTERNAL
        for topic in sorted(topics - set(there)):
            raise DataError(f"there is no topic {topic!r} at {reading.client[SERVERS]}")
        for topic, partition in reading.assigned:
            if partition not in there[topic]:
                raise DataError(f"topic {topic!r} has the partitions {there[topic]}, but not {partition}")
        return sorted(reading.assigned) or [(topic, each) for topic in sorted(topics) for each in there[topic]]

    def offsets(self, places: Iterable[Place], which: int) -> Offsets:
        """The EARLIEST or LATEST offsets of partitions."""
        return self._listed(dict.fromkeys(places, which), "spec")

    def at(self, bound: Bound, places: list[Place]) -> Offsets:
        """The offsets of a bound.

        Raises:
          ArgumentError: it does not name the partitions that there are, or a time is after the last record.
        """
        if bound.times is not None:
            times = bound.times if isinstance(bound.times, dict) else dict.fromkeys(places, bound.times)
            self._check_named(times, places)
            found = self._listed(times, "time")
            late = sorted(place for place, offset in found.items() if offset < 0)
            if late and not bound.or_latest:
                raise ArgumentError(
                    f"no record of {late[0][0]}-{late[0][1]} is as new as {times[late[0]]} ms; "
                    f'pass startingOffsetsByTimestampStrategy="latest" to begin at the end there'
                )
            return found | self.offsets(late, LATEST)
        if isinstance(bound.offsets, int):
            return self.offsets(places, bound.offsets)
        self._check_named(bound.offsets, places)
        found = {place: offset for place, offset in bound.offsets.items() if offset >= 0}
        for which in (EARLIEST, LATEST):
            found |= self.offsets([place for place, offset in bound.offsets.items() if offset == which], which)
        return found

    def _check_named(self, named: Mapping[Place, int], places: list[Place]) -> None:
        if set(named) != set(places):
            missing, surplus = sorted(set(places) - set(named)), sorted(set(named) - set(places))
            raise ArgumentError(
                f"offsets must be given for all partitions that are read: "
                f"{'missing ' + str(missing) if missing else ''}{' not there ' + str(surplus) if surplus else ''}"
            )

    def _listed(self, wanted: Mapping[Place, int], how: str) -> Offsets:
        if not wanted:
            return {}
        from confluent_kafka.admin import OffsetSpec

        kafka = confluent()
        specs = {EARLIEST: OffsetSpec.earliest(), LATEST: OffsetSpec.latest()}
        request = {
            kafka.TopicPartition(*place): specs[value] if how == "spec" else OffsetSpec.for_timestamp(value)
            for place, value in wanted.items()
        }
        level = kafka.IsolationLevel.READ_UNCOMMITTED
        if self.reading.client.get("isolation.level") == "read_committed":  # what tasks cannot read yet, none may plan
            level = kafka.IsolationLevel.READ_COMMITTED
        with asking(self.reading.client, "asking for offsets"):
            answers = self._admin.list_offsets(request, isolation_level=level, request_timeout=ASKING)
            return {(p.topic, p.partition): answer.result().offset for p, answer in answers.items()}
