"""Sophia, and the estimates of the Hessian's diagonal that it uses."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import lax, random, tree
from fdl.api.differentiate import grad, jvp
from fdl.optim.arguments import NOT_NEGATIVE, POSITIVE, makes_transformation, tells_call
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    chain,
    in_float32,
    increment,
    needs_params,
    with_extra_args_support,
    zeros,
)
from fdl.optim.constraints import add_decayed_weights
from fdl.optim.moments import cast, corrected, moment, no_steps
from fdl.optim.noise import key_of
from fdl.optim.transforms import scale_by_learning_rate
from fdl.scalars import Scalar


class HutchinsonState(NamedTuple):
    """The random key of the next step."""

    key: Any


class SophiaState(NamedTuple):
    """Step count, momentum, mean of the Hessian's diagonals, state of their estimator."""

    count: Any
    mu: Any
    nu: Any
    hessian_fn_state: Any


@tells_call()
def hutchinson_estimator_diag_hessian(random_seed: Any = 0) -> GradientTransformation:
    """An estimate of the Hessian's diagonal by a product with random signs. Source: Hutchinson (1989).

    Call ``update(grads, state, params, obj_fn=loss of the parameters)``; the updates are the estimate.

    Args:
        random_seed: random key, or a seed.

    Returns:
        A pair of pure functions.

    >>> t, w = hutchinson_estimator_diag_hessian(), fnp.array([1.0, 2.0])
    >>> t.update(w, t.init(w), w, obj_fn=lambda w: (w**3).sum())[0].tolist()
    [6.0, 12.0]
    """

    def update(
        updates: Tree, state: HutchinsonState, params: Tree | None = None, *, obj_fn: Callable[[Tree], Any],
        **extra: Any,
    ) -> tuple[Tree, HutchinsonState]:  # fmt: skip
        params = tree.map(fnp.asarray, needs_params("hutchinson_estimator_diag_hessian", params))
        following, now = random.split(state.key)
        leaves, structure = tree.flatten(params)
        keys = random.split(now, max(len(leaves), 1))
        signs = tree.unflatten(structure, [random.rademacher(keys[i], p.shape, p.dtype) for i, p in enumerate(leaves)])
        product = jvp(grad(obj_fn), (params,), (signs,))[1]
        return tree.map(lambda h, s: h * s, product, signs), HutchinsonState(following)

    return in_float32(lambda params: HutchinsonState(key_of(random_seed)), update, False, True)


@makes_transformation(gamma=POSITIVE, clip_threshold=NOT_NEGATIVE, update_interval=Scalar(1, whole=True))
def scale_by_sophia(
    b1: Any = 0.965, b2: Any = 0.99, eps: Any = 1e-8, gamma: Any = 0.01, clip_threshold: Any = 1.0,
    update_interval: int = 10, hessian_diagonal_fn: GradientTransformation | None = None, mu_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Divide the mean of gradients by a mean of the Hessian's diagonal, and clip. Source: Liu et al., "Sophia" (2023).

    Args:
        b2: decay of the mean of the diagonals.
        eps: the smallest divisor.
        gamma: factor of the diagonal.
        clip_threshold: the largest modulus of an update; None does not clip.
        update_interval: steps from one estimate of the diagonal to the next.
        hessian_diagonal_fn: transformation whose updates are the diagonal; None is
            :func:`hutchinson_estimator_diag_hessian`, which needs ``update(..., obj_fn=loss of the parameters)``.

    >>> t, w = scale_by_sophia(gamma=1.0, b2=0.0), fnp.array([1.0])
    >>> updates, state = t.update(2 * w, t.init(w), w, obj_fn=lambda w: (w**2).sum())
    >>> state.nu.tolist()
    [2.0]
    """
    estimator = with_extra_args_support(hessian_diagonal_fn or hutchinson_estimator_diag_hessian())

    def init(params: Tree) -> SophiaState:
        return SophiaState(no_steps(), zeros(params, mu_dtype), zeros(params), estimator.init(params))

    def update(updates: Tree, state: SophiaState, params: Tree | None = None, **extra: Any) -> tuple[Tree, SophiaState]:
        updates, params = tree.map(fnp.asarray, updates), needs_params("scale_by_sophia", params)
        count, mu = increment(state.count), moment(updates, state.mu, b1)
        made = tree.map(lambda m, h: m / fnp.maximum(gamma * h, eps), corrected(mu, b1, count), state.nu)
        if clip_threshold is not None:
            made = tree.map(lambda u: fnp.clip(u, -clip_threshold, clip_threshold), made)

        def measured(nu: Tree, inner: Any) -> tuple[Tree, Any]:
            diagonal, inner = estimator.update(updates, inner, params, **extra)
            return moment(tree.map(lambda h, v: h.astype(v.dtype), diagonal, nu), nu, b2), inner

        due = state.count % update_interval == 0
        nu, inner = lax.cond(due, measured, lambda nu, inner: (nu, inner), state.nu, state.hessian_fn_state)
        return made, SophiaState(count, cast(mu, mu_dtype), nu, inner)

    return in_float32(init, update, False, True)


@makes_transformation(gamma=POSITIVE, clip_threshold=NOT_NEGATIVE, update_interval=Scalar(1, whole=True))
def sophia(
    learning_rate: ScalarOrSchedule, b1: Any = 0.965, b2: Any = 0.99, eps: Any = 1e-8,
    weight_decay: ScalarOrSchedule = 1e-4, weight_decay_mask: Any = None, gamma: Any = 0.01, clip_threshold: Any = 1.0,
    update_interval: int = 10, hessian_diagonal_fn: GradientTransformation | None = None, mu_dtype: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Clipped steps by the Hessian's diagonal. Source: Liu et al., "Sophia" (2023).

    Call ``update(grads, state, params, obj_fn=loss of the parameters)``.

    Args:
        b2: decay of the mean of the diagonals.
        eps: the smallest divisor.
        gamma: factor of the diagonal.
        clip_threshold: the largest modulus of an update before the learning rate; None does not clip.
        update_interval: steps from one estimate of the diagonal to the next.
        hessian_diagonal_fn: transformation whose updates are the diagonal; None is
            :func:`hutchinson_estimator_diag_hessian`.

    >>> t, w = sophia(0.5, weight_decay=0.0), fnp.array([1.0])
    >>> t.update(2 * w, t.init(w), w, obj_fn=lambda w: (w**2).sum())[0].tolist()
    [-0.5]
    """
    return chain(
        scale_by_sophia(b1, b2, eps, gamma, clip_threshold, update_interval, hessian_diagonal_fn, mu_dtype),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )


def hvp(loss: Callable[..., Any], v: Tree, params: Tree, *args: Any) -> Tree:
    """The product of a loss's Hessian and a vector.

    Args:
        loss: of the parameters and `args`.
        v: a tree like the parameters.
        params: where the Hessian is taken.
        *args: further arguments of the loss.

    Returns:
        A tree like the parameters.

    >>> hvp(lambda w: (w**3).sum(), fnp.array([1.0, 1.0]), fnp.array([1.0, 2.0])).tolist()
    [6.0, 12.0]
    """
    return jvp(lambda p: grad(loss)(p, *args), (params,), (v,))[1]
