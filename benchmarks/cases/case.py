"""What a case of an operation is: its operands, and its function for each framework."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

Array = np.ndarray
Make = Callable[[np.random.Generator], Sequence[Array]]


def unchanged(results: list[Array]) -> list[Array]:
    return results


@dataclass(frozen=True)
class Case:
    """One operation on one set of operands.

    Attributes:
        name: shapes and dtypes in words; unique within a family.
        operands: makes the operands as NumPy arrays.
        functional: of (module, *operands), for fdl and JAX.
        torch: the same of (torch, *tensors); integer tensors are int64, as PyTorch wants indices, unless `narrow`.
        gradient: whether the gradient of the operands `wrt`, by a random cotangent, is computed instead of the result.
        jit: False calls `functional` as it is, operation by operation.
        narrow: whether PyTorch's integers keep their dtype.
        check: puts the results into a form in which they must be the same for all frameworks.
        tolerance: largest difference of results, relative to the largest element.
    """

    name: str
    operands: Make
    functional: Callable[..., Any]
    torch: Callable[..., Any] | None
    gradient: bool = False
    wrt: tuple[int, ...] = (0,)
    jit: bool = True
    narrow: bool = False
    check: Callable[[list[Array]], list[Array]] = unchanged
    tolerance: float = 1e-3


def with_gradient(case: Case) -> list[Case]:
    """A case forward and backward."""
    return [case, replace(case, name=f"{case.name}, gradient", gradient=True)]


def normal(*shapes: tuple[int, ...], dtype: str = "float32") -> Make:
    """Operands of normal numbers."""
    return partial(_normal, shapes, dtype)


def _normal(shapes: tuple[tuple[int, ...], ...], dtype: str, rng: np.random.Generator) -> list[Array]:
    return [cast(rng.standard_normal(shape, np.float32), dtype) for shape in shapes]


def cast(x: Array, dtype: str) -> Array:
    """The array in a dtype that NumPy need not know."""
    if dtype in ("bfloat16", "float16"):
        import ml_dtypes

        return x.astype(getattr(ml_dtypes, dtype, dtype))
    return x.astype(dtype)


def indices(rng: np.random.Generator, bound: int, *shape: int) -> Array:
    return rng.integers(0, bound, shape).astype(np.int32)


def counted(number: int) -> str:
    """1M for a million, 64k for 65,536."""
    for unit, name in ((1 << 20, "Mi"), (1_000_000, "M"), (1 << 10, "Ki"), (1000, "k")):
        if number >= unit and number % unit == 0:
            return f"{number // unit}{name}"
    return str(number)


def sized(*shape: int) -> str:
    return "x".join(map(counted, shape)) or "scalar"


def moments(results: list[Array]) -> list[Array]:
    """What random numbers of one distribution have in common, to about a tenth of their deviation."""
    x = results[0].astype(np.float64)
    return [100 + np.array([x.mean(), x.std()]) / max(1.0, float(x.std()))]


def sizes_only(results: list[Array]) -> list[Array]:
    """For results that may differ: signs of vectors, orders of equal elements."""
    return [np.ones(result.shape) for result in results]


def magnitudes(results: list[Array]) -> list[Array]:
    """For vectors whose signs are free."""
    return [np.abs(result) for result in results]
