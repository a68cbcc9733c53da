"""Where each module of JAX finds its names in fdl, as data.

The names are those of the JAX release `VERSION`, and some of later ones. A module takes every public name of the
modules in `whole`, and the single ones of `names`, each from ``module`` or ``module:attribute``; the functions in
`placed` take an argument `out_sharding` besides.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

#: The release whose names and rules are followed; libraries ask for it to know what they may use.
VERSION = "0.7.1"
ROOTS = ("jax", "jaxlib")


class ModuleNames(NamedTuple):
    """The names of one module."""

    whole: tuple[str, ...] = ()
    names: Mapping[str, str] = MappingProxyType({})
    placed: str = ""


def _from(module: str, names: str) -> dict[str, str]:
    """Names of one of fdl's modules that have another name there after an ``=``."""
    pairs = (name.partition("=") for name in names.split())
    return {name: f"{module}:{other or name}" for name, _, other in pairs}


_CONFIG = """allow_f16_reductions array_garbage_collection_guard auto_pcast no_execution no_tracing softmax_custom_jvp
    thread_guard check_tracer_leaks checking_leaks config debug_infs debug_key_reuse debug_nans default_device
    default_matmul_precision default_prng_impl enable_checks enable_custom_prng enable_x64 explain_cache_misses
    legacy_prng_key log_compiles numpy_dtype_promotion numpy_rank_promotion threefry_partitionable transfer_guard
    transfer_guard_device_to_device transfer_guard_device_to_host transfer_guard_host_to_device"""
_JAX = """Array ShapeDtypeStruct block_until_ready checkpoint checkpoint_policies clear_caches closure_convert
    custom_gradient custom_jvp custom_vjp default_backend device_count device_get device_put devices disable_jit
    ensure_compile_time_eval eval_shape float0 fwd_and_bwd grad hessian jacfwd jacobian jacrev jit jvp
    linear_transpose linearize local_devices named_call named_scope pure_callback remat value_and_grad vjp vmap"""
_CORE = """ShapedArray concrete_or_error find_top_trace get_aval get_opaque_trace_state is_concrete mapped_aval
    set_current_trace take_current_trace trace_state_clean typeof unmapped_aval valid_jaxtype"""
_MULTIHOST = """assert_equal broadcast_one_to_all global_array_to_host_local_array=host_local_array_to_global_array
    host_local_array_to_global_array process_allgather reached_preemption_sync_point sync_global_devices"""
_PLACEMENT = """copy_to_host_async host_ids=process_indices make_array_from_callback
    make_array_from_process_local_data make_array_from_single_device_arrays print_environment_info process_indices"""
_SHARDING = "AbstractMesh AxisType Mesh NamedSharding PartitionSpec Sharding SingleDeviceSharding"
_ERRORS = {
    "ConcretizationTypeError": "fdl.errors:ConcretizationError",
    "JAXTypeError": "fdl.errors:FdlError",
    "JAXIndexError": "fdl.errors:IndexingError",
    "JaxRuntimeError": "fdl.as_jax.callbacks:JaxRuntimeError",
    "KeyReuseError": "fdl.errors:KeyReuseError",
    "NonConcreteBooleanIndexError": "fdl.errors:ConcretizationError",
    "TracerArrayConversionError": "fdl.errors:ConcretizationError",
    "TracerBoolConversionError": "fdl.errors:ConcretizationError",
    "TracerIntegerConversionError": "fdl.errors:ConcretizationError",
    "UnexpectedTracerError": "fdl.errors:LeakedTracerError",
}

#: Dtypes of which fdl has no arrays; libraries name them in signatures.
_SMALL_DTYPES = """float4_e2m1fn float6_e2m3fn float6_e3m2fn float8_e3m4 float8_e4m3 float8_e4m3b11fnuz float8_e4m3fn
    float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu int1 int2 int4 uint1 uint2 uint4"""
#: Functions that take where their result lies.
_PLACED = """arange array asarray bincount broadcast_to dot einsum empty full full_like matmul ones ones_like percentile
    ravel repeat reshape tensordot zeros zeros_like"""
