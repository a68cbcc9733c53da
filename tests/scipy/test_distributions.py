"""Distributions against their formulas in mpmath: tails, edges, large parameters, derivatives, dtypes, transforms."""

import inspect
from dataclasses import dataclass, field
from functools import cache

import mpmath as mp
import numpy as np
import pytest
from scipy import stats as reference

import fdl
import fdl.numpy as fnp
from fdl.dtypes import bfloat16
from fdl.errors import LeafError
from fdl.scipy import stats

INF, NAN = float("inf"), float("nan")
LOC, SCALE = 0.5, 2.0  # powers of two: (x - loc) / scale of the points is exact


@dataclass(frozen=True)
class Exact:
    """A distribution with location 0 and scale 1.

    Attributes:
        pdf: the density, or the probabilities.
        cdf, sf: the distribution function and one minus it.
        low, high: where the density is not zero.
        points: of x - loc over scale.
        cases: parameters.
    """

    pdf: object
    cdf: object = None
    sf: object = None
    low: float = -INF
    high: float = INF
    points: tuple = ()
    cases: tuple = ((),)
    far: tuple = field(default=(-INF, INF))


def gamma_pdf(z, a):
    return mp.exp((a - 1) * mp.log(z) - z - mp.loggamma(a)) if z else (mp.inf if a < 1 else mp.mpf(a == 1))


def beta_pdf(z, a, b):
    if z in (0, 1):
        power = a if z == 0 else b
        return mp.inf if power < 1 else (mp.mpf(b if z == 0 else a) if power == 1 else mp.mpf(0))
    return mp.exp((a - 1) * mp.log(z) + (b - 1) * mp.log1p(-z) - mp.log(mp.beta(a, b)))


def t_pdf(z, df):
    if df == INF:
        return mp.npdf(z)
    ratio = mp.exp(mp.loggamma((df + 1) / 2) - mp.loggamma(df / 2))
    return ratio / mp.sqrt(df * mp.pi) * mp.exp(-(df + 1) / 2 * mp.log1p(z * z / df))


def t_sf(z, df):
    if df == INF:
        return mp.erfc(z / mp.sqrt(2)) / 2
    tail = mp.betainc(df / 2, mp.mpf(1) / 2, 0, df / (df + z * z), regularized=True) / 2
    return tail if z > 0 else 1 - tail


def poisson_pmf(k, mu):
    if k != mp.floor(k):
        return mp.mpf(0)
    return mp.exp(k * mp.log(mu) - mu - mp.loggamma(k + 1)) if mu else mp.mpf(k == 0)


def gennorm_sf(z, b):
    tail = mp.gammainc(1 / b, abs(z) ** b, mp.inf, regularized=True) / 2
    return tail if z > 0 else 1 - tail


def normal_mass(a, b):
    if a > 0:
        return normal_mass(-b, -a)
    return (mp.erfc(-b / mp.sqrt(2)) - mp.erfc(-a / mp.sqrt(2))) / 2


def binom_pmf(k, n, p):
    return mp.binomial(n, k) * p**k * (1 - p) ** (n - k) if k == mp.floor(k) and k <= n else mp.mpf(0)


def nbinom_pmf(k, n, p):
    return mp.binomial(k + n - 1, k) * p**n * (1 - p) ** k if k == mp.floor(k) else mp.mpf(0)


def betabinom_pmf(k, n, a, b):
    if k != mp.floor(k) or k > n:
        return mp.mpf(0)
    return mp.binomial(n, k) * mp.beta(k + a, n - k + b) / mp.beta(a, b)


