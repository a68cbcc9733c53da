"""What the examples in docstrings may use."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def names_of_numpy(request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]) -> None:
    """The examples of fdl.numpy use its functions without a prefix."""
    if request.node.name.startswith("fdl.numpy."):
        import fdl.numpy

        doctest_namespace.update({name: value for name, value in vars(fdl.numpy).items() if not name.startswith("_")})
