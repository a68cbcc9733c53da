"""Programs that use fdl and fdl_spark, and the data sets that they read."""
