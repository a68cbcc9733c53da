"""Gamma, Poisson and binomial numbers, which take a random number of trials each.

All elements try at once until the last one has succeeded, or those of a block where blocks give the same numbers. The
numbers are those that JAX draws for the same key: the algorithms, the order in which keys are split, and the dtypes are
the same. A gamma number depends on the key and its place only; Poisson and binomial numbers that are made by rejection
are those of the last trial that succeeded, and so depend on how many trials the whole array needs.
"""

import math
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import dtypes, lax
from fdl.api.custom import custom_jvp
from fdl.api.jit import jit
from fdl.api.vmap import vmap
from fdl.config import config
from fdl.ops.arithmetic import stop_gradient
from fdl.ops.quantile import gamma_sensitivity
from fdl.ops.random_bits import key_unwrap, key_wrap
from fdl.random.basic import exponential, normal, uniform
from fdl.random.keys import Array, fold_in, split

#: Gamma numbers that are drawn together: the slowest of a few needs fewer trials than that of all. One trial of so many
#: is still enough work for threads to divide.
_BLOCK = 512


def _again(key: Array) -> Array:
    """The same key, for the other of two methods, of which one gives each number: that is no reuse."""
    return key_wrap(key_unwrap(key))


def _keys(key: Array, count: int) -> Array | list[Array]:
    """The keys of `split`, for one key of many: each by itself, so that loops run along the many and not the few."""
    return [fold_in(key, place) for place in range(count)] if config.threefry_partitionable else split(key, count)


def gamma_numbers(key: Array, a: Array, log: bool) -> Array:
    """Gamma numbers of scale one, or their logarithms, with implicit derivatives by `a`.

    Args:
        key: one key.
        a: shape parameters in the shape and dtype of the result.
        log: whether to return logarithms.
    """
    drawn = stop_gradient(_gamma_draws(key, stop_gradient(a), log))
    return _with_log_derivative(a, drawn) if log else _with_derivative(a, drawn)


