"""Canonical forms: general operations rewritten as the ones that kernels compute.

A dot_general becomes a batched matrix product of operands whose axes are permuted and merged, which costs nothing where
the strides allow it; 16-bit floats are converted to float32 around it.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from fdl.compile.kernels.conv.lowering import ConvolutionLowering, features_last
from fdl.compile.kernels.matmul.product import ProductLowering, product, takes_pairs
from fdl.compile.passes.threefry import JoinWords, TakeWord, Threefry, ThreefryHalves
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.rewrite import uses
from fdl.core.types import DType
from fdl.dtypes import float32, key, uint32, uint64
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral
from fdl.ops.convert import Convert
from fdl.ops.elementwise import Add
from fdl.ops.precision import HALVES, accumulator
from fdl.ops.random_bits import KeyUnwrap, KeyWrap, RandomBits, RandomFoldIn, RandomSplit
from fdl.ops.shape import BroadcastInDim, Iota, Reshape, Transpose
from fdl.ops.slicing import Pad, Slice
from fdl.ops.window import ReduceWindow


def canonical(program: Program) -> Program:
    """`program` with its contractions in canonical form."""
    found: list[Equation] = []
    for equation in _untransposed(program):
        if not _is_rewritten(_Rewriter(found, equation), equation):
            found.append(equation)
    return Program(program.inputs, tuple(found), program.outputs, program.constants)


def _untransposed(program: Program) -> list[Equation]:
    """The equations; products of which only the transpose is used are replaced by those of swapped operands."""
    users = uses(program.equations)
    returned = set(program.outputs)
    changed: dict[Atom, tuple[Var, tuple[int, ...]]] = {}
    found: list[Equation] = []
    for equation in program.equations:
        operation = equation.operation
        if isinstance(operation, DotGeneral):
            (out,) = equation.outputs
            after = users.get(out, [])
            axes = None
            if len(after) == 1 and out not in returned:
                axes = _swapped(operation, equation, after[0].operation)
            if axes is not None:
                contracting, batch_axes = operation.contracting[::-1], operation.batch_axes[::-1]
                turned = replace(operation, contracting=contracting, batch_axes=batch_axes)
                if axes == tuple(range(len(axes))):
                    (var,) = after[0].outputs
                else:
                    var = Var(turned.result(*(a.type for a in equation.inputs[::-1])))
                changed[out] = var, axes
                found.append(replace(equation, operation=turned, inputs=equation.inputs[::-1], outputs=(var,)))
                continue
        if isinstance(operation, Transpose) and equation.inputs[0] in changed:
            var, axes = changed[equation.inputs[0]]
            if var in equation.outputs:
                continue
            equation = replace(equation, operation=Transpose(axes), inputs=(var,))
        found.append(equation)
    return found


def _swapped(operation: DotGeneral, equation: Equation, after: Operation) -> tuple[int, ...] | None:
    """The axes by which the product of swapped operands is transposed instead of a product, if that pays."""
    x, y = (a.type for a in equation.inputs)
    batch, m, n = len(operation.batch_axes[0]), len(operation.free(x, 0)), len(operation.free(y, 1))
    if not isinstance(after, Transpose) or not m or not n or after.axes[-1] != batch + m - 1:
        return None
    order = (*range(batch), *range(batch + n, batch + n + m), *range(batch, batch + n))
    return tuple(order[axis] for axis in after.axes)


class _Rewriter:
    """Appends equations that stand for one equation."""

    def __init__(self, found: list[Equation], model: Equation) -> None:
        self.found, self.model = found, model

    def apply(self, operation: Operation, *atoms: Atom, into: Var | None = None) -> Var:
        """The result of an operation."""
        out = into or Var(operation.result(*(a.type for a in atoms)))
        self.found.append(replace(self.model, operation=operation, inputs=atoms, outputs=(out,)))
        return out

    def convert(self, x: Atom, dtype: DType) -> Atom:
        """`x` as `dtype`."""
        return x if x.type.dtype == dtype else self.apply(Convert(dtype), x)

    def transpose(self, x: Atom, axes: Sequence[int]) -> Atom:
        """`x` with its axes in another order."""
        return x if tuple(axes) == tuple(range(len(axes))) else self.apply(Transpose(tuple(axes)), x)

    def reshape(self, x: Atom, shape: tuple[int, ...]) -> Atom:
        """`x` under another shape."""
        return x if x.type.shape == shape else self.apply(Reshape(shape), x)

    def deliver(self, x: Atom, equation: Equation) -> None:
        """Make `x` the result of `equation`."""
        (out,) = equation.outputs
        if x.type.dtype != out.type.dtype:
            shape = x.type.shape
            x = self.apply(Convert(out.type.dtype), x, into=out if shape == out.type.shape else None)
            if x is out:
                return
        self.apply(Reshape(out.type.shape), x, into=out)


def _is_rewritten(rewriter: _Rewriter, equation: Equation) -> bool:
    """Whether equations took the place of `equation`, which is not in canonical form."""
    match operation := equation.operation:
        case DotGeneral():
            return _dot_general(rewriter, equation, operation)
        case ConvGeneral():
            return _convolution(rewriter, equation, operation)
        case ReduceWindow():
            return _repeated(rewriter, equation, operation)
        case RandomBits() | RandomSplit():
            _random_bits(rewriter, equation, operation)
        case RandomFoldIn():
            rewriter.apply(Threefry(key), *equation.inputs, into=equation.outputs[0])
        case KeyWrap():
            _join(rewriter, equation.inputs[0], into=equation.outputs[0])
        case KeyUnwrap():
            _unwrap(rewriter, equation)
        case _:
            return False
    return True


def _repeated(rewriter: _Rewriter, equation: Equation, operation: ReduceWindow) -> bool:
    """Sums of windows of one element each are repeated elements: the gradient of average pooling without overlap."""
    (x,), (out,) = equation.inputs, equation.outputs
    shape, window = x.type.shape, operation.window
    plain = operation.base_dilation == window and not any(n - 1 for n in operation.strides + operation.window_dilation)
    if operation.kind != "sum" or x.type.dtype.kind == "c" or not plain or out.type.size == 0 or prod(window) == 1:
        return False
    # The sum of an element and nothing: -0.0 becomes 0.0.
    if x.type.dtype.kind not in "iu":
        x = rewriter.apply(Add(), x, rewriter.apply(BroadcastInDim(shape, ()), Literal(np.zeros((), x.type.dtype))))
    pairs = tuple(extent for pair in zip(shape, window, strict=True) for extent in pair)
    x = rewriter.apply(BroadcastInDim(pairs, tuple(range(0, len(pairs), 2))), x)
    x = rewriter.reshape(x, tuple(n * w for n, w in zip(shape, window, strict=True)))
    low = tuple(before - w + 1 for (before, _), w in zip(operation.padding, window, strict=True))
    high = tuple(n - m - a for n, m, a in zip(out.type.shape, x.type.shape, low, strict=True))
    if any((*low, *high)):
        x = rewriter.apply(Pad(low, high, (0,) * len(low)), x, Literal(np.zeros((), x.type.dtype)))
    rewriter.deliver(x, equation)
    return True


def _dot_general(rewriter: _Rewriter, equation: Equation, operation: DotGeneral) -> bool:
    x, y = equation.inputs
    (out,) = equation.outputs
    depth = prod(x.type.shape[a] for a in operation.contracting[0])
    pairs = takes_pairs(x.type.dtype, out.type.dtype)
    kept = x.type.dtype == out.type.dtype and ProductLowering.takes_dtype(out.type.dtype, depth)
    dtype = x.type.dtype if pairs else out.type.dtype if kept else accumulator(out.type.dtype)
    if not (pairs or ProductLowering.takes_dtype(dtype, depth)) or x.type.dtype.kind == "c" or out.type.size == 0:
        return False
    batch, contracting = operation.batch_axes, operation.contracting
    wider = out.type.dtype if pairs else None
    if operation == product(x.type.ndim, wider) and x.type.ndim == y.type.ndim > 2 and x.type.dtype == dtype:
        return False
    # Either operand may decide in which order the contracted axes are run through: the larger one's order is kept.
    side = 0 if x.type.size >= y.type.size else 1
    order = sorted(range(len(contracting[0])), key=lambda i: contracting[side][i])
    summed = [tuple(own[i] for i in order) for own in contracting]
    free = operation.free(x.type, 0), operation.free(y.type, 1)
    b = tuple(x.type.shape[a] for a in batch[0]) or (1,)
    m, k, n = (
        prod(t.shape[a] for a in axes) for t, axes in ((x.type, free[0]), (x.type, summed[0]), (y.type, free[1]))
    )
    left = rewriter.transpose(rewriter.convert(x, dtype), batch[0] + free[0] + summed[0])
    right = rewriter.transpose(rewriter.convert(y, dtype), batch[1] + summed[1] + free[1])
    left, right = rewriter.reshape(left, (*b, m, k)), rewriter.reshape(right, (*b, k, n))
    rewriter.deliver(rewriter.apply(product(len(b) + 2, wider), left, right), equation)
    return True


def _convolution(rewriter: _Rewriter, equation: Equation, operation: ConvGeneral) -> bool:
    """Features last, in data and result; the kernel's output features last."""
    x, w = equation.inputs
    (out,) = equation.outputs
    dtype, wider, numbers = accumulator(out.type.dtype), None, operation.numbers
    last = features_last(x.type.ndim)
    if x.type.dtype in HALVES and ConvolutionLowering.has_kernel(operation, x.type, out.type):
        # The kernel of gradients by weights adds up in the result: images are next to each other in its first operand.
        wide = out.type.dtype == float32 or numbers.lhs_spec[0] == x.type.ndim - 1
        dtype, wider = x.type.dtype, float32 if wide else None
    if takes_pairs(x.type.dtype, out.type.dtype):
        dtype, wider = _integer_operands(equation, operation)
    if not (wider or dtype in HALVES or ConvolutionLowering.takes_dtype(dtype)) or x.type.dtype.kind == "c":
        return False
    if out.type.size == 0 or x.type.ndim < 3 or (numbers == last and x.type.dtype == dtype):
        return False
    x, w = rewriter.convert(x, dtype), rewriter.convert(w, dtype)
    data = rewriter.transpose(x, _moved(last.lhs_spec, numbers.lhs_spec))
    kernel = rewriter.transpose(w, _moved(last.rhs_spec, numbers.rhs_spec))
    result = rewriter.apply(replace(operation, numbers=last, dtype=wider), data, kernel)
    rewriter.deliver(rewriter.transpose(result, _moved(numbers.out_spec, last.out_spec)), equation)
    return True


