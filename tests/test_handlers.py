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
    "fdl_spark/arguments.py Exception": "an argument that is no array, said with its own error",
    "fdl_spark/blocks.py BaseException": "deletes what is unfinished, and raises again",
    "fdl_spark/blocks.py Exception": "freeing must not hide why a run ended, and is logged",
    "fdl_spark/checkpoint.py BaseException": "deletes unfinished files, and raises again",
    "fdl_spark/failures.py AttributeError": "what a stopped session gives; raised again if it is not stopped",
    "fdl_spark/failures.py Exception": "the user's function raised, which is told as a UserFunctionError",
    "fdl_spark/jobs.py BaseException": "cancels the jobs of a run that ended, and raises again",
    "fdl_spark/jobs.py Exception": "a session that was stopped has no jobs",
    "fdl_spark/loop.py Exception": "the state that a failed run may still save; the failure itself is raised",
    "fdl_spark/predict.py Exception": "a Java virtual machine that is gone holds nothing",
    "fdl_spark/shuffle.py BaseException": "frees what was made, and raises again",
    "fdl_spark/shuffle.py Exception": "freeing what the cluster may have lost",
    "fdl_spark/source.py Exception": "a column that is no array, said with its own error",
    "fdl_spark/worker.py Exception": "freeing must not hide why a run ended",
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
