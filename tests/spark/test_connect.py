"""Spark Connect: the same bits as a classic session, from a client without Java, and clear errors."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyspark
import pytest

from fdl_spark.spark.java import java_home
from fdl_spark.spark.session import FAST
from tests.spark.chaos import processes
from tests.spark.cheap import SETTINGS

PROGRAM = Path(__file__).with_name("connect_program.py")
HERE = runpy.run_path(str(PROGRAM))
QUIET = "rootLogger.level = off\n"
# But for the line in which a server says at which port it listens.
PORT_TOLD = """
logger.server.name = org.apache.spark.sql.connect.service.SparkConnectServer
logger.server.level = info
logger.server.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %m%n
"""
START = 300  # seconds for a server
SECONDS = 1200  # for all checks of a client, which ends when one of them hangs


def environment(folder):
    changed = {"PYSPARK_PYTHON": sys.executable, "JAVA_HOME": str(java_home()), "SPARK_LOCAL_IP": "127.0.0.1"}
    changed["JDK_JAVA_OPTIONS"] = f"{os.environ['JDK_JAVA_OPTIONS']} -Dlog4j2.configurationFile={quiet(folder)}"
    changed["PYTHONFAULTHANDLER"] = "1"
    changed["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    left_out = ("SPARK_REMOTE", "SPARK_LOCAL_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "SPARK_HOME")
    return {name: value for name, value in os.environ.items() if name not in left_out} | changed


def quiet(folder):
    path = folder / "log4j2.properties"
    path.write_text(QUIET + PORT_TOLD)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a server of Spark Connect, the environment of its clients, its process and its log."""
    folder = tmp_path_factory.mktemp("server")
    token = os.urandom(16).hex()
    env = environment(folder) | {"SPARK_CONNECT_AUTHENTICATE_TOKEN": token}
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
        "spark.local.dir": str(folder),
        # Much of what the server would compute is Java for plans of a few rows, and the import of fdl by each worker.
        # The server below, which a client starts itself, has Spark's defaults.
        "spark.python.daemon.module": FAST["spark.python.daemon.module"][0],
        **SETTINGS,
    }
    command = [str(Path(pyspark.__file__).parent / "bin" / "spark-submit"), "--master", "local[2,3]"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    command += [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, "spark-internal"], env=env, stdout=log, stderr=log, cwd=folder)
    try:
        end, told = time.monotonic() + START, None
        while told is None and time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
            told = re.search(r"server started at: .*:(\d+)$", (folder / "log").read_text(), re.MULTILINE)
        assert told is not None, (folder / "log").read_text()[-3000:]
        yield f"sc://localhost:{told[1]}", env, process, folder / "log"  # with a token any other name would need TLS
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(*arguments, env, cwd):
    """What the program found; if it hangs, an error with the stacks of its threads."""
    with (cwd / "out").open("wb") as out, (cwd / "errors").open("wb") as errors:  # no pipe that a child could keep open
        command = [sys.executable, str(PROGRAM), *arguments]
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=out, stderr=errors)
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()
    said = (cwd / "out").read_text()
    assert said, (cwd / "errors").read_text()[-9000:]
    return json.loads(said.splitlines()[-1])


@pytest.fixture(scope="module")
def found(server, tmp_path_factory):
    """What the checks gave over Spark Connect; if they hang, the stacks of the server and its workers are told too."""
    address, env, process, log = server
    try:
        return run("server", address, env=env, cwd=tmp_path_factory.mktemp("client"))
    except BaseException as error:
        workers = [pid for pid in processes.descendants(process.pid) if "python" in (processes.command(pid) or [""])[0]]
        processes.send(signal.SIGABRT, workers)
        process.send_signal(signal.SIGQUIT)
        time.sleep(2)  # until the stacks are in the log
        error.add_note(f"the server:\n{log.read_text()[-30000:]}")
        raise


@pytest.mark.parametrize("name", list(HERE["ALIKE"]))
def test_the_same_bits_as_a_classic_session(name, found, spark):
    assert found[name] == json.loads(json.dumps(HERE["ALIKE"][name](spark)))


def test_the_session_is_the_one_there_is(found):
    assert found["session"] is True


def test_nothing_of_classic_spark_is_imported(found):
    assert found["imports"] == []


