"""jit: what it traces, caches, donates, returns and pickles."""

import gc
import pickle
import weakref
from collections import namedtuple
from functools import partial

import cloudpickle
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from fdl.compile import pipeline
from fdl.compile.runtime.cache import ObjectCache
from fdl.errors import DonationError
from tests.api.check import assert_close, assert_same

Point = namedtuple("Point", "x y")


def counted(function):
    """The function, and the list that grows whenever its Python code runs."""
    calls = []

    def wrapped(*args, **kwargs):
        calls.append(None)
        return function(*args, **kwargs)

    return wrapped, calls


def test_values_and_types_are_those_of_the_function(rng):
    def f(x, y):
        return {"sum": x + y, "matrix": x @ y.T, "count": fnp.arange(3), "flag": fnp.any(x > 0)}

    x, y = fnp.asarray(rng.normal(size=(2, 3))), fnp.asarray(rng.normal(size=(2, 3)))
    found, expected = fdl.jit(f)(x, y), f(x, y)
    assert_close(found, expected, 1e-12)
    assert [v.dtype for v in tree.leaves(found)] == [v.dtype for v in tree.leaves(expected)]


def test_pytrees_in_and_out(rng):
    x = rng.normal(size=3)
    tree_in = {"a": [x, None, (2.0, 3)], "p": Point(x, np.float32(1.0)), "empty": {}}
    found = fdl.jit(lambda t: {"again": t, "none": None, "list": [t["p"].x * 2, ()]})(tree_in)
    assert isinstance(found["again"]["p"], Point)
    assert found["again"]["empty"] == {} and found["none"] is None and found["list"][1] == ()
    assert_close(found["again"]["a"], [x, None, (2.0, 3)])
    assert_close(found["list"][0], 2 * x)


def test_traced_once_for_each_type_and_structure(rng):
    f, calls = counted(lambda x: tree.map(lambda v: v + 1, x))
    jitted = fdl.jit(f)
    jitted(np.zeros(3)), jitted(np.ones(3)), jitted(fnp.ones(3, dtype=fnp.float64))
    assert len(calls) == 1
    for other in (np.zeros(4), np.zeros(3, np.float32), np.zeros((3, 1)), [np.zeros(3)], {"a": np.zeros(3)}, 1.0, 1):
        before = len(calls)
        jitted(other), jitted(other)
        assert len(calls) == before + 1
    jitted(2.0), jitted(7)
    assert len(calls) == 8


def test_a_python_number_and_an_array_of_its_dtype_are_different_types():
    f, calls = counted(lambda x, y: x * y)
    jitted = fdl.jit(f)
    x = fnp.ones(2, dtype=fnp.bfloat16)
    assert jitted(x, 2.0).dtype == fnp.bfloat16
    assert jitted(x, fnp.float32(2.0)).dtype == np.float32
    assert len(calls) == 2


@pytest.mark.parametrize("number", [2, 2.5, 1j])
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint32", "int64", "bfloat16", "float16", "float64", "complex64"])
def test_python_numbers_promote_as_in_eager_mode(dtype, number):
    x = fnp.ones(2, dtype=dtype)

    def f(a, b):
        return a * b, b + a, (b * b) * a, (3 * b + 1) * a, fnp.where(True, a, b)

    assert_same(fdl.jit(f)(x, number), f(x, number))


def test_python_numbers_stay_weak_through_transforms():
    x = fnp.ones(2, dtype=fnp.bfloat16)

    def f(x, y):
        return x * y

    assert fdl.vmap(f, in_axes=(0, None))(x, 2.0).dtype == fnp.bfloat16
    assert fdl.jit(fdl.jit(f))(x, 2.0).dtype == fnp.bfloat16
    assert fdl.jit(fdl.checkpoint(f))(x, 2.0).dtype == fnp.bfloat16
    assert fdl.jvp(lambda x: f(x, 2.0), (x,), (x,))[1].dtype == fnp.bfloat16
    assert fdl.jvp(f, (x, 2.0), (x, 1.0))[0].dtype == fnp.bfloat16
    rule = fdl.custom_jvp(f)
    rule.defjvp(lambda primals, tangents: (f(*primals), f(tangents[0], primals[1])))
    assert fdl.jit(rule)(x, 2.0).dtype == fnp.bfloat16
    assert fdl.eval_shape(f, x, 2.0).dtype == fnp.bfloat16
    assert fdl.grad(lambda y: fnp.sum(f(x, 0.5 * y * y)).astype("float32"))(2.0).dtype == np.float32
    assert fdl.jit(lambda y: f(x, 0.5 * y * y))(2.0).dtype == fnp.bfloat16
    assert fdl.vmap(lambda x, y: f(x, 0.5 * y * y), in_axes=(0, None))(x, 2.0).dtype == fnp.bfloat16


