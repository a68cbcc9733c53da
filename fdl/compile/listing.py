"""What the stages of the compiler make of a program, as text for people."""

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fdl.compile.codegen.emit import emit_plan
from fdl.compile.ir.affine import Affine
from fdl.compile.ir.body import Apply, Choose, Constant, Guards, Index, Instruction, Load
from fdl.compile.ir.loops import Loops, Reduce
from fdl.compile.ir.plan import ControlStep, Plan, Step
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest, View
from fdl.compile.ir.tiles import NestTile, RowTile, TileGroup
from fdl.compile.kernels import lowering_of
from fdl.compile.llvm.target import Target, host_target
from fdl.compile.passes.order import prepared
from fdl.compile.runtime.machine import assembly
from fdl.compile.schedule.fuse import is_nothing
from fdl.compile.schedule.planner import make_plan
from fdl.core.listing import Listing
from fdl.core.program import Names, Program, Var, lines
from fdl.dtypes import short_name

#: The stages, in their order.
STAGES = ("traced", "optimized", "schedule", "loops", "llvm", "asm")

_INDICES = "ijklmnpqrstuvw"


def listing(program: Program, donate: tuple[bool, ...], stage: str, target: Target | None = None) -> "Listing":
    """What a stage makes of a program.

    Args:
        program: what to compute.
        donate: which inputs' memory may be overwritten.
        stage: ``traced``: the Program as it was recorded; ``optimized``: after the passes from Program to Program;
            ``schedule``: the steps in order, each with its kernel or loops and the place of its results, and a remark
            if Python computes it; ``loops``: the same with the loops of each step; ``llvm``: the module, before LLVM
            optimizes it; ``asm``: machine code for the target.
        target: the processor; by default the one that programs are compiled for.

    Raises:
        ValueError: there is no such stage.
    """
    if stage not in STAGES:
        raise ValueError(f"stage={stage!r}: must be one of {', '.join(map(repr, STAGES))}")
    return Listing(_text(program, donate, stage, target or host_target()))


def dump(program: Program, donate: tuple[bool, ...], folder: str) -> None:
    """Write the listings of all stages into a folder of the program's own, unless it is there.

    A stage that fails leaves its traceback in place of its listing.
    """
    here = Path(folder) / program.digest.hex()[:16]
    if here.exists():
        return
    here.mkdir(parents=True)
    for number, stage in enumerate(STAGES, 1):
        try:
            text = _text(program, donate, stage, host_target())
        except Exception:
            text = traceback.format_exc()
        (here / f"{number}-{stage}.txt").write_text(text + "\n")


def _text(program: Program, donate: tuple[bool, ...], stage: str, target: Target) -> str:
    if stage == "traced":
        return str(program)
    optimized = prepared(program)
    if stage == "optimized":
        return str(optimized)
    plan = make_plan(optimized, donate)
    if stage in ("schedule", "loops"):
        return "\n".join(_plan_lines(plan, stage == "loops", ""))
    emission = emit_plan(plan, target)
    module = emission.finish()
    return str(module) if stage == "llvm" else assembly(module, emission.target)


def _plan_lines(plan: Plan, loops: bool, indent: str) -> Iterator[str]:
    names = Names()
    yield f"{indent}plan({names.typed(plan.program.inputs)}) {{  # {len(plan.steps)} steps, {plan.arena_bytes} bytes"
    lines(plan.program, names=names)  # the names that the Program has in its own listing
    for number, step in enumerate(plan.steps):
        yield from _Step(plan, names, loops, indent + "  ").lines(number, step)
    yield f"{indent}  return {' '.join(map(names, plan.outputs))}"
    yield f"{indent}}}"


