"""ATen operators that reduce axes, order elements, or multiply matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.core.types import Array
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define

Axes = int | Sequence[int] | None


def axes_of(dim: Axes) -> tuple[int, ...] | int | None:
    """Axes as NumPy takes them: PyTorch's empty list means all."""
    return dim if isinstance(dim, int) else tuple(dim) if dim else None


@define("aten.sum.default")
def sum_all(x: Any, dtype: Any = None) -> Array:
    return sum_dim(x, None, False, dtype)


@define("aten.sum.dim_IntList")
def sum_dim(x: Any, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return fnp.sum(x, axis=axes_of(dim), keepdims=keepdim, dtype=dtype)


@define("aten.mean.default")
def mean_all(x: Any, dtype: Any = None) -> Array:
    return fnp.mean(x, dtype=dtype)


@define("aten.mean.dim")
def mean_dim(x: Any, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
    return fnp.mean(x, axis=axes_of(dim), keepdims=keepdim, dtype=dtype)


@define("aten.prod.default")
def prod_all(x: Any, dtype: Any = None) -> Array:
    return fnp.prod(x, dtype=dtype)


@define("aten.prod.dim_int")
def prod_dim(x: Any, dim: int, keepdim: bool = False, dtype: Any = None) -> Array:
    return fnp.prod(x, axis=dim, keepdims=keepdim, dtype=dtype)


@define("aten.amax.default")
def amax(x: Any, dim: Axes = None, keepdim: bool = False) -> Array:
    return fnp.max(x, axis=axes_of(dim), keepdims=keepdim)


@define("aten.amin.default")
def amin(x: Any, dim: Axes = None, keepdim: bool = False) -> Array:
    return fnp.min(x, axis=axes_of(dim), keepdims=keepdim)


@define("aten.max.default")
def max_all(x: Any) -> Array:
    return fnp.max(x)


@define("aten.min.default")
def min_all(x: Any) -> Array:
    return fnp.min(x)


@define("aten.max.other")
def max_other(a: Any, b: Any) -> Array:
    return fnp.maximum(a, b)


@define("aten.min.other")
def min_other(a: Any, b: Any) -> Array:
    return fnp.minimum(a, b)


def chosen(x: Any, places: Any, dim: int, keepdim: bool) -> tuple[Array, Array]:
    """The elements at some places of an axis, to which alone the gradient flows, and the places."""
    values = fnp.take_along_axis(x, places, axis=dim)
    return (values, places) if keepdim else (fnp.squeeze(values, dim), fnp.squeeze(places, dim))


@define("aten.max.dim")
def max_dim(x: Any, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    return chosen(x, fnp.argmax(x, axis=dim, keepdims=True), dim, keepdim)


@define("aten.min.dim")
def min_dim(x: Any, dim: int, keepdim: bool = False) -> tuple[Array, Array]:
    return chosen(x, fnp.argmin(x, axis=dim, keepdims=True), dim, keepdim)


@define("aten.argmax.default")
def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Array:
    return fnp.argmax(x, axis=dim, keepdims=keepdim)


@define("aten.argmin.default")
def argmin(x: Any, dim: int | None = None, keepdim: bool = False) -> Array:
    return fnp.argmin(x, axis=dim, keepdims=keepdim)


@define("aten.any.default", "aten.any.dim", "aten.any.dims")
def any_dim(x: Any, dim: Axes = None, keepdim: bool = False) -> Array:
    return fnp.any(x, axis=axes_of(dim), keepdims=keepdim)


@define("aten.all.default", "aten.all.dim", "aten.all.dims")
def all_dim(x: Any, dim: Axes = None, keepdim: bool = False) -> Array:
    return fnp.all(x, axis=axes_of(dim), keepdims=keepdim)


def variance(x: Any, dim: Axes, correction: Any, keepdim: bool) -> Array:
    """The variance with a number of degrees of freedom less; PyTorch's default is one."""
    return fnp.var(x, axis=axes_of(dim), ddof=1 if correction is None else correction, keepdims=keepdim)


@define("aten.var.correction")
def var_correction(x: Any, dim: Axes = None, correction: Any = None, keepdim: bool = False) -> Array:
    return variance(x, dim, correction, keepdim)


@define("aten.std.correction")
def std_correction(x: Any, dim: Axes = None, correction: Any = None, keepdim: bool = False) -> Array:
    return fnp.sqrt(variance(x, dim, correction, keepdim))


@define("aten.var.dim")
def var_dim(x: Any, dim: Axes, unbiased: bool = True, keepdim: bool = False) -> Array:
    return variance(x, dim, int(unbiased), keepdim)


@define("aten.std.dim")
def std_dim(x: Any, dim: Axes, unbiased: bool = True, keepdim: bool = False) -> Array:
    return fnp.sqrt(variance(x, dim, int(unbiased), keepdim))


@define("aten.var.default")
def var_all(x: Any, unbiased: bool = True) -> Array:
    return variance(x, None, int(unbiased), False)


@define("aten.std.default")
def std_all(x: Any, unbiased: bool = True) -> Array:
    return fnp.sqrt(variance(x, None, int(unbiased), False))


@define("aten.var_mean.correction")
def var_mean(x: Any, dim: Axes = None, correction: Any = None, keepdim: bool = False) -> tuple[Array, Array]:
    return variance(x, dim, correction, keepdim), mean_dim(x, dim, keepdim)


@define("aten.linalg_vector_norm.default")
def vector_norm(x: Any, p: float = 2, dim: Axes = None, keepdim: bool = False, dtype: Any = None) -> Array:
    x = x if dtype is None else x.astype(dtype)
    axis = axes_of(dim)
    if p == 2:  # whose gradient at zero is zero
        squares = fnp.sum(fnp.abs(x) ** 2, axis=axis, keepdims=keepdim)
        zero = squares == 0
        return fnp.where(zero, fnp.zeros((), x.dtype), fnp.sqrt(fnp.where(zero, fnp.ones((), x.dtype), squares)))
    if p == np.inf:
        return fnp.max(fnp.abs(x), axis=axis, keepdims=keepdim)
    if p == -np.inf:
        return fnp.min(fnp.abs(x), axis=axis, keepdims=keepdim)
    if p == 0:
        return fnp.sum((x != 0).astype(x.dtype), axis=axis, keepdims=keepdim)
    if p == 1:
        return fnp.sum(fnp.abs(x), axis=axis, keepdims=keepdim)
    return fnp.sum(fnp.abs(x) ** p, axis=axis, keepdims=keepdim) ** (1 / p)


@define("aten.norm.ScalarOpt_dim")
def norm_dim(x: Any, p: Any, dim: Axes, keepdim: bool = False) -> Array:
    return vector_norm(x, 2 if p is None else p, dim, keepdim)


@define("aten.norm.Scalar")
def norm_all(x: Any, p: Any = 2) -> Array:
    return vector_norm(x, p)


@define("aten.cumsum.default")
def cumsum(x: Any, dim: int, dtype: Any = None) -> Array:
    return fnp.cumsum(x, axis=dim, dtype=dtype)


@define("aten.cumprod.default")
def cumprod(x: Any, dim: int, dtype: Any = None) -> Array:
    return fnp.cumprod(x, axis=dim, dtype=dtype)


@define("aten.logsumexp.default")
def logsumexp(x: Any, dim: Axes, keepdim: bool = False) -> Array:
    return nn.logsumexp(x, axis=axes_of(dim), keepdims=keepdim)


@define("aten.softmax.int", "aten.special_softmax.int")
def softmax(x: Any, dim: int, dtype: Any = None) -> Array:
    return nn.softmax(x if dtype is None else x.astype(dtype), axis=dim)


@define("aten.log_softmax.int", "aten.special_log_softmax.int")
def log_softmax(x: Any, dim: int, dtype: Any = None) -> Array:
    return nn.log_softmax(x if dtype is None else x.astype(dtype), axis=dim)


@define("aten._softmax.default")
def softmax_core(x: Any, dim: int, half_to_float: bool = False) -> Array:
    return nn.softmax(x, axis=dim)


@define("aten._safe_softmax.default")
def safe_softmax(x: Any, dim: int, dtype: Any = None) -> Array:
    x = x if dtype is None else x.astype(dtype)
    none = fnp.all(x == -np.inf, axis=dim, keepdims=True)
    return fnp.where(none, fnp.zeros((), x.dtype), nn.softmax(fnp.where(none, fnp.zeros((), x.dtype), x), axis=dim))


@define("aten._log_softmax.default")
def log_softmax_core(x: Any, dim: int, half_to_float: bool = False) -> Array:
    return nn.log_softmax(x, axis=dim)


@define("aten.topk.default")
def topk(x: Any, k: int, dim: int = -1, largest: bool = True, ordered: bool = True) -> tuple[Array, Array]:
    order = fnp.argsort(x, axis=dim, descending=largest)
    return chosen(x, lax.slice_in_dim(order, 0, k, axis=dim), dim, True)


@define("aten.sort.default")
def sort(x: Any, dim: int = -1, descending: bool = False) -> tuple[Array, Array]:
    return chosen(x, fnp.argsort(x, axis=dim, descending=descending), dim, True)


@define("aten.sort.stable")
def sort_stable(x: Any, stable: Any, dim: int = -1, descending: bool = False) -> tuple[Array, Array]:
    return sort(x, dim, descending)


@define("aten.argsort.default")
def argsort(x: Any, dim: int = -1, descending: bool = False) -> Array:
    return fnp.argsort(x, axis=dim, descending=descending)


@define("aten.linear.default")
def linear(x: Any, weight: Any, bias: Any = None) -> Array:
    out = fnp.matmul(x, weight.T)
    return out if bias is None else out + bias


@define("aten.matmul.default", "aten.mm.default", "aten.bmm.default", "aten.mv.default", "aten.dot.default",
        "aten.linalg_matmul.default")  # fmt: skip
def matmul(a: Any, b: Any) -> Array:
    return fnp.matmul(a, b)


@define("aten.addmm.default", "aten.baddbmm.default", "aten.addmv.default")
def addmm(x: Any, a: Any, b: Any, beta: Any = 1, alpha: Any = 1) -> Array:
    product = fnp.matmul(a, b)
    product = product if alpha == 1 else product * alpha
    return product if beta == 0 else product + (x if beta == 1 else x * beta)


@define("aten.outer.default", "aten.ger.default")
def outer(a: Any, b: Any) -> Array:
    return fnp.outer(a, b)


@define("aten.einsum.default")
def einsum(equation: str, operands: Sequence[Any], path: Any = None) -> Array:
    return fnp.einsum(equation, *operands)


@define("aten.bilinear.default")
def bilinear(a: Any, b: Any, weight: Any, bias: Any = None) -> Array:
    out = fnp.einsum("...i,oij,...j->...o", a, weight, b)
    return out if bias is None else out + bias


@define("aten.cosine_similarity.default")
def cosine_similarity(a: Any, b: Any, dim: int = 1, eps: float = 1e-8) -> Array:
    lengths = [fnp.maximum(vector_norm(v, 2, dim, True), fnp.asarray(eps, v.dtype)) for v in (a, b)]
    return fnp.sum((a / lengths[0]) * (b / lengths[1]), axis=dim)


def reduced(loss: Any, reduction: int) -> Array:
    """A loss by PyTorch's number of a reduction: none, mean, sum."""
    return loss if reduction == 0 else fnp.mean(loss) if reduction == 1 else fnp.sum(loss)


@define("aten.mse_loss.default")
def mse_loss(x: Any, target: Any, reduction: int = 1) -> Array:
    return reduced((x - target) ** 2, reduction)


@define("aten.l1_loss.default")
def l1_loss(x: Any, target: Any, reduction: int = 1) -> Array:
    return reduced(fnp.abs(x - target), reduction)


@define("aten.smooth_l1_loss.default")
def smooth_l1_loss(x: Any, target: Any, reduction: int = 1, beta: float = 1.0) -> Array:
    gap = fnp.abs(x - target)
    return reduced(fnp.where(gap < beta, gap * gap / (2 * beta), gap - beta / 2), reduction)


@define("aten.binary_cross_entropy_with_logits.default")
def binary_cross_entropy_with_logits(
    x: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: int = 1
) -> Array:
    positive, negative = target * nn.log_sigmoid(x), (1 - target) * nn.log_sigmoid(-x)
    loss = -(positive if pos_weight is None else positive * pos_weight) - negative
    return reduced(loss if weight is None else loss * weight, reduction)


@define("aten.nll_loss.default", "aten.nll_loss_nd.default")
def nll_loss(logs: Any, target: Any, weight: Any = None, reduction: int = 1, ignore_index: int = -100) -> Array:
    axis = 1 if logs.ndim > 1 else 0
    kept = target != ignore_index
    safe = fnp.where(kept, target, fnp.zeros((), target.dtype))
    taken = -fnp.squeeze(fnp.take_along_axis(logs, fnp.expand_dims(safe, axis), axis=axis), axis)
    weights = kept.astype(logs.dtype) if weight is None else fnp.take(weight, safe, axis=0) * kept
    loss = taken * weights
    return loss if reduction == 0 else fnp.sum(loss) / fnp.sum(weights) if reduction == 1 else fnp.sum(loss)


@define("aten.cross_entropy_loss.default")
def cross_entropy_loss(
    x: Any, target: Any, weight: Any = None, reduction: int = 1, ignore_index: int = -100, label_smoothing: float = 0.0
) -> Array:
    axis = 1 if x.ndim > 1 else 0
    logs = nn.log_softmax(x, axis=axis)
    if fnp.issubdtype(target.dtype, fnp.integer) and label_smoothing == 0:
        return nll_loss(logs, target, weight, reduction, ignore_index)
    if fnp.issubdtype(target.dtype, fnp.integer):
        kept = target != ignore_index
        safe = fnp.where(kept, target, fnp.zeros((), target.dtype))
        probabilities = nn.one_hot(safe, x.shape[axis], dtype=x.dtype, axis=axis)
    else:
        kept, probabilities = None, target
    probabilities = probabilities * (1 - label_smoothing) + label_smoothing / x.shape[axis]
    weights = 1 if weight is None else weight.reshape(-1, *[1] * (x.ndim - axis - 1))
    loss = -fnp.sum(logs * probabilities * weights, axis=axis)
    if kept is not None:
        loss = loss * kept
    if reduction != 1:
        return reduced(loss, reduction)
    if kept is None:
        return fnp.sum(loss) / (loss.size)
    each = kept.astype(x.dtype) if weight is None else fnp.take(weight, safe, axis=0) * kept
    return fnp.sum(loss) / fnp.sum(each)
