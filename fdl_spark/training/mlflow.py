"""A run in MLflow."""

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fdl_spark.arguments import check_whole
from fdl_spark.errors import ArgumentError
from fdl_spark.history.run import Run
from fdl_spark.spark.cleanup import going_on
from fdl_spark.training.callback import Callback
from fdl_spark.training.tracked import Points, name_of, safe, settings_of, tags_of

SECONDS = 5.0  # between two requests
METRICS, ENTRIES, TEXT, KEY = 1000, 100, 500, 250  # what MLflow takes: of a request's metrics and its other entries
TRAINED, VALIDATED = "train/loss", "validation/loss"  # metrics that each point and each validation has
RUN = "fdl.run"  # the tag by which a run that goes on from a checkpoint is found again
LAST = "fdl.last_step"
# By History.ended.
STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MLflow(Callback):
    """Logs a run to MLflow: settings as parameters, numbers as metrics, engine and versions as tags, the report.

    A run that goes on from a checkpoint goes on in its MLflow run, without a step twice. Metrics are sent in batches.
    At the end `report.html` and `history.jsonl` are its artifacts; checkpoints stay where they are, and the tag
    "fdl.checkpoint" says where.

    Args:
      experiment: its name; one that does not exist is made. None is MLflow's default experiment.
      run_name: of the MLflow run; None lets MLflow choose.
      tracking_uri: of the server, the folder or the database; None is what MLflow is set to.
      every: how many steps make one point of a metric, their mean.
      tags: more tags.

    Raises:
      ArgumentError: when training begins, if MLflow is not installed.

    >>> MLflow("digits", every=10).every
    10
    """

    passive = True

    def __init__(
        self,
        experiment: str | None = None,
        *,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        every: int = 10,
        tags: Mapping[str, str] | None = None,
    ):
        check_whole("every of MLflow()", every, 1)
        self.experiment, self.run_name, self.tracking_uri = experiment, run_name, tracking_uri
        self.every, self.tags = every, dict(tags or {})
        self.run_id: str | None = None

    def start(self, run: Run) -> None:
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param, RunTag
        except ImportError as error:
            raise ArgumentError("MLflow() needs MLflow: pip install mlflow-skinny, or mlflow") from error
        self._metric, self._param, self._tag = Metric, Param, RunTag
        self._client = MlflowClient(tracking_uri=self.tracking_uri)
        self._waiting: list[Any] = []
        self._sent = time.monotonic()
        self.run_id = None
        with ExitStack() as stack:
            stack.callback(self._give_up)
            self._begin(run)
            stack.pop_all()

    def _give_up(self) -> None:
        """Leave no MLflow run behind that looks as if it went on."""
        with going_on("ending the MLflow run"):
            if self.run_id is not None:
                self._client.set_terminated(self.run_id, status="FAILED")

    def _begin(self, run: Run) -> None:
        """Begin an MLflow run, or go on with the one that this run has, and tell it what it lacks."""
        found = self._find(run)
        settings = {} if found else settings_of(run)  # MLflow does not let go of what was logged once
        self._points = Points(self.every, *(self._last(name) if found else -1 for name in (TRAINED, VALIDATED)))
        for step, values in self._points.behind(run):
            self._gather(values, step)
        told = {**tags_of(run), **self.tags, RUN: name_of(run)}
        params = [self._param(safe(name)[:KEY], str(value)[:TEXT]) for name, value in settings.items()]
        tags = [self._tag(safe(name)[:KEY], str(value)[:TEXT]) for name, value in told.items()]
        for first in range(0, max(len(params), len(tags)), ENTRIES // 2):
            part = slice(first, first + ENTRIES // 2)
            self._client.log_batch(self.run_id, params=params[part], tags=tags[part])

    def step(self, run: Run, record: dict[str, Any]) -> None:
        self._gather(self._points.of_step(run, record), record["step"])
        self._gather(self._points.of_validation(record), record["step"])
        if len(self._waiting) >= METRICS or time.monotonic() > self._sent + SECONDS:
            self._send()

    def epoch(self, run: Run, record: dict[str, Any]) -> None:
        self._gather(self._points.of_validation(record), record["step"])

    def end(self, run: Run) -> None:
        self._gather(self._points.rest(), self._points.last)
        self._send()
        tags = {LAST: str(self._points.last), **tags_of(run)}
        self._client.log_batch(self.run_id, tags=[self._tag(safe(name), value[:TEXT]) for name, value in tags.items()])
        with tempfile.TemporaryDirectory() as folder:
            report = run.report(Path(folder, "report.html"))
            run.history.to_json_lines(Path(folder, "history.jsonl"))
            self._client.log_artifact(self.run_id, str(report))
            self._client.log_artifact(self.run_id, str(Path(folder, "history.jsonl")))
        self._client.set_terminated(self.run_id, status=STATUS[run.history.ended or "failed"])

    def _find(self, run: Run) -> bool:
        """Find the MLflow run to go on with, or begin one; whether it was found."""
        experiment = self._experiment()
        if run.step:
            found = self._client.search_runs([experiment], f"tags.`{RUN}` = '{name_of(run)}'", max_results=1)
            if found:
                self.run_id = found[0].info.run_id
                self._client.update_run(self.run_id, status="RUNNING")
                return True
        made = self._client.create_run(experiment, run_name=self.run_name)
        self.run_id = made.info.run_id
        return False

    def _last(self, name: str) -> int:
        """The last step of which the MLflow run has a metric, -1 for none."""
        return max((metric.step for metric in self._client.get_metric_history(self.run_id, name)), default=-1)

    def _experiment(self) -> str:
        if self.experiment is None:
            return "0"
        found = self._client.get_experiment_by_name(self.experiment)
        return str(found.experiment_id if found else self._client.create_experiment(self.experiment))

    def _gather(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._waiting += [self._metric(safe(key)[:KEY], float(value), now, step) for key, value in values.items()]

    def _send(self) -> None:
        self._sent = time.monotonic()
        while self._waiting:
            part, self._waiting = self._waiting[:METRICS], self._waiting[METRICS:]
            self._client.log_batch(self.run_id, metrics=part)
