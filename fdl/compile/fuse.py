"""Fusion: which equations share a loop nest, and in which order everything runs.

Equations are placed one after the other into a list of steps. An elementwise equation, a reduction or a copy may join a
nest over as many elements, no earlier than what it reads is there, if it reads what that nest makes only at the same
element. Operations that just move elements are not computed at all: the ones that read them read the source instead.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fdl.compile.affine import common_refinement, row_major, strides, unflatten
from fdl.compile.body import Body, Constant, Load, NotAffine
from fdl.compile.lowering import REDUCTIONS, carrier, is_lowerable, takes_views
from fdl.core.program import Atom, Literal, Program, Var
from fdl.core.types import TensorType
from fdl.ops.shape import Reshape, Transpose
from fdl.ops.slicing import Reverse

#: A nest with more equations or stored operands than this takes no new ones: registers are few.
MOST_EQUATIONS, MOST_OPERANDS = 64, 32

#: How many of the nests that read a value are looked at for another reader of it to join.
WINDOW = 8

#: How many operations in a row are computed where the last one is read.
MOST_DELAYED = 40

#: Results of so few elements are computed as soon as they can be, so that nothing has to wait for them.
FEW = 16


@dataclass(eq=False)
class Nest:
    """Equations computed in the same loops.

    Attributes:
        extents: of the loops.
        equations: elementwise ones, copies and reductions.
        reduced: which loops are reduced by the reductions; None if there are none.
        scope: of the checkpointed block.
        shapes: that the extents refine.
        operands: stored values read.
    """

    extents: tuple[int, ...]
    scope: int
    equations: list[Any] = field(default_factory=list)
    reduced: tuple[bool, ...] | None = None
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    operands: set[Var] = field(default_factory=set)

    @property
    def outputs(self) -> list[Var]:
        """What it makes."""
        return [v for e in self.equations for v in e.outputs]


@dataclass(eq=False)
class Single:
    """An equation that has a kernel, or a call of the host, of its own."""

    equation: Any

    @property
    def outputs(self) -> list[Var]:
        """What it makes."""
        return list(self.equation.outputs)


@dataclass(frozen=True)
class View:
    """A strided window on a stored value; strides and offset count elements."""

    root: Atom
    offset: int
    strides: tuple[int, ...]
    type: TensorType


@dataclass(frozen=True)
class Copy:
    """The operation that stores a value a second time, as an output of its own."""

    family = "copy"
    multiple = False
    effect = False
    name = "copy"

    def source(self, position: Any, x: TensorType) -> Any:
        """Every element stays where it is."""
        return position


class Schedule:
    """The steps of a Program, in order.

    Attributes:
        steps: nests and single equations.
        home: the number of the step that makes a stored value; -1 for inputs and constants.
        outputs: of the Program; Copies added where an output is not made by a step, or made once and returned twice.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps: list[Nest | Single] = []
        self.home: dict[Var, int] = dict.fromkeys(program.inputs, -1)
        self.home.update((v, -1) for v, _ in program.constants)
        self._virtual: dict[Var, Any] = {}
        self._stored_late: dict[Var, Any] = {}
        self._depth: dict[Any, int] = {}
        #: The step whose code is being made, once all are placed: it cannot load what it or a later one stores.
        self.current: int | None = None
        self._users: dict[Any, list[Any]] = {}
        for equation in program.equations:
            for atom in dict.fromkeys(equation.inputs):
                self._users.setdefault(atom, []).append(equation)
        self._users.update((atom, []) for atom in program.outputs)
        self._readers: dict[Var, list[int]] = {}
        for equation in _small_first(program):
            self.place(equation)
        self.outputs = self.place_outputs()

    def virtual(self, var: Var) -> Any:
        """The equation of a value that is not stored (yet)."""
        found = self._virtual.get(var)
        if found is None and self.current is not None and var in self._stored_late and self.home[var] >= self.current:
            return self._stored_late[var]
        return found

    def place(self, equation: Any) -> None:
        """Put an equation where it belongs."""
        kind = classify(equation)
        if is_nothing(equation):
            self.append(Single(equation))
        elif kind == "virtual" or (kind == "nest" and self.is_delayed(equation)):
            self.delay(equation)
        elif kind == "nest":
            self.place_in_nest(equation)
        else:
            self.place_single(equation)

    def delay(self, equation: Any) -> None:
        """Compute an equation where it is read, unless too many of that kind follow each other."""
        (var,) = equation.outputs
        self._depth[var] = 1 + max((self._depth.get(a, 0) for a in equation.inputs), default=0)
        self._virtual[var] = equation
        if self._depth[var] > MOST_DELAYED:
            self.store(var)
            self._depth[var] = 0

    def is_delayed(self, equation: Any) -> bool:
        """Whether a result is rather computed where it is used."""
        return self.is_free(equation) or self.is_moved(equation) or self.is_first(equation)

    def is_first(self, equation: Any) -> bool:
        """Whether an elementwise result of inputs alone, which stay where they are, has one elementwise user."""
        users = self._users.get(equation.outputs[0], [])
        if len(users) != 1 or {equation.operation.family, users[0].operation.family} != {"elementwise"}:
            return False
        if classify(users[0]) != "nest":
            return False
        return all(isinstance(a, Literal) or self.home.get(a) == -1 or self.is_known(a) for a in equation.inputs)

    def is_free(self, equation: Any) -> bool:
        """Whether an elementwise equation reads no memory, so that it is rather computed again than stored."""
        if equation.operation.family != "elementwise":
            return False
        return all(isinstance(a, Literal) or self.is_known(a) for a in equation.inputs)

    def is_moved(self, equation: Any) -> bool:
        """Whether an elementwise result, used once by what is used once, ends in a move of elements to other places.

        It is then computed where it is used, since no loop could do both.
        """
        if equation.operation.family != "elementwise":
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
            elif moved or equation.operation.family != "elementwise":
                return moved
        return False

    def is_known(self, var: Var) -> bool:
        """Whether a value is made of literals and indices alone, by at most a few operations."""
        equation, steps = self.virtual(var), 0
        while equation is not None and equation.inputs and steps < 8:
            steps += 1
            operands = [a for a in equation.inputs if not isinstance(a, Literal)]
            if not operands:
                return True
            if len(operands) > 1:
                return False
            equation = self.virtual(operands[0])
        return equation is not None and not equation.inputs

    # Singles

    def place_single(self, equation: Any) -> None:
        """Append an equation of its own; its operands get stored unless it reads strided views."""
        for atom in equation.inputs:
            if isinstance(atom, Var) and (not takes_views(equation) or self.view(atom) is None):
                self.store(atom)
        self.append(Single(equation))

    def append(self, step: Nest | Single) -> None:
        """Add a step at the end."""
        self.home.update((v, len(self.steps)) for v in step.outputs)
        self.steps.append(step)

    def store(self, var: Var) -> None:
        """Make sure that the elements of `var` are in memory in row-major order."""
        equation = self.virtual(var)
        if equation is None:
            return
        if isinstance(equation.operation, Reshape) and isinstance(equation.inputs[0], Var):
            self.store(equation.inputs[0])
            return
        # Steps placed before read it where it comes from, and go on doing so.
        self._stored_late[var] = self._virtual.pop(var)
        self.place_in_nest(equation)

    def root(self, atom: Atom) -> Atom:
        """The stored value that has the elements of `atom` in the same order."""
        while isinstance(atom, Var) and (equation := self.virtual(atom)) is not None:
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
            body = Body(extents, self.virtual)
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
        steps = _merged(found.flat.coefficients, extents, atom.type.shape)
        return None if steps is None else View(found.var, found.flat.constant, steps, atom.type)

    def refined(self, extents: tuple[int, ...], var: Var) -> tuple[int, ...] | None:
        """Loops cut finer, so that they may run through `var` too; None if that is not possible or no change."""
        if _size(extents) != var.type.size:
            return None
        finer = common_refinement(extents, var.type.shape)
        return None if finer == extents else finer

    def operand(self, atom: Atom) -> View:
        """Where an operand of a single step is."""
        root = self.root(atom)
        if isinstance(root, Literal) or self.virtual(root) is not None:
            found = self.view(atom)
            assert found is not None
            return found
        return View(root, 0, strides(atom.type.shape), atom.type)

    # Nests

    def place_in_nest(self, equation: Any) -> None:
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
                    self.store(error.var)
                own = finer or own
        earliest = max((self.home[load.var] for load in loads), default=-1)
        best, rank = None, 0
        near = {n for load in loads for n in (self.home[load.var], *self._readers.get(load.var, ())[-WINDOW:])}
        for number in sorted(n for n in near if n >= max(earliest, 0)):
            found = self.joined(self.steps[number], number, equation, own)
            if found is not None and found[0] >= rank:
                rank, best = found[0], (number, *found[1:])
        if best is None:
            nest = Nest(own, getattr(equation, "scope", 0))
            self.append(nest)
            best = (len(self.steps) - 1, own, loads)
        self.join(best[0], equation, shape, best[1], best[2])

    def join(self, number: int, equation: Any, shape: tuple[int, ...], extents: tuple[int, ...], loads: Any) -> None:
        """Add an equation to the nest at `number`."""
        nest: Any = self.steps[number]
        if nest.reduced is not None:
            nest.reduced = _refined(nest.reduced, nest.extents, extents)
        nest.extents = extents
        nest.shapes.append(shape)
        nest.equations.append(equation)
        for load in loads:
            if self.home[load.var] != number and load.var not in nest.operands:
                nest.operands.add(load.var)
                self._readers.setdefault(load.var, []).append(number)
        if equation.operation.family == "reduce":
            nest.reduced = reduced_loops(equation, extents)
        for var in equation.outputs:
            self.home[var] = number

    def reads(self, equation: Any, extents: tuple[int, ...]) -> list[Load]:
        """What an equation loads in loops of these extents."""
        body = Body(extents, self.virtual)
        if equation.operation.family == "reduce":
            body.read(equation.inputs[0], body.place(equation.inputs[0].type.shape))
        else:
            body.define(equation)
        return body.loads()

    def joined(self, nest: Any, number: int, equation: Any, shape: tuple[int, ...]) -> Any:
        """(rank, extents, loads) if the equation can join the nest and gains by it."""
        if not isinstance(nest, Nest) or nest.scope != getattr(equation, "scope", 0):
            return None
        if len(nest.equations) >= MOST_EQUATIONS or len(nest.operands) >= MOST_OPERANDS:
            return None
        if not nest.shapes or _size(nest.shapes[0]) != _size(shape):
            return None
        extents = common_refinement(nest.extents, shape)
        if extents is None:
            return None
        marks = None if nest.reduced is None else _refined(nest.reduced, nest.extents, extents)
        if equation.operation.family == "reduce" and marks not in (None, reduced_loops(equation, extents)):
            return None
        try:
            loads = self.reads(equation, extents)
        except NotAffine:
            return None
        rank = 0
        for load in loads:
            if self.home[load.var] == number:
                if load.flat != row_major(extents) or load.guards or self.is_reduction(load.var, nest):
                    return None
                rank += 2
            elif load.var in nest.operands and load.var.type.size * 2 > _size(shape):
                rank += 1
        return (rank, extents, loads) if rank else None

    def is_reduction(self, var: Var, nest: Nest) -> bool:
        """Whether a result of `nest` is complete only when its loops are."""
        return any(e.operation.family == "reduce" and var in e.outputs for e in nest.equations)

    # Outputs

    def place_outputs(self) -> list[Var]:
        """A stored variable for every output, each with memory of its own."""
        taken: set[Any] = set()
        found = []
        for atom in self.program.outputs:
            if isinstance(atom, Var):
                self.store(atom)
            root = self.root(atom)
            if isinstance(root, Literal) or root in taken or self.home[root] == -1:
                root = Var(atom.type)
                copy = _CopyEquation((atom,), (root,))
                if carrier(atom.type.dtype) is None or is_nothing(copy):
                    self.append(Single(copy))
                else:
                    self.place_in_nest(copy)
            taken.add(root)
            found.append(root)
        return found


