"""A run in TensorBoard: scalars, histograms, the Program and the settings, as event files."""

import os
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fdl
from fdl_spark.errors import ArgumentError
from fdl_spark.history.records import step_scalars, validation_scalars
from fdl_spark.history.run import Run
from fdl_spark.training.callback import Callback
from fdl_spark.training.tracked import settings_of
from fdl_spark.training.triggers import Moment, Trigger
from fdl_spark.training.triggers import every as every_steps

BINS = 40
FLUSH = 10.0  # seconds after which what was written can be read


class TensorBoard(Callback):
    """Writes a run's numbers as TensorBoard event files; `read_tensorboard` reads them again.

    Of each step the loss, the metrics, the rows a second and the seconds of the phases; of each epoch the validation;
    the Program that was traced of the loss, and the arguments of `train`, as text; and histograms of the parameters.
    A run that goes on from a checkpoint goes on in the same folder: what is there of the steps that are taken again is
    hidden, so that no step is there twice.

    Args:
      folder: where `tensorboard --logdir` will look.
      every: write a histogram of each parameter, and of what it changed by since the last one, after every so many
        steps, or when a trigger fires that counts steps or epochs; groups of steps end there. None for no histograms.

    Raises:
      ArgumentError: `every` is no number of steps and no such trigger.

    >>> TensorBoard("runs/first", every=100).folder
    'runs/first'
    """

    def __init__(self, folder: str | os.PathLike[str], every: int | Trigger | None = None):
        if every is not None and not isinstance(every, Trigger):
            every = every_steps(every)
        if every is not None and every.open:
            raise ArgumentError(f"every of TensorBoard() must count steps or epochs, as every(epochs=1); it is {every}")
        self.folder = os.fspath(folder)
        self.interval: Trigger | None = every
        self.passive = every is None

    def start(self, run: Run) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import HistogramProto, Summary
        from tensorboardX.record_writer import directory_check
        from tensorboardX.summary import text

        self._event, self._log, self._histogram, self._summary, self._text = (
            Event,
            SessionLog,
            HistogramProto,
            Summary,
            text,
        )
        directory_check(self.folder)
        again = "://" in self.folder or any(Path(self.folder).glob("*.tfevents.*"))
        # Two runs may begin within a second, which is all that the name tells.
        self._writer = EventsWriter(os.path.join(self.folder, "events"), f".{uuid.uuid4().hex[:8]}")
        self._last, self._flushed, self._before = run.step - 1, time.monotonic(), dict[str, np.ndarray]()
        self._validated = -1
        if again:
            self._hide(run.step)
        if not run.step:
            self._write(text("program", f"```\n{run.listing}\n```"), 0)
            rows = [f"| {name} | {_cell(value)} |" for name, value in settings_of(run).items()]
            self._write(text("settings", "\n".join(["| setting | value |", "|---|---|", *rows])), 0)
        if self.interval:
            self._before = _leaves(run)

    def step(self, run: Run, record: dict[str, Any]) -> None:
        if record["step"] <= self._last:  # the run went back, and takes steps again
            self._hide(record["step"])
        self._last = record["step"]
        self._scalars(step_scalars(record) | validation_scalars(record), record["step"])
        self._validated = record["step"] if "validation" in record else self._validated
        if self.interval and self.interval.fires(Moment(run.step, run.epoch_steps)):
            self._histograms(_leaves(run), record["step"])
        if time.monotonic() > self._flushed + FLUSH:
            self._flush()

    def epoch(self, run: Run, record: dict[str, Any]) -> None:
        if record["step"] != self._validated:
            self._scalars(validation_scalars(record), record["step"])
        self._flush()

    def end(self, run: Run) -> None:
        self._writer.close()

    def _hide(self, step: int) -> None:
        """Let readers forget what came before of this step and later ones."""
        self._writer.write_event(
            self._event(step=step, wall_time=time.time(), session_log=self._log(status=self._log.START))
        )

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        if values:
            found = [self._summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()]
            self._write(self._summary(value=found), step)

    def _histograms(self, leaves: dict[str, np.ndarray], step: int) -> None:
        found = []
        for path, leaf in leaves.items():
            moved = leaf.astype(np.float64) - self._before[path]
            for kind, array in (("parameters", leaf), ("updates", moved)):
                histogram = self._histogram_of(np.asarray(array, np.float64).ravel())
                if histogram is not None:
                    found.append(self._summary.Value(tag=f"{kind}/{path}", histo=histogram))
        self._before = leaves
        self._write(self._summary(value=found), step)

    def _histogram_of(self, numbers: np.ndarray) -> Any:
        """A histogram of the numbers that are finite, None if there are none."""
        numbers = numbers[np.isfinite(numbers)]
        if not numbers.size:
            return None
        counts, limits = np.histogram(numbers, BINS)
        return self._histogram(
            min=numbers.min(), max=numbers.max(), num=numbers.size, sum=numbers.sum(),
            sum_squares=numbers @ numbers, bucket_limit=limits[1:], bucket=counts,
        )  # fmt: skip

    def _write(self, summary: Any, step: int) -> None:
        self._writer.write_event(self._event(step=step, wall_time=time.time(), summary=summary))

    def _flush(self) -> None:
        self._flushed = time.monotonic()
        self._writer.flush()


def _leaves(run: Run) -> dict[str, np.ndarray]:
    """The parameters by key path."""
    pairs, _ = fdl.tree.flatten_with_path(run.params)
    return {fdl.tree.keystr(path) or "params": np.array(leaf) for path, leaf in pairs}


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
