"""What the steps of a plan compute, in the words of the user's Program, and how much work that is."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fdl.compile.ir.plan import ControlStep, Plan, Step, nbytes
from fdl.compile.ir.steps import EquationStep, KernelStep, LoopNest
from fdl.compile.ir.tiles import TileGroup
from fdl.compile.schedule.fuse import is_nothing
from fdl.core.program import Var
from fdl.core.types import TensorType

#: Names that people use.
_WORDS = {
    "integer_pow": "power", "logistic": "sigmoid", "reduce_max": "max", "reduce_min": "min", "prod": "product",
    "dot_general": "matmul", "convert": "cast", "iota": "arange",
}  # fmt: skip

#: Elementwise operations that compute nothing.
_FREE = {"select", "convert", "copy", "max", "min", "sign", "stop_gradient", "real", "imag"}

#: More operations than these are not listed.
_MOST_WORDS = 5


@dataclass(frozen=True)
class Account:
    """What a step does, each time that it runs.

    Attributes:
        what: operations and shapes.
        source: the line that most of it comes from.
        flops: floating-point operations: two for each multiplication and addition of a product, one for each element of
            an elementwise operation or a sum.
        bytes: elements read and written outside of the step, each counted once.
    """

    what: str
    source: str
    flops: int
    bytes: int


class Accounts:
    """Accounts of the steps of one plan."""

    def __init__(self, plan: Plan) -> None:
        self.slots = plan.slots
        self.made = {v: e for e in plan.program.equations for v in e.outputs}
        self.order = {e: n for n, e in enumerate(plan.program.equations)}
        #: The results that partial sums are parts of.
        self.whole = {
            v: step.outputs
            for step in plan.steps
            if isinstance(step, LoopNest)
            for v in step.reads
            if v not in self.made and plan.slots[v].kind == "arena"
        }

    def of(self, step: Step) -> Account:
        """The account of a step."""
        if isinstance(step, EquationStep):
            return self.of_equation(step)
        parts = [v for v in step.reads if v in self.whole]
        if parts:
            source = _most_common(self.made[v].source for v in step.outputs if v in self.made)
            return Account(
                f"sum {_shape(parts[0].type.shape)}", source, sum(v.type.size for v in parts), _traffic(step)
            )
        equations = list(self.equations(step))
        shape = max((v.type for v in (*step.reads, *step.outputs)), key=lambda t: t.size).shape
        suffix = " (partial sums)" if any(v in self.whole for v in step.outputs) else ""
        return Account(
            f"{self.words(equations) or 'copy'} {_shape(shape)}{suffix}",
            _most_common(e.source for e in equations),
            sum(map(_flops, equations)),
            _traffic(step),
        )

    def of_equation(self, step: EquationStep) -> Account:
        """The account of an equation with code of its own, and of its epilogue."""
        equation = step.equation
        if is_nothing(equation) or isinstance(step, ControlStep):
            return Account(_single_words(step), equation.source, 0, 0)
        if not isinstance(step, KernelStep) or step.epilogue is None:
            return Account(_single_words(step), equation.source, _single_flops(step), _single_bytes(step))
        after = [e for e in self.equations(step) if e is not equation]
        # The result that only the epilogue reads shares a place with what is made of it.
        places = {self.slots[v]: nbytes(v.type) for v in step.outputs}
        return Account(
            f"{_single_words(step)}, then {self.words(after)}",
            equation.source,
            _single_flops(step) + sum(map(_flops, after)),
            sum(places.values()) + sum(nbytes(v.type) for v in step.reads),
        )

    def equations(self, step: Step) -> list[Any]:
        """The equations that a step computes, in the order of the Program."""
        own = {*step.outputs, *(step.private if isinstance(step, TileGroup) else ())}
        pending = [w for v in own for w in self.whole.get(v, (v,))]
        roots, found = set(pending), set()
        while pending:
            var = pending.pop()
            equation = self.made.get(var)
            if equation is None or equation in found or (var not in roots and var in self.slots):
                continue
            found.add(equation)
            pending += [a for a in equation.inputs if isinstance(a, Var)]
        return sorted(found, key=self.order.__getitem__)

    def words(self, equations: list[Any]) -> str:
        """Names of operations."""
        computing = [e for e in equations if e.operation.family not in ("move", "copy")] or equations
        names = list(dict.fromkeys(_word(e.operation.name) for e in computing))
        more = [f"{len(names) - _MOST_WORDS} more"] if len(names) > _MOST_WORDS else []
        return ", ".join([*names[:_MOST_WORDS], *more])


def _word(name: str) -> str:
    return _WORDS.get(name, name)


def _shape(shape: tuple[int, ...]) -> str:
    """A shape without leading axes of one."""
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    return "(" + ", ".join(map(str, shape)) + ")"


def _most_common(sources: Iterable[str]) -> str:
    found = Counter(s for s in sources if s)
    return found.most_common(1)[0][0] if found else ""


def _single_words(step: EquationStep) -> str:
    operation: Any = step.equation.operation
    types = [v.type for v in step.views]
    if operation.family == "contract" and len(types) == 2:
        out = step.equation.outputs[0].type
        inner = types[0].shape[-1]
        left, right = (*out.shape[:-1], inner), (*out.shape[:-2], inner, out.shape[-1])
        return f"matmul {_shape(left)} @ {_shape(right)}"
    if operation.family == "conv":
        given = {"stride": operation.strides, "dilation": operation.rhs_dilation, "upsampling": operation.lhs_dilation}
        more = [f"{k} {'x'.join(map(str, v))}" for k, v in given.items() if set(v) != {1}]
        groups = max(operation.feature_group_count, operation.batch_group_count)
        more += [f"{groups} groups"] if groups > 1 else []
        return " ".join([f"convolution {_shape(types[0].shape)} * {_shape(types[1].shape)}", *more])
    if operation.name == "scan":
        return f"scan of {operation.length} steps, itself"
    if isinstance(step, ControlStep):
        return f"{operation.name}, itself"
    largest = max(
        (*types, *(v.type for v in step.outputs)), key=lambda t: t.size, default=TensorType((), np.dtype("f4"))
    )
    return f"{_word(operation.name)} {_shape(largest.shape)}"


def _is_real(dtype: np.dtype) -> bool:
    """Whether it is a floating-point number; the narrow ones are not of NumPy's kinds."""
    return dtype.kind in "fc" or dtype.name == "bfloat16"


