"""Products of matrices: square, tall, wide, of few rows, batched, transposed, in single, double and low precision."""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.cases.case import Case, normal, sized, with_gradient

SHAPES = [
    (64, 64, 64), (128, 128, 128), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (100, 100, 100),
    (333, 333, 333), (32, 1024, 1024), (1024, 1024, 32), (20, 650, 2600), (1000, 16, 1000), (1, 1024, 1024),
    (1024, 1024, 1), (8, 512, 512), (256, 784, 512), (256, 512, 10), (4096, 64, 64), (10_000, 20, 3), (64, 4096, 64),
    (17, 129, 65),
]  # fmt: skip
BATCHED = [
    (256, 16, 16, 16),
    (1000, 4, 4, 4),
    (32, 64, 32, 64),
    (8, 128, 128, 128),
    (64, 7, 9, 5),
    (16, 256, 64, 256),
    (100, 32, 32, 1),
]
DOUBLE = [(64, 64, 64), (256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (32, 1024, 1024), (1, 1024, 1024)]
LOW = [
    (64, 64, 64),
    (256, 256, 256),
    (512, 512, 512),
    (1024, 1024, 1024),
    (20, 650, 2600),
    (32, 1024, 1024),
    (1, 1024, 1024),
]


def _product(_: Any, x: Any, y: Any) -> Any:
    return x @ y


def _transposed(which: str, _: Any, x: Any, y: Any) -> Any:
    return (x.swapaxes(-1, -2) if "x" in which else x) @ (y.swapaxes(-1, -2) if "y" in which else y)


def float32() -> list[Case]:
    """Single and double precision, one matrix by one."""
    found = []
    for m, k, n in SHAPES:
        found += with_gradient(Case(sized(m, k, n), normal((m, k), (k, n)), _product, _product, wrt=(0, 1)))
    for n in (256, 1024):
        for which in ("x", "y"):
            f = partial(_transposed, which)
            found += with_gradient(Case(f"{n}, {which} transposed", normal((n, n), (n, n)), f, f, wrt=(0, 1)))
    for m, k, n in DOUBLE:
        operands = normal((m, k), (k, n), dtype="float64")
        found += with_gradient(Case(f"{sized(m, k, n)} float64", operands, _product, _product, wrt=(0, 1)))
    return found


def batched() -> list[Case]:
    found = []
    for b, m, k, n in BATCHED:
        found += with_gradient(
            Case(f"{b} of {sized(m, k, n)}", normal((b, m, k), (b, k, n)), _product, _product, wrt=(0, 1))
        )
    return found


def low() -> list[Case]:
    """bfloat16 and float16 with sums in float32, int8 with sums in int32."""
    found = []
    for dtype in ("bfloat16", "float16"):
        for m, k, n in LOW:
            case = Case(
                f"{sized(m, k, n)} {dtype}", normal((m, k), (k, n), dtype=dtype), _product, _product, wrt=(0, 1)
            )
            found += with_gradient(Case(**{**case.__dict__, "tolerance": 0.03}))

    def product(xp: Any, x: Any, y: Any) -> Any:
        return xp.lax.dot_general(x, y, (((1,), (0,)), ((), ())), preferred_element_type=xp.numpy.int32)

    for m, k, n in LOW[:-1]:

        def integers(rng: np.random.Generator, m: int = m, k: int = k, n: int = n) -> list[np.ndarray]:
            return [rng.integers(-100, 100, shape).astype(np.int8) for shape in ((m, k), (k, n))]

        torch = (lambda t, x, y: t._int_mm(x, y)) if m > 16 else None
        found.append(Case(f"{sized(m, k, n)} int8", integers, product, torch, narrow=True))
    for size in (10_000, 1_000_000):
        for name, f in (("add", lambda _, x, y: x + y), ("x * y + x", lambda _, x, y: x * y + x)):
            for dtype in ("bfloat16", "float16"):
                operands = normal((size,), (size,), dtype=dtype)
                found.append(Case(f"{name} {size:,} {dtype}", operands, f, f, tolerance=0.03))
    for dtype in ("bfloat16", "float16"):
        operands = normal((512, 1024), dtype=dtype)
        softmax = Case(
            f"softmax 512x1024 {dtype}",
            operands,
            lambda xp, x: xp.nn.softmax(x),
            lambda t, x: x.softmax(-1),
            tolerance=0.03,
        )
        found += with_gradient(softmax)
        found.append(
            Case(f"sum 512x1024 {dtype}", operands, lambda _, x: x.sum(1), lambda _, x: x.sum(1), tolerance=0.03)
        )
    return found
