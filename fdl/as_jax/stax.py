"""The small neural networks of ``jax.example_libraries``: layers are pairs of functions.

``init(key, input_shape)`` returns the shape of the output and the parameters; ``apply(params, inputs, **kwargs)``
returns the output, with ``rng=key`` where a layer draws.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn, random
from fdl.nn.initializers import glorot_normal, normal, ones, zeros

__all__ = [
    "AvgPool", "BatchNorm", "Conv", "Conv1DTranspose", "ConvTranspose", "Dense", "Dropout", "Elu", "Exp", "FanInConcat",
    "FanInSum", "FanOut", "Flatten", "Gelu", "GeneralConv", "GeneralConvTranspose", "Identity", "LeakyRelu",
    "LogSoftmax", "MaxPool", "Relu", "Selu", "Sigmoid", "Softmax", "Softplus", "SumPool", "Tanh", "elementwise",
    "parallel", "serial", "shape_dependent",
]  # fmt: skip

Layer = tuple[Callable[[Any, Any], Any], Callable[..., Any]]


def Dense(out_dim: int, W_init: Any = None, b_init: Any = None) -> Layer:
    """``x @ W + b``, for x [..., n].

    >>> shape, params = Dense(3)[0](random.key(0), (-1, 2))
    >>> shape, Dense(3)[1](params, fnp.ones((4, 2))).shape
    ((-1, 3), (4, 3))
    """
    make_w, make_b = W_init or glorot_normal(), b_init or normal(0.01)

    def init(key: Any, shape: Any) -> Any:
        one, two = random.split(key)
        return (*shape[:-1], out_dim), (make_w(one, (shape[-1], out_dim)), make_b(two, (out_dim,)))

    def apply(params: Any, inputs: Any, **_: Any) -> Any:
        w, b = params
        return fnp.dot(inputs, w) + b

    return init, apply


def _conv(transposed: bool, numbers: Any, out: int, size: Any, strides: Any, padding: str, w: Any, b: Any) -> Layer:
    lhs, rhs, result = numbers
    strides = tuple(strides or (1,) * len(size))
    make_w, make_b = w or glorot_normal(rhs.index("I"), rhs.index("O")), b or normal(1e-6)
    shape_of = lax.conv_transpose_shape_tuple if transposed else lax.conv_general_shape_tuple

    def init(key: Any, shape: Any) -> Any:
        extents = iter(size)
        kernel = tuple(out if c == "O" else shape[lhs.index("C")] if c == "I" else next(extents) for c in rhs)
        one, two = random.split(key)
        bias = tuple(out if c == "C" else 1 for c in result)
        return shape_of(shape, kernel, strides, padding, numbers), (make_w(one, kernel), make_b(two, bias))

    def apply(params: Any, inputs: Any, **_: Any) -> Any:
        w, b = params
        if transposed:
            return lax.conv_transpose(inputs, w, strides, padding, dimension_numbers=numbers) + b
        return lax.conv_general_dilated(inputs, w, strides, padding, dimension_numbers=numbers) + b

    return init, apply


def GeneralConv(
    dimension_numbers: Any,
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_init: Any = None,
    b_init: Any = None,
) -> Layer:
    """A convolution, of axes in the order of three texts such as ("NHWC", "HWIO", "NHWC").

    >>> Conv(4, (3, 3), padding="SAME")[0](random.key(0), (1, 8, 8, 2))[0]
    (1, 8, 8, 4)
    """
    return _conv(False, dimension_numbers, out_chan, filter_shape, strides, padding, W_init, b_init)


def GeneralConvTranspose(
    dimension_numbers: Any,
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = "VALID",
    W_init: Any = None,
    b_init: Any = None,
) -> Layer:
    """A transposed convolution.

    >>> ConvTranspose(4, (2, 2), (2, 2))[0](random.key(0), (1, 8, 8, 2))[0]
    (1, 16, 16, 4)
    """
    return _conv(True, dimension_numbers, out_chan, filter_shape, strides, padding, W_init, b_init)


Conv = functools.partial(GeneralConv, ("NHWC", "HWIO", "NHWC"))
Conv1DTranspose = functools.partial(GeneralConvTranspose, ("NHC", "HIO", "NHC"))
ConvTranspose = functools.partial(GeneralConvTranspose, ("NHWC", "HWIO", "NHWC"))


def BatchNorm(
    axis: Any = (0, 1, 2),
    epsilon: float = 1e-5,
    center: bool = True,
    scale: bool = True,
    beta_init: Any = zeros,
    gamma_init: Any = ones,
) -> Layer:
    """Standardize over axes by the statistics of the batch, then scale by gamma and add beta.

    >>> _, params = BatchNorm()[0](random.key(0), (2, 1, 1, 1))
    >>> BatchNorm()[1](params, fnp.array([-3.0, 3.0]).reshape(2, 1, 1, 1)).ravel().round(4)
    Array([-1.,  1.], dtype=float32)
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)

    def init(key: Any, shape: Any) -> Any:
        kept = tuple(n for i, n in enumerate(shape) if i not in axes)
        one, two = random.split(key)
        return shape, (beta_init(one, kept) if center else (), gamma_init(two, kept) if scale else ())

    def apply(params: Any, x: Any, **_: Any) -> Any:
        beta, gamma = params
        z = nn.standardize(x, axes, epsilon=epsilon)
        z = fnp.expand_dims(gamma, axes) * z if scale else z
        return z + fnp.expand_dims(beta, axes) if center else z

    return init, apply