class _Step:
    """Prints the steps of a plan."""

    def __init__(self, plan: Plan, names: Names, loops: bool, indent: str) -> None:
        self.plan, self.names, self.loops, self.indent = plan, names, loops, indent

    def lines(self, number: int, step: Step) -> Iterator[str]:
        """A step, numbered."""
        head = f"{self.indent}{number}: {self.results(step.outputs)} = "
        match step:
            case TileGroup():
                rows = f"{step.space.units} x {step.space.rows}" if step.space.units > 1 else f"{step.space.rows}"
                yield f"{head}group of {rows} rows, {step.tile_rows} at a time"
                for place, member in enumerate(step.members):
                    yield from _Step(self.plan, self.names, self.loops, f"{self.indent}    ").member(place, member)
            case LoopNest():
                yield head + self.nest(step.loops)
                yield from self.body(step.loops)
            case KernelStep() | HostCall() | ControlStep():
                yield from self.equation(head, step)

    def member(self, number: int, tile: RowTile) -> Iterator[str]:
        """A member of a group."""
        results = dict.fromkeys((*tile.made, *tile.sums))
        head = f"{self.indent}{number}: {self.results(list(results))} = "
        if isinstance(tile, NestTile):
            yield head + self.nest(tile.loops)
            yield from self.body(tile.loops)
        else:
            yield from self.equation(head, tile.step)

    def equation(self, head: str, step: EquationStep) -> Iterator[str]:
        """An equation with code of its own, its epilogue and the plans that it holds."""
        operands = " ".join(map(self.view, step.views))
        remarks = ", ".join(filter(None, ["Python" if _is_python(step) else "", step.equation.source]))
        yield f"{head}{step.equation.operation!r} {operands}".rstrip() + (f"  # {remarks}" if remarks else "")
        if isinstance(step, KernelStep) and step.epilogue is not None:
            yield f"{self.indent}    epilogue {self.nest(step.epilogue)}"
            yield from self.body(step.epilogue)
        for plan in step.plans if isinstance(step, ControlStep) else ():
            yield from _plan_lines(plan, self.loops, f"{self.indent}    ")

    def results(self, variables: Sequence[Var]) -> str:
        """Names, types and places of results."""
        return ", ".join(f"{self.names(v)}:{v.type}{self.place(v)}" for v in variables)

    def place(self, var: Var) -> str:
        """Where a value is in memory."""
        slot = self.plan.slots.get(var)
        return "" if slot is None else f" in {slot.kind} {slot.number}"

    def view(self, view: View) -> str:
        """An operand, with its strides where it is a window on a stored value."""
        name = self.names(view.base)
        whole = isinstance(view.base, Var) and view.base.type == view.type and not view.offset
        return name if whole else f"{name}[{view.type}; {view.offset}, strides {view.strides}]"

    def nest(self, loops: Loops) -> str:
        """The loops of a nest in one line."""
        reduced = [e for e, r in zip(loops.extents, loops.reduced, strict=True) if r]
        outer = [e for e, r in zip(loops.extents, loops.reduced, strict=True) if not r]
        text = f"loops {' x '.join(map(str, outer)) or '1'}"
        text += f", reducing {' x '.join(map(str, reduced))}" if reduced else ""
        names = dict.fromkeys(i.operation.name for i in loops.instructions if isinstance(i, Apply))
        kinds = dict.fromkeys(r.kind for r in loops.reductions)
        return f"{text}: {', '.join([*names, *kinds]) or 'copy'}"

    def body(self, loops: Loops) -> Iterator[str]:
        """The instructions of a nest, if loops are printed."""
        if not self.loops:
            return
        indent = f"{self.indent}    "
        runs = zip(loops.extents, loops.reduced, strict=False)
        for place, (extent, reduced) in enumerate(runs):
            yield f"{indent}for {_index(place)} in {extent}:{'  # reduced' if reduced else ''}"
            indent += "  "
        for number, instruction in enumerate(loops.instructions):
            yield f"{indent}%{number} = {self.instruction(instruction)}"
        for result in loops.results():
            what = result.kind if isinstance(result, Reduce) else "store"
            yield f"{indent}{what} %{result.number} -> {self.names(result.var)}[{_affine(result.flat)}]"

    def instruction(self, instruction: Instruction) -> str:
        """One instruction."""
        match instruction:
            case Load(var, flat, guards):
                return f"load {self.names(var)}[{_affine(flat)}]{_conditions(guards, ' if ')}"
            case Constant(data, dtype):
                return f"{np.frombuffer(data, dtype)[0]}:{short_name(dtype)}"
            case Index(value, dtype):
                return f"index {_affine(value)}:{short_name(dtype)}"
            case Choose(guards, inside, outside, _):
                return f"%{inside}{_conditions(guards, ' if ')} else %{outside}"
            case Apply(operation, operands, dtype):
                return f"{operation!r} {' '.join(f'%{o}' for o in operands)} :{short_name(dtype)}"


def _is_python(step: EquationStep) -> bool:
    """Whether Python computes a step, by the reference of its operation."""
    if isinstance(step, KernelStep):
        return not is_nothing(step.equation) and not lowering_of(step.equation.operation).supports(step)
    return isinstance(step, HostCall)


def _index(place: int) -> str:
    return _INDICES[place] if place < len(_INDICES) else f"i{place}"


def _affine(value: Affine) -> str:
    """An affine function as a sum: ``128 i + j + 3``."""
    terms = [_index(place) if c == 1 else f"{c} {_index(place)}" for place, c in enumerate(value.coefficients) if c]
    if value.constant or not terms:
        terms.append(str(value.constant))
    return " + ".join(terms).replace("+ -", "- ")


def _conditions(guards: Guards, start: str) -> str:
    return start + " and ".join(f"0 <= {_affine(i)} < {n}" for i, n in guards) if guards else ""
