"""Gradients as bfloat16 on the wire: rounded to nearest, what is lost goes along with the next one (error feedback).

Source: Seide et al., "1-Bit Stochastic Gradient Descent", Interspeech 2014 (section 3.2); Karimireddy et al., "Error
Feedback Fixes SignSGD and other Gradient Compression Schemes", ICML 2019.
"""

from typing import Any

import ml_dtypes
import numpy as np

import fdl
import fdl.numpy as fnp

LARGEST = float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)


def round_with_feedback(gradient: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round a gradient, and what was lost before, to bfloat16.

    Nothing is lost: the new residual is `gradient + residual - rounded`, computed exactly and rounded to float32 once.
    A finite value stays finite: of one that is beyond the largest bfloat16, the excess is in the residual. NaN and
    infinity of the gradient pass, and leave the residual as it was. Neither argument is changed, so that a step that is
    not taken keeps its residual.

    Args:
      gradient: float32 array (n,).
      residual: float32 array (n,), finite; zeros before the first step, then what the last call returned.

    Returns:
      The rounded values, bfloat16 (n,), to be sent; and the new residual, float32 (n,).

    >>> rounded, residual = round_with_feedback(np.float32([1.0009765625]), np.zeros(1, np.float32))
    >>> rounded.item(), residual.item()
    (1.0, 0.0009765625)
    """
    rounded, left = _round(gradient, residual)
    return np.asarray(rounded), np.asarray(left)


def widen(rounded: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 ones, exactly.

    Args:
      rounded: bfloat16 array (n,), or its bits as uint16.

    Returns:
      float32 array (n,).

    >>> widen(np.array([0x3F80, 0xC000], np.uint16))
    array([ 1., -2.], dtype=float32)
    """
    bits = rounded.view(np.uint16).astype(np.uint32)
    return np.left_shift(bits, 16, out=bits).view(np.float32)


@fdl.jit
def _round(gradient: Any, residual: Any) -> tuple[Any, Any]:
    total = gradient + residual
    finite = fnp.isfinite(gradient)
    rounded = fnp.where(finite, fnp.clip(total, -LARGEST, LARGEST), total).astype(fnp.bfloat16)
    sent = rounded.astype(fnp.float32)
    # What the addition itself has lost (Knuth, TAOCP 2, 4.2.2, theorem B); total - sent is exact.
    virtual = total - gradient
    lost = (gradient - (total - virtual)) + (residual - virtual)
    left = fnp.where(fnp.isfinite(total), (total - sent) + lost, (gradient - sent) + residual)
    return rounded, fnp.where(finite, left, residual)