MIDDLE = (-3.0, -1.0, -0.25, -0.0, 0.0, 0.5, 1.0, 2.5)
TAILS = (-1e4, -300.0, -40.0, -12.0, 12.0, 40.0, 300.0, 1e4, 1e-40, -1e-40)
EXACT = {
    "norm": Exact(
        mp.npdf, lambda z: mp.erfc(-z / mp.sqrt(2)) / 2, lambda z: mp.erfc(z / mp.sqrt(2)) / 2, points=MIDDLE + TAILS
    ),
    "uniform": Exact(
        lambda z: mp.mpf(1), lambda z: z, low=0, high=1, points=(-1.0, -1e-30, 0.0, 1e-30, 0.25, 1.0, 1.5)
    ),
    "expon": Exact(lambda z: mp.exp(-z), lambda z: -mp.expm1(-z), lambda z: mp.exp(-z), low=0, points=MIDDLE + TAILS),
    "laplace": Exact(
        lambda z: mp.exp(-abs(z)) / 2,
        lambda z: mp.exp(z) / 2 if z < 0 else 1 - mp.exp(-z) / 2,
        points=MIDDLE + TAILS,
    ),
    "logistic": Exact(
        lambda z: mp.exp(-abs(z)) / (1 + mp.exp(-abs(z))) ** 2,
        lambda z: 1 / (1 + mp.exp(-z)),
        lambda z: 1 / (1 + mp.exp(z)),
        points=MIDDLE + TAILS,
    ),
    "cauchy": Exact(
        lambda z: 1 / (mp.pi * (1 + z * z)),
        lambda z: mp.atan2(1, -z) / mp.pi,
        lambda z: mp.atan2(1, z) / mp.pi,
        points=(*MIDDLE, *TAILS, -1e30, 1e30),
    ),
    "gamma": Exact(
        gamma_pdf,
        lambda z, a: mp.gammainc(a, 0, z, regularized=True),
        lambda z, a: mp.gammainc(a, z, mp.inf, regularized=True),
        low=0,
        points=(-1.0, 0.0, 1e-30, 0.25, 1.0, 2.5, 9.0, 40.0),
        cases=((0.5,), (1.0,), (2.5,), (30.0,)),
    ),
    "beta": Exact(
        beta_pdf,
        lambda z, a, b: mp.betainc(a, b, 0, z, regularized=True),
        lambda z, a, b: mp.betainc(a, b, z, 1, regularized=True),
        low=0,
        high=1,
        points=(-0.5, 0.0, 1e-20, 0.125, 0.5, 0.9375, 1.0, 1.5),
        cases=((0.5, 0.5), (1.0, 1.0), (2.5, 1.5), (30.0, 4.0)),
    ),
    "t": Exact(
        t_pdf,
        points=(*MIDDLE, -300.0, 12.0, 1e10),
        cases=((0.5,), (1.0,), (4.0,), (100.0,), (1e8,), (INF,)),
    ),
    "poisson": Exact(
        poisson_pmf,
        lambda k, mu: mp.gammainc(mp.floor(k) + 1, mu, mp.inf, regularized=True),
        lambda k, mu: mp.gammainc(mp.floor(k) + 1, 0, mu, regularized=True),
        low=0,
        points=(-1.0, 0.0, 1.0, 2.0, 2.5, 7.0, 40.0),
        cases=((0.25,), (2.5,), (30.0,)),
        far=(-INF,),
    ),
    "bernoulli": Exact(
        lambda k, p: p if k == 1 else (1 - p if k == 0 else mp.mpf(0)),
        lambda k, p: mp.mpf(1) if k >= 1 else 1 - p,
        low=0,
        points=(-1.0, 0.0, 0.5, 1.0, 2.0),
        cases=((0.25,), (0.0,), (1.0,)),
    ),
}
EXACT |= {
    "chi2": Exact(
        lambda z, df: gamma_pdf(z / 2, df / 2) / 2,
        lambda z, df: mp.gammainc(df / 2, 0, z / 2, regularized=True),
        lambda z, df: mp.gammainc(df / 2, z / 2, mp.inf, regularized=True),
        low=0,
        points=(-1.0, 0.25, 1.0, 2.5, 9.0, 40.0, 3000.0),
        cases=((1.0,), (2.5,), (30.0,)),
    ),
    "gumbel_r": Exact(
        lambda z: mp.exp(-z - mp.exp(-z)),
        lambda z: mp.exp(-mp.exp(-z)),
        lambda z: -mp.expm1(-mp.exp(-z)),
        points=(*MIDDLE, -4.0, 9.9, 10.1, 40.0, 80.0),
    ),
    "gumbel_l": Exact(
        lambda z: mp.exp(z - mp.exp(z)),
        lambda z: -mp.expm1(-mp.exp(z)),
        lambda z: mp.exp(-mp.exp(z)),
        points=(*MIDDLE, 4.0, -9.9, -10.1, -40.0, -80.0),
    ),
    "pareto": Exact(
        lambda z, b: b * z ** (-b - 1),
        lambda z, b: -mp.expm1(-b * mp.log(z)),
        lambda z, b: z**-b,
        low=1,
        points=(-1.0, 0.5, 1.0, 1.5, 4.0, 1e4),
        cases=((0.5,), (1.0,), (7.0,)),
    ),
    "gennorm": Exact(
        lambda z, b: b / 2 / mp.gamma(1 / b) * mp.exp(-(abs(z) ** b)),
        lambda z, b: gennorm_sf(-z, b),
        gennorm_sf,
        points=(-3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.5),
        cases=((0.5,), (1.0,), (3.0,)),
    ),
    "vonmises": Exact(
        lambda z, kappa: mp.exp(kappa * mp.cos(z)) / (2 * mp.pi * mp.besseli(0, kappa)),
        points=(-3.0, -0.5, 0.0, 1e-6, 1.0, 3.0),
        cases=((0.0,), (1.0,), (300.0,)),
        far=(),
    ),
    "wrapcauchy": Exact(
        lambda z, c: (1 - c * c) / (2 * mp.pi * (1 + c * c - 2 * c * mp.cos(z))),
        low=0,
        high=2 * mp.pi,
        points=(-0.5, 0.0, 0.5, 3.0, 6.0, 7.0),
        cases=((0.5,), (0.125,), (0.96875,)),
    ),
    "truncnorm": Exact(
        lambda z, a, b: mp.npdf(z) / normal_mass(a, b) if a <= z <= b else mp.mpf(0),
        lambda z, a, b: normal_mass(a, min(max(z, a), b)) / normal_mass(a, b),
        lambda z, a, b: normal_mass(min(max(z, a), b), b) / normal_mass(a, b),
        points=(-12.0, -3.0, -1.0, -0.25, 0.5, 1.5, 4.0, 9.5),
        cases=((-1.0, 2.0), (1.0, 5.0), (-20.0, -2.0), (-3.0, INF), (9.0, 10.0)),
    ),
    "binom": Exact(
        binom_pmf,
        lambda k, n, p: mp.fsum(binom_pmf(mp.mpf(i), n, p) for i in range(int(min(k, n)) + 1)),
        lambda k, n, p: mp.fsum(binom_pmf(mp.mpf(i), n, p) for i in range(int(min(k, n)) + 1, int(n) + 1)),
        low=0,
        points=(-1.0, 0.0, 1.0, 2.0, 2.5, 7.0, 40.0),
        cases=((5.0, 0.25), (40.0, 0.625), (1.0, 0.5), (300.0, 0.125)),
    ),
    "nbinom": Exact(
        nbinom_pmf,
        lambda k, n, p: mp.betainc(n, mp.floor(k) + 1, 0, p, regularized=True),
        lambda k, n, p: mp.betainc(n, mp.floor(k) + 1, p, 1, regularized=True),
        low=0,
        points=(-1.0, 0.0, 1.0, 2.0, 2.5, 7.0, 40.0),
        cases=((5.0, 0.25), (0.5, 0.625), (30.0, 0.125)),
        far=(-INF,),
    ),
    "geom": Exact(
        lambda k, p: (1 - p) ** (k - 1) * p if k == mp.floor(k) else mp.mpf(0),
        lambda k, p: 1 - (1 - p) ** mp.floor(k),
        lambda k, p: (1 - p) ** mp.floor(k),
        low=1,
        points=(-1.0, 0.0, 0.5, 1.0, 2.0, 2.5, 40.0),
        cases=((0.25,), (0.5,), (0.0009765625,)),
        far=(-INF,),
    ),
    "betabinom": Exact(
        betabinom_pmf,
        low=0,
        points=(-1.0, 0.0, 1.0, 2.0, 2.5, 7.0),
        cases=((5.0, 2.0, 3.0), (40.0, 0.5, 0.5), (12.0, 30.0, 4.0)),
    ),
}
DISCRETE = ("poisson", "bernoulli", "binom", "nbinom", "geom", "betabinom")
FUNCTIONS = [(name, f) for name in EXACT for f in getattr(stats, name).__all__ if f != "entropy"]
#: The tails of t are below: mpmath takes minutes for many degrees of freedom.
FORMULAS = [(n, f) for n, f in FUNCTIONS if f not in ("ppf", "isf") and (n, f) not in (("t", "cdf"), ("t", "sf"))]


