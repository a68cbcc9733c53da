"""What rules of derivatives are given when they ask for symbolic zeros, under the names of ``jax.custom_derivatives``.

>>> from fdl import custom_derivatives
>>> custom_derivatives.CustomVJPPrimal(1.0, perturbed=True).value
1.0
"""

from fdl.api.custom import (
    CustomVJPPrimal,
    SymbolicZero,
    custom_gradient,
    custom_jvp,
    custom_vjp,
    custom_vjp_primal_tree_values,
)

__all__ = [
    "CustomVJPPrimal",
    "SymbolicZero",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "custom_vjp_primal_tree_values",
]
