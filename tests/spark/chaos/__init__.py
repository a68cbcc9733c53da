"""Failures of real processes: what is done to a cluster while it trains, and what must come of it (see scenarios.py).

python -m tests.spark.chaos [--engines driver ...] [--masters local-cluster ...] [--only 'executor*' ...]
"""
