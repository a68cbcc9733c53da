"""SciPy's functions on fdl's arrays, under the names of ``jax.scipy``."""

from fdl.scipy import cluster, fft, integrate, linalg, ndimage, optimize, sparse, special, stats

__all__ = ["cluster", "fft", "integrate", "linalg", "ndimage", "optimize", "sparse", "special", "stats"]
