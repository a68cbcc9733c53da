"""fdl: pure functions over arrays, differentiated, vectorised and compiled for the CPU.

The names are those that users of JAX know: ``fdl.grad``, ``fdl.jit``, ``fdl.vmap``, ``fdl.numpy``, ``fdl.lax``,
``fdl.nn``, ``fdl.random``, ``fdl.tree``; ``fdl.optim`` holds optimizers as pairs of pure functions.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fdl import debug, lax, numpy, tracebacks, tree, tree_util
from fdl.api.arguments import float0
from fdl.api.checkpoint import checkpoint, checkpoint_policies, remat
from fdl.api.closures import closure_convert
from fdl.api.custom import custom_gradient, custom_jvp, custom_vjp
from fdl.api.differentiate import grad, jvp, linear_transpose, linearize, value_and_grad, vjp
from fdl.api.environment import (
    block_until_ready,
    default_backend,
    device_count,
    device_get,
    device_put,
    devices,
    ensure_compile_time_eval,
    from_numpy,
    local_devices,
    named_call,
    named_scope,
    typeof,
    vectors,
)
from fdl.api.inspect import ShapeDtypeStruct, eval_shape, make_program
from fdl.api.jacobian import hessian, jacfwd, jacobian, jacrev
from fdl.api.jit import clear_caches, disable_jit, explain_cache_miss, jit
from fdl.api.passes import fwd_and_bwd
from fdl.api.profile import Profile, profile
from fdl.api.vmap import vmap
from fdl.as_jax import install as install_as_jax
from fdl.config import config
from fdl.core.program import Program
from fdl.lax.callbacks import pure_callback
from fdl.saving import Saving, load, save
from fdl.sparse.rows import Rows
from fdl.threads import get_num_threads, set_num_threads

make_jaxpr = make_program

tracebacks.install()

if TYPE_CHECKING:
    from fdl.core.types import Array
else:
    from fdl.array import Array

__version__ = "0.1.0"

#: Submodules that are imported when first used, to keep ``import fdl`` quick.
_LAZY = (
    "ad_checkpoint",
    "audio",
    "custom_batching",
    "custom_derivatives",
    "ops",
    "dtypes",
    "errors",
    "experimental",
    "export",
    "fft",
    "flatten_util",
    "image",
    "interop",
    "linalg",
    "models",
    "nn",
    "optim",
    "quantization",
    "random",
    "scipy",
    "serve",
    "sharding",
    "test_util",
    "typing",
)


def __getattr__(name: str) -> Any:
    if name in ("load_ipython_extension", "unload_ipython_extension"):  # of %load_ext fdl
        return getattr(importlib.import_module("fdl.nn.notebooks"), name)
    if name in _LAZY:
        return importlib.import_module(f"fdl.{name}")
    raise AttributeError(f"module 'fdl' has no attribute {name!r}")


__all__ = [
    "Array",
    "Profile",
    "Program",
    "Rows",
    "Saving",
    "ShapeDtypeStruct",
    "block_until_ready",
    "checkpoint",
    "checkpoint_policies",
    "clear_caches",
    "closure_convert",
    "config",
    "custom_gradient",
    "custom_jvp",
    "custom_vjp",
    "debug",
    "default_backend",
    "device_count",
    "device_get",
    "device_put",
    "devices",
    "disable_jit",
    "ensure_compile_time_eval",
    "eval_shape",
    "explain_cache_miss",
    "float0",
    "from_numpy",
    "fwd_and_bwd",
    "get_num_threads",
    "grad",
    "hessian",
    "install_as_jax",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "lax",
    "linear_transpose",
    "linearize",
    "load",
    "local_devices",
    "make_jaxpr",
    "make_program",
    "named_call",
    "named_scope",
    "numpy",
    "profile",
    "pure_callback",
    "remat",
    "save",
    "set_num_threads",
    "tree",
    "tree_util",
    "typeof",
    "value_and_grad",
    "vjp",
    "vmap",
]


def __dir__() -> list[str]:
    return [*__all__, *_LAZY]
