"""Geometry, under the names of ``scipy.spatial``."""

from fdl.scipy.spatial import transform

__all__ = ["transform"]
