"""Fusion: which equations share a loop nest, and in which order everything runs.

Equations are placed one after the other into a list of steps. An elementwise equation, a reduction or a copy may join a
nest over as many elements, no earlier than what it reads is there, if it reads what that nest makes only at the same
element. Operations that just move elements are not computed at all: the ones that read them read the source instead.
A product or a convolution has a nest too, its epilogue: what is computed on each part of the result while that part is
in the cache.
"""

from collections.abc import Iterable

import numpy as np

from fdl.compile.fallback import Skip
from fdl.compile.ir.affine import common_refinement, merged_strides, row_major, strides, unflatten
from fdl.compile.ir.body import Body, Choose, Constant, Index, Load, NotAffine
from fdl.compile.ir.fusion import Copy, Fusion, Standalone
from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.reductions import REDUCTIONS
from fdl.compile.ir.steps import View
from fdl.compile.kernels import control_of, lowering_of
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.values import HALVES, transport_dtype
from fdl.compile.lowerings.elementwise import is_lowerable
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.rewrite import uses
from fdl.dtypes import float32, float64
from fdl.ops.arithmetic import Div, Sub
from fdl.ops.convert import Convert
from fdl.ops.elementwise import Add, Mul, Neg
from fdl.ops.shape import IndexMap, Iota, Reduction, Reshape, Transpose
from fdl.ops.slicing import Pad, Reverse

#: Operations that take less time than to store a result and read it again.
_CHEAP = (Convert, Add, Sub, Mul, Div, Neg)

#: Whether products and convolutions take epilogues.
EPILOGUES = True


