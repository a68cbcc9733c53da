"""Transposes of convolutions' results move to where they are needed, or meet their inverse and disappear.

Convolutions compute with channels last. Where a program has them elsewhere, each result is transposed, and each operand
transposed back. What lies in between (elementwise operations, sums, pooling) does not care about the order of axes: it
is done on what the convolution made, and its result is transposed instead.
"""

from collections.abc import Sequence
from dataclasses import replace

from fdl.compile.llvm.target import host_target
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.rewrite import eliminate_dead
from fdl.ops.conv import ConvGeneral
from fdl.ops.shape import BroadcastInDim, Reduction, Reshape, Transpose
from fdl.ops.slicing import Concatenate, Slice
from fdl.ops.window import Windowed

Axes = tuple[int, ...]


def sink_transposes(program: Program) -> Program:
    """`program` with transposes of convolutions' results moved towards its outputs."""
    if not any(isinstance(e.operation, ConvGeneral) for e in program.equations):
        return program
    return eliminate_dead(_Sinker(program).run())


class _Sinker:
    def __init__(self, program: Program) -> None:
        self.program, self.depth = program, host_target().tuning.transpose_depth
        self.found: list[Equation] = []
        self.makers: dict[Var, Equation] = {}
        #: For a value that is a transpose: of what, and its axes.
        self.sources: dict[Atom, tuple[Var, Axes]] = {}
        self.names: dict[Var, Atom] = {}
        self._turned: dict[tuple[Var, Axes], Atom | None] = {}

    def run(self) -> Program:
        """Visit all equations."""
        for equation in self.program.equations:
            if any(a in self.names for a in equation.inputs if isinstance(a, Var)):
                equation = replace(equation, inputs=tuple(self.rename(a) for a in equation.inputs))
            if not self.visit(equation):
                self.append(equation)
        outputs = tuple(self.rename(a) for a in self.program.outputs)
        return Program(self.program.inputs, tuple(self.found), outputs, self.program.constants)

    def rename(self, atom: Atom) -> Atom:
        """What stands for an atom now."""
        return self.names.get(atom, atom) if isinstance(atom, Var) else atom

    def append(self, equation: Equation) -> None:
        """Keep an equation."""
        self.found.append(equation)
        self.makers.update((v, equation) for v in equation.outputs)

    def visit(self, equation: Equation) -> bool:
        """Whether another equation took the place of this one."""
        operation = equation.operation
        if isinstance(operation, Transpose):
            return self.transpose(equation, operation.axes)
        if isinstance(operation, Reshape) and operation.shape == equation.inputs[0].type.shape:
            self.names[equation.outputs[0]] = equation.inputs[0]
            return True
        if operation.effect or operation.multiple or len(equation.outputs) != 1:
            return False
        axes = next((self.sources[a][1] for a in equation.inputs if a in self.sources), None)
        if axes is None:
            return False
        if operation.lowering_kind == "elementwise":
            return self.replaced(equation, operation, axes, axes)
        if isinstance(operation, (Windowed, Concatenate, Slice)):
            turned = _turned_back(operation, axes)
            return turned is not None and self.replaced(equation, turned, axes, axes)
        if isinstance(operation, Reduction):
            turned = type(operation)(tuple(sorted(axes[a] for a in operation.axes)))
            kept = [p for a, p in enumerate(axes) if a not in operation.axes]
            return self.replaced(equation, turned, axes, tuple(sorted(kept).index(p) for p in kept))
        return False

    def transpose(self, equation: Equation, axes: Axes) -> bool:
        """Join two transposes; remember those of convolutions."""
        (x,), (out,) = equation.inputs, equation.outputs
        if x in self.sources:
            source, first = self.sources[x]
            joined = tuple(first[a] for a in axes)
            if joined == tuple(range(len(joined))):
                self.names[out] = source
            else:
                self.sources[out] = source, joined
                self.append(replace(equation, operation=Transpose(joined), inputs=(source,)))
            return True
        maker = self.makers.get(x) if isinstance(x, Var) else None
        if isinstance(x, Var) and maker is not None and isinstance(maker.operation, ConvGeneral):
            self.sources[out] = x, axes
        return False

    def replaced(self, equation: Equation, operation: Operation, axes: Axes, after: Axes) -> bool:
        """Append `operation` on the operands with their axes as the sources have them, and the transpose `after`."""
        inputs = self.all_turned(equation.inputs, axes, equation)
        if inputs is None:
            return False
        (out,) = equation.outputs
        var = Var(operation.result(*(a.type for a in inputs)))
        self.append(replace(equation, operation=operation, inputs=inputs, outputs=(var,)))
        self.append(replace(equation, operation=Transpose(after), inputs=(var,), outputs=(out,)))
        self.sources[out] = var, after
        return True

    def all_turned(self, atoms: Sequence[Atom], axes: Axes, model: Equation, depth: int = 0) -> tuple[Atom, ...] | None:
        """Operands before the transpose with these axes; None if one would have to be moved in memory."""
        found = [self.turned(a, axes, model, depth) for a in atoms]
        known = tuple(a for a in found if a is not None)
        return known if len(known) == len(found) else None

    def turned(self, atom: Atom, axes: Axes, model: Equation, depth: int = 0) -> Atom | None:
        """An operand before the transpose with these axes; None if it would have to be moved in memory."""
        if isinstance(atom, Literal) or not atom.type.shape:
            return atom
        if atom in self.sources:
            source, own = self.sources[atom]
            return source if own == axes else None
        key = atom, axes
        if key not in self._turned:
            self._turned[key] = self._turn(atom, axes, model, depth)
        return self._turned[key]

    def _turn(self, var: Var, axes: Axes, model: Equation, depth: int) -> Atom | None:
        maker = self.makers.get(var)
        if maker is None or depth > self.depth:
            return None
        if isinstance(maker.operation, BroadcastInDim):
            if 2 * maker.inputs[0].type.size > var.type.size:
                return None
            back = Transpose(tuple(axes.index(a) for a in range(len(axes))))
            out = Var(back.result(var.type))
            self.append(replace(maker, operation=back, inputs=(var,), outputs=(out,)))
            return out
        if maker.operation.lowering_kind != "elementwise" or len(maker.outputs) != 1:
            return None
        inputs = self.all_turned(maker.inputs, axes, model, depth + 1)
        if inputs is None:
            return None
        out = Var(maker.operation.result(*(a.type for a in inputs)))
        self.append(replace(maker, inputs=inputs, outputs=(out,)))
        return out


def _turned_back(operation: Windowed | Concatenate | Slice, axes: Axes) -> Operation | None:
    """The same operation on an array before the transpose; None if elements of a window would change their order."""
    if isinstance(operation, Concatenate):
        return Concatenate(axes[operation.axis])
    order = [axes.index(a) for a in range(len(axes))]
    if isinstance(operation, Slice):
        return Slice(*(tuple(own[a] for a in order) for own in (operation.starts, operation.limits, operation.strides)))
    wide = [a for a in order if operation.window[a] > 1]
    if wide != sorted(wide):
        return None
    return replace(
        operation,
        window=tuple(operation.window[a] for a in order),
        strides=tuple(operation.strides[a] for a in order),
        padding=tuple(operation.padding[a] for a in order),
        base_dilation=tuple(operation.base_dilation[a] for a in order),
        window_dilation=tuple(operation.window_dilation[a] for a in order),
    )
