"""What type checkers are told of arrays is what arrays have; `tests/typing` is checked by them, with the sources."""

import ast
from pathlib import Path

import fdl
from fdl.numpy import _methods

ROOT = Path(__file__).parent.parent
INTERFACE = ROOT / "fdl" / "core" / "interface.pyi"


def test_the_interface_names_what_arrays_have() -> None:
    """Methods and operators are installed at run time, so that a checker reads them from a file of their own."""
    classes = {node.name: node for node in ast.parse(INTERFACE.read_text()).body if isinstance(node, ast.ClassDef)}
    declared = {node.name for node in classes["Array"].body if isinstance(node, ast.FunctionDef)}
    assert not [name for name in declared if not hasattr(fdl.Array, name)]
    assert {*_methods._PROPERTIES, *_methods._METHODS} <= declared
    updates = {node.name for node in classes["Update"].body if isinstance(node, ast.FunctionDef)}
    assert updates == {name for name in dir(fdl.numpy.ones(2).at[0]) if name[0] != "_"} - {"array", "index"}