def _gamma_draws(key: Array, a: Array, log: bool) -> Array:
    if not a.type.size:
        return a
    draw, size, numbers = _log_gammas if log else _gammas, a.type.size, fnp.ravel(a)
    # Key i depends on `key` and i only where the layout is partitionable, so that the last block may be filled up.
    whole = -(-size // _BLOCK) * _BLOCK if config.threefry_partitionable else size
    if size <= _BLOCK or whole % _BLOCK:
        return draw(split(key, size), numbers).reshape(a.type.shape)
    blocks = split(key, whole).reshape(-1, _BLOCK), fnp.pad(numbers, (0, whole - size), constant_values=1)
    drawn = lax.map(lambda block: draw(*block), (blocks[0], blocks[1].reshape(-1, _BLOCK)))
    return drawn.ravel()[:size].reshape(a.type.shape)


@jit
def _gammas(keys: Array, a: Array) -> Array:
    def one(key: Array, a: Array) -> Array:
        trials, boost = _keys(key, 2)
        # A gamma number of shape a < 1 is one of shape a + 1 times a power of a uniform number.
        factor = fnp.where(a >= 1, fnp.ones_like(a), (1 - uniform(boost, (), a.dtype)) ** (1 / a))
        d, v = _marsaglia(trials, a)
        return d * v * factor

    return vmap(one)(keys, a)


@jit
def _log_gammas(keys: Array, a: Array) -> Array:
    def one(key: Array, a: Array) -> Array:
        trials, boost = _keys(key, 2)
        log_uniform = -exponential(boost, (), a.dtype)
        d, v = _marsaglia(trials, a)
        added = fnp.where((a >= 1) | (log_uniform == 0), fnp.zeros_like(a), log_uniform * (1 / a))
        return fnp.log(d) + fnp.log(v) + added

    return vmap(one)(keys, a)


def _marsaglia(key: Array, a: Array) -> tuple[Array, Array]:
    """d and v, whose product is a gamma number of shape a, or of a + 1 if a < 1.

    Source: Marsaglia, Tsang, "A simple method for generating gamma variables" (2000), with the squeeze of section 4.
    """
    dtype = a.dtype

    def number(value: float) -> Array:
        return fnp.asarray(value, dtype)

    d = fnp.where(a >= 1, a, a + 1) - number(1 / 3)
    c = number(1 / 3) / fnp.sqrt(d)

    def positive(key: Array) -> tuple[Array, Array]:
        """A normal number x with 1 + c x > 0, and that."""

        def draw(state: Any) -> Any:
            key, draw = _keys(state[0], 2)
            x = normal(draw, (), dtype)
            return key, x, 1 + x * c

        return lax.while_loop(lambda state: state[2] <= 0, draw, (key, number(0), number(-1)))[1:]

    def refused(state: Any) -> Array:
        _, x2, v, u = state
        log_density = x2 * number(0.5) + d * (1 - v + fnp.log(v))
        return (u >= 1 - number(0.0331) * (x2 * x2)) & (fnp.log(u) >= log_density)

    def trial(state: Any) -> Any:
        key, for_x, for_u = _keys(state[0], 3)
        x, v = positive(for_x)
        return key, x * x, v * v * v, uniform(for_u, (), dtype)

    # The first state is refused.
    return d, lax.while_loop(refused, trial, (key, number(0), number(1), number(2)))[2]


@custom_jvp
def _with_derivative(a: Array, x: Array) -> Array:
    """`x`, as a gamma number of shape `a`."""
    return x


@_with_derivative.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (a, x), (da, dx) = primals, tangents
    # Numbers that underflow to zero do not move.
    slope = fnp.where(x == 0, 0, x * _sensitivity(a, fnp.log(fnp.where(x == 0, 1, x).astype(dtypes.float64))))
    return x, dx + slope * da


@custom_jvp
def _with_log_derivative(a: Array, log_x: Array) -> Array:
    """`log_x`, as the logarithm of a gamma number of shape `a`."""
    return log_x


@_with_log_derivative.defjvp
def _(primals: Any, tangents: Any) -> Any:
    (a, log_x), (da, dx) = primals, tangents
    return log_x, dx + _sensitivity(a, log_x) * da


def _sensitivity(a: Array, log_x: Array) -> Array:
    """The derivative of log_x by a, in the dtype of a."""
    return gamma_sensitivity(a.astype(dtypes.float64), log_x.astype(dtypes.float64)).astype(a.dtype)


@jit(static_argnames=("dtype",))
def poisson_numbers(key: Array, rate: Array, dtype: np.dtype) -> Array:
    """Poisson numbers.

    Args:
        key: one key.
        rate: float32 in the shape of the result; negative ones and NaN give -1.
        dtype: an integer dtype.
    """
    few = fnp.isnan(rate) | (rate < 10)
    # Each method runs on rates that the other is for as well, where it is quick.
    counted = _poisson_by_counting(key, fnp.where(few, rate, 0), dtype)
    many = fnp.where(few, fnp.float32(1e5), rate)
    rejected = _poisson_by_rejection(_again(key), many, ~fnp.all(few), dtype)
    found = fnp.where(few, counted, rejected)
    return fnp.where(rate == 0, fnp.zeros_like(found), found)


def _poisson_by_counting(key: Array, rate: Array, dtype: np.dtype) -> Array:
    """How many uniform numbers have a product above exp(-rate). Source: Knuth, volume 2, section 3.4.1."""

    def draw(state: Any) -> Any:
        count, key, log_product = state
        key, now = split(key)
        count = fnp.where(log_product > -rate, count + 1, count)
        return count, key, log_product + fnp.log(uniform(now, rate.shape, dtypes.float32))

    start = fnp.zeros(rate.shape, dtype), key, fnp.zeros(rate.shape, dtypes.float32)
    return lax.while_loop(lambda state: fnp.any(state[2] > -rate), draw, start)[0] - 1


def _poisson_by_rejection(key: Array, rate: Array, wanted: Array, dtype: np.dtype) -> Array:
    """Numbers that mean something if they are `wanted` at all.

    Source: Hörmann, "The transformed rejection method for generating Poisson random variables" (1993), PTRS.
    """
    log_rate = fnp.log(rate)
    b = 0.931 + 2.53 * fnp.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    certain = 0.9277 - 3.6224 / (b - 2)

    def trial(state: Any) -> Any:
        found, done, key = state
        key, for_u, for_v = split(key, 3)
        u = uniform(for_u, rate.shape, rate.dtype) - 0.5
        v = uniform(for_v, rate.shape, rate.dtype)
        inside = 0.5 - fnp.abs(u)
        k = fnp.floor((2 * a / inside + b) * u + rate + 0.43)
        density = fnp.log(v * inverse_alpha / (a / (inside * inside) + b))
        quick = (inside >= 0.07) & (v <= certain)
        out = (k < 0) | ((inside < 0.013) & (v > inside))
        accepted = quick | (~out & (density <= -rate + k * log_rate - lax.lgamma(k + 1)))
        return fnp.where(accepted, k, found), done | accepted, key

    start = fnp.full(rate.shape, -1, rate.dtype), fnp.zeros(rate.shape, bool), key
    return lax.while_loop(lambda state: wanted & ~fnp.all(state[1]), trial, start)[0].astype(dtype)


@jit(static_argnames=("dtype",))
def binomial_numbers(key: Array, n: Array, p: Array, dtype: np.dtype) -> Array:
    """Binomial numbers; NaN for invalid parameters, and infinity for infinitely many trials.

    Args:
        key: one key.
        n: numbers of trials, in the shape of the result.
        p: probabilities of success, in the same shape and floating dtype.
        dtype: a floating dtype.
    """
    rare = p < 0.5
    q = fnp.where(rare, p, 1 - p)
    no_count, endless = fnp.isnan(n) | (n < 0), fnp.isinf(n)
    invalid = no_count | fnp.isnan(q) | (q < 0)
    q = fnp.where(fnp.isnan(q) | (q < 0), 0.01, q)
    few = no_count | (n * q <= 10)
    n = fnp.floor(n)
    # Each method runs on parameters that are quick where the other's result is taken.
    counted = _binomial_by_counting(key, fnp.where(few, n, 0), q)
    other = few | endless
    rejected = _binomial_by_rejection(
        _again(key), fnp.where(other, 1e4, n), fnp.where(other, 0.5, q), ~fnp.all(other | invalid)
    )
    found = fnp.where(few, counted, rejected).astype(dtype)
    found = fnp.where(invalid, np.nan, fnp.where(endless, np.inf, found))
    return fnp.where(rare | no_count | fnp.isnan(p) | endless, found, n.astype(dtype) - found)


def _binomial_by_counting(key: Array, n: Array, q: Array) -> Array:
    """How many geometric numbers have a sum of n or less. Source: Devroye, chapter X, section 4.3 (1986)."""
    log_failure = fnp.log1p(-q)

    def draw(state: Any) -> Any:
        count, total, key = state
        now, key = split(key)
        count = fnp.where(total <= n, count + 1, count)
        return count, total + fnp.ceil(fnp.log(uniform(now, q.shape, q.dtype)) / log_failure), key

    start = fnp.zeros_like(q), fnp.zeros_like(q), key
    return lax.while_loop(lambda state: fnp.any(state[1] <= n), draw, start)[0] - 1


def _binomial_by_rejection(key: Array, n: Array, q: Array, wanted: Array) -> Array:
    """Numbers that mean something if they are `wanted` at all.

    Source: Hörmann, "The generation of binomial random variates" (1993), BTRS.
    """
    deviation = fnp.sqrt(n * q * (1 - q))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * q
    c = n * q + 0.5
    certain = 0.92 - 4.2 / b
    odds = q / (1 - q)
    alpha = (2.83 + 5.1 / b) * deviation
    mode = fnp.floor((n + 1) * q)

    def trial(state: Any) -> Any:
        found, done, key = state
        key, for_u, for_v = split(key, 3)
        u = uniform(for_u, q.shape, q.dtype)
        v = uniform(for_v, q.shape, q.dtype)
        u = u - 0.5
        inside = 0.5 - fnp.abs(u)
        quick = (inside >= 0.07) & (v <= certain)
        k = fnp.floor((2 * a / inside + b) * u + c)
        out = (k < 0) | (k > n)
        density = fnp.log(v * alpha / (a / (inside * inside) + b))
        bound = (
            (mode + 0.5) * fnp.log((mode + 1) / (odds * (n - mode + 1)))
            + (n + 1) * fnp.log((n - mode + 1) / (n - k + 1))
            + (k + 0.5) * fnp.log(odds * (n - k + 1) / (k + 1))
            + _stirling_rest(mode)
            + _stirling_rest(n - mode)
            - _stirling_rest(k)
            - _stirling_rest(n - k)
        )
        accepted = quick | (~out & (density <= bound))
        return fnp.where(accepted, k, found), done | accepted, key

    start = fnp.full_like(q, -1), fnp.zeros(q.shape, bool), key
    return lax.while_loop(lambda state: wanted & ~fnp.all(state[1]), trial, start)[0]


def _stirling_rest(k: Array) -> Array:
    """log k! minus Stirling's formula for k + 1, for whole k of 0 or more.

    Beyond 9 it is the value at 9, as in JAX, which moves the bound by less than 0.009.
    """
    return fnp.asarray(_STIRLING, k.dtype)[fnp.clip(k, 0, 9).astype(int)]


_STIRLING = tuple(
    math.lgamma(k + 1) - (k + 0.5) * math.log(k + 1) + (k + 1) - math.log(2 * math.pi) / 2 for k in range(10)
)
