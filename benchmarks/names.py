"""Which public names of JAX fdl does not have under `fdl.install_as_jax`, and the sum; primitives are left out.

Not a part of CI. JAX itself lies on a path of its own, which only a process of its own sees::

    python -m benchmarks.names path/with/jax              # all modules
    python -m benchmarks.names path/with/jax jax.lax      # one and those below it
"""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import warnings
from types import ModuleType
from typing import Any

#: Modules whose public names are compared, with those below them; `jax` itself without.
MODULES = """jax jax.custom_batching jax.custom_derivatives jax.debug jax.dtypes jax.errors jax.experimental jax.export
    jax.extend jax.flatten_util jax.image jax.lax jax.monitoring jax.nn jax.numpy jax.ops jax.profiler jax.random
    jax.scipy jax.sharding jax.stages jax.tree jax.tree_util jax.typing jax.interpreters""".split()
#: Of which nothing is wanted: other machines and compilers.
LEFT_OUT = """array_serialization buffer_callback colocated_python compilation_cache compute_on control_deps
    custom_partitioning fused gda_serialization ifrt_programs jax2tf key_reuse lowering mlir mosaic pallas pxla roofline
    scheduling_groups serialize_executable topologies transfer xla xla_metadata""".split()


def main(arguments: list[str]) -> None:
    """List the absent names."""
    if not arguments:
        raise SystemExit(__doc__)
    path, *wanted = arguments
    environment = {**os.environ, "PYTHONPATH": path}
    listing = [sys.executable, __file__, "--list"]
    printed = subprocess.run(listing, env=environment, check=True, capture_output=True, text=True).stdout
    theirs: dict[str, list[str]] = json.loads(printed.splitlines()[-1])
    importlib.import_module("fdl").install_as_jax()  # which the process of JAX must not import
    present = total = 0
    for module, names in theirs.items():
        if wanted and not any(module == w or module.startswith(f"{w}.") for w in wanted):
            continue
        names = [name for name in names if not name.endswith("_p")]  # primitives
        absent = [name for name in names if not has(module, name)]
        present, total = present + len(names) - len(absent), total + len(names)
        if absent:
            print(f"{module}: {len(absent)} of {len(names)} absent: {' '.join(absent)}")
    print(f"{present} of {total} public names are there")


def has(module: str, name: str) -> bool:
    """Whether fdl has a name under JAX's."""
    try:
        return hasattr(importlib.import_module(module), name)
    except ImportError:
        return False


def public_names() -> dict[str, list[str]]:
    """The public names of each module of the JAX that is imported."""
    found: dict[str, list[str]] = {}
    for root in MODULES:
        for module in modules(root):
            found[module.__name__] = sorted(n for n in getattr(module, "__all__", dir(module)) if is_public(module, n))
    return found


def modules(name: str) -> Any:
    """A module and those below it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = importlib.import_module(name)
        except Exception:
            return
    yield module
    for below in pkgutil.iter_modules(getattr(module, "__path__", ())) if name != "jax" else ():
        if below.name not in LEFT_OUT and not below.name.startswith("_"):
            yield from modules(f"{name}.{below.name}")


def is_public(module: ModuleType, name: str) -> bool:
    """Whether a name is meant for users: modules from elsewhere are not, nor what is there no more."""
    if name.startswith("_") or name in LEFT_OUT:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = getattr(module, name)
        except Exception:
            return False
    if isinstance(value, ModuleType):
        return value.__name__ == f"{module.__name__}.{name}"
    return getattr(value, "__module__", None) not in ("typing", "functools", "collections.abc", "__future__", "enum")


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print(json.dumps(public_names()))
    else:
        main(sys.argv[1:])
