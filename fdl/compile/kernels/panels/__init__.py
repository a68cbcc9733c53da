"""Factorizations of real matrices and systems with them, on matrices that are stored in panels of a few columns."""
