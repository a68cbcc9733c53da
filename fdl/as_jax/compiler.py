"""``jax._src.compiler``, which a library patches to forbid backends."""

from typing import Any


def backend_compile(backend: Any, *args: Any, **kwargs: Any) -> None:
    """Do nothing: fdl compiles by itself, for the processor only."""
