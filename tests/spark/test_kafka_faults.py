"""What brokers seldom do, against clients that tell of it here, without Spark."""

import threading
from types import SimpleNamespace

import pyarrow as pa
import pytest
from pyspark.sql import types as T

from fdl_spark.errors import ClusterError, DataError
from fdl_spark.kafka import broker, clients, reader, writer
from fdl_spark.kafka.offsets import EARLIEST, LATEST, Range
from fdl_spark.kafka.options import reading

kafka = pytest.importorskip("confluent_kafka")
pyspark_streaming = pytest.importorskip("pyspark.sql.streaming.datasource")

SERVERS = {"kafka.bootstrap.servers": "nowhere:1"}
EOF_, RESET = kafka.KafkaError._PARTITION_EOF, kafka.KafkaError._AUTO_OFFSET_RESET


class Message:
    """A record, or an error of the client at an offset."""

    def __init__(self, offset, code=None, topic="t"):
        self.topic, self.partition, self.offset = lambda: topic, lambda: 0, lambda: offset
        self.error = lambda: None if code is None else kafka.KafkaError(code)
        self.key = lambda: None
        self.value = lambda: b"v%d" % offset
        self.timestamp = lambda: (1, 1000 + offset)

    def __len__(self):
        return len(self.value())


class Consumer:
    """What arrives, one list after the other; None is a moment in which nothing does."""

    def __init__(self, *arrivals, marks=((0, 9),)):
        self.arrivals, self.marks, self.assigned, self.waits = list(arrivals), list(marks), [], []
        self.here = []

    def get_watermark_offsets(self, _place, timeout):
        found = self.marks.pop(0) if len(self.marks) > 1 else self.marks[0]
        if isinstance(found, int):
            raise kafka.KafkaException(kafka.KafkaError(found))
        return found

    def assign(self, places):
        self.assigned += [place.offset for place in places]

    def consume(self, count, timeout):
        if timeout:
            self.waits.append(count)
        if not self.here and timeout:
            self.here = list(self.arrivals.pop(0) or ())
        found, self.here = self.here[:count], self.here[count:]
        return found


def offsets(consumer, start=0, end=9, **options):
    found = reading({**SERVERS, "subscribe": "t", **options}, streaming=False)
    batches = reader._batches(found, Range("t", 0, start, end), consumer)
    return [offset for batch in batches for offset in batch["offset"].to_pylist()]


def test_the_end_of_a_partition_ends_a_range_only_if_the_range_ends_there():
    # An open transaction, or a broker that lags: the partition ends at 2 for a while, but the range ends at 4.
    consumer = Consumer([Message(0), Message(1)], [Message(2, EOF_)], None, [Message(2), Message(3)])
    assert offsets(consumer, end=4) == [0, 1, 2, 3]
    assert offsets(Consumer([Message(0), Message(2, EOF_)]), end=2) == [0]  # offset 1 is the mark of a transaction
    with pytest.raises(ClusterError, match=r"nowhere:1 sent no record of t-0, offsets 0 to 4 within 0.001 s"):
        offsets(
            Consumer([Message(0)], [Message(1, EOF_)], *[None] * 9000), end=4, **{"kafkaConsumer.pollTimeoutMs": "1"}
        )


def test_a_client_that_was_kept_gives_nothing_of_the_range_before():
    stale = [Message(9, EOF_, topic="u"), Message(7, topic="u"), Message(1)]
    assert offsets(Consumer([*stale, Message(2), Message(3)]), start=2, end=4) == [2, 3]


def test_no_one_waits_for_records_that_a_range_does_not_have():
    consumer = Consumer([Message(0), Message(1)], [Message(7), Message(9)])  # compaction took the others away
    assert offsets(consumer, end=9) == [0, 1, 7]
    assert set(consumer.waits) == {1}


def test_retention_moves_the_beginning_while_records_are_read():
    def consumer():
        return Consumer([Message(0), Message(1)], [Message(2, RESET)], [Message(6), Message(7)], marks=[(0, 8), (6, 8)])

    found = consumer()
    assert offsets(found, end=8, failOnDataLoss="false") == [0, 1, 6, 7]
    assert found.assigned == [0, 6]
    with pytest.raises(DataError, match=r"t-0: records are gone.*offset 2 was to be read, there are 6 to 8"):
        offsets(consumer(), end=8)
    gone = Consumer([Message(0)], [Message(1, RESET)], marks=[(0, 8), (20, 30)])
    assert offsets(gone, end=8, failOnDataLoss="false") == [0]


