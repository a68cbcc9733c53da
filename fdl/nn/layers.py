"""Layers as pure functions of explicit parameters.

Every layer ``name`` with parameters comes with ``init_name(key, ...)``, which makes them: a dict in which ``w``
multiplies and ``b`` is added. The layer takes the parameters first, then the input, then its settings by keyword. The
channels (features) are the last axis of the input; all axes before those that a layer works on are batch axes.
Parameters are float32 unless ``dtype`` says otherwise.

>>> from fdl import nn, random
>>> import fdl.numpy as fnp
>>> params = nn.init_dense(random.key(0), 3, 4)
>>> {name: p.shape for name, p in params.items()}
{'w': (3, 4), 'b': (4,)}
>>> nn.dense(params, fnp.ones((2, 3))).shape
(2, 4)
"""

from collections.abc import Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.dtypes import as_dtype
from fdl.errors import ShapeError
from fdl.nn import initializers
from fdl.nn.initializers import Initializer

Params = dict[str, Any]


def weights(
    key: Any,
    shape: Sequence[int],
    outputs: Sequence[int],
    bias: bool,
    w_init: Initializer,
    b_init: Initializer,
    dtype: Any,
) -> Params:
    """Parameters w of one shape and, if `bias`, b of another."""
    first, second = random.split(key)
    dtype = as_dtype(float if dtype is None else dtype)
    params = {"w": w_init(first, tuple(shape), dtype)}
    return params | {"b": b_init(second, tuple(outputs), dtype)} if bias else params


def shifted(params: Params, y: Array) -> Array:
    """`y` plus the parameter b, if there is one."""
    return y + params["b"] if "b" in params else y


def init_dense(
    key: Any,
    inputs: int,
    outputs: int,
    *,
    bias: bool = True,
    w_init: Initializer = initializers.lecun_normal(),  # noqa: B008
    b_init: Initializer = initializers.zeros,
    dtype: Any = None,
) -> Params:
    """Parameters of :func:`dense`: w [inputs, outputs] and b [outputs].

    Args:
        key: random key.
        inputs: number of input features.
        outputs: number of output features.
        bias: whether there is a b.
        w_init: initializer of w.
        b_init: initializer of b.
        dtype: of the parameters.

    Returns:
        The parameters.

    >>> init_dense(random.key(0), 3, 4)["w"].shape
    (3, 4)
    """
    return weights(key, (inputs, outputs), (outputs,), bias, w_init, b_init, dtype)


def dense(params: Params, x: Any) -> Array:
    """A linear map of the last axis: x w + b.

    Args:
        params: from :func:`init_dense`.
        x: [..., inputs].

    Returns:
        [..., outputs].

    Raises:
        ShapeError: the last axis of x does not fit w.

    >>> dense({"w": fnp.ones((2, 1)), "b": fnp.ones(1)}, fnp.array([[2.0, 3.0]])).tolist()
    [[6.0]]
    """
    x = fnp.asarray(x)
    if x.ndim == 0 or x.shape[-1] != params["w"].shape[0]:
        raise ShapeError(f"dense with w {params['w'].type} needs inputs [..., {params['w'].shape[0]}], got {x.type}")
    return shifted(params, fnp.matmul(x, params["w"]))
