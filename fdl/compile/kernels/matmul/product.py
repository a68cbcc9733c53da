"""The lowering of contractions: the form and the dtypes that the matrix kernel computes, and how a step calls it."""

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np

from fdl.compile.ir.affine import strides
from fdl.compile.ir.plan import Step
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.kernel import Kernel
from fdl.compile.kernels.matmul import contraction
from fdl.compile.kernels.matmul.spec import LEAST, Contraction
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import HALVES
from fdl.compile.loopnest.epilogue import EpilogueEmitter
from fdl.compile.lowerings.emitter import Emission, Emitter
from fdl.compile.lowerings.lowering import Lowering, Op, Types
from fdl.compile.lowerings.words import shape_text
from fdl.core.operation import Operation
from fdl.core.program import Equation
from fdl.dtypes import bfloat16, float32, float64, int8, int32
from fdl.ops.contract import DotGeneral


def product(ndim: int, dtype: np.dtype | None = None) -> DotGeneral:
    """The canonical form of contractions: the matrix product of (batch..., m, k) with (batch..., k, n)."""
    batch = tuple(range(ndim - 2))
    return DotGeneral(((ndim - 1,), (ndim - 2,)), (batch, batch), dtype)


class MatrixLowering(Lowering[Op]):
    """Base: a product of matrices, the last axis of the first one summed."""

    reads_views = True
    parallel = True

    def depth(self, operation: Op, operands: Types) -> int:
        """How many products are summed for each element of the result."""
        return operands[0].shape[-1]

    def effort(self, operation: Op, operands: Types, results: Types) -> int:
        return 2 * results[0].size * self.depth(operation, operands)

    def flops(self, operation: Op, operands: Types, results: Types) -> int:
        each = 8 if results[0].dtype.kind == "c" else 2
        return each * results[0].size * self.depth(operation, operands)

    def describe(self, operation: Op, operands: Types, results: Types) -> str:
        out, inner = results[0].shape, self.depth(operation, operands)
        if len(out) < 2:
            return super().describe(operation, operands, results)
        left, right = (*out[:-1], inner), (*out[:-2], inner, out[-1])
        return f"matmul {shape_text(left)} @ {shape_text(right)}"


def takes_pairs(operand: Any, result: Any) -> bool:
    """Whether products of these dtypes are those of 8-bit integers, summed in 32 bits."""
    return bool(operand == int8 and result == int32)


