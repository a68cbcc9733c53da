"""`config.debug_nans` and `config.debug_infs`: what made a NaN is named, where it was made."""

import inspect

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.errors import NonFiniteError, ShapeError

X = fnp.array([2.0, -0.5, 1.0])


@pytest.fixture(autouse=True)
def nans(monkeypatch):
    monkeypatch.setattr(fdl.config, "debug_nans", True)


def line(function, text):
    """The line of this file whose comment is `text`, as errors write it."""
    lines, start = inspect.getsourcelines(function)
    return f"test_debug_nans.py:{start + next(n for n, code in enumerate(lines) if f'# {text}' in code)}"


def message(f, *args):
    with pytest.raises(NonFiniteError) as caught:
        f(*args)
    assert isinstance(caught.value, FloatingPointError)
    return str(caught.value)


def model(x):
    scale = x * 2
    return fnp.sum(fnp.log(scale))  # log


LOG = "(model) made NaN in 1 of the 3 elements of f32[3], from f32[3] in [-1, 4]"


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: f,
        fdl.jit,
        lambda f: fdl.jit(fdl.jit(f)),
        fdl.grad,
        lambda f: fdl.jit(fdl.value_and_grad(f)),
        lambda f: fdl.grad(fdl.jit(f)),
        fdl.checkpoint,
        lambda f: fdl.jit(f).lower(X).compile(),
        lambda f: fdl.jit(lambda x: lax.cond(x[0] > 0, f, lambda x: x[0], x)),
        lambda f: lambda x: lax.scan(lambda c, x: (c, f(x)), 0.0, fnp.stack([fnp.abs(x), x])),
        lambda f: fdl.jit(lambda x: lax.scan(lambda c, x: (c, f(x)), 0.0, fnp.stack([fnp.abs(x), x]))),
        lambda f: fdl.jit(lambda x: lax.while_loop(lambda s: s[0] < 1, lambda s: (s[0] + 1, f(x)), (0, x[0]))),
        lambda f: fdl.jit(lambda x: lax.map(f, x[None])),
    ],
)
def test_operation_line_and_ranges_are_named(transform):
    text = message(transform(model), X)
    assert f"log at {line(model, 'log')} {LOG}" in text


def test_operators_fused_and_in_loops():
    zero = fnp.zeros(())
    assert "div at test_debug_nans.py" in message(lambda: zero / zero)
    assert "from f32[] of 0, f32[] of 0" in message(lambda: zero / zero)
    assert message(fdl.jit(lambda x: fnp.exp(x - x / 0.0)), zero).startswith("div at ")
    large = fnp.array([3e38, 3e38])
    assert "sub at test_debug_nans.py" in message(lambda: fnp.cumsum(large) - fnp.inf)
    # Of two operations that make NaN, the one that the result depends on.
    f = fdl.jit(lambda x: (fnp.where(x > 0, fnp.log(x), 0.0), fnp.sqrt(x)))
    assert message(f, X).startswith("sqrt at ")


def test_masked_and_moved_nans_are_let_through():
    f = fdl.jit(lambda x: fnp.where(x > 0, fnp.log(x), 0.0))
    assert np.asarray(f(X))[1] == 0
    holes = fnp.array([1.0, np.nan])
    for g in (lambda x: fnp.stack([x[::-1], x]), lambda x: fnp.where(fnp.isnan(x), x, 0.0), lambda x: x):
        assert np.isnan(np.asarray(g(holes))).any() and np.isnan(np.asarray(fdl.jit(g)(holes))).any()
    assert fnp.nanmean(holes) == fdl.jit(fnp.nanmean)(holes) == 1
    text = message(fdl.jit(lambda x: fnp.log(x[::-1] * fnp.array([1.0, -1.0]))), holes[:1] * fnp.ones(2))
    assert "log at " in text and "from f32[2] in [-1, 1]" in text


def test_infinities(monkeypatch):
    x = fnp.array([0.0, 1.0])
    assert np.isinf(np.asarray(fdl.jit(lambda x: 1 / x)(x))).any()
    monkeypatch.setattr(fdl.config, "debug_infs", True)
    for f in (lambda x: 1 / x, fdl.jit(lambda x: 1 / x)):
        assert "made infinity in 1 of the 2 elements of f32[2], from" in message(f, x)
    assert "made infinity" in message(fdl.jit(fnp.exp), fnp.float64(1000.0))
    assert "made NaN" in message(fdl.jit(lambda x: 1j * x / x), x)
    monkeypatch.setattr(fdl.config, "debug_nans", False)
    assert np.isnan(np.asarray(fdl.jit(fnp.sqrt)(X))).any()


