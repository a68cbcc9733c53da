"""The text of error messages: what they name, and what they tell to do."""

import inspect
import re

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import (
    AxisNameError,
    BatchError,
    ConcretizationError,
    DifferentiationError,
    DtypeError,
    LeafError,
    LeakedTracerError,
    ShapeError,
    TreeError,
)

ONES = fnp.ones(3)
PARAMS = {"w": ONES, "name": "conv"}


def model(params, x=None):
    return params["w"].sum()


def message(kind, f, *args, **kwargs):
    """The text of the error of class `kind` that a call raises, on one line."""
    with pytest.raises(kind) as found:
        f(*args, **kwargs)
    assert type(found.value) is kind
    return str(found.value).replace("\n", " ")


def test_matmul_of_shapes_that_do_not_fit_names_matmul_both_shapes_and_the_axis():
    a, b = fnp.ones((2, 3)), fnp.ones((2, 4))
    expected = r"matmul: shapes \(2, 3\) and \(2, 4\).*columns of the first \(3\).*rows of the second \(2\)"
    for f in (lambda a, b: a @ b, fnp.matmul, fdl.jit(fnp.matmul), fdl.grad(lambda a, b: (a @ b).sum())):
        assert re.search(expected, message(ShapeError, f, a, b))


# Pytrees


def test_tangents_of_another_structure():
    text = message(TreeError, fdl.jvp, model, ({"w": ONES},), ({"v": ONES},))
    assert text == (
        "the tangents must have the structure of the primals, but they part at primals[0]: a dict with keys ['w'] "
        "against a dict with keys ['v']: missing 'w'; unexpected 'v'"
    )


def test_tangents_of_another_shape_or_dtype():
    text = message(ShapeError, fdl.jvp, model, ({"w": ONES},), ({"w": fnp.ones(4)},))
    assert text.startswith("tangents[0]['w'] is f32[4], but primals[0]['w'] is f32[3]")
    text = message(ShapeError, fdl.linearize(model, {"w": ONES})[1], {"w": np.ones(3)})
    assert text.startswith("tangents[0]['w'] is f64[3], but primals[0]['w'] is f32[3]")


def test_arguments_of_jvp_that_are_no_tuples():
    assert "must be tuples of arguments" in message(TypeError, fdl.jvp, fnp.sin, ONES, ONES)


@pytest.mark.parametrize("pull", [lambda f: fdl.vjp(f, ONES)[1], lambda f: fdl.linear_transpose(f, ONES)])
def test_cotangents(pull):
    f = pull(lambda x: {"a": x, "b": x})
    text = message(TreeError, f, {"a": ONES})
    assert text.endswith("part at output: a dict with keys ['a', 'b'] against a dict with keys ['a']: missing 'b'")
    text = message(ShapeError, f, {"a": ONES, "b": fnp.ones(2)})
    assert text.startswith("cotangent['b'] is f32[2], but output['b'] is f32[3]")


def test_branches_that_return_different_trees_or_types():
    text = message(TreeError, lax.cond, True, lambda x: {"a": x}, lambda x: {"b": x}, 1.0)
    assert text == (
        "the branches of cond must return the same structure, but false_fun and true_fun part at output: a dict with "
        "keys ['b'] against a dict with keys ['a']: missing 'b'; unexpected 'a'"
    )
    text = message(TreeError, lax.cond, True, lambda x: x, lambda x: {"b": x}, 1.0)
    assert "part at output: a dict with keys ['b'] against" in text
    text = message(ShapeError, lax.switch, 0, [lambda: {"y": [ONES]}, lambda: {"y": [fnp.ones(2)]}])
    assert "output['y'][0] is f32[3] from branch 0 and f32[2] from branch 1" in text
    text = message(fdl.errors.DtypeError, lax.cond, True, lambda: ONES, lambda: np.ones(3))
    assert "false_fun returned f64[3] and true_fun returned f32[3]" in text


def test_predicates():
    assert "scalar predicate, got bool[3]; use fdl.numpy.where" in message(
        ShapeError, lax.cond, ONES > 0, abs, abs, 1.0
    )
    text = message(fdl.errors.DtypeError, lax.while_loop, lambda c: c, lambda c: c, 0)
    assert "condition of while_loop must return a bool, got i32[]" in text


def test_carries():
    state, x = {"h": ONES}, fnp.ones((2, 3))
    text = message(TreeError, lax.scan, lambda c, x: ({**c, "n": 1}, x), state, x)
    assert text.startswith("the body of scan must return a carry of the structure it was given")
    assert text.endswith("part at carry: a dict with keys ['h'] against a dict with keys ['h', 'n']: unexpected 'n'")
    text = message(ShapeError, lax.scan, lambda c, x: ({"h": c["h"][:2]}, x), state, x)
    assert "carry['h'] came in as f32[3] and went out as f32[2]" in text
    text = message(ShapeError, lax.while_loop, lambda c: True, lambda c: c.astype("float64"), ONES)
    assert "body of while_loop" in text and "carry came in as f32[3] and went out as f64[3]" in text
    text = message(TreeError, lax.scan, lambda c, x: c, ONES, x)
    assert "must return a pair (carry, y), but returned one array" in text


