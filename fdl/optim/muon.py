"""Muon: momentum whose matrices are made orthogonal."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.optim.arguments import DECAY, RATE, makes_transformation
from fdl.optim.base import (
    GradientTransformation,
    ScalarOrSchedule,
    Tree,
    chain,
    in_float32,
    increment,
    stateless,
    zeros,
)
from fdl.optim.constraints import add_decayed_weights
from fdl.optim.masks import multi_transform
from fdl.optim.moments import cast, mean_of, moment, no_steps
from fdl.optim.optimizers import adamw
from fdl.optim.transforms import scale_by_learning_rate
from fdl.scalars import Scalar

Mask = Tree | Callable[[Tree], Tree] | None

#: Coefficients of the polynomial that moves all singular values towards one. Source: Jordan et al. (2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


class MuonState(NamedTuple):
    """Step count and momentum."""

    count: Any
    mu: Any


def orthogonalize(x: Any, steps: int = 5, coefficients: Any = NEWTON_SCHULZ, eps: Any = 1e-8) -> Any:
    """A matrix with nearly the singular vectors of another, and singular values near 1. Source: Jordan et al. (2024).

    Args:
        x: [..., rows, columns].
        steps: how often the polynomial is applied.
        coefficients: of the polynomial, three numbers, or one triple a step.
        eps: added to the norm.

    Returns:
        An array like x.

    >>> bool((fnp.abs(fnp.diag(orthogonalize(fnp.diag(fnp.array([3.0, 1.0])))) - 1) < 0.35).all())
    True
    """
    x = fnp.asarray(x)
    rows, columns = x.shape[-2:]
    wide = fnp.swapaxes(x, -1, -2) if rows > columns else x
    wide = wide / (fnp.sqrt(fnp.sum(fnp.real(wide * fnp.conj(wide)), axis=(-2, -1), keepdims=True)) + eps)
    for step in range(steps):
        a, b, c = coefficients[min(step, len(coefficients) - 1)] if isinstance(coefficients[0], tuple) else coefficients
        gram = fnp.matmul(wide, fnp.conj(fnp.swapaxes(wide, -1, -2)))
        wide = a * wide + fnp.matmul(b * gram + c * fnp.matmul(gram, gram), wide)
    return (fnp.swapaxes(wide, -1, -2) if rows > columns else wide).astype(x.dtype)


@makes_transformation(ns_steps=Scalar(0, whole=True), beta=DECAY)
def scale_by_muon(
    ns_coeffs: Any = NEWTON_SCHULZ, ns_steps: int = 5, beta: Any = 0.95, eps: Any = 1e-8, mu_dtype: Any = None, *,
    nesterov: bool = True, adaptive: bool = False,
) -> GradientTransformation:  # fmt: skip
    """Momentum made orthogonal, where leaves are matrices; others stay as they are. Source: Jordan et al. (2024).

    Args:
        ns_coeffs: coefficients of the polynomial, see :func:`orthogonalize`.
        ns_steps: how often it is applied.
        beta: decay of the momentum.
        eps: added to the norms.
        adaptive: whether to multiply by the inner product with the momentum.

    >>> t = scale_by_muon(ns_steps=20)
    >>> updates, _ = t.update(fnp.array([[2.0, 0.0], [0.0, 1.0]]), t.init(fnp.zeros((2, 2))))
    >>> bool((fnp.abs(fnp.diag(updates) - 1) < 0.35).all())
    True
    """

    def update(updates: Tree, state: MuonState, params: Tree | None = None) -> tuple[Tree, MuonState]:
        updates = tree.map(fnp.asarray, updates)
        mu, count = moment(updates, state.mu, beta), increment(state.count)
        mean = mean_of(updates, mu, beta, count, nesterov)

        def one(m: Any) -> Any:
            if m.ndim < 2 or m.size == 0:
                return m
            made = orthogonalize(m, ns_steps, ns_coeffs, eps)
            return fnp.sum(fnp.conj(m) * made, axis=(-2, -1), keepdims=True) * made if adaptive else made

        return tree.map(one, mean), MuonState(count, cast(mu, mu_dtype))

    return in_float32(lambda params: MuonState(no_steps(), zeros(params, mu_dtype)), update)


@makes_transformation(ns_steps=Scalar(0, whole=True), beta=DECAY, adam_learning_rate=RATE, adam_b1=DECAY, adam_b2=DECAY,
                      adam_eps_root=Scalar(0.0), adam_weight_decay=RATE, consistent_rms=Scalar(0.0))  # fmt: skip
def muon(
    learning_rate: ScalarOrSchedule, ns_coeffs: Any = NEWTON_SCHULZ, ns_steps: int = 5, beta: Any = 0.95,
    eps: Any = 1e-8, weight_decay: ScalarOrSchedule = 0.0, weight_decay_mask: Mask = None, mu_dtype: Any = None, *,
    nesterov: bool = True, adaptive: bool = False, adam_b1: Any = 0.9, adam_b2: Any = 0.999,
    adam_eps_root: Any = 0.0, adam_weight_decay: ScalarOrSchedule = 0.0, adam_learning_rate: ScalarOrSchedule = None,
    consistent_rms: Any = None,
) -> GradientTransformation:  # fmt: skip
    """Muon for matrices (leaves with two axes), AdamW for all else. Source: Jordan et al. (2024); Liu et al. (2025).

    Args:
        ns_coeffs: coefficients of the polynomial, see :func:`orthogonalize`.
        ns_steps: how often it is applied.
        beta: decay of the momentum.
        eps: added to the norms, and to Adam's divisor.
        adaptive: whether to multiply by the inner product with the momentum.
        adam_b1: decay of Adam's first moment.
        adam_b2: decay of Adam's second moment.
        adam_eps_root: added under Adam's root.
        adam_weight_decay: weight decay of the leaves that are no matrices.
        adam_learning_rate: of the leaves that are no matrices; None is `learning_rate`.
        consistent_rms: root mean square of updates, the same for all shapes; None scales by the shape.

    >>> params = {"w": fnp.zeros((2, 2)), "b": fnp.zeros(2)}
    >>> optimizer = muon(0.1)
    >>> updates, _ = optimizer.update({"w": fnp.eye(2), "b": fnp.ones(2)}, optimizer.init(params), params)
    >>> [round(u, 3) for u in updates["b"].tolist()]
    [-0.147, -0.147]
    """

    def shaped(u: Any) -> Any:
        if u.ndim < 2:
            return u
        rows, columns = max(u.shape[-2], 1), max(u.shape[-1], 1)
        if consistent_rms is not None:
            return u * (max(rows, columns) ** 0.5 * consistent_rms)
        return u * max(1.0, columns / rows) ** 0.5

    matrices = chain(
        scale_by_muon(ns_coeffs, ns_steps, beta, eps, mu_dtype, nesterov=nesterov, adaptive=adaptive),
        stateless(lambda updates, params: tree.map(shaped, updates)),
        add_decayed_weights(weight_decay, weight_decay_mask),
        scale_by_learning_rate(learning_rate),
    )
    rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    others = adamw(rate, adam_b1, adam_b2, eps, adam_eps_root, mu_dtype, adam_weight_decay, nesterov=nesterov)

    def labels(params: Tree) -> Tree:
        return tree.map(lambda p: "muon" if fnp.ndim(p) == 2 else "adam", params)

    return multi_transform({"muon": matrices, "adam": others}, labels)
