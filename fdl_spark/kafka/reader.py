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
from fdl_spark.kafka.offsets import EARLIEST, LATEST, Offsets, Range, from_json, limited, ranges, to_json
from fdl_spark.kafka.options import SERVERS, Reading

BATCH = 2_000  # records at most
BATCH_BYTES = 4 << 20  # after which a record batch is handed on
POLL = 0.5  # seconds
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
    kafka = confluent()
    ours = {
        # Required, though no group is joined and nothing is committed.
        "group.id": f"fdl-spark-{uuid.uuid4().hex}",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "error_cb": ignore,
    }
    with asking(reading.client, "the client's settings"):
        # The Java client's default, and so Spark's.
        consumer = kafka.Consumer({"isolation.level": "read_uncommitted", **reading.client, **ours})
    try:
        yield from _batches(reading, part, consumer)
    finally:
        consumer.close()


def _batches(reading: Reading, part: Range, consumer: Any) -> Iterator[pa.RecordBatch]:
    waiting: list[Any] = []
    size, heard = 0, time.monotonic()
    place = confluent().TopicPartition(part.topic, part.partition)
    start = _first(reading, part, consumer, place)
    if start is None:
        return
    place.offset = start
    consumer.assign([place])
    while True:
        messages = consumer.consume(BATCH, POLL)
        if messages:
            heard = time.monotonic()
        elif time.monotonic() > heard + reading.patience:
            raise ClusterError(f"{reading.client[SERVERS]} sent no record of {part} within {reading.patience:g} s")
        ended = False
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == confluent().KafkaError._PARTITION_EOF:
                    ended = True  # what is left of the range are marks of transactions, or was compacted away
                    continue
                if error.retriable():
                    continue
                refused(error, reading.client, f"reading {part}")
            if message.offset() >= part.end:
                ended = True
                break
            waiting.append(message)
            size += len(message)
            if size >= BATCH_BYTES or len(waiting) >= BATCH:
                yield _table(reading, waiting)
                waiting, size = [], 0
            if message.offset() == part.end - 1:
                ended = True
                break
        if ended:
            if waiting:
                yield _table(reading, waiting)
            return


def _first(reading: Reading, part: Range, consumer: Any, place: Any) -> int | None:
    """The offset to begin at; None if the range's records are all gone, and that is allowed.

    Raises:
      DataError: some are gone, and that is not allowed.
    """
    with asking(reading.client, f"asking what there is of {part}"):
        low, high = consumer.get_watermark_offsets(place, timeout=reading.patience)
    if low <= part.start and part.end <= high:
        return part.start
    if reading.fail:
        wrong = part.start if part.start < low else part.end - 1
        name = f"{part.topic}-{part.partition}"
        raise DataError(LOST.format(place=name, offset=wrong, low=low, high=high))
    start = max(low, part.start)
    return start if start < min(high, part.end) else None


def _table(reading: Reading, messages: list[Any]) -> pa.RecordBatch:
    stamps = [message.timestamp() for message in messages]
    rows: list[Any] = [
        [message.key() for message in messages],
        [message.value() for message in messages],
        [message.topic() for message in messages],
        [message.partition() for message in messages],
        [message.offset() for message in messages],
        [milliseconds * 1000 if kind else None for kind, milliseconds in stamps],
        [kind - 1 for kind, _ in stamps],  # Spark counts from -1, "no timestamp"
    ]
    if reading.headers:
        rows.append([_headers(message.headers()) for message in messages])
    kinds = columns(reading.headers)
    arrays = [pa.array(values, kind) for values, (_, _, kind) in zip(rows, kinds, strict=True)]
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
        self._goal: Offsets | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"reading": self.reading, "_broker": None, "_goal": None}  # tasks only read

    @property
    def broker(self) -> Broker:
        if self._broker is None:
            self._broker = Broker(self.reading)
        return self._broker

    def initialOffset(self) -> dict[str, Any]:
        return to_json(self.broker.at(self.reading.start, self.broker.places()))

    def getDefaultReadLimit(self) -> ReadLimit:
        return ReadAllAvailable() if self.reading.most is None else ReadMaxRows(self.reading.most)

    def prepareForTriggerAvailableNow(self) -> None:
        self._goal = self.broker.offsets(self.broker.places(), LATEST)

    def latestOffset(self, start: Mapping[str, Any], limit: ReadLimit) -> dict[str, Any]:
        end = self.broker.offsets(self.broker.places(), LATEST) if self._goal is None else self._goal
        most = limit.max_rows if isinstance(limit, ReadMaxRows) else None
        return to_json(limited(self._begun(from_json(start), end), end, most))

    def reportLatestOffset(self) -> dict[str, Any]:
        return to_json(self.broker.offsets(self.broker.places(), LATEST))

    def partitions(self, start: dict[str, Any], end: dict[str, Any]) -> list[InputPartition]:
        ends = from_json(end)
        return list(ranges(self._begun(from_json(start), ends), ends, self.reading.partitions))

    def _begun(self, start: Offsets, end: Offsets) -> Offsets:
        """Where each partition of a micro-batch begins: one that is new, at its first record.

        Raises:
          DataError: a partition that was read has gone, or has fewer records than were read.
        """
        gone = sorted(place for place in start if place not in end or end[place] < start[place])
        if gone and self.reading.fail:
            name = "{}-{}".format(*gone[0])
            there = end.get(gone[0], 0)
            raise DataError(LOST.format(place=name, offset=start[gone[0]], low="none", high=there))
        known = {place: offset for place, offset in start.items() if place in end}
        new = [place for place in end if place not in start]
        return known | (self.broker.offsets(new, EARLIEST) if new else {})

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        assert isinstance(partition, Range)
        return records(self.reading, partition)