def test_results_are_never_weak():
    x = fnp.ones(2, dtype=fnp.bfloat16)
    results = [
        fdl.jit(lambda y: y)(2.0),
        fdl.vmap(lambda x, y: y, in_axes=(0, None), out_axes=None)(x, 2.0),
        fdl.jvp(lambda y: y, (2.0,), (1.0,))[0],
        fdl.value_and_grad(lambda y: y)(2.0)[0],
        fdl.grad(lambda y: (y, y), has_aux=True)(2.0)[1],
        fdl.vjp(lambda y: y * y, 2.0)[0],
    ]
    assert [(y * x).dtype for y in results] == [np.float32] * len(results)


def test_static_argnums(rng):
    f, calls = counted(lambda x, n, name: fnp.concatenate([x] * n) if name == "repeat" else x)
    jitted = fdl.jit(f, static_argnums=(1, 2))
    x = rng.normal(size=2)
    assert_close(jitted(x, 3, "repeat"), np.concatenate([x] * 3))
    assert_close(jitted(x, 2, "repeat"), np.concatenate([x] * 2))
    assert_close(jitted(x, 2, "other"), x)
    jitted(x + 1, 2, "repeat")
    assert len(calls) == 3
    assert_close(fdl.jit(lambda n, x: x**n, static_argnums=0)(3, x), x**3)
    assert_close(fdl.jit(lambda x, n: x**n, static_argnums=-1)(x, 3), x**3)


def test_static_arguments_of_equal_value_and_other_type_are_not_mixed_up():
    jitted = fdl.jit(lambda n: fnp.asarray(1) * n, static_argnums=0)
    assert jitted(1).dtype == np.int32
    assert jitted(1.0).dtype == np.float32
    assert jitted(True).dtype == np.int32


def test_static_argnames(rng):
    x = rng.normal(size=(2, 3))

    @partial(fdl.jit, static_argnames=("axis", "keepdims"))
    def total(x, axis=None, *, keepdims=False):
        assert isinstance(keepdims, bool)
        return fnp.sum(x, axis=axis, keepdims=keepdims)

    assert_close(total(x), x.sum())
    assert_close(total(x, 1), x.sum(1))
    assert_close(total(x, axis=0, keepdims=True), x.sum(0, keepdims=True))
    by_number = fdl.jit(lambda x, axis: fnp.sum(x, axis=axis), static_argnums=1)
    assert_close(by_number(x, axis=1), x.sum(1))


def test_keyword_arguments(rng):
    f, calls = counted(lambda x, *, scale, shift=0.0: x * scale + shift)
    jitted = fdl.jit(f)
    x = rng.normal(size=3)
    assert_close(jitted(x, scale=2.0), 2 * x)
    assert_close(jitted(x, shift=1.0, scale=2.0), 2 * x + 1)
    assert_close(jitted(x, scale=3.0, shift=2.0), 3 * x + 2)
    assert len(calls) == 2


def test_methods(rng):
    class Model:
        def __init__(self, scale):
            self.scale = scale

        @fdl.jit
        def plain(self, x):
            return self * x if isinstance(self, fdl.Array) else x

        @partial(fdl.jit, static_argnums=0)
        def apply(self, x, power=1):
            return self.scale * x**power

    x = rng.normal(size=3)
    first, second = Model(2.0), Model(3.0)
    assert_close(first.apply(x), 2 * x)
    assert_close(second.apply(x, power=2), 3 * x**2)
    assert_close(fdl.jit(Model(4.0).apply)(x), 4 * x)
    bound = fdl.jit(second.apply)
    assert_close(bound(x), 3 * x)


def test_as_decorator_with_and_without_options():
    @fdl.jit
    def f(x):
        """Doubled."""
        return 2 * x

    @fdl.jit(static_argnums=1)
    def g(x, n):
        return n * x

    assert float(f(2.0)) == 4.0 and float(g(2.0, 3)) == 6.0
    assert (f.__name__, f.__doc__) == ("f", "Doubled.")


