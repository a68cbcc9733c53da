"""grad, value_and_grad, jvp, vjp, linearize, linear_transpose."""

import inspect
from functools import partial

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from fdl.errors import DifferentiationError
from tests.api.check import assert_close, assert_same, check_derivatives, direction, dot, slope


def energy(params, x):
    hidden = fnp.tanh(x @ params["w"] + params["b"])
    return fnp.mean(hidden**2) + fnp.sum(fnp.sin(params["b"]))


@pytest.fixture
def params(rng):
    return {"w": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}


def test_grad_of_a_pytree_has_its_structure_shapes_and_dtypes(rng, params):
    x = rng.normal(size=(5, 3))
    found = fdl.grad(energy)(params, x)
    assert tree.structure(found) == tree.structure(params)
    assert all(g.shape == p.shape and g.dtype == p.dtype for g, p in zip(found.values(), params.values(), strict=True))
    along = direction(params)
    assert dot(found, along) == pytest.approx(float(slope(lambda p: energy(p, x), (params,), (along,))), abs=1e-9)


def test_all_orders_of_modes(rng, params):
    check_derivatives(energy, params, rng.normal(size=(5, 3)))


@pytest.mark.parametrize("dtype", [np.float16, fdl.dtypes.bfloat16, np.float32, np.float64])
def test_gradients_keep_the_dtype(dtype):
    x = fnp.asarray(np.array([1.0, 2.0]), dtype=dtype)
    found = fdl.grad(lambda x: fnp.sum(x * x * 0.5))(x)
    assert found.dtype == dtype
    assert_close(np.asarray(found, np.float64), np.array([1.0, 2.0]))


def test_a_python_number_is_differentiated_as_the_default_float():
    value, found = fdl.value_and_grad(lambda x: x**3)(2.0)
    assert (float(value), float(found)) == (8.0, 12.0)
    assert found.dtype == np.float32


def test_argnums(rng):
    a, b, c = rng.normal(size=(3, 2))

    def f(a, b, c):
        return fnp.sum(a * b * b + c)

    assert_close(fdl.grad(f, argnums=1)(a, b, c), 2 * a * b)
    assert_close(fdl.grad(f, argnums=-1)(a, b, c), np.ones(2))
    assert_close(fdl.grad(f, argnums=(2, 0))(a, b, c), (np.ones(2), b * b))
    assert_close(fdl.grad(f, argnums=[1])(a, b, c), (2 * a * b,))
    assert_close(fdl.value_and_grad(f, (0, 1))(a, b, c), (np.sum(a * b * b + c), (b * b, 2 * a * b)))


def test_aux_is_passed_through_whatever_it_is(rng):
    x = rng.normal(size=3)

    def f(x):
        return fnp.sum(x**2), {"twice": 2.0 * x, "name": "square", "count": 3}

    found, aux = fdl.grad(f, has_aux=True)(x)
    assert_close(found, 2 * x)
    assert_close(aux["twice"], 2 * x)
    assert (aux["name"], aux["count"]) == ("square", 3)
    (value, aux), found = fdl.value_and_grad(f, has_aux=True)(x)
    assert float(value) == pytest.approx(np.sum(x**2))
    assert not hasattr(aux["twice"], "interpreter")


def test_aux_of_grad_of_grad_is_concrete():
    def f(x):
        return x**3, x

    def slope(x):
        g, aux = fdl.grad(f, has_aux=True)(x)
        return g, aux

    found, aux = fdl.grad(slope, has_aux=True)(2.0)
    assert (float(found), float(aux)) == (12.0, 2.0)


def test_keyword_arguments_are_not_differentiated(rng):
    x, w = rng.normal(size=(2, 3))

    def f(x, *, w, power=2):
        return fnp.sum(w * x**power)

    assert_close(fdl.grad(f)(x, w=w), 2 * w * x)
    assert_close(fdl.grad(f)(x, w=w, power=3), 3 * w * x**2)


def test_python_control_flow_on_concrete_values():
    def f(x):
        total = x
        for n in range(4):
            total = total * x if total > n else total + x
        while total < 10:
            total = 2 * total
        return total

    check_derivatives(f, np.asarray(1.3), order=1)
    check_derivatives(f, np.asarray(2.4), order=1)


