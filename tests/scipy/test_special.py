"""Special functions against SciPy's: ordinary and extreme arguments, derivatives, dtypes, transforms."""

import inspect
import math

import numpy as np
import pytest
from scipy import special as reference

import fdl
from fdl.dtypes import bfloat16
from fdl.errors import LeafError
from fdl.scipy import special

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


@pytest.mark.parametrize("name", ["ndtr", "erfc"])
def test_single_tails_of_the_normal_distribution_join_at_zero(name):
    x = np.concatenate([np.linspace(-9, 9, 30001), np.linspace(-0.8, 0.8, 10001), 10.0 ** np.linspace(-37, 0, 101)])
    x = x.astype(np.float32)
    exact = getattr(reference, name)(x.astype(np.float64))
    assert (np.abs(np.asarray(getattr(special, name)(x)) - exact) / np.spacing(exact.astype(np.float32))).max() <= 5.5
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(getattr(special, name)(ends), getattr(reference, name)(ends))


INSIDE = {"erfinv": 0.5, "logit": 0.5, "ndtri": 0.5, "betainc": 0.5, "zeta": 2.5, "multigammaln": 2.5}
REDUCTIONS = ("softmax", "log_softmax", "logsumexp")
SECOND = {"polygamma": (1.0,), "multigammaln": (2,)}


def sample(name, shape=(3,)):
    """Arguments within the domain of a function, all of one shape but for integers that set it."""
    function = getattr(special, name)
    parameters = inspect.signature(function).parameters.values()
    count = sum(p.default is p.empty for p in parameters) + (name == "zeta")
    if name in SECOND:
        count = 1
    x = INSIDE.get(name, 0.75) + np.linspace(0.0, 0.25, int(np.prod(shape))).reshape(shape)
    return [x + 0.125 * i if name != "betainc" or i < 2 else x for i in range(count)]


def apply(name, *args):
    """The function of its floating arguments."""
    if name == "polygamma":
        return special.polygamma(1, *args)
    return special.multigammaln(*args, 2) if name == "multigammaln" else getattr(special, name)(*args)


#: Functions of other arguments or results, which test_special_integrals.py tests.
OTHERS = set("bernoulli bessel_jn betaincinv expn fresnel gammainccinv gammaincinv hyp2f1 sici sph_harm_y wofz".split())
GENERAL = [name for name in special.__all__ if name not in OTHERS]


@pytest.mark.parametrize("name", GENERAL)
def test_dtypes_shapes_jit_and_vmap(name):
    args = sample(name)
    kinds = (np.float16, bfloat16, np.float32, np.float64)
    for kind in kinds[1 if name in ("gammasgn",) else 0 :]:
        found = apply(name, *(a.astype(kind) for a in args))
        assert found.dtype == kind
    if name not in ("erfinv", "logit", "ndtri", "betainc"):
        assert apply(name, *(np.full(2, 3) for _ in args)).dtype == np.float32
    mixed = apply(name, args[0].astype(np.float32), *args[1:])
    assert mixed.dtype == (np.float32 if len(args) == 1 else np.float64)
    expected = np.asarray(apply(name, *args))
    np.testing.assert_allclose(fdl.jit(lambda *a: apply(name, *a))(*args), expected, rtol=1e-13)
    if name in REDUCTIONS:
        return
    np.testing.assert_allclose(fdl.vmap(lambda *a: apply(name, *a))(*args), expected, rtol=1e-13)
    assert apply(name, *(np.zeros((0, 2)) + 0.5 for _ in args)).shape == (0, 2)
    wide = apply(name, args[0][:, None], *(a[None, :] for a in args[1:])) if len(args) > 1 else None
    assert wide is None or (wide.shape == (3, 3) and np.allclose(np.diagonal(wide), expected, rtol=1e-13))


@pytest.mark.parametrize("name", [n for n in GENERAL if n not in REDUCTIONS])
def test_nan_gives_nan(name):
    args = sample(name)
    for i in range(len(args)):
        given = [a.copy() for a in args]
        given[i][1] = np.nan
        for run in (apply, lambda n, *a: fdl.jit(lambda *b: apply(n, *b))(*a)):
            assert np.isnan(np.asarray(run(name, *given))).tolist() == [False, True, False]


@pytest.mark.parametrize(("wrong", "shown"), [([0.5], "list; .*asarray"), ("a", "type str"), (None, "NoneType")])
def test_operands_that_are_no_arrays_are_refused(wrong, shown):
    for name in sorted(set(special.__all__) - {"bernoulli", "bessel_jn", "expit", *REDUCTIONS}):
        function = getattr(special, name)
        args = [2 for p in inspect.signature(function).parameters.values() if p.default is p.empty]
        args[2 if name == "sph_harm_y" else 0] = wrong
        with pytest.raises(LeafError, match=f"an operand of {name} is .*{shown}"):
            function(*args)


