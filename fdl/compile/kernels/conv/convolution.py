"""Convolutions of one to three spatial dimensions on the register tile, and depthwise ones on vectors.

``emit(module, target, spec, epilogue, extras)`` emits a kernel (see `kernel`) with operands (x, w, y, *extras):

    y[n, o, f] = sum over taps t and channels c of x[n, p, c] * w[t, c, f]
    with p = (o * stride + t * rhs_dilation - low) / lhs_dilation

where terms whose position p is no whole element of x are left out. Every operand has any element strides, so the same
kernel serves

* the forward pass (x channels last),
* the gradient by x: x is the output's gradient, w is read reversed (negative spatial strides, `w` pointing to its
  last tap) with c and f swapped, `lhs_dilation` is the forward stride,
* the gradient by w: batch and channels of x change places by strides alone (`batch` = input channels, stride 1), the
  output's gradient is w, `rhs_dilation` is the forward stride. Units of work are then parts of the window.

y must have unit stride along f (or one output feature). Which algorithm runs follows from the strides of x and, for
Winograd's, from the sizes of an image.
"""

import math
from dataclasses import replace
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.conv import by_blocks, depthwise, dots, pixels, taps, weights_by_blocks, winograd
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.kernel import Epilogue, Kernel, kernel_function
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.sharing import LONG
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import I64, POINTER, Value


def takes_epilogue(spec: Convolution) -> bool:
    """Whether the best algorithm for `spec` takes an epilogue; others serve if it must."""
    return spec.batch_groups == 1 and not taps.fits(spec)


def takes_pairs(spec: Convolution) -> bool:
    """Whether the best algorithm for a convolution of bfloat16 sums over channels first, so that they can be paired."""
    return spec.in_features > 1 and not taps.fits(spec)


def emit(
    module: ir.Module, target: Target, spec: Convolution, epilogue: Epilogue | None = None, extras: int = 0
) -> Kernel:
    """Emit the kernel of `spec`; the epilogue's indices are (batch, *spatial, channel) of y."""
    if spec.batch_groups > 1:
        weights = _depthwise_weights(spec)
        if weights is not None and epilogue is None and depthwise.fits(weights, target):
            return emit_depthwise_weights(module, target, weights)
        return _emit_batch_groups(module, target, spec, epilogue, extras)
    outputs = spec.batch * math.prod(spec.out_spatial) * spec.out_features
    if outputs == 0:
        build = kernel_function(module, target, "conv.nothing", 3 + extras)
        build.ret()
        return Kernel(build.function, 0, 0)
    build = kernel_function(module, target, f"{LONG}conv", 3 + extras)
    if epilogue is None and weights_by_blocks.fits(spec, target):
        blocks = weights_by_blocks.Plan(spec, target)
        weights_by_blocks.Weights(build, blocks).emit()
        return Kernel(build.function, blocks.scratch_bytes, blocks.work)
    if epilogue is None and taps.fits(spec):
        by_taps = taps.Plan(taps.exchanged(spec, target) or spec, target)
        taps.Taps(build, by_taps, by_taps.spec is not spec).emit()
        return Kernel(build.function, by_taps.scratch_bytes, by_taps.work)
    plan: pixels.Plan | winograd.WinogradPlan
    if winograd.fits(spec, target):
        plan = winograd.WinogradPlan(spec, target)
        winograd.Winograd(build, plan, epilogue, extras).emit()
    elif depthwise.fits(spec, target):
        plan = depthwise.DepthwisePlan(spec, target)
        depthwise.Depthwise(build, plan, epilogue, extras).emit()
    elif dots.fits(spec, target):
        plan = dots.DotPlan(spec, target)
        dots.Dots(build, plan, epilogue, extras).emit()
    elif by_blocks.fits(spec, target):
        plan = by_blocks.PixelBlockPlan(spec, target)
        by_blocks.Blocks(build, plan, epilogue, extras).emit()
    else:
        plan = pixels.Plan(spec, target)
        pixels.Pixels(build, plan, epilogue, extras).emit()
    build.ret()
    return Kernel(build.function, plan.scratch_bytes, plan.work)


def _emit_batch_groups(
    module: ir.Module, target: Target, spec: Convolution, epilogue: Epilogue | None, extras: int
) -> Kernel:
    """One convolution after the other; units of work are groups."""
    groups, features = spec.batch_groups, spec.out_features // spec.batch_groups
    one = replace(spec, batch=spec.batch // groups, out_features=features, batch_groups=1)
    build = kernel_function(module, target, "conv.batch_groups", 3 + extras)
    with build.loop(build.argument(-2, "int64"), build.argument(-1, "int64")) as group:

        def shifted(
            build: Build, value: Value, index: tuple[Value, ...], pointers: Any, mask: Value | None, axis: int = -1
        ) -> Value | None:
            """The epilogue with the channel counted over all groups; the group is its last extra pointer."""
            assert epilogue is not None
            number = build.value(build.ir.ptrtoint(pointers[-1], I64), "int64")
            return epilogue(build, value, (*index[:-1], index[-1] + number * features), pointers[:-1], mask, axis)

        inner = emit(module, target, one, shifted if epilogue else None, extras + bool(epilogue))
        x, w, y, *others = build.function.args[: 3 + extras]
        distances = (one.batch * spec.x[0], features * spec.w[-1], features * spec.y[-1])
        moved = [build.at(p, group * d, spec.dtype) for p, d in zip((x, w, y), distances, strict=True)]
        number = [build.ir.inttoptr(group.ir, POINTER)] if epilogue else []
        inner.run(build, [*moved, *others, *number], build.function.args[-3])
    build.ret()
    return Kernel(build.function, inner.scratch_bytes, groups if inner.work else 0)


def _depthwise_weights(spec: Convolution) -> Convolution | None:
    """The forward convolution in groups of like sizes whose gradient by the weights `spec` is, if it is one."""
    channels = spec.batch
    if spec.out_features != channels or spec.groups > 1 or any(d > 1 for d in spec.lhs_dilation):
        return None
    return replace(
        spec, batch=spec.in_features, in_features=channels, window=spec.out_spatial, out_spatial=spec.window,
        stride=spec.rhs_dilation, rhs_dilation=spec.stride, groups=spec.batch_groups, batch_groups=1,
        x=(spec.x[-1], *spec.x[1:-1], spec.x[0]), w=(*spec.y[1:-1], spec.y[0], spec.y[-1]),
        y=(spec.w[-2], *spec.w[:-2], spec.w[-1]),
    )  # fmt: skip


def emit_depthwise_weights(module: ir.Module, target: Target, spec: Convolution) -> Kernel:
    """Emit the gradient by the weights of a convolution in small groups (see `depthwise`).

    Args:
        module: where it goes.
        target: the processor.
        spec: the *forward* convolution without `lhs_dilation`; `y` describes its output's gradient.

    Returns:
        The kernel with operands (x, dy, dw); dw has the strides `spec.w`.
    """
    build = kernel_function(module, target, "conv.depthwise.weights", 3)
    plan = pixels.Plan(spec, target)
    depthwise.emit_weights(build, plan)
    return Kernel(build.function, plan.image.elements * spec.dtype.itemsize, -(-spec.in_features // plan.lanes))