def test_extents_of_scan():
    xs = {"a": ONES, "b": fnp.ones(4)}
    assert "xs['a'] has 3, xs['b'] has 4" in message(ShapeError, lax.scan, lambda c, x: (c, x), 0.0, xs)
    assert "xs has 3, length is 2" in message(ShapeError, lax.scan, lambda c, x: (c, x), 0.0, ONES, length=2)
    assert "needs xs or length" in message(ShapeError, lax.scan, lambda c, x: (c, x), 0.0)


# Leaves


@pytest.mark.parametrize("transform", [fdl.jit, fdl.grad, fdl.vmap, fdl.value_and_grad])
def test_string_leaf_names_its_path(transform):
    text = message(LeafError, transform(model), PARAMS)
    assert text.startswith("argument params['name'] of model is 'conv' of type str, but every leaf must be an array")
    assert "static_argnums" in text


def test_leaves_of_other_arguments():
    text = message(LeafError, fdl.jit(lambda x, n, mode: x, static_argnums=1), ONES, 3, mode="train")
    assert text.startswith("argument mode of <lambda> is 'train' of type str")
    text = message(LeafError, fdl.jit(lambda n, x, deep: x, static_argnums=0), 3, ONES, {"a": [None, object()]})
    assert text.startswith("argument deep['a'][1] of <lambda> is <object object")
    text = message(LeafError, fdl.jit(lambda x: {"a": x, "b": ["text"]}), ONES)
    assert text.startswith("the output['b'][0] of <lambda> is 'text' of type str")


# Tracers


def test_if_on_a_traced_value_names_the_line_and_the_way_out():
    @fdl.jit
    def clip(x):
        y = x * 2
        if y > 0:
            return x
        return -x

    text = message(ConcretizationError, clip, 1.0)
    assert re.match(r"bool\(\) was needed of a traced bool\[\] \(made by gt at test_errors\.py:\d+ \(clip\)\)", text)
    assert "fdl.lax.cond" in text and "static_argnums" in text


def test_traced_arguments_are_named_by_their_path():
    text = message(ConcretizationError, fdl.jit(lambda p, n: fnp.zeros(int(p["n"][0]))), {"n": [3]}, 1)
    assert text.startswith("int() was needed of a traced i32[] (argument p['n'][0] of <lambda>)")
    text = message(ConcretizationError, fdl.jit(lambda mode, flag: 1 if flag else 2, static_argnums=0), "m", True)
    assert text.startswith("bool() was needed of a traced bool[] (argument flag of <lambda>)")
    text = message(ConcretizationError, fdl.jit(lambda *, n: [1, 2, 3][n]), n=1)
    assert text.startswith("an index was needed of a traced i32[] (argument n of <lambda>)")
    text = message(ConcretizationError, fdl.jit(fdl.grad(lambda x: float(x))), 1.0)
    assert text.startswith("float() was needed of a traced f32[] (argument x of <lambda>)")
    text = message(ConcretizationError, lax.scan, lambda c, x: (c if x > 0 else -c, None), 0.0, ONES)
    assert "traced bool[] (made by gt at test_errors.py" in text


def test_if_inside_vmap_says_that_there_is_a_batch():
    text = message(ConcretizationError, fdl.vmap(lambda x: x if x > 0 else -x), ONES)
    assert re.search(r"bool\[\] \(made at test_errors\.py:\d+ .*inside vmap, where it stands for a batch of 3", text)


def test_numpy_functions_of_traced_values():
    for f in (np.sin, np.asarray, lambda x: np.ones(3) @ np.array(x)):
        for transform in (fdl.jit, fdl.vmap, lambda f: fdl.grad(lambda x: f(x).sum())):
            text = message(ConcretizationError, transform(f), ONES)
            assert "NumPy was given a traced f32" in text and "fdl.numpy" in text and "pure_callback" in text


@pytest.mark.parametrize("transform", [fdl.jit, fdl.grad, fdl.vmap, lambda f: lambda x: lax.map(f, ONES)])
def test_leaked_tracers_name_the_line_that_made_them(transform):
    kept = []

    def leak(x):
        kept.append(x * 2)
        return x

    transform(leak)(ONES if transform is fdl.vmap else 1.0)
    for use in (
        lambda: kept[0] + 1,
        lambda: fdl.jit(lambda y: y + kept[0])(1.0),
        lambda: fdl.jit(fnp.sin)(kept[0]),
        lambda: fdl.grad(fnp.sin)(kept[0]),
    ):
        text = message(LeakedTracerError, use)
        assert re.match(r"a tracer f32\[\] \(made (by mul )?at test_errors\.py:\d+ \(leak\)\) was used after", text)
        assert "Return the value" in text


