"""Gamma, Poisson and binomial numbers and what is made of them: the bits of a peer, derivatives, ends of the ranges."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

import fdl
from fdl import random
from fdl.errors import DifferentiationError, DtypeError

# What JAX 0.10.2 draws for key(11) in float32; floats to a few ulp, since its logarithms and powers round otherwise.
DRAWS = [
    ("gamma", (0.3,), [0.606754243, 0.0924424678, 1.33064735, 0.0148305362, 0.00228539133]),
    ("gamma", (1.0,), [0.725745618, 0.102807395, 1.65100121, 0.167769343, 0.391166836]),
    ("gamma", (5.0,), [4.82022715, 2.61774945, 6.79448223, 2.97512269, 3.85702729]),
    ("gamma", (1000000.0,), [1000070.12, 998864.125, 1000864.31, 999097, 999601]),
    ("loggamma", (0.0001,), [-1609.55505, -2667.1416, -1354.203, -9243.78711, -16835.4043]),
    ("loggamma", (5.0,), [1.57282102, 0.962314963, 1.91611075, 1.0902853, 1.34989679]),
    ("beta", (0.5, 2.0), [0.527307272, 0.215888947, 0.0804304779, 0.21143797, 0.00391067751]),
    ("t", (4.0,), [-0.400220662, -0.798465431, 1.79117584, -0.659376204, 0.907742977]),
    ("chisquare", (3.0,), [2.48855948, 0.639143348, 4.74352217, 0.875726581, 1.57345331]),
    ("f", (5.0, 9.0), [0.585413933, 0.705076158, 2.35085559, 0.124318376, 0.782176256]),
    ("generalized_normal", (3.0,), [-1.02100503, 0.511074781, -0.507517397, 0.237726837, -0.0683191866]),
    ("poisson", (0.1,), [0, 0, 0, 0, 0]),
    ("poisson", (3.5,), [2, 0, 6, 4, 4]),
    ("poisson", (10.0,), [9, 8, 10, 11, 6]),
    ("poisson", (50.0,), [41, 41, 55, 46, 53]),
    ("geometric", (0.01,), [156, 396, 32, 106, 50]),
    ("geometric", (0.3,), [5, 12, 1, 3, 2]),
    ("binomial", (10.0, 0.3), [4, 4, 3, 2, 4]),
    ("binomial", (100.0, 0.9), [91, 91, 90, 89, 94]),
    ("binomial", (1000000.0, 0.3), [299457, 299399, 300306, 299730, 300194]),
    ("ball", (3, 2.0), [[0.343673885, 0.221563712, -0.743570685], [0.518541515, -0.800056696, -0.301669747]]),
]


@pytest.mark.parametrize(("name", "parameters", "expected"), DRAWS, ids=lambda v: str(v)[:20])
def test_numbers_of_a_peer(name: str, parameters: tuple[float, ...], expected: Any) -> None:
    shape = (6,) if name != "ball" else (2,)
    found = np.asarray(getattr(random, name)(random.key(11), *parameters, shape=shape))[: len(expected)]
    assert found.dtype == (np.int32 if name in ("poisson", "geometric") else np.float32)
    if name in ("poisson", "geometric", "binomial"):
        assert found.tolist() == expected
    else:
        np.testing.assert_allclose(found, expected, 2e-6)


def test_vectors_of_a_peer() -> None:
    """JAX 0.10.2, as above."""
    alpha = np.array([0.5, 1, 3], np.float32)
    expected = [[0.168670535, 0.0192274582, 0.81210202], [0.014243355, 0.0807952806, 0.904961348]]
    np.testing.assert_allclose(random.dirichlet(random.key(11), alpha, (2,)), expected, 4e-6)
    p = np.array([0.2, 0.3, 0.5], np.float32)
    assert random.multinomial(random.key(11), 50, p).tolist() == [7, 13, 30]


def test_other_dtypes_of_a_peer() -> None:
    """JAX 0.10.2; float64 with 64-bit types enabled. A parameter that is a Python number keeps all its digits."""
    key = random.key(11)
    wide = [0.018656874436603795, 0.13776146091003802, 0.03449302366863021, 7.01385204162151e-05]
    np.testing.assert_allclose(random.gamma(key, 0.4, (4,), "float64"), wide, 1e-12)
    logs = [-8445.837503105295, -6849.378458743818, -17444.29193183484]
    np.testing.assert_allclose(random.loggamma(key, 1e-4, (3,), "float64"), logs, 1e-12)
    halves = np.asarray(random.gamma(key, 0.4, (4,), "float16")).astype(float)
    np.testing.assert_allclose(halves, [1.064453125, 0.09320068359375, 0.1258544921875, 0.1602783203125], 2e-3)
    brains = np.asarray(random.gamma(key, 0.4, (4,), "bfloat16")).astype(float)
    np.testing.assert_allclose(brains, [0.59765625, 0.796875, 0.72265625, 0.2412109375], 2e-2)


@pytest.mark.parametrize("shape", [0.01, 0.1, 0.3, 0.7, 1.0, 1.5, 5.0, 100.0, 1e4])
def test_derivative_of_gamma_numbers_is_the_implicit_one(shape: float) -> None:
    """By SciPy: how the quantile of the same probability moves; from the side of the smaller tail."""
    key, a = random.key(5), np.full(40, shape)
    x = np.asarray(random.gamma(key, a, dtype="float64"))
    found = np.asarray(fdl.grad(lambda a: random.gamma(key, a, dtype="float64").sum())(a))
    step = 1e-4 * min(shape, shape**0.5)
    below, above = stats.gamma.cdf(x, a), stats.gamma.sf(x, a)

    def quantile(a: Any) -> Any:
        return np.where(below < above, stats.gamma.ppf(below, a), stats.gamma.isf(above, a))

    expected = (quantile(a + step) - quantile(a - step)) / (2 * step)
    usable = (x > 1e-20) & (expected > 0)
    assert usable.sum() > 10
    np.testing.assert_allclose(found[usable], expected[usable], 2e-5)


def test_derivative_of_logarithms_of_tiny_gamma_numbers() -> None:
    """For x near 0 the distribution function is x^a / gamma(a + 1): log(x) = (log(p) + lgamma(a + 1)) / a."""
    key, a = random.key(5), np.array([1e-5, 1e-3, 0.01])
    log_x = np.asarray(random.loggamma(key, a, dtype="float64"))
    assert (log_x < -30).all()
    found = np.asarray(fdl.grad(lambda a: random.loggamma(key, a, dtype="float64").sum())(a))
    digamma = -np.euler_gamma + np.pi**2 / 6 * a - 1.2020569 * a**2 + 1.0823232 * a**3
    np.testing.assert_allclose(found, -(log_x - digamma) / a, 1e-7)
    single = np.asarray(fdl.grad(lambda a: random.gamma(key, a).sum())(a[:2].astype(np.float32)))
    assert single.tolist() == [0, 0]  # the numbers underflow


def test_second_derivatives_are_refused() -> None:
    with pytest.raises(DifferentiationError, match="second derivative"):
        fdl.grad(fdl.grad(lambda a: random.gamma(random.key(0), a)))(2.0)


def test_ends_of_the_ranges() -> None:
    key = random.key(0)
    gammas = random.gamma(key, np.array([-1, 0, np.nan, np.inf], np.float32)).tolist()
    assert np.isnan(gammas[0]) and gammas[1] == 0 and np.isnan(gammas[2]) and gammas[3] == np.inf
    assert random.poisson(key, np.array([0, -1, np.nan], np.float32)).tolist() == [0, -1, -1]
    n, p = (
        np.array([-1, 3, np.nan, 5, 5, np.inf, 20, 7], np.float32),
        np.array([0.5, np.nan, 0.5, 0, 1, 0.3, 1.5, -0.1]),
    )
    expected = [np.nan, np.nan, np.nan, 0, 5, np.inf, np.nan, np.nan]
    np.testing.assert_array_equal(random.binomial(key, n, p.astype(np.float32)), np.array(expected, np.float32))
    assert random.geometric(key, np.float32(1), (3,)).tolist() == [1, 1, 1]
    for draw in (random.gamma, random.poisson):
        assert draw(key, np.ones((0, 3), np.float32)).shape == (0, 3)


def test_integers_have_an_integer_dtype() -> None:
    assert random.poisson(random.key(0), 3.0, (2,), "int8").dtype == np.int8
    with pytest.raises(DtypeError, match="poisson"):
        random.poisson(random.key(0), 3.0, (2,), "float32")
    with pytest.raises(DtypeError, match="geometric"):
        random.geometric(random.key(0), 0.5, (2,), "float32")


@pytest.mark.parametrize("draw", [random.gamma, random.poisson, random.loggamma], ids=lambda f: f.__name__)
def test_keys_in_batches(draw: Any) -> None:
    keys, rates = random.split(random.key(3), 5), np.arange(1, 6, dtype=np.float32)
    found = fdl.jit(fdl.vmap(lambda key, rate: draw(key, rate, (3,))))(keys, rates)
    alone = [np.asarray(draw(key, rate, (3,))) for key, rate in zip(keys, rates, strict=True)]
    np.testing.assert_allclose(found, np.stack(alone), 1e-6)


def test_gamma_numbers_of_several_blocks():
    """A number depends on the key and its place only: the first ones are those of a draw of fewer."""
    a = np.linspace(0.2, 6.0, 1201).astype(np.float32)
    drawn = np.asarray(random.gamma(random.key(3), a))
    np.testing.assert_array_equal(drawn[:500], np.asarray(random.gamma(random.key(3), a[:500])))
    np.testing.assert_array_equal(drawn[:1100], np.asarray(random.gamma(random.key(3), a[:1100])))
    assert stats.kstest(stats.gamma(a).cdf(drawn), "uniform").pvalue > 0.01
    assert random.loggamma(random.key(3), 2.0, (40, 30)).shape == (40, 30)


def test_keys_one_by_one_are_those_of_a_split() -> None:
    """Gamma numbers take them so; checks of keys that are used twice agree."""
    fdl.config.debug_key_reuse = True
    try:
        found = np.asarray(fdl.jit(lambda key: random.gamma(key, 0.5, (515,)))(random.key(3)))
    finally:
        fdl.config.debug_key_reuse = False
    keys = random.split(random.key(3), 515)
    split = fdl.vmap(lambda key: random.split(key, 3))(keys)
    for place in range(3):
        single = fdl.vmap(lambda key, place=place: random.fold_in(key, place))(keys)
        np.testing.assert_array_equal(random.key_data(single), random.key_data(split[:, place]))
    np.testing.assert_array_equal(found[:3], np.asarray(random.gamma(random.key(3), 0.5, (600,)))[:3])
    assert stats.kstest(found, stats.gamma(0.5).cdf).pvalue > 1e-4
