"""Further optimizers: named chains of transformations, ending in minus the learning rate."""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl.optim.adaptive import (
    scale_by_adan,
    scale_by_ademamix,
    scale_by_adopt,
    scale_by_novograd,
    scale_by_optimistic_gradient,
    scale_by_rprop,
    scale_by_sign,
    scale_by_yogi,
)
from fdl.optim.arguments import DECAY, POSITIVE, REAL, makes_transformation
from fdl.optim.base import GradientTransformation, ScalarOrSchedule, Tree, chain
from fdl.optim.constraints import add_decayed_weights, scale_by_trust_ratio
from fdl.optim.transforms import ema, scale, scale_by_adam, scale_by_adamax, scale_by_learning_rate

Mask = Tree | Callable[[Tree], Tree] | None


@makes_transformation("adamaxw(0.1, weight_decay=0.5)", [-0.15, 0.05], params="fnp.ones(2)")
def adamaxw(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4, mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """:func:`adamax` with decoupled weight decay. Source: Loshchilov, Hutter (2019)."""
    return chain(
        scale_by_adamax(b1, b2, eps), add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate)
    )


@makes_transformation("signum(0.1)", [-0.1, 0.1], beta=DECAY)
def signum(learning_rate: ScalarOrSchedule, beta: Any = 0.9, accumulator_dtype: Any = None) -> GradientTransformation:
    """Descent along the signs of the mean of gradients. Source: Bernstein et al. (2018).

    Args:
        beta: decay of the mean.
    """
    return chain(ema(beta, False, accumulator_dtype), scale_by_sign(), scale_by_learning_rate(learning_rate))


@makes_transformation("yogi(0.1)", [-0.1, 0.1])
def yogi(learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3) -> GradientTransformation:
    """Adam whose second moment changes additively. Source: Zaheer et al. (2018)."""
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))


