"""Cases of single operations by family: operands, and functions for fdl, JAX and PyTorch.

`FAMILIES` names a function of each family that makes its cases; `benchmarks.operations` runs and compares them.
"""

from collections.abc import Callable
from functools import cache

from benchmarks.cases import arrays, images, matrices, products, programs
from benchmarks.cases.case import Case

FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "matmul": products.float32,
    "batched matmul": products.batched,
    "low precision": products.low,
    "convolution": images.convolution,
    "pooling": images.pooling,
    "norms": images.norms,
    "softmax": arrays.softmax,
    "elementwise": arrays.elementwise,
    "reductions": arrays.reductions,
    "cumulative": arrays.cumulative,
    "sorts and sets": arrays.sorts,
    "gather": arrays.gather,
    "copies": arrays.copies,
    "attention": programs.attention,
    "recurrent": programs.recurrent,
    "scans": programs.scans,
    "FFT": matrices.fourier,
    "linear algebra": matrices.linear_algebra,
    "linear algebra in scans": matrices.in_scans,
    "random": programs.random,
    "optimizers": programs.optimizers,
    "eager": programs.eager,
    "calls": programs.calls,
}


@cache
def of(family: str) -> dict[str, Case]:
    """The cases of a family by name."""
    return {case.name: case for case in FAMILIES[family]()}
