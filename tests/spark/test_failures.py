"""What the texts of Spark's failures mean, in the form in which Spark 4.3 writes them."""

import re

import pytest
from py4j.protocol import Py4JError

import fdl_spark
from fdl_spark.spark.failures import BlocksLost, Lost, NoBarrier, NoRoom, explained

CALL = "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n: "
ABORTED = (
    CALL
    + "org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times, most "
    "recent failure: Lost task 0.3 in stage 1.0 (TID 5) (10.0.0.7 executor 1): "
)
WHERE = (
    "\n\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:3122)\n\nDriver stacktrace:\n\tat a.b"
)
BARRIER = (
    CALL + "org.apache.spark.SparkException: Job aborted due to stage failure: Could not recover from a failed barrier "
    "ResultStage. Most recent failure reason: Stage failed because barrier task ResultTask(8, 1) finished "
    "unsuccessfully.\n"
)


def in_python(raised):
    return (
        "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
        '  File "/spark/python/lib/pyspark.zip/pyspark/worker.py", line 2044, in main\n    process()\n'
        f"{raised}\n\n\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException"
    )


CRASHED = (
    "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed). Consider setting "
    "'spark.sql.execution.pyspark.udf.faulthandler.enabled' or'spark.python.worker.faulthandler.enabled' configuration "
    "to 'true' for the better Python traceback.\n\tat org.apache.spark.api.python.BasePythonRunner\n"
    "Caused by: java.io.EOFException\n\tat java.base/java.io.DataInputStream.readFully"
)
KILLED = "ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: "
BESIDE = "/tmp/spark-0a/executor-1b/spark-294290bf-e247-41af-9f34-e6785fc62095"
GONE = "/tmp/spark-0a/executor-1b/blockmgr-9f4dc80c-121e-4fe5-8ff5-7094fd3085c3"