@cache
def value(name, function, z, *parameters):
    """The exact value at a point of location 0 and scale 1."""
    exact, kind = EXACT[name], function.removeprefix("log")
    with mp.workprec(120):
        z, parameters = mp.mpf(z), [mp.mpf(p) for p in parameters]
        inside = exact.low <= z <= exact.high
        if kind in ("pdf", "pmf"):
            found = exact.pdf(z, *parameters) if inside and abs(z) < INF else mp.mpf(0)
        elif kind == "cdf":
            found = mp.mpf(z > exact.low) if not inside or abs(z) == INF else exact.cdf(z, *parameters)
        else:
            found = mp.mpf(z < exact.high) if not inside or abs(z) == INF else exact.sf(z, *parameters)
        return (mp.log(found) if found else -mp.inf) if function.startswith("log") else found


@cache
def condition(name, function, z, *parameters):
    """By how many units a result may be off: the sum of the terms that a stable formula adds up."""
    found = value(name, function, z, *parameters)
    if function.startswith("log") or function in ("pdf", "pmf"):
        log = found if function.startswith("log") else (mp.log(found) if 0 < found < mp.inf else mp.mpf(0))
        return 1 + abs(log) if abs(log) < mp.inf else mp.mpf(1)
    density = value(name, "pdf", z, *parameters) if name not in DISCRETE and abs(z) < INF else 0
    return 1 + (abs(mp.mpf(z)) * density / found if found and density < mp.inf else 0)


