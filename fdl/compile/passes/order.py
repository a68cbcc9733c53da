"""The passes from Program to Program, in their order."""

from collections.abc import Callable

from fdl.compile.fallback import Skip, during
from fdl.compile.passes.canonical import canonical
from fdl.compile.passes.complex_parts import complex_parts
from fdl.compile.passes.hoisting import hoist
from fdl.compile.passes.index_columns import index_columns
from fdl.compile.passes.simplify import simplify
from fdl.compile.passes.sink_slices import sink_slices
from fdl.compile.passes.sink_transposes import sink_transposes
from fdl.config import config
from fdl.core.program import Program
from fdl.core.verify import verify
from fdl.transforms.inline import inline

#: Each may be left out if it fails; what follows only expects fewer equations, or kernels instead of Python, of it.
PASSES: list[tuple[str, Callable[[Program], Program]]] = [
    ("complex_parts", complex_parts),
    ("simplify", simplify),
    ("hoist", hoist),
    ("sink_slices", sink_slices),
    ("simplify", simplify),
    ("index_columns", index_columns),
    ("canonical", canonical),
    ("sink_transposes", sink_transposes),
]


def prepared(program: Program, skip: Skip = frozenset()) -> Program:
    """A Program of scoped equations in the forms that the scheduler expects, made by all passes but those to `skip`."""
    for name, run in [("inline", inline), *PASSES]:
        if name not in skip:
            with during(name):
                program = run(program)
                if config.debug_compiler:
                    verify(program)
    return program
