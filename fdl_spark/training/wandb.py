"""A run in Weights & Biases."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdl_spark.arguments import check_whole
from fdl_spark.errors import ArgumentError
from fdl_spark.history.ending import WELL
from fdl_spark.history.run import Run
from fdl_spark.training.callback import Callback
from fdl_spark.training.tracked import Points, name_of, settings_of, tags_of


class WandB(Callback):
    """Logs a run to Weights & Biases: settings as its config, numbers, engine and versions, the report.

    A run that goes on from a checkpoint goes on in its W&B run, without a step twice; W&B numbers a run's records by
    the steps that are done. At the end `report.html` and `history.jsonl` are an artifact; checkpoints stay where they
    are, and the config says where.

    Args:
      project: its name; None lets W&B choose.
      every: how many steps make one point, their mean.
      options: of `wandb.init`, such as `entity`, `name`, `tags`, `dir`, or `mode="offline"`.

    Raises:
      ArgumentError: when training begins, if W&B is not installed.

    >>> WandB("digits", mode="offline").options
    {'mode': 'offline'}
    """

    passive = True

    def __init__(self, project: str | None = None, *, every: int = 10, **options: Any):
        check_whole("every of WandB()", every, 1)
        self.project, self.every, self.options = project, every, options

    def start(self, run: Run) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ArgumentError("WandB() needs Weights & Biases: pip install wandb") from error
        self._wandb = wandb
        config = {**settings_of(run), **tags_of(run), **self.options.get("config", {})}
        given = {"project": self.project, "id": name_of(run) or None, "resume": "allow", **self.options}
        self._log = wandb.init(**{**given, "config": config})
        last = max(-1, self._log.starting_step - 2)  # W&B drops records of steps before its first one
        self._points = Points(self.every, last)
        for step, found in self._points.behind(run):
            self._tell(found, step + 1)

    def step(self, run: Run, record: dict[str, Any]) -> None:
        values = self._points.of_step(run, record) | self._points.of_validation(record)
        self._tell(values, record["step"] + 1)

    def epoch(self, run: Run, record: dict[str, Any]) -> None:
        self._tell(self._points.of_validation(record), record["step"] + 1)

    def end(self, run: Run) -> None:
        self._tell(self._points.rest(), self._points.last + 1)
        if run.history.engines:
            self._log.summary["engine"] = run.history.engines[-1]["engine"]
        with tempfile.TemporaryDirectory() as folder:
            artifact = self._wandb.Artifact(f"run-{name_of(run)}", type="report")
            artifact.add_file(str(run.report(Path(folder, "report.html"))))
            run.history.to_json_lines(Path(folder, "history.jsonl"))
            artifact.add_file(str(Path(folder, "history.jsonl")))
            self._log.log_artifact(artifact)
            self._log.finish(exit_code=0 if run.history.ended in WELL else 1)

    def _tell(self, values: Mapping[str, float], step: int) -> None:
        if values:
            self._log.log(dict(values), step=step)
