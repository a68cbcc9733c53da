"""Primitives that work on arrays alone, one class each with all its rules."""