_PLACED_LAX = "broadcast conv_general_dilated dot dot_general ragged_dot reduce reduce_sum reshape"
_PLACED_RANDOM = """ball bernoulli beta bits categorical cauchy chisquare dirichlet exponential f gamma
    generalized_normal geometric gumbel laplace loggamma logistic lognormal maxwell multivariate_normal normal
    orthogonal pareto permutation poisson rademacher randint rayleigh t triangular truncated_normal uniform wald"""
_AD = """UndefinedPrimal Zero deflinear2 instantiate_zeros is_undefined_primal primitive_jvps
    primitive_transposes"""
_BATCHING = """axis_primitive_batchers defbroadcasting defvectorized fancy_primitive_batchers not_mapped
    primitive_batchers"""
_JAXPR = """Atom ClosedJaxpr DropVar Jaxpr JaxprEqn Literal=JaxprLiteral Var=JaxprVar
    eval_jaxpr jaxpr_as_fun jaxprs_in_params new_jaxpr_eqn no_effects subjaxprs"""
#: JAX's names of primitives that are classes of fdl's operations, without the ``_p``.
_OPERATIONS = """abs acos acosh add all_gather and argmax argmin asin asinh atan2 atan atanh axis_index
    bitcast_convert_type broadcast_in_dim cbrt ceil clamp clz complex concatenate cond conj
    conv_general_dilated convert_element_type cos cosh cumlogsumexp cummax cummin cumprod cumsum
    digamma div dot_general dynamic_slice dynamic_update_slice eq erf_inv erf erfc exp2 exp expm1
    floor gather ge gt igamma_grad_a igamma igammac imag integer_pow iota is_finite le lgamma log1p
    log logistic lt max min mul ne neg nextafter not or pad pmax pmin polygamma population_count pow
    ppermute psum real reduce_and reduce_max reduce_min reduce_or reduce_prod reduce_sum
    reduce_window reduce_xor rem reshape rev round rsqrt scan scatter select_and_scatter_add
    shift_left shift_right_arithmetic shift_right_logical sign sin sinh slice sort sqrt
    stop_gradient sub tan tanh top_k transpose while xor zeta"""
_LAX_PRIMITIVES = " ".join(f"{name}_p" for name in _OPERATIONS.split())
_PRIMITIVES = f"call_p closed_call_p custom_jvp_call_p custom_vjp_call_p jit_p remat_p {_LAX_PRIMITIVES}"
_MLIR = "emit_python_callback lower_fun register_lowering"
_HIJAX = """AbstractValue AvalMutableQDD AvalQDD HiPrimitive MutableHiType Ref aval_method aval_property
    control_flow_allowed_effects register_hitype"""
_LINEAR_UTIL = "WrappedFun transformation wrap_init"
_PARTIAL_EVAL = "PartialVal trace_to_jaxpr_nounits"
_CORE_NAMES = (
    _from("fdl.as_jax.core", _CORE)
    | _from("fdl.core.trace", "Tracer Trace=Interpreter")
    | _from("fdl.core.types", "AbstractValue=TensorType")
    | _from("fdl", "ensure_compile_time_eval")
    | _from("fdl.as_jax.jaxpr", _JAXPR)
    | _from("fdl.as_jax.primitive", "Primitive=UserPrimitive")
    | _from("fdl.as_jax.hijax", "Effect=EffectType")
    | _from("fdl.as_jax.registries", "pytype_aval_mappings")
)
_DTYPES = (
    _from("fdl.dtypes", "extended prng_key result_type canonicalize_dtype=as_dtype")
    | _from("fdl.numpy", "finfo iinfo issubdtype")
    | _from("ml_dtypes", "bfloat16")
    | _from("fdl", "float0")
    | _from("fdl.as_jax.dtypes", "scalar_type_of")
)
_INTERPRETERS_AD = (
    _from("fdl.as_jax.primitive", _AD)
    | _from("fdl.as_jax.tracers", "JVPTracer")
    | _from("fdl.errors", "CustomVJPException=DifferentiationError")
)

