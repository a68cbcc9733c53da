"""Every sampler at several parameters and in all floating dtypes against SciPy's distribution functions.

The keys are fixed, so that a test gives the same result each time; a sampler that is right fails with a probability of
1e-4 when a key or an algorithm changes.
"""

import ml_dtypes
import numpy as np
import pytest
from scipy import special, stats

from fdl import random

N = 4000
SHAPE = (6, N)  # one for all, so that samplers share what is compiled
INF = np.inf
CRITICAL = np.sqrt(-np.log(1e-4 / 2) / 2 / N)  # of the distance of Kolmogorov and Smirnov
BITS = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}


def log_gamma_cdf(y, a):
    """Of the logarithm of gamma numbers, also where the numbers underflow."""
    low = np.exp(np.minimum(a * y - special.gammaln(a + 1), 0))
    return np.where(y < -40, low, special.gammainc(a, np.exp(np.maximum(y, -40))))


def double_maxwell_cdf(x, loc, scale):
    z = (x - loc) / scale
    return (1 + np.sign(z) * stats.maxwell.cdf(np.abs(z))) / 2


#: The distribution function of each sampler, and some parameters of it, among them ends of their ranges.
CONTINUOUS = {
    "normal": (lambda x: stats.norm.cdf(x), [()]),
    "exponential": (lambda x: stats.expon.cdf(x), [()]),
    "laplace": (lambda x: stats.laplace.cdf(x), [()]),
    "logistic": (lambda x: stats.logistic.cdf(x), [()]),
    "cauchy": (lambda x: stats.cauchy.cdf(x), [()]),
    "gumbel": (lambda x: stats.gumbel_r.cdf(x), [()]),
    "maxwell": (lambda x: stats.maxwell.cdf(x), [()]),
    "double_sided_maxwell": (double_maxwell_cdf, [(0.0, 1.0), (-3.0, 20.0)]),
    "uniform": (lambda x, low, high: stats.uniform.cdf(x, low, high - low), [(0.0, 1.0), (-1.0, 3.0), (-1e4, 1e4)]),
    "loggamma": (log_gamma_cdf, [(0.003,), (0.3,), (1.0,), (20.0,)]),
    "gamma": (lambda x, a: special.gammainc(a, x), [(0.05,), (0.4,), (1.0,), (1.001,), (30.0,), (2e4,)]),
    "chisquare": (stats.chi2.cdf, [(0.2,), (3.0,), (500.0,)]),
    "beta": (stats.beta.cdf, [(0.1, 0.1), (0.5, 2.0), (1.0, 1.0), (300.0, 2.0)]),
    "t": (stats.t.cdf, [(0.5,), (4.0,), (1000.0,)]),
    "f": (stats.f.cdf, [(0.5, 100.0), (5.0, 9.0), (200.0, 1.0)]),
    "pareto": (lambda x, b: stats.pareto.cdf(x, b), [(0.5,), (2.0,), (50.0,)]),
    "lognormal": (lambda x, s: stats.lognorm.cdf(x, s), [(0.1,), (0.5,), (3.0,)]),
    "rayleigh": (lambda x, s: stats.rayleigh.cdf(x, scale=s), [(0.01,), (2.0,)]),
    "weibull_min": (lambda x, s, c: stats.weibull_min.cdf(x, c, scale=s), [(2.0, 1.5), (1.0, 0.3), (3.0, 50.0)]),
    "wald": (lambda x, m: stats.invgauss.cdf(x, m), [(0.05,), (2.0,), (50.0,)]),
    "triangular": (
        lambda x, a, b, c: stats.triang.cdf(x, (b - a) / (c - a), a, c - a),
        [(0.0, 1.0, 4.0), (-2.0, -2.0, 1.0), (5.0, 6.0, 6.0)],
    ),
    "truncated_normal": (stats.truncnorm.cdf, [(-1.0, 2.0), (-0.1, 0.1), (1.0, 3.0), (-INF, INF)]),
    "generalized_normal": (stats.gennorm.cdf, [(0.5,), (1.0,), (3.0,), (20.0,)]),
}
DISCRETE = {
    "poisson": (stats.poisson, [(0.1,), (3.5,), (9.9,), (10.1,), (500.0,), (1e6,)]),
    "geometric": (stats.geom, [(0.001,), (0.3,), (0.9,)]),
    "binomial": (stats.binom, [(10.0, 0.3), (1e6, 0.3), (1e6, 1e-6), (60.0, 0.99), (1.0, 0.5)]),
}
#: Whose parameters do not broadcast.
ALONE = {
    "uniform": lambda key, dtype, low, high: random.uniform(key, SHAPE, dtype, low, high),
    "generalized_normal": lambda key, dtype, p: random.generalized_normal(key, p, SHAPE, dtype),
    "double_sided_maxwell": lambda key, dtype, *p: random.double_sided_maxwell(key, *p, SHAPE, dtype),
}
#: Whose steps have no place in 16 bits: they cancel or underflow there, in JAX too.
NARROW = {("wald", 50.0), ("generalized_normal", 20.0)}
#: Samplers that the others are made of: float16, too.
ELEMENTARY = "exponential gamma normal uniform".split()


def distance(drawn, cdf, bits):
    """How far the empirical distribution function is from `cdf` at the nearest numbers that round to the draws."""
    drawn = np.sort(drawn)
    margin = 4 * 2.0**-bits * np.abs(np.nan_to_num(drawn)) + 2.0 ** (-14 if bits == 10 else -126)
    steps = np.arange(len(drawn) + 1) / len(drawn)
    return max(np.max(steps[1:] - cdf(drawn + margin)), np.max(cdf(drawn - margin) - steps[:-1]))


