"""Systems with three diagonals and updates of factors, against dense matrices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fdl
from fdl import tridiagonal
from fdl.errors import ShapeError

RNG = np.random.default_rng(2)


def _dense(dl, d, du):
    return np.diag(dl[1:], -1) + np.diag(d) + np.diag(du[:-1], 1)


@pytest.mark.parametrize("jitted", [False, True])
def test_systems_with_three_diagonals(jitted):
    dl, du = RNG.normal(size=(2, 3, 6))
    d, b = RNG.normal(size=(3, 6)) + 5, RNG.normal(size=(3, 6, 2))
    solve = fdl.jit(tridiagonal.tridiagonal_solve) if jitted else tridiagonal.tridiagonal_solve
    expected = np.stack([np.linalg.solve(_dense(*v[:3]), v[3]) for v in zip(dl, d, du, b, strict=True)])
    assert_allclose(solve(dl, d, du, b), expected, rtol=1e-12)
    assert_allclose(fdl.vmap(solve)(dl, d, du, b), expected, rtol=1e-12)
    assert_allclose(solve(dl[:, :1], d[:, :1], du[:, :1], b[:, :1]), b[:, :1] / d[:, :1, None], rtol=1e-12)
    one = [v[0] for v in (dl, d, du, b)]
    slope = fdl.grad(lambda d: solve(one[0], d, one[2], one[3]).sum())(one[1])
    inverse = np.linalg.inv(_dense(*one[:3]))
    assert_allclose(slope, -(inverse.sum(0)[:, None] * expected[0]).sum(1), rtol=1e-10)
    with pytest.raises(ShapeError, match="three diagonals"):
        solve(dl, d, du, b[..., 0])


def test_systems_that_need_rows_to_change_places():
    # A zero on the diagonal at the first row, at the last one, and where elimination makes it.
    d, dl, du = (np.array(v, float) for v in ([0, 1, 2, 0, 3], [0, 3, 1, 5, 1], [2, 1, 4, 1, 0]))
    b = RNG.normal(size=(5, 2))
    solve = fdl.jit(tridiagonal.tridiagonal_solve)
    assert_allclose(solve(dl, d, du, b), np.linalg.solve(_dense(dl, d, du), b), rtol=1e-12)
    dl, d, du = RNG.normal(size=(3, 20, 7))
    d[:, 3] = 0
    found = fdl.vmap(lambda *v: solve(*v, np.eye(7)))(dl, d, du)
    dense = np.stack([_dense(*v) for v in zip(dl, d, du, strict=True)])
    assert_allclose(dense @ np.asarray(found), np.broadcast_to(np.eye(7), dense.shape), atol=1e-9)
    slope = fdl.grad(lambda d: solve(dl[0], d, du[0], np.eye(7)).sum())(d[0])
    inverse = np.linalg.inv(dense[0])
    assert_allclose(slope, -inverse.sum(0) * inverse.sum(1), rtol=1e-8)


def test_updates_of_factors():
    r, w = np.triu(RNG.normal(size=(2, 5, 5))), RNG.normal(size=(2, 5))
    found = np.asarray(tridiagonal.cholesky_update(r, w))
    assert_allclose(found.swapaxes(1, 2) @ found, r.swapaxes(1, 2) @ r + w[:, :, None] * w[:, None], atol=1e-12)
    assert (np.diagonal(found, axis1=1, axis2=2) > 0).all() and (np.tril(found, -1) == 0).all()
