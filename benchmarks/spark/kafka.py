"""Kafka topics through `fdl_spark.kafka`: throughput of batches and streams, and how old a prediction is on arrival.

    python -m benchmarks.spark.kafka [--records 40000] [--rate 200] [--seconds 20] [--servers HOST:PORT] [--only ...]

Records are JSON of 2,000 bytes in two partitions: a text with the time at which it was sent, and 192 numbers, of which
an MLP makes ten. Without --servers the broker is the one of the tests, a process beside the session on the same cores.

* batch: a topic is read into a DataFrame that counts it, and a DataFrame is written; beside each, confluent-kafka alone
  in one process doing the same.
* streaming: a query that predicts reads a topic in five micro-batches; the first, which starts workers, does not count.
* latency: records are sent at the stated rate to a running query with the default trigger, which predicts and hands
  on, to a topic that is consumed here or to `foreachBatch`. From the time in the record to its arrival in this process.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

import fdl
import fdl_spark
from benchmarks import mlp
from benchmarks.report import table
from benchmarks.spark.broker import SINGLY, make_topic, running
from fdl_spark import kafka

BYTES, WIDTH = 2_000, 192
LAYERS = (WIDTH, 128, 10)
PARTS = ["batch", "streaming", "latency"]
PHASES = ["latestOffset", "queryPlanning", "walCommit", "addBatch", "commitOffsets", "triggerExecution"]
WARM = 5.0  # seconds after the first arrival before ages count
LONGEST = 120.0  # seconds until the first record arrives
SETTINGS = {"spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2"}
SCHEMA = "sent double, x array<float>, rest string"


def record(numbers: str, sent: float) -> bytes:
    """JSON of BYTES bytes."""
    text = f'{{"sent": {sent:.6f}, "x": [{numbers}], "rest": "'
    return (text.ljust(BYTES - 2, ".") + '"}').encode()


def numbers() -> list[str]:
    """A few arrays as JSON, without brackets."""
    values = np.random.default_rng(0).uniform(size=(64, WIDTH))
    return [", ".join(f"{value:.4f}" for value in row) for row in values]


def apply(params: Any, batch: Any) -> Any:
    """Ten numbers of each record."""
    x = batch["x"]
    for i in range(len(params)):
        x = x @ params[f"dense{i}"]["w"] + params[f"dense{i}"]["b"]
        x = fdl.nn.relu(x) if i < len(params) - 1 else x
    return x


def predicted(records: Any) -> Any:
    """A frame of records becomes one with the columns sent and p."""
    rows = records.selectExpr(f"from_json(cast(value as string), '{SCHEMA}') as r").select("r.sent", "r.x")
    return fdl_spark.predict(apply, mlp.inputs(1, LAYERS)[0], rows, "p", columns=["x"])


class Bench:
    """A session, a broker and what is measured with them.

    Args:
      spark: the session.
      servers: the broker's address.
      records: of throughput.
      rate: records a second, of latency.
      seconds: that ages are taken.
    """

    def __init__(self, spark: Any, servers: str, records: int, rate: float, seconds: float):
        self.spark, self.servers, self.records, self.rate, self.seconds = spark, servers, records, rate, seconds
        self.form = kafka.source(spark)
        self.values = numbers()

    def source(self, topic: str, stream: bool = False, **options: Any) -> Any:
        reader = (self.spark.readStream if stream else self.spark.read).format(self.form)
        return reader.options(**{"kafka.bootstrap.servers": self.servers, "subscribe": topic, **options}).load()

    def sink(self, writer: Any, topic: str) -> Any:
        return writer.format(self.form).option("kafka.bootstrap.servers", self.servers).option("topic", topic)

    def producer(self, **settings: Any) -> Any:
        from confluent_kafka import Producer

        return Producer({"bootstrap.servers": self.servers, "log_level": 0, **settings})

    def consume(self, topic: str, timeout: float = 60.0) -> Iterator[Any]:
        """Records as they come, or none for a moment, until there was none for so long."""
        from confluent_kafka import Consumer, TopicPartition

        settings = {"group.id": "benchmark", "enable.auto.commit": False, "fetch.wait.max.ms": 10, "log_level": 0}
        consumer = Consumer({"bootstrap.servers": self.servers, **settings})
        consumer.assign([TopicPartition(topic, n, 0) for n in range(2)])
        heard = time.monotonic()
        try:
            while time.monotonic() < heard + timeout:
                messages = consumer.consume(1, 0.1)
                messages += consumer.consume(2000, 0) if messages else []
                heard = time.monotonic() if messages else heard
                yield [message for message in messages if message.error() is None]
        finally:
            consumer.close()

    def fill(self, topic: str, records: int) -> float:
        """Produce records to a topic; the seconds that it took."""
        producer = self.producer()
        values = [record(text, 0.0) for text in self.values]
        began = time.perf_counter()
        for n in range(records - 2):
            while True:
                try:
                    producer.produce(topic, values[n % len(values)], str(n).encode(), n % 2)
                    break
                except BufferError:
                    producer.poll(0.1)
        check(producer.flush(120), 0)
        seconds = time.perf_counter() - began
        last = self.producer(**SINGLY)  # so that the tests' broker knows the ends
        for n in (0, 1):
            last.produce(topic, values[n], str(n).encode(), n)
        check(last.flush(60), 0)
        return seconds

    def batch(self) -> str:
        """Records a second read and written."""
        topic, lines = make_topic(self.servers, f"read-{time.time_ns()}"), []
        alone = self.fill(topic, self.records)
        frame = self.source(topic)
        for name in ("first read", "read"):
            began = time.perf_counter()
            row = frame.selectExpr("count(1)", "sum(length(value))", "sum(length(key))", "max(offset)").first()
            seconds = time.perf_counter() - began
            check(tuple(row)[:2], (self.records, self.records * BYTES))
            lines.append(self.line(f"{name} into a DataFrame", seconds))
        began, found = time.perf_counter(), 0
        for messages in self.consume(topic):
            found += len(messages)
            if found == self.records:
                break
        lines.append(self.line("read by confluent-kafka alone", time.perf_counter() - began))
        text = self.spark.range(0, self.records, 1, 2)
        text = text.selectExpr(
            "cast(id as string) AS key", f"repeat('v', {BYTES}) AS value", "int(id % 2) AS partition"
        )
        for name in ("first written", "written"):
            target = make_topic(self.servers, f"{name.split()[0]}-{time.time_ns()}")
            began = time.perf_counter()
            self.sink(text.write.mode("append"), target).save()
            seconds = time.perf_counter() - began
            found = sum(map(len, self.until(target, self.records)))
            check(found, self.records)
            lines.append(self.line(f"{name} from a DataFrame", seconds))
        lines.append(self.line("written by confluent-kafka alone", alone))
        return table(["batch", "seconds", "records/s", "MB/s"], lines)

    def until(self, topic: str, count: int) -> Iterator[Any]:
        """What there is of a topic, so many records at least if they come."""
        for messages in self.consume(topic, 10.0):
            count -= len(messages)
            yield messages
            if count <= 0:
                return

    def line(self, name: str, seconds: float, records: int | None = None) -> list[str]:
        records = self.records if records is None else records
        return [name, f"{seconds:.2f}", f"{records / seconds:,.0f}", f"{records * BYTES / seconds / 1e6:.1f}"]

    def streaming(self, folder: Path) -> str:
        """Records a second of a stream with predict."""
        topic, lines = make_topic(self.servers, f"stream-{time.time_ns()}"), []
        self.fill(topic, self.records)
        for title in ("predict", "predict, back to Kafka"):
            most = -(-self.records // 5)
            rows = predicted(self.source(topic, True, startingOffsets="earliest", maxOffsetsPerTrigger=most))
            writer = rows.writeStream.format("noop")
            if title != "predict":
                target = make_topic(self.servers, f"predicted-{time.time_ns()}")
                writer = self.sink(rows.selectExpr("to_json(struct(*)) AS value").writeStream, target)
            writer = writer.option("checkpointLocation", str(folder / title)).trigger(availableNow=True)
            query = writer.start()
            query.awaitTermination()
            done = [progress for progress in query.recentProgress if progress["numInputRows"]]
            check(sum(progress["numInputRows"] for progress in done), self.records)
            seconds = sum(progress["durationMs"]["triggerExecution"] for progress in done[1:]) / 1000
            lines.append(self.line(title, seconds, sum(progress["numInputRows"] for progress in done[1:])))
        return table(["streaming", "seconds", "records/s", "MB/s"], lines)

    def latency(self, folder: Path) -> str:
        """Quantiles of ages on arrival, and what the median micro-batch's time goes to."""
        ages, phases = [], []
        for sink in ("a topic", "foreachBatch"):
            found: list[tuple[float, float]] = []
            topic = make_topic(self.servers, f"sent-{time.time_ns()}")
            rows = predicted(self.source(topic, True))
            ended = threading.Event()
            if sink == "a topic":
                target = make_topic(self.servers, f"arrived-{time.time_ns()}")
                writer = self.sink(rows.selectExpr("cast(sent as string) AS value").writeStream, target)
                listener = threading.Thread(target=self.listen, args=(target, found, ended))
                listener.start()
            else:
                writer = rows.writeStream.foreachBatch(arrival(found))
            query = writer.option("checkpointLocation", str(folder / sink)).start()
            try:
                began, sent = self.send(topic, found)
            finally:
                ended.set()
                query.stop()
                if sink == "a topic":
                    listener.join()
            late = [age for at, age in found if at > began > 0]
            if not late:
                raise RuntimeError(f"nothing arrived from {sink}: {query.exception()}")
            quantiles = [f"{1000 * np.quantile(late, q):.0f}" for q in (0.5, 0.99, 1.0)]
            ages.append([f"to {sink}", *quantiles, f"{len(late)}", f"{sent}", f"{len(found)}"])
            done = [each["durationMs"] for each in query.recentProgress if each["numInputRows"]][3:]
            middle = [f"{statistics.median(each.get(name, 0) for each in done):.0f}" for name in PHASES]
            phases.append([f"to {sink}", *middle, f"{len(done)}"])
        header = ["latency, ms", "p50", "p99", "longest", "records", "sent", "arrived"]
        second = ["micro-batch, ms", *PHASES, "batches"]
        return f"{table(header, ages)}\n\n{table(second, phases)}"

    def send(self, topic: str, found: list[tuple[float, float]]) -> tuple[float, int]:
        """Send records at the rate until they arrive, and for a while; since when ages count, and how many."""
        producer, sent, counted = self.producer(**{"linger.ms": 0}, **SINGLY), 0, 0.0
        began = time.time()
        while not counted or time.time() < counted + self.seconds:
            if found and not counted:
                counted = time.time() + WARM
            if not counted and time.time() > began + LONGEST:
                break
            time.sleep(max(0.0, began + sent / self.rate - time.time()))
            producer.produce(topic, record(self.values[sent % len(self.values)], time.time()), partition=sent % 2)
            producer.poll(0)
            sent += 1
        check(producer.flush(30), 0)
        time.sleep(2.0)
        return counted, sent

    def listen(self, topic: str, found: list[tuple[float, float]], ended: threading.Event) -> None:
        """Note ages of what arrives in a topic."""
        for messages in self.consume(topic):
            now = time.time()
            found += [(float(message.value()), now - float(message.value())) for message in messages]
            if ended.is_set():
                return


def arrival(found: list[tuple[float, float]]) -> Callable[[Any, int], None]:
    """What notes ages of a micro-batch's rows."""

    def arrived(frame: Any, _batch: int) -> None:
        rows = frame.select("sent", "p").collect()
        now = time.time()
        found.extend((row.sent, now - row.sent) for row in rows)

    return arrived


def check(found: Any, expected: Any) -> None:
    """Raise RuntimeError unless they are equal."""
    if found != expected:
        raise RuntimeError(f"there are {found}, not {expected}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=40_000, help="of throughput")
    parser.add_argument("--rate", type=float, default=200.0, help="records a second, of latency")
    parser.add_argument("--seconds", type=float, default=20.0, help="of latency")
    parser.add_argument("--servers", help="of another broker than the tests'")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        servers = options.servers or stack.enter_context(running(folder)).servers
        spark = fdl_spark.session("local[2]", config=SETTINGS)
        stack.callback(spark.stop)
        bench = Bench(spark, servers, options.records, options.rate, options.seconds)
        for part in options.only:
            text = bench.batch() if part == "batch" else getattr(bench, part)(folder)
            print(text, end="\n\n", flush=True)


if __name__ == "__main__":
    main()
