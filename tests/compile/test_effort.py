"""The effort that a function is compiled with, asked for by `compiler_options` or a setting."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.compile import pipeline
from fdl.compile.llvm.target import host_target
from fdl.compile.runtime.cache import ObjectCache

X = fnp.linspace(-1, 1, 35).reshape(5, 7)
WIDE = fnp.linspace(-1, 1, 512 * 512).reshape(512, 512)
FAST = {"effort": "fast"}


def make_layer():
    """A function of its own, which nothing was compiled for yet."""
    return lambda x: fnp.tanh(x) @ fnp.exp(-x).T


@pytest.fixture(autouse=True)
def default_effort(monkeypatch):
    monkeypatch.setattr(fdl.config, "disable_most_optimizations", False)
    monkeypatch.setattr(fdl.config, "effort", "full")


@pytest.fixture
def efforts(monkeypatch):
    """The efforts of the targets that machine code is made for, none of which is on disk."""
    seen, compile_object = [], pipeline.compile_object

    def watched(module, target):
        seen.append(target.effort)
        return compile_object(module, target)

    monkeypatch.setattr(pipeline, "compile_object", watched)
    monkeypatch.setattr(pipeline, "default_cache", lambda: ObjectCache(None))
    pipeline._compile.cache_clear()
    yield seen
    pipeline._compile.cache_clear()


def lengths(jitted, x):
    return len(jitted.lower(x).as_text("asm"))


def test_small_programs_are_not_optimized_and_large_ones_are(efforts):
    layer = make_layer()
    fast = fdl.jit(layer, compiler_options=FAST)
    got = fast(X)
    assert efforts == ["none"]
    full = fdl.jit(layer)(X)
    assert efforts == ["none", "full"]
    np.testing.assert_array_equal(np.asarray(got), np.asarray(full))
    expected = np.tanh(np.asarray(X, np.float64)) @ np.exp(-np.asarray(X, np.float64)).T
    np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-5, atol=1e-5)
    fast(WIDE)
    assert efforts == ["none", "full", "full"]


def test_what_is_listed_is_what_runs():
    layer = make_layer()
    fast, full = fdl.jit(layer, compiler_options=FAST), fdl.jit(layer)
    assert lengths(fast, X) > lengths(full, X)
    assert lengths(fast, WIDE) == lengths(full, WIDE)


def test_the_setting_decides_where_no_option_does(efforts):
    layer = make_layer()
    jitted, always = fdl.jit(layer), fdl.jit(layer, compiler_options={"effort": "full"})
    jitted(X)
    fdl.config.effort = "fast"
    jitted(X)
    assert efforts == ["full", "none"]
    always(X + 1)
    fdl.config.effort = "full"
    jitted(X)
    assert efforts == ["full", "none"]  # that of `always` was there
    fdl.config.disable_most_optimizations = True
    always(X)
    assert efforts[2:] == ["none"]


def test_an_inner_function_is_compiled_as_the_outer_one(efforts):
    layer = make_layer()
    inner = fdl.jit(layer, compiler_options=FAST)
    fdl.jit(lambda x: inner(x) + 1)(X)
    assert efforts == ["full"]


def test_options_of_a_lowered_function_come_before_those_of_jit(efforts):
    layer = make_layer()
    lowered = fdl.jit(layer).lower(X)
    compiled = lowered.compile(compiler_options=FAST)
    assert efforts == ["none"]
    np.testing.assert_array_equal(np.asarray(compiled(X)), np.asarray(lowered.compile()(X)))
    assert efforts == ["none", "full"]


def test_options_are_kept_by_decorators_and_pickles(efforts):
    decorated = fdl.jit(compiler_options=FAST)(named)
    decorated(X)
    pickle.loads(pickle.dumps(decorated))(X + 1)
    pickle.loads(pickle.dumps(decorated.lower(X).compile()))(X)
    assert set(efforts) == {"none"}


def named(x):
    return fnp.tanh(x) @ fnp.exp(-x).T * 2


def test_second_calls_are_fast_calls_of_the_same_code(efforts):
    layer = make_layer()
    fast = fdl.jit(lambda x: layer(x) * 3, compiler_options=FAST)
    results = [np.asarray(fast(X)) for _ in range(4)]
    assert efforts == ["none"]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"effort": "quick"}, ValueError, r"compiler_options\['effort'\] is one of full, fast, got 'quick'"),
        ({"effort": 1}, ValueError, "got 1"),
        ("fast", TypeError, "compiler_options is a dict of options by name, got 'fast'"),
    ],
)
def test_wrong_options(options, error, text):
    layer = make_layer()
    with pytest.raises(error, match=text):
        fdl.jit(layer, compiler_options=options)
    with pytest.raises(error, match=text):
        fdl.jit(layer).lower(X).compile(compiler_options=options)


def test_options_of_xla_are_ignored():
    layer = make_layer()
    options = {"xla_cpu_enable_fast_math": True, "effort": None}
    np.testing.assert_array_equal(
        np.asarray(fdl.jit(layer, compiler_options=options)(X)), np.asarray(fdl.jit(layer)(X))
    )


def test_the_environment_decides():
    program = "import fdl; print(fdl.config.effort)"
    for effort, stdout in (("fast", "fast\n"), ("full", "full\n"), ("slow", "")):
        given = os.environ | {"FDL_EFFORT": effort}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=given, check=False)
        assert done.stdout == stdout
        assert bool(stdout) or "fdl.config.effort is one of full, fast, got 'slow'" in done.stderr


def test_a_target_for_a_program():
    fast, full = host_target(effort="fast"), host_target(effort="full")
    limit = full.tuning.small_program
    assert (fast.for_program(limit - 1).effort, fast.for_program(limit).effort) == ("none", "full")
    assert full.for_program(0) is full
    assert fast.key != full.key != host_target(effort="none").key