def test_integer_leaves_get_float0():
    found = fdl.grad(lambda p: p["x"] * p["n"], allow_int=True)({"x": 2.0, "n": 3})
    assert float(found["x"]) == 3.0
    assert found["n"].dtype == fdl.float0


def test_holomorphic():
    z = np.asarray(0.3 + 0.4j)
    found = fdl.grad(fnp.exp, holomorphic=True)(z)
    assert_close(found, np.exp(z))
    assert_close(fdl.grad(lambda z: z**3, holomorphic=True)(z), 3 * z**2)


def test_real_function_of_complex_arguments():
    # With z = x + iy the gradient of a real f is df/dx - i df/dy: that of |z|^2 is 2 conj(z).
    z = fnp.asarray(np.asarray(0.3 + 0.4j))
    assert_close(fdl.grad(lambda z: fnp.real(z * fnp.conj(z)))(z), 2 * np.conj(0.3 + 0.4j))
    assert_close(fdl.jit(fdl.grad(lambda z: fnp.real(z) * fnp.imag(z)))(z), 0.4 - 0.3j)


def test_real_function_of_complex_intermediates():
    check_derivatives(lambda x: fnp.abs(fnp.exp(1j * x) + x) ** 2, np.asarray(0.7))


def test_unused_and_constant_outputs_have_zero_gradients(rng):
    x = rng.normal(size=3)
    assert_same(fdl.grad(lambda x, y: fnp.sum(y))(x, x), np.zeros(3))
    assert_same(fdl.grad(lambda x: 1.0)(x), np.zeros(3))
    assert_same(fdl.jvp(lambda x: fnp.ones(2), (x,), (x,))[1], np.zeros(2, np.float32))


def test_stop_gradient(rng):
    x = rng.normal(size=3)
    assert_close(fdl.grad(lambda x: fnp.sum(x * lax.stop_gradient(x)))(x), x)
    assert_close(fdl.grad(lambda x: fnp.sum(x * lax.stop_gradient({"a": x})["a"]))(x), x)


def test_closing_over_outer_variables_does_not_confuse_perturbations():
    # d/dx [x * d/dy (x + y)] = 1: the inner derivative must not see x as moving (Siskind and Pearlmutter, 2005).
    assert float(fdl.grad(lambda x: x * fdl.grad(lambda y: x + y)(1.0))(1.0)) == 1.0
    assert float(fdl.jvp(lambda x: x * fdl.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))[1]) == 1.0
    assert float(fdl.grad(lambda x: fdl.grad(lambda y: x * y * y)(x))(3.0)) == 12.0


def test_grad_five_times():
    f = fnp.sin
    for _ in range(5):
        f = fdl.grad(f)
    assert_close(f(np.asarray(0.3)), np.cos(0.3))


def test_jvp_of_a_pytree_is_linear_in_the_tangent(rng, params):
    x = rng.normal(size=(2, 3))
    push = lambda t: fdl.jvp(lambda p: energy(p, x), (params,), (t,))[1]  # noqa: E731
    a, b = direction(params, 1), direction(params, 2)
    both = tree.map(lambda x, y: 2 * x - y, a, b)
    assert_close(push(both), 2 * np.asarray(push(a)) - np.asarray(push(b)))


def test_jvp_with_aux():
    out, tangent, aux = fdl.jvp(lambda x: (x**2, {"x": x}), (3.0,), (1.0,), has_aux=True)
    assert (float(out), float(tangent), float(aux["x"])) == (9.0, 6.0, 3.0)


def test_jvp_of_integers_takes_and_gives_float0():
    zero = np.zeros((), fdl.float0)
    _, tangent = fdl.jvp(lambda x, n: (x * n, n + 1), (2.0, 3), (1.0, zero))
    assert float(tangent[0]) == 3.0
    assert tangent[1].dtype == fdl.float0


def test_vjp_with_many_outputs(rng):
    x, y = rng.normal(size=(2, 4))
    value, pull = fdl.vjp(lambda x, y: {"product": x * y, "sum": fnp.sum(x)}, x, y)
    assert_close(value, {"product": x * y, "sum": x.sum()})
    assert_close(pull({"product": np.ones(4), "sum": np.asarray(2.0)}), (y + 2, x))
    # The pullback can be called again, and is linear.
    assert_close(pull({"product": np.zeros(4), "sum": np.asarray(1.0)}), (np.ones(4), np.zeros(4)))


