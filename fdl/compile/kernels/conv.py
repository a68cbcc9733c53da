"""Convolutions of one to three spatial dimensions on the register tile, and depthwise ones on vectors.

``emit(module, target, spec, epilogue, extras)`` emits a kernel (see `kernel`) with operands (x, w, y, *extras):

    y[n, o, f] = sum over taps t and channels c of  x[n, (o * stride + t * rhs_dilation - low) / lhs_dilation, c] * w[t, c, f]

where terms whose position is no whole element of x are left out. Every operand has any element strides, so the same
kernel serves

* the forward pass (x channels last),
* the gradient by x: x is the output's gradient, w is read reversed (negative spatial strides, `w` pointing to its
  last tap) with c and f swapped, `lhs_dilation` is the forward stride,
* the gradient by w: batch and channels of x change places by strides alone (`batch` = input channels, stride 1), the
  output's gradient is w, `rhs_dilation` is the forward stride. Units of work are then parts of the window.

y must have unit stride along f (or one output feature). Which algorithm runs follows from the strides of x.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import Epilogue, Kernel
from fdl.compile.target import Target

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """A convolution; tuples have one entry for each spatial dimension, strides count elements.

    Attributes:
        dtype: float32 or float64.
        batch: images.
        in_features: channels of x, all groups together.
        out_features: channels of y, all groups together.
        in_spatial, window, out_spatial: spatial sizes of x, w and y.
        stride, low, lhs_dilation, rhs_dilation: as in the formula; `low` is the padding before, it may be negative.
            The padding after follows from `out_spatial`.
        groups: feature groups; w has in_features // groups input channels.
        x: strides of x along (batch, *spatial, channel).
        w: strides of w along (*window, input channel within the group, output channel of all groups).
        y: strides of y along (batch, *spatial, channel).
    """

    dtype: np.dtype
    batch: int
    in_features: int
    out_features: int
    in_spatial: Sizes
    window: Sizes
    out_spatial: Sizes
    stride: Sizes
    low: Sizes
    lhs_dilation: Sizes
    rhs_dilation: Sizes
    groups: int
    x: Sizes
    w: Sizes
    y: Sizes


def supports(dtype: Any) -> bool:
    """Whether convolutions of this dtype have a kernel."""
    return np.dtype(dtype) in (np.float32, np.float64)


def emit(
    module: ir.Module, target: Target, spec: Convolution, epilogue: Epilogue | None = None, extras: int = 0
) -> Kernel:
    """Emit the kernel of `spec`; the epilogue's indices are (batch, *spatial, channel) of y."""
    raise NotImplementedError
