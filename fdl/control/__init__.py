"""Primitives that hold Programs: call, cond, while, scan, custom derivatives, checkpoint; and host callbacks."""
