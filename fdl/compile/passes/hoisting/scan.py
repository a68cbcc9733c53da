"""A scan taken apart, so that work can be moved out of it, and put together again."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from fdl.compile.llvm.target import host_target
from fdl.control.scan import Scan
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.rewrite import live
from fdl.core.types import NumPyArray, TensorType
from fdl.ops.shape import Reshape, Transpose
from fdl.transforms.batch import batch_program

#: Kinds of operations that may be done for all steps at once by their batching rule; products may too.
BATCHED = ("elementwise", "move", "reduce")


class Outside:
    """Equations around a loop, in order.

    Attributes:
        equations: what was appended.
        constants: arrays that they read.
    """

    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.constants: list[tuple[Var, NumPyArray]] = []

    def apply(self, operation: Operation, *atoms: Atom, model: Equation, into: Var | None = None) -> Var:
        """The result of an operation."""
        out = into or Var(operation.result(*(a.type for a in atoms)))
        self.equations.append(replace(model, operation=operation, inputs=atoms, outputs=(out,)))
        return out

    def extend(self, other: "Outside") -> None:
        """Append all of another."""
        self.equations += other.equations
        self.constants += other.constants

    def splice(self, program: Program, operands: Sequence[Atom], model: Equation) -> list[Atom]:
        """The outputs of a Program of plain equations."""
        names: dict[Atom, Atom] = dict(zip(program.inputs, operands, strict=True))
        for var, value in program.constants:
            names[var] = copy = Var(var.type)
            self.constants.append((copy, value))
        for equation in program.equations:
            inputs = tuple(names.get(a, a) for a in equation.inputs)
            outputs = tuple(Var(v.type) for v in equation.outputs)
            names.update(zip(equation.outputs, outputs, strict=True))
            self.equations.append(replace(model, operation=equation.operation, inputs=inputs, outputs=outputs))
        return [names.get(a, a) for a in program.outputs]


@dataclass(eq=False)
class Carried:
    """A value that goes from step to step.

    Attributes:
        var: its variable in the body.
        start: the first value, outside.
        next: what the body makes of it.
        result: the last value, outside.
    """

    var: Var
    start: Atom
    next: Atom
    result: Var


class MutableScan:
    """A scan whose parts can be changed.

    Attributes:
        model: the equation; for the source and scope of new ones.
        length: number of steps.
        constants: outside values of the body's variables that are the same in all steps.
        carried: what goes from step to step.
        scanned: outside values of the body's variables that are slices.
        stacks: pairs of the outside variable and the body's atom that it stacks.
        equations: of the body.
        before, after: equations moved out of it.
    """

    def __init__(self, equation: Equation, operation: Scan) -> None:
        self.model, self.length, self.reverse = equation, operation.length, operation.reverse
        body = operation.body
        inner, outer = (operation.divide(atoms) for atoms in (body.inputs, equation.inputs))
        self.constants: dict[Var, Atom] = dict(zip(inner[0], outer[0], strict=True))
        self.scanned: dict[Var, Atom] = dict(zip(inner[2], outer[2], strict=True))
        count = operation.carries
        self.carried = [
            Carried(*parts)
            for parts in zip(inner[1], outer[1], body.outputs[:count], equation.outputs[:count], strict=True)
        ]
        self.stacks = list(zip(equation.outputs[count:], body.outputs[count:], strict=True))
        self.equations: list[Equation] = list(body.equations)
        self.before, self.after = Outside(), Outside()
        for var, value in body.constants:
            outer_var = Var(var.type)
            self.constants[var] = outer_var
            self.before.constants.append((outer_var, value))
        self.refresh()

    def part(self, carried: list[Carried], stacks: list[tuple[Var, Atom]], scanned: dict[Var, Atom]) -> "MutableScan":
        """Another loop with some of the results of this one."""
        other = object.__new__(MutableScan)
        other.model, other.length, other.reverse = self.model, self.length, self.reverse
        other.constants, other.scanned = dict(self.constants), scanned
        other.carried, other.stacks, other.equations = carried, stacks, list(self.equations)
        other.before, other.after = Outside(), Outside()
        other.prune()
        return other

    def refresh(self) -> None:
        """Find out anew what makes and what reads each variable."""
        self.makers: dict[Atom, Equation] = {v: e for e in self.equations for v in e.outputs}
        self.uses = Counter[Atom](a for e in self.equations for a in e.inputs if isinstance(a, Var))
        self.uses.update(a for a in self.results() if isinstance(a, Var))
        self.invariant = set(self.constants)
        for e in self.equations:
            if not e.operation.effect and all(self.is_invariant(a) for a in e.inputs):
                self.invariant.update(e.outputs)

    def results(self) -> Iterable[Atom]:
        """What the body returns."""
        return [c.next for c in self.carried] + [a for _, a in self.stacks]

    def operands(self) -> tuple[Atom, ...]:
        """The outside values that the loop reads."""
        return (*self.constants.values(), *(c.start for c in self.carried), *self.scanned.values())

    def reads(self) -> Iterable[Atom]:
        """The outside values that the loop or what was moved out of it reads."""
        return [*self.operands(), *(a for e in (*self.before.equations, *self.after.equations) for a in e.inputs)]

    def is_invariant(self, atom: Atom) -> bool:
        """Whether a value of the body is the same in all steps."""
        return isinstance(atom, Literal) or atom in self.invariant

    def hoisted(self, atom: Atom) -> Atom:
        """The outside value of one that is the same in all steps; `before` computes it if need be."""
        if isinstance(atom, Literal):
            return atom
        if atom not in self.constants:
            equation = self.makers[atom]
            inputs = tuple(self.hoisted(a) for a in equation.inputs)
            outputs = tuple(Var(v.type) for v in equation.outputs)
            self.before.equations.append(replace(equation, inputs=inputs, outputs=outputs, scope=self.model.scope))
            self.constants.update(zip(equation.outputs, outputs, strict=True))
        return self.constants[atom]

    def prune(self, needed: Collection[Atom] | None = None) -> None:
        """Drop what no result needs; `needed` are the outside variables that somebody reads, None for all."""
        if needed is not None:
            self.stacks = [s for s in self.stacks if s[0] in needed]
        kept = [c for c in self.carried if needed is None or c.result in needed]
        others = [c for c in self.carried if needed is not None and c.result not in needed]
        # What is computed outside by now is an input.
        given: set[Atom] = {*self.constants, *self.scanned}
        while True:
            wanted: set[Atom] = {c.next for c in kept} | {a for _, a in self.stacks}
            equations, wanted = live(self.equations, wanted, given.__contains__)
            more = [c for c in others if c.var in wanted]
            if not more:
                break
            kept += more
            others = [c for c in others if c.var not in wanted]
        dropped = {c.var for c in others}
        self.carried = [c for c in self.carried if c.var not in dropped]
        self.equations = equations
        read = {a for e in self.equations for a in e.inputs} | set(self.results())
        self.constants = {v: a for v, a in self.constants.items() if v in read}
        self.scanned = {v: a for v, a in self.scanned.items() if v in read}
        self.refresh()

    def substitute(self, names: dict[Var, Atom]) -> None:
        """Read other atoms in the place of some variables."""

        def new(atom: Atom) -> Atom:
            return names.get(atom, atom) if isinstance(atom, Var) else atom

        self.equations = [replace(e, inputs=tuple(map(new, e.inputs))) for e in self.equations]
        for carried in self.carried:
            carried.next = new(carried.next)
        self.stacks = [(result, new(a)) for result, a in self.stacks]
        self.refresh()

    # Values of all steps

    def stacked(self, atom: Atom) -> Atom:
        """The outside value whose slices are those of a value of the body; a new stack if there is none."""
        found = self.all_steps(atom, True)
        assert found is not None
        return found

    def all_steps(self, atom: Atom, make: bool) -> Atom | None:
        """See :meth:`stacked`; None, unless `make`, if there is none yet. What it is may be computed by `after`."""
        if isinstance(atom, Var) and atom in self.scanned:
            return self.scanned[atom]
        for result, inner in self.stacks:
            if inner is atom:
                return result
        maker = self.makers.get(atom)
        if maker is not None and isinstance(maker.operation, (Transpose, Reshape)):
            source = self.all_steps(maker.inputs[0], make)
            if source is None:
                return None
            moved: Operation
            if isinstance(maker.operation, Transpose):
                moved = Transpose((0, *(a + 1 for a in maker.operation.axes)))
            else:
                moved = Reshape((self.length, *atom.type.shape))
            return self.after.apply(moved, source, model=self.model) if make else source
        if not make:
            return None
        result = Var(self.stack_type(atom))
        self.stacks.append((result, atom))
        self.uses[atom] += 1
        return result

    def stack_type(self, atom: Atom) -> TensorType:
        """The type of the values of all steps."""
        return atom.type.with_shape((self.length, *atom.type.shape))

    def new_bytes(self, atoms: Iterable[Atom]) -> int:
        """Bytes a step that stacking values would add."""
        return sum(bytes_of(a) for a in dict.fromkeys(atoms) if self.all_steps(a, False) is None)

    def may_stack(self, size: int) -> bool:
        """Whether so many bytes a step are few beside what the loop reads and writes anyway, or few at all."""
        anyway = sum(map(bytes_of, [*self.scanned, *(a for _, a in self.stacks)]))
        return size <= 4 * anyway or size * self.length <= host_target().tuning.stack_bytes

    def batched(
        self, outside: Outside, equations: Sequence[Equation], results: Sequence[Atom], model: Equation
    ) -> list[Atom]:
        """Compute what equations of the body make for all steps at once; which results, is for the caller to say."""
        made = {v for e in equations for v in e.outputs}
        given = dict.fromkeys(a for e in equations for a in e.inputs if isinstance(a, Var) and a not in made)
        flags = tuple(not self.is_invariant(a) for a in given)
        program = Program(tuple(given), tuple(equations), tuple(results))
        operands = [self.stacked(a) if f else self.hoisted(a) for a, f in zip(given, flags, strict=True)]
        whole, _ = batch_program(program, self.length, flags, (True,) * len(results))
        return outside.splice(whole, operands, replace(model, scope=self.model.scope))

    # The result

    def equations_now(self) -> list[Equation]:
        """What was moved before the loop, the loop, and what was moved behind it."""
        inputs = (*self.constants, *(c.var for c in self.carried), *self.scanned)
        body = Program(inputs, tuple(self.equations), tuple(self.results()))
        operation = Scan(body, self.length, self.reverse, len(self.constants), len(self.carried))
        outputs = (*(c.result for c in self.carried), *(r for r, _ in self.stacks))
        needed = outputs or operation.effect
        loop = [replace(self.model, operation=operation, inputs=self.operands(), outputs=outputs)] if needed else []
        return [*self.before.equations, *loop, *self.after.equations]


def bytes_of(atom: Atom) -> int:
    """Bytes that a value takes."""
    return atom.type.size * atom.type.dtype.itemsize