def test_nested_jit_is_traced_once_for_each_type(rng):
    inner, calls = counted(fnp.sin)
    inner = fdl.jit(inner)
    x = rng.normal(size=3)
    found = fdl.jit(lambda x: inner(inner(x)) + inner(x[:2]).sum())(x)
    assert_close(found, np.sin(np.sin(x)) + np.sin(x[:2]).sum())
    assert len(calls) == 2


def test_functions_that_close_over_tracers_are_not_cached_with_them(rng):
    x, y = rng.normal(size=(2, 3))

    def outer(a):
        return fdl.jit(lambda b: a * b)(y)

    assert_close(fdl.jit(outer)(x), x * y)
    assert_close(fdl.jit(outer)(2 * x), 2 * x * y)
    assert_close(fdl.grad(lambda a: outer(a).sum())(x), y)
    assert_close(fdl.vmap(outer)(x), np.outer(x, y))
    assert_close(outer(x), x * y)


def test_one_function_under_different_transforms(rng):
    f = fdl.jit(lambda x: fnp.sum(x**3))
    x = rng.normal(size=(2, 3))
    for _ in range(2):
        assert_close(f(x[0]), (x[0] ** 3).sum())
        assert_close(fdl.grad(f)(x[0]), 3 * x[0] ** 2)
        assert_close(fdl.vmap(f)(x), (x**3).sum(1))
        assert_close(fdl.vmap(fdl.grad(f))(x), 3 * x**2)
        assert_close(fdl.hessian(f)(x[0]), np.diag(6 * x[0]))


def test_jit_of_transforms_is_cached_by_the_jitted_object(rng):
    f, calls = counted(lambda x: fnp.sum(x**2))
    step = fdl.jit(fdl.value_and_grad(f))
    x = rng.normal(size=3)
    for _ in range(3):
        assert_close(step(x), (np.sum(x**2), 2 * x))
    assert len(calls) == 1


def test_input_returned_as_it_is_and_twice(rng):
    x = fnp.asarray(rng.normal(size=3))
    a, b, c = fdl.jit(lambda x: (x, x, x + 0))(x)
    assert_same((a, b, c), (x, x, x))


def test_results_do_not_share_memory_with_numpy_arguments(rng):
    x = rng.normal(size=3)
    kept = x.copy()
    out, doubled = fdl.jit(lambda x: (x, 2 * x))(x)
    x[:] = 0
    assert_same((out, doubled), (kept, 2 * kept))


def test_constants_outputs_and_no_arguments():
    a, b = fdl.jit(lambda: (fnp.arange(3), 2.5))()
    assert_same(a, np.arange(3, dtype=np.int32))
    assert float(b) == 2.5
    assert fdl.jit(lambda: None)() is None


def test_large_closed_over_arrays_are_constants(rng):
    table = rng.normal(size=(50, 4))
    f = fdl.jit(lambda i: fnp.asarray(table)[i])
    assert_same(f(np.int32(7)), table[7])
    assert_same(f(np.array([3, 1])), table[[3, 1]])


def test_values_that_are_read_as_they_move_and_returned_as_well(rng):
    def f(x):
        turned, rows = x.T, fnp.broadcast_to(fnp.sum(x, 0), (3, 3))
        product = fnp.sin(x) * rows
        return turned + 1, turned, product, rows, fnp.sort(turned), fnp.cumsum(rows + product)

    x = rng.normal(size=(3, 3))
    assert_close(fdl.jit(f)(x), f(fnp.asarray(x)), 1e-12)


def test_empty_and_scalar_arrays():
    assert_same(fdl.jit(lambda x: x + 1)(np.zeros((0, 3))), np.zeros((0, 3)))
    assert_same(fdl.jit(lambda x: fnp.sum(x))(np.zeros((0, 3))), np.asarray(0.0))
    assert_same(fdl.jit(lambda x: x * 2)(np.asarray(1.5)), np.asarray(3.0))


def test_noncontiguous_and_fortran_arguments(rng):
    x = rng.normal(size=(6, 8))
    f = fdl.jit(lambda a: a * 2 + fnp.sum(a))
    for view in (x[::2, ::-1], x.T, np.asfortranarray(x), x[:, None, 3]):
        assert_close(f(view), 2 * view + view.sum(), 1e-12)


