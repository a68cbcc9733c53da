"""The public modules that have the private names which JAX's test files import; see jax_test_util.py.

Files of JAX's that are helpers of its tests (``jax._src.internal_test_util``, ``lax_reference``) are read, unmodified,
from the release in the folder ``JAX_TESTS_RELEASE``, where it is set.
"""

import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

import fdl

#: Private modules, below ``jax._src``, and the public ones that have their names.
PUBLIC = {
    "ad_checkpoint": "jax.ad_checkpoint jax", "api": "jax", "array": "jax", "ad_util": "jax.interpreters.ad",
    "custom_batching": "jax.custom_batching", "custom_derivatives": "jax.custom_derivatives jax",
    "checkify": "jax.experimental.checkify", "debugging": "jax.debug", "dtypes": "jax.dtypes jax.numpy ml_dtypes",
    "effects": "jax", "errors": "jax.errors",
    "export._export": "jax.export", "interpreters.batching": "jax.interpreters.batching",
    "interpreters.partial_eval": "jax.interpreters.partial_eval", "interpreters.mlir": "jax.interpreters.mlir",
    "lax": "jax.lax", "lax.control_flow": "jax.lax", "lax.control_flow.for_loop": "jax.lax", "lax.lax": "jax.lax",
    "lax.parallel": "jax.lax", "lax.slicing": "jax.lax", "lax.linalg": "jax.lax.linalg", "lax.special": "jax.lax",
    "lax.utils": "jax.lax", "lax.windowed_reductions": "jax.lax", "linear_util": "jax.extend.linear_util",
    "mesh": "jax.sharding", "named_sharding": "jax.sharding", "pmap": "jax", "prng": "jax.random",
    "random": "jax.random",
    "shard_map": "jax", "sharding": "jax.sharding", "sharding_impls": "jax.sharding", "stages": "jax.stages",
    "custom_transpose": "jax.custom_transpose", "api_util": "jax.api_util", "xla_bridge": "jax",
    "typing": "jax.typing jax",
    "tpu.linalg.qdwh": "fdl.condensed", "tpu.linalg.eigh": "jax.lax.linalg", "tpu.linalg.svd": "jax.lax.linalg",
    "random.prng": "jax.random jax.extend.random", "random.threefry2x32": "jax.extend.random jax.random",
}  # fmt: skip

_FLOAT8 = [np.dtype(t) for name, t in vars(ml_dtypes).items() if name.startswith("float8")]
_NUMBERS = [np.dtype(t) for t in "bool u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 c8 c16".split()]
#: Values of private names.
VALUES = {
    "lib.jaxlib_extension_version": 10**6, "dtypes._float8_dtypes": _FLOAT8, "dtypes._jax_types": _NUMBERS,
    "array.ArrayImpl": fdl.Array, "dtypes._bfloat16_dtype": np.dtype(ml_dtypes.bfloat16),
}  # fmt: skip
RELEASE = os.environ.get("JAX_TESTS_RELEASE", "")


def forward(module: str, name: str) -> Any:
    """What a public module of JAX has under the name.

    Raises:
        AttributeError: none has.
    """
    if (value := VALUES.get(f"{module.removeprefix('jax._src.')}.{name}")) is not None:
        return value
    for place in PUBLIC.get(module.removeprefix("jax._src."), "").split():
        try:
            return getattr(importlib.import_module(place), name)
        except (ImportError, AttributeError):
            continue
    raise AttributeError(name)


def released(name: str) -> Path | None:
    """The file of a helper of JAX's tests."""
    path = Path(RELEASE, *name.split(".")).with_suffix(".py")
    is_helper = name.startswith("jax._src.internal_test_util.") or name == "jax._src.lax_reference"
    return path if RELEASE and is_helper and path.exists() else None


def execute(path: Path, module: ModuleType) -> None:
    """Run a file as a module."""
    vars(module)["__file__"] = str(path)
    exec(compile(path.read_text(), str(path), "exec"), vars(module))
