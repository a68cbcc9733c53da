"""What makes sessions and JVMs of tests cheap, whose tables have a few rows and whose lives are short."""

# Of a JVM: most are over before the optimising compiler, or more threads for collecting garbage, would have paid. The
# space for compiled code is what it would be with that compiler, so that nothing is thrown out of it.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m -XX:+UseSerialGC -XX:-UsePerfData"

# Of a session: Spark interprets its plans instead of compiling Java for each of them, and makes few partitions. The
# sessions that tests start in processes of their own keep Spark's defaults.
SETTINGS = {
    "spark.ui.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "3",
}