def test_donated_arguments_can_no_longer_be_used(rng):
    x, y = fnp.asarray(rng.normal(size=5)), fnp.asarray(rng.normal(size=5))
    kept = np.array(x)
    out = fdl.jit(lambda x, y: (x + y, y.sum()), donate_argnums=0)(x, y)
    assert_close(out[0], kept + np.asarray(y))
    for use in (
        lambda: x + 1,
        lambda: np.asarray(x),
        lambda: float(x[0]),
        lambda: fdl.jit(fnp.sin)(x),
        lambda: x.sum(),
    ):
        with pytest.raises(DonationError, match="was donated to a jitted call .donate_argnums."):
            use()
    assert x.shape == (5,)
    assert "donated" in repr(x)
    float(y[0])


def test_donation_loop_and_trees(rng):
    @partial(fdl.jit, donate_argnums=(0,))
    def step(state, x):
        return {"w": state["w"] + x, "n": state["n"] + 1}

    start = rng.normal(size=4)
    state = {"w": fnp.asarray(start), "n": fnp.asarray(0)}
    for _ in range(5):
        old, state = state, step(state, np.ones(4))
    assert_close(state, {"w": start + 5, "n": 5})
    with pytest.raises(DonationError):
        old["w"] + 1
    named = fdl.jit(lambda a, b: a + b, donate_argnames="b")
    a, b = fnp.ones(2), fnp.ones(2)
    named(a, b=b)
    a + 1
    with pytest.raises(DonationError):
        b + 1


def test_donated_numpy_arrays_are_left_alone(rng):
    x = rng.normal(size=4)
    kept = x.copy()
    fdl.jit(lambda x: x * 2, donate_argnums=0)(x)
    assert_same(x, kept)


def test_a_donated_array_that_is_also_another_argument_or_a_result(rng):
    x = fnp.asarray(rng.normal(size=4))
    kept = np.array(x)
    same = fdl.jit(lambda x: x, donate_argnums=0)(x)
    assert_same(same, kept)
    x = fnp.asarray(kept)
    assert_close(fdl.jit(lambda a, b: (a * 2, a + b), donate_argnums=0)(x, x), (2 * kept, 2 * kept))
    # A view that shares memory must not change either.
    base = fnp.asarray(kept)
    view = np.asarray(base)
    fdl.jit(lambda a: a * 0, donate_argnums=0)(base)
    assert_same(view, kept)


def test_donation_inside_other_transforms_is_ignored(rng):
    f = fdl.jit(lambda x: fnp.sum(x * x), donate_argnums=0)
    x = fnp.asarray(rng.normal(size=3))
    assert_close(fdl.grad(f)(x), 2 * x)
    assert_close(fdl.vmap(f)(x[None]), fnp.sum(x * x)[None])


@pytest.mark.parametrize("options", [{}, {"static_argnums": 1}, {"donate_argnums": 0}])
def test_pickle(rng, options):
    scale = rng.normal(size=3)
    f = fdl.jit(lambda x, n: n * fnp.sin(x * scale), **options)
    x = rng.normal(size=3)
    expected = f(fnp.asarray(x), 2)
    again = pickle.loads(cloudpickle.dumps(f))
    assert_close(again(fnp.asarray(x), 2), expected)
    assert_close(fdl.grad(lambda x: again(x, 3).sum())(x), 3 * scale * np.cos(x * scale))


@fdl.jit
def module_level(x):
    return x + 1


def test_a_jitted_function_of_a_module_pickles_by_name():
    assert float(pickle.loads(cloudpickle.dumps(module_level))(1.0)) == 2.0


def test_programs_pickle(rng):
    x = rng.normal(size=3)
    program = fdl.make_program(lambda x: lax.scan(lambda c, x: (c * x, fnp.sin(c)), 1.0, x))(x)
    again = pickle.loads(pickle.dumps(program))
    assert again == program and hash(again) == hash(program) and str(again) == str(program)


def test_disable_jit_runs_python_on_values():
    seen = []

    @fdl.jit
    def f(x):
        seen.append(float(x) if isinstance(x, fdl.Array) else x)
        return lax.cond(x > 0, lambda x: x, lambda x: -x, x)

    with fdl.disable_jit():
        assert float(f(fnp.asarray(-2.0))) == 2.0
        assert float(f(fnp.asarray(3.0))) == 3.0
        with fdl.disable_jit(False):
            pass
    assert seen == [-2.0, 3.0]