def call(name, function, x, parameters, kind, *more):
    return getattr(getattr(stats, name), function)(x, *(np.asarray(p, kind) for p in parameters), *more)


#: Units in the last place that the functions of fdl.scipy.special behind a distribution may be off.
TAIL_FUNCTIONS = ("cdf", "sf", "logcdf", "logsf")
UNITS = {
    (n, f): 128
    for n in ("gamma", "chi2", "poisson", "beta", "t", "binom", "nbinom", "gennorm", "truncnorm", "geom")
    for f in TAIL_FUNCTIONS
}
UNITS |= {("truncnorm", "pdf"): 32}


def functions(name):
    """The functions of a distribution that have an exact value here, by name."""
    return {f: getattr(getattr(stats, name), f) for n, f in FORMULAS if n == name}


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", EXACT)
def test_values(name, kind):
    """In the middle, in the tails and at the edges; with location and scale; eager and compiled."""
    exact, scaled = EXACT[name], name not in DISCRETE
    eps, tiny = float(np.finfo(kind).eps), float(np.finfo(kind).tiny)
    ways = ((0.0, 1.0), (LOC, SCALE)) if scaled else ((0.0,), (1.0,))
    rows = [(z, *p, *way) for way in ways for p in exact.cases for z in (*exact.points, *exact.far)]
    z, *parameters = (np.array(column, kind) for column in zip(*rows, strict=True))
    loc, scale = (parameters[-2], parameters[-1]) if scaled else (parameters[-1], kind(1))
    x = z * scale + loc
    exactly = (x - loc) / scale == z  # elsewhere the sum with the location was rounded
    rows = [tuple(map(float, row)) for row in zip(z, *parameters[: len(exact.cases[0])], strict=True)]
    chosen = functions(name)

    def everything(x, *parameters):
        return {function: f(x, *parameters) for function, f in chosen.items()}

    for run in (everything, fdl.jit(everything)):
        for function, got in run(x, *parameters).items():
            assert got.dtype == kind
            got, unit = np.asarray(got), eps * UNITS.get((name, function), 8)
            for i in np.flatnonzero(exactly):
                row, stretch = rows[i], float(np.broadcast_to(scale, x.shape)[i])
                want, off = value(name, function, *row), condition(name, function, *row)
                want = want / stretch if function == "pdf" else want
                want, off = (want - mp.log(stretch), off + 1) if function == "logpdf" else (want, off)
                bound = float(unit * off * (1 if function.startswith("log") else abs(want)))
                found, best = float(got[i]), float(kind(float(want)))
                assert found == best or abs(found - float(want)) <= bound + 4 * tiny, (
                    f"{name}.{function} at {row}, {stretch}: {found}, exact {float(want)}, bound {bound}"
                )
    for function, f in chosen.items():
        first = slice(0, len(rows) // 2)
        np.testing.assert_array_equal(
            f(x[first], *(p[first] for p in parameters[: len(exact.cases[0])])),
            f(x[first], *(p[first] for p in parameters)), err_msg=f"{function} by default",
        )  # fmt: skip


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("name", "function"), [(n, f) for n, f in FUNCTIONS if f in ("ppf", "isf") and n != "bernoulli"]
)
def test_quantiles(name, function, kind):
    """The exact distribution function has its probability near the quantile: within a few neighbours of it."""
    q = np.array([1e-30, 1e-6, 0.01, 0.3, 0.4999, 0.5, 0.7, 0.99, 1 - 2.0**-23], kind)
    parameters = EXACT[name].cases[-1]
    found = np.asarray(call(name, function, q, parameters, kind))
    assert found.dtype == kind
    forward = "cdf" if function == "ppf" else "sf"
    for x, p in zip(found, q, strict=True):
        step = (512 if name == "beta" else 8) * np.spacing(np.abs(x))  # as exact as SciPy's inverse is
        ends = sorted(value(name, forward, float(v), *parameters) for v in (x - step, x + step))
        assert ends[0] <= mp.mpf(float(p)) <= ends[1], (p, x, ends)
    low, high = (EXACT[name].low, EXACT[name].high)[:: 1 if function == "ppf" else -1]
    edges = call(name, function, np.array([0, 1, -0.1, 1.1, NAN], kind), parameters, kind)
    np.testing.assert_array_equal(edges, [low, high, NAN, NAN, NAN])
    moved = call(name, function, q[3:7], parameters, kind, LOC, SCALE)
    np.testing.assert_allclose(moved, found[3:7] * SCALE + LOC, rtol=8 * np.finfo(kind).eps, atol=1e-7)


