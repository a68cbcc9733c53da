"""NeuMF as in `ncf`, with rows of the tables left alone in steps that do not look them up: PyTorch's SparseAdam."""

from collections.abc import Callable

from benchmarks import ncf

TITLE = "NeuMF, ml-20m sizes, batch 2048, lazy Adam"


def step(framework: str) -> Callable[[], object]:
    """The step of a framework: of `fdl`, `torch` or `torch.compile`."""
    return ncf.step(framework, lazy=True)