def test_disable_jit_runs_loops_in_python(rng):
    x = rng.normal(size=4)

    def f(x):
        total, parts = lax.scan(lambda c, v: (c + v, c * v), 0.0, x)
        count = lax.while_loop(lambda n: n < 5, lambda n: n + 2, 0)
        power = lax.fori_loop(0, 3, lambda i, v: v * 2, 1.0)
        return total, parts, count, power, lax.map(lambda v: v * 2, x), lax.switch(1, [lambda: 1.0, lambda: 2.0])

    with fdl.disable_jit():
        eager = f(fnp.asarray(x))
    assert_close(eager, f(x), 1e-6)


def test_disable_jit_leaves_batched_decisions_to_vmap(rng):
    def f(x):
        y = lax.cond(x > 0, fnp.sin, lambda x: lax.switch((x > -1).astype("int32"), [fnp.cos, fnp.exp], x), x)
        return lax.while_loop(lambda y: y < 2, lambda y: y + 1, y)

    x = rng.normal(size=5)
    with fdl.disable_jit():
        found = fdl.vmap(f)(x)
    assert_close(found, np.stack([np.asarray(f(v)) for v in x]))


def test_disable_jit_leaves_a_condition_that_becomes_a_batch_to_vmap():
    def doubled(n):
        return lax.while_loop(lambda s: (s[0] < 2) | (s[1] < n), lambda s: (s[0] + 1, s[1] + n), (0, 0))

    keys = fdl.random.split(fdl.random.key(0), 5)
    expected = [fdl.random.poisson(k, 3.0) for k in keys]
    with fdl.disable_jit():
        assert np.asarray(fdl.vmap(doubled)(fnp.arange(4))).tolist() == [[2, 2, 2, 2], [0, 2, 4, 6]]
        assert np.asarray(fdl.vmap(lambda k: fdl.random.poisson(k, 3.0))(keys)).tolist() == expected


def test_lower_and_compile(rng):
    f, calls = counted(lambda x, n, *, y: (x @ x.T) * n + y)
    jitted = fdl.jit(f, static_argnums=1)
    lowered = jitted.lower(fdl.ShapeDtypeStruct((2, 3), "float64"), 2, y=1.0)
    assert "dot_general" in lowered.as_text()
    assert lowered.out_info == fdl.ShapeDtypeStruct((2, 2), "float64")
    compiled = lowered.compile()
    x = rng.normal(size=(2, 3))
    assert_close(compiled(x, y=1.0), 2 * x @ x.T + 1, 1e-12)
    assert len(calls) == 1
    with pytest.raises(TypeError, match=r"f64\[2,3\].*f64\[3,3\]"):
        compiled(rng.normal(size=(3, 3)), y=1.0)
    assert jitted.eval_shape(x, 3, y=1.0) == fdl.ShapeDtypeStruct((2, 2), "float64")


def test_clear_caches_traces_again():
    f, calls = counted(lambda x: x + 1)
    jitted = fdl.jit(f)
    jitted(1.0), jitted(1.0)
    jitted.clear_cache()
    jitted(1.0)
    fdl.clear_caches()
    jitted(1.0)
    assert len(calls) == 3


def test_a_failed_trace_leaves_nothing_behind():
    @fdl.jit
    def f(x):
        if x.shape == (2,):
            raise RuntimeError("not this one")
        return x + 1

    with pytest.raises(RuntimeError, match="not this one"):
        f(np.ones(2))
    assert_close(f(np.ones(3)), np.full(3, 2.0))
    assert_close(fnp.ones(2) + 1, np.full(2, 2.0))


def test_the_cache_does_not_keep_the_function_alive():
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)

    def f(x, big=big):
        return x + 1

    jitted = fdl.jit(f)
    jitted(1.0)
    del f, jitted, big
    gc.collect()
    assert gone() is None


def test_side_effects_happen_while_tracing_only(capsys):
    @fdl.jit
    def f(x):
        print("tracing")
        return x

    f(1.0), f(2.0)
    assert capsys.readouterr().out == "tracing\n"


def test_inside_another_thread(rng):
    from concurrent.futures import ThreadPoolExecutor

    f = fdl.jit(fdl.grad(lambda x: fnp.sum(fnp.sin(x) ** 2)))
    xs = rng.normal(size=(8, 16))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(f, xs))
    assert_close(found, list(np.sin(2 * xs)))