def elementwise(fun: Callable[..., Any], **fun_kwargs: Any) -> Layer:
    """A function of the inputs, without parameters.

    >>> elementwise(fnp.square)[1]((), fnp.array(3.0)).item()
    9.0
    """
    return lambda key, shape: (shape, ()), lambda params, inputs, **_: fun(inputs, **fun_kwargs)


Tanh = elementwise(fnp.tanh)
Relu = elementwise(nn.relu)
Exp = elementwise(fnp.exp)
LogSoftmax = elementwise(nn.log_softmax, axis=-1)
Softmax = elementwise(nn.softmax, axis=-1)
Softplus = elementwise(nn.softplus)
Sigmoid = elementwise(nn.sigmoid)
Elu = elementwise(nn.elu)
LeakyRelu = elementwise(nn.leaky_relu)
Selu = elementwise(nn.selu)
Gelu = elementwise(nn.gelu)
Identity: Layer = (lambda key, shape: (shape, ()), lambda params, inputs, **_: inputs)
Flatten: Layer = (
    lambda key, shape: ((shape[0], math.prod(shape[1:])), ()),
    lambda params, inputs, **_: fnp.reshape(inputs, (inputs.shape[0], -1)),
)


def _pooling(reducer: Callable[..., Any], start: float, mean: bool = False) -> Callable[..., Layer]:
    def layer(window_shape: Any, strides: Any = None, padding: str = "VALID", spec: str | None = None) -> Layer:
        strides = tuple(strides or (1,) * len(window_shape))

        def whole(extents: Any, ndim: int) -> tuple[int, ...]:
            axes = spec or "N" + "X" * (ndim - 2) + "C"
            rest = iter(extents)
            return tuple(1 if c in "NC" else next(rest) for c in axes)

        def init(key: Any, shape: Any) -> Any:
            window, steps = whole(window_shape, len(shape)), whole(strides, len(shape))
            return lax.reduce_window_shape_tuple(shape, window, steps, padding), ()

        def apply(params: Any, inputs: Any, **_: Any) -> Any:
            window, steps = whole(window_shape, inputs.ndim), whole(strides, inputs.ndim)
            over = functools.partial(
                lax.reduce_window,
                computation=reducer,
                window_dimensions=window,
                window_strides=steps,
                padding=padding,
            )
            first = np.asarray(start, inputs.dtype)[()]
            found = over(inputs, first)
            return found / over(fnp.ones_like(inputs), first) if mean else found

        return init, apply

    return layer


