"""A run in TensorBoard, MLflow and Weights & Biases: every number once, also if the run goes back or goes on.

What is not installed is a fake that records, with the signatures of the real package, which they are compared with
where it is installed.
"""

import importlib
import inspect
import struct
import sys
import warnings
from collections import defaultdict
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import fdl_spark
from fdl_spark import MLflow, Run, TensorBoard, WandB, read_tensorboard
from fdl_spark.history import History
from fdl_spark.history.ending import Ending

SETTINGS = {
    "optimizer": "adam(0.001)",
    "batch_size": 8,
    "metrics": {"<b>recall@5</b>": "f"},
    "checkpoint": "s3://b/run",
}


def session(step=0, name="abc"):
    record = {"step": step, "run": name, "settings": SETTINGS, "versions": {"fdl": "0.1.0"}, "cluster": {"hosts": 2}}
    return record | {"data": {"rows": 80}}


def drive(callback, first=0, stop=10, steps=10, history=None, params=None, after=(), error=None, stopped_by=None):
    """What a run tells a callback: epochs of five steps, and a validation after step 2 that a trigger began."""
    run = Run(steps, first, history or History(), lambda: params(run.step) if params else None, epoch_steps=5)
    run.history.sessions.append(session(first, "abc" if not first else "later"))
    run.history.engines.append({"step": 0, "engine": "resident", "why": "w", "slices": 1})
    run._listing = lambda: "program(a) { return a }"
    callback.start(run)
    for step in [*range(first, stop), *after]:
        record = {"step": step, "loss": 1 / (step + 1), "rows": 8, "seconds": 0.5, "phases": {"update": 0.25}}
        if step == 2:
            record["validation"] = {"loss": 0.5, "<b>recall@5</b>": {"0": 0.25}}
        run.history.back_to(step)
        run.history.steps.append(record)
        run.step = step + 1
        callback.step(run, record)
        if run.step % 5 == 0:
            callback.epoch(run, run.history.add_epoch(run.step // 5, step, {"loss": 2 / run.step}))
    run.history.end_session(Ending.of(run.step, steps, stopped_by, error), run.step)
    callback.end(run)
    return run


LOSSES = [np.float32(1 / (step + 1)) for step in range(10)]

# TensorBoard.


def test_tensorboard_has_every_number_once(tmp_path):
    folder = tmp_path / "runs" / "first"
    drive(TensorBoard(folder))
    found = read_tensorboard(folder)
    steps, losses = found["train/loss"]
    assert steps.tolist() == list(range(10)) and losses.tolist() == LOSSES
    assert found["rows_per_second"][1].tolist() == [16.0] * 10 and found["seconds/update"][1].tolist() == [0.25] * 10
    assert found["validation/loss"][0].tolist() == [2, 4, 9]
    assert found["validation/loss"][1].tolist() == [np.float32(v) for v in (0.5, 0.4, 0.2)]
    assert found["validation/<b>recall@5</b>/0"][0].tolist() == [2]
    assert read_tensorboard(next(folder.glob("*"))).keys() == found.keys()


def test_tensorboard_goes_on_where_the_checkpoint_was(tmp_path):
    """Seven steps, of which the last two were after the checkpoint; one step is taken twice after a failure."""
    history = drive(TensorBoard(tmp_path), stop=7).history
    history.back_to(5)
    drive(TensorBoard(tmp_path), first=5, stop=8, history=history, after=[6, 7, 8, 9])
    found = read_tensorboard(tmp_path)
    for tag in ("train/loss", "rows_per_second"):
        assert found[tag][0].tolist() == list(range(10))
    assert found["train/loss"][1].tolist() == LOSSES and found["validation/loss"][0].tolist() == [2, 4, 9]
    drive(TensorBoard(tmp_path), stop=3)  # another run from the start, in the same folder
    assert read_tensorboard(tmp_path)["train/loss"][0].tolist() == [0, 1, 2]


def events_of(folder):
    from tensorboardX.proto.event_pb2 import Event

    content, found = b"".join(path.read_bytes() for path in sorted(folder.glob("*"))), []
    while content:
        (length,) = struct.unpack_from("<Q", content)
        found.append(Event.FromString(content[12 : 12 + length]))
        content = content[16 + length :]
    return found


@pytest.mark.parametrize("every, at", [(4, [3, 7]), (fdl_spark.every(epochs=1), [4, 9])])
def test_tensorboard_has_histograms_and_texts(tmp_path, every, at):
    def params(step):
        return {"w": np.full(6, step, np.float32), "b": np.array([np.nan, step], np.float32)}

    callback = TensorBoard(tmp_path, every)
    drive(callback, params=params)
    assert not callback.passive and callback.interval.ends(0, 5) == at[0] + 1
    values = [(event.step, value) for event in events_of(tmp_path) for value in event.summary.value]
    found = {(step, value.tag): value.histo for step, value in values if value.WhichOneof("value") == "histo"}
    assert set(found) == {(n, f"{k}/{p}") for n in at for k in ("parameters", "updates") for p in ("['w']", "['b']")}
    weights, moved = found[at[1], "parameters/['w']"], found[at[1], "updates/['w']"]
    assert (weights.num, weights.min, weights.max, weights.sum) == (6, at[1] + 1, at[1] + 1, 6 * (at[1] + 1))
    assert sum(weights.bucket) == 6 and len(weights.bucket) == len(weights.bucket_limit)
    assert moved.sum == 6 * (at[1] - at[0])
    assert found[at[0], "parameters/['b']"].num == 1  # what is not finite has no place in a histogram
    texts = {
        value.tag: value.tensor.string_val[0].decode() for _, value in values if value.WhichOneof("value") == "tensor"
    }
    assert (
        "program(a)" in texts["program/text_summary"]
        and "| optimizer | adam(0.001) |" in texts["settings/text_summary"]
    )
    assert TensorBoard("x").passive
    with pytest.raises(fdl_spark.ArgumentError, match="must count steps or epochs"):
        TensorBoard("x", fdl_spark.every(seconds=3))


def test_event_files_that_are_cut_off_or_damaged(tmp_path):
    drive(TensorBoard(tmp_path))
    (path,) = tmp_path.glob("*")
    content = path.read_bytes()
    whole = len(read_tensorboard(path)["train/loss"][0])
    counts = []
    for length in range(len(content), 0, -7):
        path.write_bytes(content[:length])
        found = read_tensorboard(path).get("train/loss", ([], []))
        counts.append(len(found[0]))
    assert counts[0] == whole == 10 and counts == sorted(counts, reverse=True) and counts[-1] == 0
    for place in (3, 9, 40):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(fdl_spark.DataError, match="another checksum"):
            read_tensorboard(tmp_path)
    with pytest.raises(fdl_spark.DataError, match="cannot be read"):
        read_tensorboard(tmp_path / "nowhere")


def test_scalars_that_tensorflow_2_writes_are_read(tmp_path):
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboardX.proto.tensor_pb2 import TensorProto

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    tensors = [
        TensorProto(dtype="DT_FLOAT", float_val=[0.5]),
        TensorProto(dtype="DT_DOUBLE", tensor_content=np.float64(0.1).tobytes()),
        TensorProto(dtype="DT_STRING", string_val=[b"no number"]),
    ]
    writer = EventsWriter(str(tmp_path / "events"))
    for step, tensor in enumerate(tensors):
        writer.write_event(
            Event(step=step, summary=Summary(value=[Summary.Value(tag="a", tensor=tensor, metadata=metadata)]))
        )
    writer.close()
    steps, values = read_tensorboard(tmp_path)["a"]
    assert steps.tolist() == [0, 1] and values.tolist() == [0.5, 0.1]


# MLflow.


class Client:
    """What the callback uses of `MlflowClient`; `runs` are on the server."""

    runs: dict = {}  # noqa: RUF012

    def __init__(self, tracking_uri=None, registry_uri=None, workspace_store_uri=None):
        self.uri = tracking_uri

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name, artifact_location=None, tags=None):
        return f"experiment of {name}"

    def create_run(self, experiment_id, start_time=None, tags=None, run_name=None):
        name = f"run {len(self.runs)}"
        self.runs[name] = SimpleNamespace(
            experiment=experiment_id,
            params={},
            tags={},
            metrics=defaultdict(list),
            files={},
            status="RUNNING",
            calls=[],
        )
        return SimpleNamespace(info=SimpleNamespace(run_id=name))

    def update_run(self, run_id, status=None, name=None):
        self.runs[run_id].status = status

    def search_runs(
        self, experiment_ids, filter_string="", run_view_type=1, max_results=1000, order_by=None, page_token=None
    ):
        value = filter_string.partition("= '")[2].rstrip("'")
        found = [name for name, run in self.runs.items() if run.tags.get("fdl.run") == value]
        return [SimpleNamespace(info=SimpleNamespace(run_id=name)) for name in found]

    def get_metric_history(self, run_id, key):
        return [SimpleNamespace(step=step) for step, _ in self.runs[run_id].metrics[key]]

    def log_batch(self, run_id, metrics=(), params=(), tags=(), synchronous=None):
        run = self.runs[run_id]
        assert len(metrics) <= 1000 and len(params) + len(tags) <= 100
        run.calls.append(len(metrics))
        for metric in metrics:
            run.metrics[metric.key].append((metric.step, metric.value))
        run.params |= {param.key: param.value for param in params}
        run.tags |= {tag.key: tag.value for tag in tags}

    def log_artifact(self, run_id, local_path, artifact_path=None):
        with open(local_path, encoding="utf-8") as file:
            self.runs[run_id].files[local_path.rpartition("/")[2]] = file.read()

    def set_terminated(self, run_id, status=None, end_time=None):
        self.runs[run_id].status = status


class Entity(SimpleNamespace):
    def __init__(self, key, value, timestamp=None, step=None):
        super().__init__(key=key, value=value, timestamp=timestamp, step=step)


@pytest.fixture
def mlflow(monkeypatch):
    module, entities = ModuleType("mlflow"), ModuleType("mlflow.entities")
    module.MlflowClient, module.entities = Client, entities
    entities.Metric = entities.Param = entities.RunTag = Entity
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.setattr(Client, "runs", {})
    return Client.runs


def test_mlflow_has_every_number_once(mlflow):
    drive(MLflow("digits", every=2, tags={"team": "x"}))
    (run,) = mlflow.values()
    assert run.experiment == "experiment of digits" and run.status == "FINISHED"
    assert run.params["optimizer"] == "adam(0.001)" and run.params["data.rows"] == "80"
    assert run.params["metrics._b_recall_5_/b_"] == "f"
    assert (
        run.tags["fdl.engine"] == "resident" and run.tags["fdl.checkpoint"] == "s3://b/run" and run.tags["team"] == "x"
    )
    assert run.tags["fdl.version.fdl"] == "0.1.0"
    means = [(1 / step + 1 / (step + 1)) / 2 for step in range(1, 10, 2)]
    assert [step for step, _ in run.metrics["train/loss"]] == [1, 3, 5, 7, 9]
    assert [value for _, value in run.metrics["train/loss"]] == pytest.approx(means)
    assert [step for step, _ in run.metrics["validation/loss"]] == [2, 4, 9]
    assert run.metrics["validation/_b_recall_5_/b_/0"] == [(2, 0.25)]
    assert run.files["report.html"].startswith("<!DOCTYPE html>") and run.files["history.jsonl"].count('"steps"') == 10
    assert sum(count > 0 for count in run.calls) == 1  # one request for all that comes within seconds


def test_mlflow_goes_on_in_its_run(mlflow):
    history = drive(MLflow(every=1), stop=7, error=KeyboardInterrupt()).history
    assert mlflow["run 0"].status == "KILLED"
    history.back_to(5)
    drive(MLflow(every=1), first=5, stop=8, history=history, after=[6, 7, 8, 9])
    (run,) = mlflow.values()
    assert [step for step, _ in run.metrics["train/loss"]] == list(range(10)) and run.status == "FINISHED"
    assert [step for step, _ in run.metrics["validation/loss"]] == [2, 4, 9]
    drive(MLflow(every=1), stop=3)
    assert list(mlflow) == ["run 0", "run 1"]


@pytest.mark.parametrize(
    "how, status", [({}, "FINISHED"), ({"stopped_by": "when(step=7)"}, "FINISHED"), ({"error": OSError()}, "FAILED")]
)
def test_mlflow_has_the_ending_and_the_last_steps(mlflow, how, status):
    """A run that its trigger or a callback ends is a finished one; steps after the last whole point are no loss."""
    drive(MLflow(every=4), stop=7 if how else 10, **how)
    points = [*zip(*mlflow["run 0"].metrics["train/loss"], strict=True)]
    assert mlflow["run 0"].status == status and points[0] == ((3, 6) if how else (3, 7, 9))
    assert points[1][-1] == pytest.approx(np.mean([1 / 5, 1 / 6, 1 / 7] if how else [1 / 9, 1 / 10]))


@pytest.mark.parametrize("validated", [[], [2]])
def test_mlflow_goes_on_in_a_run_that_was_killed_before_its_first_point(mlflow, validated):
    history = drive(fdl_spark.Callback(), stop=5).history
    client = Client()
    client.create_run("0")
    points = [Entity("validation/loss", 0.5, 0, step) for step in validated]
    client.log_batch("run 0", metrics=points, tags=[Entity("fdl.run", "abc")])
    drive(MLflow(every=4), first=5, history=history)
    (run,) = mlflow.values()
    assert run.params == {}  # of which MLflow refuses other values than the first
    assert [step for step, _ in run.metrics["train/loss"]] == [3, 7, 9]
    assert run.metrics["train/loss"][1][1] == pytest.approx(np.mean([1 / n for n in (5, 6, 7, 8)]))
    assert [step for step, _ in run.metrics["validation/loss"]] == [2, 4, 9]


def test_steps_that_are_taken_again_count_once(mlflow):
    drive(MLflow(every=10), stop=8, after=[6, 7, 8, 9])
    assert mlflow["run 0"].metrics["train/loss"] == [(9, pytest.approx(np.mean([1 / n for n in range(1, 11)])))]


def test_mlflow_leaves_no_run_behind_when_it_cannot_begin(mlflow, monkeypatch):
    def down(*args, **kwargs):
        raise OSError("the server is gone")

    monkeypatch.setattr(Client, "log_batch", down)
    with pytest.raises(OSError, match="is gone"):
        drive(MLflow())
    assert mlflow["run 0"].status == "FAILED"


# Weights & Biases.


class Logged:
    """What the callback uses of a W&B run."""

    starting_step = 0

    def __init__(self, step):
        self.step, self.records, self.summary, self.artifacts, self.code = step, {}, {}, [], None

    def log(self, data, step=None, commit=None):
        assert step >= self.step  # W&B drops what comes later
        self.step = step
        self.records.setdefault(step, {}).update(data)

    def log_artifact(self, artifact_or_path, name=None, type=None, aliases=None, tags=None):
        self.artifacts.append(artifact_or_path)

    def finish(self, exit_code=None, quiet=None):
        self.code = exit_code


class Artifact:
    def __init__(
        self, name, type, description=None, metadata=None, incremental=False, use_as=None, storage_region=None
    ):
        self.name, self.type, self.files = name, type, []

    def add_file(self, local_path, name=None, is_tmp=False, skip_cache=False, policy="mutable", overwrite=False):
        with open(local_path, encoding="utf-8") as file:
            self.files.append((local_path.rpartition("/")[2], file.read(15)))


@pytest.fixture
def wandb(monkeypatch):
    module, calls = ModuleType("wandb"), []

    def init(**options):
        same = [run for given, run in calls if given["id"] == options["id"]]
        run = same[-1] if same else Logged(0)
        run.starting_step = max(run.records, default=-1) + 1  # as W&B's server tells it
        calls.append((options, run))
        return run

    module.init, module.Artifact = init, Artifact
    monkeypatch.setitem(sys.modules, "wandb", module)
    return calls


def test_wandb_has_every_number_once(wandb):
    interrupted = KeyboardInterrupt()
    callback = WandB("digits", every=1, mode="offline", config={"mine": 1})
    history = drive(callback, stop=7, error=interrupted).history
    assert wandb[0][1].code == 1
    history.back_to(5)
    drive(WandB("digits", every=1, mode="offline"), first=5, stop=8, history=history, after=[6, 7, 8, 9])
    (options, run), _ = wandb
    assert options["project"] == "digits" and options["mode"] == "offline" and options["resume"] == "allow"
    assert options["config"]["optimizer"] == "adam(0.001)" and options["config"]["mine"] == 1
    assert options["id"] == "abc" == wandb[1][0]["id"] and wandb[1][1] is run
    assert [record["train/loss"] for record in run.records.values()] == [1 / (n + 1) for n in range(10)]
    assert {step: r["validation/loss"] for step, r in run.records.items() if "validation/loss" in r} == {
        3: 0.5,
        5: 0.4,
        10: 0.2,
    }
    assert run.code == 0 and run.summary == {"engine": "resident"}
    (first, last) = run.artifacts
    assert first.name == "run-abc" and last.files[0] == ("report.html", "<!DOCTYPE html>")


# The packages.


@pytest.mark.parametrize("callback, package", [(MLflow("e"), "mlflow"), (WandB("p"), "wandb")])
def test_without_the_package_it_is_named(callback, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(fdl_spark.ArgumentError, match=rf"pip install {package}"):
        drive(callback)


@pytest.mark.parametrize(
    "fake, place",
    [(Client, "mlflow:MlflowClient"), (Artifact, "wandb:Artifact"), (Logged, "wandb.sdk.wandb_run:Run")],
)
def test_fakes_take_what_the_real_ones_take(fake, place):
    module, _, name = place.partition(":")
    if find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        real = getattr(importlib.import_module(module), name)
    for method, function in vars(fake).items():
        if not inspect.isfunction(function) or (fake is Logged and method == "__init__"):
            continue
        taken = list(inspect.signature(function).parameters)
        known = list(inspect.signature(getattr(real, method)).parameters)
        assert taken[: len(known)] == known[: len(taken)], (method, taken, known)