LARGE = {
    "gamma": (lambda z, a: gamma_pdf(z, a), [(a, a + s * a**0.5) for a in (1e3, 1e6, 1e9) for s in (-3, 0, 0.5, 4)]),
    "poisson": (poisson_pmf, [(m, np.rint(m + s * m**0.5)) for m in (1e3, 1e6, 1e7) for s in (-3, 0, 0.5, 4)]),
}


@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("name", LARGE)
def test_large_parameters(name, kind):
    """Where powers and factorials cancel, the logarithm keeps its digits."""
    formula, pairs = LARGE[name]
    function = stats.gamma.logpdf if name == "gamma" else stats.poisson.logpmf
    parameter, x = (np.array(v, kind) for v in zip(*pairs, strict=True))
    with mp.workprec(120):
        exact = [float(mp.log(formula(mp.mpf(float(v)), mp.mpf(float(p))))) for v, p in zip(x, parameter, strict=True)]
    np.testing.assert_allclose(function(x, parameter), exact, rtol=32 * np.finfo(kind).eps)


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_small_arguments_with_large_parameters(kind):
    """No quotient overflows on the way, neither in values nor in derivatives."""
    pairs = [(1e-4, 10.0), (1e-3, 100.0)]
    pairs += [(1e-38, 1e3), (1e-30, 1e10)] if kind != np.float16 else []
    for z, a in pairs:
        z, a = np.asarray(z, kind), np.asarray(a, kind)
        with mp.workprec(120):
            exact, b = mp.mpf(float(z)), mp.mpf(float(a))
            want = (b - 1) * mp.log(exact) - exact - mp.loggamma(b)
        np.testing.assert_allclose(float(stats.gamma.logpdf(z, a)), float(want), rtol=16 * np.finfo(kind).eps)
    small, ten = (np.asarray(v, kind) for v in ((1e-20, 10) if kind != np.float16 else (0.02, 10)))
    with mp.workprec(120):
        x = mp.mpf(float(small))
        wanted = {"gamma": 9 / x - 1, "poisson": 10 / x - 1, "beta": 9 / x - 9 / (1 - x)}
    found = {
        "gamma": fdl.grad(lambda x: stats.gamma.logpdf(x, ten))(small),
        "poisson": fdl.grad(lambda x: stats.poisson.logpmf(ten, x))(small),
        "beta": fdl.grad(lambda x: stats.beta.logpdf(x, ten, ten))(small),
    }
    for name, slope in found.items():
        np.testing.assert_allclose(float(slope), float(wanted[name]), rtol=32 * np.finfo(kind).eps, err_msg=name)


