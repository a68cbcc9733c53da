"""From a Program to a plan: the whole order of scheduling."""

from collections.abc import Callable, Iterable

from fdl.compile.fallback import Skip, during
from fdl.compile.ir.body import Body
from fdl.compile.ir.fusion import Copy, Fusion, Standalone
from fdl.compile.ir.loops import Loops, make_body, make_loops, whole_loops
from fdl.compile.ir.plan import ControlStep, Plan, Step
from fdl.compile.ir.steps import HostCall, KernelStep, LoopNest, View
from fdl.compile.kernels import has_lowering
from fdl.compile.schedule.buffers import Placement
from fdl.compile.schedule.fuse import Schedule, Unfused, is_nothing
from fdl.compile.schedule.group import grouped
from fdl.compile.schedule.join_rows import join_rows
from fdl.compile.schedule.nested import is_native_control, nested_plans, workspace_bytes
from fdl.compile.schedule.split import split
from fdl.config import config
from fdl.core.program import Equation, Program, Var


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
        if isinstance(step, ControlStep):
            with during("control"):
                step.plans = nested_plans(step.equation, skip, make_plan)
        if isinstance(step, (ControlStep, KernelStep)):
            with during("kernels"):
                step.workspace_bytes = workspace_bytes(step)
    with during("reuse"):
        return _placed(schedule, steps, donate, carry, skip)


def _verify_steps(steps: list[Step], schedule: Schedule) -> None:
    if config.debug_compiler:
        from fdl.compile.schedule.verify import verify_steps

        verify_steps(steps, schedule.program, schedule.outputs)


def _each_nest(change: Callable[[Loops], list[Loops]]) -> Callable[[list[Step], Iterable[Var]], list[Step]]:
    """A pass that replaces each loop nest, by nests that make the same one after the other."""

    def run(steps: list[Step], outputs: Iterable[Var]) -> list[Step]:
        found: list[Step] = []
        for step in steps:
            found += loop_nests(change(step.loops), step.scope) if isinstance(step, LoopNest) else [step]
        return found

    return run


#: The passes over the steps of a schedule, in their order: rows become groups, narrow rows are joined, and long sums
#: are made in two steps. Each may be left out.
SCHEDULING: list[tuple[str, Callable[[list[Step], Iterable[Var]], list[Step]]]] = [
    ("group", grouped),
    ("join_rows", _each_nest(join_rows)),
    ("split", _each_nest(split)),
]


def _placed(
    schedule: Schedule, steps: list[Step], donate: tuple[bool, ...], carry: dict[int, int] | None, skip: Skip
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
        from fdl.compile.schedule.verify_memory import verify_plan

        verify_plan(plan, donate)
    return plan


def _finished(schedule: Schedule) -> list[Step]:
    """The steps with their loops and views, now that it is known what has to be stored."""
    bodies: dict[Fusion, Body] = {}
    views: dict[Standalone, list[View]] = {}
    needed = set(schedule.outputs)
    for number, step in enumerate(schedule.steps):
        schedule.current = number
        match step:
            case Fusion():
                bodies[step] = make_body(step, schedule.inlined)
                needed.update(load.var for load in bodies[step].loads())
            case Standalone():
                operands = () if is_nothing(step.equation) else step.equation.inputs
                views[step] = [schedule.operand(a) for a in operands]
                needed.update(v.base for v in views[step] if isinstance(v.base, Var))
                if (epilogue := step.epilogue) is not None and epilogue.equations:
                    bodies[epilogue] = make_body(epilogue, schedule.inlined)
                    own = step.equation.outputs
                    needed.update(load.var for load in bodies[epilogue].loads() if load.var not in own)
    found: list[Step] = []
    for step in schedule.steps:
        match step:
            case Fusion():
                found += loop_nests([make_loops(step, bodies[step], needed.__contains__)], step.scope)
            case Standalone(equation, epilogue):
                loops = None
                if epilogue is not None and epilogue.equations:
                    loops = whole_loops(epilogue, bodies[epilogue], needed.__contains__)
                found.append(_equation_step(equation, views[step], loops, schedule.skip))
    return found


def loop_nests(nests: Iterable[Loops], scope: int) -> list[LoopNest]:
    """Steps of the loops that make anything."""
    steps = []
    for loops in nests:
        outputs = [s.var for s in loops.results()]
        reads = tuple(dict.fromkeys(load.var for load in loops.reads()))
        steps += [LoopNest(loops, outputs, reads, scope)] if outputs else []
    return steps


def _equation_step(equation: Equation, views: list[View], epilogue: Loops | None, skip: Skip) -> Step:
    """The step of one equation, with what of its epilogue is needed."""
    outputs, reads = list(equation.outputs), [v.base for v in views if isinstance(v.base, Var)]
    if epilogue is not None:
        outputs += [s.var for s in epilogue.results()]
        reads += [load.var for load in epilogue.reads() if load.var not in outputs]
        epilogue = epilogue if epilogue.stores else None
    read = tuple(dict.fromkeys(reads))
    if is_native_control(equation, skip):
        return ControlStep(equation, outputs, read, views)
    # A copy has no reference that Python could call.
    native = has_lowering(equation.operation) and ("kernels" not in skip or isinstance(equation.operation, Copy))
    if native or is_nothing(equation):
        return KernelStep(equation, outputs, read, views, epilogue=epilogue)
    return HostCall(equation, outputs, read, views)