def _integer_operands(equation: Equation, operation: ConvGeneral) -> tuple[DType, DType | None]:
    """The dtypes of operands and sums in which a convolution of 8-bit integers is computed.

    Those that have no kernel are exact in float32 as long as no sum can reach its 24 bits; others stay as they are.
    """
    (x, w), out = (a.type for a in equation.inputs), equation.outputs[0].type
    if ConvolutionLowering.has_kernel(operation, x, out):
        return x.dtype, out.dtype
    products = w.size // max(1, w.shape[operation.numbers.rhs_spec[0]])
    return (float32 if products * 2**14 < 2**24 else x.dtype), None


def _moved(wanted: Sequence[int], found: Sequence[int]) -> list[int]:
    """The permutation that brings axes with the roles of `found` to the places `wanted`."""
    order = [0] * len(wanted)
    for place, axis in zip(wanted, found, strict=True):
        order[place] = axis
    return order


def _random_bits(rewriter: _Rewriter, equation: Equation, operation: RandomBits | RandomSplit) -> None:
    (keys,), (out,) = equation.inputs, equation.outputs
    if not operation.halves:
        _numbered(rewriter, Threefry(out.type.dtype), keys, operation.shape, into=out)
    elif isinstance(operation, RandomSplit):
        drawn = ThreefryHalves(operation.words, 32)
        _join(rewriter, _numbered(rewriter, drawn, keys, (*operation.shape, 2)), into=out)
    else:
        _numbered(rewriter, ThreefryHalves(operation.words, operation.width), keys, operation.shape, into=out)


