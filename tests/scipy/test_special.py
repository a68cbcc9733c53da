"""Special functions and distributions against SciPy's, and their derivatives against differences."""

import numpy as np
import pytest
from scipy import special as reference
from scipy import stats as reference_stats

import fdl
from fdl.scipy import special, stats

X = np.linspace(0.1, 3.0, 20)
Y = np.linspace(2.0, 0.3, 20)
HALF = X / 4 + 0.05
UNARY = dict.fromkeys(
    [
        "expit",
        "erf",
        "erfc",
        "entr",
        "ndtr",
        "log_ndtr",
        "gammaln",
        "gamma",
        "digamma",
        "i0",
        "i0e",
        "i1",
        "i1e",
        "factorial",
    ],
    X,
)
UNARY |= dict.fromkeys(("logit", "erfinv", "ndtri"), HALF)
BINARY = ["xlogy", "xlog1py", "betaln", "beta", "gammainc", "gammaincc", "rel_entr", "kl_div", "poch"]


def slopes(f, x, h=1e-6):
    return (np.asarray(f(x + h)) - np.asarray(f(x - h))) / (2 * h)


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_argument(name):
    f, x = getattr(special, name), UNARY[name]
    np.testing.assert_allclose(f(x), getattr(reference, name)(x), rtol=1e-11)
    np.testing.assert_allclose(fdl.grad(lambda x: f(x).sum())(x), slopes(f, x), rtol=1e-6, atol=1e-8)
    assert f(x.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arguments(name):
    f = getattr(special, name)
    np.testing.assert_allclose(f(X, Y), getattr(reference, name)(X, Y), rtol=1e-10, atol=1e-12)
    for i, (g, v) in enumerate([(lambda x: f(x, Y), X), (lambda y: f(X, y), Y)]):
        found = fdl.grad(lambda *xs: f(*xs).sum(), argnums=i)(X, Y)
        np.testing.assert_allclose(found, slopes(g, v), rtol=1e-5, atol=1e-7)


def test_other_functions():
    np.testing.assert_allclose(special.betainc(X, Y, HALF), reference.betainc(X, Y, HALF), rtol=1e-10)
    np.testing.assert_allclose(special.polygamma(2, X), reference.polygamma(2, X), rtol=1e-10)
    np.testing.assert_allclose(special.zeta(X + 1, Y), reference.zeta(X + 1, Y), rtol=1e-10)
    np.testing.assert_allclose(special.multigammaln(Y + 2, 3), reference.multigammaln(Y + 2, 3), rtol=1e-10)
    negative = np.array([-0.5, -1.5, -2.5])
    np.testing.assert_allclose(special.gamma(negative), reference.gamma(negative), rtol=1e-12)
    np.testing.assert_array_equal(special.gammasgn(negative), reference.gammasgn(negative))
    np.testing.assert_allclose(special.logsumexp(X, b=Y), reference.logsumexp(X, b=Y), rtol=1e-12)


def test_arguments_have_their_usual_names():
    np.testing.assert_allclose(special.gammainc(a=2.0, x=1.0), reference.gammainc(2.0, 1.0), rtol=1e-6)
    np.testing.assert_allclose(special.gammaincc(a=2.0, x=1.0), reference.gammaincc(2.0, 1.0), rtol=1e-6)
    np.testing.assert_allclose(special.betainc(a=2.0, b=3.0, x=0.25), reference.betainc(2.0, 3.0, 0.25), rtol=1e-6)
    np.testing.assert_allclose(special.polygamma(n=1, x=2.0), reference.polygamma(1, 2.0), rtol=1e-6)
    np.testing.assert_allclose(special.ndtri(p=0.75), reference.ndtri(0.75), rtol=1e-6)


def test_corners():
    zero = np.zeros(1)
    assert special.xlogy(0.0, 0.0).item() == special.xlog1py(0.0, -1.0).item() == special.entr(0.0).item() == 0
    assert special.entr(-1.0).item() == -np.inf and special.rel_entr(0.0, 0.0).item() == 0
    assert special.rel_entr(1.0, 0.0).item() == np.inf
    assert fdl.grad(lambda x: special.xlogy(x, 2.0).sum())(zero).item() == np.log(2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 5e-6)])
