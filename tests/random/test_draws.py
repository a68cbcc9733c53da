"""Draws from finite ranges and sets, and of vectors; test_distributions.py compares with SciPy's distributions."""

import numpy as np
import pytest
from scipy import stats

import fdl
import fdl.numpy as fnp
from fdl import random
from fdl.errors import DtypeError, ShapeError

KEY = random.key(20)
N = 4000


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_is_below_one_in_every_dtype(dtype):
    drawn = np.asarray(random.uniform(KEY, (N,), dtype)).astype(np.float64)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.03


def test_complex_normal_has_variance_one():
    drawn = np.asarray(random.normal(KEY, (N,), "complex64"))
    assert drawn.dtype == np.complex64
    assert abs(np.mean(np.abs(drawn) ** 2) - 1) < 0.05 and abs(np.mean(drawn**2)) < 0.05


@pytest.mark.parametrize(
    ("low", "high", "dtype"), [(-3, 4, "int32"), (0, 256, "uint8"), (-128, 128, "int8"), (0, 3, "int64")]
)
def test_randint_covers_its_range_evenly(low, high, dtype):
    drawn = np.asarray(random.randint(KEY, (20 * (high - low),), low, high, dtype))
    assert drawn.dtype == dtype
    counts = np.bincount(drawn.astype(np.int64) - low, minlength=high - low)
    assert len(counts) == high - low
    assert stats.chisquare(counts).pvalue > 0.01


def test_randint_bounds():
    assert random.randint(KEY, (3,), 5, 5).tolist() == [5, 5, 5]
    full = np.asarray(random.randint(KEY, (1000,), -(2**31), 2**31, "int32"))
    assert full.min() < -(2**30) and full.max() > 2**30
    ends = np.array([1, 10, 100], np.int32)
    assert (np.asarray(random.randint(KEY, (50, 3), 0, ends)) < ends).all()
    with pytest.raises(DtypeError, match="float32"):
        random.randint(KEY, (), 0, 1, "float32")


def test_bernoulli_follows_its_probability():
    p = np.array([0.0, 0.2, 1.0], np.float32)
    share = np.asarray(random.bernoulli(KEY, p, (N, 3))).mean(0)
    assert share[0] == 0 and share[2] == 1 and abs(share[1] - 0.2) < 0.02
    assert random.bernoulli(KEY, p).shape == (3,)
    with pytest.raises(DtypeError, match="floating"):
        random.bernoulli(KEY, 1)
    assert set(random.rademacher(KEY, (50,)).tolist()) == {-1, 1}


def test_permutation_keeps_the_elements():
    x = np.arange(24).reshape(4, 6)
    shuffled = np.asarray(random.permutation(KEY, x, axis=1))
    assert not np.array_equal(shuffled, x)
    assert {tuple(c) for c in shuffled.T} == {tuple(c) for c in x.T}
    independent = np.asarray(random.permutation(KEY, x, axis=1, independent=True))
    assert np.array_equal(np.sort(independent, axis=1), x)
    assert len({tuple(np.argsort(row)) for row in independent}) > 1


def test_permutations_are_equally_likely():
    keys = random.split(KEY, 1200)
    orders = np.asarray(fdl.vmap(lambda k: random.permutation(k, 3))(keys))
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 0.01


def test_choice():
    assert len(set(random.choice(KEY, 10, (10,), replace=False).tolist())) == 10
    p = np.array([0.1, 0.0, 0.6, 0.3])
    share = np.bincount(np.asarray(random.choice(KEY, 4, (N,), p=p)), minlength=4) / N
    assert np.abs(share - p).max() < 0.03 and share[1] == 0
    rows = random.choice(KEY, fnp.arange(12).reshape(4, 3), (5, 2), axis=0)
    assert rows.shape == (5, 2, 3) and (np.asarray(rows) % 3 == np.arange(3)).all()
    assert sorted(random.choice(KEY, 3, (3,), replace=False, p=fnp.ones(3) / 3).tolist()) == [0, 1, 2]
    with pytest.raises(ShapeError, match="11 of 10"):
        random.choice(KEY, 10, (11,), replace=False)


def test_categorical():
    p = np.array([[0.2, 0.8], [0.5, 0.5]])
    drawn = np.asarray(random.categorical(KEY, np.log(p), axis=1, shape=(N, 2)))
    assert np.abs(drawn.mean(0) - p[:, 1]).max() < 0.03
    assert random.categorical(KEY, fnp.zeros((3, 5)), axis=0).shape == (5,)
    several = np.asarray(random.categorical(KEY, fnp.zeros((2, 4)), shape=(4, 2), replace=False))
    assert (np.sort(several, axis=0) == np.arange(4)[:, None]).all()


@pytest.mark.parametrize("method", ["cholesky", "eigh", "svd"])
def test_multivariate_normal_moments(method):
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 0.6], [0.6, 1.0]])
    drawn = np.asarray(random.multivariate_normal(KEY, mean, cov, (8000,), method=method))
    assert np.abs(drawn.mean(0) - mean).max() < 0.06 and np.abs(np.cov(drawn.T) - cov).max() < 0.08


def test_vectors_on_simplex_sphere_and_ball():
    simplex = np.asarray(random.dirichlet(KEY, np.array([1.0, 2.0, 3.0]), (N,)))
    assert np.abs(simplex.sum(1) - 1).max() < 1e-6 and np.abs(simplex.mean(0) - np.array([1, 2, 3]) / 6).max() < 0.02
    q = np.asarray(random.orthogonal(KEY, 3, (5,), "float64", m=4))
    assert np.abs(q @ q.swapaxes(1, 2) - np.eye(3)).max() < 1e-12
    radius = np.linalg.norm(np.asarray(random.ball(KEY, 3, shape=(N,)), np.float64), axis=1)
    assert stats.kstest(radius**3, "uniform").pvalue > 0.01
    counts = np.asarray(random.multinomial(KEY, 10, np.array([0.2, 0.3, 0.5]), shape=(N, 3)))
    assert (counts.sum(1) == 10).all() and np.abs(counts.mean(0) - [2, 3, 5]).max() < 0.1


def test_gamma_gradient_is_that_of_the_mean():
    # The mean of gamma(a) is a, so the mean of the derivatives of the draws is one.
    slopes = fdl.grad(lambda a: random.gamma(KEY, a, (N,), "float64").mean())(fnp.asarray(1.7, "float64"))
    assert abs(slopes.item() - 1) < 0.1


def test_loggamma_of_tiny_shapes_stays_finite():
    assert np.isfinite(np.asarray(random.loggamma(KEY, 1e-4, (100,)))).all()


def test_parameters_must_broadcast_to_the_shape():
    with pytest.raises(ShapeError, match="gamma"):
        random.gamma(KEY, fnp.ones(3), (2,))