def draws(name, parameters, dtype):
    """N draws of each, as float64."""
    key, count = random.key(len(name)), len(parameters)
    if name in ALONE:
        rows = [ALONE[name](random.fold_in(key, i), dtype, *p)[0] for i, p in enumerate(parameters)]
        return np.stack([np.asarray(row).astype(np.float64) for row in rows])
    padded = parameters + parameters[-1:] * (SHAPE[0] - count)
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    columns = [np.array(column)[:, None].astype(kind) for column in zip(*padded, strict=True)]
    drawn = getattr(random, name)(key, *columns, shape=SHAPE, dtype=dtype)
    assert str(drawn.dtype) == dtype
    return np.asarray(drawn).astype(np.float64)[:count]


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in CONTINUOUS for d in BITS if d != "float16" or n in ELEMENTARY]
)
def test_continuous(name, dtype):
    cdf, parameters = CONTINUOUS[name]
    bits = BITS[dtype]
    if bits < 11:
        parameters = [p for p in parameters if (name, *p[:1]) not in NARROW]
    for drawn, p in zip(draws(name, parameters, dtype), parameters, strict=True):
        rounded = np.array(p).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype).astype(np.float64)
        found = distance(drawn, lambda x, at=rounded: cdf(x, *at), bits)
        # Numbers are made of uniform ones with as many bits, each of which moves the distribution function by as much.
        assert found < CRITICAL + 2.0**-bits, (p, found)
        assert np.isfinite(drawn).all() or bits < 11, p


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name):
    distribution, parameters = DISCRETE[name]
    dtype = "float32" if name == "binomial" else "int32"
    columns = [np.float32(column)[:, None] for column in zip(*parameters, strict=True)]
    drawn = np.asarray(getattr(random, name)(random.key(3), *columns, shape=(len(parameters), N), dtype=dtype))
    for row, p in zip(drawn.astype(np.float64), parameters, strict=True):
        values, counts = np.unique(row, return_counts=True)
        exact = [float(np.float32(v)) for v in p]
        below = np.cumsum(counts) / N
        assert np.max(np.abs(below - distribution.cdf(values, *exact))) < CRITICAL, p
        wanted = N * distribution.pmf(values, *exact)
        likely = wanted > 5
        if likely.sum() > 1:
            statistic = np.sum((counts - wanted)[likely] ** 2 / wanted[likely])
            assert stats.chi2.sf(statistic, likely.sum()) > 1e-4, p


def test_choices_and_bits():
    key = random.key(5)
    counts = {
        "bits": np.bincount(np.asarray(random.bits(key, (N,), "uint8")), minlength=256),
        "randint": np.bincount(np.asarray(random.randint(key, (N,), -5, 8)) + 5, minlength=13),
        "rademacher": np.bincount(np.asarray(random.rademacher(key, (N,))).astype(int) + 1)[::2],
        "choice": np.bincount(np.asarray(random.choice(key, 7, (N,))), minlength=7),
        "first": np.bincount(np.asarray(random.permutation(key, np.tile(np.arange(8), (N, 1)), 1, True))[:, 0]),
    }
    for name, found in counts.items():
        assert stats.chisquare(found).pvalue > 1e-4, name
    p = np.array([1e-3, 0.2, 0.799])
    for name, found in (
        ("categorical", random.categorical(key, np.log(p), shape=(N,))),
        ("choice", random.choice(key, 3, (N,), p=p)),
    ):
        assert stats.chisquare(np.bincount(np.asarray(found), minlength=3), N * p).pvalue > 1e-4, name
    for probability in (1e-3, 0.5, 0.999):
        for mode in ("low", "high"):
            count = int(random.bernoulli(key, probability, (N,), mode).sum())
            assert stats.binomtest(count, N, probability).pvalue > 1e-4


def test_vectors_by_their_projections():
    key = random.key(6)
    alpha = np.array([0.3, 2.0, 40.0])
    simplex = np.asarray(random.dirichlet(key, alpha, (N,), "float64"))
    for i in range(3):
        assert stats.kstest(simplex[:, i], stats.beta(alpha[i], alpha.sum() - alpha[i]).cdf).pvalue > 1e-4
    mean, cov = np.array([1.0, -2.0]), np.array([[2.0, 1.4], [1.4, 1.0]])
    for method in ("cholesky", "eigh", "svd"):
        drawn = np.asarray(random.multivariate_normal(key, mean, cov, (N,), "float64", method=method))
        for w in np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.4]]):
            assert stats.kstest(drawn @ w, stats.norm(mean @ w, np.sqrt(w @ cov @ w)).cdf).pvalue > 1e-4
    q = np.asarray(random.orthogonal(key, 3, (N,), "float64"))
    for entry in (q[:, 0, 0], q[:, 1, 2], q[:, 2, 1]):  # a coordinate of a point on the sphere is uniform
        assert stats.kstest(entry, stats.uniform(-1, 2).cdf).pvalue > 1e-4
    for p in (1.0, 2.0, 5.0):
        inside = np.asarray(random.ball(key, 4, p, (N,), "float64"))
        assert stats.kstest(np.sum(np.abs(inside) ** p, 1) ** (4 / p), "uniform").pvalue > 1e-4
    counts = np.asarray(random.multinomial(key, 30, np.array([0.2, 0.3, 0.5]), shape=(N, 3)))
    for i, p in enumerate((0.2, 0.3, 0.5)):
        values, found = np.unique(counts[:, i], return_counts=True)
        assert np.max(np.abs(np.cumsum(found) / N - stats.binom(30, p).cdf(values))) < CRITICAL