MODULES: dict[str, ModuleNames] = {
    "jax": ModuleNames(
        names=_from("fdl", _JAX)
        | _from("fdl.as_jax.config", _CONFIG)
        | _from("fdl.as_jax.core", "typeof")
        | _from("fdl.as_jax.jaxpr", "make_jaxpr")
        | _from("fdl.sharding", "NamedSharding P=PartitionSpec make_mesh set_mesh=use_mesh reshard")
        | _from("fdl.api.environment", "Device process_index process_count local_device_count")
        | _from("fdl.api.environment", "host_id=process_index host_count=process_count")
        | _from("fdl.as_jax.placement", _PLACEMENT)
        | _from("fdl.as_jax.attributes", "Shard")
        | _from("fdl.as_jax.version", "__version__ __version_info__")
        | _from("fdl.as_jax.single", "effects_barrier live_arrays pmap shard_map")
    ),
    "jax.numpy": ModuleNames(
        ("fdl.numpy",),
        _from("fdl.as_jax.util", "shape")
        | _from("ml_dtypes", _SMALL_DTYPES)
        | _from("fdl.numpy", "__array_api_version__ __array_namespace_info__"),
        _PLACED,
    ),
    "jax.numpy.linalg": ModuleNames(("fdl.numpy.linalg",)),
    "jax.numpy.fft": ModuleNames(("fdl.fft",)),
    "jax.lax": ModuleNames(
        ("fdl.lax",),
        _from("fdl.sharding", "with_sharding_constraint")
        | _from("fdl.as_jax.operations", _LAX_PRIMITIVES)
        | _from("fdl.as_jax.single", "pcast"),
        _PLACED_LAX,
    ),
    "jax.lax.linalg": ModuleNames(("fdl.linalg", "fdl.tridiagonal", "fdl.condensed")),
    "jax.image": ModuleNames(("fdl.image",)),
    "jax.nn": ModuleNames(("fdl.nn",)),
    "jax.nn.initializers": ModuleNames(("fdl.nn.initializers",)),
    "jax.ops": ModuleNames(("fdl.ops.segment",)),
    "jax.random": ModuleNames(("fdl.random",), {"KeyArray": "fdl:Array"}, _PLACED_RANDOM),
    "jax.tree": ModuleNames(("fdl.tree",)),
    "jax.tree_util": ModuleNames(("fdl.tree_util",)),
    "jax.flatten_util": ModuleNames(("fdl.flatten_util",)),
    "jax.scipy": ModuleNames(),
    "jax.scipy.cluster": ModuleNames(),
    "jax.scipy.cluster.vq": ModuleNames(("fdl.scipy.cluster.vq",)),
    "jax.scipy.fft": ModuleNames(("fdl.scipy.fft",)),
    "jax.scipy.integrate": ModuleNames(("fdl.scipy.integrate",)),
    "jax.scipy.interpolate": ModuleNames(("fdl.scipy.interpolate",)),
    "jax.scipy.linalg": ModuleNames(("fdl.scipy.linalg",)),
    "jax.scipy.ndimage": ModuleNames(("fdl.scipy.ndimage",)),
    "jax.scipy.optimize": ModuleNames(("fdl.scipy.optimize",)),
    "jax.scipy.signal": ModuleNames(("fdl.scipy.signal",)),
    "jax.scipy.sparse": ModuleNames(),
    "jax.scipy.sparse.linalg": ModuleNames(("fdl.scipy.sparse.linalg",)),
    "jax.scipy.spatial": ModuleNames(),
    "jax.scipy.spatial.transform": ModuleNames(("fdl.scipy.spatial.transform",)),
    "jax.scipy.special": ModuleNames(("fdl.scipy.special",)),
    "jax.scipy.stats": ModuleNames(("fdl.scipy.stats",)),
    **{
        f"jax.scipy.stats.{name}": ModuleNames((f"fdl.scipy.stats.{name}",))
        for name in (
            """bernoulli beta betabinom binom cauchy chi2 dirichlet expon gamma gennorm geom gumbel_l gumbel_r laplace
            logistic multinomial multivariate_normal nbinom norm pareto poisson t truncnorm uniform vonmises
            wrapcauchy""".split()
        )
    },
    "jax.ad_checkpoint": ModuleNames(("fdl.ad_checkpoint",)),
    "jax.api_util": ModuleNames(
        names=_from("fdl.as_jax.linear_util", "debug_info flatten_fun flatten_fun_nokwargs")
        | _from("fdl.as_jax.util", "safe_map")
    ),
    "jax.core": ModuleNames(names=_CORE_NAMES),
    "jax.custom_batching": ModuleNames(("fdl.custom_batching",)),
    "jax.custom_derivatives": ModuleNames(
        ("fdl.custom_derivatives",), _from("fdl.as_jax.operations", "custom_jvp_call_p custom_vjp_call_p")
    ),
    "jax.debug": ModuleNames(("fdl.debug",), _from("fdl.as_jax.placement", "inspect_array_sharding")),
    "jax.distributed": ModuleNames(names=_from("fdl.as_jax.placement", "initialize is_initialized shutdown")),
    "jax.dlpack": ModuleNames(names=_from("fdl.numpy", "from_dlpack")),
    "jax.dtypes": ModuleNames(
        names=_DTYPES
        | _from("fdl.as_jax.dtypes", "itemsize_bits")
        | _from("fdl.errors", "TypePromotionError=DtypeError")
    ),
    "jax.example_libraries": ModuleNames(),
    "jax.example_libraries.optimizers": ModuleNames(("fdl.as_jax.optimizers",)),
    "jax.example_libraries.stax": ModuleNames(
        ("fdl.as_jax.stax",), _from("fdl.nn.initializers", "glorot=glorot_normal glorot_normal normal randn=normal")
    ),
    "jax.errors": ModuleNames(names=_ERRORS),
    "jax.experimental": ModuleNames(
        names=_from("fdl.as_jax.config", "enable_x64 disable_x64")
        | _from("fdl.lax", "io_callback")
        | _from("fdl.as_jax.hijax", "MutableArray=Ref")
    ),
    "jax.experimental.hijax": ModuleNames(
        names=_from("fdl.as_jax.hijax", _HIJAX)
        | _from("fdl.as_jax.primitive", "Zero instantiate_zeros is_undefined_primal")
    ),
    "jax.experimental.checkify": ModuleNames(("fdl.experimental.checkify",)),
    "jax.experimental.jet": ModuleNames(("fdl.experimental.jet",)),
    "jax.experimental.ode": ModuleNames(("fdl.experimental.ode",)),
    "jax.experimental.sparse": ModuleNames(("fdl.experimental.sparse",)),
    "jax.experimental.mesh_utils": ModuleNames(names=_from("fdl.as_jax.single", "create_device_mesh")),
    "jax.experimental.pjit": ModuleNames(names=_from("fdl", "pjit=jit")),
    "jax.experimental.shard_map": ModuleNames(names=_from("fdl.as_jax.single", "shard_map")),
    "jax.experimental.layout": ModuleNames(
        names=_from("fdl.sharding", "Format=SingleDeviceSharding")
        | _from("fdl.as_jax.single", "Layout with_layout_constraint")
    ),
    "jax.experimental.shard_alike": ModuleNames(names=_from("fdl.as_jax.single", "shard_alike")),
    "jax.experimental.multihost_utils": ModuleNames(
        names=_from("fdl.as_jax.single", _MULTIHOST) | _from("fdl.sharding", "P=PartitionSpec")
    ),
    "jax.export": ModuleNames(("fdl.as_jax.export",), _from("fdl.as_jax.export", "Exported=ExportedCall")),
    "jax.extend": ModuleNames(),
    "jax.extend.backend": ModuleNames(
        names=_from("fdl.as_jax.compiler", "get_backend") | _from("fdl.api.jit", "clear_backends=clear_caches")
    ),
    "jax.extend.core": ModuleNames(names=_CORE_NAMES),
    "jax.extend.core.primitives": ModuleNames(names=_from("fdl.as_jax.operations", _PRIMITIVES)),
    "jax.extend.linear_util": ModuleNames(names=_from("fdl.as_jax.linear_util", _LINEAR_UTIL)),
    "jax.extend.source_info_util": ModuleNames(names=_from("fdl.as_jax.tracebacks", "register_exclusion")),
    "jax.interpreters": ModuleNames(),
    "jax.interpreters.ad": ModuleNames(names=_INTERPRETERS_AD),
    "jax.interpreters.batching": ModuleNames(names=_from("fdl.as_jax.primitive", _BATCHING)),
    "jax.interpreters.mlir": ModuleNames(names=_from("fdl.as_jax.primitive", _MLIR)),
    "jax.interpreters.xla": ModuleNames(
        names=_from("fdl.as_jax.registries", "canonicalize_dtype_handlers pytype_aval_mappings")
    ),
    "jax.interpreters.partial_eval": ModuleNames(names=_from("fdl.as_jax.partial_eval", _PARTIAL_EVAL)),
    "jax.lib": ModuleNames(names=_from("fdl.as_jax.version", "__version__")),
    "jax.monitoring": ModuleNames(("fdl.as_jax.monitoring",)),
    "jax.profiler": ModuleNames(("fdl.as_jax.profiler",)),
    "jax.sharding": ModuleNames(
        names=_from("fdl.sharding", f"{_SHARDING} get_abstract_mesh get_mesh reshard use_mesh")
        | _from("fdl.sharding", "set_mesh=use_mesh use_abstract_mesh=use_mesh")
        | _from("fdl.as_jax.placement", "make_single_device_sharding")
        | _from("fdl.as_jax.placed", "auto_axes explicit_axes=auto_axes")
    ),
    "jax.stages": ModuleNames(
        names=_from("fdl.api.jit", "Lowered Traced=TracedCall Wrapped=Jitted Compiled=CompiledFunction")
        | _from("fdl", "ArgInfo=ShapeDtypeStruct")
        | {"CompilerOptions": "builtins:dict"}
    ),
    "jax.test_util": ModuleNames(names=_from("fdl.test_util", "check_grads check_jvp check_vjp")),
    "jax.typing": ModuleNames(("fdl.typing",)),
    "jax.util": ModuleNames(names=_from("fdl.as_jax.util", "safe_map safe_zip unzip2")),
    "jax.version": ModuleNames(names=_from("fdl.as_jax.version", "__version__ __version_info__")),
    # Private names that Flax, Haiku, Chex and Equinox import.
    "jax._src": ModuleNames(),
    "jax._src.checkify": ModuleNames(("fdl.experimental.checkify",)),
    "jax._src.compiler": ModuleNames(names=_from("fdl.as_jax.compiler", "backend_compile")),
    "jax._src.xla_bridge": ModuleNames(names=_from("fdl.as_jax.compiler", "_backends get_backend")),
    "jax._src.core": ModuleNames(names=_CORE_NAMES),
    "jax._src.ad_util": ModuleNames(names=_from("fdl.as_jax.operations", "stop_gradient_p")),
    "jax._src.flatten_util": ModuleNames(("fdl.flatten_util",)),
    "jax._src.dispatch": ModuleNames(names=_from("fdl.as_jax.single", "wait_for_tokens")),
    "jax._src.dtypes": ModuleNames(
        names=_DTYPES
        | _from("fdl.as_jax.dtypes", "ExtendedDType to_complex_dtype")
        | {"DType": "numpy:dtype"}
        | _from("fdl.errors", "TypePromotionError=DtypeError")
    ),
    "jax._src.state": ModuleNames(),
    "jax._src.state.types": ModuleNames(names=_from("fdl.as_jax.hijax", "AbstractRef")),
    "jax._src.tree_util": ModuleNames(("fdl.tree_util",), _from("fdl.as_jax.registries", "_registry")),
    "jax._src.interpreters": ModuleNames(),
    "jax._src.interpreters.ad": ModuleNames(names=_INTERPRETERS_AD),
    "jax._src.public_test_util": ModuleNames(
        names=_from("fdl.as_jax.testing", "check_close") | _from("fdl.test_util", "check_grads check_jvp check_vjp")
    ),
    "jax._src.traceback_util": ModuleNames(
        names=_from("fdl.as_jax.tracebacks", "_exclude_paths api_boundary include_frame register_exclusion")
    ),
    "jaxlib": ModuleNames(names=_from("fdl.as_jax.version", "__version__")),
    "jaxlib.version": ModuleNames(names=_from("fdl.as_jax.version", "__version__")),
}
