"""JAX's flags as data: what each is in fdl."""

from typing import Any

#: Flags that are settings of `fdl.config`: the field, and what it says for values of JAX's that it does not know.
FORWARDED: dict[str, tuple[str, dict[Any, Any]]] = {
    "jax_debug_nans": ("debug_nans", {}),
    "jax_debug_infs": ("debug_infs", {}),
    "jax_debug_key_reuse": ("debug_key_reuse", {}),
    "jax_disable_jit": ("disable_jit", {}),
    "jax_explain_cache_misses": ("explain_cache_misses", {}),
    "jax_numpy_rank_promotion": ("numpy_rank_promotion", {}),
    "jax_numpy_dtype_promotion": ("numpy_dtype_promotion", {}),
    "jax_threefry_partitionable": ("threefry_partitionable", {}),
}

#: Flags that fdl can meet in some ways only; the first is the default.
ONLY: dict[str, tuple[Any, ...]] = {
    "jax_platform_name": ("", "cpu", None),
    "jax_platforms": (None, "cpu", "", "cpu,"),
    "jax_default_prng_impl": ("threefry2x32",),
    "jax_default_device": (None, "cpu"),
    "jax_dynamic_shapes": (False,),
    "jax_check_static_indices": (True,),  # a known index that lies outside of its axis is an error
}

#: Flags about compiling, caching, logging and transferring that change no result, with JAX's defaults.
MEANINGLESS: dict[str, Any] = {
    "jax_array": True,
    "jax_captured_constants_warn_bytes": -1,
    "jax_check_tracer_leaks": False,
    "jax_compilation_cache_dir": None,
    "jax_cpu_enable_async_dispatch": True,
    "jax_default_matmul_precision": None,
    "jax_disable_most_optimizations": False,
    "jax_enable_checks": False,
    "jax_enable_compilation_cache": True,
    "jax_enable_custom_prng": False,
    "jax_enable_custom_vjp_by_custom_transpose": False,
    "jax_include_full_tracebacks_in_locations": True,
    "jax_legacy_prng_key": "allow",
    "jax_log_compiles": False,
    "jax_log_checkpoint_residuals": False,
    "jax_logging_level": "NOTSET",
    "jax_num_cpu_devices": -1,  # there is one, whatever is asked for, so that what needs no more still runs
    "jax_persistent_cache_enable_xla_caches": "",
    "jax_persistent_cache_min_compile_time_secs": 1.0,
    "jax_persistent_cache_min_entry_size_bytes": 0,
    "jax_pmap_no_rank_reduction": True,
    "jax_pmap_shmap_merge": True,
    "jax_raise_persistent_cache_errors": False,
    "jax_softmax_custom_jvp": False,
    "jax_spmd_mode": "allow_jit",
    "jax_traceback_filtering": "auto",
    "jax_transfer_guard": None,
    "jax_use_shardy_partitioner": True,
    "jax_xla_backend": "",
}