class ProductLowering(MatrixLowering[DotGeneral]):
    """A batched matrix product in canonical form, and what is computed on its result while that is in the cache."""

    operations = (DotGeneral,)

    def depth(self, operation: DotGeneral, operands: Types) -> int:
        return prod(operands[0].shape[axis] for axis in operation.contracting[0])

    @staticmethod
    def takes_dtype(dtype: Any, depth: int = 0) -> bool:
        """Whether products of this dtype have a kernel, for sums of `depth` of them.

        Complex numbers, booleans and integers of 8 and 16 bits have none (but see `takes_pairs`). The sums of 16-bit
        floats must not leave the registers, so that long ones are left to a float32 product of converted operands.
        """
        dtype = np.dtype(dtype)
        if dtype in HALVES:
            return depth <= host_target().tuning.half_depth
        return dtype in (float32, float64) or (dtype.kind in "iu" and dtype.itemsize >= 4)

    @classmethod
    def has_kernel(cls, operation: Operation, operands: Types, results: Types, depth: int = 0) -> bool:
        """Whether a product is in canonical form and of a dtype that the kernel takes."""
        x, dtype = operands[0], results[0].dtype
        if x.ndim < 3:
            return False
        if takes_pairs(x.dtype, dtype):
            return operation == product(x.ndim, dtype)
        return operation == product(x.ndim) and x.dtype == dtype and cls.takes_dtype(dtype, depth)

    def takes_epilogue(self, operation: DotGeneral, equation: Equation) -> bool:
        x, out = equation.inputs[0].type, equation.outputs[0].type
        # Stacks of products run in groups with what follows.
        single = out.size > 0 and prod(x.shape[:-2]) == 1
        return single and self.has_kernel(operation, [x], [out])

    def supports(self, step: KernelStep) -> bool:
        x, out = step.views[0].type, step.equation.outputs[0].type
        return self.has_kernel(step.equation.operation, [x], [out], x.shape[-1] if x.ndim else 1)

    def fuses_epilogue(self, step: KernelStep) -> bool:
        return True

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        (x, y), (out,) = step.views, step.equation.outputs
        dtypes = x.type.dtype, y.type.dtype, out.type.dtype
        (*batch, m, k), n = x.type.shape, y.type.shape[-1]
        c = strides((*batch, m, n))
        loops = _merged_batch(batch, [v[: len(batch)] for v in (x.strides, y.strides, c)])
        # The kernel loops over one batch axis; where several cannot be merged into one, it is called in loops.
        (size, inner), outer = loops[-1], loops[:-1]
        a, b, to = ((s, *v[-2:]) for s, v in zip(inner, (x.strides, y.strides, c), strict=True))
        paired = x.type.dtype == bfloat16 and min(m, n, k) >= LEAST
        paired = paired and emitter.emission.target.low_products != "panels"
        spec = Contraction(x.type.dtype, size, m, n, k, a, b, to, paired=paired)  # type: ignore[arg-type]  # three numbers
        emission, build = emitter.emission, emitter.build
        epilogue = emitter.epilogue(step, 3)
        kernel = product_kernel(emission, spec, epilogue)
        scratch = emission.scratch_for(kernel.scratch_bytes)
        pointers = [emitter.first(x), emitter.first(y), emitter.pointer(out)]
        extras = [emitter.pointer(var) for var in epilogue.operands] if epilogue else []
        with ExitStack() as stack:
            for extent, steps in outer:
                i = stack.enter_context(build.loop(0, extent))
                pointers = [build.at(p, i * s, t) for p, s, t in zip(pointers, steps, dtypes, strict=True)]
            kernel.run(build, [*pointers, *extras], scratch, *emission.team.share(kernel.work))


def is_batched_product(step: Step) -> bool:
    """Whether a step is a product, for which there is a kernel, of more than one pair of matrices."""
    if not isinstance(step, KernelStep) or not isinstance(step.equation.operation, DotGeneral) or not step.views:
        return False  # of what makes no elements, no operands are kept
    x, out = step.views[0].type, step.equation.outputs[0].type
    tiled = x.dtype == out.dtype and ProductLowering.has_kernel(step.equation.operation, [x], [out])
    return tiled and prod(x.shape[:-2]) > 1


def product_kernel(emission: Emission, spec: Contraction, epilogue: EpilogueEmitter | None = None) -> Kernel:
    """The kernel of a product, emitted once; its operands are A, B, C, then those of the epilogue."""
    extras = len(epilogue.operands) if epilogue else 0
    return emission.shared(
        f"{spec} {epilogue and epilogue.key()}",
        lambda: contraction.emit(emission.module, emission.target, spec, epilogue, extras),
    )


def _merged_batch(extents: Sequence[int], steps: Sequence[Sequence[int]]) -> list[tuple[int, tuple[int, ...]]]:
    """Batch axes as few loops: (extent, stride of each array)."""
    loops: list[tuple[int, tuple[int, ...]]] = []
    for extent, *own in zip(extents, *steps, strict=True):
        if loops and extent == 1:
            continue
        if loops and all(before == s * extent for before, s in zip(loops[-1][1], own, strict=True)):
            loops[-1] = (loops[-1][0] * extent, tuple(own))
        elif loops and loops[-1][0] == 1:
            loops[-1] = (extent, tuple(own))
        else:
            loops.append((extent, tuple(own)))
    return loops
