"""Groups of as many steps as can be, in tiles of few rows, so that small programs reach what large ones do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from fdl.compile.llvm import target

_BYTES = 1500


@contextmanager
def small_groups() -> Iterator[None]:
    """Plans made within have small tiles."""
    small = replace(
        target.TUNING,
        group_gain_bytes=0, shared_bytes=0, tile_product_flops=0,
        tile_bytes=_BYTES, product_tile_bytes=_BYTES, row_bytes=1 << 30,
        tile_rows=1, product_tile_rows=1, summed_tile_rows=1, large_rows=1,
    )  # fmt: skip
    with mock.patch.object(target, "TUNING", small):
        yield