def test_donated_arguments_are_seen_as_they_were():
    f = fdl.jit(lambda x, y: (fnp.sqrt(x), y + 1), donate_argnums=(0, 1))
    x, y = X + 0, fnp.ones(3)
    assert "from f32[3] in [-0.5, 2]" in message(f, x, y)
    assert x.is_deleted() and y.is_deleted()


def test_effects_are_not_repeated(capsys):
    def f(x):
        fdl.debug.print("x is {}", x[0])
        return fnp.sqrt(x)

    message(fdl.jit(f), X)
    assert capsys.readouterr().out == "x is 2.0\n"


def test_calls_are_fast_again_without_the_setting(monkeypatch):
    f = fdl.jit(fnp.sqrt)
    message(f, X), message(f, X), message(f, X)
    monkeypatch.setattr(fdl.config, "debug_nans", False)
    for _ in range(3):
        assert np.isnan(np.asarray(f(X))[1])
    assert f.cache.recent[fdl.config.state]
    monkeypatch.setattr(fdl.config, "debug_nans", True)
    message(f, X)
    assert fdl.config.state not in f.cache.recent


def test_what_only_passes_is_not_made():
    holes = fnp.array([1.0, np.nan, 3.0])
    for f in (fnp.sort, fnp.negative, lambda x: x.astype("float64"), lax.stop_gradient, fnp.nanmedian, lambda x: x + 1):
        f(holes), fdl.jit(f)(holes)
    assert fdl.jit(fnp.nanmedian)(holes) == fnp.nanmedian(holes) == 2


def test_both_settings_name_the_first_operation(monkeypatch):
    monkeypatch.setattr(fdl.config, "debug_infs", True)
    f = fdl.jit(lambda x: fnp.log(x) - fnp.log(x))
    text = message(f, fnp.zeros(3))
    assert text.startswith("log at ") and "made infinity" in text
    g = fdl.jit(lambda x: fnp.stack([fnp.sqrt(x), fnp.log(x + 1)]))
    assert message(g, fnp.array(-1.0)).startswith("sqrt at ")
    infinite = fnp.array([np.inf])
    assert message(fdl.jit(lambda x: x - x), infinite).startswith("sub at ")


@pytest.mark.parametrize("transform", [lambda f: f, fdl.jit])
@pytest.mark.parametrize("looped", [False, True])
def test_effects_happen_once(transform, looped):
    seen = []

    def remember(x):
        seen.append(float(x))
        return x

    def f(x):
        value = lax.io_callback(remember, x, x)
        return fnp.log(-value)

    def g(x):
        return lax.scan(lambda c, _: (f(c), None), x, length=1)[0] if looped else f(x)

    assert "log at " in message(transform(g), fnp.float32(2))
    assert seen == [2.0]
    assert np.isfinite(transform(g)(fnp.float32(-2)))
    assert seen == [2.0, -2.0]


def test_what_only_compiled_code_makes_is_told(monkeypatch):
    traced = fdl.jit(lambda x: x * 2).lower(X).compile().traced
    monkeypatch.setattr(traced.compiled, "run", lambda arrays: [np.full(3, np.nan, np.float32)])
    with pytest.raises(NonFiniteError, match="result 0 holds NaN, which no operation makes that is run by itself"):
        traced.run([X])


def test_functions_without_arguments_are_looked_at():
    assert message(fdl.jit(lambda: fnp.log(-fnp.ones(2)))).startswith("log at ")


def test_lines_are_looked_up_for_errors_only(monkeypatch):
    calls = []
    monkeypatch.setattr("fdl.array.source_line", lambda: calls.append(1) or "")
    fnp.ones(3) + 1
    assert calls == []


def test_new_ones_beside_old_ones():
    x = fnp.array([np.nan, -1.0])
    assert message(lambda: fnp.log(x)).startswith("log at ")
    assert message(fdl.jit(lambda x: 2 * fnp.log(x)), x).startswith("log at ")
    assert np.isnan(fdl.jit(lambda x: 2 * fnp.exp(x))(x)[0])


def test_operands_that_do_not_fit_are_told_by_fdl():
    with pytest.raises(ShapeError, match="one shape"):
        fdl.lax.add(fnp.ones(2), fnp.ones(3))