MaxPool = _pooling(lax.max, -math.inf)
SumPool = _pooling(lax.add, 0.0)
AvgPool = _pooling(lax.add, 0.0, mean=True)  # of the elements that are there, without padding


def FanOut(num: int) -> Layer:
    """`num` times the inputs, as a list."""
    return lambda key, shape: ([shape] * num, ()), lambda params, inputs, **_: [inputs] * num


FanInSum: Layer = (lambda key, shapes: (shapes[0], ()), lambda params, inputs, **_: sum(inputs))


def FanInConcat(axis: int = -1) -> Layer:
    """A list of inputs one after the other.

    >>> FanInConcat()[0](random.key(0), [(-1, 2), (-1, 3)])[0]
    (-1, 5)
    """

    def init(key: Any, shapes: Any) -> Any:
        joined = list(shapes[0])
        joined[axis] = sum(shape[axis] for shape in shapes)
        return tuple(joined), ()

    return init, lambda params, inputs, **_: fnp.concatenate(inputs, axis)


def Dropout(rate: float, mode: str = "train") -> Layer:
    """Keep elements with the probability `rate`, divided by it; needs ``rng=key`` unless `mode` is another.

    Raises:
        ValueError: there is no key.

    >>> Dropout(1.0)[1]((), fnp.ones(2), rng=random.key(0))
    Array([1., 1.], dtype=float32)
    """

    def apply(params: Any, inputs: Any, **kwargs: Any) -> Any:
        if mode != "train":
            return inputs
        key = kwargs.get("rng")
        if key is None:
            raise ValueError("Dropout: give a key to apply, apply(params, inputs, rng=key)")
        return fnp.where(random.bernoulli(key, rate, inputs.shape), inputs / rate, 0)

    return lambda key, shape: (shape, ()), apply


def _keys(key: Any, count: int) -> Any:
    return [None] * count if key is None else list(random.split(key, count)) if count else []


def serial(*layers: Layer) -> Layer:
    """Layers one after the other.

    >>> init, apply = serial(Dense(8), Relu, Dense(2))
    >>> shape, params = init(random.key(0), (-1, 3))
    >>> apply(params, fnp.ones((5, 3))).shape
    (5, 2)
    """

    def init(key: Any, shape: Any) -> Any:
        params = []
        for make, _ in layers:
            key, own = random.split(key)
            shape, found = make(own, shape)
            params.append(found)
        return shape, params

    def apply(params: Any, inputs: Any, **kwargs: Any) -> Any:
        keys = _keys(kwargs.pop("rng", None), len(layers))
        for (_, run), own, key in zip(layers, params, keys, strict=True):
            inputs = run(own, inputs, rng=key, **kwargs)
        return inputs

    return init, apply


def parallel(*layers: Layer) -> Layer:
    """Layers side by side: each takes its element of a list, as FanOut makes, and FanInSum or FanInConcat join them.

    >>> init, apply = serial(FanOut(2), parallel(Dense(2), Identity), FanInSum)
    >>> init(random.key(0), (-1, 2))[0]
    (-1, 2)
    """

    def init(key: Any, shapes: Any) -> Any:
        keys = _keys(key, len(layers))
        found = [make(own, shape) for (make, _), own, shape in zip(layers, keys, shapes, strict=True)]
        return [shape for shape, _ in found], tuple(params for _, params in found)

    def apply(params: Any, inputs: Any, **kwargs: Any) -> Any:
        keys = _keys(kwargs.pop("rng", None), len(layers))
        return [
            run(own, x, rng=key, **kwargs) for (_, run), own, x, key in zip(layers, params, inputs, keys, strict=True)
        ]

    return init, apply


def shape_dependent(make_layer: Callable[[Any], Layer]) -> Layer:
    """A layer that is made when the shape of its inputs is known."""
    return (
        lambda key, shape: make_layer(shape)[0](key, shape),
        lambda params, inputs, **kwargs: make_layer(inputs.shape)[1](params, inputs, **kwargs),
    )
