"""Hypergeometric functions, Bessel functions of whole order, and functions of complex numbers, by SciPy."""

from math import pi
from math import sqrt as _root
from typing import Any, ClassVar

import numpy as np

from fdl.core.types import TensorType
from fdl.dtypes import COMPLEX
from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import add, div, mul, sub
from fdl.ops.elementwise import Unary
from fdl.ops.shape import full_like
from fdl.ops.special import Special, in_scipy


class Hyp1f1(Special):
    """Kummer's function: the sum of (a)_k / (b)_k x**k / k!."""

    arity = 3

    def reference(self, a: np.ndarray, b: np.ndarray, x: np.ndarray) -> np.ndarray:
        return in_scipy("hyp1f1", a, b, x)

    def derivative(self, index: int, out: Any, a: Any, b: Any, x: Any) -> Any:
        if index < 2:
            return Hyp1f1Derivative(index)(a, b, x)
        one = full_like(a, 1)
        return mul(div(a, b), hyp1f1(add(a, one), add(b, one), x))


class Hyp2f1(Special):
    """Gauss' hypergeometric function: the sum of (a)_k (b)_k / (c)_k x**k / k!."""

    arity = 4

    def reference(self, a: np.ndarray, b: np.ndarray, c: np.ndarray, x: np.ndarray) -> np.ndarray:
        return in_scipy("hyp2f1", a, b, c, x)

    def derivative(self, index: int, out: Any, a: Any, b: Any, c: Any, x: Any) -> Any:
        if index < 3:
            return Hyp2f1Derivative(index)(a, b, c, x)
        one = full_like(a, 1)
        return mul(div(mul(a, b), c), hyp2f1(add(a, one), add(b, one), add(c, one), x))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.2, 0.9, shape)).astype(dtype)


class ParameterDerivative(Special, abstract=True):
    """The derivative of a function of SciPy's by one of its parameters, from four values near it in 64 bits.

    The error of the formula is the fourth power of the step: about twelve digits of 64 bits are right, and all of 32.
    """

    index: int
    function: ClassVar[str]
    #: The parameter that is divided by: zero and the negative integers are its poles.
    divisor: ClassVar[int]

    def result(self, *types: TensorType) -> TensorType:
        if not 0 <= self.index < len(types) - 1:
            raise ValueError(f"{self.function} has no parameter {self.index}")
        return super().result(*types)

    def reference(self, *xs: np.ndarray) -> np.ndarray:
        wide = [x.astype(np.float64) for x in xs]
        parameter = wide[self.index]

        def at(steps: int) -> np.ndarray:
            moved = [x + steps * step if n == self.index else x for n, x in enumerate(wide)]
            return in_scipy(self.function, *moved)

        with np.errstate(all="ignore"):
            # No step comes near a pole, far from which little changes. Powers of two are added without rounding, and to
            # large numbers no small ones.
            far = np.abs(parameter - np.minimum(np.rint(parameter), 0))
            room = np.minimum(far, np.sqrt(far)) if self.divides else 1.0
            step = np.exp2(np.floor(np.log2(np.maximum(2.0**-10 * room, 2.0**-30 * far))))
            found = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
            return np.asarray(found).astype(xs[0].dtype)

    @property
    def divides(self) -> bool:
        """Whether the derivative is by the parameter that has poles."""
        return self.index == self.divisor

    def derivative(self, index: int, out: Any, *xs: Any) -> Any:
        raise DifferentiationError(
            f"{self.function} has no second derivative by its parameters; wrap them in stop_gradient"
        )


class Hyp1f1Derivative(ParameterDerivative):
    """The derivative of hyp1f1(a, b, x) by a or b."""

    arity = 3
    function: ClassVar[str] = "hyp1f1"
    divisor: ClassVar[int] = 1

    def samples(self, rng: np.random.Generator) -> Any:
        for index in range(2):
            yield from Special.samples(Hyp1f1Derivative(index), rng)


class Hyp2f1Derivative(ParameterDerivative):
    """The derivative of hyp2f1(a, b, c, x) by a, b or c."""

    arity = 4
    function: ClassVar[str] = "hyp2f1"
    divisor: ClassVar[int] = 2

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.2, 0.9, shape)).astype(dtype)

    def samples(self, rng: np.random.Generator) -> Any:
        for index in range(3):
            yield from Special.samples(Hyp2f1Derivative(index), rng)


class BesselJ(Special, Unary):
    """The Bessel function of the first kind of a whole order."""

    order: int

    def reference(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import jv

        return np.asarray(jv(self.order, x.astype(np.float64))).astype(x.dtype)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        half = full_like(x, 0.5)
        return mul(half, sub(BesselJ(self.order - 1)(x), BesselJ(self.order + 1)(x)))

    def samples(self, rng: np.random.Generator) -> Any:
        for order in (0, 1, 5):
            yield from Special.samples(BesselJ(order), rng)


class Holomorphic(Special, Unary, abstract=True):
    """A function of complex numbers."""

    domain: ClassVar[tuple[np.dtype, ...]] = COMPLEX

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.5, 3.0, shape) + 1j * rng.uniform(0.5, 2.0, shape)).astype(dtype)


class Wofz(Holomorphic):
    """Faddeeva's function: exp(-z**2) erfc(-i z)."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("wofz", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return sub(full_like(x, 2j / _root(pi)), mul(full_like(x, 2), mul(x, out)))


class LogGamma(Holomorphic):
    """The logarithm of the gamma function, continued from the positive numbers; cut along the negative ones."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("loggamma", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        return psi(x)


class Psi(Holomorphic):
    """The derivative of the logarithm of the gamma function of complex numbers."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        return in_scipy("psi", x)

    def derivative(self, index: int, out: Any, x: Any) -> Any:
        raise DifferentiationError("digamma of complex numbers has no derivative")


hyp1f1, hyp2f1, wofz, log_gamma, psi = Hyp1f1(), Hyp2f1(), Wofz(), LogGamma(), Psi()