def test_infinitely_many_events_of_none_and_some():
    """As in SciPy."""
    np.testing.assert_array_equal(stats.poisson.logpmf(np.full(2, INF), np.array([0.0, 1.0])), [-INF, NAN])


POINTS = {"uniform": (0.25,), "beta": (0.125, 0.6), "poisson": (2.0, 7.0), "bernoulli": (0.0, 1.0)}
POINTS |= {"pareto": (1.5, 12.0), "vonmises": (0.25, 1.5), "wrapcauchy": (0.25, 1.5, 5.0), "truncnorm": (0.25, 1.5)}
POINTS |= dict.fromkeys(("geom", "binom", "nbinom", "betabinom"), (2.0, 4.0))
#: The parameters by which functions have no derivative: whole numbers, and those of the incomplete beta function.
CONSTANT = {("binom", f): (1,) for f in ("logpmf", "pmf", "cdf", "sf")} | {
    ("betabinom", f): (1,) for f in ("logpmf", "pmf")
}
CONSTANT |= {("nbinom", f): (1,) for f in ("cdf", "sf")} | {("beta", f): (1, 2) for f in TAIL_FUNCTIONS}


def moved(name, function, x, *parameters):
    """The exact value with location and scale, which come last."""
    exact, scaled, kind = EXACT[name], name not in DISCRETE, function.removeprefix("log")
    own, more = parameters[: len(exact.cases[0])], parameters[len(exact.cases[0]) :]
    loc, scale = more if scaled else (0, 1)
    with mp.workprec(120):
        at = {"pdf": exact.pdf, "pmf": exact.pdf, "cdf": exact.cdf, "sf": exact.sf}[kind]((x - loc) / scale, *own)
        at = at / scale if kind == "pdf" else at
        return mp.log(at) if function.startswith("log") else at


@pytest.mark.parametrize("name", EXACT)
def test_derivatives(name):
    """By the point, the parameters, location and scale, against derivatives in mpmath."""
    exact, scaled, chosen = EXACT[name], name not in DISCRETE, functions(name)
    parameters = next(p for p in exact.cases if p not in ((1.0,), (0.5, 0.5)))
    more = (LOC, SCALE) if scaled else ()
    # A number of events has no derivative.
    places = {
        f: [i for i in range(1 + len(parameters + more)) if (i or scaled) and i not in CONSTANT.get((name, f), ())]
        for f in chosen
    }
    slopes = fdl.jit(lambda *a: {f: fdl.grad(g, tuple(places[f]))(*a) for f, g in chosen.items()})
    for z in POINTS.get(name, (0.25, 1.5, 12.0)):
        x = z * SCALE + LOC if scaled else z
        arguments = [mp.mpf(a) for a in (x, *parameters, *more)]
        for function, found in slopes(*(np.asarray(float(a), float) for a in arguments)).items():
            for place, got in zip(places[function], found, strict=True):

                def along(v, function=function, place=place, arguments=arguments):
                    return moved(name, function, *arguments[:place], v, *arguments[place + 1 :])

                with mp.workprec(120):
                    want = float(mp.diff(along, arguments[place], h=mp.mpf(2) ** -40))
                where = f"{function} at {arguments}, by {place}"
                np.testing.assert_allclose(float(got), want, 1e-9, 1e-12, err_msg=where)


@pytest.mark.parametrize(("name", "function"), FUNCTIONS)
def test_dtypes_broadcasting_and_vmap(name, function):
    parameters = EXACT[name].cases[0]
    f = getattr(getattr(stats, name), function)
    with pytest.raises(LeafError, match=rf"an operand of {name}.{function} is \[0.5\] of type list"):
        f([0.5], *parameters)
    assert f(1, *parameters).dtype == np.float32  # numbers of Python, and integers, count as float32
    assert f(np.arange(2), *parameters).dtype == np.float32
    for kind in (np.float16, bfloat16, np.float32, np.float64):
        assert f(np.ones(2, kind), *parameters).dtype == kind
    assert f(np.ones(2, np.float32), *(np.asarray(p, float) for p in parameters), np.asarray(0.0)).dtype == np.float64
    x, loc = np.linspace(0.1, 0.9, 3), np.array([0.0, 0.25])
    whole = f(x[:, None], *parameters, loc)
    assert whole.shape == (3, 2) and f(np.zeros((0, 2)), *parameters).shape == (0, 2)
    rows = fdl.vmap(lambda x: fdl.vmap(lambda loc: f(x, *parameters, loc))(loc))(x)
    np.testing.assert_allclose(rows, whole, rtol=1e-14)
    named = dict(zip(list(inspect.signature(f).parameters)[1:], (*parameters, 0.25), strict=False))
    np.testing.assert_array_equal(f(x, **named), f(x, *parameters, 0.25))