class Schedule:
    """The steps of a Program, in order.

    Args:
        program: in the forms that `fdl.compile.passes.order.prepared` gives it.
        skip: names of the passes to do without.

    Attributes:
        steps: fusions and standalone equations.
        defining_step: the number of the step that makes a stored value; -1 for inputs and constants.
        outputs: of the Program; Copies added where an output is not made by a step, or made once and returned twice.
    """

    def __init__(self, program: Program, skip: Skip = frozenset()) -> None:
        self.program, self.skip, self.tuning = program, skip, host_target().tuning
        #: Equations that take no epilogue, since other steps would read too much of what it makes.
        self.alone: set[Equation] = set()
        self.make()
        found = self.spread()
        if found:
            self.alone = found
            self.make()

    def make(self) -> None:
        """Place all equations."""
        program = self.program
        self.steps: list[Fusion | Standalone] = []
        self.defining_step: dict[Var, int] = dict.fromkeys(program.inputs, -1)
        self.defining_step.update((v, -1) for v, _ in program.constants)
        self._inlined: dict[Var, Equation] = {}
        self._materialized_late: dict[Var, Equation] = {}
        self._depth: dict[Atom, int] = {}
        #: The step whose code is being made, once all are placed: it cannot load what it or a later one stores.
        self.current: int | None = None
        self._users: dict[Atom, list[Equation]] = uses(program.equations)
        self._users.update((atom, []) for atom in program.outputs)
        self._readers: dict[Var, list[int]] = {}
        self._last_read: dict[Var, int] = {}
        for equation in self.ordered():
            self.place(equation)
        self.outputs = self.place_outputs()

    def ordered(self) -> Iterable[Equation]:
        """The equations in the order in which they are placed."""
        return _small_first(self.program, self.tuning.early_elements)

    def inlined(self, var: Var) -> Equation | None:
        """The equation of a value that is not stored (yet)."""
        found = self._inlined.get(var)
        if (
            found is None
            and self.current is not None
            and var in self._materialized_late
            and self.defining_step[var] >= self.current
        ):
            return self._materialized_late[var]
        return found

    def place(self, equation: Equation) -> None:
        """Put an equation where it belongs."""
        kind = classify(equation)
        if is_nothing(equation):
            self.append(Standalone(equation))
        elif kind == "inlined" or (kind == "nest" and self.is_delayed(equation)):
            self.delay(equation)
        elif kind == "nest":
            self.place_in_nest(equation)
        else:
            self.place_single(equation)

    def delay(self, equation: Equation) -> None:
        """Compute an equation where it is read, unless too many of that kind follow each other."""
        (var,) = equation.outputs
        self._depth[var] = 1 + max((self._depth.get(a, 0) for a in equation.inputs), default=0)
        self._inlined[var] = equation
        if self._depth[var] > self.tuning.inlined_depth:
            self.materialize(var)
            self._depth[var] = 0

    def is_delayed(self, equation: Equation) -> bool:
        """Whether a result is rather computed where it is used."""
        return (
            self.is_free(equation) or self.is_moved(equation) or self.is_inner(equation) or self.is_recomputed(equation)
        )

    def is_recomputed(self, equation: Equation) -> bool:
        """Whether a result follows by cheap operations from one array, so that reading that takes fewer bytes.

        A float32 result of an array of 16-bit floats is computed where it is read; so is a large one of an array that
        is in memory anyway, by a single operation: it is not stored at all.
        """
        (out,) = equation.outputs
        users = self._users.get(out, [])
        if out.type.dtype not in (float32, float64) or not isinstance(equation.operation, _CHEAP) or not users:
            return False
        if any(classify(user) != "nest" for user in users):
            return False
        large = self.large_loads(equation)
        if len({load.var for load in large}) != 1:
            return False
        (load, *others) = large
        if load.var.type.dtype in HALVES:
            return out.type.dtype == float32
        if others or nbytes(out.type) < self.tuning.recomputed_bytes or isinstance(equation.operation, Div):
            return False
        direct = load.var in map(self.base_buffer, equation.inputs) and not load.guards
        ordered = load.flat == row_major(load.flat.extents) and load.var.type.dtype == out.type.dtype
        return direct and ordered and self.is_in_memory(load.var)

    def large_loads(self, equation: Equation) -> list[Load]:
        """What an equation loads from arrays of more than half its result's size; nothing if that is not known."""
        (out,) = (v.type for v in equation.outputs)
        try:
            loads = self.reads(equation, common_refinement(out.shape) or ())
        except NotAffine:
            return []
        return [load for load in loads if 2 * load.var.type.size > out.size]

    def is_in_memory(self, var: Var) -> bool:
        """Whether a value has to be stored: it is given, or a nest after the step that makes it reads it."""
        made = self.defining_step.get(var)
        return made is not None and (made == -1 or any(n > made for n in self._readers.get(var, ())))

    def is_inner(self, equation: Equation) -> bool:
        """Whether an elementwise result has one elementwise user, which may as well read what the result is made of.

        That may be inputs, which stay where they are, or a single array of no more bytes than the result.
        """
        users = self._users.get(equation.outputs[0], [])
        if len(users) != 1 or {equation.operation.lowering_kind, users[0].operation.lowering_kind} != {"elementwise"}:
            return False
        if classify(users[0]) != "nest":
            return False
        if all(isinstance(a, Literal) or self.defining_step.get(a) == -1 or self.is_known(a) for a in equation.inputs):
            return True
        (out,) = (v.type for v in equation.outputs)
        large = {load.var for load in self.large_loads(equation)}
        return len(large) == 1 and all(v.type.dtype.itemsize <= out.dtype.itemsize for v in large)

    def is_free(self, equation: Equation) -> bool:
        """Whether an elementwise equation reads no memory, so that it is rather computed again than stored."""
        if equation.operation.lowering_kind != "elementwise":
            return False
        return all(isinstance(a, Literal) or self.is_known(a) for a in equation.inputs)

    def is_moved(self, equation: Equation) -> bool:
        """Whether an elementwise result, used once by what is used once, ends in a move of elements to other places.

        It is then computed where it is used, since no loop could do both.
        """
        if equation.operation.lowering_kind != "elementwise":
            return False
        moved = False
        for _ in range(8):
            users = self._users.get(equation.outputs[0], [])
            if len(users) != 1:
                return False
            (equation,) = users
            if isinstance(equation.operation, (Transpose, Reverse)):
                moved = True
            elif classify(equation) != "nest":
                return False
            elif moved or equation.operation.lowering_kind != "elementwise":
                return moved
        return False

    def is_known(self, var: Var) -> bool:
        """Whether a value is made of literals and indices alone, by at most a few operations."""
        equation, steps = self.inlined(var), 0
        while equation is not None and equation.inputs and steps < 8:
            steps += 1
            operands = [a for a in equation.inputs if not isinstance(a, Literal)]
            if not operands:
                return True
            if len(operands) > 1:
                return False
            equation = self.inlined(operands[0])
        return equation is not None and not equation.inputs

    def spread(self) -> set[Equation]:
        """Equations with an epilogue of which nests read more than one result as large as their own.

        What is computed in those nests, or next to them, need not be stored at all.
        """
        found = set()
        for step in self.steps:
            if isinstance(step, Standalone) and step.epilogue is not None:
                size = step.equation.outputs[0].type.size
                read = [v for v in step.epilogue.outputs if v.type.size == size and self.is_read_by_nests(v)]
                if len(read) > 1:
                    found.add(step.equation)
        return found

    def is_read_by_nests(self, var: Var) -> bool:
        """Whether a loop nest loads a stored value."""
        return any(isinstance(self.steps[n], Fusion) for n in self._readers.get(var, ()))

    # Singles

    def place_single(self, equation: Equation) -> None:
        """Append an equation of its own; its operands get stored unless it reads strided views."""
        for atom in equation.inputs:
            if isinstance(atom, Var) and (not takes_views(equation) or self.view(atom) is None):
                self.materialize(atom)
        alone = equation in self.alone or not self.skip.isdisjoint(("epilogues", "kernels"))
        self.append(Standalone(equation, None if alone else epilogue_nest(equation)))
        for atom in equation.inputs:
            self.touch(atom, len(self.steps) - 1)

    def touch(self, atom: Atom, number: int) -> None:
        """Remember that the step reads what `atom` comes from."""
        while isinstance(atom, Var) and (equation := self.inlined(atom)) is not None and equation.inputs:
            atom = equation.inputs[0]
        if isinstance(atom, Var):
            self._last_read[atom] = number

    def append(self, step: Fusion | Standalone) -> None:
        """Add a step at the end."""
        self.defining_step.update((v, len(self.steps)) for v in step.outputs)
        self.steps.append(step)

    def materialize(self, var: Var) -> None:
        """Make sure that the elements of `var` are in memory in row-major order."""
        equation = self.inlined(var)
        if equation is None:
            return
        if isinstance(equation.operation, Reshape) and isinstance(equation.inputs[0], Var):
            self.materialize(equation.inputs[0])
            return
        # Steps placed before read it where it comes from, and go on doing so.
        self._materialized_late[var] = self._inlined.pop(var)
        self.place_in_nest(equation)

    def base_buffer(self, atom: Atom) -> Atom:
        """The stored value that has the elements of `atom` in the same order."""
        while isinstance(atom, Var) and (equation := self.inlined(atom)) is not None:
            if not isinstance(equation.operation, Reshape):
                break
            atom = equation.inputs[0]
        return atom

    def view(self, atom: Atom) -> View | None:
        """`atom` as a strided window on what is stored, if it is one."""
        extents = common_refinement(atom.type.shape)
        if extents is None or 0 in extents:
            return None
        while True:
            body = Body(extents, self.inlined)
            try:
                body.read(atom, body.place(atom.type.shape))
                break
            except NotAffine as error:
                finer = self.refined(extents, error.var)
                if finer is None:
                    return None
                extents = finer
        if len(body.instructions) != 1:
            return None
        found = body.instructions[0]
        if isinstance(found, Constant):
            literal = Literal(np.frombuffer(found.data, found.dtype).reshape(()))
            return View(literal, 0, (0,) * atom.type.ndim, atom.type)
        if not isinstance(found, Load) or found.guards:
            return None
        steps = merged_strides(found.flat.coefficients, extents, atom.type.shape)
        return None if steps is None else View(found.var, found.flat.constant, steps, atom.type)

    def refined(self, extents: tuple[int, ...], var: Var) -> tuple[int, ...] | None:
        """Loops cut finer, so that they may run through `var` too; None if that is not possible or no change."""
        if _size(extents) != var.type.size:
            return None
        finer = common_refinement(extents, var.type.shape)
        return None if finer == extents else finer

    def operand(self, atom: Atom) -> View:
        """Where an operand of a standalone step is."""
        base = self.base_buffer(atom)
        if isinstance(base, Literal) or self.inlined(base) is not None:
            found = self.view(atom)
            assert found is not None
            return found
        return View(base, 0, strides(atom.type.shape), atom.type)

    # Nests

    def place_in_nest(self, equation: Equation) -> None:
        """Let an equation join a nest, or begin one."""
        shape = loop_shape(equation)
        own = common_refinement(shape)
        assert own is not None
        while True:
            try:
                loads = self.reads(equation, own)
                break
            except NotAffine as error:
                finer = self.refined(own, error.var)
                if finer is None:
                    self.materialize(error.var)
                own = finer or own
        earliest = max((self.defining_step[load.var] for load in loads), default=-1)
        best, rank = None, 0
        near = {
            n
            for load in loads
            for n in (self.defining_step[load.var], *self._readers.get(load.var, ())[-self.tuning.fusion_window :])
        }
        for number in sorted(n for n in near if n >= max(earliest, 0)):
            found = self.joined(number, equation, own)
            if found is not None and found[0] >= rank:
                rank, best = found[0], (number, found[1], found[2])
        if best is None:
            nest = Fusion(own, equation.scope)
            self.append(nest)
            best = (len(self.steps) - 1, own, loads)
        self.join(best[0], equation, shape, best[1], best[2])

    def join(
        self, number: int, equation: Equation, shape: tuple[int, ...], extents: tuple[int, ...], loads: list[Load]
    ) -> None:
        """Add an equation to the nest at `number`."""
        nest = self.nest(number)
        assert nest is not None
        if nest.reduced is not None:
            nest.reduced = _refined(nest.reduced, nest.extents, extents)
        nest.extents = extents
        nest.shapes.append(shape)
        nest.equations.append(equation)
        for load in loads:
            self._last_read[load.var] = max(number, self._last_read.get(load.var, number))
            if self.defining_step[load.var] != number and load.var not in nest.operands:
                nest.operands.add(load.var)
                self._readers.setdefault(load.var, []).append(number)
        if equation.operation.lowering_kind == "reduce":
            nest.reduced = reduced_loops(equation, extents)
        for var in equation.outputs:
            self.defining_step[var] = number

    def nest(self, number: int) -> Fusion | None:
        """The nest of a step, if it has one."""
        step = self.steps[number]
        return step if isinstance(step, Fusion) else step.epilogue

    def reads(self, equation: Equation, extents: tuple[int, ...]) -> list[Load]:
        """What an equation loads in loops of these extents."""
        return self.body(equation, extents).loads()

    def body(self, equation: Equation, extents: tuple[int, ...]) -> Body:
        """The instructions of an equation in loops of these extents."""
        body = Body(extents, self.inlined)
        if equation.operation.lowering_kind == "reduce":
            body.read(equation.inputs[0], body.place(equation.inputs[0].type.shape))
        else:
            body.define(equation)
        return body

    def joined(
        self, number: int, equation: Equation, shape: tuple[int, ...]
    ) -> tuple[int, tuple[int, ...], list[Load]] | None:
        """(rank, extents, loads) if the equation can join the nest of a step and gains by it."""
        nest = self.nest(number)
        if nest is None or nest.scope != equation.scope:
            return None
        if len(nest.equations) >= self.tuning.fused_equations or len(nest.operands) >= self.tuning.fused_operands:
            return None
        if not nest.shapes or _size(nest.shapes[0]) != _size(shape):
            return None
        extents = common_refinement(nest.extents, shape)
        if extents is None:
            return None
        marks = None if nest.reduced is None else _refined(nest.reduced, nest.extents, extents)
        if equation.operation.lowering_kind == "reduce" and marks not in (None, reduced_loops(equation, extents)):
            return None
        try:
            body = self.body(equation, extents)
        except NotAffine:
            return None
        step = self.steps[number]
        if isinstance(step, Standalone) and not self.is_epilogue(equation, body, number, step.equation.outputs[0]):
            return None
        rank, loads = 0, body.loads()
        for load in loads:
            if self.defining_step[load.var] == number:
                if load.flat != row_major(extents) or load.guards or self.is_reduction(load.var, nest):
                    return None
                rank += 2
            elif load.var in nest.operands and load.var.type.size * 2 > _size(shape):
                rank += 1
        return (rank, extents, loads) if rank else None

    def is_epilogue(self, equation: Equation, body: Body, number: int, result: Var) -> bool:
        """Whether an equation can be computed on vectors of the `result` of a standalone step."""
        if equation.operation.lowering_kind != "elementwise" or any(
            isinstance(i, (Index, Choose)) for i in body.instructions
        ):
            return False
        for load in body.loads():
            steps = merged_strides(load.flat.coefficients, body.extents, result.type.shape)
            if steps is None or load.guards or steps[-1] not in (0, 1):
                return False
            # Read early, an input could no longer be updated where it is.
            whole = load.var.type.size == result.type.size > self.tuning.early_elements
            if whole and self.defining_step[load.var] == -1 and self._last_read.get(load.var, -1) > number:
                return False
        return True

    def is_reduction(self, var: Var, nest: Fusion) -> bool:
        """Whether a result of `nest` is complete only when its loops are."""
        return any(e.operation.lowering_kind == "reduce" and var in e.outputs for e in nest.equations)

    # Outputs

    def place_outputs(self) -> list[Var]:
        """A stored variable for every output, each with memory of its own."""
        taken: set[Atom] = set()
        found = []
        for atom in self.program.outputs:
            if isinstance(atom, Var):
                self.materialize(atom)
            base = self.base_buffer(atom)
            if isinstance(base, Literal) or base in taken or self.defining_step[base] == -1:
                base = Var(atom.type)
                self.place_copy(Equation(Copy(), (atom,), (base,)))
            taken.add(base)
            found.append(base)
        return found

    def place_copy(self, copy: Equation) -> None:
        """Append a copy."""
        if transport_dtype(copy.outputs[0].type.dtype) is None or is_nothing(copy):
            self.append(Standalone(copy))
        else:
            self.place_in_nest(copy)


