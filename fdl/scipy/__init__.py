"""SciPy's functions on fdl's arrays, under the names of ``jax.scipy``."""

from fdl.scipy import linalg, optimize, sparse, special, stats

__all__ = ["linalg", "optimize", "sparse", "special", "stats"]
