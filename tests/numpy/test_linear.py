"""Products and matrix functions against NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import ShapeError
from tests.numpy.test_shape import agree

RNG = np.random.default_rng(2)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


A = normal(2, 4, 4) + 3 * np.eye(4)
S = A @ np.swapaxes(A, 1, 2)
C = A + 1j * normal(2, 4, 4)
T = np.eye(24).reshape(6, 4, 8, 3) + 0.1 * normal(6, 4, 8, 3)
Case = Callable[[Any], Any]

MATMUL = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 4)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((6, 1, 2, 3), (5, 3, 4)),
    ((1, 5, 2, 3), (6, 1, 3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)),
    ((0, 3), (3, 2)),
    ((2, 0), (0, 2)),
    ((7, 1, 2, 3), (1, 4, 3, 2)),
    ((1, 2, 3), (1, 3, 4)),
]


@pytest.mark.parametrize("dtype", ["float64", "complex128", "int32", "bool"])
@pytest.mark.parametrize("shapes", MATMUL, ids=str)
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: str) -> None:
    x, y = ((3 * normal(*s)).astype(dtype) for s in shapes)
    agree(lambda n: n.matmul(x, y))
    assert (fnp.asarray(x) @ fnp.asarray(y)).dtype == dtype


EINSUM = [
    ("ij,jk", (2, 3), (3, 4)),
    ("ij,jk->ki", (2, 3), (3, 4)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("ij->", (2, 3)),
    ("ij->ji", (2, 3)),
    ("i,i->", (3,), (3,)),
    ("i,j->ij", (3,), (4,)),
    ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
    ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,ik,il->jkl", (2, 3), (2, 4), (2, 5)),
    ("iij,j->i", (3, 3, 4), (4,)),
    ("ij,kj->", (2, 3), (4, 3)),
    ("i...,i...->...", (2, 3), (2, 3)),
    ("ij,ij->i", (2, 1), (2, 3)),
    ("abc,cd,da->b", (2, 3, 4), (4, 5), (5, 2)),
    ("ij, jk -> ik", (2, 3), (3, 2)),
    ("ijk->k", (2, 3, 4)),
    ("aab,bc->ca", (2, 2, 3), (3, 4)),
]


@pytest.mark.parametrize("case", EINSUM, ids=lambda c: c[0])
def test_einsum(case: tuple[Any, ...]) -> None:
    operands = [normal(*s) for s in case[1:]]
    for optimize in (True, False):
        agree(lambda n, optimize=optimize: n.einsum(case[0], *operands, optimize=optimize))


def test_einsum_multiplies_by_a_given_function() -> None:
    def halves(x: Any, y: Any, numbers: Any, precision: Any = None, preferred_element_type: Any = None) -> Any:
        return fdl.lax.dot_general(x, y, numbers) / 2

    a, b, c = normal(2, 3), normal(3, 4), normal(4, 5)
    found = fnp.einsum("ij,jk,kl->il", a, b, c, _dot_general=halves)
    np.testing.assert_allclose(found, a @ b @ c / 4, rtol=1e-6)


PRODUCTS: list[Case] = [
    lambda n: n.dot(A, A[0]),
    lambda n: n.dot(A, A[0, 0]),
    lambda n: n.dot(2.0, A),
    lambda n: n.dot(A[0], A),
    lambda n: n.vdot(C, C),
    lambda n: n.vecdot(C, C[0]),
    lambda n: n.vecdot(A, A, axis=0),
    lambda n: n.inner(A, A[0]),
    lambda n: n.outer(A[0], A[1, 0]),
    lambda n: n.tensordot(A, A[0], 1),
    lambda n: n.tensordot(A, A, ((0, 2), (0, 1))),
    lambda n: n.tensordot(A[0], A[1], 0),
    lambda n: n.tensordot(A, A[0], (1, -1)),
    lambda n: n.kron(A[0], A[1, :2]),
    lambda n: n.kron(A[0, 0], A[1]),
    lambda n: n.cross(A[0, :, :3], A[1, :, :3]),
    lambda n: n.cross(A[0, :3], A[1, :3], axis=0),
    lambda n: n.trace(A),
    lambda n: n.trace(A, 1, 1, 2),
    lambda n: n.matvec(A, A[:, 0]),
    lambda n: n.vecmat(C[:, 0], C),
    lambda n: n.einsum(A, [0, 1, 2], A[0], [2, 3], [0, 3]),
]
MATRICES: list[Case] = [
    lambda g: g.inv(A),
    lambda g: g.inv(C),
    lambda g: g.det(A),
    lambda g: g.det(C),
    lambda g: g.det(A[:, :3, :3]),
    lambda g: g.det(A[:, :2, :2]),
    lambda g: g.pinv(A[:, :, :2]),
    lambda g: g.pinv(S, hermitian=True),
    lambda g: g.pinv(np.ones((3, 2))),
    lambda g: g.matrix_rank(np.ones((3, 3))),
    lambda g: g.cond(A),
    lambda g: g.cond(A, "fro"),
    lambda g: g.cond(A, -2),
    lambda g: g.svdvals(A),
    lambda g: g.cholesky(S),
    lambda g: tuple(g.slogdet(A)),
    lambda g: tuple(g.slogdet(C)),
    lambda g: g.eigvalsh(S),
    lambda g: g.solve(A, A[0]),
    lambda g: g.solve(A[0], A[1, 0]),
    lambda g: g.matrix_power(A, 5),
    lambda g: g.matrix_power(A, -2),
    lambda g: g.matrix_power(A, 0),
    lambda g: g.multi_dot([A[0], A[1], A[0, 0]]),
    lambda g: g.multi_dot([A[0, 0], A[1], A[0]]),
    lambda g: g.tensorinv(T),
    lambda g: g.tensorsolve(T, T[:, :, 0, 0]),
    lambda g: g.lstsq(A[0, :, :2], A[1])[0],
    lambda g: g.lstsq(A[0, :, :2], A[1, 0])[1],
    lambda g: g.lstsq(np.ones((3, 2)), np.ones(3))[0],
    lambda g: g.qr(A[:, :, :2], "r"),
    lambda g: g.diagonal(A, offset=1),
    lambda g: g.trace(A),
    lambda g: g.vector_norm(A, axis=(0, 1)),
    lambda g: g.matrix_norm(A),
    lambda g: g.norm(A),
    lambda g: g.norm(A[0], keepdims=True),
    lambda g: g.outer(A[0, 0], A[1, 0]),
    lambda g: g.cross(A[0, :, :3], A[1, :, :3]),
]


@pytest.mark.parametrize("number", range(len(PRODUCTS)))
def test_products(number: int) -> None:
    agree(PRODUCTS[number])


@pytest.mark.parametrize("number", range(len(MATRICES)))
def test_matrix_functions(number: int) -> None:
    agree(lambda n: MATRICES[number](n.linalg))


@pytest.mark.parametrize("order", [None, 0, 1, 2, 3, -1, 0.5, np.inf, -np.inf, "fro", "nuc", -2])
def test_norms(order: Any) -> None:
    if not isinstance(order, str):
        agree(lambda n: n.linalg.norm(A, order, axis=1, keepdims=True))
    if order not in (0, 3, 0.5):
        agree(lambda n: n.linalg.norm(A, order, axis=(0, 2)))
        agree(lambda n: n.linalg.norm(C[0], order, keepdims=True))


def test_factors_multiply_to_the_matrix() -> None:
    for x in (A, C):
        for mode in ("reduced", "complete"):
            q, r = fnp.linalg.qr(x[..., :3], mode)
            np.testing.assert_allclose(np.asarray(q @ r), x[..., :3], atol=1e-12)
        u, s, vh = fnp.linalg.svd(x[..., :3], full_matrices=False)
        np.testing.assert_allclose(np.asarray(u * s[:, None, :] @ vh), x[..., :3], atol=1e-12)
        h = x + np.conj(np.swapaxes(x, 1, 2)) - 10 * np.eye(4)
        u, s, vh = fnp.linalg.svd(h, hermitian=True)
        np.testing.assert_allclose(np.asarray(u * s[:, None, :] @ vh), h, atol=1e-12)
        assert (np.diff(np.asarray(s)) <= 0).all()
        w, v = fnp.linalg.eigh(h)
        np.testing.assert_allclose(np.asarray(v * w[:, None, :] @ fnp.conj(v).mT), h, atol=1e-11)
        w, v = fnp.linalg.eig(x)
        np.testing.assert_allclose(np.asarray(x @ v), np.asarray(v * w[:, None, :]), atol=1e-11)
    lower = fnp.linalg.cholesky(S, upper=True)
    np.testing.assert_allclose(np.asarray(lower.mT @ lower), S, rtol=1e-12)


def test_preferred_element_type_decides_the_dtype() -> None:
    x = fnp.full((2, 3), 100, "int8")
    assert fnp.matmul(x, x.T, preferred_element_type="int32")[0, 0] == 30000
    assert fnp.einsum("ij,kj->ik", x, x, preferred_element_type="int32").dtype == fnp.int32
    assert fnp.dot(x, x[0], preferred_element_type="int32").dtype == fnp.int32


ERRORS = [
    (
        lambda: fnp.ones((2, 3)) @ fnp.ones((2, 3)),
        r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit: the columns .* \(3\) .* rows .* \(2\).*Transpose",
    ),
    (
        lambda: fnp.matmul(fnp.ones((4, 2, 3)), fnp.ones((5, 3, 2))),
        r"matmul: shapes \(4,\) and \(5,\) do not broadcast",
    ),
    (lambda: fnp.ones(3) @ 2.0, "matmul.*scalars"),
    (lambda: fnp.dot(fnp.ones(3), fnp.ones(4)), r"dot: shapes \(3,\) and \(4,\)"),
    (lambda: fnp.tensordot(fnp.ones((2, 3)), fnp.ones((2, 3)), 1), "tensordot: shapes"),
    (
        lambda: fnp.einsum("ij,jk", fnp.ones((2, 3)), fnp.ones((4, 2))),
        r"einsum 'ij,jk': 'j' names extents 3 and 4 in shapes \(2, 3\) and \(4, 2\)",
    ),
    (lambda: fnp.einsum("ij,jk", fnp.ones((2, 3)), fnp.ones(3)), "einsum"),
    (lambda: fnp.linalg.inv(fnp.ones((2, 3))), r"linalg.inv needs square matrices.*\(2, 3\)"),
    (lambda: fnp.linalg.solve(fnp.eye(3), fnp.ones(2)), r"linalg.solve: a right-hand side of shape \(2,\)"),
    (lambda: fnp.cross(fnp.ones(4), fnp.ones(4)), "length 2 or 3"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS, ids=lambda v: v[:20] if isinstance(v, str) else "")
def test_errors_name_the_function_and_the_shapes(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()


def test_matmul_of_three_axes_needs_no_repetition() -> None:
    program = str(fdl.make_program(lambda x, w: x @ w)(normal(5, 2, 3), normal(3, 4)))
    assert program.count("dot_general") == 1 and "broadcast" not in program and "transpose" not in program
