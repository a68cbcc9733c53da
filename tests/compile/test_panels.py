"""Factorizations in panels: backward errors, all kinds of extents, singular and extreme matrices."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.linalg

import fdl
from fdl import threads
from fdl.compile import pipeline
from fdl.export import library
from fdl.ops.linalg import cholesky
from fdl.ops.matrix import TriangularSolve, swap
from fdl.ops.systems import Solve, lu, slogdet, solve
from tests.compile.test_lapack import check_lu, close, positive_of
from tests.compile.tuned import tune

EXTENTS = [1, 3, 8, 17, 33, 70, 131]


def backward_error(a: np.ndarray, x: Any, b: np.ndarray) -> float:
    """Of a x = b, in roundings of the precision of x."""
    x = np.asarray(x)
    rest = np.abs(a.astype(float) @ x.astype(float) - b).max(initial=0.0)
    scale = np.abs(a).sum(axis=-1).max() * np.abs(x).max() + np.abs(b).max()
    return float(rest / scale / np.finfo(x.dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", EXTENTS)
def test_backward_errors(n: int, dtype: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch, small_matrix=0)
    a, b = rng.normal(size=(2, n, n)).astype(dtype), rng.normal(size=(2, n, 3)).astype(dtype)
    positive = positive_of(a)

    def every(a: Any, positive: Any, b: Any) -> Any:
        systems = solve(a, b), Solve(True)(a, b), solve(swap(a), b), solve(a, a)
        return cholesky(positive), lu(a), lu(a[:, : n // 2 + 1]), lu(a[:, :, : n // 2 + 1]), slogdet(a), systems

    factor, whole, wide, tall, (sign, size), systems = fdl.jit(every)(a, positive, b)
    factor = np.asarray(factor).astype(float)
    assert not np.triu(factor, 1).any()
    assert np.abs(factor @ factor.swapaxes(1, 2) - positive).max() <= 8 * np.finfo(dtype).eps * np.abs(positive).max()
    for parts, matrix in ((whole, a), (wide, a[:, : n // 2 + 1]), (tall, a[:, :, : n // 2 + 1])):
        check_lu(parts, matrix)
    np.testing.assert_array_equal(whole[1], np.stack([scipy.linalg.lu_factor(m)[1] for m in a]))
    expected = np.linalg.slogdet(a.astype(float))
    np.testing.assert_array_equal(sign, expected.sign)
    np.testing.assert_allclose(size, expected.logabsdet, atol=n * 1e3 * np.finfo(dtype).eps)
    turned = a.swapaxes(1, 2)
    for matrix, x, right in zip((a, turned, turned, a), systems, (b, b, b, a), strict=True):
        assert backward_error(matrix, x, right) < 4


@pytest.mark.parametrize("n", [5, 40, 67])
@pytest.mark.parametrize("count", [1, 3, 40])
def test_triangular_systems_are_what_substitution_makes_of_them(
    n: int, count: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, small_matrix=0)
    a, b = (rng.normal(size=(n, n)) / n + 2 * np.eye(n)).astype("f"), rng.normal(size=(n, count)).astype("f")
    a[n - 2, 1], a[1, n - 2] = np.nan, np.inf
    b[0], b[1, 0] = -0.0, np.inf

    def all_of_them(a: Any, b: Any) -> Any:
        kinds = [(lower, turned, unit) for lower in (True, False) for turned in (True, False) for unit in (True, False)]
        ways = [TriangularSolve(True, lower, turned, False, unit) for lower, turned, unit in kinds]
        return [way(m, b) for way in ways for m in (a, swap(a), a[::-1, ::-1])]

    with np.errstate(all="ignore"):
        expected = [np.asarray(x) for x in all_of_them(fdl.numpy.asarray(a), fdl.numpy.asarray(b))]
    for found, x in zip(fdl.jit(all_of_them)(a, b), expected, strict=True):
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(x))
        np.testing.assert_allclose(found, x, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_and_extreme_matrices(dtype: str, rng: np.random.Generator) -> None:
    n, tiny = 50, np.finfo(dtype).tiny
    a = rng.normal(size=(n, n)).astype(dtype)
    for scale in (tiny * 1e4, 1 / tiny / 1e6):
        scaled = (a * np.asarray(scale, dtype)).astype(dtype)
        factors, pivots, _ = fdl.jit(lu)(scaled)
        np.testing.assert_array_equal(pivots, scipy.linalg.lu_factor(a)[1])
        close(np.asarray(factors)[-1, :-1], scipy.linalg.lu_factor(a)[0][-1, :-1], 10)
        x = np.asarray(fdl.jit(solve)(scaled, scaled[:, :2]))
        close(x, np.eye(n)[:, :2], 1e2)
    gone = a.copy()
    gone[:, 20] = 0
    sign, size = fdl.jit(slogdet)(gone)
    assert (float(sign), float(size)) == (0.0, -np.inf)
    assert not np.isfinite(fdl.jit(solve)(gone, gone[:, :1])).all()
    factors, pivots, _ = fdl.jit(lu)(gone)
    assert np.asarray(pivots)[20] == 20
    assert not np.asarray(factors)[20:, 20].any()
    positive = positive_of(a)
    for place, value in (((30, 30), -1.0), ((0, 0), 0.0), ((49, 49), -1e-3)):
        bad = positive.copy()
        bad[place] = value
        found = np.asarray(fdl.jit(cholesky)(bad))
        np.testing.assert_array_equal(np.isnan(found), np.tri(n, dtype=bool))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_derivatives_of_large_systems(dtype: str, rng: np.random.Generator) -> None:
    """Against the formulas with NumPy's inverse: eager, compiled, forward, and of the transposed system."""
    n, scale = 40, 1e3
    a = (rng.normal(size=(2, n, n)) + 8 * np.eye(n)).astype(dtype)
    b, weights = rng.normal(size=(2, 2, n, 3)).astype(dtype)
    a[0, 0, 0] = 0  # rows are exchanged
    wide, turned = a.astype(float), a.swapaxes(1, 2)
    for transposed in (False, True):
        inverse = np.linalg.inv(wide.swapaxes(1, 2) if transposed else wide)
        x, system = inverse @ b, Solve(transposed)
        by_b = inverse.swapaxes(1, 2) @ weights
        by_a = -by_b @ x.swapaxes(1, 2)
        by_a = by_a.swapaxes(1, 2) if transposed else by_a

        def loss(a: Any, b: Any, system: Any = system) -> Any:
            return (system(a, b) * weights).sum()

        for gradient in (fdl.grad(loss, (0, 1)), fdl.jit(fdl.grad(loss, (0, 1)))):
            found = gradient(a, b)
            close(found[0], by_a, scale)
            close(found[1], by_b, scale)
        close(fdl.jit(fdl.grad(partial(loss, a)))(b), by_b, scale)
        value, slope = fdl.jit(partial(fdl.jvp, system))((a, b), (turned, weights))
        close(value, x, scale)
        change = a if transposed else turned
        close(slope, inverse @ (weights - change @ x), scale)
    inverse = np.linalg.inv(wide)
    sign, size = np.linalg.slogdet(wide)
    for way in (fdl.jit, lambda f: f):
        (found, slope) = way(lambda a: fdl.jvp(slogdet, (a,), (turned,)))(a)
        np.testing.assert_array_equal(found[0], sign)
        close(found[1], size, scale)
        close(slope[1], np.trace(inverse @ turned, axis1=1, axis2=2), scale)
    twice = fdl.jit(fdl.grad(lambda a: (fdl.grad(lambda a: slogdet(a)[1].sum())(a) * turned).sum()))(a)
    inverse = inverse.swapaxes(1, 2)
    close(twice, -inverse @ turned.swapaxes(1, 2) @ inverse, scale)


