"""Sparse matrices against dense ones."""

import numpy as np
import pytest
import scipy.sparse

import fdl
import fdl.numpy as fnp
from fdl.errors import ConcretizationError, ShapeError
from fdl.experimental import sparse
from fdl.experimental.sparse import BCOO


@pytest.fixture
def dense(rng):
    found = rng.normal(size=(4, 3)) * (rng.uniform(size=(4, 3)) < 0.6)
    found[0, 0] = 1.5
    return found


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_conversions(dense, rng) -> None:
    a = BCOO.fromdense(dense)
    assert (a.nse, a.shape, a.dtype) == (np.count_nonzero(dense), (4, 3), np.float64)
    close(a.todense(), dense)
    close(BCOO.fromdense(dense, nse=11).todense(), dense)
    close(BCOO.from_scipy_sparse(scipy.sparse.csr_matrix(dense)).todense(), dense)
    close(BCOO.fromdense(np.float64(3)).todense(), 3)
    close(fdl.jit(lambda x: sparse.bcoo_fromdense(x, nse=12).todense())(dense), dense)
    close(sparse.eye(2, 3).todense(), np.eye(2, 3))
    close(sparse.empty((2, 3)).todense(), np.zeros((2, 3)))
    cube = rng.normal(size=(2, 3, 2))
    close(BCOO.fromdense(cube).transpose((2, 0, 1)).todense(), cube.transpose(2, 0, 1))
    with pytest.raises(ConcretizationError, match="needs nse"):
        fdl.jit(lambda x: BCOO.fromdense(x).todense())(dense)
    with pytest.raises(ShapeError, match="needs data"):
        BCOO((fnp.ones(2), fnp.zeros((3, 2), int)), shape=(2, 2))


def test_products_and_sums(dense, rng) -> None:
    a, v, m, u = BCOO.fromdense(dense, nse=10), rng.normal(size=3), rng.normal(size=(3, 2)), rng.normal(size=4)
    for run in (lambda f: f, fdl.jit):
        close(run(lambda a, v: a @ v)(a, v), dense @ v)
        close(run(lambda a, m: a @ m)(a, m), dense @ m)
        close(run(lambda a, u: u @ a)(a, fnp.asarray(u)), u @ dense)
        close(run(lambda a: a.sum())(a), dense.sum())
    close(rng.normal(size=(2, 4)) @ a @ np.zeros(3), np.zeros(2))
    close(a.T @ u, dense.T @ u)
    close(a @ np.ones((2, 5, dense.shape[1], 3)), dense @ np.ones((2, 5, dense.shape[1], 3)))
    many = rng.normal(size=(2, 5, len(dense)))
    close(many @ a, many @ dense)
    close(a @ a.T, dense @ dense.T)
    close(a.sum(0).todense(), dense.sum(0))
    close(a.sum(-1).todense(), dense.sum(1))
    close((a * v).todense(), dense * v)
    close((2 * a - a / 4).todense(), 1.75 * dense)
    close(-a + dense, 0 * dense)
    both = (a + a).sum_duplicates()
    assert both.nse == np.count_nonzero(dense)
    close(both.todense(), 2 * dense)
    close(fdl.vmap(lambda v: a @ v)(m.T), (dense @ m).T)
    with pytest.raises(ShapeError, match="it must be 3"):
        a @ u


def test_padding_stays_outside() -> None:
    a = BCOO((fnp.array([1.0, 7.0, 9.0]), fnp.array([[0, 1], [0, 2], [2, 0]])), shape=(2, 2))
    close(a.todense(), [[0, 1], [0, 0]])
    close(a @ fnp.ones(2), [1, 0])
    close(a.sum(1).todense(), [1, 0])
    close(a.sum(), 1)
    close(a.sum_duplicates().data, [1])


def test_derivatives_are_those_of_the_stored_elements(dense, rng) -> None:
    a, v = BCOO.fromdense(dense), rng.normal(size=3)

    def loss(data, v):
        return ((BCOO((data, a.indices), shape=a.shape) @ v) ** 2).sum()

    by_data, by_v = fdl.jit(fdl.grad(loss, (0, 1)))(a.data, v)
    residual = dense @ v
    close(by_data, (2 * np.outer(residual, v))[tuple(np.asarray(a.indices).T)])
    close(by_v, 2 * dense.T @ residual)
    whole = fdl.grad(lambda a: (a @ v).sum(), allow_int=True)(a)
    assert isinstance(whole, BCOO)
    close(whole.data, v[np.asarray(a.indices)[:, 1]])
    close(fdl.grad(lambda x: (BCOO.fromdense(x, nse=12).todense() * dense).sum())(dense), dense)
