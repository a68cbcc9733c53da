"""Inverses of the incomplete gamma and beta functions, by SciPy."""

from typing import Any

import numpy as np

from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import div, neg
from fdl.ops.elementwise import Binary
from fdl.ops.shape import full_like
from fdl.ops.special import Special, beta_density, gamma_density, igamma_grad_a, in_scipy


class IgammaInv(Special, Binary):
    """The x at which the regularized lower incomplete gamma function P(a, x) is p."""

    def reference(self, a: np.ndarray, p: np.ndarray) -> np.ndarray:
        return in_scipy("gammaincinv", a, p)

    def derivative(self, index: int, out: Any, a: Any, p: Any) -> Any:
        density = gamma_density(a, out)
        return neg(div(igamma_grad_a(a, out), density)) if index == 0 else div(full_like(p, 1), density)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.2, 0.9, shape)).astype(dtype)


class IgammacInv(IgammaInv):
    """The x at which the regularized upper incomplete gamma function Q(a, x) is q."""

    def reference(self, a: np.ndarray, p: np.ndarray) -> np.ndarray:
        return in_scipy("gammainccinv", a, p)

    def derivative(self, index: int, out: Any, a: Any, p: Any) -> Any:
        density = gamma_density(a, out)
        return neg(div(igamma_grad_a(a, out) if index == 0 else full_like(p, 1), density))


class BetaincInv(Special):
    """The x at which the regularized incomplete beta function I_x(a, b) is p."""

    arity = 3

    def reference(self, a: np.ndarray, b: np.ndarray, p: np.ndarray) -> np.ndarray:
        return in_scipy("betaincinv", a, b, p)

    def derivative(self, index: int, out: Any, a: Any, b: Any, p: Any) -> Any:
        if index < 2:
            raise DifferentiationError("betaincinv(a, b, p) has no derivative by a and b; wrap them in stop_gradient")
        return div(full_like(p, 1), beta_density(a, b, out))

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.asarray(rng.uniform(0.2, 0.9, shape)).astype(dtype)


igamma_inv, igammac_inv, betainc_inv = IgammaInv(), IgammacInv(), BetaincInv()
