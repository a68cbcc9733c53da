"""A process that is measured, with everything that it starts: JVM, Python workers, ranks."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.spark.channel import Closed, Door

ROOT = Path(__file__).parents[2]
SAMPLE_SECONDS = 0.2


class Side:
    """A process of its own, told over a channel what to do.

    Args:
      name: of what it measures, for messages.
      module: the module that is run; it connects to the last of its arguments.
      arguments: of the module.
      folder: a private folder for caches and the socket.
      limit: seconds until it must have connected.

    Raises:
      Closed: it did not connect.
    """

    def __init__(self, name: str, module: str, arguments: list[str], folder: str, limit: float = 120.0):
        self.name = name
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by close)
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "FDL_NUM_THREADS": "1",
            "FDL_CACHE_DIR": f"{folder}/fdl",
            "GLOO_SOCKET_IFNAME": "lo",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYTHONPATH": path,
        }
        door = Door(folder)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, door.path],
                stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment, cwd=ROOT,
            )  # fmt: skip
            deadline = time.perf_counter() + limit
            while True:
                try:
                    self.channel = door.accept(0.5)
                    break
                except Closed:
                    if self.process.poll() is not None or time.perf_counter() > deadline:
                        raise Closed(f"{name}: {self.last_error()}") from None
        except BaseException:
            self._end()
            raise
        finally:
            door.close()

    def ask(self, request: Any, limit: float = 600.0) -> Any:
        """An answer; a process that broke down says why."""
        try:
            return self.channel.ask(request, limit)
        except (Closed, OSError) as closed:
            raise Closed(f"{self.name}: {self.last_error() or closed}") from None

    def receive(self, limit: float = 600.0) -> Any:
        """What the process says unasked."""
        try:
            return self.channel.receive(limit)
        except Closed as closed:
            raise Closed(f"{self.name}: {self.last_error() or closed}") from None

    def last_error(self) -> str:
        """The line of what the process printed that says best why it failed; all of it goes to the standard error."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.log.seek(0)
        lines = [line.strip() for line in self.log.read().splitlines() if line.strip()]
        print(f"--- {self.name}", *lines[-80:], "---", sep="\n", file=sys.stderr)
        named = [line for line in lines if re.search(r"Error(: |$)", line) and "ChildFailedError" not in line]
        return (named or lines or ["it ended"])[-1][:400]

    def close(self) -> None:
        """Let the process end, and make sure that it and all it started have ended."""
        if self.log.closed:
            return
        with suppress(Closed, OSError):
            self.channel.send("stop")
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self._end()
        with suppress(OSError):
            self.channel.close()

    def _end(self) -> None:
        for pid in reversed(family(self.process.pid)):  # children first, or they would be orphans we cannot find
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()

    @contextmanager
    def watched(self) -> Iterator[dict[str, int]]:
        """The most bytes that the processes had at once while the context lasts, by kind: "python" and "java"."""
        peak: dict[str, int] = {}
        done = threading.Event()

        def sample() -> None:
            while not done.wait(SAMPLE_SECONDS):
                for kind, count in memory(self.process.pid).items():
                    peak[kind] = max(peak.get(kind, 0), count)

        thread = threading.Thread(target=sample)
        thread.start()
        try:
            yield peak
        finally:
            done.set()
            thread.join()


def family(root: int) -> list[int]:
    """A process and all that descend from it, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(after_name[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def memory(root: int) -> dict[str, int]:
    """Bytes of a process and its descendants by kind; what several share is counted once, by its proportions."""
    found: dict[str, int] = {}
    for pid in family(root):
        with suppress(OSError, StopIteration):
            kind = "java" if Path(f"/proc/{pid}/comm").read_text().strip() == "java" else "python"
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found[kind] = found.get(kind, 0) + next(int(x.split()[1]) for x in lines if x.startswith("Pss:")) * 1024
    return found
