"""Optimizers: named chains of transformations, ending in minus the learning rate.

Every one takes the learning rate as a number, an array or a schedule.
"""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl.optim.arguments import makes_transformation
from fdl.optim.base import GradientTransformation, ScalarOrSchedule, Tree, chain, identity, per_leaf
from fdl.optim.constraints import add_decayed_weights, scale_by_trust_ratio
from fdl.optim.masks import masked
from fdl.optim.tables import by_rows
from fdl.optim.transforms import (
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_radam,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
    trace,
)

Mask = Tree | Callable[[Tree], Tree] | None


@makes_transformation("sgd(0.5)", [-0.5, 2.0])
def sgd(
    learning_rate: ScalarOrSchedule, momentum: Any = None, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Stochastic gradient descent. Source: Robbins, Monro (1951); momentum: Polyak (1964).

    Args:
        momentum: decay of the sum of gradients; None for plain descent.
    """
    before = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(before, scale_by_learning_rate(learning_rate))


@makes_transformation("sign_sgd(0.1)", [-0.1, 0.1])
def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformation:
    """Descent along the signs of the gradients. Source: Bernstein et al. (2018)."""
    return chain(per_leaf(fnp.sign, True), scale_by_learning_rate(learning_rate))


@makes_transformation("adam(0.1)", [-0.1, 0.1])
def adam(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, *, nesterov: bool = False, sparse: Mask = None, lazy: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Adam. Source: Kingma, Ba (2015).

    Args:
        sparse: which leaves are tables, whose gradient may be :class:`fdl.Rows`: a tree of booleans that is a prefix of
            the parameters, or a function from parameters to one. A step then costs the rows with a gradient, see
            :func:`by_rows`; begin it with :func:`catch_up`, unless lazy. None: no leaf is.
        lazy: whether rows of tables without a gradient keep parameters and moments.
    """
    moments = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    whole = chain(moments, scale_by_learning_rate(learning_rate))
    return whole if sparse is None else by_rows(whole, sparse, lazy)


@makes_transformation("nadam(0.1)", [-0.147, 0.147])
def nadam(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Adam that looks one step ahead. Source: Dozat (2016)."""
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=True)


@makes_transformation("adamw(0.1, weight_decay=0.5)", [-0.15, 0.05], params="fnp.ones(2)")
def adamw(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, weight_decay: ScalarOrSchedule = 1e-4, mask: Mask = None, *, nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Adam with decoupled weight decay. Source: Loshchilov, Hutter (2019)."""
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@makes_transformation("nadamw(0.1, weight_decay=0.5)", [-0.197, 0.097], params="fnp.ones(2)")
def nadamw(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None, weight_decay: ScalarOrSchedule = 1e-4, mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """:func:`adamw` that looks one step ahead. Source: Dozat (2016)."""
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=True)


@makes_transformation("amsgrad(0.1)", [-0.1, 0.1])
def amsgrad(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    mu_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Adam whose steps never grow again. Source: Reddi, Kale, Kumar (2018)."""
    return chain(scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype), scale_by_learning_rate(learning_rate))


@makes_transformation("adamax(0.1)", [-0.1, 0.1])
def adamax(learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> GradientTransformation:
    """Adam with the maximum norm. Source: Kingma, Ba (2015)."""
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


@makes_transformation("adabelief(0.1)", [-0.111, 0.111])
def adabelief(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16, *,
    nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Adam with the variance around the mean. Source: Zhuang et al. (2020)."""
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))


@makes_transformation("radam(0.1)", [-0.1, 0.4])
def radam(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
    threshold: Any = 5.0, *, nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Rectified Adam. Source: Liu et al. (2020)."""
    moments = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(moments, scale_by_learning_rate(learning_rate))


@makes_transformation("adagrad(0.1, initial_accumulator_value=0.0)", [-0.1, 0.1])
def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7
) -> GradientTransformation:
    """Adagrad. Source: Duchi, Hazan, Singer (2011)."""
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))


@makes_transformation("adadelta()", [-0.003, 0.003])
def adadelta(
    learning_rate: ScalarOrSchedule = 1.0, rho: Any = 0.9, eps: Any = 1e-6, weight_decay: Any = 0.0,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """Adadelta. Source: Zeiler (2012).

    Args:
        eps: added under both roots.
        weight_decay: factor of the parameters, added to the gradients; a number or a schedule.
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )


@makes_transformation("rmsprop(0.1)", [-0.316, 0.316])
def rmsprop(
    learning_rate: ScalarOrSchedule, decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True, centered: bool = False, momentum: Any = None, nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:  # fmt: skip
    """RMSProp. Source: Tieleman, Hinton (2012); centered: Graves (2013).

    Args:
        centered: whether to divide by the standard deviation.
        momentum: decay of the sum of updates; None for none.
        nesterov: whether the momentum looks one step ahead.
    """
    divide = scale_by_stddev if centered else scale_by_rms
    return chain(
        divide(decay, eps, initial_scale, eps_in_sqrt, bias_correction),
        scale_by_learning_rate(learning_rate),
        identity() if momentum is None else trace(momentum, nesterov),
    )


@makes_transformation("lion(0.1)", [-0.1, 0.1])
def lion(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-3, mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """Lion. Source: Chen et al. (2023).

    Args:
        b1: weight of the momentum in the update.
        b2: decay of the momentum.
        mu_dtype: of the momentum; None is that of the parameters, at least float32.
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


@makes_transformation("lamb(0.1)", [-0.1, 0.1], params="fnp.ones(2)")
def lamb(
    learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-6, eps_root: Any = 0.0,
    weight_decay: ScalarOrSchedule = 0.0, mask: Mask = None,
) -> GradientTransformation:  # fmt: skip
    """Adam with a step per layer, for large batches. Source: You et al. (2020)."""
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


@makes_transformation()
def lars(
    learning_rate: ScalarOrSchedule, weight_decay: ScalarOrSchedule = 0.0, weight_decay_mask: Mask = True,
    trust_coefficient: Any = 0.001, eps: Any = 0.0, trust_ratio_mask: Mask = True, momentum: Any = 0.9,
    nesterov: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Momentum with a step per layer, for large batches. Source: You, Gitman, Ginsburg (2017).

    Args:
        weight_decay: factor of the parameters, added to the gradients; a number or a schedule.
        eps: added to the norm of the gradient.
        trust_ratio_mask: which leaves have a step of their own.

    >>> optimizer, params = lars(0.1, trust_coefficient=1.0), fnp.array([3.0, 4.0])
    >>> updates, state = optimizer.update(fnp.array([0.6, 0.8]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.3, -0.4]
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        masked(scale_by_trust_ratio(0.0, trust_coefficient, eps), trust_ratio_mask),
        scale_by_learning_rate(learning_rate),
        trace(momentum, nesterov),
    )
