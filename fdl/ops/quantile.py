"""Quantile functions of distributions that are drawn by inversion, element by element."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import float32, float64
from fdl.ops.arithmetic import abs_, add, div, mul, neg, sub
from fdl.ops.compare import gt
from fdl.ops.elementwise import Unary, check_elementwise
from fdl.ops.select import select
from fdl.ops.shape import all_batched, full_like
from fdl.ops.special import gaussian_half, igamma_grad_a, lgamma, ndtr, refined
from fdl.ops.transcendental import exp, log


class Quantile(Primitive, abstract=True):
    """Elementwise, of parameters and a probability, which is the last operand; computed in float64."""

    arity: ClassVar[int] = 2

    def result(self, *types: TensorType) -> TensorType:
        check_elementwise(self, types, self.arity, (float32, float64))
        return types[0]

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        return np.asarray(self.compute(*(a.astype(np.float64) for a in arrays))).astype(arrays[0].dtype)

    def compute(self, *arrays: np.ndarray) -> np.ndarray:
        """The quantiles in float64."""
        raise NotImplementedError

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), None

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*all_batched(size, args, batched))


class GammaQuantile(Quantile):
    """The x with P(a, x) = p, where P is the regularized lower incomplete gamma function.

    Its derivatives are the implicit ones, -(dP/da) / (dP/dx) and 1 / (dP/dx); see Figurnov, Mohamed, Mnih, "Implicit
    reparameterization gradients" (2018).
    """

    def compute(self, a: np.ndarray, p: np.ndarray) -> np.ndarray:
        from scipy.special import gammaincinv

        return gammaincinv(a, p)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a, _), (da, dp) = primals, tangents
        x = self(*primals)
        density = exp(sub(mul(sub(a, full_like(a, 1)), log(x)), add(x, lgamma(a))))
        by_shape = None if da is None else neg(mul(igamma_grad_a(a, x), da))
        total = by_shape if dp is None else dp if by_shape is None else add(dp, by_shape)
        return x, div(total, density)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield GammaQuantile(), rng.uniform(0.5, 5, (3, 4)), rng.uniform(0.1, 0.9, (3, 4))


class Ndtri(Quantile):
    """The x at which the standard normal distribution function is p."""

    arity = 1

    def compute(self, p: np.ndarray) -> np.ndarray:
        from scipy.special import ndtri

        return ndtri(p)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (p,) = primals
        x = self(p)
        rough = div(full_like(x, np.sqrt(2 * np.pi)), gaussian_half(x))
        # What is left of p after ndtr(x), from the nearer end, tells how far x is rounded.
        upper = gt(x, full_like(x, 0))
        end = select(upper, sub(full_like(x, 1), p), p)
        return x, mul(refined(rough, mul(abs_(x), sub(ndtr(neg(abs_(x))), end))), tangents[0])

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield Ndtri(), rng.uniform(0.05, 0.95, (3, 4))


class PoissonQuantile(Quantile):
    """The smallest count whose cumulative probability at a rate is p or more."""

    def compute(self, rate: np.ndarray, p: np.ndarray) -> np.ndarray:
        from scipy.special import pdtr, pdtrik

        count = np.ceil(np.where(rate > 0, pdtrik(p, rate), 0))
        below = np.maximum(count - 1, 0)
        return np.where(pdtr(below, rate) >= p, below, count)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield PoissonQuantile(), rng.integers(0, 20, (3, 4)).astype(np.float64), rng.uniform(size=(3, 4))


class BinomialQuantile(Quantile):
    """The smallest count of successes in n trials of probability q whose cumulative probability is p or more."""

    arity = 3

    def compute(self, n: np.ndarray, q: np.ndarray, p: np.ndarray) -> np.ndarray:
        from scipy.stats import binom

        return binom.ppf(p, n, q)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield BinomialQuantile(), np.full((5,), 9.0), rng.uniform(size=5), rng.uniform(size=5)


class NormalQuantile(Unary):
    """sqrt(2) erf_inv(u) for u in (-1, 1), in single precision: turns uniform numbers into normal ones.

    Two polynomials in w = -log(1 - u**2), for the middle and for the tails. Source: Giles, "Approximating the erfinv
    function" (2010), whose error of up to 1e-5 in the tails does not matter here, while others use the same numbers.
    """

    domain = (float32,)

    def reference(self, x: np.ndarray) -> np.ndarray:
        w = -np.log1p(-(x * x))
        middle = w < 5
        w = np.where(middle, w - np.float32(2.5), np.sqrt(w) - np.float32(3)).astype(np.float64)
        each = (-1,) + (1,) * x.ndim
        first, *rest = np.where(middle, MIDDLE.reshape(each), TAILS.reshape(each))
        total = np.asarray(first)
        for coefficient in rest:
            # Rounded once per step, as a fused multiply-add does: w has double precision.
            total = (coefficient + total * w).astype(np.float32)
        return np.asarray(total * x * np.float32(np.sqrt(2)))

    def slope(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, np.sqrt(np.pi / 2)), exp(mul(full_like(out, 0.5), mul(out, out))))

    def lower(self, build: Any, x: Any) -> Any:
        def number(value: float) -> Any:
            return build.constant(value, x.dtype, x.lanes)

        w = build.neg(build.call("log1p", build.neg(build.mul(x, x))))
        middle = build.lt(w, number(5))
        w = build.select(middle, build.sub(w, number(2.5)), build.sub(build.sqrt(w), number(3)))
        total = build.select(middle, number(MIDDLE[0]), number(TAILS[0]))
        for a, b in zip(MIDDLE[1:], TAILS[1:], strict=True):
            total = build.add(build.select(middle, number(a), number(b)), build.mul(total, w))
        return build.mul(build.mul(total, x), number(np.sqrt(2)))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield NormalQuantile(), rng.uniform(-1, 1, (3, 40)).astype(np.float32)


#: Coefficients of the polynomials, from the highest power of w down: (middle, tails).
COEFFICIENTS = (
    (2.81022636e-08, -2.00214257e-04),
    (3.43273939e-07, 1.00950558e-04),
    (-3.5233877e-06, 1.34934322e-03),
    (-4.39150654e-06, -3.67342844e-03),
    (2.1858087e-04, 5.73950773e-03),
    (-1.25372503e-03, -7.6224613e-03),
    (-4.17768164e-03, 9.43887047e-03),
    (0.246640727, 1.00167406),
    (1.50140941, 2.83297682),
)
MIDDLE, TAILS = np.array(COEFFICIENTS, np.float32).T

gamma_quantile, normal_quantile, ndtri = GammaQuantile(), NormalQuantile(), Ndtri()
poisson_quantile, binomial_quantile = PoissonQuantile(), BinomialQuantile()
