"""Optimizers: named chains of transformations, ending in minus the learning rate.

Every one takes the learning rate as a number, an array or a schedule.
"""

from collections.abc import Callable
from typing import Any

import fdl.numpy as fnp
from fdl.optim.base import GradientTransformation, ScalarOrSchedule, Tree, chain, identity, masked, per_leaf
from fdl.optim.constraints import add_decayed_weights, scale_by_trust_ratio
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


def sgd(
    learning_rate: ScalarOrSchedule, momentum: Any = None, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Stochastic gradient descent. Source: Robbins, Monro (1951); momentum: Polyak (1964).

    Args:
        learning_rate: number or schedule.
        momentum: decay of the sum of gradients; None for plain descent.
        nesterov: whether to look one step ahead.
        accumulator_dtype: of the sum of gradients; None is that of the parameters, at least float32.

    Returns:
        A pair of pure functions.

    >>> optimizer = sgd(0.5)
    >>> params = {"w": fnp.ones(2)}
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update({"w": fnp.array([1.0, 2.0])}, state, params)
    >>> updates["w"].tolist()
    [-0.5, -1.0]
    """
    before = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(before, scale_by_learning_rate(learning_rate))


def sign_sgd(learning_rate: ScalarOrSchedule) -> GradientTransformation:
    """Descent along the signs of the gradients. Source: Bernstein et al. (2018).

    Args:
        learning_rate: number, array or schedule.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = sign_sgd(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.1]
    """
    return chain(per_leaf(fnp.sign, True), scale_by_learning_rate(learning_rate))


def adam(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    sparse: Mask = None,
    lazy: bool = False,
) -> GradientTransformation:
    """Adam. Source: Kingma, Ba (2015).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.
        eps_root: added under the root.
        mu_dtype: of the first moment; None is that of the parameters, at least float32.
        nesterov: whether to look one step ahead.
        sparse: which leaves are tables, whose gradient may be :class:`fdl.Rows`: a tree of booleans that is a prefix of
            the parameters, or a function from parameters to one. A step then costs the rows with a gradient, see
            :func:`by_rows`; begin it with :func:`catch_up`, unless lazy. None: no leaf is.
        lazy: whether rows of tables without a gradient keep parameters and moments.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = adam(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.1]
    """
    moments = scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)
    whole = chain(moments, scale_by_learning_rate(learning_rate))
    return whole if sparse is None else by_rows(whole, sparse, lazy)


def nadam(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam that looks one step ahead. Source: Dozat (2016).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.
        eps_root: added under the root.
        mu_dtype: of the first moment; None is that of the parameters, at least float32.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = nadam(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.147, 0.147]
    """
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=True)


def adamw(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask = None,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam with decoupled weight decay. Source: Loshchilov, Hutter (2019).

    Args:
        learning_rate: number or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment.
        eps_root: added under the root.
        mu_dtype: of the first moment; None is that of the parameters, at least float32.
        weight_decay: factor of the parameters, before the learning rate.
        mask: which leaves decay (see :func:`masked`); None is all.
        nesterov: whether to look one step ahead.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = adamw(0.1, weight_decay=0.5), fnp.ones(1)
    >>> updates, state = optimizer.update(fnp.ones(1), optimizer.init(params), params)
    >>> round(updates.item(), 3)
    -0.15
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def nadamw(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: Mask = None,
) -> GradientTransformation:
    """:func:`adamw` that looks one step ahead. Source: Dozat (2016).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.
        eps_root: added under the root.
        mu_dtype: of the first moment; None is that of the parameters, at least float32.
        weight_decay: factor of the parameters, before the learning rate; a number or a schedule.
        mask: which leaves decay, as in :func:`masked`; None is all.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = nadamw(0.1, weight_decay=0.5), fnp.ones(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.197, 0.097]
    """
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=True)


def amsgrad(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
) -> GradientTransformation:
    """Adam whose steps never grow again. Source: Reddi, Kale, Kumar (2018).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.
        eps_root: added under the root.
        mu_dtype: of the first moment; None is that of the parameters, at least float32.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = amsgrad(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.1]
    """
    return chain(scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype), scale_by_learning_rate(learning_rate))


