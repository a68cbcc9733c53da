"""``jax.config``: JAX's flags, those that fdl has too, those that mean nothing on a CPU, and those it must refuse."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from fdl.api.environment import Device
from fdl.as_jax.flags import FORWARDED, MEANINGLESS, ONLY
from fdl.config import SETTINGS
from fdl.config import config as _config


class JaxConfig:
    """The flags, as attributes and by :meth:`update`.

    >>> config = JaxConfig()
    >>> config.update("jax_log_compiles", False)
    >>> config.jax_log_compiles
    False
    """

    def __init__(self) -> None:
        self.__dict__["_values"] = {}

    def update(self, name: str, val: Any) -> None:
        """Set a flag.

        Raises:
            AttributeError: JAX has no such flag, or fdl does not know it.
            ValueError: fdl cannot do what the value asks for.
        """
        name = name if name.startswith("jax_") else f"jax_{name}"
        if name == "jax_default_device" and isinstance(val, Device):
            val = None  # there is one
        if name == "jax_enable_x64":
            _config.enable_x64 = bool(val)
            _config.default_float, _config.default_int = ("float64", "int64") if val else ("float32", "int32")
        elif name in FORWARDED:
            field, read = FORWARDED[name]
            if field not in SETTINGS:
                raise ValueError(f"jax.config: fdl cannot do {name}={val!r} yet")
            setattr(_config, field, read.get(val, val))
        elif name in ONLY:
            if val not in ONLY[name]:
                raise ValueError(
                    f"jax.config: fdl cannot do {name}={val!r}; it takes {' or '.join(map(repr, ONLY[name]))}"
                )
            self._values[name] = val
        elif name in MEANINGLESS:
            self._values[name] = val
        else:
            raise AttributeError(f"fdl has no jax.config flag {name!r}")

    def read(self, name: str) -> Any:
        """The value of a flag."""
        return getattr(self, name)

    def __getattr__(self, name: str) -> Any:
        full = name if name.startswith("jax_") else f"jax_{name.removesuffix('_enabled')}"
        full = {"jax_x64": "jax_enable_x64"}.get(full, full)
        if full == "jax_enable_x64":
            return _config.enable_x64 and _config.default_float == "float64"
        if full in FORWARDED:
            field, _ = FORWARDED[full]
            return getattr(_config, field, False)
        if full in self._values:
            return self._values[full]
        if full in ONLY:
            return ONLY[full][0]
        if full in MEANINGLESS:
            return MEANINGLESS[full]
        raise AttributeError(f"fdl has no jax.config flag {full!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        self.update(name, value)

    def parse_flags_with_absl(self) -> None:
        """Accepted: fdl reads environment variables, not the command line."""

    config_with_absl = parse_flags_with_absl


config = JaxConfig()

_WORDS = dict.fromkeys(("1", "true", "yes", "on", "t", "y"), True) | dict.fromkeys(
    ("0", "false", "no", "off", "f", "n", ""), False
)


def read_environment() -> None:
    """Set the flags whose environment variables are set, as ``JAX_ENABLE_X64=1``; unknown variables are ignored.

    Raises:
        ValueError: fdl cannot do what a variable asks for, or it is no truth value where one is needed.
    """
    for variable, text in os.environ.items():
        name = variable.lower()
        if not (name == "jax_enable_x64" or name in FORWARDED or name in ONLY or name in MEANINGLESS):
            continue
        value: Any = text
        if isinstance(config.read(name), bool):
            if text.lower() not in _WORDS:
                raise ValueError(f"the environment variable {variable} is true or false, got {text!r}")
            value = _WORDS[text.lower()]
        config.update(name, value)


def _while(name: str) -> Callable[..., Any]:
    """A function that sets a flag inside of a ``with`` block, or of what it decorates."""

    @contextlib.contextmanager
    def setting(new_val: Any = True) -> Iterator[None]:
        before = (_config.enable_x64, _config.default_float, _config.default_int), getattr(config, name)
        config.update(name, new_val)
        try:
            yield
        finally:
            if name == "jax_enable_x64":
                _config.enable_x64, _config.default_float, _config.default_int = before[0]
            else:
                config.update(name, before[1])

    setting.__name__ = name.removeprefix("jax_")
    setting.__doc__ = f"Set the flag ``{name}`` for a while."
    return setting


enable_x64 = _while("jax_enable_x64")
debug_nans = _while("jax_debug_nans")
debug_infs = _while("jax_debug_infs")
debug_key_reuse = _while("jax_debug_key_reuse")
checking_leaks = check_tracer_leaks = _while("jax_check_tracer_leaks")
default_device = _while("jax_default_device")
default_matmul_precision = _while("jax_default_matmul_precision")
default_prng_impl = _while("jax_default_prng_impl")
enable_checks = _while("jax_enable_checks")
enable_custom_prng = _while("jax_enable_custom_prng")
explain_cache_misses = _while("jax_explain_cache_misses")
legacy_prng_key = _while("jax_legacy_prng_key")
log_compiles = _while("jax_log_compiles")
numpy_dtype_promotion = _while("jax_numpy_dtype_promotion")
numpy_rank_promotion = _while("jax_numpy_rank_promotion")
threefry_partitionable = _while("jax_threefry_partitionable")
transfer_guard = _while("jax_transfer_guard")
softmax_custom_jvp = _while("jax_softmax_custom_jvp")
allow_f16_reductions = _while("jax_allow_f16_reductions")
array_garbage_collection_guard = _while("jax_array_garbage_collection_guard")
auto_pcast = _while("jax_auto_pcast")
no_execution = _while("jax_no_execution")
no_tracing = _while("jax_no_tracing")
thread_guard = _while("jax_thread_guard")
transfer_guard_device_to_device = transfer_guard_device_to_host = transfer_guard_host_to_device = transfer_guard


def disable_x64(new_val: bool = True) -> Any:
    """Inputs of 64 bits become 32 for a while."""
    return enable_x64(not new_val)


__all__ = [
    "allow_f16_reductions",
    "array_garbage_collection_guard",
    "auto_pcast",
    "check_tracer_leaks",
    "checking_leaks",
    "config",
    "debug_infs",
    "debug_key_reuse",
    "debug_nans",
    "default_device",
    "default_matmul_precision",
    "default_prng_impl",
    "disable_x64",
    "enable_checks",
    "enable_custom_prng",
    "enable_x64",
    "explain_cache_misses",
    "legacy_prng_key",
    "log_compiles",
    "no_execution",
    "no_tracing",
    "numpy_dtype_promotion",
    "numpy_rank_promotion",
    "softmax_custom_jvp",
    "thread_guard",
    "threefry_partitionable",
    "transfer_guard",
    "transfer_guard_device_to_device",
    "transfer_guard_device_to_host",
    "transfer_guard_host_to_device",
]
