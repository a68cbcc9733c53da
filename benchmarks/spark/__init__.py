"""Spark engines measured: against their own compute, against TorchDistributor, and against a model of their cost."""
