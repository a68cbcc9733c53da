"""What works with linear maps of which only products are known."""

from fdl.scipy.sparse import linalg

__all__ = ["linalg"]
