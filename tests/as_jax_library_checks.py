"""More checks under the name of JAX, run by tests/as_jax_checks.py: what solvers ask of arrays and tracers."""

import copy
import io
import pickle

import jax
import jax.numpy as jnp
import numpy as np
from jax.example_libraries import optimizers, stax
from jax.experimental import checkify
from jax.extend.core import Primitive
from jax.interpreters import ad, batching


def raised(function, *args):
    """The exception that a call raises."""
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def check_weak_arrays_are_of_one_class_with_others():
    weak, strong = jnp.array(2.0), jnp.ones(2)
    assert weak.weak_type and not strong.weak_type
    assert type(weak) == type(strong)  # noqa: E721
    assert type(weak) != np.ndarray and type(strong) != object  # noqa: E721
    # Weakness is still told apart where it counts.
    assert (jnp.ones((), "bfloat16") * weak).dtype == jnp.bfloat16
    assert (jnp.ones((), "bfloat16") * jnp.float32(2)).dtype == jnp.float32


def check_weak_values_that_are_differentiated_are_jvp_tracers():
    seen = []

    def f(x, y):
        seen.append([isinstance(x, ad.JVPTracer), isinstance(x + y, ad.JVPTracer), isinstance(2.0, ad.JVPTracer)])
        return x * y

    jax.jvp(f, (1.0, jnp.array(2.0)), (1.0, 1.0))
    jax.jit(f)(1.0, 2.0)
    assert seen == [[True, True, False], [False, False, False]]


def check_errors_of_callbacks_have_the_class_and_trace_back_of_jax():
    class Odd(Exception):
        pass

    def fails(x):
        raise Odd("of the callback")

    def call(x):
        return jax.pure_callback(fails, jax.ShapeDtypeStruct((), "float32"), x)

    for f in (call, jax.jit(call), jax.jit(lambda x: jax.lax.cond(x > 0, call, lambda x: x, x))):
        error = raised(f, jnp.float32(1))
        assert type(error) is jax.errors.JaxRuntimeError and "Odd: of the callback" in str(error)
    effect = jax.jit(lambda x: jax.debug.callback(fails, x))
    assert isinstance(raised(effect, 1.0), jax.errors.JaxRuntimeError)


def check_callbacks_return_leaves_in_any_structure_and_64_bits_as_32():
    one = jax.ShapeDtypeStruct((), "float32")
    found = jax.jit(lambda x: jax.pure_callback(lambda x: (np.array(2.0), x), [one, one], x))(3.0)
    assert [type(found), *map(float, found)] == [list, 2.0, 3.0]
    assert "returned structure" in str(raised(jax.pure_callback, lambda x: (x, x), one, 3.0))
    assert jax.ShapeDtypeStruct.like(2.0) == jax.ShapeDtypeStruct((), "float32", weak_type=True)


def check_traced_calls_have_jaxprs_and_pmap_takes_results_that_are_not_mapped():
    traced = jax.jit(lambda x, n: x * n, static_argnums=1).trace(jnp.ones(3), 2)
    assert isinstance(traced, jax.stages.Traced) and [a.str_short() for a in traced.jaxpr.in_avals] == ["float32[3]"]
    assert traced.lower().compile()(jnp.ones(3)).tolist() == [2, 2, 2]
    assert jax.jit(lambda x: x + 1).trace(2.0).jaxpr.out_avals[0].weak_type
    a, b = jax.pmap(lambda x: (x, {"s": jax.lax.psum(x, "i")}), "i", out_axes=(0, None))(jnp.ones((1, 2)))
    assert a.shape == (1, 2) and b["s"].shape == (2,)


def check_keys_of_wide_seeds_hold_their_low_words():
    assert jax.random.key_data(jax.random.key(-(2**33) + 5)).tolist() == [0, 5]


def check_primitives_of_elements_need_no_rules_of_batching():
    double, scale = Primitive("double"), Primitive("scale")
    for primitive, impl in ((double, lambda x: 2 * x), (scale, lambda x, y: x * y)):
        primitive.def_impl(impl)
        primitive.def_abstract_eval(lambda *avals: max(avals, key=lambda a: len(a.shape)))
    batching.defvectorized(double)
    batching.defbroadcasting(scale)
    x, y = np.arange(6.0, dtype="float32").reshape(2, 3), np.array([2, 3], "float32")
    assert np.array_equal(jax.vmap(double.bind, in_axes=1, out_axes=1)(x), 2 * x)
    assert np.array_equal(jax.vmap(scale.bind)(x, y), x * y[:, None])
    assert np.array_equal(jax.vmap(scale.bind, (0, None))(x, np.ones(3, "float32")), x)
    assert np.array_equal(jax.vmap(scale.bind, (1, None))(x, np.ones((), "float32")), x.T)


def check_checkify_keeps_numbers_of_python():
    checked = checkify.checkify(lambda x, flag, name: x if flag and name == "a" else -x)
    for flag, expected in ((True, 2.0), (False, -2.0)):
        assert checked(jnp.float32(2), flag, "a")[1] == expected
        assert jax.jit(lambda x, flag=flag: checked(x, flag, "a")[1])(2.0) == expected