# jit


def test_unhashable_static_arguments():
    text = message(TypeError, fdl.jit(lambda x, n: x, static_argnums=1), 1.0, [1, 2])
    assert text.startswith("static argument 1 of a jitted function is [1, 2] of type list, which cannot be hashed")
    text = message(TypeError, fdl.jit(lambda x, n: x, static_argnames="n"), 1.0, n=np.ones(1))
    assert text.startswith("static argument 'n'") and "ndarray" in text


def test_options_of_jit():
    assert "'m', which is no parameter of <lambda>(x, n)" in message(
        ValueError, fdl.jit, lambda x, n: x, static_argnames="m"
    )
    assert "jit needs a function, got 3" in message(TypeError, fdl.jit, 3)
    assert "unexpected keyword argument 'static'" in message(TypeError, fdl.jit, abs, static=1)


# grad


def test_outputs_of_grad():
    text = message(DifferentiationError, fdl.grad(lambda x: x * 2), ONES)
    assert text.startswith("grad needs a scalar output, but <lambda> returned f32[3]. Reduce it")
    assert "jacrev" in text
    assert "returned 2 arrays; with has_aux=True" in message(DifferentiationError, fdl.grad(lambda x: (x, x)), 1.0)
    assert "returned 0 arrays" in message(DifferentiationError, fdl.grad(lambda x: None), 1.0)
    assert "output, but <lambda> returned i32[]" in message(DifferentiationError, fdl.grad(lambda x: 3), 1.0)
    assert "output, but <lambda> returned c64[]" in message(DifferentiationError, fdl.grad(lambda x: x * 1j), 1.0)
    text = message(TreeError, fdl.grad(lambda x: x, has_aux=True), 1.0)
    assert text == "with has_aux=True <lambda> must return a pair (output, aux), not an array f32[]"


def test_inputs_of_grad():
    text = message(DifferentiationError, fdl.grad(lambda p: p["w"][0].sum()), {"w": [fnp.arange(3)]})
    assert text.startswith(
        "grad needs real floating-point inputs, but argument p['w'][0] of <lambda> is i32[3], an integer."
    )
    assert "allow_int=True" in text
    assert "argument y of f is bool[]" in message(DifferentiationError, fdl.grad(f, argnums=1), 1.0, True)
    assert "argnums=2 names argument 2, but the call has 1 positional" in message(ValueError, fdl.grad(abs, 2), 1.0)
    assert "passed by keyword do not count" in message(ValueError, fdl.grad(lambda x: x), x=1.0)


def f(x, y):
    return x * y


def test_reverse_mode_of_while_loop():
    def loop(x):
        return lax.while_loop(lambda c: c < 3, lambda c: c * x, x)

    for g in (fdl.grad(loop), fdl.jit(fdl.grad(loop)), fdl.grad(fdl.jit(loop))):
        text = message(DifferentiationError, g, 1.5)
        assert "reverse-mode differentiation of while_loop" in text and "fdl.lax.scan" in text and "fdl.jacfwd" in text


def test_transposing_what_is_not_linear():
    text = message(DifferentiationError, fdl.linear_transpose(fnp.sin, 1.0), 1.0)
    assert re.match(r"only linear functions can be transposed, but sin at test_errors\.py:\d+ .* is not linear", text)
    assert "mul at" in message(DifferentiationError, fdl.linear_transpose(lambda x: x * x, 1.0), 1.0)


# vmap and axis names


def test_in_axes():
    g = lambda x, y: x  # noqa: E731
    assert "in_axes has 1 entries, but <lambda> was called with 2" in message(BatchError, fdl.vmap(g, (0,)), ONES, ONES)
    text = message(TreeError, fdl.vmap(lambda x: x["a"], in_axes=({"b": 0},)), {"a": ONES})
    assert text.startswith(
        "vmap in_axes=({'b': 0},) must be a tree prefix of the arguments, but they part at [0]: a dict"
    )
    text = message(BatchError, fdl.vmap(g, (0, 2)), ONES, fnp.ones((3, 2)))
    assert text.startswith("vmap was asked to map axis 2 of argument y of <lambda>, which is f32[3,2] and has 2 axes")
    assert "argument y of <lambda>, which is f32[]" in message(BatchError, fdl.vmap(g), ONES, 1.0)
    assert "in_axes must be an int, None, or a tuple" in message(TypeError, fdl.vmap, g, in_axes="a")
    assert "maps no argument: give axis_size" in message(BatchError, fdl.vmap(g, None), ONES, ONES)