@pytest.mark.parametrize("name", EXACT)
def test_nan_and_parameters_outside_of_their_domain_give_nan(name):
    chosen = {f: getattr(getattr(stats, name), f) for n, f in FUNCTIONS if n == name}
    names = list(inspect.signature(next(chosen[f] for f in ("cdf", "pdf", "pmf") if f in chosen)).parameters)
    good = [0.5, *EXACT[name].cases[0], 0.0, 1.0][: len(names)]
    outside = {"scale": (0.0, -1.0), "mu": (-1.0,), "p": (-0.1, 1.1)} | dict.fromkeys(("a", "b", "df"), (0.0, -1.0))
    outside |= {"a": (), "b": (-2.0,)} if name == "truncnorm" else {}
    cases = [(i, v) for i, bad in enumerate(names) for v in (NAN, *outside.get(bad, ()))]
    rows = [[v if i == place else g for i, g in enumerate(good)] for place, v in cases]
    columns = [np.array(column) for column in zip(*rows, strict=True)]

    def everything(*arguments):
        return {function: f(*arguments) for function, f in chosen.items()}

    for run in (everything, fdl.jit(everything)):
        for function, found in run(*columns).items():
            assert np.isnan(found).all(), (function, cases)


def test_every_function_has_a_summary_arguments_and_an_example():
    for name, function in FUNCTIONS:
        f = getattr(getattr(stats, name), function)
        text = inspect.getdoc(f)
        assert f.__name__ == function and f.__module__ == f"fdl.scipy.stats.{name}"
        assert text.split("\n")[0].endswith(".") and f">>> round({function}(" in text
        assert all(f"    {p}: " in text for p in inspect.signature(f).parameters)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_multivariate_normal(kind, rng):
    """Batches, vmap and derivatives against the formula with inverse and determinant in mpmath."""
    n = 3
    x, mean, root = (rng.normal(size=s).astype(kind) for s in ((2, n), (n,), (2, n, n)))
    cov = (root @ root.swapaxes(-1, -2) + np.eye(n)).astype(kind)

    def exact(x, mean, cov):
        with mp.workprec(120):
            matrix, d = (
                mp.matrix(cov.astype(float).tolist()),
                mp.matrix((x.astype(float) - mean.astype(float)).tolist()),
            )
            return float(-(d.T * mp.inverse(matrix) * d)[0] / 2 - mp.log((2 * mp.pi) ** n * mp.det(matrix)) / 2)

    expected = [exact(x[i], mean, cov[i]) for i in range(2)]
    found = fdl.jit(stats.multivariate_normal.logpdf)(x, mean, cov)
    assert found.dtype == kind
    np.testing.assert_allclose(found, expected, rtol=64 * np.finfo(kind).eps)
    np.testing.assert_allclose(
        stats.multivariate_normal.pdf(x, mean, cov), np.exp(expected), rtol=256 * np.finfo(kind).eps
    )
    rows = fdl.vmap(stats.multivariate_normal.logpdf, (0, None, 0))(x, mean, cov)
    np.testing.assert_allclose(rows, expected, rtol=64 * np.finfo(kind).eps)
    slope = fdl.grad(lambda x: stats.multivariate_normal.logpdf(x, mean, cov).sum())(x)
    wanted = -np.linalg.solve(cov.astype(float), (x - mean).astype(float)[..., None])[..., 0]
    np.testing.assert_allclose(slope, wanted, rtol=1e3 * np.finfo(kind).eps)
    singular = stats.multivariate_normal.logpdf(np.zeros(2, kind), kind(0), np.zeros((2, 2), kind))
    assert not np.isfinite(singular)
    assert fnp.shape(stats.multivariate_normal.logpdf(kind(0.5), kind(0), kind(4))) == ()
    for given in [(np.arange(3), np.arange(3), np.eye(3, dtype=int)), (x[:, 0], 0, [[2.0]]), ([0.5, 1.0], 1, 2)]:
        exact = reference.multivariate_normal.logpdf(*given)
        np.testing.assert_allclose(stats.multivariate_normal.logpdf(*given), exact, rtol=1e-5)
    with pytest.raises(NotImplementedError, match="allow_singular"):
        stats.multivariate_normal.logpdf(x, mean, cov, allow_singular=True)
    with pytest.raises(fdl.errors.ShapeError, match=r"needs x \[..., n\] and cov"):
        stats.multivariate_normal.logpdf(x, mean, np.eye(2))


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_tails_of_t(kind):
    rows = [(z, df) for df in (0.5, 1.0, 4.0, 100.0) for z in (-3.0, -1.0, -0.25, 0.5, 1.0, 2.5, -300.0, 12.0, 1e10)]
    z, df = (np.array(column, kind) for column in zip(*rows, strict=True))
    with mp.workprec(120):
        upper = [float(t_sf(mp.mpf(float(a)), mp.mpf(float(b)))) for a, b in zip(z, df, strict=True)]
        lower = [float(t_sf(mp.mpf(-float(a)), mp.mpf(float(b)))) for a, b in zip(z, df, strict=True)]
    for run in (lambda f: f(z, df), lambda f: fdl.jit(f)(2 * z + 1, df, kind(1), kind(2))):
        np.testing.assert_allclose(run(stats.t.sf), upper, rtol=256 * np.finfo(kind).eps, atol=np.finfo(kind).tiny)
        np.testing.assert_allclose(run(stats.t.cdf), lower, rtol=256 * np.finfo(kind).eps, atol=np.finfo(kind).tiny)
    np.testing.assert_allclose(stats.t.sf(np.array([1.5, -2.0]), np.full(2, INF)), stats.norm.sf(np.array([1.5, -2.0])))
    slope = fdl.grad(lambda x: stats.t.cdf(x, np.asarray(3.0)))(np.asarray(1.5))
    np.testing.assert_allclose(slope, stats.t.pdf(np.asarray(1.5), np.asarray(3.0)), rtol=1e-12)


