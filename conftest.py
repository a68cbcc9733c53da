"""What the examples in docstrings may use."""

from collections.abc import Iterator
from typing import Any

import pytest

#: Programs of tests: one runs in a process where fdl stands for jax, one is only read by type checkers.
collect_ignore = ["tests/as_jax_checks.py", "tests/as_jax_library_checks.py", "tests/typing/program.py"]


@pytest.fixture(autouse=True)
def names_of_numpy(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> Iterator[None]:
    """The examples of fdl.numpy, and no others, use its functions without a prefix."""
    if request.node.name.startswith("fdl.numpy."):
        import fdl.numpy

        doctest_namespace.update({name: value for name, value in vars(fdl.numpy).items() if not name.startswith("_")})
    yield
    doctest_namespace.clear()  # pytest keeps one for the whole session
