"""NeuMF as in `ncf`, with rows of the tables left alone in steps that do not look them up: PyTorch's SparseAdam."""

from collections.abc import Callable
from types import ModuleType

from benchmarks import ncf

TITLE = "NeuMF, ml-20m sizes, batch 2048, lazy Adam"


def step(framework: str, module: ModuleType) -> Callable[[], object]:
    return ncf.step(framework, module, lazy=True)
