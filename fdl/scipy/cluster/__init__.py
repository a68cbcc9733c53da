"""Clusters of vectors, under the names of ``scipy.cluster``."""

from fdl.scipy.cluster import vq

__all__ = ["vq"]
