"""ONNX's operators as functions of fdl: one table, by name.

A function takes the operator's operands in order, None for those that are left out, and its attributes by name. What
older versions of an operator had as attributes are arguments too.
"""

from fdl.interop.onnx_operators import (
    attention,
    classical,
    elementwise,
    linear_attention,
    losses,
    networks,
    quantized,
    recurrent,
    reductions,
    resizing,
    sampling,
    selection,
    shapes,
    signals,
    support_vectors,
    training,
    trees,
)
from fdl.interop.tables import joined

TABLE = joined(
    elementwise.TABLE, shapes.TABLE, reductions.TABLE, networks.TABLE, recurrent.TABLE, resizing.TABLE, losses.TABLE,
    attention.TABLE, quantized.TABLE, classical.TABLE, linear_attention.TABLE, sampling.TABLE, selection.TABLE,
    signals.TABLE, training.TABLE, trees.TABLE, support_vectors.TABLE,
)  # fmt: skip
