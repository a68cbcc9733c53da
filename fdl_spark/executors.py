"""Tasks on every executor there is."""

from fdl_spark.classic import RDD, SparkContext
from fdl_spark.wire import raw_input


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
