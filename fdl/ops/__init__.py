"""Primitives that work on arrays alone, one class each with all its rules; and reductions by segment."""

from fdl.ops.segment import segment_max, segment_min, segment_prod, segment_sum
