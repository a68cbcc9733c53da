"""A stream that is killed twice, once an executor (or the Python workers) and once the driver, and what comes of it."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

import fdl
from examples.speech import sink
from examples.speech.listen import BATCH
from examples.speech.task import SOUND, classify
from fdl_spark import features

LONGEST = 600.0  # seconds until the next thing must have happened
AHEAD = 4  # a quarter of the records may wait in the topic, so that none of the two kills comes too late


class Survival(NamedTuple):
    """What came of a stream.

    Attributes:
      sent: how many records.
      once, twice, missing: how many ids are in the sink once, more than once, not at all.
      other: how many words are not those of the same network without Spark.
      unlike: recordings whose probability was not always the same bits.
      starts: how often a driver was started.
      killed: what was killed, in order.
      late: seconds from the producer's timestamp to the commit, of every record.
      steady: the same of records that were sent and committed while nothing was down.
    """

    sent: int
    once: int
    twice: int
    missing: int
    other: int
    unlike: int
    starts: int
    killed: list[str]
    late: np.ndarray
    steady: np.ndarray


class Sender(threading.Thread):
    """Sends records, whose ids are their numbers, at a rate; the recordings come in turn.

    Args:
      servers, topic: of Kafka.
      sounds: the recordings.
      records: how many are sent.
      rate: records a second.

    Attributes:
      allowed: how many may be sent until somebody raises it.
      ended: set it to end the thread.
    """

    def __init__(self, servers: str, topic: str, sounds: list[bytes], records: int, rate: float):
        super().__init__()
        self.servers, self.topic, self.sounds, self.records, self.rate = servers, topic, sounds, records, rate
        self.allowed, self.ended = 0, threading.Event()

    def run(self) -> None:
        from confluent_kafka import Producer

        # One record a batch: the broker of the tests tells the end of a partition by its last batch.
        settings = {"bootstrap.servers": self.servers, "log_level": 0, "linger.ms": 0, "batch.num.messages": 1}
        producer, due = Producer(settings), time.monotonic()
        for number in range(self.records):
            due = max(due + 1 / self.rate, time.monotonic() - 0.1)
            self.ended.wait(max(0.0, due - time.monotonic()))
            while number >= self.allowed and not self.ended.wait(0.01):
                pass
            if self.ended.is_set():
                return
            producer.produce(self.topic, self.sounds[number % len(self.sounds)], str(number), number % 2)
            producer.poll(0)
        producer.flush(60)


class Driver:
    """The command `examples.speech.listen` in a process of its own, started again when it ends.

    Args:
      command: its arguments.
      log: file of what it prints.
    """

    def __init__(self, command: list[str], log: Path):
        self.command, self.log, self.starts = command, log, 0
        self.process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Start it if it does not run."""
        if self.process is None or self.process.poll() is not None:
            self.end()
            self.starts += 1
            with self.log.open("ab") as log:
                words = [sys.executable, "-m", "examples.speech.listen", *self.command]
                self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)

    def end(self) -> None:
        """Kill it and its children, such as Java."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def survive(
    folder: Path,
    model: Any,
    recordings: pa.Table,
    servers: str,
    topic: str,
    *,
    master: str | None,
    records: int,
    rate: float,
    kill: bool = True,
    shown: Callable[[int, int], None] = lambda done, of: None,
) -> Survival:
    """Send recordings to a topic, let a driver classify them, kill what it runs on, and look at what is in its sink.

    Args:
      folder: for model, output and log; the output must not be there.
      model: parameters and statistics.
      recordings: a table with "sound".
      servers, topic: of Kafka; the topic has two partitions and no records.
      master: Spark's.
      records: how many are sent.
      rate: records a second.
      kill: whether anything is killed: after a third the executor, after two thirds the driver.
      shown: called with the number of committed records and of all.

    Raises:
      RuntimeError: nothing more is committed, or a driver ends again and again.
    """
    sounds = recordings["sound"].to_pylist()
    fdl.save(folder / "model.safetensors", model)
    output, ids = folder / "words", folder / "processes"
    command = [str(folder / "model.safetensors"), "--servers", servers, "--topic", topic, "--output", str(output)]
    driver = Driver([*command, "--processes", str(ids), *(["--master", master] if master else [])], folder / "log")
    counted: dict[Path, int] = {}
    killed: list[str] = []
    when: list[float] = []
    driver.keep()
    sender = Sender(servers, topic, sounds, records, rate)
    try:
        _until(driver, ids.exists)
        sender.start()
        done, moved = 0, time.monotonic()
        while done < records:
            driver.keep()
            now = sink.count(output, counted)
            moved = time.monotonic() if now > done else moved
            if time.monotonic() > moved + LONGEST or driver.starts > 10:
                raise RuntimeError(f"{now} of {records} records after {driver.starts} starts; {driver.log} says why")
            done, sender.allowed = now, now + records // AHEAD
            shown(done, records)
            if kill and len(killed) == 0 and done >= records / 3:
                killed.append(_kill_executor(ids, master))
                when.append(time.time())
            elif kill and len(killed) == 1 and done >= records * 2 / 3:
                driver.end()
                killed.append("driver")
                when.append(time.time())
            time.sleep(0.2)
    finally:
        sender.ended.set()
        driver.end()
        if sender.ident is not None:
            sender.join()
    return _judged(sink.rows(output), sounds, model, records, driver.starts, killed, when)


def _until(driver: Driver, happened: Callable[[], bool]) -> None:
    end = time.monotonic() + LONGEST
    while not happened():
        driver.keep()
        if time.monotonic() > end or driver.starts > 10:
            raise RuntimeError(f"the driver does not run; {driver.log} says why")
        time.sleep(0.05)


def _kill_executor(ids: Path, master: str | None) -> str:
    """Kill an executor, or, where that is the driver itself, the parent of the Python workers, and so these."""
    parent, java = json.loads(ids.read_text())[0]
    local = master is None or master.startswith("local")
    os.kill(parent if local else java, signal.SIGKILL)
    return "Python workers" if local else "executor"


def _judged(
    rows: pa.Table, sounds: list[bytes], model: Any, records: int, starts: int, killed: list[str], when: list[float]
) -> Survival:
    """Compare what is in the sink with what was sent."""
    numbers = np.array([int(name) for name in rows["id"].to_pylist()])
    times = Counter(numbers.tolist())
    recording = numbers % len(sounds)
    used = np.unique(recording)
    encoded = features.Features((SOUND,)).encode({"sound": pa.array([sounds[place] for place in used])})["sound"]
    alone = fdl.jit(classify)
    parts = [
        np.asarray(alone(model, {"sound": part})["word"]) for part in np.array_split(encoded, -(-len(used) // BATCH))
    ]
    expected = dict(zip(used.tolist(), np.concatenate(parts).tolist(), strict=True))
    words, bits = rows["word"].to_pylist(), rows["probability"].to_pylist()
    seen: dict[int, set[float]] = {}
    for place, probability in zip(recording.tolist(), bits, strict=True):
        seen.setdefault(place, set()).add(probability)
    late = rows["late"].to_numpy()
    sent = np.array([stamp.timestamp() for stamp in rows["timestamp"].to_pylist()])
    down = np.zeros(len(late), bool)
    first = sent + late <= (sent + late).min()
    for moment in when:  # what was sent before and committed afterwards, and what came until the stream had caught up
        waited = (sent <= moment) & (sent + late >= moment)
        back = (sent + late)[waited].max(initial=moment)
        down |= waited | ((sent > moment) & (sent <= back))
    return Survival(
        records,
        sum(times[number] == 1 for number in range(records)),
        sum(times[number] > 1 for number in range(records)),
        sum(number not in times for number in range(records)),
        sum(word != expected[place] for word, place in zip(words, recording.tolist(), strict=True)),
        sum(len(found) > 1 for found in seen.values()),
        starts,
        killed,
        late,
        late[~(down | first)],
    )
