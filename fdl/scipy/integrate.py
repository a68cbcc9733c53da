"""Integrals of samples, under the names of ``scipy.integrate``."""

from fdl.numpy import trapezoid

__all__ = ["trapezoid"]
