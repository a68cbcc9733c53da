"""Quantile functions of distributions that are drawn by inversion, element by element."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import float32, float64
from fdl.ops.arithmetic import add, div, mul, neg, sub
from fdl.ops.elementwise import check_elementwise
from fdl.ops.shape import all_batched, full_like
from fdl.ops.special import igamma_grad_a, lgamma
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


gamma_quantile, poisson_quantile, binomial_quantile = GammaQuantile(), PoissonQuantile(), BinomialQuantile()
