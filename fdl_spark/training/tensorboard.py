"""Scalars for TensorBoard."""

from typing import Any

from fdl_spark.history.history import NOT_METRICS
from fdl_spark.history.outcome import flat_numbers
from fdl_spark.history.run import Run
from fdl_spark.training.callback import Callback


class TensorBoard(Callback):
    """Writes loss, metrics, validation and the seconds of the phases as TensorBoard event files.

    Args:
      folder: where `tensorboard --logdir` will look.

    >>> TensorBoard("runs/first").folder
    'runs/first'
    """

    passive = True

    def __init__(self, folder: str):
        self.folder = folder

    def start(self, run: Run) -> None:
        from tensorboardX import SummaryWriter

        self.writer = SummaryWriter(self.folder)

    def step(self, run: Run, record: dict[str, Any]) -> None:
        for name, value in record.items():
            if name not in NOT_METRICS:
                self.writer.add_scalar(f"train/{name}", value, record["step"])
        for phase, seconds in record["phases"].items():
            self.writer.add_scalar(f"seconds/{phase}", seconds, record["step"])

    def epoch(self, run: Run, record: dict[str, Any]) -> None:
        for name, value in flat_numbers(record.get("validation", {})).items():
            self.writer.add_scalar(f"validation/{name}", value, record["step"])

    def end(self, run: Run) -> None:
        self.writer.close()
