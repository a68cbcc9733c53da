"""Starts clusters and drivers, has them run scenarios, and says what came of each; what it started it also ends."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.spark.chaos import processes
from tests.spark.chaos.cluster import CLUSTERS, ROOT, executors_settings
from tests.spark.cheap import JAVA_OPTIONS

SMALL_DISK = 64 << 20  # bytes
START = 400  # seconds for a session to come up on a machine that does much else


class Died(Exception):
    """The driver ended, or said nothing until the deadline."""


def environment(**more):
    """Of a driver."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *(path for path in sys.path if path)]),
        "JDK_JAVA_OPTIONS": os.environ.get("JDK_JAVA_OPTIONS", JAVA_OPTIONS),
        **more,
    }


@dataclass
class Application:
    """A driver process on a cluster, with a folder that all its processes carry in their environment."""

    cluster: object
    config: dict = field(default_factory=dict)

    def __post_init__(self):
        folder = self.folder = self.cluster.folder
        (folder / "tmp").mkdir(exist_ok=True)
        self.errors = folder / f"driver.{len(list(folder.glob('driver.*')))}.log"
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.spark.chaos.driver"], env=environment(**self.environment()), cwd=ROOT,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1,
            )  # fmt: skip
        self.cluster.started.append(self.process)
        self.lines: queue.Queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        config = {
            **executors_settings(folder),
            **self.cluster.settings,
            **({"spark.authenticate.secret": self.cluster.secret} if self.cluster.secret else {}),
            **self.config,
        }
        self.tell({"master": self.cluster.url, "config": config})
        self.hear(START)

    def environment(self):
        return {processes.MARK: str(self.folder), "TMPDIR": str(self.folder / "tmp"), **self.cluster.environment}

    def _read(self):
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)
        self.lines.put(None)

    def tell(self, message):
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hear(self, seconds, meanwhile=lambda: None):
        """The next answer; something else can be done again and again until it comes."""
        limit = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=1.0)
            except queue.Empty:
                meanwhile()
                if time.monotonic() < limit:
                    continue
                raise Died(f"nothing within {seconds} s\n{self.dump()}") from None
            if line is None:
                self.process.wait()
                raise Died(f"the driver ended with {self.process.returncode}; {self.tail()}")
            if line.startswith("{"):
                return json.loads(line)

    def ask(self, request, seconds, meanwhile=lambda: None):
        self.tell(request)
        return self.hear(seconds, meanwhile)

    def tail(self):
        return self.errors.read_text(errors="replace")[-3000:]

    def dump(self):
        """Where all Python processes of the cluster are."""
        said = [self.tail()]
        spy = shutil.which("py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        for pid in [self.process.pid, *processes.ours(self.folder)]:
            if spy and "python" in (processes.command(pid) or [""])[0]:
                done = subprocess.run([spy, "dump", "--pid", str(pid)], capture_output=True, text=True, check=False)
                said.append(f"{pid} {processes.status(pid)[0]} {processes.command(pid)[:4]}\n{done.stdout[-3000:]}")
        return "\n".join(said)

    def close(self, seconds=30):
        """End the session as a user does; what is left of its processes afterwards."""
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.hear(seconds)
                self.process.wait(seconds)
            except (Died, subprocess.TimeoutExpired):
                self.process.kill()
        self.process.wait()


@contextmanager
def cluster(name, keep=False, settings="plain"):
    """A cluster in a folder of its own, for applications with these settings; both go in the end, with every process
    that belongs to them."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    made = CLUSTERS[name](folder)
    made.secret = uuid.uuid4().hex if settings == "secure" else ""
    made.disk = SMALL_DISK if settings == "small disk" else 0
    try:
        made.start()
        yield made
    finally:
        processes.end(folder)
        for process in made.started:
            process.wait()
            with suppress(OSError, AttributeError):
                process.stdin.close()
        made.end()
        if keep:
            print(f"the logs are in {folder}")
        else:
            _remove_logs_of_spark(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _remove_logs_of_spark(folder):
    """Local-cluster's workers keep the output of their executors where pyspark is installed."""
    import pyspark

    for path in (Path(pyspark.__file__).parent / "work").glob("app-*"):
        if any(str(folder).encode() in log.read_bytes() for log in path.glob("*/stderr")):
            shutil.rmtree(path, ignore_errors=True)


def missing(folder):
    """Points whose function was not there any more."""
    return sorted(path.name.removeprefix("missing-") for path in folder.glob("missing-*"))


def fired(folder, id):
    """What was done: (time, step, role) of each."""
    found = [json.loads(path.read_text()) for path in folder.glob(f"fired-{id}-*")]
    return sorted(found, key=lambda one: one["time"])