def test_vjp_with_aux(rng):
    x = rng.normal(size=3)
    _, pull, aux = fdl.vjp(lambda x: (fnp.sum(x**2), fnp.max(x)), x, has_aux=True)
    assert_close(pull(np.asarray(1.0)), (2 * x,))
    assert_close(aux, x.max())


def test_linearize_is_the_jvp_at_a_point_and_evaluates_the_function_once(rng, params):
    x = rng.normal(size=(2, 3))
    calls = []

    def f(p):
        calls.append(None)
        return energy(p, x)

    value, push = fdl.linearize(f, params)
    for seed in range(3):
        along = direction(params, seed)
        assert_close((value, push(along)), fdl.jvp(lambda p: energy(p, x), (params,), (along,)))
    assert len(calls) == 1


def test_linearize_under_jit_and_vmap(rng):
    x, t = rng.normal(size=(2, 3))

    def push(x, t):
        return fdl.linearize(fnp.sin, x)[1](t)

    assert_close(fdl.jit(push)(x, t), np.cos(x) * t)
    assert_close(fdl.vmap(push)(x, t), np.cos(x) * t)
    assert_close(fdl.grad(lambda x: push(x, t).sum())(x), -np.sin(x) * t)


@pytest.mark.parametrize(
    ("kind", "made"), [(1, r"makes f32\[\] of .* no float"), (1.0, r"makes i32\[\] of .* are float")]
)
def test_linear_transpose_refuses_to_change_between_integers_and_floats(kind, made):
    function = (lambda x: 2.0 * x) if isinstance(kind, int) else (lambda x: x.astype("int32"))
    with pytest.raises(DifferentiationError, match=made):
        fdl.linear_transpose(function, fnp.asarray(kind))
    assert fdl.linear_transpose(lambda x: 3 * x, kind)(2)[0] == 6


def test_linear_transpose_satisfies_the_dot_product_test(rng):
    a, x = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))

    def f(x):
        return {"y": fnp.asarray(a) @ x, "s": fnp.sum(x, axis=0)[::-1]}

    weights = direction(f(x))
    (back,) = fdl.linear_transpose(f, x)(weights)
    assert dot(back, x) == pytest.approx(dot(weights, f(x)))
    (again,) = fdl.linear_transpose(f, fdl.ShapeDtypeStruct(x.shape, x.dtype))(weights)
    assert_close(again, back)


def test_linear_transpose_of_a_nonlinear_function_is_an_error():
    with pytest.raises(TypeError, match=r"sin.*not linear|not linear.*sin"):
        fdl.linear_transpose(fnp.sin, 1.0)(1.0)


def test_gradient_by_a_closed_over_value_inside_partial(rng):
    x, y = rng.normal(size=(2, 3))
    f = partial(lambda scale, x, y: fnp.sum(scale * x * y), 2.0)
    assert_close(fdl.grad(f)(x, y), 2 * y)


def test_methods_and_callables(rng):
    x = rng.normal(size=3)

    class Model:
        def __init__(self, scale):
            self.scale = scale

        def loss(self, x):
            return fnp.sum(self.scale * x**2)

        __call__ = loss

    assert_close(fdl.grad(Model(3.0).loss)(x), 6 * x)
    assert_close(fdl.grad(Model(2.0))(x), 4 * x)


def test_wrapped_functions_keep_name_and_docstring():
    def loss(x):
        """Its docstring."""
        return x

    for transform in (fdl.grad, fdl.value_and_grad, fdl.jit, fdl.vmap, fdl.jacfwd, fdl.jacrev, fdl.checkpoint):
        assert transform(loss).__name__ == "loss"
        assert "Its docstring." in transform(loss).__doc__


def nonlinear_scan(x):
    return fdl.lax.scan(lambda c, _: (c * c, None), x, None, 2)[0]


