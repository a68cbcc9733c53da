"""Which executors there are, and tasks on every one of them."""

from typing import Any

from fdl_spark.spark.classic import RDD, SparkContext
from fdl_spark.spark.wire import raw_input


def everywhere(context: SparkContext) -> RDD:
    """An RDD of one partition an executor, each of which Spark runs on its executor if that is still there."""
    jvm, scala = context._jvm, context._jsc.sc()
    executors, places = scala.statusStore().executorList(True).iterator(), []
    while executors.hasNext():
        executor = executors.next()
        places.append((executor.id(), executor.hostPort().rpartition(":")[0]))
    tasks = [
        jvm.scala.Tuple2(b"", jvm.PythonUtils.toSeq([f"executor_{host}_{name}"]))
        for name, host in places
        if name != "driver" or len(places) == 1
    ]
    rdd = scala.makeRDD(jvm.PythonUtils.toSeq(tasks), jvm.scala.reflect.ClassTag.Any())
    return raw_input(rdd.toJavaRDD(), context)


def hosts(context: SparkContext) -> int:
    """On how many hosts there are executors; the driver's counts where there are no others."""
    scala: Any = context._jsc.sc()
    places = scala.getExecutorMemoryStatus().keySet().mkString(" ").split()
    driver = scala.statusStore().executorSummary("driver").hostPort()
    return len({place.rpartition(":")[0] for place in places if place != driver}) or 1
