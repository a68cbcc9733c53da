"""Matrices that all steps of a loop multiply by are packed once, as the matrix kernel would pack them in every step."""

from dataclasses import replace
from math import prod

import numpy as np

from fdl.compile.kernels.matmul.prepacked import PrepackedProduct
from fdl.compile.kernels.matmul.product import ProductLowering
from fdl.compile.llvm.target import host_target
from fdl.compile.passes.hoisting.scan import MutableScan, bytes_of
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Var
from fdl.ops.contract import DotGeneral
from fdl.ops.shape import Reshape, Transpose
from fdl.ops.slicing import Pad


def prepack(loop: MutableScan) -> None:
    """Let the products of a loop with matrices of all steps read these packed."""
    if loop.length < host_target().tuning.prepacked_steps:
        return
    equations = list(loop.equations)
    loop.equations = []
    for equation in equations:
        operation = equation.operation
        if not isinstance(operation, DotGeneral) or not _is_packed(loop, equation, operation):
            loop.equations.append(equation)
    loop.prune()


def _invariant_side(loop: MutableScan, equation: Equation, operation: DotGeneral) -> int | None:
    """Which operand of a product of matrices is the same in all steps."""
    if operation.batch_axes[0] or operation.dtype is not None:
        return None
    fixed = [loop.is_invariant(a) for a in equation.inputs]
    return fixed.index(True) if sum(fixed) == 1 and ProductLowering.takes_dtype(equation.inputs[0].type.dtype) else None


def _is_packed(loop: MutableScan, equation: Equation, operation: DotGeneral) -> bool:
    """Whether equations that read a packed matrix took the place of a product."""
    side = _invariant_side(loop, equation, operation)
    if side is None:
        return False
    (out,) = equation.outputs
    matrix, x = equation.inputs[side], equation.inputs[1 - side]
    free, others = operation.free(matrix.type, side), operation.free(x.type, 1 - side)
    pairs = sorted(zip(operation.contracting[side], operation.contracting[1 - side], strict=True))
    n, k, m = (prod(t.shape[a] for a in axes) for t, axes in (
        (matrix.type, free), (matrix.type, [a for a, _ in pairs]), (x.type, others)))  # fmt: skip
    target = host_target()
    width = target.tile()[1] * target.lanes(out.type.dtype)
    least, most = target.tuning.prepacked_rows
    if not least <= m <= most or bytes_of(matrix) < target.tuning.prepacked_bytes or n < width:
        return False
    panels = Var(out.type.with_shape((-(-n // width), k, width)))
    loop.constants[panels] = _packed(loop, matrix, (*(a for a, _ in pairs), *free), (k, n, width), equation)

    def apply(made: Operation, *atoms: Atom, into: Var | None = None) -> Var:
        result = into or Var(made.result(*(a.type for a in atoms)))
        loop.equations.append(replace(equation, operation=made, inputs=atoms, outputs=(result,)))
        return result

    rows = apply(Transpose((*others, *(a for _, a in pairs))), x)
    rows = apply(Reshape((m, k)), rows)
    found = apply(PrepackedProduct(n), rows, panels)
    shape = tuple(x.type.shape[a] for a in others) + tuple(matrix.type.shape[a] for a in free)
    if side == 1:
        apply(Reshape(shape), found, into=out)
    else:
        order = (*range(len(others), len(shape)), *range(len(others)))
        apply(Transpose(order), apply(Reshape(shape), found), into=out)
    return True


def _packed(
    loop: MutableScan, matrix: Atom, axes: tuple[int, ...], sizes: tuple[int, int, int], model: Equation
) -> Var:
    """The panels of a matrix [k, n] whose axes are in another order."""
    k, n, width = sizes
    model = replace(model, scope=loop.model.scope)
    before, count = loop.before, -(-n // width)
    found = before.apply(Transpose(axes), loop.hoisted(matrix), model=model)
    found = before.apply(Reshape((k, n)), found, model=model)
    nothing = Literal(np.zeros((), matrix.type.dtype))
    found = before.apply(Pad((0, 0), (0, count * width - n), (0, 0)), found, nothing, model=model)
    found = before.apply(Reshape((k, count, width)), found, model=model)
    return before.apply(Transpose((1, 0, 2)), found, model=model)
