"""Records of topics as Arrow record batches, for a batch query and for the micro-batches of a stream."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import types as T
from pyspark.sql.datasource import DataSourceReader, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow

from fdl_spark.errors import ClusterError, DataError
from fdl_spark.kafka.broker import Broker, asking, confluent, ignore, refused
from fdl_spark.kafka.clients import Clients
from fdl_spark.kafka.offsets import EARLIEST, LATEST, Offsets, Place, Range, from_json, limited, ranges, to_json
from fdl_spark.kafka.options import SERVERS, Reading

BATCH = 2_000  # records at most
BATCH_BYTES = 4 << 20  # after which a record batch is handed on
POLL, RETRY = 0.5, 0.1  # seconds
ATTEMPTS, PAUSE = 3, 1.0  # requests for ends that seem too low, and seconds between them, as of Spark's own source
#: The columns of Spark's own source, in its order.
COLUMNS = (
    ("key", T.BinaryType(), pa.binary()),
    ("value", T.BinaryType(), pa.binary()),
    ("topic", T.StringType(), pa.string()),
    ("partition", T.IntegerType(), pa.int32()),
    ("offset", T.LongType(), pa.int64()),
    ("timestamp", T.TimestampType(), pa.timestamp("us", tz="UTC")),
    ("timestampType", T.IntegerType(), pa.int32()),
)
HEADER = T.StructType([T.StructField("key", T.StringType()), T.StructField("value", T.BinaryType())])
HEADERS = (
    "headers",
    T.ArrayType(HEADER),
    pa.list_(pa.field("element", pa.struct([("key", pa.string()), ("value", pa.binary())]))),
)
LOST = (
    "{place}: records are gone, or the topic was made anew: offset {offset} was to be read, there are {low} to {high}; "
    'pass failOnDataLoss="false" to go on with what there is'
)


def columns(headers: bool) -> tuple[tuple[str, T.DataType, pa.DataType], ...]:
    """The columns: name, Spark's type, Arrow's type."""
    return (*COLUMNS, HEADERS) if headers else COLUMNS


def records(reading: Reading, part: Range) -> Iterator[pa.RecordBatch]:
    """The records of a range.

    Raises:
      DataError: some are gone, and that is not allowed.
      ClusterError: no broker answers.
    """
    with CONSUMERS.lent(reading.client) as consumer:
        yield from _batches(reading, part, consumer)
        consumer.unassign()


def _consumer(client: Mapping[str, str]) -> Any:
    defaults = {
        # Required, though no group is joined and nothing is committed.
        "group.id": f"fdl-spark-{uuid.uuid4().hex}",
        "isolation.level": "read_uncommitted",  # the Java client's default, and so Spark's
        # A range has been written before it is read. A request that waits for more would hold up the next range.
        "fetch.wait.max.ms": 10,
        "log_level": 2,  # what matters is raised; one that is kept would log each try to reach a broker that is gone
    }
    ours = {
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "error_cb": ignore,
    }
    with asking(client, "the client's settings"):
        return confluent().Consumer({**defaults, **client, **ours})


CONSUMERS = Clients(_consumer, lambda consumer: consumer.close())


def _batches(reading: Reading, part: Range, consumer: Any) -> Iterator[pa.RecordBatch]:
    kafka = confluent()
    waiting: list[Any] = []
    following, end = _begin(reading, part, part.start, consumer)
    size, heard = 0, time.monotonic()
    while following < end:
        before = following
        # The first is waited for, and what came with it is taken: a range has fewer records than offsets where a
        # transaction ended, or after compaction, and waiting for so many would be waiting for nothing.
        messages = consumer.consume(1, POLL)
        if messages:
            messages += consumer.consume(min(BATCH, end - following), 0)
        for message in messages:
            error = message.error()
            if (message.topic(), message.partition()) != (part.topic, part.partition):
                continue  # of the range before, from a client that was kept
            if error is None and message.offset() < following:
                continue
            if error is None:
                following = message.offset() + 1
                if following <= end:
                    waiting.append(message)
                    size += len(message) + len(message.key() or b"")
            elif error.code() == kafka.KafkaError._PARTITION_EOF:
                # What is before it are marks of transactions, or was compacted away. It may lie before the range's end:
                # an open transaction, or a broker that has not all records yet.
                following = max(following, message.offset())
            elif error.code() == kafka.KafkaError._AUTO_OFFSET_RESET:  # retention took records away since
                following, end = _begin(reading, part, following, consumer)
                heard = time.monotonic()
            elif not error.retriable():
                refused(error, reading.client, f"reading {part}")
            if size >= BATCH_BYTES or len(waiting) >= BATCH:
                yield _table(reading, part, waiting)
                waiting, size = [], 0
        if following > before:
            heard = time.monotonic()
        elif time.monotonic() > heard + reading.patience:
            raise ClusterError(f"{reading.client[SERVERS]} sent no record of {part} within {reading.patience:g} s")
    if waiting:
        yield _table(reading, part, waiting)


def _begin(reading: Reading, part: Range, offset: int, consumer: Any) -> tuple[int, int]:
    """Let the consumer read on from an offset, or from the first record behind it that there is.

    Returns:
      Where it reads, and where the range ends. They are equal if its records are all gone, and that is allowed.

    Raises:
      DataError: some are gone, and that is not allowed.
    """
    place = confluent().TopicPartition(part.topic, part.partition)
    low, high = _there(reading, part, consumer, place)
    begin, end = max(low, offset), min(high, part.end)
    if reading.fail and (begin, end) != (offset, part.end):
        wrong = offset if offset < low else part.end - 1
        raise DataError(LOST.format(place=f"{part.topic}-{part.partition}", offset=wrong, low=low, high=high))
    if begin < end:
        place.offset = begin
        consumer.assign([place])
    return begin, max(begin, end)


def _there(reading: Reading, part: Range, consumer: Any, place: Any) -> tuple[int, int]:
    """The first offset that a partition has, and the one after its last. A broker that is away is waited for."""
    kafka = confluent()
    until = time.monotonic() + reading.patience
    while True:
        try:
            found: tuple[int, int] = consumer.get_watermark_offsets(place, timeout=reading.patience)
            return found
        except kafka.KafkaException as failure:
            error = failure.args[0]
            # A client whose connections were cut knows no leader until it has asked again, and says so at once.
            away = error.retriable() or error.code() in (
                kafka.KafkaError._UNKNOWN_PARTITION, kafka.KafkaError._TRANSPORT, kafka.KafkaError._ALL_BROKERS_DOWN,
            )  # fmt: skip
            if not away or time.monotonic() > until:
                refused(error, reading.client, f"asking what there is of {part}")
            time.sleep(RETRY)


def _table(reading: Reading, part: Range, messages: list[Any]) -> pa.RecordBatch:
    stamps = [message.timestamp() for message in messages]
    rows: list[Any] = [
        [message.key() for message in messages],
        [message.value() for message in messages],
        pa.repeat(part.topic, len(messages)),
        pa.repeat(pa.scalar(part.partition, pa.int32()), len(messages)),
        [message.offset() for message in messages],
        [milliseconds * 1000 if kind else None for kind, milliseconds in stamps],
        [kind - 1 for kind, _ in stamps],  # Spark counts from -1, "no timestamp"
    ]
    if reading.headers:
        rows.append([_headers(message.headers()) for message in messages])
    kinds = columns(reading.headers)
    arrays = [
        values if isinstance(values, pa.Array) else pa.array(values, kind)
        for values, (_, _, kind) in zip(rows, kinds, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(reading.headers))


def _headers(found: list[tuple[str, bytes | None]] | None) -> list[dict[str, Any]] | None:
    return None if found is None else [{"key": name, "value": value} for name, value in found]


def arrow_schema(headers: bool) -> pa.Schema:
    """The schema that Spark compares with."""
    return pa.schema([pa.field(name, kind) for name, _, kind in columns(headers)])


class KafkaReader(DataSourceReader):
    """Reads topics once, from the start to the end that there is when the query is planned."""

    def __init__(self, reading: Reading):
        self.reading = reading

    def partitions(self) -> list[InputPartition]:
        reading, broker = self.reading, Broker(self.reading)
        places = broker.places()
        start, end = broker.at(reading.start, places), broker.at(reading.end, places)
        for place in sorted(start):
            if start[place] > end[place]:
                raise DataError(f"{place[0]}-{place[1]} starts at offset {start[place]}, but ends at {end[place]}")
        return list(ranges(start, end, reading.partitions))

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        # Spark calls this once with a partition of its own if there is none.
        return records(self.reading, partition) if isinstance(partition, Range) else iter(())


class KafkaStreamReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Reads topics as they grow; the query's checkpoint holds the offsets, nothing is committed to Kafka."""

    def __init__(self, reading: Reading):
        self.reading = reading
        self._broker: Broker | None = None
        self._initial: Offsets | None = None
        self._first = False
        self._goal: Offsets | None = None
        self._latest: Offsets | None = None

    def __reduce__(self) -> Any:
        return type(self), (self.reading,)  # tasks only read

    @property
    def broker(self) -> Broker:
        if self._broker is None:
            self._broker = Broker(self.reading)
        return self._broker

    def initialOffset(self) -> dict[str, Any]:
        # Spark asks twice, for the end of the first micro-batch and for its ranges.
        if self._initial is None:
            self._initial, self._first = self.broker.at(self.reading.start, self.broker.places()), True
        return to_json(self._initial)

    def getDefaultReadLimit(self) -> ReadLimit:
        return ReadAllAvailable() if self.reading.most is None else ReadMaxRows(self.reading.most)

    def prepareForTriggerAvailableNow(self) -> None:
        self._goal = self._ends({})

    def latestOffset(self, start: Mapping[str, Any], limit: ReadLimit) -> dict[str, Any]:
        begun = from_json(start)
        self._latest = self._ends(begun) if self._goal is None else self._goal
        most = limit.max_rows if isinstance(limit, ReadMaxRows) else None
        end = limited(self._begun(begun, self._latest), self._latest, most)
        if self._first and begun == self._initial:
            # A checkpoint says where a micro-batch ends, but not where the first one began. Where that is the end of
            # a partition, which moves, the first micro-batch ends there too: so a query that is killed in it goes on
            # from there.
            self._first = False
            end |= {place: offset for place, offset in begun.items() if self._at_end(place)}
        return to_json(end)

    def _at_end(self, place: Place) -> bool:
        start = self.reading.start
        offset = start.offsets if isinstance(start.offsets, int) else start.offsets[place]
        return start.times is None and offset == LATEST

    def reportLatestOffset(self) -> dict[str, Any] | None:
        # Spark asks right after `latestOffset`, for the progress: the brokers need not be asked twice.
        return None if self._latest is None else to_json(self._latest)

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        begun, ends = from_json(start), from_json(end)
        if begun == self._initial:  # of a first micro-batch that is planned again, whose end is older
            begun = {place: min(offset, ends[place]) for place, offset in begun.items() if place in ends}
        return list(ranges(self._begun(begun, ends), ends, self.reading.partitions))

    def _ends(self, start: Offsets) -> Offsets:
        """The ends there are now. One before what was read is asked for again: a broker that has just become a
        partition's leader may not know of its last records yet."""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE)
            ends = self.broker.offsets(self.broker.places(), LATEST)
            if not _gone(start, ends):
                break
        return ends

    def _begun(self, start: Offsets, end: Offsets) -> Offsets:
        """Where each partition of a micro-batch begins: one that is new, or was made anew, at its first record.

        Raises:
          DataError: a partition that was read has gone, or has fewer records than were read, and that is not allowed.
        """
        gone = _gone(start, end)
        if gone and self.reading.fail:
            name, there = "{}-{}".format(*gone[0]), end.get(gone[0], 0)
            raise DataError(LOST.format(place=name, offset=start[gone[0]], low="none", high=there))
        known = {place: offset for place, offset in start.items() if place not in gone}
        return known | self.broker.offsets([place for place in end if place not in known], EARLIEST)

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, Range)
        return records(self.reading, partition)


def _gone(start: Offsets, end: Offsets) -> list[Place]:
    """The partitions that end before what was read of them, or are no more."""
    return sorted(place for place, offset in start.items() if end.get(place, -1) < offset)
