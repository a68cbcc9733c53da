"""Decompositions of groups of small matrices: laws, NumPy in float64, hard matrices, loops and threads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, threads
from fdl.compile import pipeline
from fdl.ops.linalg import eigh, eigvalsh, qr, svd
from fdl.ops.matrix import swap
from tests.compile.tuned import tune


def h(x: Any) -> np.ndarray:
    return np.swapaxes(np.asarray(x), -1, -2)


def close(found: Any, expected: Any, scale: Any = 1.0, factor: float = 1.0) -> None:
    """Equal up to some roundings of `scale`, in the precision of what was found."""
    found = np.asarray(found)
    error = np.abs(found.astype(float) - np.asarray(expected, dtype=float)) / np.maximum(scale, np.finfo(float).tiny)
    assert error.max(initial=0.0) <= factor * 8 * max(found.shape[-2:], default=1) * np.finfo(found.dtype).eps


def largest(a: np.ndarray) -> np.ndarray:
    return np.abs(a).max(axis=(-2, -1), keepdims=True)


def check_orthogonal(columns: Any) -> None:
    close(
        h(columns) @ np.asarray(columns),
        np.broadcast_to(np.eye(columns.shape[-1]), h(columns).shape[:-1] + columns.shape[-1:]),
    )


def check_qr(a: np.ndarray, q: Any, r: Any, full: bool = False) -> None:
    """Laws, and that signs are LAPACK's where the matrix has full rank."""
    check_orthogonal(q)
    assert not np.tril(r, -1).any()
    close(np.asarray(q) @ np.asarray(r), a, np.abs(a).max(axis=-2, keepdims=True), 2)  # column by column
    scaled = a / np.maximum(largest(a), np.finfo(a.dtype).tiny)
    if (np.linalg.svd(scaled.astype(float), compute_uv=False)[..., -1] > 1e-2).all():
        expected = np.linalg.qr(a.astype(float), mode="complete" if full else "reduced")[1]
        close(r, expected, np.abs(expected).max(), 100)


def check_eigh(a: np.ndarray, w: Any, v: Any) -> None:
    check_orthogonal(v)
    lower = np.tril(a)
    a = lower + h(np.tril(a, -1))
    w, v, size = np.asarray(w), np.asarray(v), np.maximum(largest(a), np.finfo(a.dtype).tiny)
    with np.errstate(over="ignore"):
        close(a / size @ v, v * (w[..., None, :] / size))
        close(w / size[..., 0], np.linalg.eigvalsh(a.astype(float) / size))
    first = np.take_along_axis(v, (np.abs(v) >= 0.12).argmax(axis=-2, keepdims=True), -2)
    assert (first > 0).all()


def check_svd(a: np.ndarray, u: Any, s: Any, vh: Any, *values: Any) -> None:
    k, size = min(a.shape[-2:]), np.maximum(largest(a), np.finfo(a.dtype).tiny)
    u, s, vh = map(np.asarray, (u, s, vh))
    check_orthogonal(u)
    check_orthogonal(h(vh))
    assert (np.diff(s) <= 0).all() and (s >= 0).all()
    close(u[..., :k] * (s / size[..., 0])[..., None, :] @ vh[..., :k, :], a / size)
    for found in (s, *values):
        close(found / size[..., 0], np.linalg.svd(a.astype(float) / size, compute_uv=False))
    vh = vh[..., :k, :]
    assert (np.take_along_axis(vh, (np.abs(vh) >= 0.12).argmax(axis=-1, keepdims=True), -1) > 0).all()


KINDS: dict[str, Callable[[Any, int, int, int], np.ndarray]] = {
    "normal": lambda rng, b, m, n: rng.normal(size=(b, m, n)),
    "whole": lambda rng, b, m, n: rng.integers(-1, 2, (b, m, n)).astype(float),
    "low rank": lambda rng, b, m, n: rng.normal(size=(b, m, 2)) @ rng.normal(size=(b, 2, n)),
    "identity": lambda rng, b, m, n: np.broadcast_to(np.eye(m, n), (b, m, n)).copy(),
    "zero": lambda rng, b, m, n: np.zeros((b, m, n)),
    "ones": lambda rng, b, m, n: np.ones((b, m, n)),
    "graded": lambda rng, b, m, n: rng.normal(size=(b, m, n)) * 10.0 ** -np.arange(n),
    "upper": lambda rng, b, m, n: np.triu(rng.normal(size=(b, m, n))),
    "large": lambda rng, b, m, n: rng.normal(size=(b, m, n)) * 1e30,
    "small": lambda rng, b, m, n: rng.normal(size=(b, m, n)) * 1e-30,
}


@pytest.mark.parametrize(
    ("dtype", "count", "n"),
    [
        ("float64", 1, 1),
        ("float32", 3, 2),
        ("float64", 37, 3),
        ("float32", 9, 8),
        ("float64", 1, 64),
        ("float32", 5, 33),
    ],
)
def test_laws(dtype: str, count: int, n: int, rng: np.random.Generator) -> None:
    """Compiled once for all kinds of matrices, which come as blocks of a stack."""
    function = fdl.jit(lambda a: (qr(a), eigh(a), svd(a), eigvalsh(a), svd(a, compute_uv=False)))
    for kind, draw in KINDS.items():
        a = draw(rng, count, n, n)
        if kind in ("large", "small") and dtype == "float64":
            a *= 1e250 if kind == "large" else 1e-250  # whose squares are no numbers
        a = ((a + h(a)) / 2).astype(dtype)
        factors, pairs, parts, eigenvalues, singular = function(a)
        check_qr(a, *factors)
        check_eigh(a, *pairs)
        check_eigh(a, eigenvalues, pairs[1])
        check_svd(a, *parts, *singular)


