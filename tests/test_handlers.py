"""Handlers of exceptions name what they mean: those that would also hide mistakes are listed, each with its reason."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: What a typo raises, and what catches everything.
BROAD = {"Exception", "BaseException", "AttributeError", "NameError", "RuntimeError", "AssertionError", ""}

ALLOWED = {
    "fdl/api/explain.py Exception": "says that tracing fails, and with what",
    "fdl/array.py AttributeError": "a slot that has not been set yet",
    "fdl/compile/cache.py BaseException": "deletes the unfinished file, and raises again",
    "fdl/compile/cache.py RuntimeError": "a user without a home, as pathlib tells it",
    "fdl/compile/fallback.py Exception": "a pass that failed, which is told as a CompilerWarning",
    "fdl/compile/runtime.py BaseException": "an exception of a callback crosses native code, and is raised behind it",
    "fdl/ext/elementwise.py Exception": "NaN where the user's function raises, as documented",
}


def handlers(path: Path) -> list[str]:
    """The broad exceptions that the handlers of a file catch."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            found += [ast.unparse(kind) if kind is not None else "" for kind in kinds]
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            found += [ast.unparse(kind) for kind in node.args]
    return [name.rpartition(".")[2] for name in found if name.rpartition(".")[2] in BROAD]


def test_broad_handlers_are_listed() -> None:
    files = [path for package in ("fdl", "fdl_spark") for path in sorted((ROOT / package).rglob("*.py"))]
    assert len(files) > 200
    found = Counter(f"{path.relative_to(ROOT)} {name}" for path in files for name in handlers(path))
    assert set(found) == set(ALLOWED)
