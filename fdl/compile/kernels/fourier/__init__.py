"""Discrete Fourier transforms: self-sorting passes over vectors of independent transforms (decision 093)."""
