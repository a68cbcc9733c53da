"""Tasks that can connect neither to each other nor to the driver: `auto` does without tasks that stay, and says why;
who asks for them is told who cannot be reached, and what to do."""

import logging
import runpy
import socket
from dataclasses import replace
from pathlib import Path

import pytest

import fdl_spark
from fdl import optim
from fdl_spark.engines.resident import Resident

walled_off = runpy.run_path(str(Path(__file__).with_name("wall.py")))["walled_off"]


@pytest.fixture
def silent(monkeypatch):
    """The address of one who takes calls and never answers, as it is behind a firewall; callers give up soon."""
    monkeypatch.setattr("fdl_spark.engines.resident.CONNECTING", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp:127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def train(spark, problem):
    def run(loss=problem.loss, **changes):
        settings = {"optimizer": optim.adam(0.02), "batch_size": 100, "shards": 4, "seed": 11, "steps": 7}
        settings |= {"partitions": 2, **changes}
        return fdl_spark.train(loss, problem.params, problem.data, **settings)

    return run


def test_ranks_that_cannot_reach_each_other(train, problem, digest, silent, caplog):
    with caplog.at_level(logging.WARNING):
        run = train(walled_off(problem.loss, silent))
    assert digest(run.params) == digest(train(sync="driver").params)
    first, *rest = run.history.engines
    assert first["engine"] == "resident"
    assert rest and {choice["engine"] for choice in rest} <= {"shuffle", "driver", "blocks"}
    (line,) = [record.message for record in caplog.records]
    assert f" at {silent} cannot be reached from {socket.gethostname()} (timed out)" in line
    assert line.startswith("tasks cannot stay for several steps: rank 0 (")
    assert line.removesuffix("; each step waits for Spark's scheduler instead") == rest[0]["why"]
    (event,) = run.history.events  # it is tried twice, as one of them may have died
    assert event["step"] == 0 and "Unreachable: rank 0" in event["event"]


def test_ranks_that_cannot_reach_the_driver(train, silent, monkeypatch):
    order = Resident._order
    monkeypatch.setattr(Resident, "_order", lambda *arguments: replace(order(*arguments), hub=silent))
    with pytest.raises(fdl_spark.ClusterError) as caught:
        train(sync="resident")
    text = str(caught.value)
    assert text.startswith(f"the driver on 127.0.0.1 at {silent} cannot be reached from {socket.gethostname()}")
    assert "let the cluster's hosts reach each other at all ports" in text and 'pass sync="shuffle" or "driver"' in text
    assert caught.value.run.step == 0
