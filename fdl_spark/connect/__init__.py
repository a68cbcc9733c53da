"""Spark Connect: training by operations on DataFrames only, for clients without Java, RDDs or a SparkContext."""