def test_entropies_of_poisson():
    rates = np.array([0.0, 1e-3, 0.5, 5.0, 30.0, 63.9, 64.1, 100.0, 1e4, 1e8])

    def entropy(mu):
        if mu > 1e3:  # where three terms of the expansion are exact enough
            return mp.log(2 * mp.pi * mp.e * mu) / 2 - 1 / mp.mpf(12 * mu) - 1 / mp.mpf(24 * mu**2)
        p = [mp.exp(-mu) * mp.mpf(mu) ** k / mp.factorial(k) for k in range(400)]
        return -sum(q * mp.log(q) for q in p if q)

    expected = [float(entropy(r)) for r in rates]
    np.testing.assert_allclose(np.asarray(stats.poisson.entropy(rates)), expected, 1e-12)
    np.testing.assert_allclose(np.asarray(stats.poisson.entropy(rates.astype(np.float32), 2)), expected, 1e-6)
    for narrow in ("bfloat16", "float16"):
        given = fnp.array([5.0, 10.0, 30.0, 5000.0], narrow)
        found = stats.poisson.entropy(given)
        assert found.dtype == narrow
        exact = [float(entropy(r)) for r in given.tolist()]
        np.testing.assert_allclose(np.asarray(found, np.float64), exact, float(fnp.finfo(narrow).eps))
    assert fdl.grad(stats.poisson.entropy)(np.float64(0.0)).item() == np.inf
    assert np.isnan(stats.poisson.entropy(-1.0).item())
    slope = fdl.vmap(fdl.grad(stats.poisson.entropy))(np.array([5.0, 100.0]))
    step = stats.poisson.entropy(np.array([5 + 1e-5, 100 + 1e-5])) - stats.poisson.entropy(
        np.array([5 - 1e-5, 100 - 1e-5])
    )
    np.testing.assert_allclose(np.asarray(slope), np.asarray(step) / 2e-5, 1e-5)