def _flops(equation: Any) -> int:
    """Of an equation in a nest, or of a product in a group."""
    operation, out = equation.operation, equation.outputs[0].type
    if operation.family == "contract":
        return _product_flops(equation.inputs[0].type, out)
    if not _is_real(out.dtype):
        return 0
    if operation.family == "reduce":
        return int(equation.inputs[0].type.size) if "sum" in operation.name or "prod" in operation.name else 0
    return out.size if operation.family == "elementwise" and operation.name not in _FREE else 0


def _product_flops(x: TensorType, out: TensorType) -> int:
    each = 8 if out.dtype.kind == "c" else 2
    return each * out.size * x.shape[-1]


def _single_flops(step: EquationStep) -> int:
    operation: Any = step.equation.operation
    out = step.equation.outputs[0].type
    if operation.family == "contract":
        return _product_flops(step.views[0].type, out)
    if operation.family == "conv":
        # Of an upsampled image only one element in so many is no zero.
        taps = step.views[1].type.size // max(1, out.shape[-1])
        return 2 * out.size * taps // prod(operation.lhs_dilation)
    if operation.family == "cumulative" and _is_real(out.dtype):
        return out.size
    return 0


def _traffic(step: LoopNest | TileGroup) -> int:
    """Bytes of the values outside of a nest or a group, as far as they are read or written."""
    members = [m.step for m in step.members] if isinstance(step, TileGroup) else [step]
    touched: Counter[Var] = Counter()
    for member in members:
        if isinstance(member, LoopNest):
            for load in member.loops.reads():
                moving = (n for n, c in zip(load.flat.extents, load.flat.coefficients, strict=True) if c)
                touched[load.var] += prod(moving) * load.var.type.dtype.itemsize
        else:
            touched.update({v.base: nbytes(v.type) for v in member.views if isinstance(v.base, Var)})
    reads = sum(min(nbytes(v.type), touched.get(v, nbytes(v.type))) for v in step.reads)
    return reads + sum(nbytes(v.type) for v in step.outputs)


def _single_bytes(step: EquationStep) -> int:
    """Bytes of operands, as far as they are read, and of results, as far as they are written."""
    family, name = step.equation.operation.family, step.equation.operation.name
    operands, results = [nbytes(v.type) for v in step.views], [nbytes(v.type) for v in step.outputs]
    if family == "gather" or name == "dynamic_slice":
        operands[0] = min(operands[0], results[0])
    if family == "scatter" or name == "dynamic_update_slice":
        # In place, unless the operand is still needed.
        operands[0] = results[0] = min(results[0], max(operands[1:], default=0))
    return sum(operands) + sum(results)