@dataclass(frozen=True, eq=False)
class _CopyEquation:
    inputs: tuple[Atom, ...]
    outputs: tuple[Var, ...]
    operation: Copy = Copy()
    source: str = ""
    scope: int = 0


def _small_first(program: Program) -> list[Any]:
    """The equations, those with small results moved up to where their operands are there."""
    keys: dict[Any, float] = {}
    order = []
    for number, equation in enumerate(program.equations):
        ready = max((keys.get(a, -1.0) for a in equation.inputs if isinstance(a, Var)), default=-1.0)
        small = not equation.operation.effect and all(v.type.size <= FEW for v in equation.outputs)
        small = small and all(a.type.size <= FEW for a in equation.inputs) and equation.operation.family != "control"
        key = ready if small else float(number)
        keys.update((v, key) for v in equation.outputs)
        order.append((key, number, equation))
    return [equation for _, _, equation in sorted(order, key=lambda item: item[:2])]


def is_nothing(equation: Any) -> bool:
    """Whether an equation makes no elements, and so needs no code."""
    return not equation.operation.effect and all(v.type.size == 0 for v in equation.outputs)


def classify(equation: Any) -> str:
    """How an equation is computed: ``virtual`` (where it is read), in a ``nest``, or as a ``single`` step."""
    operation = equation.operation
    if operation.effect or operation.multiple:
        return "single"
    dtypes = [a.type.dtype for a in (*equation.inputs, *equation.outputs)]
    if operation.name == "iota":
        return "virtual" if carrier(dtypes[0]) == dtypes[0] else "single"
    if operation.family == "move":
        plain = isinstance(operation, Reshape) or hasattr(operation, "source")
        plain = plain or (operation.name == "pad" and not any(operation.interior))
        return "virtual" if plain and all(carrier(d) is not None for d in dtypes) else "single"
    if operation.family == "elementwise":
        return "nest" if is_lowerable(operation, tuple(a.type.dtype for a in equation.inputs)) else "single"
    if operation.family == "reduce" and type(operation).__name__ in REDUCTIONS:
        x = equation.inputs[0].type
        simple = x.size > 0 and x.dtype.kind != "c" and isinstance(equation.inputs[0], Var)
        return "nest" if simple else "single"
    return "single"


def loop_shape(equation: Any) -> tuple[int, ...]:
    """The shape that the loops of an equation run over."""
    if equation.operation.family == "reduce":
        return tuple(equation.inputs[0].type.shape)
    return tuple(equation.outputs[0].type.shape)


def reduced_loops(equation: Any, extents: tuple[int, ...]) -> tuple[bool, ...]:
    """Which loops run over axes that a reduction reduces."""
    position = unflatten(row_major(extents), equation.inputs[0].type.shape)
    assert position is not None
    axes = [position[a] for a in equation.operation.axes]
    return tuple(any(p.coefficients[j] for p in axes) for j in range(len(extents)))


def _merged(coefficients: tuple[int, ...], extents: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides along the axes of `shape`, which `extents` refine; None if an axis has not one stride."""
    found, rest = [], list(zip(coefficients, extents, strict=True))
    for size in reversed(shape):
        if size == 1:
            found.append(0)
            continue
        step, extent = rest.pop()
        found.append(step)
        while extent < size:
            coefficient, more = rest.pop()
            if coefficient != step * extent:
                return None
            extent *= more
    return tuple(reversed(found))


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
