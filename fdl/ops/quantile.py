"""Quantile functions of distributions, and how a quantile moves with a parameter, element by element."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import float32, float64
from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import abs_, div, mul, neg, sub
from fdl.ops.compare import gt
from fdl.ops.elementwise import Unary, check_elementwise
from fdl.ops.select import select
from fdl.ops.shape import all_batched, full_like
from fdl.ops.single import log1p
from fdl.ops.special import gaussian_half, igamma_grad_a, ndtr, refined
from fdl.ops.transcendental import exp


class Quantile(Primitive, abstract=True):
    """Elementwise, computed in float64."""

    arity: ClassVar[int]

    def result(self, *types: TensorType) -> TensorType:
        check_elementwise(self, types, self.arity, (float32, float64))
        return types[0]

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        return np.asarray(self.compute(*(a.astype(np.float64) for a in arrays))).astype(arrays[0].dtype)

    def compute(self, *arrays: np.ndarray) -> np.ndarray:
        """The quantiles in float64."""
        raise NotImplementedError

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*all_batched(size, args, batched))


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


class GammaSensitivity(Quantile):
    """The derivative of log(x) by a, for the quantile x(a) of the gamma distribution at a fixed probability.

    The operands are a and log(x). It is the implicit derivative -(dP/da) / (x dP/dx) of the distribution function
    P(a, x). Source: Figurnov, Mohamed, Mnih, "Implicit reparameterization gradients" (2018).
    """

    arity = 2

    def compute(self, a: np.ndarray, log_x: np.ndarray) -> np.ndarray:
        from scipy.special import digamma, gammaln

        x = np.exp(log_x)
        # Near zero P is x^a exp(-x) (1 + x / (a + 1) + ...) / gamma(a + 1).
        near_zero = -(log_x - digamma(a + 1) - x / (a + 1) ** 2) / (a * (1 - x / (a + 1)))
        elsewhere = -igamma_grad_a.reference(a, x) / np.exp(a * log_x - x - gammaln(a))
        return np.where(x < 1e-6 * (a + 1), near_zero, elsewhere)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        raise DifferentiationError("gamma numbers have no second derivative by their shape parameter")

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield GammaSensitivity(), rng.uniform(0.5, 5, (3, 4)), rng.normal(size=(3, 4))


class NormalQuantile(Unary):
    """sqrt(2) erf_inv(u) for u in (-1, 1), in single precision: turns uniform numbers into normal ones.

    Two polynomials in w = -log(1 - u**2), for the middle and for the tails. Source: Giles, "Approximating the erfinv
    function" (2010), whose error of up to 1e-5 in the tails does not matter here, while others use the same numbers.
    """

    exact = True
    domain = (float32,)

    def reference(self, x: np.ndarray) -> np.ndarray:
        flat = x.ravel()
        square = -(flat * flat)
        w = -log1p(square)
        total = _polynomial(w - np.float32(2.5), MIDDLE)
        far = np.flatnonzero((w >= 5) | (square == -1))
        if far.size:
            deep = np.sqrt(np.where(square[far] == -1, np.float32(np.inf), w[far]))
            total[far] = _polynomial(deep - np.float32(3), TAILS)
        return np.asarray(total * flat * np.float32(np.sqrt(2))).reshape(x.shape)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return mul(full_like(x, np.sqrt(np.pi / 2)), exp(mul(full_like(out, 0.5), mul(out, out))))

    def lower(self, build: Any, x: Any) -> Any:
        def number(value: float) -> Any:
            return build.constant(value, x.dtype, x.lanes)

        def polynomial(w: Any, coefficients: Sequence[Any]) -> Any:
            total, *rest = coefficients
            for coefficient in rest:
                total = build.add(coefficient, build.mul(total, w))
            return total

        square = build.neg(build.mul(x, x))
        # The same bits as log1p's, but for what is far from here; one uniform number of 300 is in the tails.
        w = build.neg(build.call("log1p_inside", square))
        middle = build.and_(build.lt(w, number(5)), build.gt(square, number(-1)))
        total = build.variable(polynomial(build.sub(w, number(2.5)), [number(c) for c in MIDDLE]))
        with build.if_(build.reduce("or", build.not_(middle)), likely=False):
            w = build.neg(build.call("log1p", square))
            tail = polynomial(build.sub(build.sqrt(w), number(3)), [number(c) for c in TAILS])
            total.set(build.select(middle, total.get(), tail))
        total = total.get()
        return build.mul(build.mul(total, x), number(np.sqrt(2)))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield NormalQuantile(), rng.uniform(-1, 1, (3, 40)).astype(np.float32)


def _polynomial(w: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    total, *rest = coefficients
    for coefficient in rest:
        total = coefficient + total * w
    return np.asarray(total)


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

gamma_sensitivity, normal_quantile, ndtri = GammaSensitivity(), NormalQuantile(), Ndtri()