#: function: argument: value, where SciPy defines one that is not plain arithmetic.
EDGES = {
    "gammasgn": {0.0: 1.0, -0.5: -1.0, -1.5: 1.0, -1.0: np.nan, np.inf: 1.0, 1e30: 1.0},
    "gammaln": {0.0: np.inf, -1.0: np.inf, np.inf: np.inf, 1.0: 0.0, 2.0: 0.0, 5e-324: -np.log(5e-324)},
    "gamma": {0.0: np.inf, -1.0: np.nan, np.inf: np.inf, 172.0: np.inf, 5.0: 24.0},
    "factorial": {0.0: 1.0, -1.0: 0.0, 171.0: np.inf, np.inf: np.inf, 170.0: float(math.factorial(170))},
    "digamma": {1.0: -np.euler_gamma, np.inf: np.inf, -1.0: np.nan},
    "erf": {np.inf: 1.0, -np.inf: -1.0, 5e-324: 5e-324, 0.0: 0.0},
    "erfc": {np.inf: 0.0, -np.inf: 2.0, 0.0: 1.0, 27.0: reference.erfc(27.0)},
    "erfinv": {1.0: np.inf, -1.0: -np.inf, 0.0: 0.0, 1.5: np.nan, 1e-300: math.sqrt(math.pi) / 2 * 1e-300},
    "ndtri": {0.0: -np.inf, 1.0: np.inf, 0.5: 0.0, -0.1: np.nan, 1e-300: reference.ndtri(1e-300)},
    "ndtr": {np.inf: 1.0, -np.inf: 0.0, -38.0: reference.ndtr(-38.0)},
    "log_ndtr": {np.inf: 0.0, -np.inf: -np.inf, -1e10: -5e19},
    "logit": {0.0: -np.inf, 1.0: np.inf, 0.5: 0.0, 1.5: np.nan, 1e-300: np.log(1e-300)},
    "expit": {np.inf: 1.0, -np.inf: 0.0, -700.0: math.exp(-700.0), 0.0: 0.5},
    "entr": {0.0: 0.0, -1.0: -np.inf, np.inf: -np.inf, 1.0: 0.0},
    "i0": {0.0: 1.0, np.inf: np.inf, -np.inf: np.inf, 1e3: np.inf},
    "i1": {0.0: 0.0, np.inf: np.inf, -np.inf: -np.inf},
    "i0e": {0.0: 1.0, np.inf: 0.0, 1e300: reference.i0e(1e300)},
    "i1e": {0.0: 0.0, np.inf: 0.0, -1e30: reference.i1e(-1e30)},
}


@pytest.mark.parametrize("name", EDGES)
def test_edges(name):
    x, expected = (np.array(v) for v in zip(*EDGES[name].items(), strict=True))
    f = getattr(special, name)
    for run in (f, fdl.jit(f)):
        np.testing.assert_allclose(run(x), expected, rtol=2e-14, atol=1e-300)


#: function: arguments: value.
EDGES_OF_SEVERAL = {
    "gammainc": {(1.0, 0.0): 0.0, (1.0, np.inf): 1.0, (-1.0, 1.0): np.nan, (1.0, -1.0): np.nan, (1e-30, 1.0): 1.0},
    "gammaincc": {(1.0, 0.0): 1.0, (1.0, np.inf): 0.0, (2.0, 700.0): 701 * math.exp(-700.0)},
    "betainc": {(2.0, 3.0, 0.0): 0.0, (2.0, 3.0, 1.0): 1.0, (2.0, 3.0, 1.5): np.nan, (1.0, 1.0, 1e-300): 1e-300},
    "xlogy": {(0.0, 0.0): 0.0, (0.0, np.inf): 0.0, (1.0, 0.0): -np.inf, (2.0, np.inf): np.inf},
    "xlog1py": {(0.0, -1.0): 0.0, (1.0, -1.0): -np.inf, (3.0, 1e-300): 3e-300},
    "rel_entr": {(0.0, 0.0): 0.0, (1.0, 0.0): np.inf, (-1.0, 1.0): np.inf, (0.0, 1.0): 0.0},
    "kl_div": {(0.0, 0.0): 0.0, (0.0, 2.0): 2.0, (1.0, 0.0): np.inf, (-1.0, 1.0): np.inf},
    "betaln": {(1.0, 1.0): 0.0, (1e10, 1e-10): reference.betaln(1e10, 1e-10), (0.5, 0.5): math.log(math.pi)},
    "beta": {(1.0, 1.0): 1.0, (0.5, 0.5): math.pi, (1e3, 1e3): 0.0},
    "poch": {(3.0, 0.0): 1.0, (1.0, 5.0): 120.0, (0.0, 1.0): 0.0},
    "zeta": {(2.0, 1.0): math.pi**2 / 6, (1.0, 1.0): np.inf, (np.inf, 1.0): 1.0, (0.5, 1.0): np.nan},
    "polygamma": {(0.0, 1.0): -np.euler_gamma, (1.0, 1.0): math.pi**2 / 6, (2.0, np.inf): 0.0},
}  # fmt: skip


@pytest.mark.parametrize("name", EDGES_OF_SEVERAL)
def test_edges_of_functions_of_several_arguments(name):
    columns = [np.array(c) for c in zip(*EDGES_OF_SEVERAL[name], strict=True)]
    expected, f = list(EDGES_OF_SEVERAL[name].values()), getattr(special, name)
    for run in (f, fdl.jit(f)):
        np.testing.assert_allclose(run(*columns), expected, rtol=1e-12, atol=1e-310)


def test_edges_of_sums():
    inf = np.inf
    for run in (lambda f: f, fdl.jit):
        assert (
            run(special.logsumexp)(np.array([-inf, -inf])) == -inf
            and run(special.logsumexp)(np.array([inf, 1.0])) == inf
        )
        assert run(special.logsumexp)(np.zeros(0)) == -inf
        np.testing.assert_allclose(run(special.softmax)(np.array([1e4, 0.0, -inf])), [1, 0, 0])
        np.testing.assert_allclose(run(special.log_softmax)(np.array([1e4, 0.0, -inf])), [0, -1e4, -inf])
        np.testing.assert_allclose(run(special.softmax)(np.zeros((2, 2))), np.full((2, 2), 0.25))
    value, sign = special.logsumexp(np.array([0.0, 1.0]), b=np.array([1.0, -1.0]), return_sign=True)
    np.testing.assert_allclose([value, sign], [np.log(np.e - 1), -1])
    with pytest.raises(NotImplementedError, match="exact=False"):
        special.factorial(3, exact=True)
