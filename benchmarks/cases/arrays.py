"""Elementwise functions, reductions, cumulative operations, softmax, lookups, copies, sorts and sets."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.cases.case import Case, indices, normal, sized, with_gradient

Both = Callable[[Any, Any], Any]
#: Name; for fdl and JAX, of (module, x); for PyTorch, of (torch, x); how the operand is made of normal numbers.
UNARY: list[tuple[str, Both, Both, Callable[[np.ndarray], np.ndarray]]] = [
    ("exp", lambda xp, x: xp.numpy.exp(x), lambda t, x: t.exp(x), np.asarray),
    ("log", lambda xp, x: xp.numpy.log(x), lambda t, x: t.log(x), lambda x: np.abs(x) + 0.1),
    ("log1p", lambda xp, x: xp.numpy.log1p(x), lambda t, x: t.log1p(x), np.abs),
    ("expm1", lambda xp, x: xp.numpy.expm1(x), lambda t, x: t.expm1(x), np.asarray),
    ("sin", lambda xp, x: xp.numpy.sin(x), lambda t, x: t.sin(x), np.asarray),
    ("tan", lambda xp, x: xp.numpy.tan(x), lambda t, x: t.tan(x), lambda x: np.clip(x, -1, 1)),
    ("tanh", lambda xp, x: xp.numpy.tanh(x), lambda t, x: t.tanh(x), np.asarray),
    ("arcsin", lambda xp, x: xp.numpy.arcsin(x), lambda t, x: t.asin(x), lambda x: np.clip(x, -0.9, 0.9)),
    ("arctan", lambda xp, x: xp.numpy.arctan(x), lambda t, x: t.atan(x), np.asarray),
    ("sqrt", lambda xp, x: xp.numpy.sqrt(x), lambda t, x: t.sqrt(x), lambda x: np.abs(x) + 0.1),
    ("square", lambda xp, x: x * x, lambda t, x: x * x, np.asarray),
    ("reciprocal", lambda xp, x: 1 / x, lambda t, x: 1 / x, lambda x: np.abs(x) + 0.1),
    ("power 2.5", lambda xp, x: x**2.5, lambda t, x: x**2.5, lambda x: np.abs(x) + 0.1),
    ("abs", lambda xp, x: xp.numpy.abs(x), lambda t, x: t.abs(x), np.asarray),
    ("sigmoid", lambda xp, x: xp.nn.sigmoid(x), lambda t, x: t.sigmoid(x), np.asarray),
    ("relu", lambda xp, x: xp.nn.relu(x), lambda t, x: t.relu(x), np.asarray),
    ("gelu", lambda xp, x: xp.nn.gelu(x), lambda t, x: t.nn.functional.gelu(x, approximate="tanh"), np.asarray),
    ("gelu, exact", lambda xp, x: xp.nn.gelu(x, approximate=False), lambda t, x: t.nn.functional.gelu(x), np.asarray),
    ("silu", lambda xp, x: xp.nn.silu(x), lambda t, x: t.nn.functional.silu(x), np.asarray),
    ("softplus", lambda xp, x: xp.nn.softplus(x), lambda t, x: t.nn.functional.softplus(x), np.asarray),
    ("elu", lambda xp, x: xp.nn.elu(x), lambda t, x: t.nn.functional.elu(x), np.asarray),
    ("erf", lambda xp, x: xp.lax.erf(x), lambda t, x: t.erf(x), np.asarray),
    ("erfc", lambda xp, x: xp.lax.erfc(x), lambda t, x: t.erfc(x), np.asarray),
    ("erfinv", lambda xp, x: xp.lax.erf_inv(x), lambda t, x: t.erfinv(x), lambda x: np.clip(x, -0.9, 0.9)),
    ("lgamma", lambda xp, x: xp.lax.lgamma(x), lambda t, x: t.lgamma(x), lambda x: np.abs(x) + 0.1),
    ("digamma", lambda xp, x: xp.lax.digamma(x), lambda t, x: t.digamma(x), lambda x: np.abs(x) + 0.1),
    ("floor", lambda xp, x: xp.numpy.floor(x), lambda t, x: t.floor(x), np.asarray),
    ("clip", lambda xp, x: xp.numpy.clip(x, -1, 1), lambda t, x: t.clamp(x, -1, 1), np.asarray),
    ("chain of six", lambda xp, x: xp.numpy.tanh(x * 2 + 1) * xp.numpy.exp(-x * x) + x,
     lambda t, x: t.tanh(x * 2 + 1) * t.exp(-x * x) + x, np.asarray),
]  # fmt: skip
BINARY: list[tuple[str, Callable[..., Any], Callable[..., Any]]] = [
    ("add", lambda xp, x, y: x + y, lambda t, x, y: x + y),
    ("multiply", lambda xp, x, y: x * y, lambda t, x, y: x * y),
    ("divide", lambda xp, x, y: x / (y * y + 1), lambda t, x, y: x / (y * y + 1)),
    ("maximum", lambda xp, x, y: xp.numpy.maximum(x, y), lambda t, x, y: t.maximum(x, y)),
    ("arctan2", lambda xp, x, y: xp.numpy.arctan2(x, y), lambda t, x, y: t.atan2(x, y)),
    ("where", lambda xp, x, y: xp.numpy.where(x > y, x, y * 2), lambda t, x, y: t.where(x > y, x, y * 2)),
]


def _made(
    make: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...], dtype: str, rng: np.random.Generator
) -> list:
    return [make(rng.standard_normal(shape)).astype(dtype)]


def elementwise() -> list[Case]:
    """Every function forward and backward; some in float64, and of ten million elements, where memory decides."""
    found = []
    for name, functional, torch, make in UNARY:
        case = Case(f"{name} 100k", partial(_made, make, (100_000,), "float32"), functional, torch)
        found += [case] if name == "floor" else with_gradient(case)
        if name in ("exp", "log", "sin", "tanh", "erf", "erfinv", "lgamma", "digamma", "sqrt", "sigmoid"):
            found.append(Case(f"{name} 100k float64", partial(_made, make, (100_000,), "float64"), functional, torch))
        if name in ("exp", "relu", "gelu", "chain of six"):
            found += with_gradient(
                Case(f"{name} 10M", partial(_made, make, (10_000_000,), "float32"), functional, torch)
            )
    for name, functional, torch in BINARY:
        found += with_gradient(
            Case(f"{name} 100k", normal((100_000,), (100_000,)), functional, torch, wrt=(0, 1), tolerance=3e-3)
        )
    for rows, width in ((1000, 1000), (100_000, 3)):
        for axis, shape in (("a row", (width,)), ("a column", (rows, 1))):
            f = BINARY[0][1]
            found += with_gradient(
                Case(f"add {axis} to {sized(rows, width)}", normal((rows, width), shape), f, f, wrt=(0, 1))
            )
    return found


REDUCED = [
    ((1_000_000,), 0),
    ((1000, 1000), 1),
    ((1000, 1000), 0),
    ((100_000, 10), 1),
    ((100_000, 10), 0),
    ((100, 100, 64), 1),
]


def reductions() -> list[Case]:
    """Along long and short axes, in front and at the end."""
    found = []
    for shape, axis in REDUCED:
        name = f"{sized(*shape)} along {axis}"
        for what, functional, torch in (
            ("sum", lambda _, x, a: x.sum(a), lambda _, x, a: x.sum(a)),
            ("mean", lambda _, x, a: x.mean(a), lambda _, x, a: x.mean(a)),
            ("max", lambda _, x, a: x.max(a), lambda _, x, a: x.amax(a)),
            ("var", lambda _, x, a: x.var(a), lambda _, x, a: x.var(a, correction=0)),
            ("logsumexp", lambda xp, x, a: xp.nn.logsumexp(x, a), lambda _, x, a: x.logsumexp(a)),
            ("argmax", lambda _, x, a: x.argmax(a), lambda _, x, a: x.argmax(a)),
        ):
            case = Case(
                f"{what} {name}", normal(shape), lambda xp, x, f=functional, a=axis: f(xp, x, a),
                lambda t, x, f=torch, a=axis: f(t, x, a),
            )  # fmt: skip
            found += [case] if what == "argmax" else with_gradient(case)
    found.append(Case("any 1M", normal((1_000_000,)), lambda _, x: (x > 9).any(), lambda _, x: (x > 9).any()))
    double = normal((1000, 1000), dtype="float64")
    found += with_gradient(Case("sum 1kx1k float64", double, lambda _, x: x.sum(1), lambda _, x: x.sum(1)))
    norm = Case("norm 1M", normal((1_000_000,)), lambda xp, x: xp.numpy.linalg.norm(x), lambda t, x: t.linalg.norm(x))
    return found + with_gradient(norm)


def cumulative() -> list[Case]:
    """Running sums, products and extremes."""
    found = []
    for shape, axis in (((1_000_000,), 0), ((1000, 1000), 1), ((1000, 1000), 0), ((100_000, 10), 1), ((64, 4096), 1)):
        case = Case(
            f"cumsum {sized(*shape)} along {axis}", normal(shape), lambda xp, x, a=axis: xp.numpy.cumsum(x, a),
            lambda t, x, a=axis: t.cumsum(x, a),
        )  # fmt: skip
        found += with_gradient(case)
    rows = normal((1000, 1000))
    found += with_gradient(
        Case(
            "cumprod 1kx1k", lambda rng: [1 + 0.01 * rng.standard_normal((1000, 1000)).astype(np.float32)],
            lambda xp, x: xp.numpy.cumprod(x, 1), lambda t, x: t.cumprod(x, 1),
        )
    )  # fmt: skip
    found.append(Case("cummax 1kx1k", rows, lambda xp, x: xp.lax.cummax(x, 1), lambda t, x: t.cummax(x, 1)[0]))
    found += with_gradient(
        Case("logcumsumexp 1kx1k", rows, lambda xp, x: xp.lax.cumlogsumexp(x, 1), lambda t, x: t.logcumsumexp(x, 1))
    )
    return found


def softmax() -> list[Case]:
    """Softmax, its logarithm, and the cross entropy of labels."""
    found = []
    for rows, width in ((64, 10), (256, 1000), (4096, 1024), (1024, 10_000), (100_000, 10), (33, 77)):
        operands = normal((rows, width))
        found += with_gradient(
            Case(f"softmax {sized(rows, width)}", operands, lambda xp, x: xp.nn.softmax(x), lambda t, x: x.softmax(-1))
        )
        found += with_gradient(
            Case(
                f"log_softmax {sized(rows, width)}", operands, lambda xp, x: xp.nn.log_softmax(x),
                lambda t, x: x.log_softmax(-1),
            )
        )  # fmt: skip

        def labelled(rng: np.random.Generator, rows: int = rows, width: int = width) -> list[np.ndarray]:
            return [rng.standard_normal((rows, width)).astype(np.float32), indices(rng, width, rows)]

        def entropy(xp: Any, x: Any, labels: Any) -> Any:
            chosen = xp.numpy.take_along_axis(xp.nn.log_softmax(x), labels[:, None], axis=-1)
            return -chosen.mean()

        found += with_gradient(
            Case(
                f"cross entropy {sized(rows, width)}", labelled, entropy,
                lambda t, x, labels: t.nn.functional.cross_entropy(x, labels),
            )
        )  # fmt: skip
    return found


def gather() -> list[Case]:
    """Lookups by one and by two index arrays, along every axis, and sums into places."""

    def with_indices(shape: tuple[int, ...], *counts: tuple[int, tuple[int, ...]], dtype: str = "float32") -> Any:
        def operands(rng: np.random.Generator) -> list[np.ndarray]:
            x = (100 * rng.standard_normal(shape)).astype(dtype)
            return [x, *(indices(rng, bound, *size) for bound, size in counts)]

        return operands

    found = []

    def both(name: str, operands: Any, functional: Any, torch: Any) -> None:
        found.extend(with_gradient(Case(name, operands, functional, torch)))

    for rows, width, count in (
        (100_000, 64, 65_536),
        (1000, 16, 100_000),
        (10_000, 128, 1000),
        (1_000_000, 1, 100_000),
    ):
        both(
            f"rows of {sized(rows, width)}, {count}", with_indices((rows, width), (rows, (count,))),
            lambda _, x, i: x[i],
            lambda t, x, i: t.nn.functional.embedding(i, x),
        )  # fmt: skip
    both(
        "x[:, i] 1024x1024",
        with_indices((1024, 1024), (1024, (1024,))),
        lambda _, x, i: x[:, i],
        lambda t, x, i: x[:, i],
    )
    both(
        "x[:, i] 1000x1000, 100",
        with_indices((1000, 1000), (1000, (100,))),
        lambda _, x, i: x[:, i],
        lambda t, x, i: x[:, i],
    )
    places = with_indices((1000, 1000), (1000, (1_000_000,)), (1000, (1_000_000,)))
    both("x[i, j] 1M", places, lambda _, x, i, j: x[i, j], lambda t, x, i, j: x[i, j])
    places = with_indices((100, 100), (100, (1000,)), (100, (1000,)))
    both("x[i, j] 1000", places, lambda _, x, i, j: x[i, j], lambda t, x, i, j: x[i, j])
    for shape in ((1000, 1000), (10_000, 10)):
        both(
            f"take_along_axis {sized(*shape)}", with_indices(shape, (shape[1], shape)),
            lambda xp, x, i: xp.numpy.take_along_axis(x, i, 1), lambda t, x, i: t.gather(x, 1, i),
        )  # fmt: skip
    table = with_indices((256,), (256, (1_000_000,)), dtype="uint8")
    found.append(Case("table of 256 bytes, 1M", table, lambda _, x, i: x[i], lambda t, x, i: x[i], narrow=True))
    for count, segments, width in (
        (1_000_000, 1000, 0),
        (1_000_000, 100_000, 0),
        (100_000, 1000, 16),
        (10_000, 100, 128),
    ):
        values = (count, width) if width else (count,)

        def into(xp: Any, x: Any, i: Any, n: int = segments) -> Any:
            return xp.numpy.zeros((n, *x.shape[1:]), x.dtype).at[i].add(x)

        def into_torch(t: Any, x: Any, i: Any, n: int = segments) -> Any:
            return t.zeros((n, *x.shape[1:])).index_add(0, i, x)

        both(
            f"segment sum {sized(*values)} to {segments}", with_indices(values, (segments, (count,))), into, into_torch
        )
    both("one slice by index", with_indices((1000, 1000), (1000, ())), lambda _, x, i: x[i], lambda t, x, i: x[i])
    return found


def copies() -> list[Case]:
    """Moves of elements."""
    found = []

    def move(name: str, shape: tuple[int, ...], functional: Any, torch: Any, dtype: str = "float32") -> None:
        if dtype == "float32":
            found.extend(with_gradient(Case(name, normal(shape), functional, torch)))
            return

        def operands(rng: np.random.Generator) -> list[np.ndarray]:
            return [rng.integers(0, 255, shape).astype(dtype)]

        found.append(Case(f"{name} {dtype}", operands, functional, torch, narrow=True))

    for n in (100, 1000, 2048):
        move(f"transpose {n}x{n}", (n, n), lambda _, x: x.T, lambda _, x: x.T.contiguous())
    move("transpose 100kx10", (100_000, 10), lambda _, x: x.T, lambda _, x: x.T.contiguous())
    for dtype in ("float32", "uint8"):
        move(
            "NHWC to NCHW 16x224x224x3", (16, 224, 224, 3), lambda _, x: x.transpose(0, 3, 1, 2),
            lambda _, x: x.permute(0, 3, 1, 2).contiguous(), dtype,
        )  # fmt: skip
    move(
        "heads 8x512x8x64", (8, 512, 8, 64), lambda _, x: x.transpose(0, 2, 1, 3),
        lambda _, x: x.permute(0, 2, 1, 3).contiguous(),
    )  # fmt: skip
    move("flip 1000x1000", (1000, 1000), lambda _, x: x[:, ::-1], lambda t, x: t.flip(x, (1,)))
    move("every second 1M", (1_000_000,), lambda _, x: x[::2], lambda _, x: x[::2].contiguous())
    move(
        "pad 1000x1000",
        (1000, 1000),
        lambda xp, x: xp.numpy.pad(x, 3),
        lambda t, x: t.nn.functional.pad(x, (3, 3, 3, 3)),
    )
    move(
        "concatenate 1000x1000", (1000, 1000), lambda xp, x: xp.numpy.concatenate([x, x], 1),
        lambda t, x: t.cat([x, x], 1),
    )  # fmt: skip
    move("stack 1000x1000", (1000, 1000), lambda xp, x: xp.numpy.stack([x, x], -1), lambda t, x: t.stack([x, x], -1))
    move("tile 1000x100", (1000, 100), lambda xp, x: xp.numpy.tile(x, (1, 10)), lambda _, x: x.tile((1, 10)))
    move("roll 1000x1000", (1000, 1000), lambda xp, x: xp.numpy.roll(x, 7, 1), lambda t, x: t.roll(x, 7, 1))
    move("repeat 100k", (100_000,), lambda xp, x: xp.numpy.repeat(x, 8), lambda _, x: x.repeat_interleave(8))
    move("tril 1000x1000", (1000, 1000), lambda xp, x: xp.numpy.tril(x), lambda t, x: t.tril(x))
    to_float = Case(
        "uint8 to float32 1M", lambda rng: [rng.integers(0, 255, 1_000_000).astype(np.uint8)],
        lambda xp, x: x.astype("float32"), lambda t, x: x.float(), narrow=True,
    )  # fmt: skip
    return [*found, to_float]


def sorts() -> list[Case]:
    """Sorts, selections, searches, histograms and sets."""

    def permuted(*shape: int) -> Any:
        def operands(rng: np.random.Generator) -> list[np.ndarray]:
            return [rng.permutation(int(np.prod(shape))).astype(np.float32).reshape(shape)]

        return operands

    def integers(bound: int, count: int) -> Any:
        return lambda rng: [indices(rng, bound, count)]

    found = []
    for shape in ((1_000_000,), (1000, 1000), (10_000, 10), (1000,), (100_000,)):
        name = sized(*shape)
        found += with_gradient(
            Case(f"sort {name}", permuted(*shape), lambda xp, x: xp.numpy.sort(x), lambda t, x: t.sort(x)[0])
        )
        found.append(
            Case(f"argsort {name}", permuted(*shape), lambda xp, x: xp.numpy.argsort(x), lambda t, x: t.argsort(x))
        )
    for shape, k in (((1_000_000,), 10), ((100_000,), 100), ((1000, 1000), 5), ((64, 50_000), 50)):
        found += with_gradient(
            Case(
                f"top {k} of {sized(*shape)}", permuted(*shape), lambda xp, x, k=k: xp.lax.top_k(x, k)[0],
                lambda t, x, k=k: t.topk(x, k)[0],
            )
        )  # fmt: skip
    million = integers(1000, 1_000_000)
    found += [
        Case("sort of integers 1M", million, lambda xp, x: xp.numpy.sort(x), lambda t, x: t.sort(x)[0], narrow=True),
        Case("unique 1M of 1000", million, lambda xp, x: xp.numpy.unique(x, size=1000), lambda t, x: t.unique(x)),
        Case(
            "bincount 1M to 1000", million, lambda xp, x: xp.numpy.bincount(x, length=1000),
            lambda t, x: t.bincount(x, minlength=1000),
        ),
        Case(
            "histogram 1M, 100 bins", permuted(1_000_000),
            lambda xp, x: xp.numpy.histogram(x, 100, (0.0, 1e6))[0], lambda t, x: t.histc(x, 100, 0.0, 1e6),
        ),
        Case(
            "searchsorted 100k in 1000",
            lambda rng: [np.sort(rng.standard_normal(1000, "f4")), rng.standard_normal(100_000, "f4")],
            lambda xp, a, x: xp.numpy.searchsorted(a, x), lambda t, a, x: t.searchsorted(a, x),
        ),
        Case(
            "median 1000x1001", permuted(1000, 1001), lambda xp, x: xp.numpy.median(x, axis=1),
            lambda t, x: t.median(x, 1)[0],
        ),
        Case(
            "nonzero 1M", permuted(1_000_000), lambda xp, x: xp.numpy.nonzero(x > 5e5, size=499_999)[0],
            lambda t, x: t.nonzero(x > 5e5)[:, 0],
        ),
    ]  # fmt: skip
    return found