def test_log_ndtr_in_both_tails(dtype, tolerance):
    x = np.array([-300.0, -40, -21, -19, -11, -9, -3, -0.1, 0.1, 4, 9], dtype)
    np.testing.assert_allclose(special.log_ndtr(x), reference.log_ndtr(x.astype(np.float64)), rtol=tolerance)
    steep = fdl.grad(lambda x: special.log_ndtr(x).sum())(np.array([-300.0]))
    np.testing.assert_allclose(steep, [300.0033332], rtol=1e-8)


Z = np.array([-2.5, -0.3, 0.0, 0.4, 0.9, 1.0, 3.2])
DISTRIBUTIONS = {
    "norm": ((0.3, 1.7), "pdf logpdf cdf logcdf sf logsf"),
    "uniform": ((-0.5, 1.2), "pdf logpdf cdf"),
    "expon": ((-0.5, 1.7), "pdf logpdf cdf sf logsf"),
    "laplace": ((0.3, 1.7), "pdf logpdf cdf"),
    "logistic": ((0.3, 1.7), "pdf logpdf cdf sf"),
    "cauchy": ((0.3, 1.7), "pdf logpdf cdf"),
    "gamma": ((2.5, -0.4, 1.3), "pdf logpdf cdf sf"),
    "beta": ((2.5, 1.5, -0.4, 1.3), "pdf logpdf cdf"),
    "t": ((4.0, 0.3, 1.7), "pdf logpdf"),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_continuous_distributions(name):
    args, functions = DISTRIBUTIONS[name]
    for function in functions.split():
        found = getattr(getattr(stats, name), function)(Z, *args)
        expected = getattr(getattr(reference_stats, name), function)(Z, *args)
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14, err_msg=function)


@pytest.mark.parametrize("name", ["norm", "uniform", "expon", "logistic", "cauchy"])
def test_quantiles_invert_the_distribution_function(name):
    q, module = np.array([0.01, 0.3, 0.5, 0.99]), getattr(stats, name)
    np.testing.assert_allclose(module.cdf(module.ppf(q, 0.5, 2.0), 0.5, 2.0), q, rtol=1e-12)
    np.testing.assert_allclose(stats.norm.sf(stats.norm.isf(q)), q, rtol=1e-12)


def test_discrete_distributions():
    k = np.array([-1.0, 0.0, 1.0, 2.0, 7.0])
    for name, p in (("bernoulli", 0.3), ("poisson", 2.5)):
        module, expected = getattr(stats, name), getattr(reference_stats, name)
        for function in ("pmf", "logpmf", "cdf"):
            np.testing.assert_allclose(
                getattr(module, function)(k, p), getattr(expected, function)(k, p), rtol=1e-11, err_msg=name + function
            )


def test_multivariate_normal(rng):
    x, mean, root = rng.normal(size=(5, 3)), rng.normal(size=3), rng.normal(size=(3, 3))
    cov = root @ root.T + np.eye(3)
    expected = reference_stats.multivariate_normal(mean, cov)
    np.testing.assert_allclose(stats.multivariate_normal.logpdf(x, mean, cov), expected.logpdf(x), rtol=1e-12)
    np.testing.assert_allclose(stats.multivariate_normal.pdf(x, mean, cov), expected.pdf(x), rtol=1e-12)
    alone = stats.multivariate_normal.logpdf(x, 0.0, 2.0)
    np.testing.assert_allclose(alone, reference_stats.norm(0, np.sqrt(2)).logpdf(x).sum(1), rtol=1e-12)
