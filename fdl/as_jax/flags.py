"""JAX's flags as data: what each is in fdl."""

from typing import Any

from fdl.lax.precisions import DotAlgorithmPreset

#: Flags that are settings of `fdl.config`: the field, and what it says for values of JAX's that it does not know.
FORWARDED: dict[str, tuple[str, dict[Any, Any]]] = {
    "jax_debug_nans": ("debug_nans", {}),
    "jax_debug_infs": ("debug_infs", {}),
    "jax_debug_key_reuse": ("debug_key_reuse", {}),
    "jax_disable_jit": ("disable_jit", {}),
    "jax_disable_most_optimizations": ("disable_most_optimizations", {}),
    "jax_explain_cache_misses": ("explain_cache_misses", {}),
    "jax_log_compiles": ("log_compiles", {}),
    "jax_default_matmul_precision": (
        "default_matmul_precision",
        {None: "default", "fastest": "default", "bfloat16": "default"}
        | dict.fromkeys(
            ("high", "bfloat16_3x", "tensorfloat32", "float32", *DotAlgorithmPreset.__members__), "highest"
        ),
    ),
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
    "jax_error_checking_behavior_divide": ("ignore",),
    "jax_error_checking_behavior_nan": ("ignore",),
    "jax_error_checking_behavior_oob": ("ignore",),
    "jax_high_dynamic_range_gumbel": (False,),
    "jax_no_execution": (False,),
    "jax_no_tracing": (False,),
    "jax_random_seed_offset": (0,),
    "jax_check_static_indices": (True,),  # a known index that lies outside of its axis is an error
}

#: Flags about compiling, caching, logging and transferring that change no result, with JAX's defaults.
MEANINGLESS: dict[str, Any] = {
    "jax_allow_f16_reductions": True,
    "jax_array": True,
    "jax_array_garbage_collection_guard": None,
    "jax_auto_pcast": True,
    "jax_bcoo_cusparse_lowering": False,
    "jax_captured_constants_report_frames": 0,
    "jax_captured_constants_warn_bytes": -1,
    "jax_check_tracer_leaks": False,
    "jax_compilation_cache_dir": None,
    "jax_compilation_cache_max_size": -1,
    "jax_compiler_enable_remat_pass": True,
    "jax_cpu_enable_async_dispatch": True,
    "jax_custom_vjp3": False,
    "jax_debug_log_modules": "",
    "jax_disable_bwd_checks": False,
    "jax_disable_vmap_shmap_error": False,
    "jax_dump_ir_to": "",
    "jax_embedded_constants_max_bytes": 32,
    "jax_enable_checks": False,
    "jax_enable_compilation_cache": True,
    "jax_enable_custom_prng": False,
    "jax_enable_custom_vjp_by_custom_transpose": False,
    "jax_enable_pgle": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_explicit_x64_dtypes": "warn",
    "jax_export_calling_convention_version": 9,
    "jax_include_full_tracebacks_in_locations": True,
    "jax_legacy_prng_key": "allow",
    "jax_log_checkpoint_residuals": False,
    "jax_log_compiles": False,
    "jax_logging_level": "NOTSET",
    "jax_memory_fitting_effort": 0.0,
    "jax_mutable_array_checks": True,
    "jax_num_cpu_devices": -1,  # there is one, whatever is asked for, so that what needs no more still runs
    "jax_optimization_level": "UNKNOWN",
    "jax_persistent_cache_enable_xla_caches": "",
    "jax_persistent_cache_min_compile_time_secs": 1.0,
    "jax_persistent_cache_min_entry_size_bytes": 0,
    "jax_pmap_no_rank_reduction": True,
    "jax_pmap_shmap_merge": True,
    "jax_pprint_use_color": True,
    "jax_ragged_dot_use_ragged_dot_instruction": True,
    "jax_raise_persistent_cache_errors": False,
    "jax_remat3": False,
    "jax_scan3": False,
    "jax_send_traceback_to_runtime": "off",
    "jax_softmax_custom_jvp": False,
    "jax_spmd_mode": "allow_jit",
    "jax_thread_guard": False,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_traceback_filtering": "auto",
    "jax_traceback_in_locations_limit": 100,
    "jax_tracer_error_num_traceback_frames": 5,
    "jax_transfer_guard": None,
    "jax_transfer_guard_device_to_device": None,
    "jax_transfer_guard_device_to_host": None,
    "jax_transfer_guard_host_to_device": None,
    "jax_use_direct_linearize": True,
    "jax_use_magma": "auto",
    "jax_use_shardy_partitioner": True,
    "jax_use_simplified_jaxpr_constants": False,
    "jax_xla_backend": "",
    "jax_xla_profile_version": 0,
}
