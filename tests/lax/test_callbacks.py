"""pure_callback, debug.callback and debug.print, under every transform."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import DifferentiationError
from tests.api.check import assert_close


def norm(x):
    """A NumPy function called back; it must be given NumPy arrays."""
    assert type(x) is np.ndarray
    return np.linalg.norm(x, axis=-1)


def call(x, **options):
    return fdl.pure_callback(norm, fdl.ShapeDtypeStruct(x.shape[:-1], x.dtype), x, **options)


def test_pure_callback(rng):
    x = rng.normal(size=(4, 3))
    expected = np.linalg.norm(x, axis=-1)
    assert_close(call(fnp.asarray(x)), expected)
    assert_close(fdl.jit(call)(x), expected)
    assert_close(fdl.vmap(call)(x), expected)
    assert_close(fdl.jit(fdl.vmap(lambda v: call(v) * 2))(x), 2 * expected)
    assert_close(lax.map(call, x), expected)
    for method in ("sequential", "expand_dims", "broadcast_all"):
        assert_close(fdl.vmap(lambda v, m=method: call(v, vmap_method=m))(x), expected)


def test_pure_callback_with_pytrees_and_keywords(rng):
    x, y = rng.normal(size=(2, 3))

    def f(pair, *, scale):
        return {"sum": pair[0] + scale * pair[1], "count": np.int32(3)}

    shapes = {"sum": fdl.ShapeDtypeStruct((3,), "float64"), "count": fdl.ShapeDtypeStruct((), "int32")}
    found = fdl.jit(lambda x, y: fdl.pure_callback(f, shapes, (x, y), scale=2.0))(x, y)
    assert_close(found, {"sum": x + 2 * y, "count": 3})


def test_pure_callback_has_no_derivative():
    with pytest.raises(DifferentiationError, match="pure_callback has no derivative.*custom_jvp"):
        fdl.grad(lambda x: call(x))(np.ones(3))
    found = fdl.grad(lambda x: x.sum() * call(lax.stop_gradient(x)))(np.ones(3))
    assert_close(found, np.full(3, np.sqrt(3)))


def test_a_callback_that_returns_something_else_is_an_error():
    wrong = lambda x: fdl.pure_callback(lambda v: np.zeros(4), fdl.ShapeDtypeStruct((3,), "float32"), x)  # noqa: E731
    for f in (wrong, fdl.jit(wrong)):
        with pytest.raises(ValueError, match=r"returned float64\[4\].*declared to be f32\[3\]"):
            f(np.ones(3))
    tree = lambda x: fdl.pure_callback(lambda v: (v, v), fdl.ShapeDtypeStruct((3,), "float64"), x)  # noqa: E731
    with pytest.raises(TypeError, match="the callback returned"):
        tree(np.ones(3))


def test_errors_of_a_callback_reach_the_caller():
    def fail(x):
        raise KeyError("not here")

    f = fdl.jit(lambda x: fdl.pure_callback(fail, fdl.ShapeDtypeStruct((), "float32"), x))
    for _ in range(2):
        with pytest.raises(KeyError, match="not here"):
            f(1.0)


@pytest.fixture
def seen():
    return []


@pytest.fixture
def watch(seen):
    def f(x):
        fdl.debug.callback(lambda v: seen.append(np.asarray(v).tolist()), x)
        return x * x

    return f


def test_debug_callback_under_transforms(seen, watch):
    x = np.array([1.0, 2.0])
    for f, expected in [
        (watch, [[1.0, 2.0]]),
        (fdl.jit(watch), [[1.0, 2.0]]),
        (fdl.vmap(watch), [1.0, 2.0]),
        (fdl.jit(fdl.vmap(watch)), [1.0, 2.0]),
        (fdl.grad(lambda x: watch(x).sum()), [[1.0, 2.0]]),
        (fdl.jit(fdl.grad(lambda x: watch(x).sum())), [[1.0, 2.0]]),
        (fdl.vmap(fdl.grad(watch)), [1.0, 2.0]),
        (fdl.grad(lambda x: fdl.vmap(watch)(x).sum()), [1.0, 2.0]),
        (fdl.grad(fdl.jit(lambda x: watch(x).sum())), [[1.0, 2.0]]),
        (lambda x: lax.map(watch, x), [1.0, 2.0]),
        (lambda x: lax.scan(lambda c, v: (c, watch(v)), 0, x, reverse=True), [2.0, 1.0]),
        (fdl.jit(fdl.grad(lambda x: lax.scan(lambda c, v: (c + watch(v), None), 0.0, x)[0])), [1.0, 2.0]),
        (lambda x: lax.cond(True, watch, lambda x: x, x), [[1.0, 2.0]]),
        (lambda x: lax.fori_loop(0, 2, lambda i, c: watch(c), x), [[1.0, 2.0], [1.0, 4.0]]),
        (lambda x: lax.while_loop(lambda c: c[1] < 10, watch, x), [[1.0, 2.0], [1.0, 4.0]]),
        (lambda x: fdl.jvp(watch, (x,), (x,)), [[1.0, 2.0]]),
    ]:
        seen.clear()
        f(x)
        assert seen == expected


def test_a_result_that_nobody_uses_does_not_silence_the_callback(seen):
    @fdl.jit
    def f(x):
        fdl.debug.callback(lambda v: seen.append(float(v)), x * 2)
        return 1.0

    f(3.0)
    f(4.0)
    assert seen == [6.0, 8.0]


def test_effects_keep_the_order_of_the_program(seen):
    @fdl.jit
    def f(x):
        for n in range(4):
            fdl.debug.callback(lambda v, n=n: seen.append(n), x + n)
        return x

    f(1.0)
    assert seen == [0, 1, 2, 3]


def test_debug_print(capsys):
    @fdl.jit
    def f(x, y):
        fdl.debug.print("x is {} and y is {y}", x, y=y["b"])
        fdl.debug.print("{{braces}} {:.2f}", x)
        return x

    f(1.5, {"b": np.array([1, 2])})
    assert capsys.readouterr().out == "x is 1.5 and y is [1 2]\n{braces} 1.50\n"
    fdl.vmap(lambda v: fdl.debug.print("{}", v))(np.arange(3))
    assert capsys.readouterr().out == "0\n1\n2\n"


def test_debug_print_of_a_missing_argument_names_it():
    with pytest.raises((IndexError, KeyError)):
        fdl.debug.print("{} {}", 1.0)


def test_numbers_from_callbacks_take_the_declared_dtype_and_arrays_keep_theirs():
    def call(value, dtype):
        return fdl.jit(lambda x: fdl.pure_callback(lambda _: value, fdl.ShapeDtypeStruct((), dtype), x))(1.0)

    for value, dtype in ((2.5, "float32"), (np.sqrt(4.0), "bfloat16"), (3, "int8"), (3, "float32"), (True, "bool")):
        found = call(value, dtype)
        assert found.dtype == dtype and found == value
    for value, dtype in ((2.5, "int32"), (1j, "float32"), (np.float16(1), "float32"), (np.float32([1])[0], "float64")):
        with pytest.raises(ValueError, match="declared to be"):
            call(value, dtype)