def check_small_optimizers_and_layers_have_their_helpers():
    state = optimizers.momentum(0.1, mass=0.9)[0]([{"w": np.ones((1, 2)), "b": np.ones(2)}])
    marked = optimizers.unpack_optimizer_state(state)
    assert isinstance(marked[0]["w"], optimizers.JoinPoint)
    again = optimizers.pack_optimizer_state(marked)
    assert again.tree_def == state.tree_def and again.subtree_defs == state.subtree_defs
    assert stax.randn(0.1)(jax.random.key(0), (2, 3)).shape == stax.glorot()(jax.random.key(0), (2, 3)).shape


def check_arrays_of_lists_are_not_weak():
    for data in ([1.0], [[1], [2]], [1.0, 2]):
        eager, compiled = jnp.array(data), jax.jit(jnp.array)(data)
        assert not eager.weak_type and not compiled.weak_type and eager.dtype == compiled.dtype


def check_specs_are_equal_however_written_and_local_data_may_be_trees():
    spec = jax.sharding.PartitionSpec
    assert spec((), ("x",), ["y", "z"]) == spec(None, "x", ("y", "z"))
    data = {"a": np.ones((2, 3), "float32"), "b": np.zeros(4, "int32")}
    shapes = {"a": (2, 3), "b": (4,)}
    for found in (jax.make_array_from_process_local_data(None, data, *more) for more in ((), (shapes,))):
        assert found["a"].shape == (2, 3) and found["b"].dtype == "int32"


def check_deleted_arrays_cannot_be_used():
    x = jnp.ones(3)
    x.delete()
    assert x.is_deleted() and isinstance(raised(lambda: x + 1), RuntimeError)


def check_buffers_have_addresses():
    x = jnp.arange(3.0)
    assert x.unsafe_buffer_pointer() == np.asarray(x).ctypes.data


def check_jaxprs_keep_weakness():
    closed, shapes = jax.make_jaxpr(lambda x, y: (2 * x, x + y, 3), return_shape=True)(1.0, jnp.ones((), "bfloat16"))
    assert [a.weak_type for a in closed.in_avals] == [True, False]
    assert [a.weak_type for a in closed.out_avals] == [s.weak_type for s in shapes] == [True, False, True]
    assert [s.dtype for s in shapes] == [jnp.float32, jnp.bfloat16, jnp.int32]
    half = jnp.ones((), "bfloat16")
    run = jax.jit(lambda x: jax.core.eval_jaxpr(closed.jaxpr, closed.consts, x, half))
    for f in (lambda x: jax.core.eval_jaxpr(closed.jaxpr, closed.consts, x, half), run):
        assert [r.weak_type for r in f(1.5)] == [True, False, True]
        assert not f(jnp.float32(1.5))[0].weak_type
    assert repr(jnp.array(1)) == "Array(1, dtype=int32, weak_type=True)"


def check_batching_rules_get_tuples_of_operands_and_axes():
    p = Primitive("twice_of_a_library")
    p.def_impl(lambda x: 2 * x)
    p.def_abstract_eval(lambda x: x)
    seen = []

    def rule(values, axes):
        seen.append((type(values), axes))
        return p.bind(values[0]), axes[0]

    batching.primitive_batchers[p] = rule
    assert jax.vmap(p.bind)(jnp.arange(3.0)).tolist() == [0, 2, 4]
    assert seen == [(tuple, (0,))]


def check_permutations_have_32_bits_under_strict_promotion():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        a, b = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
        solve = jax.jit(lambda a, b: jax.scipy.linalg.lu_solve(jax.scipy.linalg.lu_factor(a), b))
        np.testing.assert_allclose(solve(a, b), np.linalg.solve(a, b), rtol=1e-14)


def check_results_that_are_weak_integers_have_tangents_without_numbers():
    for f in (lambda x: (x + 1, 3), jax.jit(lambda x: (x + 1, 3))):
        value, tangent = jax.jvp(f, (1.0,), (2.0,))
        assert value[1].weak_type and tangent[1].dtype == jax.dtypes.float0 and tangent[0] == 2


def check_files_of_bfloat16_are_read():
    file = io.BytesIO()
    jnp.save(file, jnp.arange(3.0, dtype="bfloat16"))
    found = jnp.load(io.BytesIO(file.getvalue()))
    assert found.dtype == jnp.bfloat16 and found.tolist() == [0, 1, 2]


def check_symbolic_zeros_pass_through_transforms():
    zero = ad.Zero(jax.typeof(jnp.ones(3)))
    assert jax.tree.leaves(zero) == []
    made, kept = jax.vmap(lambda x: (x, zero))(jnp.arange(2.0))
    assert type(kept) is ad.Zero and kept.aval.shape == (3,) and made.shape == (2,)


def check_polynomials_are_fitted_without_promotion_of_ranks():
    x, y = np.arange(6.0, dtype="float32"), np.float32(3) * np.arange(6.0, dtype="float32") - 1
    with jax.numpy_rank_promotion("raise"):
        np.testing.assert_allclose(jnp.polyfit(x, y, 1), [3, -1], atol=1e-5)
        found, rest = jnp.polyfit(x, np.stack([y, -y], 1), 1, cov="unscaled")
        expected, wanted = np.polyfit(x, np.stack([y, -y], 1), 1, cov="unscaled")
        np.testing.assert_allclose(found, expected, atol=1e-5)
        np.testing.assert_allclose(np.squeeze(rest), np.squeeze(wanted), atol=1e-5)


