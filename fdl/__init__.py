"""fdl: pure functions over arrays, differentiated, vectorised and compiled for the CPU.

The names are those that users of JAX know: ``fdl.grad``, ``fdl.jit``, ``fdl.vmap``, ``fdl.numpy``, ``fdl.lax``,
``fdl.nn``, ``fdl.random``, ``fdl.tree``; ``fdl.optim`` holds optimizers as pairs of pure functions.
"""

import importlib
from typing import Any

from fdl import debug, lax, numpy, tree, tree_util
from fdl.api.custom import checkpoint, checkpoint_policies, custom_gradient, custom_jvp, custom_vjp, remat
from fdl.api.differentiate import float0, grad, jvp, linear_transpose, linearize, value_and_grad, vjp
from fdl.api.inspect import ShapeDtypeStruct, eval_shape, make_program
from fdl.api.jacobian import hessian, jacfwd, jacobian, jacrev
from fdl.api.jit import clear_caches, disable_jit, jit
from fdl.api.vmap import vmap
from fdl.array import Array
from fdl.config import config
from fdl.core.program import Program
from fdl.lax.callbacks import pure_callback

__version__ = "0.1.0"

#: Submodules that are imported when first used, to keep ``import fdl`` quick.
_LAZY = ("dtypes", "errors", "fft", "flatten_util", "linalg", "nn", "optim", "random", "scipy")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"fdl.{name}")
    raise AttributeError(f"module 'fdl' has no attribute {name!r}")


def block_until_ready(x: Any) -> Any:
    """`x` itself: results are always ready, since calls are synchronous.

    >>> block_until_ready(1.0)
    1.0
    """
    return x


def device_put(x: Any, device: Any = None) -> Any:
    """`x` (a pytree) with NumPy arrays and numbers made into Arrays; there is one device, the host's memory.

    >>> device_put(1.0)
    Array(1., dtype=float32)
    """
    from fdl.array import as_array

    return tree.map(as_array, x)


def device_get(x: Any) -> Any:
    """`x` (a pytree) with Arrays made into NumPy arrays.

    >>> import fdl
    >>> device_get(fdl.numpy.ones(2))
    array([1., 1.], dtype=float32)
    """
    import numpy as np

    return tree.map(np.asarray, x)


__all__ = [
    "Array",
    "Program",
    "ShapeDtypeStruct",
    "block_until_ready",
    "checkpoint",
    "checkpoint_policies",
    "clear_caches",
    "config",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "debug",
    "device_get",
    "device_put",
    "disable_jit",
    "eval_shape",
    "float0",
    "grad",
    "hessian",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "lax",
    "linear_transpose",
    "linearize",
    "make_program",
    "numpy",
    "pure_callback",
    "remat",
    "tree",
    "tree_util",
    "value_and_grad",
    "vjp",
    "vmap",
]
