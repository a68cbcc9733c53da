"""The verifier of schedules, tested by corrupting sound ones: each kind of damage is refused, by the right message."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile import pipeline
from fdl.compile.codegen.hazards import Hazards
from fdl.compile.ir.plan import ControlStep, Plan, Slot, nbytes
from fdl.compile.ir.steps import EquationStep, HostCall, KernelStep, LoopNest
from fdl.compile.ir.tiles import NestTile, TileGroup
from fdl.compile.passes import order
from fdl.compile.passes.order import prepared
from fdl.compile.schedule import planner
from fdl.compile.schedule.planner import make_plan
from fdl.compile.schedule.verify import verify_steps
from fdl.compile.schedule.verify_memory import verify_plan
from fdl.control.scan import Scan
from fdl.core.program import Program
from fdl.core.verify import verify as verify_program
from fdl.errors import CompilerError, VerificationError
from tests.compile.tuned import tune


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def layer_norm(x: Any) -> Any:
    return (x - x.mean(1, keepdims=True)) / fnp.sqrt(x.var(1, keepdims=True) + 1e-5)


def train(w: Any, v: Any, x: Any) -> Any:
    """A step of training with two layers."""

    def loss(weights: Any) -> Any:
        return fdl.nn.log_softmax(fnp.tanh(x @ weights[0]) @ weights[1])[:, 0].sum()

    value, grads = fdl.value_and_grad(loss)((w, v))
    return w - 0.1 * grads[0], v - 0.1 * grads[1], value


def recurrent(w: Any, x: Any) -> Any:
    return fdl.lax.scan(lambda c, row: (fnp.tanh(row @ w + c), fnp.cumsum(c)), fnp.zeros(w.shape[1], w.dtype), x)


def printed(x: Any) -> Any:
    fdl.debug.print("{}", x[0])
    y = fnp.cumsum(x)
    fdl.debug.print("{}", y[0])
    return fnp.sort(y) + x


PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[bool, ...]]] = {
    "layer_norm": (layer_norm, (normal(640, 64),), ()),
    "train": (train, (normal(16, 32), normal(32, 8), normal(64, 16)), (True, True, False)),
    "recurrent": (recurrent, (normal(8, 8), normal(5, 8)), ()),
    "printed": (printed, (normal(100),), ()),
    "image": (lambda x: fnp.tanh(x).sum((0, 1)) + x[0, 0], (normal(64, 64, 6),), ()),
    "sums": (lambda x: fdl.nn.softmax(x).sum(0), (normal(640, 64),), ()),
    "update": (lambda t, i, g: fnp.tanh(t.at[i].add(g)), (normal(50, 4), np.arange(3), normal(3, 4)), (True,)),
    "sum": (lambda x: fnp.exp(x).sum(), (normal(1 << 20),), ()),
}


def plan_of(name: str) -> Plan:
    function, arguments, donate = PROGRAMS[name]
    return make_plan(prepared(fdl.make_program(function)(*arguments)), donate)


def verify(name: str, plan: Plan) -> None:
    verify_steps(plan.steps, plan.program, plan.outputs)
    verify_plan(plan, PROGRAMS[name][2])


def refused(name: str, plan: Plan, match: str = ".") -> None:
    with pytest.raises(VerificationError, match=match):
        verify(name, plan)


def nests(plan: Plan) -> Iterator[LoopNest]:
    yield from (s for s in plan.steps if isinstance(s, LoopNest))


@pytest.mark.parametrize("name", PROGRAMS)
def test_sound_plans_pass(name: str) -> None:
    verify(name, plan_of(name))


def test_programs_have_every_kind_of_step() -> None:
    steps = [s for name in PROGRAMS for s in plan_of(name).steps]
    assert {type(s) for s in steps} == {LoopNest, KernelStep, HostCall, ControlStep, TileGroup}
    assert any(isinstance(s, KernelStep) and s.epilogue for s in steps)
    assert any(isinstance(s, ControlStep) and s.plans for s in steps)
    assert any(isinstance(s, TileGroup) and s.chunk_sums for s in steps)


@pytest.mark.parametrize("name", PROGRAMS)
def test_steps_in_another_order_or_missing(name: str) -> None:
    plan = plan_of(name)
    for a, first in enumerate(plan.steps):
        refused(name, replace(plan, steps=[s for s in plan.steps if s is not first]))
        refused(name, replace(plan, steps=[*plan.steps, first]), "made before|once each")
        for b in range(a + 1, len(plan.steps)):
            if set(first.outputs) & set(plan.steps[b].reads):
                steps = list(plan.steps)
                steps[a], steps[b] = steps[b], steps[a]
                refused(name, replace(plan, steps=steps), "no step before it makes")


def test_effects_in_another_order() -> None:
    plan = plan_of("printed")
    first, second = (n for n, s in enumerate(plan.steps) if isinstance(s, EquationStep) and s.equation.operation.effect)
    plan.steps[first].equation, plan.steps[second].equation = plan.steps[second].equation, plan.steps[first].equation
    refused("printed", plan)


@pytest.mark.parametrize("name", ["image", "sum", "update"])
def test_loads_and_stores_elsewhere(name: str) -> None:
    count = len(list(nests(plan_of(name))))
    assert count
    for number in range(count):
        plan = plan_of(name)
        step = list(nests(plan))[number]
        loops = step.loops
        for n, instruction in enumerate(loops.instructions):
            if hasattr(instruction, "flat") and not instruction.guards:
                changed = replace(instruction, flat=instruction.flat + instruction.var.type.size)
                step.loops = replace(
                    loops, instructions=(*loops.instructions[:n], changed, *loops.instructions[n + 1 :])
                )
                refused(name, plan, "loads from outside")
        for kind in ("stores", "reductions"):
            for n, item in enumerate(getattr(loops, kind)):
                rest = list(getattr(loops, kind))
                for flat in (item.flat + 1, item.flat * 2, item.flat * 0):
                    if item.var.type.size > 1 or flat.constant:
                        rest[n] = replace(item, flat=flat)
                        step.loops = replace(loops, **{kind: tuple(rest)})
                        refused(name, plan, "each element")
                step.loops = replace(loops, **{kind: tuple(rest[:n] + rest[n + 1 :])})
                refused(name, plan, "each result once")


@pytest.mark.parametrize("name", ["image", "sum"])
def test_reductions_that_are_not_complete(name: str) -> None:
    def reducing(plan: Plan) -> list[LoopNest]:
        return [s for s in nests(plan) if s.loops.reductions]

    count = len(reducing(plan_of(name)))
    assert count
    for number in range(count):
        for axis in range(len(reducing(plan_of(name))[number].loops.extents)):
            plan = plan_of(name)
            step = reducing(plan)[number]
            extents = list(step.loops.extents)
            if not step.loops.reduced[axis] or extents[axis] % 2:
                continue
            # Only the first half of what is reduced.
            extents[axis] //= 2
            shorter = replace(step.loops, extents=tuple(extents))
            step.loops = shorter
            refused(name, plan)
            plan = plan_of(name)
            step = reducing(plan)[number]
            marks = list(step.loops.reduced)
            marks[axis] = False
            step.loops = replace(step.loops, reduced=tuple(marks))
            refused(name, plan, "each element")
        plan = plan_of(name)
        step = reducing(plan)[number]
        other = tuple(replace(r, kind="max") for r in step.loops.reductions)
        step.loops = replace(step.loops, reductions=other)
        refused(name, plan, "max instead of a sum")


@pytest.mark.parametrize("name", PROGRAMS)
def test_memory_that_is_too_small_or_misplaced(name: str) -> None:
    plan = plan_of(name)
    if plan.arena_bytes:
        plan.arena_bytes -= 64
        refused(name, plan, "arena")
    for var, slot in plan_of(name).slots.items():
        if slot.kind == "output":
            plan = plan_of(name)
            var = next(v for v, s in plan.slots.items() if s == slot)
            plan.slots[var] = Slot("output", slot.number + 1)
            plan.outputs.append(plan.outputs[0])
            refused(name, plan)


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_that_share_memory_while_both_are_needed(name: str) -> None:
    """Wherever a value is put into the place of one that is read later."""
    plan = plan_of(name)
    last = {v: n for n, step in enumerate(plan.steps) for v in step.reads}
    last |= dict.fromkeys(plan.outputs, len(plan.steps))
    first = {v: n for n, step in enumerate(plan.steps) for v in step.outputs}
    stored = [v for v in first if v in last and plan.slots[v].kind in ("arena", "output") and nbytes(v.type)]
    for a in stored:
        for b in stored:
            if first[a] < first[b] < last[a]:
                moved = replace(plan, slots={**plan.slots, b: plan.slots[a]})
                with pytest.raises(VerificationError):
                    verify_plan(moved, PROGRAMS[name][2])
    for b in stored:
        # Constants and inputs are nobody's memory, unless they were donated.
        for n, given in enumerate((*PROGRAMS[name][2], False, False, False)[: len(plan.program.inputs)]):
            if not given:
                moved = replace(plan, slots={**plan.slots, b: Slot("input", n)})
                with pytest.raises(VerificationError):
                    verify_plan(moved, PROGRAMS[name][2])


def test_donated_memory() -> None:
    plan = plan_of("train")
    assert plan.reused
    with pytest.raises(VerificationError, match="not donated"):
        verify_plan(plan, (False, False, False))
    # A table updated in place, which an output is, and then is not said to be.
    plan = plan_of("update")
    assert plan.reused == {0: 0}
    assert [plan.slots[v] for s in plan.steps for v in s.outputs][-2:] == [Slot("input", 0)] * 2
    plan.reused = {}
    refused("update", plan, "output 0 is in")
    plan = plan_of("update")
    plan.slots[plan.outputs[0]], plan.reused = Slot("output", 0), {}
    refused("update", plan, "memory is no output's")


def test_views_and_workspaces() -> None:
    plan = plan_of("recurrent")
    (loop,) = (s for s in plan.steps if isinstance(s, ControlStep))
    view = loop.views[-1]
    loop.views[-1] = replace(view, offset=view.offset + 1)
    refused("recurrent", plan, "outside")
    plan = plan_of("recurrent")
    (loop,) = (s for s in plan.steps if isinstance(s, ControlStep))
    loop.workspace += plan.arena_bytes
    refused("recurrent", plan, "workspace")
    body = loop.plans[0]
    steps = list(body.steps)
    body.steps[:] = steps[1:]
    with pytest.raises(VerificationError):
        verify_steps(body.steps, body.program, body.outputs)


@pytest.mark.parametrize("name", ["layer_norm", "train", "sums"])
def test_groups(name: str) -> None:
    def groups(plan: Plan) -> list[TileGroup]:
        return [s for s in plan.steps if isinstance(s, TileGroup)]

    for number, group in enumerate(groups(plan_of(name))):
        for a, tile in enumerate(group.members):
            for b in range(a + 1, len(group.members)):
                if set(group.members[b].step.reads) & {*tile.made, *tile.sums}:
                    plan = plan_of(name)
                    members = groups(plan)[number].members
                    members[a], members[b] = members[b], members[a]
                    refused(name, plan, "not made yet")
            plan = plan_of(name)
            del groups(plan)[number].members[a]
            refused(name, plan)
            if isinstance(tile, NestTile) and tile.loops.reductions and not tile.summed:
                plan = plan_of(name)
                members = groups(plan)[number].members
                loops = members[a].loops
                marks = tuple(False for _ in loops.reduced)
                members[a] = replace(members[a], loops=replace(loops, reduced=marks))
                refused(name, plan)
        for var, part in group.chunk_sums.items():
            plan = plan_of(name)
            own = groups(plan)[number]
            own.chunk *= 2
            assert part.type.size != own.work * var.type.size
            refused(name, plan, "sums of its chunks")
        if group.private:
            plan = plan_of(name)
            groups(plan)[number].private_bytes -= 64
            refused(name, plan, "private memory")
        for a in group.private:
            for b in group.private:
                plan = plan_of(name)
                own = groups(plan)[number]
                x, y = (own.private[group.private.index(v)] for v in (a, b))
                if _both_needed(own, x, y):
                    plan.slots[y] = plan.slots[x]
                    refused(name, plan)


def _both_needed(group: TileGroup, x: Any, y: Any) -> bool:
    """Whether `y` is made after `x` and before `x` is read for the last time."""
    made = {v: n for n, tile in enumerate(group.members) for v in tile.made}
    last = {v: n for n, tile in enumerate(group.members) for v in tile.step.reads}
    return x is not y and made[x] < made[y] < last.get(x, -1)


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is worth dividing."""
    tune(monkeypatch, step_time=1e-9, program_time=0.0)