@makes_transformation("adan(0.1)", [-0.1, 0.1], b3=DECAY)
def adan(
    learning_rate: ScalarOrSchedule, b1: Any = 0.98, b2: Any = 0.92, b3: Any = 0.99, eps: Any = 1e-8,
    eps_root: Any = 1e-8, weight_decay: ScalarOrSchedule = 0.0, mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """Nesterov's momentum estimated from differences of gradients. Source: Xie et al. (2022).

    Args:
        b2: decay of the mean of differences.
        b3: decay of the mean of squares.
    """
    return chain(
        scale_by_adan(b1, b2, b3, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@makes_transformation("novograd(0.1)", [-0.024, 0.097])
def novograd(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.25, eps: Any = 1e-6, eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
) -> GradientTransformation:  # fmt: skip
    """Momentum of gradients divided by their norm, leaf by leaf. Source: Ginsburg et al. (2019).

    Args:
        weight_decay: factor of the parameters, inside of the momentum.
    """
    return chain(scale_by_novograd(b1, b2, eps, eps_root, weight_decay), scale_by_learning_rate(learning_rate))


@makes_transformation("rprop(0.1)", [-0.1, 0.1], eta_minus=POSITIVE, eta_plus=POSITIVE)
def rprop(
    learning_rate: Any, eta_minus: Any = 0.5, eta_plus: Any = 1.2, min_step_size: Any = 1e-6, max_step_size: Any = 50.0
) -> GradientTransformation:
    """Steps of which only the signs come from the gradients, for whole batches. Source: Riedmiller, Braun (1993).

    Args:
        learning_rate: the first size of the steps.
        eta_minus: factor of the size where the sign has changed.
        eta_plus: factor of the size where it has not.
        min_step_size: the smallest size.
        max_step_size: the largest size.
    """
    return chain(scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), scale(-1.0))


@makes_transformation("optimistic_gradient_descent(0.1)", [-0.1, 0.4], alpha=REAL, beta=REAL)
def optimistic_gradient_descent(
    learning_rate: ScalarOrSchedule, alpha: Any = 1.0, beta: Any = 1.0
) -> GradientTransformation:
    """Descent along extrapolated gradients, for games. Source: Mokhtari et al. (2019).

    Args:
        alpha: weight of the gradient.
        beta: weight of its change.
    """
    return chain(scale_by_optimistic_gradient(alpha, beta), scale_by_learning_rate(learning_rate))


@makes_transformation("optimistic_adam_v2(0.1)", [-0.147, 0.147], alpha=REAL, beta=REAL)
def optimistic_adam_v2(
    learning_rate: ScalarOrSchedule, *, alpha: Any = 1.0, beta: Any = 1.0, b1: Any = 0.9, b2: Any = 0.999,
    eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None, nesterov: bool = True,
) -> GradientTransformation:  # fmt: skip
    """Adam along extrapolated updates, for games. Source: Daskalakis et al. (2018).

    Args:
        alpha: weight of the update.
        beta: weight of its change.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(alpha, beta),
        scale_by_learning_rate(learning_rate),
    )


@makes_transformation("optimistic_adam(0.1)", [-0.147, 0.147], optimism=REAL)
def optimistic_adam(
    learning_rate: Any, optimism: Any = None, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, *, nesterov: bool = True,
) -> GradientTransformation:  # fmt: skip
    """:func:`optimistic_adam_v2` with a rate of its own for the change of updates. Source: Daskalakis et al. (2018).

    Args:
        learning_rate: number or array of no axes.
        optimism: rate of the change of updates; None is `learning_rate`.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        scale_by_optimistic_gradient(learning_rate, learning_rate if optimism is None else optimism),
        scale(-1.0),
    )


@makes_transformation(
    "ademamix(0.1)", [-0.1, 0.1], b3=DECAY._replace(schedule=True), alpha=REAL._replace(schedule=True)
)
def ademamix(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, b3: ScalarOrSchedule = 0.9999,
    alpha: ScalarOrSchedule = 5.0, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 0.0, mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """AdamW with a second, slow mean of the gradients. Source: Pagliardini, Ablin, Grangier (2024).

    Args:
        b3: decay of the slow mean; a number or a schedule.
        alpha: weight of the slow mean; a number or a schedule.
    """
    return chain(
        scale_by_ademamix(b1, b2, b3, alpha, eps, eps_root, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@makes_transformation("adopt(0.1)", [-0.0, -0.0])
def adopt(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.9999, eps: Any = 1e-6, mu_dtype: Any = None, *,
    nesterov: bool = False, use_clipping: bool = True,
) -> GradientTransformation:  # fmt: skip
    """Adam that converges with any `b2`. Source: Taniguchi et al. (2024).

    Args:
        eps: the smallest divisor.
        use_clipping: whether elements are clipped to the fourth root of the step count.
    """
    moments = scale_by_adopt(b1, b2, eps, mu_dtype, nesterov=nesterov, use_clipping=use_clipping)
    return chain(moments, scale_by_learning_rate(learning_rate))


@makes_transformation()
def fromage(learning_rate: ScalarOrSchedule, min_norm: Any = 1e-6) -> GradientTransformation:
    """Steps relative to the norms of layers. Source: Bernstein et al. (2020).

    >>> optimizer, params = fromage(0.75), fnp.array([3.0, 4.0])
    >>> updates, state = optimizer.update(fnp.array([0.6, 0.8]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-2.4, -3.2]
    """

    def shrunk(rate: Any) -> Any:
        return 1 / fnp.sqrt(1 + rate**2)

    if callable(learning_rate):
        rate, decay = lambda n: shrunk(learning_rate(n)) * learning_rate(n), lambda n: shrunk(learning_rate(n)) - 1
    else:
        rate, decay = shrunk(learning_rate) * learning_rate, lambda n: shrunk(learning_rate) - 1
    return chain(scale_by_trust_ratio(min_norm), scale_by_learning_rate(rate), add_decayed_weights(decay))
