"""Rows of fdl.scipy.special and of the distributions of fdl.scipy.stats."""

import importlib

import numpy as np
import scipy.special
import scipy.stats

import fdl.scipy.special
import fdl.scipy.stats
from tests.namesakes.draws import Draw
from tests.namesakes.engine import Call, Table, call

TABLE = Table(fdl.scipy.special, scipy.special)
row = TABLE.row
KINDS = ("float32", "float64", "int32", "int8", "bool")
FLOAT = ("float32", "float64")


def one(kinds=KINDS, **bounds):
    return lambda d: call(d.array(kinds, **bounds))


def several(count, kinds=KINDS, **bounds):
    return lambda d: call(*d.operands(kinds, count, **bounds))


def special(names, draw, oracle=None, ulps=64, **settings):
    row(names, draw, oracle, **({"kind": "inexact", "promoted": True, "ulps": ulps} | settings))


special("erf expit", one(), zeros=False)
special("erfc", one(KINDS, low=-6, high=6))
special("erfinv", one(FLOAT, low=-1, high=1))
special("logit ndtri", one(FLOAT, low=0, high=1), ulps=200, near=True)
special("ndtr", one())
special("log_ndtr", one(FLOAT, low=-40, high=9), ulps=100, near=True)
special("gammaln", one(FLOAT, low=0.01, high=60), near=True)
special("gamma", one(FLOAT, low=-4.9, high=20), ulps=400, near=True)
special("gammasgn", one((*FLOAT, "int32")), zeros=False)
special("digamma", one(FLOAT, low=0.01, high=60), near=True)
special("i0 i1", one(FLOAT, low=-20, high=20), ulps=100)
special("i0e i1e", one(FLOAT, low=-60, high=60), ulps=100)
special("entr", one())
special("rel_entr kl_div", several(2), ulps=64, near=True, zeros=False)
special("xlogy xlog1py", several(2), zeros=False)
special(
    "gammainc gammaincc",
    lambda d: call(d.array(FLOAT, None, False, 0.1, 20), d.array(FLOAT, (), False, 0, 30)),
    ulps=400,
    near=True,
)
special(
    "betainc",
    lambda d: call(
        d.array(FLOAT, None, False, 0.2, 9), d.array(FLOAT, (), False, 0.2, 9), d.array(FLOAT, (), False, 0, 1)
    ),
    ulps=400,
    near=True,
)
special(
    "betaln beta",
    lambda d: call(
        d.array(FLOAT, None, False, 0.1, 9) * np.float32(d.pick(1, 100, 1e6)), d.array(FLOAT, (), False, 0.1, 9)
    ),
    ulps=200,
    near=True,
)
special(
    "zeta", lambda d: call(d.array(FLOAT, None, False, 1.1, 9), d.array(FLOAT, (), False, 0.5, 9)), ulps=64, near=True
)
special("polygamma", lambda d: call(d.pick(0, 1, 2, 3), d.array(FLOAT, None, False, 0.5, 20)), ulps=200, near=True)
special("poch", lambda d: call(d.array(FLOAT, None, False, 0.5, 9), d.array(FLOAT, (), False, 0, 5)), ulps=1000)
special("factorial", lambda d: call(d.array(("float32", "int32", "int8"), low=-3, high=12)), ulps=200)
special("multigammaln", lambda d: call(d.array(FLOAT, None, False, 3, 9), d.pick(1, 2, 3)), promoted=False, near=True)


special("exp1", one(FLOAT, low=0.01, high=60), near=True)
special("expi", one(FLOAT, low=0.5, high=60), near=True)
special("erfcx", one(FLOAT, low=-4, high=60), near=True)
special("dawsn", one(FLOAT, low=-60, high=60), near=True)
special("spence", one(FLOAT, low=0, high=60), near=True)
special("loggamma", one(FLOAT, low=0.01, high=60), near=True)
special("owens_t", several(2, FLOAT, low=-4, high=4), near=True)
special("boxcox", lambda d: call(d.array(FLOAT, None, False, 0.01, 9), d.array(FLOAT, (), False, -3, 3)), near=True)
special("boxcox1p", lambda d: call(d.array(FLOAT, None, False, -0.9, 9), d.array(FLOAT, (), False, -3, 3)), near=True)
special(
    "comb", lambda d: call(d.array(FLOAT, None, False, 1, 30), d.array(FLOAT, (), False, 0, 9)), ulps=1000, near=True
)
special(
    "gammaincinv gammainccinv",
    lambda d: call(d.array(FLOAT, None, False, 0.5, 9), d.array(FLOAT, (), False, 0.01, 0.99)),
    ulps=400,
    near=True,
)
TABLE.exclude(
    "bernoulli bessel_jn betaincinv expn fresnel hyp1f1 hyp2f1 sici sph_harm_y wofz",
    "several results or parameters; see tests/scipy/test_special_integrals.py",
)


