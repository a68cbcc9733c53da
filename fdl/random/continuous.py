"""Distributions with parameters.

The numbers are those that JAX draws for the same key, but for the last bits of logarithms, roots and powers.
Every function raises a DtypeError for a dtype that it cannot make, and a ShapeError for parameters that do not
broadcast to the shape asked for.
"""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import dtypes
from fdl.array import as_array
from fdl.errors import DtypeError, ShapeError
from fdl.nn.softmax import softmax
from fdl.numpy._operands import integer
from fdl.random.basic import (
    Shape,
    broadcast_shape,
    documented,
    documented_by_parameters,
    exponential,
    fitted,
    floating,
    inexact,
    normal,
    rademacher,
    to_shape,
    uniform,
)
from fdl.random.keys import Array, split, typed
from fdl.random.rejection import binomial_numbers, gamma_numbers, poisson_numbers


@documented_by_parameters
def loggamma(key: Any, a: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Logarithms of gamma numbers of scale one, accurate where the numbers themselves underflow.

    Args:
        a: shape parameter, positive; differentiable once.
        shape: of the result; None is that of a.

    Returns:
        An array of that shape and dtype. Sources: Marsaglia, Tsang, "A simple method for generating gamma variables"
        (2000); for derivatives Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients" (2018).

    >>> from fdl.random import key
    >>> loggamma(key(0), fnp.array([1e-5, 1.0])).shape
    (2,)
    """
    return _gamma("loggamma", key, a, shape, dtype)


def _gamma(name: str, key: Any, a: Any, shape: Shape | None, dtype: Any) -> Array:
    dtype, shape = floating(name, dtype), broadcast_shape(name, shape, a)
    return gamma_numbers(typed(key, name)[0], fitted(name, shape, dtype, a)[0], name == "loggamma")


@documented_by_parameters
def gamma(key: Any, a: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Gamma numbers of scale one.

    Args:
        a: shape parameter, positive; differentiable once, with the implicit derivative.

    >>> from fdl.random import key
    >>> bool(gamma(key(0), 2.0) > 0)
    True
    """
    return _gamma("gamma", key, a, shape, dtype)


@documented_by_parameters
def chisquare(key: Any, df: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Chi-square numbers with `df` degrees of freedom.

    Args:
        df: degrees of freedom, positive.

    >>> from fdl.random import key
    >>> bool(chisquare(key(0), 3.0) > 0)
    True
    """
    dtype, shape = floating("chisquare", dtype), broadcast_shape("chisquare", shape, df)
    (df,) = fitted("chisquare", shape, dtype, df)
    return 2 * fnp.exp(loggamma(key, df / 2, shape, dtype))


@documented_by_parameters
def beta(key: Any, a: Any, b: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Beta numbers.

    Args:
        a: first parameter, positive.
        b: second parameter; broadcasts with a.
        shape: of the result; None is the common shape.

    >>> from fdl.random import key
    >>> x = beta(key(0), 2.0, 3.0, (100,))
    >>> bool(fnp.all((x >= 0) & (x <= 1)))
    True
    """
    dtype, shape = floating("beta", dtype), broadcast_shape("beta", shape, a, b)
    first, second = split(typed(key, "beta")[0])
    x, y = loggamma(first, a, shape, dtype), loggamma(second, b, shape, dtype)
    top = fnp.maximum(x, y)
    x, y = fnp.exp(x - top), fnp.exp(y - top)
    return x / (x + y)


@documented_by_parameters
def dirichlet(key: Any, alpha: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Dirichlet vectors along the last axis.

    Args:
        alpha: concentrations [..., n].
        shape: of the draw without the last axis; None is ``alpha.shape[:-1]``.

    Returns:
        An array of shape ``(*shape, n)`` that sums to one along the last axis.

    Raises:
        ShapeError: alpha is a scalar, or does not fit the shape.

    >>> from fdl.random import key
    >>> round(fnp.sum(dirichlet(key(0), fnp.ones(3))).item(), 3)
    1.0
    """
    dtype, alpha = floating("dirichlet", dtype), as_array(alpha, "alpha")
    if alpha.type.ndim < 1:
        raise ShapeError(f"random.dirichlet needs concentrations alpha [..., n], got {alpha.type}")
    shape = broadcast_shape("dirichlet", shape, alpha[..., 0])
    return softmax(loggamma(key, alpha, (*shape, alpha.type.shape[-1]), dtype), -1)


@documented_by_parameters
def t(key: Any, df: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Student's t numbers with `df` degrees of freedom.

    Args:
        df: degrees of freedom, positive.

    >>> from fdl.random import key
    >>> t(key(0), 3.0, (2, 3)).shape
    (2, 3)
    """
    dtype, shape = floating("t", dtype), broadcast_shape("t", shape, df)
    first, second = split(typed(key, "t")[0])
    half = fitted("t", shape, dtype, df)[0] / 2
    return normal(first, shape, dtype) * fnp.sqrt(half / gamma(second, half, shape, dtype))


@documented_by_parameters
def f(key: Any, dfnum: Any, dfden: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """F numbers with `dfnum` and `dfden` degrees of freedom.

    Args:
        dfnum: degrees of freedom, positive.
        dfden: degrees of freedom, positive.

    >>> from fdl.random import key
    >>> bool(f(key(0), 3.0, 4.0) > 0)
    True
    """
    dtype, shape = floating("f", dtype), broadcast_shape("f", shape, dfnum, dfden)
    below, above = split(typed(key, "f")[0])
    num, den = fitted("f", shape, dtype, dfnum, dfden)
    return (chisquare(above, num, shape, dtype) / num) / (chisquare(below, den, shape, dtype) / den)


@documented_by_parameters
def poisson(key: Any, lam: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Poisson numbers.

    Args:
        lam: rate, not negative; taken as float32.
        shape: of the result; None is that of lam.
        dtype: an integer dtype, by default int32.

    Returns:
        An array of that shape and dtype; -1 where the rate is negative or NaN. Sources: Knuth, "The art of computer
        programming", volume 2, for rates below 10; Hörmann, "The transformed rejection method for generating Poisson
        random variables" (1993), for others.

    >>> from fdl.random import key
    >>> poisson(key(0), 0.0, (2,)).tolist()
    [0, 0]
    """
    dtype, shape = _integer("poisson", dtype), broadcast_shape("poisson", shape, lam)
    return poisson_numbers(typed(key, "poisson")[0], fitted("poisson", shape, dtypes.float32, lam)[0], dtype=dtype)


def _integer(name: str, dtype: Any) -> np.dtype:
    found = dtypes.as_dtype(int if dtype is None else dtype)
    if found not in dtypes.INTEGER:
        raise DtypeError(f"random.{name} makes integers, got dtype {found}")
    return found


@documented_by_parameters
def binomial(key: Any, n: Any, p: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Numbers of successes.

    Args:
        n: number of trials, rounded down.
        p: probability of success; broadcasts with n.
        shape: of the result; None is the common shape.

    Returns:
        An array of that shape and dtype; NaN where n is negative or NaN, or p is no probability. Sources: Devroye,
        "Non-uniform random variate generation" (1986), where few successes or failures are expected; Hörmann, "The
        generation of binomial random variates" (1993), elsewhere.

    >>> from fdl.random import key
    >>> binomial(key(0), 5, 1.0, (2,)).tolist()
    [5.0, 5.0]
    """
    dtype, shape = floating("binomial", dtype), broadcast_shape("binomial", shape, n, p)
    n, p = fitted("binomial", shape, _probability_dtype(p), n, p)
    return binomial_numbers(typed(key, "binomial")[0], n, p, dtype=dtype)


def _probability_dtype(p: Any) -> np.dtype:
    """The dtype of draws that a probability is compared with."""
    found = dtypes.result_type(p)
    return found if found in dtypes.FLOATING else dtypes.as_dtype(float)


@documented_by_parameters
def geometric(key: Any, p: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Numbers of trials up to the first success.

    Args:
        p: probability of success, in (0, 1].
        dtype: of the result; None is int32.

    >>> from fdl.random import key
    >>> bool(fnp.all(geometric(key(0), 0.5, (100,)) >= 1))
    True
    """
    dtype, shape = _integer("geometric", dtype), broadcast_shape("geometric", shape, p)
    (p,) = fitted("geometric", shape, _probability_dtype(p), p)
    u = uniform(key, shape, p.dtype)
    return (fnp.floor(fnp.log(fnp.where(u == 0, 1, u)) / fnp.log1p(-p)) + 1).astype(dtype)


@documented_by_parameters
def multivariate_normal(
    key: Any, mean: Any, cov: Any, shape: Shape | None = None, dtype: Any = None, method: str = "cholesky"
) -> Array:
    """Normal vectors along the last axis.

    Args:
        mean: [..., n].
        cov: covariance [..., n, n].
        shape: of the draw without the last axis; None is the common shape of the batches of mean and cov.
        dtype: a real floating dtype; None is that of mean and cov.
        method: how to take the root of cov: "cholesky", "eigh" or "svd"; the last two allow singular ones.

    Returns:
        An array of shape ``(*shape, n)``.

    Raises:
        ShapeError: mean, cov and shape do not fit.
        ValueError: the method is unknown.

    >>> from fdl.random import key
    >>> multivariate_normal(key(0), fnp.zeros(3), fnp.eye(3), (2,)).shape
    (2, 3)
    """
    if method not in ("cholesky", "eigh", "svd"):
        raise ValueError(f"random.multivariate_normal takes method 'cholesky', 'eigh' or 'svd', got {method!r}")
    mean, cov = as_array(mean, "mean"), as_array(cov, "cov")
    common = dtypes.result_type(mean.type.dtype, cov.type.dtype)
    dtype = floating("multivariate_normal", dtype or (common if dtypes.is_inexact(common) else None))
    mean, cov = mean.astype(dtype), cov.astype(dtype)
    if mean.type.ndim < 1 or cov.type.shape[-2:] != mean.type.shape[-1:] * 2:
        raise ShapeError(
            f"random.multivariate_normal needs mean [..., n] and cov [..., n, n], got {mean.type}, {cov.type}"
        )
    shape = broadcast_shape("multivariate_normal", shape, mean[..., 0], cov[..., 0, 0])
    noise = normal(key, (*shape, mean.type.shape[-1]), dtype)
    return mean + fnp.matmul(_root(cov, method), noise[..., None])[..., 0]


def _root(cov: Array, method: str) -> Array:
    if method == "cholesky":
        return fnp.linalg.cholesky(cov)
    if method == "eigh":
        w, v = fnp.linalg.eigh(cov)
        return v * fnp.sqrt(w[..., None, :])
    u, s, _ = fnp.linalg.svd(cov)
    return u * fnp.sqrt(s[..., None, :])


@documented
def orthogonal(key: Any, n: int, shape: Shape = (), dtype: Any = None, m: int | None = None) -> Array:
    """Matrices [n, m] with orthonormal rows or columns, uniformly distributed.

    Args:
        n: number of rows.
        shape: of the batch.
        dtype: floating or complex, by default float32.
        m: number of columns; None is n.

    Returns:
        An array of shape ``(*shape, n, m)``. Source: Mezzadri, "How to generate random matrices from the classical
        compact groups" (2007).

    >>> from fdl.random import key
    >>> q = orthogonal(key(0), 3)
    >>> bool(fnp.allclose(q.T @ q, fnp.eye(3), atol=1e-5))
    True
    """
    n = integer("random.orthogonal: n", n)
    dtype, columns = inexact("orthogonal", dtype), n if m is None else integer("random.orthogonal: m", m)
    z = normal(key, (*to_shape(shape), max(n, columns), min(n, columns)), dtype)
    q, r = fnp.linalg.qr(z)
    signs = fnp.sign(fnp.diagonal(r, axis1=-2, axis2=-1))
    found = q * signs[..., None, :]
    return fnp.swapaxes(found, -1, -2) if n < columns else found


@documented_by_parameters
def lognormal(key: Any, sigma: Any = 1.0, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Exponentials of normal numbers of standard deviation `sigma`.

    Args:
        sigma: standard deviation of the logarithm.
        dtype: a floating or complex dtype; None is float32.

    >>> from fdl.random import key
    >>> bool(lognormal(key(0), 0.5) > 0)
    True
    """
    dtype, shape = inexact("lognormal", dtype), broadcast_shape("lognormal", shape, sigma)
    return fnp.exp(normal(key, shape, dtype) * fitted("lognormal", shape, dtype, sigma)[0])


@documented_by_parameters
def pareto(key: Any, b: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Pareto numbers, at least one.

    Args:
        b: shape parameter, positive.

    >>> from fdl.random import key
    >>> bool(pareto(key(0), 2.0) >= 1)
    True
    """
    dtype, shape = floating("pareto", dtype), broadcast_shape("pareto", shape, b)
    return fnp.exp(exponential(key, shape, dtype) / fitted("pareto", shape, dtype, b)[0])


@documented_by_parameters
def rayleigh(key: Any, scale: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Rayleigh numbers.

    Args:
        scale: scale, not negative.

    >>> from fdl.random import key
    >>> bool(rayleigh(key(0), 2.0) >= 0)
    True
    """
    dtype, shape = floating("rayleigh", dtype), broadcast_shape("rayleigh", shape, scale)
    return fitted("rayleigh", shape, dtype, scale)[0] * fnp.sqrt(-2 * fnp.log(uniform(key, shape, dtype)))


@documented
def weibull_min(key: Any, scale: Any, concentration: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Weibull numbers.

    Args:
        scale: scale, a number or an array that broadcasts with the shape.
        concentration: shape parameter, likewise.

    >>> from fdl.random import key
    >>> bool(weibull_min(key(0), 2.0, 1.5) >= 0)
    True
    """
    exponents = exponential(key, shape, floating("weibull_min", dtype))
    return fnp.power(exponents, 1.0 / fnp.asarray(concentration)) * scale


@documented
def maxwell(key: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Maxwell numbers of scale one: lengths of normal vectors in three dimensions.

    >>> from fdl.random import key
    >>> bool(maxwell(key(0)) >= 0)
    True
    """
    vectors = normal(key, (*to_shape(shape), 3), floating("maxwell", dtype))
    return fnp.sqrt(fnp.sum(vectors * vectors, axis=-1))


@documented
def double_sided_maxwell(key: Any, loc: Any, scale: Any, shape: Shape = (), dtype: Any = None) -> Array:
    """Maxwell numbers with a random sign, scaled and moved.

    Args:
        loc: the middle.
        scale: scale; broadcasts with loc.
        shape: of the draw, in front of the common shape of loc and scale.

    Returns:
        An array of that dtype.

    >>> from fdl.random import key
    >>> double_sided_maxwell(key(0), 0.0, 1.0, (2, 3)).shape
    (2, 3)
    """
    common = broadcast_shape("double_sided_maxwell", None, loc, scale)
    shape = (*(to_shape(shape) or common), *common)
    first, second = split(typed(key, "double_sided_maxwell")[0])
    return (
        rademacher(second, shape, floating("double_sided_maxwell", dtype)) * maxwell(first, shape, dtype) * scale + loc
    )


@documented_by_parameters
def wald(key: Any, mean: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Inverse Gaussian numbers of scale one. Source: Michael, Schucany, Haas (1976).

    Args:
        mean: mean, positive.

    >>> from fdl.random import key
    >>> bool(wald(key(0), 2.0) > 0)
    True
    """
    dtype, shape = floating("wald", dtype), broadcast_shape("wald", shape, mean)
    first, second = split(typed(key, "wald")[0])
    (mean,) = fitted("wald", shape, dtype, mean)
    square = normal(first, shape, dtype) ** 2
    root = fnp.sqrt(4 * mean * square + mean**2 * square**2)
    x = mean + mean**2 * square / 2 - mean / 2 * root
    return fnp.where(uniform(second, shape, dtype) <= mean / (mean + x), x, mean**2 / x)


@documented_by_parameters
def triangular(key: Any, left: Any, mode: Any, right: Any, shape: Shape | None = None, dtype: Any = None) -> Array:
    """Numbers whose density rises from `left` to `mode` and falls to `right`.

    Args:
        left: lower end.
        mode: the peak of the density.
        right: upper end; all three broadcast.

    >>> from fdl.random import key
    >>> x = triangular(key(0), 0.0, 1.0, 3.0, (100,))
    >>> bool(fnp.all((x >= 0) & (x <= 3)))
    True
    """
    dtype, shape = floating("triangular", dtype), broadcast_shape("triangular", shape, left, mode, right)
    left, mode, right = fitted("triangular", shape, dtype, left, mode, right)
    u, span = uniform(key, shape, dtype), right - left
    rising = left + fnp.sqrt(u * span * (mode - left))
    falling = right - fnp.sqrt((1 - u) * span * (right - mode))
    return fnp.where(u < (mode - left) / span, rising, falling)


@documented
def generalized_normal(key: Any, p: float, shape: Shape = (), dtype: Any = None) -> Array:
    """Numbers with density proportional to exp(-|x|**p).

    Args:
        p: exponent, positive; 2 gives normal numbers of variance one half.

    >>> from fdl.random import key
    >>> generalized_normal(key(0), 1.5, (2, 3)).shape
    (2, 3)
    """
    first, second = split(typed(key, "generalized_normal")[0])
    dtype, shape = floating("generalized_normal", dtype), to_shape(shape)
    p = as_array(p, "the p of random.generalized_normal")
    return rademacher(second, shape, dtype) * gamma(first, 1 / p, shape, dtype) ** (1 / p)


@documented
def ball(key: Any, d: int, p: float = 2, shape: Shape = (), dtype: Any = None) -> Array:
    """Points in the unit ball of the p-norm in d dimensions. Source: Barthe, Guédon, Mendelson, Naor (2005).

    Args:
        d: number of dimensions.
        p: of the norm, positive.
        shape: of the draw without the last axis.

    Returns:
        An array of shape ``(*shape, d)``.

    >>> from fdl.random import key
    >>> points = ball(key(0), 3, shape=(100,))
    >>> bool(fnp.all(fnp.linalg.norm(points, axis=-1) <= 1.0001))
    True
    """
    first, second = split(typed(key, "ball")[0])
    dtype, shape = floating("ball", dtype), to_shape(shape)
    points = generalized_normal(first, p, (*shape, d), dtype)
    total = fnp.sum(fnp.abs(points) ** p, axis=-1) + exponential(second, shape, dtype)
    return points / (total ** (1 / p))[..., None]