@pytest.mark.parametrize("most_steps", [0, 1000], ids=["tape", "straight"])
@pytest.mark.parametrize("name", ["train", "image", "recurrent", "sum"])
def test_barriers_that_are_dropped(name: str, most_steps: int, threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    function, arguments, donate = PROGRAMS[name]
    program = fdl.make_program(function)(*arguments)
    tune(monkeypatch, tape_steps=most_steps)
    monkeypatch.setattr(pipeline, "compile_object", lambda *_: b"")
    asked, dropped = [0], [-1]

    def before(self: Any, step: Any, shared: bool, original: Any = Hazards.before) -> bool:
        waits = original(self, step, shared)
        asked[0] += waits
        return waits and asked[0] - 1 != dropped[0]

    monkeypatch.setattr(Hazards, "before", before)
    pipeline.build_archive(program, donate)
    count = asked[0]
    assert count
    for number in range(0, count, 1 + count // 6):
        asked[0], dropped[0] = 0, number
        with pytest.raises(VerificationError, match="does not wait"):
            pipeline.build_archive(program, donate)


@pytest.mark.parametrize(("number", "name"), [*enumerate(dict(order.PASSES) | dict(planner.SCHEDULING))])
def test_damage_is_found_behind_the_pass_that_did_it(number: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The verifiers run after each pass of all that the tests compile."""

    def damaging(run: Callable[..., Any]) -> Callable[..., Any]:
        def damage(*given: Any) -> Any:
            made = run(*given)
            return replace(made, equations=made.equations[:-1]) if isinstance(made, Program) else made[:-1]

        return damage

    for module, table in ((order, "PASSES"), (planner, "SCHEDULING")):
        passes = [(n, damaging(run) if n == name else run) for n, run in getattr(module, table)]
        monkeypatch.setattr(module, table, passes)
    with pytest.raises(CompilerError, match=f"in its pass '{name}'.*VerificationError"):
        fdl.jit(lambda x: fnp.exp(x).sum() * (1.125 + number))(normal(3))


def test_programs_inside_are_checked_too() -> None:
    program = fdl.make_program(recurrent)(normal(8, 8), normal(5, 8))
    verify_program(program)
    (scan,) = (e for e in program.equations if isinstance(e.operation, Scan))
    body = replace(scan.operation.body, equations=scan.operation.body.equations[1:])
    damaged = replace(scan, operation=replace(scan.operation, body=body))
    equations = tuple(damaged if e is scan else e for e in program.equations)
    with pytest.raises(VerificationError, match="that nothing has made"):
        verify_program(replace(program, equations=equations))
