"""Trees of arrays on disk."""

from fdl.saving.background import Saving
from fdl.saving.trees import load, save

__all__ = ["Saving", "load", "save"]
