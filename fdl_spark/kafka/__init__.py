"""Kafka topics as DataFrames, batch and streaming, without a jar.

Spark's own source is a jar, `spark-sql-kafka`. Where it is absent, this one takes its place: the same options, the same
columns, the same JSON of offsets, read by confluent-kafka (the extra `kafka`) in the Python workers.
"""

from fdl_spark.kafka.source import KafkaSource, source

__all__ = ["KafkaSource", "source"]


def __dir__() -> list[str]:
    return __all__
