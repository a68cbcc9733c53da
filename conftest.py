"""What the examples in docstrings may use, the SparkSession that they and tests share, and how much LLVM optimizes."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.spark.cheap import JAVA_OPTIONS, SETTINGS

os.environ.setdefault("JDK_JAVA_OPTIONS", JAVA_OPTIONS)  # every JVM that a test starts inherits them

#: Programs of tests: one runs in a process where fdl stands for jax, one is only read by type checkers.
collect_ignore = ["tests/as_jax_checks.py", "tests/as_jax_library_checks.py", "tests/typing/program.py"]


#: Tests of what is computed, whose thousands of small programs run once or twice: LLVM's code generator does not
#: optimize them. Those of the compiler, of each operation, of accuracy, of Spark and all examples in docstrings are
#: compiled as for users.
QUICK_FOLDERS = "control experimental lax linalg namesakes nn numpy optim random saving scipy transforms tree"
QUICK = (
    "tests/api/test_models.py",
    "tests/api/test_peak.py",
    *(f"tests/{name}/" for name in QUICK_FOLDERS.split()),
)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    from fdl.config import config  # after tests/conftest.py has set the environment that it reads

    quick = item.nodeid.startswith(QUICK)
    if config.disable_most_optimizations != quick:
        config.disable_most_optimizations = quick


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """The session of all tests that need one and start none."""
    import fdl_spark

    session = fdl_spark.session("local[2]", config=SETTINGS)
    yield session
    session.stop()


@pytest.fixture(autouse=True)
def names_of_examples(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> Iterator[None]:
    """The examples of fdl.numpy, and no others, use its functions without a prefix; those on Spark share a session."""
    examples = getattr(getattr(request.node, "dtest", None), "examples", ())
    name = request.node.name
    if name.startswith("fdl_spark.") and any(call in one.source for one in examples for call in ("session(", "train(")):
        request.getfixturevalue("spark")
    if name.startswith("fdl.numpy."):
        import fdl.numpy

        doctest_namespace.update({name: value for name, value in vars(fdl.numpy).items() if not name.startswith("_")})
    yield
    doctest_namespace.clear()  # pytest keeps one for the whole session