NOT_LINEAR = {
    "div, second": lambda x: 1 / x,
    "div, itself": lambda x: x / x.sum(),
    "mul, together": lambda x: x * x,
    "dot_general, together": lambda x: x @ x,
    "conv_general, together": lambda x: fdl.lax.conv(x[None, None], x[None, None, :2], (1,), "SAME"),
    "exp": lambda x: fnp.exp(x),
    "select, first": lambda x: fnp.where(x > 0, x, 0 * x),
    "reduce_max": lambda x: x.max(),
    "sort": lambda x: fnp.sort(x),
    "cumprod": lambda x: fnp.cumprod(x),
    "scan": nonlinear_scan,
    "cond, first": lambda x: fdl.lax.cond(x[0] > 0, lambda v: v, lambda v: 2 * v, x),
    "exp in a branch": lambda x: fdl.lax.cond(True, fnp.exp, lambda v: 2 * v, x),
    "exp under jit": lambda x: fdl.jit(fnp.exp)(x),
    "gather, second": lambda x: fnp.arange(4.0)[x.astype(int)],
    "scatter, second": lambda x: fnp.zeros(4).at[x.astype(int)].add(x),
    "scatter, maximum": lambda x: x.at[fnp.array([0])].max(x[:1]),
    "scatter, product": lambda x: fnp.ones(3).at[fnp.array([0])].mul(x[:1]),
    "dynamic_slice, second": lambda x: fdl.lax.dynamic_slice(x, (x[0].astype(int),), (1,)),
    "convert": lambda x: x.astype(int),
    "convert, and back": lambda x: x.astype(int).astype(float),
    "arg_max": lambda x: x.argmax(),
    "solve, first": lambda x: fnp.linalg.solve(fnp.outer(x, fnp.ones(3)) + fnp.eye(3), fnp.ones(3)),
    "reduce_window": lambda x: fdl.lax.reduce_window(x, -fnp.inf, fdl.lax.max, (2,), (1,), "VALID"),
    "round": lambda x: fnp.round(x),
    "callback": lambda x: fdl.pure_callback(lambda v: v, x, x),
}


@pytest.mark.parametrize("what", NOT_LINEAR)
def test_linear_transpose_names_what_is_not_linear(what):
    function, x = NOT_LINEAR[what], fnp.array([1.0, 2.0, 3.0])
    name = what.partition(",")[0].partition(" ")[0].replace("scan", "mul")
    with pytest.raises(DifferentiationError, match=rf"only linear .*{name} at test_derivatives.py:\d+") as error:
        out = fdl.eval_shape(function, x)
        fdl.linear_transpose(function, x)(fnp.ones(out.shape, out.dtype))
    place = what.rpartition(", ")[2]
    if place in ("first", "second", "together"):
        assert place in str(error.value)


def test_linear_transpose_names_the_first_operation_that_makes_another_kind():
    for function, x, first in (
        (lambda i: fnp.arange(3.0)[i].reshape(1), 1, "dynamic_slice"),
        (lambda x: x.astype(int) * 2 + 1, 1.5, "convert"),
    ):
        with pytest.raises(DifferentiationError, match=f"but {first} at"):
            fdl.linear_transpose(function, x)


def test_linear_transpose_leaves_out_constants():
    """As it does in JAX, a linear function with something added has the transpose of the linear part."""
    x, weights = fnp.arange(3.0), fnp.array([1.0, 10.0, 100.0])
    (found,) = fdl.linear_transpose(lambda x: fnp.where(fnp.array([True, False, True]), x, 5.0) / 4 + 1, x)(weights)
    np.testing.assert_array_equal(found, [0.25, 0.0, 25.0])


@pytest.mark.parametrize("transform", [fdl.grad, fdl.value_and_grad])
def test_gradients_look_like_their_function(transform):
    def cube(x: float, scale: float = 1.0) -> float:
        """x times x times x."""
        return scale * x * x * x

    made = transform(cube)
    assert (made.__name__, made.__doc__, made.__wrapped__) == ("cube", cube.__doc__, cube)
    assert list(inspect.signature(made).parameters) == ["x", "scale"]
    x = fnp.float32(2.0)
    for given in (x, 2.0, np.float32(2)):
        assert fdl.tree.leaves(made(given))[-1] == 12 and fdl.tree.leaves(made(given, scale=2.0))[-1] == 24
    assert fdl.tree.leaves(fdl.jit(made)(x))[-1] == 12
    assert fdl.tree.leaves(fdl.vmap(made)(x[None]))[-1].tolist() == [12]