@pytest.mark.parametrize(
    "name, kind, text",
    [
        ("raises", "UserFunctionError", "ZeroDivisionError: no bang"),
        ("module", "ClusterError", "workers need fdl and fdl_spark"),
        ("query", "DataError", "DIVIDE_BY_ZERO"),
        ("name", "DataError", "nobody"),
        ("null", "ColumnError", "column 'y': null, first at row 5"),
        ("string", "ColumnError", "column 'name': string is not numeric"),
        ("nothing", "DataError", "the data has no rows"),
        ("text", "DataError", "PATH_NOT_FOUND"),
        ("slots", "ArgumentError", "3 tasks to run at once, and the cluster runs 2"),
        ("blocks", "ArgumentError", "needs a classic session"),
        ("after the end", "ClusterError", "was stopped"),
    ],
)
def test_errors(name, kind, text, found):
    assert found[name][0] == kind
    assert text in found[name][1]


def test_a_killed_worker_changes_nothing(found):
    assert found["killed"] == [True, found["shuffle"]]


def test_an_interrupt_ends_the_run(found):
    assert found["interrupted"] == [True, True, 0, found["shuffle"]]


def test_tasks_that_cannot_reach_each_other(found):
    trained, (first, why_first), (second, why_second), (kind, text) = found["apart"]
    assert trained == found["shuffle"]
    assert (first, why_first) == ("resident", "tried first") and second in ("shuffle", "driver")
    # Whichever of the two gives up first: the one that calls, or the one that is not called.
    apart = (
        r"rank 0 \(.*\) on .* at tcp:127.* cannot be reached from|rank 1 on .* has not called: nobody connected to tcp"
    )
    assert re.match(f"tasks cannot stay for several steps: ({apart})", why_second)
    assert kind == "NoConnection" and re.match(apart, text) and 'pass sync="shuffle" or "driver"' in text


def test_large_values_and_answers(found):
    texts, same = found["shared"]
    sum_of_all = 999_999 * 1_000_000 // 2
    assert texts == [f"small 0 {sum_of_all} 0", "", "100", f"small 1 {sum_of_all} 0", "", "100"]
    assert same == [True, True]


def test_sessions_that_cannot_cache(found):
    trained, kind, text, attempts, _ = found["uncached"]
    assert trained == found["columns"]
    assert kind == "ArgumentError" and 'pass sync="resident"' in text
    assert attempts == 1


# What serverless compute takes, too: nothing is cached or set, and no view or file outlives the session.
TAKEN = {
    *("ExecutePlan", "AnalyzePlan", "Config", "ReattachExecute", "ReleaseExecute", "Plan.root", "Plan.command"),
    *("Relation.range", "Relation.project", "Relation.read", "Relation.local_relation", "Relation.to_df"),
    *("Relation.map_partitions", "Relation.repartition_by_expression", "Relation.deduplicate", "Relation.set_op"),
    *("Relation.catalog", "Catalog.drop_temp_view", "Command.create_dataframe_view", "Relation.limit", "Relation.drop"),
    *("AnalyzePlanRequest.schema", "AnalyzePlanRequest.is_streaming", "AnalyzePlanRequest.ddl_parse"),
    *("Operation.get", "Operation.get_with_default", "Operation.get_option"),
}


def test_only_what_serverless_compute_takes_is_asked(found):
    asked = set(found["uncached"][4])
    assert {"ExecutePlan", "Relation.map_partitions", "Relation.local_relation"} <= asked
    assert asked <= TAKEN


def test_plans_do_not_grow_deep(found):
    assert found["many requests"] == ["id"]


def test_predictions_with_large_parameters(found):
    assert found["large prediction"] == [[0, 99_998, 199_996, 299_994, 399_992], 1, True]


def test_a_pipeline_at_a_path_that_the_server_does_not_see(found):
    alone, kind, text = found["written by two"]
    assert (alone, kind) == (True, "ModelError")
    assert "the server of Spark Connect, which writes the rest, does not see it" in text


def test_nothing_is_left_behind(found):
    assert found["left"] == [0, [], []]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """What the checks gave in a process that started its server itself, on a free port."""
    folder = tmp_path_factory.mktemp("local")
    return run("local", env=environment(folder) | {"SPARK_TESTING": "1"}, cwd=folder)


def test_a_server_in_the_same_process(local, spark):
    assert local["session"] is True
    assert local["driver"] == HERE["ALIKE"]["driver"](spark)


def test_a_server_that_is_killed(local):
    kind, text = local["killed"]
    assert kind == "ClusterError"
    assert "server of Spark Connect cannot be reached" in text