class Unfused(Schedule):
    """A schedule without fusion: every equation is a step, and all that it makes is stored."""

    def ordered(self) -> Iterable[Equation]:
        return self.program.equations

    def place(self, equation: Equation) -> None:
        if is_nothing(equation) or "loops" in self.skip or classify(equation) == "standalone":
            self.append(Standalone(equation))
        else:
            self.place_in_nest(equation)

    def place_copy(self, copy: Equation) -> None:
        if "loops" in self.skip:
            self.append(Standalone(copy))
        else:
            super().place_copy(copy)

    def joined(self, number: int, equation: Equation, shape: tuple[int, ...]) -> None:
        return None

    def spread(self) -> set[Equation]:
        return set()


def _small_first(program: Program, few: int) -> list[Equation]:
    """The equations, those with small results moved up to where their operands are there."""
    keys: dict[Atom, float] = {}
    order = []
    for number, equation in enumerate(program.equations):
        ready = max((keys.get(a, -1.0) for a in equation.inputs if isinstance(a, Var)), default=-1.0)
        small = not equation.operation.effect and all(v.type.size <= few for v in equation.outputs)
        small = small and all(a.type.size <= few for a in equation.inputs) and control_of(equation.operation) is None
        key = ready if small else float(number)
        keys.update((v, key) for v in equation.outputs)
        order.append((key, number, equation))
    return [equation for _, _, equation in sorted(order, key=lambda item: item[:2])]


