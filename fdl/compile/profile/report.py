"""The cost report: what the steps of a plan compute, in the words of the user's Program, and how much work that is."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

from fdl.compile.ir.plan import ControlStep, Plan, Step, nbytes
from fdl.compile.ir.steps import EquationStep, KernelStep, LoopNest
from fdl.compile.ir.tiles import TileGroup
from fdl.compile.kernels import control_of, has_lowering, lowering_of
from fdl.compile.lowerings.words import name_of, shape_text
from fdl.compile.passes.order import prepared
from fdl.compile.schedule.fuse import is_nothing
from fdl.compile.schedule.planner import make_plan
from fdl.core.program import Equation, Program, Var
from fdl.dtypes import is_inexact
from fdl.ops.reduce import Prod
from fdl.ops.shape import Sum

#: Elementwise operations that compute nothing.
_FREE = {"select", "convert", "copy", "max", "min", "sign", "stop_gradient", "real", "imag"}

#: More operations than these are not listed.
_MOST_WORDS = 5


@dataclass(frozen=True)
class StepCost:
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


@dataclass(frozen=True)
class StaticCost:
    """What a call costs, as far as its Program tells: what loops and branches hold is counted once.

    Attributes:
        flops: floating-point operations.
        bytes: elements that the steps read and write.
        memory_bytes: for values that are neither arguments nor results.
        alias_bytes: of results that are made in the memory of donated arguments.
    """

    flops: int
    bytes: int
    memory_bytes: int
    alias_bytes: int


def static_cost(program: Program, donate: tuple[bool, ...]) -> StaticCost:
    """What a call of a Program costs, without compiling it.

    Args:
        program: what to compute.
        donate: which inputs' memory may be overwritten.
    """
    plan = make_plan(prepared(program), donate)
    costs = list(_costs(plan))
    alias = sum(nbytes(plan.outputs[number].type) for number in plan.reused)
    return StaticCost(sum(c.flops for c in costs), sum(c.bytes for c in costs), plan.arena_bytes, alias)


def _costs(plan: Plan) -> Iterator[StepCost]:
    report = CostReport(plan)
    for step in plan.steps:
        yield report.of(step)
        for inner in step.plans if isinstance(step, ControlStep) else ():
            yield from _costs(inner)


class CostReport:
    """What the steps of one plan cost."""

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

    def of(self, step: Step) -> StepCost:
        """The cost of a step."""
        if isinstance(step, EquationStep):
            return self.of_equation(step)
        parts = [v for v in step.reads if v in self.whole]
        if parts:
            source = _most_common(self.made[v].source for v in step.outputs if v in self.made)
            return StepCost(
                f"sum {shape_text(parts[0].type.shape)}", source, sum(v.type.size for v in parts), _traffic(step)
            )
        equations = list(self.equations(step))
        shape = max((v.type for v in (*step.reads, *step.outputs)), key=lambda t: t.size).shape
        suffix = " (partial sums)" if any(v in self.whole for v in step.outputs) else ""
        return StepCost(
            f"{self.words(equations) or 'copy'} {shape_text(shape)}{suffix}",
            _most_common(e.source for e in equations),
            sum(map(equation_flops, equations)),
            _traffic(step),
        )

    def of_equation(self, step: EquationStep) -> StepCost:
        """The cost of an equation with code of its own, and of its epilogue."""
        equation, operation = step.equation, step.equation.operation
        if isinstance(step, ControlStep) and (control := control_of(operation)) is not None:
            return StepCost(control.describe(operation), equation.source, 0, 0)
        lowering = lowering_of(operation)
        operands, results = [a.type for a in equation.inputs], [v.type for v in equation.outputs]
        what = lowering.describe(operation, operands, results)
        if is_nothing(equation):
            return StepCost(what, equation.source, 0, 0)
        flops = lowering.flops(operation, operands, results)
        if not isinstance(step, KernelStep) or step.epilogue is None:
            moved = lowering.bytes(operation, operands, results)
            return StepCost(what, equation.source, flops, moved)
        after = [e for e in self.equations(step) if e is not equation]
        # The result that only the epilogue reads shares a place with what is made of it.
        places = {self.slots[v]: nbytes(v.type) for v in step.outputs}
        return StepCost(
            f"{what}, then {self.words(after)}",
            equation.source,
            flops + sum(map(equation_flops, after)),
            sum(places.values()) + sum(nbytes(v.type) for v in step.reads),
        )

    def equations(self, step: Step) -> list[Equation]:
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

    def words(self, equations: list[Equation]) -> str:
        """Names of operations."""
        computing = [e for e in equations if e.operation.lowering_kind not in ("move", "copy")] or equations
        names = list(dict.fromkeys(name_of(e.operation) for e in computing))
        more = [f"{len(names) - _MOST_WORDS} more"] if len(names) > _MOST_WORDS else []
        return ", ".join([*names[:_MOST_WORDS], *more])


def _most_common(sources: Iterable[str]) -> str:
    found = Counter(s for s in sources if s)
    return found.most_common(1)[0][0] if found else ""


def equation_flops(equation: Equation) -> int:
    """Of an equation in a nest, or of a product in a group."""
    operation, out = equation.operation, equation.outputs[0].type
    if has_lowering(operation):
        operands = [a.type for a in equation.inputs]
        return lowering_of(operation).flops(operation, operands, [v.type for v in equation.outputs])
    if not is_inexact(out.dtype):
        return 0
    if operation.lowering_kind == "reduce":
        return int(equation.inputs[0].type.size) if isinstance(operation, (Sum, Prod)) else 0
    return out.size if operation.lowering_kind == "elementwise" and operation.name not in _FREE else 0


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
