"""Shared libraries for C: what a C program computes with them is what NumPy does, and Python is not needed."""

import ctypes
import os
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import export, lax, nn, tree
from fdl.dtypes import bfloat16
from fdl.errors import ExportError
from fdl.export.header import named

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler to link with")


def call(path: Any, *inputs: np.ndarray, results: Any) -> Any:
    """Call the function of a library on copies of arrays; the results, which are like the given ones."""
    arrays = [np.require(x, requirements=["C", "A"]) for x in inputs]
    made = tree.map(lambda x: np.empty(np.shape(x), np.asarray(x).dtype), results)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*arrays, *tree.leaves(made))]
    assert getattr(ctypes.CDLL(str(path)), path.stem)(*pointers) == 0
    return made


@needs_compiler
def test_a_c_program_computes_what_numpy_does(tmp_path):
    rng = np.random.default_rng(0)
    params = {"w1": rng.normal(size=(8, 16)), "w2": rng.normal(size=(16, 3)), "b": rng.normal(size=3)}
    params = tree.map(lambda x: fnp.array(x, "float32"), params)

    def model(batch):
        return {"scores": nn.softmax(fnp.tanh(batch["x"] @ params["w1"]) @ params["w2"] + params["b"])}

    export.library(model, {"x": fdl.ShapeDtypeStruct((5, 8), "float32")}, tmp_path / "model.so")
    (tmp_path / "main.c").write_text(
        """
        #include <stdio.h>
        #include "model.h"
        int main(void) {
            static float x[5 * 8], scores[5 * 3], again[5 * 3];
            static _Alignas(64) char workspace[MODEL_WORKSPACE_BYTES];
            for (int i = 0; i < 40; i++) x[i] = 0.05f * i - 1;
            if (model(x, scores) || model_in(workspace, x, again)) return 1;
            for (int i = 0; i < 15; i++) {
                if (scores[i] != again[i]) return 2;
                printf("%.9g\\n", scores[i]);
            }
            return 0;
        }
        """
    )
    program = [COMPILER, "-std=c11", "-Wall", "-Werror", "-o", "main", "main.c", "model.so", "-Wl,-rpath,."]
    subprocess.run(program, cwd=tmp_path, check=True)
    environment = {"PATH": "/nowhere"}
    done = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True, text=True, env=environment)
    x = (np.float32(0.05) * np.arange(40, dtype=np.float32) - 1).reshape(5, 8).astype(np.float64)
    wide = tree.map(lambda p: np.asarray(p, np.float64), params)
    logits = np.tanh(x @ wide["w1"]) @ wide["w2"] + wide["b"]
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(np.array(done.stdout.split(), float).reshape(5, 3), expected, rtol=1e-5)


def scan(x):
    return lax.scan(lambda carry, row: (carry + row, fnp.sin(carry)), x[0], x)


def steps(x):
    return lax.while_loop(lambda s: s[0] < 10, lambda s: (s[0] + 1, s[1] * 0.5 + x), (0, x))


CASES: dict[str, tuple[Any, tuple[np.ndarray, ...]]] = {
    "elementwise": (lambda x, y: (x * 2 + y, x > y), (np.arange(13.0), np.ones(13))),
    "input_as_result": (lambda x: (x, x), (np.arange(5.0),)),
    "constant_result": (lambda x: fnp.arange(7), (np.arange(5.0),)),
    "no_elements": (lambda x: (x * 2, fnp.ones(3)), (np.zeros((0, 3)),)),
    "number": (lambda x: x + 1, (np.array(2.5),)),
    "sort": (lambda x: (fnp.sort(x), fnp.argsort(x)), (np.array([3.0, 1.0, 2.0]),)),
    "scan": (scan, (np.linspace(0, 1, 50).reshape(10, 5),)),
    "while_": (steps, (np.linspace(0, 1, 6),)),
    "long_loops": (
        lambda x: lax.fori_loop(
            0, 3_000_000, lambda i, v: v * 0.999 + i % 3, lax.while_loop(lambda v: v[0] < 3e6, lambda v: v + 1, x)
        ),
        (np.linspace(0, 1, 3),),
    ),
    "cond": (lambda x: lax.cond(x.sum() > 0, fnp.exp, fnp.negative, x), (np.arange(4.0),)),
    "gather": (lambda x, i: x[i], (np.arange(12.0).reshape(4, 3), np.array([3, -1, 0]))),
    "convolution": (
        lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        (np.random.default_rng(0).normal(size=(2, 9, 9, 3)), np.random.default_rng(1).normal(size=(3, 3, 3, 4))),
    ),
    "large_sum": (lambda x: (x.sum(), (x @ x.T).mean(0)), (np.random.default_rng(0).normal(size=(300, 700)),)),
    "gradient": (fdl.grad(lambda w: fnp.sum(nn.softmax(w) ** 2)), (np.random.default_rng(0).normal(size=(40, 30)),)),
    "random_": (lambda seed: fdl.random.normal(fdl.random.key(seed), (9,)), (np.array(3, np.uint32),)),
    "many_steps": (lambda x: [fnp.cumsum(x * n).max() for n in range(120)], (np.arange(6.0),)),
}


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_libraries_compute_what_compiled_functions_do(name, dtype, tmp_path):
    fun, inputs = CASES[name]
    inputs = tuple(x.astype(dtype) if x.dtype == np.float64 else x for x in inputs)
    expected = fdl.jit(fun)(*inputs)
    found = call(export.library(fun, *inputs, tmp_path / f"{name}.so"), *inputs, results=expected)
    rtol = 1e-12 if dtype == "float64" else 1e-5
    tree.map(lambda a, b: np.testing.assert_allclose(a, np.asarray(b), rtol, atol=rtol), found, expected)


