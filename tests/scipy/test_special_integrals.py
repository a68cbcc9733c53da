"""Integrals, hypergeometric functions, powers and numbers of combinatorics against SciPy's and mpmath's."""

import itertools

import mpmath as mp
import numpy as np
import pytest
from scipy import special as reference

import fdl
from fdl.dtypes import bfloat16
from fdl.errors import ConcretizationError, DtypeError
from fdl.scipy import special

POSITIVE = np.array([1e-12, 1e-3, 0.1, 0.5, 0.999, 1.0, 1.001, 2.0, 5.0, 7.9, 8.1, 20.0, 100.0])
ALL = np.concatenate([-POSITIVE[::-1], POSITIVE])

#: (function, exact value, exact derivative, where)
UNARY = {
    "exp1": (mp.e1, lambda x: -mp.exp(-x) / x, POSITIVE),
    "expi": (mp.ei, lambda x: mp.exp(x) / x, ALL),
    "dawsn": (
        lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x),
        lambda x: 1 - mp.sqrt(mp.pi) * x * mp.exp(-x * x) * mp.erfi(x),
        ALL,
    ),
    "erfcx": (
        lambda x: mp.exp(x * x) * mp.erfc(x),
        lambda x: 2 * x * mp.exp(x * x) * mp.erfc(x) - 2 / mp.sqrt(mp.pi),
        np.concatenate([-POSITIVE[:8], POSITIVE]),
    ),
    "spence": (
        lambda x: mp.polylog(2, 1 - x),
        lambda x: mp.log(x) / (1 - x) if x != 1 else mp.mpf(-1),
        POSITIVE,
    ),
}


def exact(f, xs):
    with mp.workdps(400):
        return np.array([float(mp.re(f(mp.mpf(float(x))))) for x in xs])


@pytest.mark.parametrize("dtype", ["float64", "float32", bfloat16], ids=str)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_argument(name, dtype):
    value, slope, x = UNARY[name]
    x = x.astype(dtype)
    f = getattr(special, name)
    tolerance = {"float64": 2e-13, "float32": 4e-6}.get(str(dtype), 0.03)
    with np.errstate(over="ignore", under="ignore"):
        expected, slopes = exact(value, x).astype(dtype), exact(slope, x).astype(dtype)
    found, at_once = f(x), fdl.jit(f)(x)
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_allclose(found, expected.astype(float), rtol=tolerance)
    np.testing.assert_array_equal(found, at_once)
    derivative = fdl.vmap(fdl.grad(f))(x)
    # Where the derivative passes through zero its terms cancel: the error is that of a term of size one.
    np.testing.assert_allclose(
        derivative, slopes.astype(float), rtol=20 * tolerance, atol=tolerance * (x.astype(float) < 3).any()
    )


