"""Window reductions and the gradient of max pooling, vectorised over the innermost dimension.

Both take arrays that are contiguous in the order (outer, *spatial, inner); a reduction over windows of some dimensions of any array has
this form when the leading dimensions without window are merged into `outer` and the trailing ones into `inner`.

* ``emit_reduce(module, target, spec, kind)``: operands (x, y). kind is ``sum``, ``prod``, ``max`` or ``min``; padding counts as the identity of
  the kind (-inf or the smallest integer for max).
* ``emit_select_and_scatter(module, target, spec, kind)``: operands (x, dy, dx). dx is zero except that each window's dy is
  added to the position of its first extreme element (`kind` ``max`` or ``min``; NaN counts as extreme).
* ``emit_depthwise...`` lives in `conv`.

Units of work are the `outer` elements.
"""

from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.kernel import Kernel
from fdl.compile.target import Target

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window over the spatial dimensions; tuples have one entry for each of them (any number).

    Attributes:
        dtype: any integer or float dtype.
        outer, inner: sizes of the merged leading and trailing dimensions.
        in_spatial, window, out_spatial: sizes of x, the window and y.
        stride: step of the window.
        low: padding before x (may be negative); the padding after follows from `out_spatial`.
        dilation: distance of two taps of the window.
        base_dilation: distance of two elements of x (zeros, or identities, between them).
    """

    dtype: np.dtype
    outer: int
    inner: int
    in_spatial: Sizes
    window: Sizes
    out_spatial: Sizes
    stride: Sizes
    low: Sizes
    dilation: Sizes
    base_dilation: Sizes


def emit_reduce(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the reduction of every window of x by `kind`."""
    raise NotImplementedError


def emit_select_and_scatter(module: ir.Module, target: Target, spec: Window, kind: str) -> Kernel:
    """Emit the gradient of max or min pooling."""
    raise NotImplementedError