def is_nothing(equation: Equation) -> bool:
    """Whether an equation makes no elements, and so needs no code."""
    return not equation.operation.effect and all(v.type.size == 0 for v in equation.outputs)


def classify(equation: Equation) -> str:
    """How an equation is computed: ``inlined`` (where it is read), in a ``nest``, or as a ``standalone`` step."""
    operation = equation.operation
    if operation.effect or operation.multiple:
        return "standalone"
    dtypes = [a.type.dtype for a in (*equation.inputs, *equation.outputs)]
    if isinstance(operation, Iota):
        return "inlined" if transport_dtype(dtypes[0]) == dtypes[0] else "standalone"
    if operation.lowering_kind == "move":
        plain = isinstance(operation, (Reshape, IndexMap))
        plain = plain or (isinstance(operation, Pad) and not any(operation.interior))
        return "inlined" if plain and all(transport_dtype(d) is not None for d in dtypes) else "standalone"
    if operation.lowering_kind == "elementwise":
        return "nest" if is_lowerable(operation, tuple(a.type.dtype for a in equation.inputs)) else "standalone"
    if type(operation) in REDUCTIONS:
        x = equation.inputs[0].type
        simple = x.size > 0 and x.dtype.kind != "c" and isinstance(equation.inputs[0], Var)
        return "nest" if simple else "standalone"
    return "standalone"


