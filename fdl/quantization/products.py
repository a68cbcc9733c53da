"""The products by parameters in a Program."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.dtypes import float32
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral

#: The fewest input channels of a group with which a convolution of integers is faster than that of floats.
_CHANNELS = 8


@dataclass(frozen=True)
class Product:
    """An equation that multiplies an input by what depends on parameters alone.

    Attributes:
        name: the path of the first parameter, with a number if it has several products.
        equation: a `DotGeneral` or a `ConvGeneral`.
        side: which operand is of the parameters.
    """

    name: str
    equation: Equation
    side: int

    @property
    def weight(self) -> Atom:
        """The operand of the parameters."""
        return self.equation.inputs[self.side]

    @property
    def input(self) -> Atom:
        """The other operand."""
        return self.equation.inputs[1 - self.side]

    @property
    def channels(self) -> tuple[int, ...]:
        """The axes of the weight that are axes of the result too: every element of them has a scale of its own."""
        operation = self.equation.operation
        if isinstance(operation, ConvGeneral):
            return (operation.numbers.rhs_spec[0],)
        assert isinstance(operation, DotGeneral)
        return operation.free(self.weight.type, self.side)

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """The shape by which scales of the channels meet the result."""
        operation, out = self.equation.operation, self.equation.outputs[0].type
        extents = [self.weight.type.shape[a] for a in self.channels]
        if isinstance(operation, ConvGeneral):
            axis = operation.numbers.out_spec[1]
            return tuple(extents[0] if a == axis else 1 for a in range(out.ndim))
        behind = out.ndim - len(extents)
        return (*extents, *[1] * behind) if self.side == 0 else (*[1] * behind, *extents)


def products(program: Program, names: Sequence[str]) -> list[Product]:
    """The products of a Program without calls that 8 bits can serve, in their order.

    They are of float32, have no batch axes, and one operand depends on parameters alone. A convolution sums over eight
    channels or more, of which groups have an even number: with fewer, integers are no faster. Products in loops and
    branches are left alone.

    Args:
        program: its first inputs are the parameters.
        names: of the parameters.
    """
    origin: dict[Atom, str | None] = dict(zip(program.inputs, names, strict=False))
    fixed = set(program.inputs[: len(names)]) | {var for var, _ in program.constants}
    found: list[Product] = []
    for equation in program.equations:
        operation, inputs = equation.operation, equation.inputs
        known = [isinstance(a, Literal) or a in fixed for a in inputs]
        if inputs and all(known) and not operation.effect:
            fixed.update(equation.outputs)
            first = next((origin[a] for a in inputs if origin.get(a)), None)
            origin.update((var, first) for var in equation.outputs)
        elif sum(known) == 1 and _is_served(equation, known.index(True)):
            name = origin.get(inputs[known.index(True)])
            if name is not None:
                again = sum(p.name == name or p.name.startswith(f"{name}#") for p in found)
                found.append(Product(f"{name}#{again + 1}" if again else name, equation, known.index(True)))
    return found


def _is_served(equation: Equation, side: int) -> bool:
    operation, types = equation.operation, [a.type for a in (*equation.inputs, *equation.outputs)]
    if any(t.dtype != float32 for t in types) or any(t.size == 0 for t in types):
        return False
    if isinstance(operation, DotGeneral):
        return not operation.batch_axes[0] and bool(operation.contracting[0])
    if not isinstance(operation, ConvGeneral) or side != 1 or operation.batch_group_count > 1:
        return False
    channels = types[1].shape[operation.numbers.rhs_spec[1]]
    return channels >= _CHANNELS and (operation.feature_group_count == 1 or channels % 2 == 0)


def needed(program: Program, replaced: Iterable[Product]) -> tuple[list[Equation], set[Atom]]:
    """The equations that remain when products get their weights otherwise, and what they and the outputs read."""
    sides = {id(product.equation): product.side for product in replaced}
    wanted: set[Atom] = set(program.outputs)
    kept = []
    for equation in reversed(program.equations):
        if equation.operation.effect or not wanted.isdisjoint(equation.outputs):
            kept.append(equation)
            side = sides.get(id(equation))
            wanted.update(a for i, a in enumerate(equation.inputs) if i != side)
    return kept[::-1], {a for a in wanted if isinstance(a, Var)}
