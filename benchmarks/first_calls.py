"""CPU time of first calls of long programs, against their length: ``python -m benchmarks.first_calls``.

Five kinds of program grow from 100 to 3,200 leaves or operations; fdl and JAX trace and compile the very same source.
Processor time is measured, of all threads, so that other work on the machine changes little. Each kind runs in a
process of its own, which has compiled a small program of the kind before, with an empty disk cache.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import report

SIZES = (100, 200, 400, 800, 1600, 3200)
BEGIN, END = "<!-- first calls begin -->", "<!-- first calls end -->"


def leaves(count: int, size: int, value: float = 0.5) -> dict[str, np.ndarray]:
    """Parameters of a model."""
    return {f"v{n}": np.full(size, value, np.float32) for n in range(count)}


def gradient(xp: ModuleType, n: int) -> tuple[Callable, tuple]:
    """The gradient of a sum of squares of n vectors."""
    return xp.grad(lambda p: sum((v**2).sum() for v in p.values())), (leaves(n, 3),)


def adam(xp: ModuleType, n: int) -> tuple[Callable, tuple]:
    """An update of n vectors, as Adam makes it."""

    def update(p, g, m, v):
        m = {k: 0.9 * m[k] + 0.1 * g[k] for k in p}
        v = {k: 0.999 * v[k] + 0.001 * g[k] ** 2 for k in p}
        return {k: p[k] - 1e-3 * m[k] / (xp.numpy.sqrt(v[k]) + 1e-8) for k in p}, m, v

    return update, tuple(leaves(n, 16) for _ in range(4))


def clip(xp: ModuleType, n: int) -> tuple[Callable, tuple]:
    """n vectors scaled to a global norm of at most 1."""

    def scaled(g):
        norm = xp.numpy.sqrt(sum((v**2).sum() for v in g.values()))
        return {k: v * xp.numpy.minimum(1.0, 1.0 / norm) for k, v in g.items()}

    return scaled, (leaves(n, 16),)


def chain(xp: ModuleType, n: int) -> tuple[Callable, tuple]:
    """n operations one after the other: elementwise ones, and reductions of all elements among them."""
    numpy = xp.numpy
    operations: list[Callable] = [
        numpy.sin, numpy.tanh, lambda x: x * 1.01, lambda x: x + 0.5, numpy.cos, numpy.abs, lambda x: x - x.mean(),
        lambda x: x * numpy.sqrt(numpy.abs(x) + 1), lambda x: x / (1 + x.sum() ** 2),
    ]  # fmt: skip

    def run(x):
        for i in range(n):
            x = operations[(i * 7 + i // 9) % len(operations)](x)
        return x

    return run, (np.linspace(0, 1, 64, dtype=np.float32),)


def perceptron(xp: ModuleType, n: int) -> tuple[Callable, tuple]:
    """The gradient of a perceptron of n / 8 layers: about n equations."""

    def loss(layers, x):
        for w, b in layers:
            x = xp.numpy.tanh(x @ w + b)
        return (x**2).mean()

    layers = [(np.eye(8, dtype=np.float32), np.zeros(8, np.float32)) for _ in range(n // 8)]
    return xp.grad(loss), (layers, np.ones((4, 8), np.float32))


KINDS = {kind.__name__: kind for kind in (gradient, adam, clip, chain, perceptron)}


def first_call(framework: str, kind: str, n: int) -> float:
    """Seconds of processor time."""
    xp: Any = import_module(framework)
    import_module(f"{framework}.numpy")
    function, arguments = KINDS[kind](xp, n)
    arguments = xp.tree.map(xp.numpy.asarray, arguments)
    start = time.process_time()
    results = xp.jit(function)(*arguments)
    for leaf in xp.tree.leaves(results):
        np.asarray(leaf)
    return time.process_time() - start


def measured(framework: str, kind: str, sizes: list[int], limit: float) -> dict[str, float]:
    """Seconds by size, in a process of its own; those that take too long are left out."""
    with tempfile.TemporaryDirectory() as cache:
        given = os.environ | {"FDL_CACHE_DIR": cache, "FDL_NUM_THREADS": "1", "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-m", "benchmarks.first_calls", "--worker", framework, kind, *map(str, sizes)]
        try:
            found = subprocess.run(command, env=given, stdout=subprocess.PIPE, text=True, timeout=limit).stdout
        except subprocess.TimeoutExpired as late:
            found = (late.stdout or b"").decode()
    return dict(json.loads(line) for line in found.splitlines())


def table(results: dict[str, dict[str, dict[str, float]]], sizes: list[int]) -> str:
    """A row for each kind and framework; the last column is the largest growth from one size to the next."""
    rows = []
    for kind, by_framework in results.items():
        for framework, seconds in by_framework.items():
            times = [seconds.get(str(n)) for n in sizes]
            growth = [b / a for a, b in itertools.pairwise(times) if a and b]
            name = (KINDS[kind].__doc__ or kind).split(":")[0].rstrip(".")
            cells = [f"{t:.2f}" if t else "" for t in times]
            rows.append([name, framework, *cells, f"{max(growth):.2f}" if growth else ""])
    return report.table(["program", "", *(f"{n:,}" for n in sizes), "largest growth"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for all sizes of a kind")
    parser.add_argument("--no-write", action="store_true", help="print the table only")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        framework, kind, *sizes = options.worker
        first_call(framework, kind, 16)
        for n in map(int, sizes):
            print(json.dumps([str(n), first_call(framework, kind, n)]), flush=True)
        return
    results = {
        kind: {framework: measured(framework, kind, options.sizes, options.limit) for framework in ("fdl", "jax")}
        for kind in options.kinds
    }
    text = table(results, options.sizes)
    print(text)
    if not options.no_write:
        before, rest = report.README.read_text().split(BEGIN)
        report.README.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
