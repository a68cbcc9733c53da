"""A traced function of any arguments of fixed shapes, with the arrays that it closes over."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fdl import tree
from fdl.api.arguments import name_of
from fdl.api.inspect import trace_call
from fdl.api.jit import jit
from fdl.array import as_array
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.rewrite import eliminate_dead
from fdl.core.trace import is_eager
from fdl.errors import ExportError
from fdl.export.exported import check_exportable, described, exported_html, fitting, size_text, types_text
from fdl.saving.structures import numbered
from fdl.transforms.inline import inline


@dataclass(frozen=True, eq=False)
class ExportedProgram:
    """A traced function, called with arrays of the shapes and dtypes that it was traced for.

    It composes with transforms; its derivatives are those of the operations that it consists of.

    Attributes:
        program: what it computes.
        arguments: the structure of its positional arguments, with the numbers of the program's inputs as leaves.
        result: the structure of the result, with the numbers of the program's outputs.
    """

    program: Program
    arguments: Any
    result: Any

    @property
    def in_types(self) -> Any:
        """The arguments' structure, with a ShapeDtypeStruct at each leaf."""
        return described(self.arguments, self.program.input_types)

    @property
    def out_types(self) -> Any:
        """The result's structure, with a ShapeDtypeStruct at each leaf."""
        return described(self.result, self.program.output_types)

    def __call__(self, *args: Any) -> Any:
        """The result for arguments of the traced types.

        Raises:
            ExportError: they have another structure, or other shapes or dtypes.
        """
        inputs = fitting("the arguments", args, self.in_types)
        found = self._compiled(inputs) if is_eager() else self._run(inputs)
        return tree.map(found.__getitem__, self.result)

    def _run(self, inputs: list[Any]) -> list[Any]:
        return apply_program(self.program, [as_array(x) for x in inputs])

    @cached_property
    def _compiled(self) -> Callable[..., list[Any]]:
        return jit(self._run)

    def __repr__(self) -> str:
        ins, outs = types_text(tree.leaves(self.in_types)), types_text(tree.leaves(self.out_types))
        return f"<exported program {ins} -> {outs}, {size_text(self.program)}>"

    def _repr_html_(self) -> str:
        return exported_html("exported program", self.program)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("program", "arguments", "result")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def program(fun: Callable[..., Any], *arguments: Any) -> ExportedProgram:
    """A function with the arrays that it closes over (its weights, say), as data that `save` can write.

    Args:
        fun: a function of arrays, which may be compiled (`jit`) or differentiated (`grad`) already.
        *arguments: its arguments, as arrays or `fdl.ShapeDtypeStruct`s.

    Returns:
        The ExportedProgram, which is called as `fun` is. Nodes of its result that are no dicts, lists or tuples come as
        dicts of their attributes, and so do those of its arguments have to be given.

    Raises:
        ExportError: `fun` calls Python functions when it runs (callbacks, debug.print).

    >>> import tempfile, fdl, fdl.numpy as fnp
    >>> w = fnp.array([1.0, 2.0])
    >>> slope = fdl.export.program(fdl.jit(fdl.grad(lambda x: fnp.sum(w * x**2))), w)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fdl.export.save(f"{folder}/slope.safetensors", slope)
    ...     fdl.export.load(f"{folder}/slope.safetensors")(fnp.ones(2))
    Array([2., 4.], dtype=float32)
    """
    traced, captured, flat = trace_call(fun, arguments, {})
    if captured:
        raise ExportError(f"export({name_of(fun)}) inside of a transform: {name_of(fun)} closes over traced values")
    traced = eliminate_dead(inline(traced))
    check_exportable(name_of(fun), traced)
    return ExportedProgram(traced, numbered(arguments), numbered(flat.unflatten(list(traced.output_types))))
