"""Losses of numbers: one for each element, or for each vector."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl.api.custom import custom_jvp
from fdl.composite import composite
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, differences, reduced
from fdl.numpy._operands import floating, wide

#: A decorator of the losses of differences, each element of them alone.
_elementwise = fill_docstring(
    {"predictions": "floating array.", "targets": "array of the same shape; None stands for zeros.", **EXAMPLES},
    "An array like `predictions`, unless reduced.",
    RAISES,
)


@_elementwise
@composite
def squared_error(
    predictions: Any, targets: Any = None, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Squared differences, elementwise; None stands for zeros.

    >>> squared_error(fnp.array([1.0, 3.0]), fnp.array([1.0, 1.0])).tolist()
    [0.0, 4.0]
    """
    return reduced(fnp.square(differences(predictions, targets, mask)), mask, weights, reduction)


@_elementwise
@composite
def l2_loss(
    predictions: Any, targets: Any = None, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Half the squared differences, elementwise.

    >>> l2_loss(fnp.array([1.0, 3.0]), fnp.array([1.0, 1.0])).tolist()
    [0.0, 2.0]
    """
    return 0.5 * squared_error(predictions, targets, mask=mask, weights=weights, reduction=reduction)


@_elementwise
@composite
def absolute_error(
    predictions: Any, targets: Any = None, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Absolute differences, elementwise.

    >>> absolute_error(fnp.array([1.0, 3.0]), fnp.array([2.0, 1.0])).tolist()
    [1.0, 2.0]
    """
    return reduced(fnp.abs(differences(predictions, targets, mask)), mask, weights, reduction)


@_elementwise
@composite
def huber_loss(
    predictions: Any, targets: Any = None, delta: float = 1.0, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Half the squared difference where it is below delta, linear beyond, elementwise. Source: Huber (1964).

    Args:
        delta: where the parabola becomes a line, positive.

    >>> huber_loss(fnp.array([0.5, 3.0])).tolist()
    [0.125, 2.5]
    """
    error = fnp.abs(differences(predictions, targets, mask))
    inside = error <= delta
    small = fnp.where(inside, error, 0.0)  # so that no square overflows
    return reduced(fnp.where(inside, 0.5 * small**2, delta * (error - 0.5 * delta)), mask, weights, reduction)


@_elementwise
def smooth_l1_loss(
    predictions: Any, targets: Any = None, beta: float = 1.0, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """:func:`huber_loss` over `beta`: of slope 1 beyond it. Source: Girshick, "Fast R-CNN" (2015).

    Args:
        beta: where the parabola becomes a line, positive.

    >>> smooth_l1_loss(fnp.array([0.5, 3.0]), beta=2.0).tolist()
    [0.0625, 2.0]
    """
    return huber_loss(predictions, targets, beta, mask=mask, weights=weights, reduction=reduction) / beta


@_elementwise
@composite
def log_cosh(
    predictions: Any, targets: Any = None, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """log(cosh(difference)), elementwise, without overflow.

    >>> round(log_cosh(fnp.array([1000.0])).item(), 2)
    999.31
    """
    return reduced(_log_cosh(differences(predictions, targets, mask) * 1.0), mask, weights, reduction)


@custom_jvp
def _log_cosh(x: Array) -> Array:
    size = fnp.abs(x)
    near = size < 1.0
    # cosh(x) - 1 is 2 sinh(x / 2)**2; far from zero exp(-x) is small instead.
    excess = fnp.where(near, 2.0 * fnp.square(fnp.sinh(0.5 * fnp.where(near, x, 0.0))), fnp.exp(-2.0 * size))
    return fnp.log1p(excess) + fnp.where(near, 0.0, size - math.log(2.0))


@_log_cosh.defjvp
def _log_cosh_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    return _log_cosh(x), dx * fnp.tanh(x)


@_elementwise
def quantile_loss(
    predictions: Any, targets: Any = None, quantile: Any = 0.5, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """The pinball loss, which a quantile of the targets makes least, elementwise. Source: Koenker, Bassett (1978).

    Args:
        quantile: which one, in (0, 1); an array broadcasts.

    >>> [round(x, 3) for x in quantile_loss(fnp.array([0.0, 2.0]), fnp.array([1.0, 1.0]), 0.9).tolist()]
    [0.9, 0.1]
    """
    error = -differences(predictions, targets, mask)
    return reduced(fnp.maximum(quantile * error, (quantile - 1) * error), mask, weights, reduction)


@_elementwise
def absolute_percentage_error(
    predictions: Any, targets: Any, epsilon: float = 1e-7, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Absolute differences in percent of the targets, elementwise.

    Args:
        epsilon: the smallest modulus of a target that counts.

    >>> absolute_percentage_error(fnp.array([3.0]), fnp.array([4.0])).tolist()
    [25.0]
    """
    error, (targets,) = differences(predictions, targets, mask), covered(mask, targets)
    return reduced(100.0 * fnp.abs(error) / fnp.maximum(fnp.abs(floating(targets)), epsilon), mask, weights, reduction)


@_elementwise
def symmetric_absolute_percentage_error(
    predictions: Any, targets: Any, epsilon: float = 1e-7, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Absolute differences in percent of both moduli's mean, elementwise. Source: Makridakis (1993).

    Args:
        epsilon: the smallest divisor.

    >>> symmetric_absolute_percentage_error(fnp.array([3.0]), fnp.array([5.0])).tolist()
    [50.0]
    """
    error, (predictions, targets) = differences(predictions, targets, mask), covered(mask, predictions, targets)
    between = (fnp.abs(floating(predictions)) + fnp.abs(floating(targets))) / 2
    return reduced(100.0 * fnp.abs(error) / fnp.maximum(between, epsilon), mask, weights, reduction)


@_elementwise
def squared_log_error(
    predictions: Any, targets: Any, epsilon: float = 0.0, *, mask: Any = None, weights: Any = None,
    reduction: str = "none",
) -> Array:  # fmt: skip
    """Squared differences of log(1 + x), elementwise; smaller numbers than `epsilon` count as that.

    Args:
        epsilon: the smallest number.

    >>> round(squared_log_error(fnp.array([math.e - 1]), fnp.array([0.0])).item(), 3)
    1.0
    """
    differences(predictions, targets)
    predictions, targets = covered(mask, floating(predictions), floating(targets))
    logs = [fnp.log1p(fnp.maximum(x, epsilon)) for x in (predictions, targets)]
    return reduced(fnp.square(logs[0] - logs[1]), mask, weights, reduction)


_vectors = fill_docstring(
    {"predictions": "floating array [..., n].", "targets": "like `predictions`.", "axis": "of the vectors.",
     "epsilon": "the smallest norm that counts.", "where": "bool, which elements of the vectors count; None is all.",
     **EXAMPLES},
    "An array without the axis, unless reduced.",
    RAISES,
)  # fmt: skip


@_vectors
@composite
def cosine_similarity(
    predictions: Any, targets: Any, epsilon: float = 0.0, axis: int = -1, where: Any = None, *, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """Cosine of the angle between vectors along an axis; norms are at least `epsilon`.

    >>> round(cosine_similarity(fnp.array([1.0, 1.0]), fnp.array([1.0, 0.0])).item(), 3)
    0.707
    """
    predictions, targets = covered(mask, floating(predictions), floating(targets), axis=axis)

    def unit(x: Array) -> Array:
        x = wide(x) if where is None else fnp.where(where, wide(x), 0.0)
        square = fnp.sum(x * x, axis=axis, keepdims=True)
        zero = square <= epsilon**2
        norm = fnp.where(zero, epsilon, fnp.sqrt(fnp.where(zero, 1.0, square)))
        return x / norm if mask is None else x / fnp.where(norm == 0, 1.0, norm)

    cosine = fnp.sum(unit(predictions) * unit(targets), axis=axis)
    return reduced(cosine.astype(fnp.result_type(predictions, targets, 1.0)), mask, weights, reduction)


@_vectors
@composite
def cosine_distance(
    predictions: Any, targets: Any, epsilon: float = 0.0, axis: int = -1, where: Any = None, *, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """One minus :func:`cosine_similarity`.

    >>> cosine_distance(fnp.array([2.0, 0.0]), fnp.array([0.0, 1.0])).item()
    1.0
    """
    distance = 1.0 - cosine_similarity(predictions, targets, epsilon, axis, where, mask=mask)
    return reduced(distance, mask, weights, reduction)
