"""Groups of as many steps as can be, in blocks of few rows, so that small programs reach what large ones do."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from fdl.compile.schedule import group
from fdl.compile.schedule import row_tiles as cut

_BYTES = 1500
_SIZES = (
    (group, "LEAST_GAIN", 0), (group, "LEAST_SHARED", 0), (cut, "LEAST_FLOPS", 0),
    (group, "BLOCK_BYTES", _BYTES), (group, "PRODUCT_BYTES", _BYTES), (group, "ROW_BYTES", 1 << 30),
    (group, "LEAST_BLOCK", 1), (group, "LEAST_PRODUCT", 1), (group, "LEAST_SUMMED", 1), (group, "LEAST_ROWS", 1),
)  # fmt: skip


@contextmanager
def small_groups() -> Iterator[None]:
    """Plans made within have small blocks."""
    with ExitStack() as stack:
        for module, name, value in _SIZES:
            stack.enter_context(mock.patch.object(module, name, value))
        yield