def loop_shape(equation: Equation) -> tuple[int, ...]:
    """The shape that the loops of an equation run over."""
    if equation.operation.lowering_kind == "reduce":
        return tuple(equation.inputs[0].type.shape)
    return tuple(equation.outputs[0].type.shape)


def reduced_loops(equation: Equation, extents: tuple[int, ...]) -> tuple[bool, ...]:
    """Which loops run over axes that a reduction reduces."""
    position = unflatten(row_major(extents), equation.inputs[0].type.shape)
    assert position is not None and isinstance(equation.operation, Reduction)
    axes = [position[a] for a in equation.operation.axes]
    return tuple(any(p.coefficients[j] for p in axes) for j in range(len(extents)))


def epilogue_nest(equation: Equation) -> Fusion | None:
    """An empty epilogue, if the kernel of an equation takes one."""
    if not EPILOGUES or not lowering_of(equation.operation).takes_epilogue(equation.operation, equation):
        return None
    (out,) = equation.outputs
    extents = common_refinement(out.type.shape)
    assert extents is not None
    return Fusion(extents, equation.scope, shapes=[tuple(out.type.shape)])


def takes_views(equation: Equation) -> bool:
    """Whether the operands of an equation of its own may be strided."""
    operation = equation.operation
    return (
        operation.lowering_kind != "elementwise"
        and lowering_of(operation).reads_views
        and control_of(operation) is None
    )


def _refined(reduced: tuple[bool, ...], extents: tuple[int, ...], finer: tuple[int, ...]) -> tuple[bool, ...]:
    """The marks of loops, for loops cut finer."""
    found, rest = [], list(finer)
    for mark, extent in zip(reduced, extents, strict=True):
        while extent > 1:
            found.append(mark)
            extent //= rest.pop(0)
    return tuple(found)


def _size(shape: Iterable[int]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size
