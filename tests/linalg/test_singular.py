"""Derivatives of determinants and pseudo-inverses where singular values vanish, or are the same."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.test_util import check_grads

X = np.random.default_rng(0).normal(size=(4, 4))
SINGULAR = [np.concatenate([X[:-1], X[:1]]), np.where(np.arange(4) == 2, 0, X), np.outer(X[0], X[1]), np.zeros((4, 4))]


def cofactors(x: np.ndarray) -> np.ndarray:
    """Signed determinants of what is left without a row and a column."""
    places = range(len(x))
    minors = [[np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) for j in places] for i in places]
    return np.array(minors) * (-1.0) ** np.add.outer(places, places)


def test_gradients_of_determinants_are_cofactors() -> None:
    batch = np.stack([X, np.eye(4), 1e-60 * X, *SINGULAR])
    expected = np.stack([cofactors(x) for x in batch])
    for found in (fdl.grad(lambda x: fnp.linalg.det(x).sum())(batch), fdl.vmap(fdl.grad(fnp.linalg.det))(batch)):
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-9, atol=1e-13)
    z = X + 1j * X.T
    z[0] = 2j * z[1]
    found = fdl.grad(fnp.linalg.det, holomorphic=True)(z)
    np.testing.assert_allclose(np.asarray(found), cofactors(z), rtol=1e-9, atol=1e-12)


def test_second_derivatives_of_determinants() -> None:
    """Against central differences of cofactors, along one direction."""
    for x in (2 * np.eye(4), SINGULAR[0]):
        found = fdl.jvp(fdl.grad(fnp.linalg.det), (x,), (X,))[1]
        expected = (cofactors(x + 1e-4 * X) - cofactors(x - 1e-4 * X)) / 2e-4
        np.testing.assert_allclose(np.asarray(found), expected, atol=1e-6)


@pytest.mark.parametrize("x", [X[:3, :3], X[:, :2], X[:2] + 1j * X[2:], np.eye(3)[:, :2]])
def test_derivatives_of_pseudo_inverses(x: np.ndarray) -> None:
    check_grads(fnp.linalg.pinv, (x,), order=2)


def test_derivatives_of_pseudo_inverses_of_lower_rank() -> None:
    def f(p: Any) -> Any:
        return fnp.linalg.pinv(fnp.array([[0.0, 0.0], [-p, 1.0]]) / (1 + p**2))

    # The pseudo-inverse is [[0, -p], [0, 1]].
    np.testing.assert_allclose(np.asarray(fdl.jacfwd(f)(np.asarray(2.0))), [[0, -1], [0, 0]], atol=1e-12)
    check_grads(lambda x: fnp.linalg.pinv(x + x.T, hermitian=True), (X[:3, :3],), order=1)
