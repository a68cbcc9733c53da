"""Losses of predicted distributions of numbers: negative log likelihoods and scores."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl import lax
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.nn.losses.reduction import EXAMPLES, RAISES, covered, reduced
from fdl.numpy._operands import floating
from fdl.ops.arithmetic import stop_gradient

_elementwise = fill_docstring(
    {
        "means": "predicted means.",
        "variances": "predicted variances, positive, which broadcast with them.",
        "targets": "what was observed, of a common shape.",
        **EXAMPLES,
    },
    "An array of the common shape, unless reduced.",
    RAISES,
)


@_elementwise
def gaussian_nll_loss(
    means: Any, targets: Any, variances: Any, full: bool = False, epsilon: float = 1e-6, *, mask: Any = None,
    weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """Negative log likelihood of normal distributions, elementwise. Source: Nix, Weigend (1994).

    Args:
        full: whether the constant log(2 pi) / 2 is added.
        epsilon: the smallest variance; below it no gradient flows into variances.

    >>> gaussian_nll_loss(fnp.array([1.0]), fnp.array([3.0]), fnp.array([1.0])).tolist()
    [2.0]
    """
    means, targets, variances = covered(mask, floating(means), floating(targets), floating(variances))
    variances = variances + stop_gradient(fnp.maximum(epsilon - variances, 0.0))
    losses = 0.5 * (fnp.log(variances) + fnp.square(targets - means) / variances)
    return reduced(losses + 0.5 * math.log(2 * math.pi) if full else losses, mask, weights, reduction)


@_elementwise
def poisson_nll_loss(
    predictions: Any, targets: Any, log_input: bool = True, full: bool = False, epsilon: float = 1e-8, *,
    mask: Any = None, weights: Any = None, reduction: str = "none",
) -> Array:  # fmt: skip
    """Negative log likelihood of counts, elementwise.

    Args:
        predictions: logarithms of the predicted means (the means, if not `log_input`).
        log_input: whether predictions are logarithms.
        full: whether the constant log(targets!) is added.
        epsilon: added to means under the logarithm.

    >>> poisson_nll_loss(fnp.array([0.0]), fnp.array([3.0])).tolist()
    [1.0]
    """
    predictions, targets = covered(mask, floating(predictions), floating(targets))
    if log_input:
        losses = fnp.exp(predictions) - targets * predictions
    else:
        losses = predictions - targets * fnp.log(predictions + epsilon)
    return reduced(losses + lax.lgamma(targets + 1.0) if full else losses, mask, weights, reduction)


@_elementwise
def gaussian_crps(
    means: Any, targets: Any, deviations: Any, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Continuous ranked probability score of normal distributions, elementwise. Source: Gneiting et al. (2005), eq. 5.

    Args:
        deviations: predicted standard deviations, positive.

    >>> round(gaussian_crps(fnp.array([0.0]), fnp.array([0.0]), fnp.array([1.0])).item(), 4)
    0.2337
    """
    means, targets = covered(mask, floating(means), floating(targets))
    (deviations,) = covered(mask, floating(deviations), fill=1)
    z = (targets - means) / deviations
    density = fnp.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    losses = deviations * (z * lax.erf(z / math.sqrt(2.0)) + 2 * density - 1 / math.sqrt(math.pi))
    return reduced(losses, mask, weights, reduction)


@_elementwise
def ensemble_crps(
    samples: Any, targets: Any, axis: int = -1, *, mask: Any = None, weights: Any = None, reduction: str = "none"
) -> Array:
    """Continuous ranked probability score of samples. Source: Gneiting, Raftery (2007), eq. 20.

    Args:
        samples: [..., members].
        targets: an array without the axis of members.
        axis: of the members.

    >>> ensemble_crps(fnp.array([0.0, 2.0]), fnp.array(0.0)).item()
    0.5
    """
    samples = fnp.moveaxis(floating(samples), axis, -1)
    targets = floating(targets)
    (samples,), (targets,) = covered(mask, samples, axis=-1), covered(mask, targets)
    count = samples.shape[-1]
    ordered = fnp.sort(samples, axis=-1)
    # The sum of all distances, from the ranks.
    ranks = 2 * fnp.arange(1, count + 1, dtype=samples.dtype) - count - 1
    spread = fnp.sum(ranks * ordered, axis=-1) / count**2
    losses = fnp.mean(fnp.abs(samples - targets[..., None]), axis=-1) - spread
    return reduced(losses, mask, weights, reduction)
