"""explain_cache_miss: what it says about calls that would be traced again."""

import logging
import re

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile.runtime import cache

X = np.ones(3, np.float32)


def text(f, *args, **kwargs):
    return fdl.explain_cache_miss(f)(*args, **kwargs)


def scaled(params, scale, *, shift=0.0):
    return params["w"] * scale + shift


@pytest.fixture
def f():
    jitted = fdl.jit(lambda params, scale, *, shift=0.0: scaled(params, scale, shift=shift))
    jitted({"w": X}, 2.0)
    return jitted


def test_nothing_to_explain(f):
    assert "nothing is traced" in text(f, {"w": X + 1}, 7.0)


@pytest.mark.parametrize(
    ("args", "kwargs", "line"),
    [
        (({"w": np.ones((4, 1), np.float32)}, 2.0), {}, "argument params['w']: shape (4, 1) now, (3,) before"),
        (({"w": X.astype("int8")}, 2.0), {}, "argument params['w']: dtype int8 now, float32 before"),
        (({"w": X}, np.float32(2)), {}, "argument scale: an array now, a Python number before"),
        (({"w": X}, 2), {}, "argument scale: dtype int32 now, float32 before"),
        (({"w": X}, (2.0,)), {}, "argument scale: a tuple of 1 now, a leaf array before"),
        (
            ({"w": X, "b": X}, 2.0),
            {},
            "argument params: a dict with keys ['b', 'w'] now, a dict",
        ),
        (({"w": X}, 2.0), {"shift": 1.0}, "the arguments: 2 by position and ['shift'] by name now"),
    ],
)
def test_what_changed(f, args, kwargs, line):
    found = text(f, *args, **kwargs)
    assert line in found and "Hint: " in found
    assert found.count("\n  ") == 1


def test_the_most_similar_call_is_compared(f):
    f({"w": np.ones((2, 2))}, np.float64(1))
    found = text(f, {"w": np.ones((2, 3))}, np.float64(1))
    assert "2 kinds of calls" in found
    assert "shape (2, 3) now, (2, 2) before" in found and "scale" not in found


def test_static_arguments_settings_and_axes():
    f = fdl.jit(lambda x, n, mode="a": x * n, static_argnums=(1, 2))
    f(X, 2)
    assert "static argument 1: 3 now, 2 before" in text(f, X, 3)
    assert "static argument 1: 2.0 now, 2 before" in text(f, X, 2.0)
    assert "static argument 2: 'b' now, not given before" in text(f, X, 2, "b")
    saved = fdl.config.default_float
    try:
        fdl.config.default_float = "float64"
        assert "fdl.config.default_float: 'float64' now, 'float32' before" in text(f, X, 2)
    finally:
        fdl.config.default_float = saved
    found = []
    fdl.vmap(lambda x: found.append(text(f, x, 2)), axis_name="i")(np.ones((4, 3), np.float32))
    assert "named axes around the call: {'i': 4} now, {} before" in found[0]


def test_functions_made_in_a_loop():
    def make(k):
        return fdl.jit(lambda x: x + k)

    first, second = make(1.0), make(2.0)
    assert "has not been called." in text(first, X) or "as another object" in text(first, X)
    first(X)
    found = text(second, X)
    assert "same code was jitted" in found and "another value of 'k'" in found and "outside of loops" in found


def test_values_of_enclosing_transforms():
    found = []

    def outer(y):
        g = fdl.jit(lambda x: x * y)
        found.append(text(g, X))
        return fnp.sum(g(X))

    fdl.grad(outer)(2.0)
    assert "1 traced value of an enclosing transform" in found[0]


def test_the_disk_cache(monkeypatch, tmp_path):
    def f(x):
        return x * 3.25 + 1

    monkeypatch.setenv("FDL_CACHE_DIR", "")
    assert "FDL_CACHE_DIR is empty" in text(fdl.jit(f), X)
    folder = tmp_path / "cache"
    monkeypatch.setenv("FDL_CACHE_DIR", str(folder))
    assert "does not exist yet" in text(fdl.jit(f), X)
    folder.mkdir()
    assert "No machine code" in text(fdl.jit(f), X)
    fdl.clear_caches()
    from fdl.compile.pipeline import _compile

    _compile.cache_clear()
    fdl.jit(f)(X)
    assert list(folder.glob("*.o")) and cache.default_cache().directory == folder
    assert "it is loaded, not compiled" in text(fdl.jit(f), np.ones(3, np.float32)) or "nothing" in text(fdl.jit(f), X)
    fdl.clear_caches()
    assert "it is loaded, not compiled" in text(fdl.jit(f), X)


def test_misses_are_logged(caplog):
    f = fdl.jit(lambda x: x + 1)
    fdl.config.update("jax_explain_cache_misses", True)
    try:
        with caplog.at_level(logging.WARNING, "fdl"):
            f(X), f(X), f(np.ones(4))
    finally:
        fdl.config.explain_cache_misses = False
    assert [r.name for r in caplog.records] == ["fdl", "fdl"]
    assert "argument x: shape (4,) now, (3,) before" in caplog.text


def test_compilations_are_logged(caplog):
    def scaled(x, n):
        return x * n

    f = fdl.jit(scaled)
    fdl.config.log_compiles = True
    try:
        with caplog.at_level(logging.WARNING, "fdl"):
            f(X, 2), f(X, 3), fdl.grad(lambda x: f(x, 2).sum())(X)
    finally:
        fdl.config.log_compiles = False
    f(np.ones(5), 2)
    assert [r.name for r in caplog.records] == ["fdl"] * 2
    for text, what in zip(caplog.messages, ("tracing", "compiling"), strict=True):
        assert re.fullmatch(rf"Finished {what} scaled\(f32\[3\], i64\[\]\) in \d+\.\d{{4}} s", text)


def test_only_jitted_functions():
    with pytest.raises(TypeError, match="jit"):
        fdl.explain_cache_miss(lambda x: x)