def test_random_keys_cross_the_border():
    key = fdl.random.key(3)
    inside = fdl.jit(lambda key: (fdl.random.normal(key, (4,)), fdl.random.split(key)))(key)
    assert_close(inside[0], fdl.random.normal(key, (4,)))
    assert_same(fdl.random.key_data(inside[1]), fdl.random.key_data(fdl.random.split(key)))


def sent(compiled, monkeypatch):
    """What a process gets that has compiled nothing, has no cache on disk and cannot compile."""
    content = cloudpickle.dumps(compiled)
    pipeline._compile.cache_clear()
    monkeypatch.setattr(pipeline, "default_cache", lambda: ObjectCache(None))
    monkeypatch.setattr(pipeline, "build_archive", None)
    return pickle.loads(content)


def test_compiled_functions_travel_with_their_machine_code(rng, monkeypatch):
    table = rng.normal(size=3)
    f = fdl.jit(lambda tree, n, *, y: {"same": tree["x"], "new": fnp.sin(tree["x"] * table) * n + y}, static_argnums=1)
    x = rng.normal(size=(2, 3))
    expected = f({"x": x}, 3, y=1.5)
    again = sent(f.lower({"x": fdl.ShapeDtypeStruct((2, 3), "float64")}, 3, y=1.5).compile(), monkeypatch)
    found = again({"x": x}, y=1.5)
    assert {name: np.asarray(leaf).tolist() for name, leaf in found.items()} == {
        name: np.asarray(leaf).tolist() for name, leaf in expected.items()
    }
    with pytest.raises(TypeError, match=r"compiled for \(f64\[2,3\]"):
        again({"x": x[:1]}, y=1.5)


def test_machine_code_of_another_processor_is_made_anew(rng, monkeypatch):
    x = rng.normal(size=5)
    compiled = fdl.jit(lambda x: fnp.cos(x) * 0.8125).lower(x).compile()
    content = cloudpickle.dumps(compiled)
    made, build = [], pipeline.build_archive
    monkeypatch.setattr(pipeline, "build_archive", lambda *args: made.append(1) or build(*args))
    monkeypatch.setattr(pipeline, "default_cache", lambda: ObjectCache(None))
    monkeypatch.setattr(pipeline, "content_key", lambda key, target: f"of another processor: {key}")
    pipeline._compile.cache_clear()
    assert_close(pickle.loads(content)(x), np.cos(x) * 0.8125)
    assert made == [1] and not pipeline._arrived


def test_adopted_functions_are_neither_traced_nor_compiled(rng, monkeypatch):
    @fdl.custom_jvp
    def third(x):
        return x * 3

    third.defjvp(lambda primals, tangents: (third(*primals), tangents[0] * 100))
    f, calls = counted(lambda x, n: {"y": third(fnp.tanh(x)) * n})
    x = fnp.asarray(rng.normal(size=4), "float32")
    compiled = sent(fdl.jit(f).lower(fdl.ShapeDtypeStruct((4,), "float32"), 2).compile(), monkeypatch)
    jitted = fdl.jit(lambda x, n: f(x, n))  # as in a process that has traced nothing
    jitted.adopt(compiled)
    del calls[:]
    for _ in range(3):  # the second call makes the third one fast
        assert_close(jitted(x, 2)["y"], 6 * np.tanh(x), 1e-6)
    assert not calls
    monkeypatch.undo()
    assert_close(jitted(x, 2.0)["y"], 6 * np.tanh(x), 1e-6)
    assert len(calls) == 1
    slope = fdl.grad(lambda x: jitted(x, 2)["y"].sum())(x)  # by the rule, which only the function knows
    assert_close(slope, 200 * (1 - np.tanh(x) ** 2), 1e-5)
    assert len(calls) == 2
    jitted.clear_cache()
    jitted(x, 2)
    assert len(calls) == 3


def test_what_closes_over_a_transform_does_not_pickle():
    def f(x):
        compiled = fdl.jit(lambda y: x * y).lower(1.0).compile()
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(compiled)
        return x

    fdl.grad(f)(2.0)


def test_a_function_can_be_traced_before_it_is_lowered():
    traced = fdl.jit(lambda x, n: fnp.exp(x).sum() * n, static_argnums=1).trace(fnp.ones((2, 3)), 2)
    assert traced.out_info == fdl.ShapeDtypeStruct((), "float32") and "exp" in str(traced.program)
    assert_close(traced.lower().compile()(fnp.zeros((2, 3))), 12.0)
    assert traced.fun_name == "<lambda>" and repr(traced).startswith("<traced <lambda>")
