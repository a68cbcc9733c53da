"""How long a run takes to start, and the README's job.

Started by the benchmark as `python -m benchmarks.spark.start session|digits SYNC DOOR`.
"""

import os
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fdl
import fdl_spark
from benchmarks import lenet
from benchmarks.spark import flat
from benchmarks.spark.channel import Channel, Closed
from benchmarks.spark.side import ROOT, Side
from benchmarks.spark.work import SETTINGS, any_engine

DIGITS = ROOT / "examples" / "digits.py"


class Started(fdl_spark.Callback):
    """Notes when the first step is known, and ends the run with the third."""

    def __init__(self) -> None:
        self.called = time.perf_counter()
        self.first = 0.0

    def step(self, run: Any, record: dict[str, Any]) -> bool:
        self.first = self.first or time.perf_counter() - self.called
        return run.step >= 3


def measure(sync: str, rounds: int) -> dict[str, Any]:
    """Seconds from the call of `train` to the first step's record, and of the README's job.

    Args:
      sync: the engine.
      rounds: processes for each; the disk cache of compiled code is empty for the first one.

    Returns:
      By case a list of seconds, one for each round; or "left out" with the reason.
    """
    found: dict[str, list[float]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for what in ["session", "digits"] * rounds:
                side = Side(what, "benchmarks.spark.start", [what, sync], folder)
                try:
                    while (answer := side.receive()) != "done":
                        print(f"      {answer}", file=sys.stderr)
                        for name, seconds in answer.items():
                            found.setdefault(name, []).append(seconds)
                finally:
                    side.close()
    except Closed as closed:
        return {"left out": str(closed)}
    return found


def to_first_step(loss: Callable[..., Any], params: Any, data: Any, batch_size: int, sync: str) -> float:
    """Seconds until a new run has a record."""
    started = Started()
    fdl_spark.train(
        loss, params, data,
        optimizer=fdl.optim.adam(1e-3), batch_size=batch_size, partitions=2, callbacks=[started], **any_engine(sync),
    )  # fmt: skip
    return started.first


def session(channel: Channel, sync: str) -> None:
    """Runs in one session, one after the other."""
    clock = time.perf_counter()
    fdl_spark.session("local[2]", config=SETTINGS)
    channel.send({"a new session": time.perf_counter() - clock})
    params, batch = lenet.inputs(1024)
    small = flat.loss, flat.parameters(1e5), flat.data(2), 2 * flat.ROWS_A_RANK, sync
    images = lenet.functional_loss(fdl), params, batch, 256, sync
    channel.send({"the session's first run": to_first_step(*small)})
    channel.send({"LeNet-5": to_first_step(*images)})
    channel.send({"LeNet-5 again": to_first_step(*images)})
    channel.send({"small again": to_first_step(*small)})


def digits(channel: Channel) -> None:
    """The README's job, in a folder of its own, as its users run it but for the clock around `train`."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        train = fdl_spark.train

        def timed(*args: Any, **how: Any) -> Any:
            started = time.perf_counter()
            run = train(*args, **how)
            channel.send({"digits, training": time.perf_counter() - started})
            return run

        fdl_spark.train = timed
        runpy.run_path(str(DIGITS), run_name="__main__")
        channel.send({"digits, whole": age()})
        os.chdir(ROOT)


def age() -> float:
    """Seconds since this process was started."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure in this process."""
    what, sync, door = sys.argv[1:]
    channel = Channel.connect(door)
    if what == "session":
        session(channel, sync)
    else:
        digits(channel)
    channel.send("done")


if __name__ == "__main__":
    main()
