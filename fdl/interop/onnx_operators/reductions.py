"""ONNX operators that reduce axes, order elements, or multiply matrices."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import nn
from fdl.core.types import Array
from fdl.interop.aten import reductions as aten
from fdl.interop.onnx_operators.shapes import numbers
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def bound(x: Any, above: bool) -> Any:
    """What is above, or below, all numbers of a dtype: the extreme of no elements."""
    if x.dtype == np.bool_:
        return above
    if fnp.issubdtype(x.dtype, fnp.floating):
        return np.inf if above else -np.inf
    return fnp.iinfo(x.dtype).max if above else fnp.iinfo(x.dtype).min


def largest(x: Any, **settings: Any) -> Array:
    return fnp.max(x, **settings) if x.size else fnp.max(x, initial=bound(x, False), **settings)


def smallest(x: Any, **settings: Any) -> Array:
    return fnp.min(x, **settings) if x.size else fnp.min(x, initial=bound(x, True), **settings)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceSum": fnp.sum,
    "ReduceMean": fnp.mean,
    "ReduceProd": fnp.prod,
    "ReduceMax": lambda x, **k: largest(x, **k),
    "ReduceMin": lambda x, **k: smallest(x, **k),
    "ReduceL1": lambda x, **k: fnp.sum(fnp.abs(x), **k),
    "ReduceL2": lambda x, **k: fnp.sqrt(fnp.sum(x * x, **k)),
    "ReduceSumSquare": lambda x, **k: fnp.sum(x * x, **k),
    "ReduceLogSum": lambda x, **k: fnp.log(fnp.sum(x, **k)),
    "ReduceLogSumExp": lambda x, **k: nn.logsumexp(x, **k),
}


def reduction(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator whose axes are an operand or an attribute."""

    def operator(x: Any, dims: Any = None, axes: Any = None, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Any:
        dims = axes if dims is None else dims
        along = None if dims is None else tuple(numbers(dims, "axes of a reduction")) or None
        if along is None and noop_with_empty_axes:
            along = ()
        return function(x, axis=along, keepdims=bool(keepdims)).astype(x.dtype)

    return operator


for name, function in REDUCTIONS.items():
    define(name)(reduction(function))


def extreme(function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator that finds places."""

    def operator(x: Any, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        if not select_last_index:
            return function(x, axis=axis, keepdims=bool(keepdims)).astype(np.int64)
        found = function(fnp.flip(x, axis), axis=axis, keepdims=bool(keepdims))
        return (x.shape[axis] - 1 - found).astype(np.int64)

    return operator


define("ArgMax")(extreme(fnp.argmax))
define("ArgMin")(extreme(fnp.argmin))


def along_one(function: Callable[..., Any], x: Any, axis: int, coerced: int) -> Array:
    """A function of an axis; `coerced`, of all axes from it on as one."""
    if not coerced:
        return function(x, axis=axis)
    start = axis % x.ndim if x.ndim else 0
    shape = math.prod(x.shape[:start]), math.prod(x.shape[start:])
    return function(x.reshape(shape), axis=-1).reshape(x.shape)


@define("Softmax")
def softmax(x: Any, axis: int = -1, coerced: int = 0) -> Array:
    return along_one(nn.softmax, x, axis, coerced)


@define("LogSoftmax")
def log_softmax(x: Any, axis: int = -1, coerced: int = 0) -> Array:
    return along_one(nn.log_softmax, x, axis, coerced)


@define("Hardmax")
def hardmax(x: Any, axis: int = -1, coerced: int = 0) -> Array:
    def largest(x: Any, axis: int) -> Array:
        return nn.one_hot(fnp.argmax(x, axis=axis), x.shape[axis], dtype=x.dtype, axis=axis)

    return along_one(largest, x, axis, coerced)


@define("CumSum")
def cumsum(x: Any, axis: Any, exclusive: int = 0, reverse: int = 0) -> Array:
    along = numbers(axis, "the axis of CumSum")[0]
    x = fnp.flip(x, along) if reverse else x
    out = fnp.cumsum(x, axis=along, dtype=x.dtype)
    out = out - x if exclusive else out
    return fnp.flip(out, along) if reverse else out


@define("TopK")
def topk(x: Any, k: Any, axis: int = -1, largest: int = 1, sorted: int = 1) -> tuple[Array, Array]:
    values, places = aten.topk(x, numbers(k, "k of TopK")[0], axis, bool(largest))
    return values, places.astype(np.int64)


@define("MatMul")
def matmul(a: Any, b: Any) -> Array:
    return fnp.matmul(a, b)


@define("Gemm")
def gemm(
    a: Any, b: Any, c: Any = None, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0
) -> Array:
    product = fnp.matmul(a.T if transA else a, b.T if transB else b)
    product = product if alpha == 1 else product * alpha
    return product if c is None else product + (c if beta == 1 else c * beta)


@define("Einsum")
def einsum(*arrays: Any, equation: str) -> Array:
    return fnp.einsum(equation, *arrays)


@define("Det")
def det(x: Any) -> Array:
    return fnp.linalg.det(x)


@define("LpNormalization")
def lp_normalization(x: Any, axis: int = -1, p: int = 2) -> Array:
    length = aten.vector_norm(x, p, axis, True)
    return x / fnp.where(length == 0, fnp.ones((), x.dtype), length)
