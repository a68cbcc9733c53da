"""The lowering of convolutions: the form and the dtypes that the kernels compute, and how a step calls them."""

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.ir.affine import Affine, strides
from fdl.compile.ir.loops import Reduce, combined
from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.conv import convolution
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.kernel import call_divided, run_kernel
from fdl.compile.kernels.matmul.product import takes_pairs
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import HALVES
from fdl.compile.loopnest.nest import NestEmitter
from fdl.compile.loopnest.team import Team
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Types
from fdl.compile.lowerings.words import shape_text
from fdl.core.program import Equation, Var
from fdl.core.types import TensorType
from fdl.dtypes import bfloat16, float32
from fdl.ops.conv import ConvDimensionNumbers, ConvGeneral

#: Output features of a tile: what kernels cut the work of a convolution into.
_TILE = 16


def features_last(ndim: int) -> ConvDimensionNumbers:
    """The canonical form: features last in data and result, output features last in the kernel."""
    spatial = tuple(range(1, ndim - 1))
    data, kernel = (0, ndim - 1, *spatial), (ndim - 1, ndim - 2, *range(ndim - 2))
    return ConvDimensionNumbers(data, kernel, data)


class ConvolutionLowering(Lowering[ConvGeneral]):
    """A convolution with features last, and what is computed on its result while that is in the cache."""

    operations = (ConvGeneral,)
    reads_views = True
    parallel = True

    def effort(self, operation: ConvGeneral, operands: Types, results: Types) -> int:
        out = results[0]
        return 2 * out.size * operands[1].size // max(1, out.shape[-1])

    def flops(self, operation: ConvGeneral, operands: Types, results: Types) -> int:
        out = results[0]
        taps = operands[1].size // max(1, out.shape[-1])
        # Of an upsampled image only one element in so many is no zero.
        return 2 * out.size * taps // prod(operation.lhs_dilation)

    def describe(self, operation: ConvGeneral, operands: Types, results: Types) -> str:
        given = {"stride": operation.strides, "dilation": operation.rhs_dilation, "upsampling": operation.lhs_dilation}
        more = [f"{k} {'x'.join(map(str, v))}" for k, v in given.items() if set(v) != {1}]
        groups = max(operation.feature_group_count, operation.batch_group_count)
        more += [f"{groups} groups"] if groups > 1 else []
        x, w = operands
        return " ".join([f"convolution {shape_text(x.shape)} * {shape_text(w.shape)}", *more])

    @staticmethod
    def takes_dtype(dtype: Any) -> bool:
        """Whether convolutions of this dtype have a kernel."""
        return np.dtype(dtype) in (np.float32, np.float64)

    @classmethod
    def has_kernel(cls, operation: ConvGeneral, x: TensorType, out: TensorType) -> bool:
        """Whether a convolution, once its features are last, is of dtypes that the kernels take.

        Groups of 8-bit integers have an even number of channels each, so that words hold two of one group.
        """
        if takes_pairs(x.dtype, out.dtype):
            groups, channels = operation.feature_group_count, x.shape[operation.numbers.lhs_spec[1]]
            return operation.batch_group_count == 1 and (groups == 1 or channels // groups % 2 == 0)
        if x.dtype in HALVES:
            grouped = operation.feature_group_count * operation.batch_group_count > 1
            return not grouped and out.dtype in (x.dtype, float32)
        return x.dtype == out.dtype and cls.takes_dtype(out.dtype)

    def takes_epilogue(self, operation: ConvGeneral, equation: Equation) -> bool:
        x, out = equation.inputs[0].type, equation.outputs[0].type
        # A few channels fill no vectors: loops over narrow rows are faster.
        fills = out.shape[-1:] and (out.shape[-1] % 8 == 0 or out.shape[-1] > 32)
        numbers = x.ndim > 2 and operation.numbers == features_last(x.ndim)
        return bool(out.size > 0 and fills and numbers and self.has_kernel(operation, x, out))

    def supports(self, step: KernelStep) -> bool:
        operation, x, out = self.operation(step), step.views[0].type, step.equation.outputs[0].type
        canonical = x.ndim > 2 and operation.numbers == features_last(x.ndim)
        return canonical and self.has_kernel(operation, x, out)

    def workspace_bytes(self, step: KernelStep) -> int:
        count = chunks(step, self.operation(step))
        return count * nbytes(step.equation.outputs[0].type) if count > 1 else 0

    def fuses_epilogue(self, step: KernelStep) -> bool:
        return chunks(step, self.operation(step)) == 1 and convolution.takes_epilogue(
            convolution_of(step, self.operation(step))
        )

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        spec, count = convolution_of(step, self.operation(step)), chunks(step, self.operation(step))
        if count > 1:
            _emit_chunks(emitter, step, spec, count)
            return
        (x, w), (out,) = step.views, step.equation.outputs
        emission = emitter.emission
        epilogue = emitter.epilogue(step, len(out.type.shape)) if self.fuses_epilogue(step) else None
        operands = epilogue.operands if epilogue else []
        run_kernel(
            emitter,
            f"{spec} {epilogue and epilogue.key()}",
            lambda: convolution.emit(emission.module, emission.target, spec, epilogue, len(operands)),
            [emitter.first(x), emitter.first(w), *map(emitter.pointer, (out, *operands))],
        )


def convolution_of(step: KernelStep, operation: ConvGeneral) -> Convolution:
    """What the kernel of a step computes."""
    (x, w), (out,) = step.views, step.equation.outputs
    (batch, *spatial, features), (*window, _, out_features) = x.type.shape, w.type.shape
    dtype = x.type.dtype
    spec = Convolution(
        dtype, batch, features, out_features, tuple(spatial), tuple(window), out.type.shape[1:-1],
        operation.strides, tuple(low for low, _ in operation.padding), operation.lhs_dilation, operation.rhs_dilation,
        operation.feature_group_count, x.strides, w.strides, strides(out.type.shape), operation.batch_group_count,
        dtype in HALVES and out.type.dtype != dtype, direct=operation.precision is not None,
    )  # fmt: skip
    by_words = dtype == bfloat16 and host_target().low_products != "panels"
    paired = by_words and convolution.takes_pairs(spec)
    return replace(spec, paired=True) if paired else spec


def chunks(step: KernelStep, operation: ConvGeneral) -> int:
    """Into how many sums a convolution is divided, its operands having features last; 1 is as it is.

    Few outputs may be long sums: the gradient by the weights of a first layer is, as its channels are the images of the
    batch. How many chunks there are depends on the shapes only, so that bits do not depend on the number of threads.
    """
    (x, w), out = (v.type for v in step.views), step.equation.outputs[0].type
    tuning, channels, outputs = host_target().tuning, x.shape[-1], out.shape[-1]
    if operation.feature_group_count > 1 or operation.batch_group_count > 1 or out.dtype.itemsize < 4:
        return 1
    if out.size > tuning.convolution_results:
        return 1
    units = out.shape[1] if x.shape[0] == 1 else -(-outputs // _TILE) * prod(out.shape[1:-1])
    if units >= tuning.convolution_units or 2 * out.size * (w.size // max(1, outputs)) < tuning.convolution_flops:
        return 1
    return next((n for n in tuning.convolution_chunks if channels % n == 0 and channels >= 2 * n), 1)


def _emit_chunks(emitter: Emitter, step: KernelStep, spec: Convolution, count: int) -> None:
    """Convolve every chunk into the workspace of the step, and add up."""
    emission, build, dtype = emitter.emission, emitter.build, spec.result
    team, (out,) = emission.team, step.equation.outputs
    one = replace(spec, in_features=spec.in_features // count)
    kernel = emission.shared(f"{one}", lambda: convolution.emit(emission.module, emission.target, one))
    scratch, sums = emission.scratch_for(kernel.scratch_bytes), emitter.workspace(step.workspace)
    pointers = [*map(emitter.first, step.views), sums]
    distances = one.in_features * spec.x[-1], one.in_features * spec.w[-2], out.type.size
    with build.loop(*team.share(count)) as chunk:
        dtypes = spec.dtype, spec.dtype, dtype
        moved = [build.at(p, chunk * d, t) for p, d, t in zip(pointers, distances, dtypes, strict=True)]
        kernel.run(build, moved, scratch)
    team.barrier()
    of_chunks, flat = Var(TensorType((count, out.type.size), dtype)), Affine(0, (1,), (out.type.size,))
    loops = combined(Reduce(out, flat, 0, "sum"), of_chunks)

    def fill(build: Build, team: Team, y: ir.Value, source: ir.Value) -> None:
        nest = NestEmitter(build, loops, lambda var: source if var is of_chunks else y)
        whole = team.together and nest.divide(team.share) == 1
        with team.alone() if whole else team.solo():
            nest.emit()

    call_divided(emitter, "total", (count, out.type.size, dtype), [emitter.pointer(out), sums], fill)
