"""A table of a model's layers, from its Program alone: shapes, numbers of parameters, floating-point operations."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fdl import tree
from fdl.api.inspect import make_program
from fdl.compile.profile.report import equation_flops
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core.markup import heading, table
from fdl.core.program import Equation, Literal, Program, Var
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral
from fdl.transforms.inline import inline

#: The row of products that read no parameters, such as those of attention.
_OTHER = "(no parameters)"


@dataclass(frozen=True)
class Layer:
    """A row of the table.

    Attributes:
        path: where in the tree of parameters its own are, such as "dense1".
        shape: of what it returns; None if no operation reads it.
        parameters: how many elements its parameters have.
        flops: floating-point operations of its products and convolutions: two for each multiplication and addition.
    """

    path: str
    shape: tuple[int, ...] | None
    parameters: int
    flops: int


@dataclass(frozen=True)
class LayerTable:
    """The layers of a model; prints as a table, and is one in notebooks.

    Attributes:
        name: of the model.
        layers: in the order in which they are computed first.
        other_flops: of everything that is no product: additions, activations, norms, pooling.
    """

    name: str
    layers: tuple[Layer, ...]
    other_flops: int

    @property
    def parameters(self) -> int:
        """How many parameters there are in all."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of all products and convolutions."""
        return sum(layer.flops for layer in self.layers)

    def _cells(self) -> list[tuple[str, ...]]:
        rows = [
            (
                layer.path,
                "" if layer.shape is None else str(list(layer.shape)),
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.flops:,}" if layer.flops else "",
            )
            for layer in self.layers
        ]
        total = ("total", "", f"{self.parameters:,}", f"{self.flops:,}")
        return [("layer", "output", "parameters", "FLOPs of products"), *rows, total]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(4)]
        lines = [
            "  ".join(x.rjust(w) if i > 1 else x.ljust(w) for i, (x, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        rule = "-" * len(lines[0])
        others = f"and {self.other_flops:,} FLOPs of everything else"
        return "\n".join([self.name, lines[0].rstrip(), rule, *lines[1:-1], rule, lines[-1], others])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head, *body = self._cells()
        facts = f"{self.parameters:,} parameters", f"{self.flops:,} FLOPs of products"
        return f"<div>{heading(self.name, *facts)}{table(head, body[:-1], numbers=(2, 3))}</div>"


def layer_table(name: str, function: Callable[..., Any], params: Any, *inputs: Any) -> LayerTable:
    """The layers of a function of parameters, which is traced and not run.

    An operation belongs to the layer whose parameters it reads: those whose paths differ in the last name only are one
    layer, such as "dense/w" and "dense/b".

    Args:
        name: what the table is called.
        function: (params, *inputs) -> anything.
        params: a tree of arrays or of :class:`fdl.ShapeDtypeStruct`.
        *inputs: likewise.

    Returns:
        The table.

    >>> import fdl.numpy as fnp
    >>> from fdl import nn
    >>> params = {"dense": {"w": fnp.ones((3, 4)), "b": fnp.ones(4)}}
    >>> layer_table("a layer", lambda params, x: nn.relu(nn.dense(params["dense"], x)), params, fnp.ones((2, 3)))
    a layer
    layer  output  parameters  FLOPs of products
    --------------------------------------------
    dense  [2, 4]          16                 48
    --------------------------------------------
    total                  16                 48
    and 8 FLOPs of everything else
    """
    program = inline(make_program(function)(params, *inputs))
    counts: dict[str, int] = {}
    paths = []
    for path, leaf in tree.leaves_with_path(params):
        layer = tree.keystr(path[:-1], simple=True, separator="/") or "(root)"
        counts[layer] = counts.get(layer, 0) + math.prod(leaf.shape)
        paths.append(layer)
    walk = _Walk()
    walk.program(program, [*paths, *[None] * (len(program.inputs) - len(paths))], 1)
    order = [*walk.shapes, *(layer for layer in counts if layer not in walk.shapes)]
    layers = [Layer(p, walk.shapes.get(p), counts.get(p, 0), walk.flops.get(p, 0)) for p in order]
    return LayerTable(name, tuple(layers), walk.other)


class _Walk:
    """Goes through a Program: which layer each equation belongs to, and what it costs."""

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...] | None] = {}
        self.flops: dict[str, int] = {}
        self.other = 0

    def program(self, program: Program, layers: Sequence[str | None], times: int) -> list[str | None]:
        """The layers of whose parameters alone the outputs are made; `layers` are those of the inputs."""
        known: dict[Var, str | None] = dict(zip(program.inputs, layers, strict=True))
        for equation in program.equations:
            operands = [a for a in equation.inputs if not isinstance(a, Literal)]
            owners = [layer for a in operands if (layer := known.get(a)) is not None]
            if (inner := _body(equation)) is not None:
                body, often = inner
                inputs = equation.inputs[len(equation.inputs) - len(body.inputs) :]  # the last operands, of any loop
                self.program(body, [known.get(a) if isinstance(a, Var) else None for a in inputs], times * often)
                continue
            owner = owners[0] if owners else None
            self.add(equation, owner, times)
            if owner is not None and len(owners) == len(operands) and len(set(owners)) == 1:
                known |= dict.fromkeys(equation.outputs, owner)  # a parameter that is reshaped, converted, ...
            elif owner is not None:
                self.shapes[owner] = equation.outputs[0].type.shape
        return [known.get(a) if isinstance(a, Var) else None for a in program.outputs]

    def add(self, equation: Equation, owner: str | None, times: int) -> None:
        count = equation_flops(equation) * times
        if not isinstance(equation.operation, DotGeneral | ConvGeneral):
            self.other += count
            return
        layer = owner or _OTHER
        self.shapes.setdefault(layer, None)
        self.flops[layer] = self.flops.get(layer, 0) + count


def _body(equation: Equation) -> tuple[Program, int] | None:
    """What a loop repeats how often (once if that is not known), or the longest branch."""
    operation = equation.operation
    if isinstance(operation, Scan):
        return operation.body, operation.length
    if isinstance(operation, While):
        return operation.body, 1
    if isinstance(operation, Cond):
        return max(operation.branches, key=lambda branch: len(branch.equations)), 1
    return None
