"""Loop nests as they are emitted: what they read, compute, reduce and store, with as few loops as possible."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fdl.compile.ir.affine import Affine, flatten, row_major
from fdl.compile.ir.body import Apply, Body, Choose, Guards, Index, Instruction, Load
from fdl.compile.ir.fusion import Fusion
from fdl.compile.ir.reductions import REDUCTIONS
from fdl.core.program import Equation, Var
from fdl.ops.shape import Reduction


@dataclass(frozen=True)
class Store:
    """Instruction `number` is written to element `flat` of `var`."""

    var: Var
    flat: Affine
    number: int


@dataclass(frozen=True)
class Reduce:
    """Instruction `number` is reduced by `kind` into element `flat` of `var`."""

    var: Var
    flat: Affine
    number: int
    kind: str


@dataclass(frozen=True)
class Loops:
    """A nest ready to be emitted.

    Attributes:
        extents: of the loops, outermost first, none of them 1.
        reduced: which loops the reductions reduce.
        instructions: what is computed in the innermost loop.
        stores, reductions: what leaves it.
    """

    extents: tuple[int, ...]
    reduced: tuple[bool, ...]
    instructions: tuple[Instruction, ...]
    stores: tuple[Store, ...]
    reductions: tuple[Reduce, ...]

    def reads(self) -> list[Load]:
        """What is loaded."""
        return [i for i in self.instructions if isinstance(i, Load)]

    def results(self) -> "list[Store | Reduce]":
        """What leaves the nest."""
        return [*self.stores, *self.reductions]

    def collapsed(self) -> "Loops":
        """With neighbouring loops merged where every index runs through them as through one."""
        return _collapsed(self)

    def key(self, number: Callable[[Var], int]) -> str:
        """A text that is equal for nests with equal code, when `number` says which operand a variable is."""
        parts: list[object] = [self.extents, self.reduced]
        for i in self.instructions:
            parts.append(("load", number(i.var), i.var.type.dtype, i.flat, i.guards) if isinstance(i, Load) else i)
        for s in self.results():
            kind = s.kind if isinstance(s, Reduce) else ""
            parts.append((number(s.var), s.var.type.dtype, s.flat, s.number, kind))
        return repr(parts)


def make_body(nest: Fusion, inlined: Callable[[Var], Equation | None]) -> Body:
    """The instructions of all equations of a nest."""
    body = Body(nest.extents, inlined)
    for equation in nest.equations:
        if equation.operation.lowering_kind == "reduce":
            (x,) = equation.inputs
            body.reduced[equation.outputs[0]] = body.read(x, body.place(x.type.shape))
        else:
            body.define(equation)
    return body


def make_loops(nest: Fusion, body: Body, needed: Callable[[Var], bool]) -> Loops:
    """The loops of a nest, which store what is `needed` outside, as few as possible."""
    return whole_loops(nest, body, needed).collapsed()


def whole_loops(nest: Fusion, body: Body, needed: Callable[[Var], bool]) -> Loops:
    """The loops of a nest with the nest's extents."""
    stores, reductions = [], []
    for equation in nest.equations:
        (var,) = equation.outputs
        if not needed(var):
            continue
        operation = equation.operation
        if isinstance(operation, Reduction):
            x = equation.inputs[0]
            position = body.place(x.type.shape)
            kept = tuple(p for a, p in enumerate(position) if a not in operation.axes)
            flat = flatten(kept, var.type.shape, nest.extents)
            reductions.append(Reduce(var, flat, body.reduced[var], REDUCTIONS[type(operation)]))
        else:
            stores.append(Store(var, row_major(nest.extents), body.local[var]))
    reduced = nest.reduced if nest.reduced is not None and reductions else (False,) * len(nest.extents)
    loops = Loops(nest.extents, reduced, tuple(body.instructions), tuple(stores), tuple(reductions))
    return _live(loops)