def check_integers_have_cotangents_of_float0_beside_weak_results():
    @jax.custom_vjp
    def first(x, y):
        return x

    first.defvjp(lambda x, y: (x, None), lambda _, g: (g, None))
    for function in (first, lambda x, y: 2 * x):
        ours, theirs = jax.vjp(function, 0.0, 1)[1](1.0)
        assert ours.weak_type and theirs.dtype == jax.dtypes.float0 and theirs.shape == ()


def check_arrays_of_python_numbers_are_weak():
    """The rules are those of JAX's page on type promotion: weak types stand below all arrays of their kind."""
    weak, half = jnp.asarray(0.9), jnp.ones(2, "bfloat16")
    row = jnp.broadcast_to(weak, (3,))
    assert weak.weak_type and weak.dtype == jnp.float32 and (half * weak).dtype == jnp.bfloat16
    for made in (
        jnp.exp(weak) - 1,
        *map(jnp.ones_like, (weak, 1.0)),
        jnp.full_like(weak, 2),
        jnp.empty_like(row),
        jax.lax.full_like(weak, 1),
        jnp.sort(row),
        jnp.pad(row, 1),
        jnp.tril(row[None]),
        jnp.diag(row),
        jnp.sign(weak),
        weak % 1,
        weak // 1,
        jax.nn.relu(row),
        jax.nn.relu6(row),
        jnp.stack([weak, weak]),
        jnp.insert(row, 0, 1),
        row.at[0].set(1),
        row.at[0].set(jnp.float32(1)),
        row.at[jnp.array([0, 1])].add(2),
        jax.lax.cumsum(row),
        jax.lax.top_k(row, 2)[0],
        jax.vjp(jnp.sin, weak)[1](1.0)[0],
        jax.linearize(jnp.sin, 1.0)[1](1.0),
        jax.jacrev(jnp.sin)(weak),
        jax.hessian(jnp.sin)(1.0),
        jax.checkpoint(lambda x: x * 2)(1.0),
        jnp.where(True, weak, 1),
        jnp.add(1.0, 2),
        jnp.arange(3) * weak,
        jax.jit(lambda x: x * 2)(weak),
        jax.jit(lambda: 1.0)(),
        jax.grad(lambda x: x * x)(weak),
        jax.vmap(lambda x: x + 1)(jnp.broadcast_to(weak, (3,))),
        jax.lax.scan(lambda c, _: (c * 2, c), 1.0, None, 2)[1],
        jax.lax.cond(True, lambda x: x, lambda x: 2 * x, weak),
        jax.lax.while_loop(lambda x: x < 1, lambda x: x + 1, weak),
        copy.deepcopy(weak),
        pickle.loads(pickle.dumps(weak)),
    ):
        assert made.weak_type and made.dtype == jnp.float32
        assert (half * made.ravel()[0]).dtype == jnp.bfloat16
        assert jax.jit(lambda x, y: x * y)(half, made.ravel()[0]).dtype == jnp.bfloat16
    for made in (
        jnp.asarray(0.9, "float32"),
        weak.astype("float32"),
        jnp.array([0.9, 1.0]),
        jnp.asarray(np.float64(0.9)),
        jnp.ones(()) * weak,
        jnp.arange(3.0),
        jnp.argmax(row),
        jnp.sum(row),
        jnp.prod(row),
        jnp.all(row),
        jnp.cumsum(row),
        jnp.ones_like(weak, "float32"),
        jnp.zeros(2).at[0].set(weak),
        jax.vjp(jnp.sin, weak)[1](jnp.float32(1))[0],
        jax.lax.stop_gradient(1.0),
        jnp.square(True),
        jnp.ones(2, bool) ** 2,
    ):
        assert not made.weak_type
    assert (half * np.float64(2)).dtype == jnp.float32 and (half * 2.0).dtype == jnp.bfloat16
    assert (jnp.ones(2, "int8") * np.int64(3)).dtype == jnp.int32
    assert jax.eval_shape(lambda x: x * 2, weak).weak_type and jax.typeof(weak).weak_type
    raised(lambda: jnp.asarray(2**40))
    with jax.enable_x64(True):
        wide = jnp.asarray(0.9)
        chosen = jax.lax.cond(True, lambda v: v, lambda v: 2 * v, wide)
        assert chosen.weak_type and chosen.dtype == jnp.rint(small_int := jnp.ones(2, "int8")).dtype == jnp.float64
        assert (small_int.astype("bfloat16") * chosen).dtype == jnp.bfloat16
    small = jnp.ones(2, "uint8")
    assert small.at[0].set(-1).tolist() == [255, 1] and small.at[0].add(300).tolist() == [45, 1]
    assert half.at[0].power(2.0).dtype == jnp.bfloat16 and round(weak).dtype == jnp.int32