TEXTS = {
    "the kernel kills a worker, or its block is cut off under it": (
        ABORTED + CRASHED + WHERE,
        Lost,
        "exited unexpectedly",
    ),
    "an idle worker was killed, which the JVM notices as it writes to it": (
        BARRIER
        + "java.io.IOException: Broken pipe\n\tat java.base/sun.nio.ch.FileDispatcherImpl.write0(Native Method)\n\tat "
        "org.apache.spark.api.python.BasePythonRunner$ReaderInputStream.writeAdditionalInputToPythonWorker" + WHERE,
        Lost,
        r"^a Python worker has gone \(Broken pipe\)$",
    ),
    "an executor's connection to another is reset": (
        ABORTED
        + "java.io.IOException: Connection reset by peer\n\tat org.apache.spark.network.client.Transport"
        + WHERE,
        Lost,
        "^Job aborted.*: Connection reset by peer$",
    ),
    "an executor is killed": (ABORTED + KILLED + "Command exited with code 137" + WHERE, Lost, "code 137"),
    "a host does not answer": (
        ABORTED + KILLED + "Executor heartbeat timed out after 142 ms" + WHERE,
        Lost,
        "heartbeat",
    ),
    "an executor is decommissioned": (
        ABORTED
        + "ExecutorLostFailure (executor 0 exited unrelated to the running tasks) Reason: Executor decommission."
        + WHERE,
        Lost,
        "decommission",
    ),
    "a block is missing": (
        ABORTED + in_python("fdl_spark.data.block.BlockMissing: /x.block has 10 bytes in place of 64") + WHERE,
        BlocksLost,
        "10 bytes",
    ),
    "a local directory is gone": (
        CALL + "org.apache.spark.SparkException: Job aborted due to stage failure: Task serialization failed: "
        f"java.nio.file.NoSuchFileException: {GONE}/0a" + WHERE,
        BlocksLost,
        f"a local directory of Spark is gone: {GONE}$",
    ),
    "a local directory is gone for shuffles": (
        ABORTED + f"java.io.FileNotFoundException: {GONE}/0c/temp_shuffle_1 (No such file or directory)" + WHERE,
        BlocksLost,
        "is gone",
    ),
    "a local directory is gone for broadcasts": (
        ABORTED
        + in_python(f"FileNotFoundError: [Errno 2] No such file or directory: '{GONE}/39/broadcast_48_python'")
        + WHERE,
        BlocksLost,
        f"a local directory of Spark is gone: {GONE}$",
    ),
    "an executor's other local directory is gone": (
        ABORTED + f"java.nio.file.NoSuchFileException: {BESIDE}/broadcast4542085718360534319" + WHERE,
        BlocksLost,
        f"a local directory of Spark is gone: {BESIDE}$",
    ),
    "a rank loses its peer": (
        BARRIER + in_python("fdl_spark.net.connection.PeerLost: rank 1 on host closed the connection") + WHERE,
        Lost,
        "rank 1 on host",
    ),
    "the kernel kills a rank": (BARRIER + CRASHED + WHERE, Lost, "exited unexpectedly"),
    "a worker has another version": (
        ABORTED + in_python("fdl_spark.compute.job.OtherVersion: driver 0.2.0, node7 0.1.0") + WHERE,
        fdl_spark.ClusterError,
        "of another version on the executors than on the driver; install the same: .*driver 0.2.0, node7 0.1.0",
    ),
    "a worker's version lacks what it is to run": (
        ABORTED
        + in_python("AttributeError: Can't get attribute 'write' on <module 'fdl_spark.data.block' from '/x/block.py'>")
        + WHERE,
        fdl_spark.ClusterError,
        "install the same: AttributeError: Can't get attribute 'write'",
    ),
    "too few slots for a barrier": (
        CALL
        + "org.apache.spark.scheduler.BarrierJobSlotsNumberCheckFailed: [SPARK-24819]: Barrier execution mode does "
        "not allow run a barrier stage that requires more slots than the total number of slots in the cluster "
        "currently. Please init a new cluster." + WHERE,
        NoBarrier,
        "requires more slots",
    ),
    "dynamic allocation forbids a barrier": (
        CALL
        + "org.apache.spark.SparkException: [SPARK-24942]: Barrier execution mode does not support dynamic resource "
        "allocation for now." + WHERE,
        NoBarrier,
        "dynamic resource",
    ),
    "no disk takes a block": (
        ABORTED
        + in_python("fdl_spark.spark.disks.DiskFull: no local directory of Spark takes a block: /a on b: full")
        + WHERE,
        NoRoom,
        "^no local directory of Spark takes a block: /a on b: full$",
    ),
    "no disk takes a shuffle": (
        ABORTED
        + "java.io.IOException: No space left on device\n\tat java.base/sun.nio.ch.FileDispatcherImpl.write0"
        + WHERE,
        NoRoom,
        "a local disk of Spark is full: .*No space left on device",
    ),
    "a quota": (
        ABORTED + "java.io.IOException: Disk quota exceeded" + WHERE,
        NoRoom,
        "is full: .*Disk quota exceeded",
    ),
    "a task has no memory": (ABORTED + in_python("MemoryError") + WHERE, fdl_spark.ClusterError, "no memory left"),
    "a task's own file has no room": (
        ABORTED + in_python("OSError: [Errno 28] No space left on device") + WHERE,
        NoRoom,
        "a disk of an executor is full",
    ),
    "a job is cancelled": (
        CALL + "org.apache.spark.SparkException: [SPARK_JOB_CANCELLED] Job 6 cancelled as part of cancellation of all "
        "jobs SQLSTATE: XXKDA" + WHERE,
        fdl_spark.ClusterError,
        r"was cancelled \(Job 6",
    ),
    "the user's function raises": (
        ABORTED + in_python("ValueError: BlockMissing is what I say") + WHERE,
        fdl_spark.UserFunctionError,
        "ValueError",
    ),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_a_failure_means(kind):
    text, meaning, said = TEXTS[kind]
    with pytest.raises(Exception) as raised, explained("working"):
        raise Py4JError(text)
    assert type(raised.value) is meaning
    assert re.search(said, str(raised.value)), raised.value
    if " is gone" in str(raised.value):
        assert raised.value.folder == str(raised.value).rpartition(" ")[2]