def adamax(learning_rate: ScalarOrSchedule, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> GradientTransformation:
    """Adam with the maximum norm. Source: Kingma, Ba (2015).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = adamax(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.1]
    """
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adabelief(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-16,
    eps_root: Any = 1e-16,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Adam with the variance around the mean. Source: Zhuang et al. (2020).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.
        eps_root: added under the root.
        nesterov: whether to look one step ahead.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = adabelief(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.111, 0.111]
    """
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))


def radam(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    threshold: Any = 5.0,
    *,
    nesterov: bool = False,
) -> GradientTransformation:
    """Rectified Adam. Source: Liu et al. (2020).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.
        eps_root: added under the root.
        threshold: length of the average from which the second moment is used.
        nesterov: whether to look one step ahead.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = radam(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.4]
    """
    moments = scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov)
    return chain(moments, scale_by_learning_rate(learning_rate))


def adagrad(
    learning_rate: ScalarOrSchedule, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7
) -> GradientTransformation:
    """Adagrad. Source: Duchi, Hazan, Singer (2011).

    Args:
        learning_rate: number, array or schedule.
        initial_accumulator_value: first value of the sum of squares.
        eps: added to the divisor, against zero.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = adagrad(0.1, initial_accumulator_value=0.0), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.1]
    """
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))


def adadelta(
    learning_rate: ScalarOrSchedule = 1.0,
    rho: Any = 0.9,
    eps: Any = 1e-6,
    weight_decay: Any = 0.0,
    weight_decay_mask: Mask = None,
) -> GradientTransformation:
    """Adadelta. Source: Zeiler (2012).

    Args:
        learning_rate: number, array or schedule.
        rho: decay of both means of squares.
        eps: added under both roots.
        weight_decay: factor of the parameters, added to the gradients.
        weight_decay_mask: which leaves decay, as in :func:`masked`; None is all.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = adadelta(), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 4) for u in updates.tolist()]
    [-0.0032, 0.0032]
    """
    return chain(
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_adadelta(rho, eps),
        scale_by_learning_rate(learning_rate),
    )


def rmsprop(
    learning_rate: ScalarOrSchedule,
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Any = None,
    nesterov: bool = False,
    bias_correction: bool = False,
) -> GradientTransformation:
    """RMSProp. Source: Tieleman, Hinton (2012); centered: Graves (2013).

    Args:
        learning_rate: number or schedule.
        decay: of the mean of squares.
        eps: keeps the divisor from zero.
        initial_scale: first value of the mean of squares.
        eps_in_sqrt: whether `eps` is added under the root.
        centered: whether to divide by the standard deviation.
        momentum: of the updates; None for none.
        nesterov: whether the momentum looks one step ahead.
        bias_correction: whether the means are corrected for their first values.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = rmsprop(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.316, 0.316]
    """
    divide = scale_by_stddev if centered else scale_by_rms
    return chain(
        divide(decay, eps, initial_scale, eps_in_sqrt, bias_correction),
        scale_by_learning_rate(learning_rate),
        identity() if momentum is None else trace(momentum, nesterov),
    )


def lion(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.99,
    mu_dtype: Any = None,
    weight_decay: ScalarOrSchedule = 1e-3,
    mask: Mask = None,
) -> GradientTransformation:
    """Lion. Source: Chen et al. (2023).

    Args:
        learning_rate: number, array or schedule.
        b1: weight of the momentum in the update.
        b2: decay of the momentum.
        mu_dtype: of the momentum; None is that of the parameters, at least float32.
        weight_decay: factor of the parameters, before the learning rate; a number or a schedule.
        mask: which leaves decay, as in :func:`masked`; None is all.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = lion(0.1), fnp.zeros(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.1]
    """
    return chain(
        scale_by_lion(b1, b2, mu_dtype),
        add_decayed_weights(weight_decay, mask),
        scale_by_learning_rate(learning_rate),
    )


def lamb(
    learning_rate: ScalarOrSchedule,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-6,
    eps_root: Any = 0.0,
    weight_decay: ScalarOrSchedule = 0.0,
    mask: Mask = None,
) -> GradientTransformation:
    """Adam with a step per layer, for large batches. Source: You et al. (2020).

    Args:
        learning_rate: number, array or schedule.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the divisor, against zero.
        eps_root: added under the root.
        weight_decay: factor of the parameters, before the learning rate; a number or a schedule.
        mask: which leaves decay, as in :func:`masked`; None is all.

    Returns:
        A pair of pure functions.

    >>> optimizer, params = lamb(0.1), fnp.ones(2)
    >>> updates, state = optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(params), params)
    >>> [round(u, 3) for u in updates.tolist()]
    [-0.1, 0.1]
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root),
        add_decayed_weights(weight_decay, mask),
        scale_by_trust_ratio(),
        scale_by_learning_rate(learning_rate),
    )


def lars(
    learning_rate: ScalarOrSchedule,
    weight_decay: ScalarOrSchedule = 0.0,
    weight_decay_mask: Mask = True,
    trust_coefficient: Any = 0.001,
    eps: Any = 0.0,
    trust_ratio_mask: Mask = True,
    momentum: Any = 0.9,
    nesterov: bool = False,
) -> GradientTransformation:
    """Momentum with a step per layer, for large batches. Source: You, Gitman, Ginsburg (2017).

    Args:
        learning_rate: number, array or schedule.
        weight_decay: factor of the parameters, added to the gradients.
        weight_decay_mask: which leaves decay, as in :func:`masked`; True is all.
        trust_coefficient: factor of the ratio of norms.
        eps: added to the norm of the gradient.
        trust_ratio_mask: which leaves have a step of their own.
        momentum: decay of the sum of gradients.
        nesterov: whether to look one step ahead.

    Returns:
        A pair of pure functions.

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