def _live(loops: Loops) -> Loops:
    """Without the instructions that nothing needs."""
    needed = {s.number for s in loops.results()}
    for number in range(len(loops.instructions) - 1, -1, -1):
        if number in needed:
            needed.update(operands_of(loops.instructions[number]))
    order = {old: new for new, old in enumerate(sorted(needed))}
    return Loops(
        loops.extents,
        loops.reduced,
        tuple(_renumbered(loops.instructions[old], order) for old in order),
        tuple(replace(s, number=order[s.number]) for s in loops.stores),
        tuple(replace(r, number=order[r.number]) for r in loops.reductions),
    )


def operands_of(instruction: Instruction) -> Sequence[int]:
    """Numbers of the instructions that an instruction needs."""
    if isinstance(instruction, Choose):
        return (instruction.inside, instruction.outside)
    return instruction.operands if isinstance(instruction, Apply) else ()


def _renumbered(instruction: Instruction, order: dict[int, int]) -> Instruction:
    if isinstance(instruction, Choose):
        return replace(instruction, inside=order[instruction.inside], outside=order[instruction.outside])
    if isinstance(instruction, Apply):
        return replace(instruction, operands=tuple(order[o] for o in instruction.operands))
    return instruction


def _collapsed(loops: Loops) -> Loops:
    affines = [a for i in loops.instructions for a in _affines(i)]
    affines += [s.flat for s in loops.results()]
    extents, reduced, kept = list(loops.extents), list(loops.reduced), list(range(len(loops.extents)))
    for j in range(len(extents) - 2, -1, -1):
        inner, extent = kept[j + 1], extents[j + 1]
        if reduced[j] != reduced[j + 1]:
            continue
        if all(a.coefficients[kept[j]] == a.coefficients[inner] * extent for a in affines):
            extents[j : j + 2] = [extents[j] * extent]
            del reduced[j], kept[j]
    if len(kept) == len(loops.extents):
        return loops
    merged = tuple(extents)
    return reindexed(
        loops,
        merged,
        tuple(reduced),
        lambda a: Affine(a.constant, tuple(a.coefficients[k] for k in kept), merged),
    )


def reindexed(
    loops: Loops, extents: tuple[int, ...], reduced: tuple[bool, ...], change: Callable[[Affine], Affine]
) -> Loops:
    """The same elements in loops of other extents, for which `change` rewrites every index."""

    def guards(tests: Guards) -> Guards:
        return tuple((change(index), extent) for index, extent in tests)

    def instruction(i: Instruction) -> Instruction:
        if isinstance(i, Load):
            return Load(i.var, change(i.flat), guards(i.guards))
        if isinstance(i, Index):
            return replace(i, value=change(i.value))
        return replace(i, guards=guards(i.guards)) if isinstance(i, Choose) else i

    return Loops(
        extents,
        reduced,
        tuple(instruction(i) for i in loops.instructions),
        tuple(replace(s, flat=change(s.flat)) for s in loops.stores),
        tuple(replace(r, flat=change(r.flat)) for r in loops.reductions),
    )


def _affines(instruction: Instruction) -> list[Affine]:
    if isinstance(instruction, Load):
        return [instruction.flat, *(index for index, _ in instruction.guards)]
    if isinstance(instruction, Index):
        return [instruction.value]
    return [index for index, _ in instruction.guards] if isinstance(instruction, Choose) else []


def combined(reduction: Reduce, chunks: Var) -> Loops:
    """The nest that reduces the results of the chunks."""
    extents = chunks.type.shape
    read = Load(chunks, Affine(0, (extents[1], 1), extents), ())
    result = Reduce(reduction.var, Affine(0, (0, 1), extents), 0, reduction.kind)
    if extents[1] == 1:
        extents = extents[:1]
        read, result = Load(chunks, Affine(0, (1,), extents), ()), replace(result, flat=Affine(0, (0,), extents))
    return Loops(extents, (True, False)[: len(extents)], (read,), (), (result,))
