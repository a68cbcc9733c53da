"""From a Program to a plan: the whole order of scheduling."""

from collections.abc import Callable, Iterable
from typing import Any

from fdl.compile.fallback import Skip, during
from fdl.compile.ir.body import Body
from fdl.compile.ir.loops import Loops, make_body, make_loops, whole_loops
from fdl.compile.ir.plan import LoopsStep, Plan, SingleStep
from fdl.compile.ir.steps import Nest, Single, View
from fdl.compile.schedule.buffers import Placement
from fdl.compile.schedule.fuse import Schedule, Unfused, is_nothing
from fdl.compile.schedule.group import grouped
from fdl.compile.schedule.join_rows import widened
from fdl.compile.schedule.nested import nested_plans, workspace_bytes
from fdl.compile.schedule.split import split
from fdl.config import config
from fdl.core.program import Program, Var


def make_plan(
    program: Program,
    donate: tuple[bool, ...] = (),
    carry: dict[int, int] | None = None,
    skip: Skip = frozenset(),
) -> Plan:
    """The plan of a simplified Program.

    Args:
        program: of scoped equations.
        donate: which inputs' memory may be overwritten; none by default.
        carry: for the body of a loop, the only input, by number of the output, whose memory the output may take.
        skip: names of the passes to do without.
    """
    with during("fuse"):
        schedule = Unfused(program, skip) if skip & {"fuse", "loops"} else Schedule(program, skip)
        steps = _finished(schedule)
        _verify_steps(steps, schedule)
    for name, run in SCHEDULING:
        if name not in skip:
            with during(name):
                steps = run(steps, schedule.outputs)
                _verify_steps(steps, schedule)
    for step in steps:
        if isinstance(step, SingleStep):
            with during("control"):
                step.plans = nested_plans(step.equation, skip, make_plan)
            if step.plans or "kernels" not in skip:
                with during("kernels"):
                    step.workspace_bytes = workspace_bytes(step)
    with during("reuse"):
        return _placed(schedule, steps, donate, carry, skip)


def _verify_steps(steps: list[Any], schedule: Schedule) -> None:
    if config.debug_compiler:
        from fdl.compile.schedule.verify import verify_steps

        verify_steps(steps, schedule.program, schedule.outputs)


def _grouped(steps: list[Any], outputs: Iterable[Var]) -> list[Any]:
    return grouped(steps, outputs, LoopsStep)


def _each_nest(change: Callable[[Loops], list[Loops]]) -> Callable[[list[Any], Iterable[Var]], list[Any]]:
    """A pass that replaces each loop nest, by nests that make the same one after the other."""

    def run(steps: list[Any], outputs: Iterable[Var]) -> list[Any]:
        found: list[Any] = []
        for step in steps:
            found += _loops_steps(change(step.loops), step.scope) if isinstance(step, LoopsStep) else [step]
        return found

    return run


#: The passes over the steps of a schedule, in their order: rows become groups, narrow rows are joined, and long sums
#: are made in two steps. Each may be left out.
SCHEDULING: list[tuple[str, Callable[[list[Any], Iterable[Var]], list[Any]]]] = [
    ("group", _grouped),
    ("widen", _each_nest(widened)),
    ("split", _each_nest(split)),
]


def _placed(
    schedule: Schedule, steps: list[Any], donate: tuple[bool, ...], carry: dict[int, int] | None, skip: Skip
) -> Plan:
    """The steps with a place for every value."""
    while True:
        placement = Placement(schedule, steps, donate, carry, skip)
        plan = placement.plan()
        lost = placement.overwritten - set(plan.reused.values())
        if not lost:
            break
        # What has been overwritten must not be given back to its owner: only outputs may take such memory.
        donate = tuple(mark and n not in lost for n, mark in enumerate(donate))
    if config.debug_compiler:
        from fdl.compile.schedule.verify import verify_plan

        verify_plan(plan, donate)
    return plan


def _finished(schedule: Schedule) -> list[Any]:
    """The steps with their loops and views, now that it is known what has to be stored."""
    bodies: list[Any] = []
    found: list[Any] = []
    needed = set(schedule.outputs)
    for number, step in enumerate(schedule.steps):
        schedule.current = number
        if isinstance(step, Nest):
            bodies.append(make_body(step, schedule.virtual))
            needed.update(load.var for load in bodies[-1].loads())
        else:
            operands = () if is_nothing(step.equation) else step.equation.inputs
            views = [schedule.operand(a) for a in operands]
            needed.update(v.root for v in views if isinstance(v.root, Var))
            epilogue = None
            if step.epilogue is not None and step.epilogue.equations:
                epilogue = make_body(step.epilogue, schedule.virtual)
                needed.update(load.var for load in epilogue.loads() if load.var not in step.equation.outputs)
            bodies.append((views, epilogue))
    for step, body in zip(schedule.steps, bodies, strict=True):
        if isinstance(step, Single):
            views, epilogue = body
            found.append(_single(step, views, epilogue, needed.__contains__))
            continue
        found += _loops_steps([make_loops(step, body, needed.__contains__)], step.scope)
    return found


def _loops_steps(nests: Iterable[Loops], scope: int) -> list[LoopsStep]:
    """Steps of loop nests that make anything."""
    steps = []
    for loops in nests:
        outputs = [s.var for s in loops.results()]
        reads = tuple(dict.fromkeys(load.var for load in loops.reads()))
        steps += [LoopsStep(loops, outputs, reads, scope)] if outputs else []
    return steps


def _single(step: Single, views: list[View], body: Body | None, needed: Callable[[Var], bool]) -> SingleStep:
    """A single step with what of its epilogue is needed."""
    outputs = list(step.equation.outputs)
    reads = [v.root for v in views if isinstance(v.root, Var)]
    if body is None or step.epilogue is None:
        return SingleStep(step.equation, outputs, tuple(dict.fromkeys(reads)), views)
    epilogue = whole_loops(step.epilogue, body, needed)
    outputs += [s.var for s in epilogue.results()]
    reads += [load.var for load in epilogue.reads() if load.var not in outputs]
    return SingleStep(step.equation, outputs, tuple(dict.fromkeys(reads)), views, epilogue if epilogue.stores else None)
