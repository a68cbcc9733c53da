"""Index vectors of gathers and scatters taken apart into the arrays that a user indexed with.

`x[i, j]` adds extents to negative indices and stacks `i` and `j`. Kernels do both with the numbers that they have
loaded.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from fdl.compile.kernels.columns import GatherByColumns, ScatterByColumns
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.rewrite import eliminate_dead
from fdl.ops.compare import Lt
from fdl.ops.convert import Convert
from fdl.ops.elementwise import Add
from fdl.ops.indexing import Gather, Scatter
from fdl.ops.select import Select
from fdl.ops.shape import BroadcastInDim, Reshape
from fdl.ops.slicing import Concatenate


def index_columns(program: Program) -> Program:
    """`program` with gathers and scatters that read columns, where their index vectors are made of such."""
    if not any(isinstance(e.operation, Gather | Scatter) for e in program.equations):
        return program
    return eliminate_dead(_Divider(program).run())


class _Divider:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.makers: dict[Atom, Equation] = {}
        self.constants = dict(program.constants)

    def run(self) -> Program:
        """Visit all equations."""
        program, found = self.program, list[Equation]()
        for equation in program.equations:
            found += self.divided(equation)
            self.makers.update((v, equation) for v in equation.outputs)
        return Program(program.inputs, tuple(found), program.outputs, program.constants)

    def divided(self, equation: Equation) -> Iterator[Equation]:
        """The equation, or what stands for it."""
        operation = equation.operation
        if not isinstance(operation, Gather | Scatter):
            yield equation
            return
        x, indices, *updates = equation.inputs
        parts, maker = [indices], self.maker(indices, equation)
        if isinstance(operation_of(maker), Concatenate) and maker is not None:
            parts = list(maker.inputs)
        last = indices.type.ndim - 1
        apart = all(p.type.shape == (*indices.type.shape[:last], 1) for p in parts)
        sources = [_Source(self, p, equation) for p in parts]
        if not apart or (len(parts) == 1 and not sources[0].simpler):
            yield equation
            return
        columns = []
        for source in sources:
            column = source.atom
            for move in source.moves:
                if isinstance(move, Reshape) and move.shape == column.type.shape:
                    continue
                moved = Var(move.result(column.type))
                yield replace(equation, operation=move, inputs=(column,), outputs=(moved,))
                column = moved
            columns.append(column)
        extents = tuple(source.extent for source in sources)
        by_columns: Operation = (
            GatherByColumns(operation, extents)
            if isinstance(operation, Gather)
            else ScatterByColumns(operation, extents)
        )
        yield replace(equation, operation=by_columns, inputs=(x, *updates, *columns))

    def maker(self, atom: Atom, reader: Equation) -> Equation | None:
        """The equation that makes an atom, if a checkpoint that forgets values does not lie between."""
        found = self.makers.get(atom)
        return found if found is not None and found.scope == reader.scope else None

    def number(self, atom: Atom) -> int | None:
        """What all elements are, if that is known."""
        maker = self.makers.get(atom)
        if maker is not None and isinstance(maker.operation, BroadcastInDim):
            return self.number(maker.inputs[0])
        value = atom.value if isinstance(atom, Literal) else self.constants.get(atom)
        if value is None or not value.size or value.dtype.kind not in "iu" or (value != value.flat[0]).any():
            return None
        return int(value.flat[0])


class _Source:
    """What a column of index vectors is made of.

    Attributes:
        atom: the numbers.
        moves: what brings them to the places of index vectors.
        extent: what is added to negative ones, or 0.
        simpler: whether anything but moves lies between.
    """

    def __init__(self, divider: _Divider, part: Atom, reader: Equation) -> None:
        self.atom, self.extent, self.simpler = part, 0, False
        self.moves: list[Operation] = [Reshape(part.type.shape[:-1])]
        while (maker := divider.maker(self.atom, reader)) is not None:
            operation = maker.operation
            if isinstance(operation, Reshape | BroadcastInDim):
                self.moves.insert(0, operation)
                self.atom = maker.inputs[0]
            elif isinstance(operation, Convert) and _is_widening(maker):
                self.simpler, self.atom = True, maker.inputs[0]
            elif isinstance(operation, Select) and not self.extent:
                found = _from_front(maker, divider.makers.get, divider.number)
                if found is None:
                    return
                self.simpler = True
                self.atom, self.extent = found
            else:
                return


def operation_of(equation: Equation | None) -> Operation | None:
    """The operation of an equation, if there is one."""
    return None if equation is None else equation.operation


def _is_widening(equation: Equation) -> bool:
    """Whether a conversion of integers keeps all values."""
    old, new = equation.inputs[0].type.dtype, equation.outputs[0].type.dtype
    return old.kind in "iu" and new.kind in "iu" and np.can_cast(old, new)


def _from_front(
    equation: Equation, maker: Callable[[Atom], Equation | None], number: Callable[[Atom], int | None]
) -> tuple[Atom, int] | None:
    """(indices, extent) where the equation chooses the sum of both for negative indices."""
    negative, counted, indices = equation.inputs
    test, total = maker(negative), maker(counted)
    if test is None or total is None or not isinstance(test.operation, Lt) or not isinstance(total.operation, Add):
        return None
    extent = number(total.inputs[1])
    if test.inputs[0] is not indices or total.inputs[0] is not indices or number(test.inputs[1]) != 0 or not extent:
        return None
    return (indices, extent) if extent > 0 else None
