"""Checkpointing under the names of ``jax.ad_checkpoint``: what is kept for the backward pass, and what that is.

>>> import fdl.numpy as fnp
>>> print_saved_residuals(checkpoint(lambda x: fnp.sin(fnp.exp(x))), fnp.ones(3))
f32[3] from the argument x
"""

from fdl.api.checkpoint import checkpoint, checkpoint_name, checkpoint_policies, remat
from fdl.api.residuals import print_saved_residuals, saved_residuals

__all__ = [
    "checkpoint",
    "checkpoint_name",
    "checkpoint_policies",
    "print_saved_residuals",
    "remat",
    "saved_residuals",
]
