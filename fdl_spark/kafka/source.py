"""The data source that Spark is told of, and the choice between it and Spark's own."""

from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import types as T
from pyspark.sql.datasource import DataSource

from fdl_spark.errors import ArgumentError
from fdl_spark.kafka.broker import confluent
from fdl_spark.kafka.options import reading
from fdl_spark.kafka.reader import KafkaReader, KafkaStreamReader, columns
from fdl_spark.kafka.writer import KafkaStreamWriter, KafkaWriter

NAME = "fdl_kafka"


class KafkaSource(DataSource):
    """Kafka topics as rows with the columns key, value, topic, partition, offset, timestamp, timestampType.

    The options are those of Spark's own source: `kafka.*` for the client (librdkafka's names), one of `subscribe`,
    `subscribePattern`, `assign`; `startingOffsets`, `endingOffsets`, `startingTimestamp`, `endingTimestamp`,
    `startingOffsetsByTimestamp`, `endingOffsetsByTimestamp`, `startingOffsetsByTimestampStrategy`, `failOnDataLoss`,
    `includeHeaders`, `maxOffsetsPerTrigger`, `minPartitions`, `kafkaConsumer.pollTimeoutMs`. Others raise an error.

    >>> KafkaSource.name()
    'fdl_kafka'
    >>> KafkaSource({"includeHeaders": "true"}).schema().names[-1]
    'headers'
    """

    @classmethod
    def name(cls) -> str:
        return NAME

    def schema(self) -> T.StructType:
        headers = str(self.options.get("includeHeaders", "false")).lower() == "true"
        return T.StructType([T.StructField(name, kind) for name, kind, _ in columns(headers)])

    def reader(self, schema: T.StructType) -> KafkaReader:
        self._check(schema)
        return KafkaReader(reading(dict(self.options), streaming=False))

    def streamReader(self, schema: T.StructType) -> KafkaStreamReader:
        self._check(schema)
        return KafkaStreamReader(reading(dict(self.options), streaming=True))

    def writer(self, schema: T.StructType, overwrite: bool) -> KafkaWriter:
        if overwrite:
            raise ArgumentError('a topic cannot be overwritten; pass mode("append")')
        return KafkaWriter(dict(self.options), schema)

    def streamWriter(self, schema: T.StructType, overwrite: bool) -> KafkaStreamWriter:
        return KafkaStreamWriter(dict(self.options), schema)

    def _check(self, schema: T.StructType) -> None:
        if schema != self.schema():
            raise ArgumentError(f"the source has its own schema, {self.schema().simpleString()}; do not give one")


def source(spark: SparkSession) -> str:
    """The name of the format to read and write Kafka topics with: Spark's own if its jar is there, else this one.

    Args:
      spark: a session, classic or Connect. That of Connect does not say what its server's class path holds, and gets
        this one; its server and executors need fdl with the extra `kafka`.

    Returns:
      A name for `spark.readStream.format(...)`, `read.format`, `write.format`, `writeStream.format`.

    Raises:
      ClusterError: confluent-kafka, the extra `kafka`, is not installed.
    """
    if _has_own(spark):
        return "kafka"
    confluent()
    spark.dataSource.register(KafkaSource)
    return NAME


def _has_own(spark: Any) -> bool:
    try:
        loader = spark.sparkContext._jvm.org.apache.spark.util.Utils.getContextOrSparkClassLoader()
        loader.loadClass("org.apache.spark.sql.kafka010.KafkaSourceProvider")
    except Exception:  # not there, or a Connect session, which does not say
        return False
    return True