@needs_compiler
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", bfloat16, "complex64", "complex128"], ids=str)
def test_dtypes(dtype, tmp_path):
    x = np.array([0, 1, 3, 1, 0]).astype(dtype)
    fun = {"b": lambda x: x ^ True, "c": lambda x: x}.get(x.dtype.kind, lambda x: x + x)
    found = call(export.library(fun, x, tmp_path / "twice.so"), x, results=x)
    np.testing.assert_array_equal(found, fun(x))
    types = {"bool": "uint8_t", "float16": "uint16_t", "complex64": "float", "complex128": "double"}
    wanted = types.get(str(dtype), "uint16_t" if dtype == bfloat16 else f"{dtype}_t")
    assert f"(const {wanted} *x, {wanted} *result)" in (tmp_path / "twice.h").read_text()


@needs_compiler
def test_constants_are_part_of_the_library(tmp_path):
    large = np.random.default_rng(0).normal(size=(1000, 700)).astype(np.float32)
    small = np.arange(700, dtype=np.int8)
    x = np.ones(1000, np.float32)
    path = export.library(lambda x: (x @ large, x.sum() + small), x, tmp_path / "constants.so")
    assert large.nbytes < path.stat().st_size < large.nbytes + 100_000
    found = call(path, x, results=(np.zeros(700, np.float32),) * 2)
    np.testing.assert_allclose(found[0], large.sum(0, dtype=np.float64), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found[1], 1000 + small.astype(int))


@needs_compiler
def test_names_and_paths(tmp_path):
    x = fdl.ShapeDtypeStruct((2,), "float32")
    path = export.library(lambda x, y: x + y, x, x, tmp_path / "lib add-two.so", name="plus")
    assert path == tmp_path / "lib add-two.so"
    assert "int32_t plus(const float *x, const float *y, float *result);" in path.with_suffix(".h").read_text()
    assert sorted(os.listdir(tmp_path)) == ["lib add-two.h", "lib add-two.so"]
    assert named(["params['w']", "params.w", "int", "1", "result[0]"]) == [
        "params_w",
        "params_w_2",
        "x_int",
        "x_1",
        "result_0",
    ]


@needs_compiler
@pytest.mark.parametrize("name", ["entry", "scratch", "fdl_constants", "sort"])
def test_names_that_the_compiler_uses_too(name, tmp_path):
    order = np.array([2, 0, 1])
    x = np.array([3.0, 1.0, 2.0])
    path = export.library(lambda x: fnp.sort(x)[order], x, tmp_path / f"{name}.so")
    np.testing.assert_array_equal(call(path, x, results=x), [3.0, 1.0, 2.0])


@needs_compiler
def test_several_threads_call_at_once(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    x = np.random.default_rng(0).normal(size=(8, 60, 60))
    path = export.library(lambda x: nn.softmax(x @ x), x[0], tmp_path / "square.so")
    expected = [call(path, piece, results=piece) for piece in x]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: call(path, x[n % 8], results=x[0]), range(64)))
    for number, value in enumerate(found):
        np.testing.assert_array_equal(value, expected[number % 8])


def test_functions_that_need_python_are_refused(tmp_path):
    x = fdl.ShapeDtypeStruct((3, 3), "float32")

    def with_callback(x):
        return fdl.pure_callback(np.sin, x, x)

    with pytest.raises(ExportError, match="run in Python only.*callback"):
        export.library(with_callback, x, tmp_path / "f.so")
    with pytest.raises(ExportError, match=r"run in Python only: .*f32\[3,3\]"):
        export.library(fnp.linalg.eigvals, x, tmp_path / "f.so")
    with pytest.raises(ExportError, match="the last argument is the path"):
        export.library(fnp.sin, x)
    with pytest.raises(ExportError, match="a name in C"):
        export.library(fnp.sin, x, tmp_path / "f.so", name="2f")
    with pytest.raises(ExportError, match="where its header is written"):
        export.library(fnp.sin, x, tmp_path / "f.h")
    for name in ("exp", "free", "double", "namespace"):
        with pytest.raises(ExportError, match="a word or a function of C"):
            export.library(fnp.sin, x, tmp_path / f"{name}.so")
    assert os.listdir(tmp_path) == []


def test_without_a_compiler_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExportError, match="no C compiler"):
        export.library(fnp.sin, fdl.ShapeDtypeStruct((3,), "float32"), tmp_path / "f.so")
    monkeypatch.setenv("CC", "false-compiler -x")
    with pytest.raises(ExportError, match="false-compiler -x cannot be run"):
        export.library(fnp.sin, fdl.ShapeDtypeStruct((3,), "float32"), tmp_path / "f.so")
    assert os.listdir(tmp_path) == []
