"""Transforms of Programs: forward mode, linearization, transposition, batching."""
