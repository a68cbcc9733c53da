"""What rules of derivatives are given when they ask for symbolic zeros, under the names of ``jax.custom_derivatives``.

>>> from fdl import custom_derivatives
>>> custom_derivatives.CustomVJPPrimal(1.0, perturbed=True).value
1.0
"""

from fdl.api.closures import closure_convert, linear_call
from fdl.api.custom import (
    CustomVJPPrimal,
    SymbolicZero,
    custom_gradient,
    custom_jvp,
    custom_vjp,
    custom_vjp_primal_tree_values,
    zero_from_primal,
)

__all__ = [
    "CustomVJPPrimal",
    "SymbolicZero",
    "closure_convert",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "custom_vjp_primal_tree_values",
    "linear_call",
    "zero_from_primal",
]