def test_out_axes():
    assert "out_axes=3 does not fit an output of <lambda> with 1 axes" in message(
        BatchError, fdl.vmap(lambda x: x, 0, 3), ONES
    )
    assert "depends on the mapped axis" in message(BatchError, fdl.vmap(lambda x: x, out_axes=None), ONES)
    text = message(TreeError, fdl.vmap(lambda x: {"a": x}, out_axes={"b": 0}), ONES)
    assert text.startswith("vmap out_axes={'b': 0} must be a tree prefix of the output")


def test_sizes_that_differ_name_every_argument():
    params = {"w": fnp.ones((4, 2)), "b": fnp.ones(4)}
    text = message(BatchError, fdl.vmap(lambda params, x: x), params, fnp.ones((3, 2)))
    assert text.startswith("vmap of <lambda> needs mapped axes of one extent:")
    assert "argument params['w']: axis 0 of f32[4,2] has extent 4" in text
    assert "argument x: axis 0 of f32[3,2] has extent 3" in text
    assert "axis_size=2" in message(BatchError, fdl.vmap(lambda x: x, axis_size=2), ONES)


def test_axis_names_that_nothing_binds():
    for g in (
        lambda x: lax.psum(x, "i"),
        fdl.jit(lambda x: lax.pmean(x, "i")),
        fdl.vmap(lambda x: lax.all_gather(x, "i"), axis_name="j"),
        lambda x: lax.axis_index("i"),
        lambda x: lax.ppermute(x, "i", [(0, 1)]),
    ):
        text = message(AxisNameError, g, ONES)
        assert text == "no enclosing vmap binds the axis name 'i'; call it inside fdl.vmap(..., axis_name='i')"


def test_a_message_shows_the_users_line_and_not_fdl_internals():
    text = str(fdl.make_program(lambda x: fnp.sin(x) + 1)(1.0))
    assert text.count("test_errors.py") == 2


def wide_line(function, text):
    """The line of this file whose comment is `text`, as errors write it."""
    lines, start = inspect.getsourcelines(function)
    return f"test_errors.py:{start + next(n for n, line in enumerate(lines) if f'# {text}' in line)}"


def test_what_made_a_carry_wide_is_named():
    table, x = np.zeros(3), fnp.ones((2, 3))

    def step(carry, x):
        h = fnp.tanh(carry["h"] * 2.0) + x
        y = fnp.asarray(table) * 2
        return {"h": h + y[None][0]}, x  # scan

    text = message(ShapeError, lax.scan, step, {"h": ONES}, x)
    assert "carry['h'] came in as f32[3] and went out as f64[3]: add at " + wide_line(step, "scan") in text
    assert "(step) made it f64, where f32[3] met f64[3], made by " in text
    text = message(ShapeError, fdl.jit(lambda h: lax.scan(step, {"h": h}, x)), ONES)
    assert wide_line(step, "scan") in text

    def sliced(carry, x):
        return fnp.sin(carry + x), None  # slices

    text = message(ShapeError, lax.scan, sliced, ONES, x.astype("float64"))
    assert f"add at {wide_line(sliced, 'slices')} (sliced) made it f64, where f32[3] met f64[3], argument x" in text

    def body(value):
        inner = fdl.jit(lambda v: v - table)  # while
        return fnp.cos(inner(value))

    text = message(ShapeError, lax.while_loop, lambda c: True, body, ONES)
    assert f"sub at {wide_line(body, 'while')} (<lambda>) made it f64, where f32[3] met f64[3], an array that" in text

    def converted(i, value):
        return value.astype("float64")  # fori_loop

    text = message(ShapeError, lax.fori_loop, 0, 3, converted, ONES)
    assert f"convert at {wide_line(converted, 'fori_loop')} (converted) made it f64. Convert" in text
    text = message(ShapeError, lax.scan, lambda c, x: (x, c), ONES, np.zeros((2, 3)))
    assert "went out as f64[3]: it is argument x. Convert" in text
    small, count = fnp.ones(3, "int8"), fnp.ones(3, "uint8")
    text = message(ShapeError, lax.scan, lambda c, x: (c * count, None), small, None, 3)
    assert "made it i16, where i8[3] met u8[3]. Convert" in text


def test_what_made_a_branch_wide_is_named():
    scale = np.float64([2, 3, 4])

    def scaled(x):
        return x * scale  # cond

    text = message(DtypeError, lax.cond, True, scaled, lambda x: x, ONES)
    line = wide_line(scaled, "cond")
    assert f"in true_fun mul at {line} (scaled) made it f64, where f32[3] met f64[3], an array that" in text
    text = message(DtypeError, lax.switch, 1, [lambda x: x, lambda x: x, scaled], ONES)
    assert f"in branch 2 mul at {line} (scaled) made it f64" in text