def test_a_reader_waits_for_a_broker_that_is_away(monkeypatch):
    monkeypatch.setattr(reader, "RETRY", 0)
    away = [kafka.KafkaError._UNKNOWN_PARTITION, kafka.KafkaError._TRANSPORT]
    assert offsets(Consumer([Message(0)], marks=[*away, (0, 1)]), end=1) == [0]
    with pytest.raises(ClusterError, match="asking what there is of t-0, offsets 0 to 1 from nowhere:1"):
        offsets(Consumer(marks=[kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED]), end=1)
    with pytest.raises(ClusterError, match="asking what there is of t-0, offsets 0 to 1 from nowhere:1"):
        offsets(Consumer(marks=away[:1]), end=1, **{"kafkaConsumer.pollTimeoutMs": "1"})


@pytest.mark.parametrize("level", ["read_committed", "read_uncommitted"])
def test_ends_are_those_of_the_isolation_level(level):
    asked = broker.Broker(reading({**SERVERS, "kafka.isolation.level": level, "subscribe": "t"}, streaming=False))
    levels = []

    def list_offsets(request, isolation_level, request_timeout):
        levels.append(isolation_level)
        return {place: SimpleNamespace(result=lambda: SimpleNamespace(offset=5)) for place in request}

    asked._admin = SimpleNamespace(list_offsets=list_offsets)
    assert asked.offsets([("t", 0)], LATEST) == {("t", 0): 5}
    assert levels == [kafka.IsolationLevel[level.upper()]]


def test_patterns_do_not_mean_topics_of_kafka_itself():
    asked = broker.Broker(reading({**SERVERS, "subscribePattern": ".*a.*"}, streaming=False))
    there = ["data", "__transaction_state", "__shared", "__share_group_state", "b"]
    about = SimpleNamespace(partitions={0: None}, error=None)
    asked._admin = SimpleNamespace(list_topics=lambda timeout: SimpleNamespace(topics=dict.fromkeys(there, about)))
    assert asked.places() == [("__shared", 0), ("data", 0)]


class Ends:
    """A broker of a topic with these ends, one for each time that they are asked for, the last one from then on."""

    def __init__(self, *ends):
        self.ends = [{("t", n): end for n, end in enumerate(each)} for each in ends]
        self.now = self.ends[0]

    def places(self):
        self.now = self.ends.pop(0) if self.ends else self.now
        return list(self.now)

    def offsets(self, places, which):
        return {place: 0 if which == EARLIEST else self.now[place] for place in places}

    def at(self, _bound, places):
        return self.offsets(places, LATEST)


def stream(*ends, **options):
    found = reader.KafkaStreamReader(reading({**SERVERS, "subscribe": "t", **options}, streaming=True))
    found._broker = Ends(*ends)
    return found


ALL = pyspark_streaming.ReadAllAvailable()


def spans(query, start, end):
    return [(part.partition, part.start, part.end) for part in query.partitions(start, end)]


def test_a_topic_that_was_made_anew_is_read_from_its_first_record(monkeypatch):
    monkeypatch.setattr(reader, "PAUSE", 0)
    start = {"t": {"0": 50}}
    query = stream([10], failOnDataLoss="false")
    end = query.latestOffset(start, ALL)
    assert end == {"t": {"0": 10}} and spans(query, start, end) == [(0, 0, 10)]
    end = query.latestOffset(start, pyspark_streaming.ReadMaxRows(4))
    assert end == {"t": {"0": 4}} and spans(query, start, end) == [(0, 0, 4)]
    with pytest.raises(DataError, match="t-0: records are gone, or the topic was made anew: offset 50"):
        stream([10]).latestOffset(start, ALL)


def test_an_end_that_is_too_low_for_a_moment_is_asked_for_again(monkeypatch):
    monkeypatch.setattr(reader, "PAUSE", 0)
    query = stream([40], [60], [70])
    assert query.latestOffset({"t": {"0": 50}}, ALL) == {"t": {"0": 60}} == query.reportLatestOffset()


