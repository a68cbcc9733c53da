"""Rows of a DataFrame become records of topics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import types as T
from pyspark.sql.datasource import DataSourceArrowWriter, DataSourceStreamArrowWriter, WriterCommitMessage

from fdl_spark.errors import ColumnError, DataError, MissingColumnError
from fdl_spark.kafka.broker import asking, confluent, ignore, refused
from fdl_spark.kafka.clients import Clients
from fdl_spark.kafka.options import SERVERS, WRITING, client_of

FULL = 1.0  # seconds to wait for room in the client's queue
KINDS: dict[str, tuple[type[T.DataType], ...]] = {
    "key": (T.StringType, T.BinaryType),
    "value": (T.StringType, T.BinaryType),
    "topic": (T.StringType,),
    "partition": (T.IntegerType,),
    "headers": (T.ArrayType,),
}
HEADERS = "array<struct<key:string,value:binary>>"


def _producer(client: Mapping[str, str]) -> Any:
    with asking(client, "the client's settings"):
        return confluent().Producer({"enable.idempotence": True, **client, "error_cb": ignore})


def _end(producer: Any) -> None:
    producer.purge()  # after an error: what waits to be sent is not


PRODUCERS = Clients(_producer, _end)


@dataclass
class Written(WriterCommitMessage):
    """How many records a task has written, all of them acknowledged."""

    records: int


class Writing:
    """Writes rows with the columns value and, optionally, key, topic, partition, headers.

    Each record is acknowledged before a task ends. A task that is run again writes its rows again: delivery is at least
    once, as that of Spark's own sink.

    Args:
      options: of the DataFrame's writer.
      schema: of its rows.

    Raises:
      ArgumentError: an option is unknown or missing.
      ColumnError, MissingColumnError: a column is not what it must be.
    """

    def __init__(self, options: Mapping[str, str], schema: T.StructType):
        self.client = client_of(options, WRITING)
        self.topic = {name.lower(): value for name, value in options.items()}.get("topic")
        kinds = {field.name: field.dataType for field in schema.fields}
        if "value" not in kinds:
            raise MissingColumnError("value", list(kinds), "the Kafka sink")
        if self.topic is None and "topic" not in kinds:
            raise MissingColumnError("topic", list(kinds), 'the Kafka sink without the option "topic"')
        for name, kind in kinds.items():
            if name not in KINDS:
                raise ColumnError(name, f"is none of the Kafka sink's columns {', '.join(KINDS)}; drop it")
            if not isinstance(kind, KINDS[name]) or (name == "headers" and kind.simpleString() != HEADERS):
                wanted = HEADERS if name == "headers" else " or ".join(each.typeName() for each in KINDS[name])
                raise ColumnError(
                    name, f"must be of type {wanted} for the Kafka sink, not {kind.simpleString()}; cast it"
                )

    def write(self, batches: Iterator[pa.RecordBatch]) -> Written:
        failed: list[Any] = []
        asked = 0

        def told(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        with PRODUCERS.lent(self.client) as producer:
            for batch in batches:
                for row in batch.to_pylist():
                    self._produce(producer, row, told)
                    asked += 1
                    if failed:  # the task is run again, or the query ends: what else is sent would be sent twice
                        refused(failed[0], self.client, "no record was taken")
            left = producer.flush()
            if failed:
                refused(failed[0], self.client, "no record was taken")
            if left:
                raise DataError(f"{left} of {asked} records were not acknowledged by {self.client[SERVERS]}")
        return Written(asked)

    def _produce(self, producer: Any, row: dict[str, Any], told: Any) -> None:
        topic = self.topic if self.topic is not None else row["topic"]
        if topic is None:
            raise DataError('a row has no topic; give the option "topic", or fill the column')
        more = {} if row.get("partition") is None else {"partition": row["partition"]}
        headers = row.get("headers")
        if headers is not None:
            if any(header is None or header["key"] is None for header in headers):
                raise DataError(f"a header is null, or has no key: {headers}; Kafka's headers have keys")
            more["headers"] = [(header["key"], header["value"]) for header in headers]
        while True:
            try:
                producer.produce(topic, row["value"], row.get("key"), on_delivery=told, **more)
                producer.poll(0)
                return
            except BufferError:  # the queue is full
                producer.poll(FULL)
            except confluent().KafkaException as error:
                refused(error.args[0], self.client, f"topic {topic!r} takes no record")


class KafkaWriter(Writing, DataSourceArrowWriter):
    """Writes a DataFrame."""


class KafkaStreamWriter(Writing, DataSourceStreamArrowWriter):
    """Writes a stream's micro-batches."""

    def commit(self, messages: list[Any], batchId: int) -> None:
        """Nothing is left to do: tasks end when their records are acknowledged."""

    def abort(self, messages: list[Any], batchId: int) -> None:
        """Nothing can be taken back."""