def test_pairs_of_integrals():
    x = np.linspace(0.05, 9.0, 40)
    for found, expected in zip(special.sici(x), reference.sici(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    for found, expected in zip(special.fresnel(-x), reference.fresnel(-x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13)
    for part, expected in [(0, np.sin(x) / x), (1, np.cos(x) / x)]:
        found = fdl.vmap(fdl.grad(lambda v, part=part: special.sici(v)[part]))(x)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
    for part, expected in [(0, np.sin(np.pi * x * x / 2)), (1, np.cos(np.pi * x * x / 2))]:
        found = fdl.vmap(fdl.grad(lambda v, part=part: special.fresnel(v)[part]))(x)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert fdl.grad(lambda v: special.sici(v)[0])(0.0) == 1.0


def test_expn_of_all_orders():
    n, x = np.meshgrid(np.arange(5.0), np.linspace(0.1, 8, 9))
    np.testing.assert_allclose(special.expn(n, x), reference.expn(n.astype(int), x), rtol=1e-13)
    slope = fdl.vmap(fdl.grad(special.expn, argnums=1))(n.ravel(), x.ravel())
    expected = [-float(mp.expint(int(k) - 1, v)) for k, v in zip(n.ravel(), x.ravel(), strict=True)]
    np.testing.assert_allclose(slope, expected, rtol=1e-12)
    assert np.isnan(special.expn(np.array([-1.0, 1.5, np.nan, 1.0]), np.array([1.0, 1.0, 1.0, np.nan]))).all()


def test_owens_t():
    h, a = np.meshgrid(np.linspace(-3, 3, 7), np.array([-4.0, -0.5, 0.0, 0.3, 1.0, 6.0]))
    np.testing.assert_allclose(special.owens_t(h, a), reference.owens_t(h, a), rtol=1e-12, atol=1e-16)
    step = 1e-6
    for which in (0, 1):
        moved = [(h + s * (which == 0), a + s * (which == 1)) for s in (step, -step)]
        expected = (reference.owens_t(*moved[0]) - reference.owens_t(*moved[1])) / (2 * step)
        found = fdl.grad(lambda h, a: special.owens_t(h, a).sum(), argnums=which)(h, a)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_hypergeometric_functions():
    rng = np.random.default_rng(0)
    a, b, c, x = rng.uniform(0.2, 3, (4, 30))
    x = x / 4
    np.testing.assert_allclose(
        special.hyp1f1(a, b, x), [float(mp.hyp1f1(*v)) for v in zip(a, b, x, strict=True)], rtol=1e-11
    )
    expected = [float(mp.hyp2f1(*v)) for v in zip(a, b, c, x, strict=True)]
    np.testing.assert_allclose(special.hyp2f1(a, b, c, x), expected, rtol=1e-11)
    slope = fdl.grad(lambda x: special.hyp1f1(a, b, x).sum())(x)
    expected = [float(mp.diff(lambda t, a=a, b=b: mp.hyp1f1(a, b, t), x)) for a, b, x in zip(a, b, x, strict=True)]
    np.testing.assert_allclose(slope, expected, rtol=1e-10)
    slope = fdl.grad(lambda x: special.hyp2f1(a, b, c, x).sum())(x)
    expected = [float(mp.diff(lambda t, v=v: mp.hyp2f1(*v[:3], t), v[3])) for v in zip(a, b, c, x, strict=True)]
    np.testing.assert_allclose(slope, expected, rtol=1e-10)
    slope = fdl.grad(special.hyp1f1)(np.asarray(1.0), 2.0, 0.5)
    np.testing.assert_allclose(slope, float(mp.diff(lambda t: mp.hyp1f1(t, 2, 0.5), 1)), rtol=1e-8)


def test_bessel_functions():
    z = np.linspace(-30, 30, 61)
    expected = np.stack([reference.jv(n, z) for n in range(6)])
    np.testing.assert_allclose(special.bessel_jn(z, v=5), expected, rtol=1e-12, atol=1e-14)
    slope = fdl.jacfwd(lambda t: special.bessel_jn(t, v=5))(2.5)
    np.testing.assert_allclose(slope, [reference.jvp(n, 2.5) for n in range(6)], rtol=1e-5)
    with pytest.raises(ValueError, match="negative"):
        special.bessel_jn(z, v=-1)


@pytest.mark.parametrize("name", ["wofz", "loggamma"])
def test_functions_of_complex_numbers(name):
    real, imaginary = np.meshgrid(np.linspace(-4.3, 4.2, 9), np.linspace(-2, 3, 8))
    z = real + 1j * imaginary
    f, known = getattr(special, name), getattr(reference, name)
    np.testing.assert_allclose(f(z), known(z), rtol=1e-12)
    narrow = z.astype(np.complex64)
    assert f(narrow).dtype == np.complex64
    np.testing.assert_allclose(f(narrow), known(narrow.astype(complex)), rtol=1e-5)
    step = 1e-6
    slope = fdl.vmap(fdl.grad(f, holomorphic=True))(z.ravel())
    expected = (known(z + step) - known(z - step)).ravel() / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-8)
    assert np.isnan(special.loggamma(-1.5))
    np.testing.assert_allclose(special.wofz(np.linspace(0, 3, 5)), reference.wofz(np.linspace(0, 3, 5)), rtol=1e-12)


def test_power_transformations():
    x = np.array([1e-8, 0.3, 1.0, 5.0, 1e6])
    for lmbda in (-2.0, -1e-9, 0.0, 1e-9, 0.5, 3.0):
        np.testing.assert_allclose(special.boxcox(x, lmbda), reference.boxcox(x, lmbda), rtol=1e-12)
        np.testing.assert_allclose(special.boxcox1p(x, lmbda), reference.boxcox1p(x, lmbda), rtol=1e-12)
        slope = fdl.vmap(fdl.grad(special.boxcox), (0, None))(x, lmbda)
        np.testing.assert_allclose(slope, x ** (lmbda - 1), rtol=1e-9)
    by_exponent = fdl.vmap(fdl.grad(special.boxcox, argnums=1), (0, None))(x, np.zeros(()))
    np.testing.assert_allclose(by_exponent, np.log(x) ** 2 / 2, rtol=1e-9)
    edges = np.array([0.0, -1.0, np.nan])
    np.testing.assert_array_equal(special.boxcox(edges, 0.5), [-2.0, np.nan, np.nan])
    np.testing.assert_array_equal(special.boxcox(edges, -0.5), [-np.inf, np.nan, np.nan])


def test_combinations():
    n, k = np.meshgrid(np.arange(-1.0, 40), np.arange(-1.0, 42))
    np.testing.assert_allclose(special.comb(n, k), reference.comb(n, k), rtol=1e-13)
    n, k = np.abs(n), np.abs(k)
    np.testing.assert_allclose(special.comb(n, k, repetition=True), reference.comb(n, k, repetition=True), rtol=1e-13)
    np.testing.assert_allclose(
        special.comb(np.array([1000.0, 300.0]), 150.0), reference.comb([1000, 300], 150), rtol=1e-9
    )
    np.testing.assert_allclose(special.comb(5.5, 2.0), 5.5 * 4.5 / 2, rtol=1e-6)
    with pytest.raises(NotImplementedError, match="exact"):
        special.comb(5, 2, exact=True)


def test_bernoulli_numbers():
    np.testing.assert_allclose(special.bernoulli(30), reference.bernoulli(30), rtol=1e-6)
    assert special.bernoulli(0).shape == (1,)
    assert np.isinf(special.bernoulli(300)[-1])


@pytest.mark.parametrize("name, count", [("exp1", 1), ("sici", 1), ("owens_t", 2), ("hyp1f1", 3), ("boxcox", 2)])
def test_shapes_and_transforms(name, count):
    f = getattr(special, name)
    for shape in [(), (0,), (2, 0, 3), (1, 5)]:
        args = [np.full(shape, 0.7 + 0.1 * n, np.float32) for n in range(count)]
        for out in fdl.tree.leaves(f(*args)):
            assert (out.shape, out.dtype) == (shape, np.float32)
    x = np.linspace(0.2, 0.9, 6)
    args = [x + n for n in range(count)]
    for found, expected in zip(fdl.tree.leaves(fdl.jit(fdl.vmap(f))(*args)), fdl.tree.leaves(f(*args)), strict=True):
        np.testing.assert_array_equal(found, expected)
    grid = list(itertools.product(*args)) if count < 3 else [tuple(a[0] for a in args)]
    assert np.isfinite([np.asarray(fdl.tree.leaves(f(*point))[0]) for point in grid]).all()


def test_inverses():
    a, b, p = np.meshgrid([0.5, 2.0, 30.0], [0.7, 4.0], [1e-6, 0.1, 0.5, 0.9, 0.999])
    for name, args in [("gammaincinv", (a, p)), ("gammainccinv", (a, p)), ("betaincinv", (a, b, p))]:
        f, forward = getattr(special, name), getattr(reference, name.removesuffix("inv"))
        found = np.asarray(f(*args))
        np.testing.assert_allclose(forward(*args[:-1], found), p, rtol=1e-11)
        slope = fdl.vmap(fdl.grad(f, argnums=len(args) - 1))(*(v.ravel() for v in args))
        step = 1e-7 * p
        expected = (
            (getattr(reference, name)(*args[:-1], p + step) - getattr(reference, name)(*args[:-1], p - step)) / step / 2
        )
        np.testing.assert_allclose(slope, expected.ravel(), rtol=1e-5)
        edges = np.asarray(f(*(v[:1, :1, 0] for v in args[:-1]), np.array([0.0, 1.0, -0.1, 1.1, np.nan])))[0]
        end = 1.0 if name == "betaincinv" else np.inf
        np.testing.assert_array_equal(
            edges, [*((0, end) if name != "gammainccinv" else (end, 0)), np.nan, np.nan, np.nan]
        )
    by_shape = fdl.vmap(fdl.grad(special.gammaincinv))(a.ravel(), p.ravel())
    expected = (reference.gammaincinv(a + 1e-6, p) - reference.gammaincinv(a - 1e-6, p)) / 2e-6
    np.testing.assert_allclose(by_shape, expected.ravel(), rtol=1e-5)


def test_spherical_harmonics():
    n, m = (v.ravel() for v in np.meshgrid(np.arange(-1, 7), np.arange(-7, 8)))
    theta = np.array([0.0, 0.4, 1.5, 3.0, np.pi, -0.7, 4.0])[:, None]
    phi = np.linspace(-1, 7, 7)[:, None]
    found = special.sph_harm_y(n, m, theta, phi)
    np.testing.assert_allclose(np.asarray(found), reference.sph_harm_y(n, m, theta, phi), atol=1e-14)
    # Many degrees: the functions of one point sum up to (2 n + 1) / (4 pi).
    order = np.arange(-90, 91)
    power = np.sum(np.abs(np.asarray(special.sph_harm_y(90, order, np.float64(0.3) + np.zeros(181), 0.2))) ** 2)
    np.testing.assert_allclose(power, 181 / (4 * np.pi), 1e-12)
    assert special.sph_harm_y(1, 1, np.float32([0.5]), 0.1).dtype == np.complex64


def test_spherical_harmonics_have_derivatives_also_at_the_poles():
    n, m, phi = np.array([1, 2, 3, 3]), np.array([1, -1, 0, 2]), np.full(4, 0.3)
    for theta in (0.0, 0.8, np.pi):
        at = np.full(4, theta)
        by_theta, by_phi = np.moveaxis(reference.sph_harm_y(n, m, at, phi, diff_n=1)[1], -1, 0)
        for index, expected in ((0, by_theta), (1, by_phi)):
            direction = [np.ones(4) * (index == 0), np.ones(4) * (index == 1)]
            _, slope = fdl.jvp(lambda t, p: special.sph_harm_y(n, m, t, p), (at, phi), tuple(direction))
            np.testing.assert_allclose(np.asarray(slope), expected, atol=1e-13)
    cut = fdl.jit(lambda n: special.sph_harm_y(n, m, phi, phi, n_max=2))(n)
    np.testing.assert_allclose(np.asarray(cut), reference.sph_harm_y(np.minimum(n, 2), m, phi, phi), atol=1e-14)
    with pytest.raises(NotImplementedError, match="diff_n"):
        special.sph_harm_y(1, 0, 0.1, 0.2, diff_n=1)
    with pytest.raises(DtypeError, match="sph_harm_y is not defined for c64"):
        special.sph_harm_y(1, 0, 0.1j, 0.2)
    with pytest.raises(ConcretizationError, match="sph_harm_y: n_max"):
        fdl.jit(lambda n: special.sph_harm_y(n, m, phi, phi))(n)
    broken = np.asarray(special.sph_harm_y(np.array([1.5, np.nan, 2.0]), 0, 0.1, 0.2))
    assert np.isnan(broken).tolist() == [True, True, False]


def test_gamma_and_erfcx_of_complex_numbers():
    z = np.array([0.5 + 1j, -2.5 - 0.3j, 4.0 + 0j])
    np.testing.assert_allclose(np.asarray(special.gamma(z)), reference.gamma(z), 1e-12)
    np.testing.assert_allclose(np.asarray(special.erfcx(z)), reference.erfcx(z), 1e-12)