def _numbered(
    rewriter: _Rewriter, operation: Operation, keys: Atom, shape: tuple[int, ...], into: Var | None = None
) -> Var:
    """An elementwise operation on keys and the numbers of the elements of `shape`."""
    count, rank, whole = prod(shape), keys.type.ndim, (*keys.type.shape, *shape)
    number = rewriter.reshape(rewriter.apply(Iota((count,), 0, uint32 if count < 2**32 else uint64)), shape)
    axes = tuple(range(rank)), tuple(range(rank, len(whole)))
    operands = [rewriter.apply(BroadcastInDim(whole, own), v) for own, v in zip(axes, (keys, number), strict=True)]
    return rewriter.apply(operation, *operands, into=into)


def _part(rewriter: _Rewriter, x: Atom, axis: int, number: int) -> Atom:
    """`x` at a place of an axis."""
    shape = x.type.shape
    starts, limits = [0] * len(shape), list(shape)
    starts[axis], limits[axis] = number, number + 1
    part = rewriter.apply(Slice(tuple(starts), tuple(limits), (1,) * len(shape)), x)
    return rewriter.reshape(part, (*shape[:axis], *shape[axis + 1 :]))


def _join(rewriter: _Rewriter, words: Atom, into: Var) -> None:
    """Keys of pairs of words along the last axis."""
    rewriter.apply(JoinWords(), *(_part(rewriter, words, words.type.ndim - 1, n) for n in (0, 1)), into=into)


def _unwrap(rewriter: _Rewriter, equation: Equation) -> None:
    (keys,), (out,) = equation.inputs, equation.outputs
    shape = out.type.shape
    repeated = rewriter.apply(BroadcastInDim(shape, tuple(range(len(shape) - 1))), keys)
    rewriter.apply(TakeWord(), repeated, rewriter.apply(Iota(shape, len(shape) - 1, uint32)), into=out)