def _softmax(d: Draw) -> Call:
    x = d.array((*FLOAT, "int32"), low=-9, high=9, least=1, empty=False)
    return call(x, **d.some(axis=lambda: d.axis(x, several=True)))


special("softmax log_softmax", _softmax, promoted=False, near=True)


def _logsumexp(d: Draw) -> Call:
    x = d.array((*FLOAT, "int32"), least=1, empty=False)
    return call(x, **d.some(axis=lambda: d.axis(x, several=True), keepdims=True, return_sign=True))


special("logsumexp", _logsumexp, promoted=False, near=True, ulps=16, zeros=False)

STATS = []


def distribution(
    name, functions, *parameters, support=(-9, 9), scaled=True, ulps=400, near=True, discrete=False, **oracles
):
    """Rows of one distribution: inside and outside of its support, at infinities, with and without loc and scale."""
    module = importlib.import_module(f"fdl.scipy.stats.{name}")
    table = Table(module, getattr(scipy.stats, name))
    STATS.append(table)

    def draw(function):
        def made(d: Draw) -> Call:
            kind = d.pick(*FLOAT)
            if function in ("ppf", "isf"):
                x = d.elements(kind, d.shape(most=2), False, -0.2, 1.2)
                x = np.where(d.rng.random(x.shape) < 0.2, d.pick(0, 1, 0.5, np.nan), x).astype(kind)
            else:
                x = d.elements(kind, d.shape(most=2), d.flag(), *support)
                x = np.round(x).astype(kind) if discrete and d.flag() else x
            shapes = [d.elements(kind, (), False, low, high) for low, high in parameters]
            shapes = [s if d.integer(0, 5) else np.asarray(d.pick(0.0, -1.0, np.nan), kind) for s in shapes]
            keywords = d.some(loc=np.asarray(d.pick(1.0, -2.0), kind))
            if scaled:
                keywords |= d.some(scale=np.asarray(d.pick(2.0, 0.5, 0.0, -1.0), kind))
            return call(np.asarray(x), *shapes, **keywords)

        return made

    for function in functions.split():
        table.row(
            function,
            draw(function),
            oracles.get(function),
            kind="inexact",
            ulps=ulps,
            near=near,
            zeros=False,
            examples=2,
        )


distribution("norm", "pdf logpdf cdf logcdf sf logsf ppf isf")
distribution("uniform", "pdf logpdf cdf ppf")
distribution("expon", "pdf logpdf cdf logcdf sf logsf ppf")
distribution(
    "laplace",
    "pdf logpdf cdf",
    logpdf=lambda x, loc=0, scale=1: np.where(scale > 0, -np.abs((x - loc) / scale) - np.log(2 * scale), np.nan),
)
distribution("logistic", "pdf logpdf cdf sf ppf isf")
distribution("cauchy", "pdf logpdf cdf logcdf sf logsf ppf isf")
distribution("gamma", "pdf logpdf cdf logcdf sf logsf ppf isf", (0.5, 9), support=(-2, 20), ulps=2000)
distribution("beta", "pdf logpdf cdf logcdf sf logsf ppf isf", (0.5, 9), (0.5, 9), support=(-0.5, 1.5), ulps=2000)
distribution("t", "pdf logpdf cdf sf", (0.5, 30), ulps=2000)
distribution("poisson", "pmf logpmf cdf sf", (0.2, 9), support=(-2, 20), scaled=False, discrete=True, ulps=2000)
STATS[-1].exclude("entropy", "SciPy sums up to a tolerance; see tests/scipy/test_distributions.py")
distribution("bernoulli", "pmf logpmf cdf ppf", (0.0, 1.0), support=(-2, 3), scaled=False, discrete=True)


def _normal(d: Draw) -> Call:
    n = d.pick(1, 2, 3)
    factor = d.elements("float64", (n, n), False, -1, 1)
    return call(
        d.elements("float64", (*d.pick((), (4,)), n), False),
        d.elements("float64", (n,), False),
        factor @ factor.T + np.eye(n),
    )


MULTIVARIATE = Table(importlib.import_module("fdl.scipy.stats.multivariate_normal"), scipy.stats.multivariate_normal)
MULTIVARIATE.row("pdf logpdf", _normal, kind="inexact", ulps=2**12, near=True)
STATS.append(MULTIVARIATE)