@pytest.mark.parametrize("bad", ["zero", "nan"])
def test_values_beside_derivatives_of_matrices_without_inverse(bad: str, rng: np.random.Generator) -> None:
    a = rng.normal(size=(40, 40))
    a[:, 3] = 0 if bad == "zero" else np.nan
    (sign, size), _ = fdl.jit(lambda a: fdl.jvp(slogdet, (a,), (a,)))(a)
    np.testing.assert_array_equal([sign, size], [0, -np.inf] if bad == "zero" else [np.nan, np.nan])
    x, _ = fdl.jit(lambda a: fdl.jvp(lambda a: solve(a, a[:, :1]), (a,), (a,)))(a)
    np.testing.assert_array_equal(np.isfinite(x), np.isfinite(fdl.jit(solve)(a, a[:, :1])))


def test_threads_divide_stacks_and_right_hand_sides(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch, step_time=1e-9, program_time=0.0)
    monkeypatch.setattr(threads, "_chosen", 1)
    a, b = positive_of(rng.normal(size=(5, 40, 40)).astype("f")), rng.normal(size=(40, 300)).astype("f")
    program = fdl.make_program(lambda a, b: (cholesky(a), *lu(a), solve(a, a), TriangularSolve(True)(a[0], b)))(a, b)
    compiled = pipeline.compile_program(program)
    assert isinstance(compiled, pipeline.Compiled) and compiled.archive.parallel and not compiled.archive.routines
    alone = compiled.run([a, b])
    for number in (2, 3):
        monkeypatch.setattr(threads, "_chosen", number)
        assert [x.tobytes() for x in compiled.run([a, b])] == [x.tobytes() for x in alone]
    pipeline._compile.cache_clear()


def test_many_threads_leave_a_large_matrix_to_lapack(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    tune(monkeypatch, step_time=1e-9, program_time=0.0, threaded_factors=64)
    a = positive_of(rng.normal(size=(70, 70)))
    compiled = pipeline.compile_program(fdl.make_program(lambda a: (cholesky(a), solve(a, a[:, :2])))(a))
    assert isinstance(compiled, pipeline.Compiled)
    assert "dpotrf" in dict(compiled.archive.routines)
    for number in (1, 2, 3):
        monkeypatch.setattr(threads, "_chosen", number)
        factor, x = compiled.run([a])
        close(factor, np.linalg.cholesky(a))
        close(x, np.eye(70)[:, :2])
    pipeline._compile.cache_clear()


def test_a_library_needs_no_lapack(rng: np.random.Generator, tmp_path: Any) -> None:
    a = positive_of(rng.normal(size=(40, 40)))
    library(lambda a: (cholesky(a), solve(a, a[:, :1])), a, str(tmp_path / "factors.so"))