@pytest.mark.parametrize(
    ("shape", "full"),
    [((11, 7, 3), False), ((2, 3, 7), True), ((1, 32), False), ((9, 2, 17), False), ((3, 9, 4), True)],
)
def test_matrices_that_are_not_square(shape: tuple[int, ...], full: bool, rng: np.random.Generator) -> None:
    a = rng.normal(size=shape)
    (q, r), parts, singular = fdl.jit(lambda a: (qr(a, full), svd(a, full), svd(a, compute_uv=False)))(a)
    check_svd(a, *parts, *singular)
    assert parts[0].shape[-1] == (shape[-2] if full else min(shape[-2:]))
    assert q.shape[-1] == r.shape[-2] == (shape[-2] if full else min(shape[-2:]))
    check_qr(a, q, r, full)


def test_stacks_of_several_kinds_and_their_neighbours(rng: np.random.Generator) -> None:
    """Lanes of a group converge at different times, and are not to disturb each other."""
    a = np.concatenate([draw(rng, 3, 6, 6) for kind, draw in KINDS.items() if kind not in ("large", "small")])
    a = (a + h(a))[rng.permutation(len(a))]
    bad = a.copy()
    bad[5, 4, 1], bad[9, 2, 2], bad[10, 0, 5] = np.nan, np.inf, np.nan  # the last one in the triangle that is not read

    def parts(a: Any) -> tuple[Any, ...]:
        return *qr(a), *eigh(a), *svd(a), eigvalsh(a)

    function = fdl.jit(parts)
    for good, found, eager in zip(function(a), function(bad), parts(bad), strict=True):
        good, found = np.asarray(good), np.asarray(found)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(eager))
        np.testing.assert_array_equal(np.delete(found, [5, 9, 10], 0), np.delete(good, [5, 9, 10], 0))
    check_eigh(bad[10:11], *[part[10:11] for part in function(bad)[2:4]])


def test_views_vmap_scan_and_gradients(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 9, 12))
    q, r = fdl.jit(lambda x: qr(x[:, ::-2, 3:]))(x)
    check_qr(x[:, ::-2, 3:], q, r)
    q, r = fdl.jit(lambda x: qr(swap(x)[:, 4:]))(x)
    check_qr(h(x)[:, 4:], q, r)
    s = x[:, :, :9] + h(x[:, :, :9])
    w, v = fdl.jit(fdl.vmap(eigh, in_axes=2, out_axes=(1, 2)))(np.moveaxis(s, 0, 2))
    check_eigh(s, np.moveaxis(np.asarray(w), 1, 0), np.moveaxis(np.asarray(v), 2, 0))
    # The iteration of Francis without shifts, in a loop: the products have the same eigenvalues.
    small = s[0, :3, :3] @ s[0, :3, :3] + np.diag([1.0, 20.0, 300.0])

    def step(carry: Any, _: Any) -> Any:
        q, r = qr(carry)
        return r @ q, eigh(carry)[0]

    last, values = fdl.jit(lambda a: lax.scan(step, a, None, length=60))(fnp.asarray(small, dtype=float))
    expected = np.linalg.eigvalsh(small)
    close(np.asarray(values), np.broadcast_to(expected, (60, 3)), expected.max(), 60)
    close(np.sort(np.diag(last)), expected, expected.max(), 100)

    def objective(a: Any) -> Any:
        volume = fnp.abs(fnp.diag(qr(a)[1])).prod() + svd(a, compute_uv=False)[0].prod()
        return fnp.log(eigvalsh(a @ swap(a))).sum() + volume

    slope = fdl.jit(fdl.grad(objective))(small)
    wanted = (2 + 2 * np.linalg.det(small)) * np.linalg.inv(small).T
    close(slope, wanted, np.abs(wanted).max(), 1000)


def test_threads_give_the_same_bits_and_python_is_not_asked(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(monkeypatch, step_time=1e-9, program_time=0.0)
    monkeypatch.setattr(threads, "_chosen", 1)
    a = rng.normal(size=(43, 5, 5))
    compiled = pipeline.compile_program(fdl.make_program(lambda a: (*qr(a), *eigh(a), *svd(a), eigvalsh(a)))(a))
    assert isinstance(compiled, pipeline.Compiled) and compiled.archive.parallel
    assert not compiled.archive.hosts and not compiled.archive.routines
    alone = compiled.run([a])
    for number in (2, 3):
        monkeypatch.setattr(threads, "_chosen", number)
        assert [x.tobytes() for x in compiled.run([a])] == [x.tobytes() for x in alone]
    pipeline._compile.cache_clear()


def test_eager_calls_agree_in_signs_too(rng: np.random.Generator) -> None:
    def parts(a: Any) -> tuple[Any, ...]:
        return *qr(a), *eigh(a), *svd(a), eigvalsh(a)

    for dtype, shape in (("float32", (6, 7, 7)), ("float64", (18, 18))):
        a = rng.normal(size=shape).astype(dtype)
        for found, compiled in zip(parts(a), fdl.jit(parts)(a), strict=True):
            assert found.dtype == compiled.dtype
            close(compiled, found, 1.0, 1000)


def test_empty_stacks() -> None:
    for shape in ((0, 3, 3), (2, 0, 0), (0, 0)):
        (q, r), (w, v), (u, s, vh) = fdl.jit(lambda a: (qr(a), eigh(a), svd(a)))(np.zeros(shape))
        assert q.shape == r.shape == v.shape == u.shape == vh.shape == shape and w.shape == s.shape == shape[:-1]
