"""Hyper-parameter search over many small models in one Spark job: `fdl_spark.search`, and what its space is made of."""

from fdl_spark.searching.space import choice, integer, log_uniform, uniform

__all__ = ["choice", "integer", "log_uniform", "uniform"]
