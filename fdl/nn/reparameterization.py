"""Weights that are computed from others in every step: by direction and length, or with a bounded norm."""

from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.nn.layers import Params
from fdl.ops.arithmetic import stop_gradient


def init_weight_norm(params: Params) -> Params:
    """The parameters of a layer with w as direction v and length g, for :func:`weight_norm`.

    Args:
        params: of a dense layer or a convolution; outputs are the last axis of w.

    Returns:
        v like w, g [outputs], and what else there is.

    >>> sorted(init_weight_norm({"w": fnp.eye(2), "b": fnp.zeros(2)}))
    ['b', 'g', 'v']
    """
    rest = {name: x for name, x in params.items() if name != "w"}
    return rest | {"v": params["w"], "g": _lengths(params["w"])}


def weight_norm(params: Params) -> Params:
    """The parameters of a layer whose w has the lengths g and the directions v. Source: Salimans, Kingma (2016).

    Args:
        params: from :func:`init_weight_norm`.

    Returns:
        Parameters with w, for the layer itself.

    >>> weight_norm({"v": fnp.array([[3.0], [4.0]]), "g": fnp.array([10.0])})["w"].tolist()
    [[6.0], [8.0]]
    """
    rest = {name: x for name, x in params.items() if name not in ("v", "g")}
    return rest | {"w": params["v"] / _lengths(params["v"]) * params["g"]}


def init_spectral_norm(key: Any, params: Params) -> Params:
    """The state of :func:`spectral_norm`: a guess u [outputs] of the singular vector.

    Args:
        key: random key.
        params: of a dense layer or a convolution; outputs are the last axis of w.

    Returns:
        The state.

    >>> init_spectral_norm(random.key(0), {"w": fnp.ones((3, 4))})["u"].shape
    (4,)
    """
    w = params["w"]
    return {"u": _unit(random.normal(key, w.shape[-1:], w.dtype))}


def spectral_norm(
    params: Params, state: Params, *, training: bool, steps: int = 1, epsilon: float = 1e-12
) -> tuple[Params, Params]:
    """Divide w by its largest singular value, found by power iteration. Source: Miyato et al. (2018).

    Args:
        params: of a dense layer or a convolution; outputs are the last axis of w.
        state: from :func:`init_spectral_norm`.
        training: whether the guess in the state is improved.
        steps: of the power iteration.
        epsilon: the smallest length that counts.

    Returns:
        Parameters for the layer itself, and the new state. No gradient flows through the singular vectors.

    >>> params = {"w": fnp.diag(fnp.array([4.0, 2.0]))}
    >>> made, state = spectral_norm(params, init_spectral_norm(random.key(0), params), training=True, steps=30)
    >>> [round(x, 3) for x in fnp.diag(made["w"]).tolist()]
    [1.0, 0.5]
    """
    matrix = params["w"].reshape(-1, params["w"].shape[-1])
    fixed, u = stop_gradient(matrix), state["u"]
    v = _unit(fnp.matmul(fixed, u), epsilon)
    for _ in range(steps if training else 0):
        u = _unit(fnp.matmul(v, fixed), epsilon)
        v = _unit(fnp.matmul(fixed, u), epsilon)
    largest = fnp.matmul(fnp.matmul(v, matrix), u)
    return params | {"w": params["w"] / fnp.maximum(largest, epsilon)}, {"u": u if training else state["u"]}


def _lengths(w: Array) -> Array:
    return fnp.sqrt(fnp.sum(w * w, axis=tuple(range(w.ndim - 1))))


def _unit(x: Array, epsilon: float = 1e-12) -> Array:
    return x / fnp.maximum(fnp.sqrt(fnp.sum(x * x)), epsilon)