def test_a_partition_that_is_new_is_read_from_its_first_record():
    query = stream([9, 3])
    end = query.latestOffset({"t": {"0": 5}}, ALL)
    assert end == {"t": {"0": 9, "1": 3}}
    assert spans(query, {"t": {"0": 5}}, end) == [(0, 5, 9), (1, 0, 3)]


def test_a_query_from_the_latest_records_on_loses_none_when_it_is_killed_in_its_first_batch():
    query = stream([5, 2], [9, 2])
    start = query.initialOffset()
    assert query.latestOffset(start, ALL) == {"t": {"0": 5, "1": 2}}  # which the checkpoint keeps
    assert query.initialOffset() == start  # asked again, for the ranges
    assert spans(query, start, start) == []
    assert query.latestOffset(start, ALL) == {"t": {"0": 9, "1": 2}}
    again = stream([12, 4])  # a new process, which plans the first batch once more
    assert spans(again, again.initialOffset(), start) == []
    assert spans(again, start, again.latestOffset(start, ALL)) == [(0, 5, 12), (1, 2, 4)]
    earliest = stream([5], startingOffsets='{"t": {"0": 3}}')
    earliest._broker.at = lambda bound, places: bound.offsets
    start = earliest.initialOffset()
    assert earliest.latestOffset(start, ALL) == {"t": {"0": 5}}  # a start that does not move needs no empty batch


class Producer:
    """Tells that the first record was not taken."""

    def __init__(self):
        self.produced, self.purged, self.waiting = [], False, []

    def produce(self, topic, value, key, on_delivery, **_more):
        self.produced.append(value)
        self.waiting.append(on_delivery)

    def poll(self, _timeout):
        for told in self.waiting:
            told(kafka.KafkaError(kafka.KafkaError._MSG_TIMED_OUT), None)
        self.waiting = []

    def purge(self):
        self.purged = True


def rows(*batches):
    schema = T.StructType([T.StructField("value", T.StringType()), T.StructField("headers", reader.HEADERS[1])])
    writing = writer.KafkaWriter({**SERVERS, "topic": "t"}, schema)
    return writing, iter([pa.RecordBatch.from_pylist(each) for each in batches])


def test_the_writer_stops_at_a_record_that_was_not_taken(monkeypatch):
    producer = Producer()
    monkeypatch.setattr(writer, "PRODUCERS", clients.Clients(lambda _settings: producer, writer._end))
    writing, batches = rows([{"value": "a"}, {"value": "b"}], [{"value": "c"}])
    with pytest.raises(ClusterError, match="no record was taken from nowhere:1: "):
        writing.write(batches)
    assert producer.produced == ["a"] and producer.purged and not writer.PRODUCERS._idle
    assert len(list(batches)) == 1


def test_headers_without_keys_are_not_written(monkeypatch):
    monkeypatch.setattr(writer, "PRODUCERS", clients.Clients(lambda _settings: Producer(), writer._end))
    for headers in ([{"key": None, "value": b"x"}], [None]):
        writing, batches = rows([{"value": "a", "headers": headers}])
        with pytest.raises(DataError, match="a header is null, or has no key"):
            writing.write(batches)


def test_clients_are_kept_for_equal_settings_until_an_error_or_nobody_needs_them(monkeypatch):
    made, closed = [], []

    def make(settings):
        made.append(settings)
        return len(made)

    kept = clients.Clients(make, closed.append)
    with kept.lent({"a": "1", "b": "2"}) as first, kept.lent({"a": "1", "b": "2"}) as second:
        assert (first, second) == (1, 2)  # one that is in use is not lent to another
    assert closed == [2]  # put back first; one is kept
    with kept.lent({"b": "2", "a": "1"}) as again:
        assert again == 1
    with pytest.raises(ZeroDivisionError), kept.lent({"a": "1", "b": "2"}):
        raise ZeroDivisionError
    assert closed == [2, 1] and not kept._idle
    for n in range(clients.KEPT + 2):
        with kept.lent({"n": str(n)}):
            pass
    assert len(kept._idle) == clients.KEPT and closed == [2, 1, 3, 4]
    monkeypatch.setattr(clients, "UNUSED", 0.0)
    ended = threading.Event()
    monkeypatch.setattr(kept, "_close", lambda client: (closed.append(client), ended.set()))
    with kept.lent({"n": "5"}) as last:
        pass
    assert ended.wait(60) and closed[-1] == last
