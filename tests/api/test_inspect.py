"""make_program, eval_shape, ShapeDtypeStruct."""

import re

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.core.verify import verify


def strip(program):
    """The text of a program without source comments."""
    return re.sub(r"  # .*", "", str(program))


def test_a_program_prints_its_types_operations_and_source_lines():
    def f(x, y):
        z = fnp.sin(x)
        return z * y, fnp.sum(z)

    program = fdl.make_program(f)(np.ones((2, 3)), np.ones((2, 3)))
    assert strip(program) == "\n".join(
        [
            "program(a:f64[2,3] b:f64[2,3]) {",
            "  c:f64[2,3] = sin a",
            "  d:f64[2,3] = mul c b",
            "  e:f64[] = sum[axes=(0,1)] c",
            "  return d e",
            "}",
        ]
    )
    assert re.search(r"sin a  # test_inspect\.py:\d+ \(f\)", str(program))
    verify(program)


def test_inner_programs_are_indented():
    text = strip(fdl.make_program(lambda x: lax.scan(lambda c, v: (c + v, None), np.asarray(0.0), x)[0])(np.ones(3)))
    assert text.splitlines()[1].startswith("  b:f64[] = scan[body=program length=3 reverse=False")
    assert "    program(a:f64[] b:f64[]) {\n      c:f64[] = add a b\n      return c\n    }" in text


def test_equal_programs_are_equal_and_hash_alike(rng):
    table = fnp.asarray(rng.normal(size=4))

    def make(scale, dtype="float64"):
        return fdl.make_program(lambda x: fnp.sin(x) * scale + table)(fdl.ShapeDtypeStruct((4,), dtype))

    assert make(2.0) == make(2.0) and hash(make(2.0)) == hash(make(2.0))
    assert make(2.0) != make(3.0) and make(2.0) != make(2.0, "float32")
    table = table + 1
    assert make(2.0) != fdl.make_program(lambda x: fnp.sin(x) * 2.0 + (table - 2))(np.ones(4))


def test_static_arguments_shapes_and_keywords():
    f = fdl.make_program(lambda x, n, *, y: [x**n, y], static_argnums=1, return_shape=True)
    program, shapes = f(fdl.ShapeDtypeStruct((3,), "float32"), 2, y={"a": 1})
    assert len(program.inputs) == 2
    assert shapes == [fdl.ShapeDtypeStruct((3,), "float32"), {"a": fdl.ShapeDtypeStruct((), "int32")}]


def test_eval_shape_computes_nothing():
    ran = []

    def f(params, x):
        fdl.debug.callback(lambda v: ran.append(v), x)
        return {"y": x @ params["w"], "n": fnp.sum(x > 0), "none": None}

    big = fdl.ShapeDtypeStruct((10**6, 10**5), "bfloat16")
    found = fdl.eval_shape(f, {"w": fdl.ShapeDtypeStruct((10**5, 2), "float32")}, big)
    assert found["y"] == fdl.ShapeDtypeStruct((10**6, 2), "float32")
    assert found["n"].shape == () and found["n"].dtype.kind == "i" and found["none"] is None
    assert ran == []


def test_eval_shape_of_transformed_functions():
    x = fdl.ShapeDtypeStruct((5, 3), "float64")
    assert fdl.eval_shape(fdl.vmap(fdl.hessian(lambda v: fnp.sum(v**3))), x).shape == (5, 3, 3)
    assert fdl.eval_shape(fdl.jit(fdl.grad(lambda x: x.sum())), x) == x
    assert fdl.eval_shape(lambda k: fdl.random.normal(k, (2,)), fdl.random.key(0)).shape == (2,)


def test_shape_dtype_struct():
    x = fdl.ShapeDtypeStruct([2, 3], fnp.float32)
    assert (x.shape, x.dtype, x.ndim, x.size) == ((2, 3), np.dtype("float32"), 2, 6)
    assert repr(x) == "ShapeDtypeStruct(shape=(2, 3), dtype=float32)"
    assert x == fdl.ShapeDtypeStruct((2, 3), "float32") and hash(x) == hash(fdl.ShapeDtypeStruct((2, 3), "float32"))
    assert x != fdl.ShapeDtypeStruct((2, 3), "float64")
