"""Checks at run time: they name the values, the example, the step and the line; and cost nothing where they are off."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.core.program import subprograms
from fdl.errors import CheckError, DtypeError

X = fnp.array([1.0, 2.0, -3.0, 4.0])


def positive(x):
    fdl.debug.check(x > 0, "x is {}, y {y}", x, y=2 * x)
    return x * 3


def scanned(x):
    return lax.scan(lambda c, a: (c + positive(a), a), 0.0, x)[0]


def counted(x):
    def body(c):
        fdl.debug.check(c < 5, "c is {}", c)
        return c + 1

    return lax.while_loop(lambda c: c < 10, body, x)


def guarded(x):
    return lax.cond(x > 0, positive, lambda x: x, x)


def guarded_loop(x):
    return lax.cond(x > 0, lambda x: lax.fori_loop(0, 3, lambda i, c: positive(c), x), lambda x: x, x)


def until_four(x):
    def body(c):
        fdl.debug.check(c < 4, "c is {}", c)
        return c + 1

    return lax.while_loop(lambda c: c < 4, body, x)


MESSAGES = [
    (positive, (-1.0,), "x is -1.0, y -2.0 "),
    (fdl.vmap(positive), (X,), "x is -3.0, y -6.0, at index 2 of the batch "),
    (fdl.vmap(fdl.vmap(positive)), (X.reshape(2, 2),), "x is -3.0, y -6.0, at index 1, 0 of the batch "),
    (fdl.vmap(positive, 1), (X[None],), "x is [-3.], y [-6.], at index 2 of the batch "),
    (scanned, (X,), "x is -3.0, y -6.0, at step 2 "),
    (fdl.grad(scanned), (X,), "x is -3.0, y -6.0, at step 2 "),
    (lambda x: fdl.jvp(scanned, (x,), (x,)), (X,), "x is -3.0, y -6.0, at step 2 "),
    (fdl.vmap(scanned), (fnp.stack([abs(X), X]),), "x is -3.0, y -6.0, at index 1 of the batch and step 2 "),
    (lambda x: lax.map(scanned, x), (X.reshape(2, 2),), "x is -3.0, y -6.0, at step 1 and step 0 "),
    (fdl.grad(fdl.checkpoint(positive)), (-1.0,), "x is -1.0, y -2.0 "),
    (counted, (0,), "c is 5, at step 5 "),
    (fdl.grad(lambda x: fdl.debug.error_if(x, x < 0, "{negative}")), (-1.0,), "{negative} "),
]


@pytest.mark.parametrize("jit", [lambda f: f, fdl.jit])
@pytest.mark.parametrize(("function", "args", "message"), MESSAGES)
def test_messages(jit, function, args, message):
    with pytest.raises(CheckError) as caught:
        jit(function)(*args)
    assert str(caught.value).startswith(f"{message}(checked at test_checks.py:")


@pytest.mark.parametrize("jit", [lambda f: f, fdl.jit])
@pytest.mark.parametrize(
    ("function", "args", "expected"),
    [
        (positive, (2.0,), 6.0),
        (fdl.grad(scanned), (abs(X),), [3.0] * 4),
        (fdl.vmap(guarded), (X,), [3.0, 6.0, -3.0, 12.0]),
        (fdl.vmap(guarded_loop), (X,), [27.0, 54.0, -3.0, 108.0]),
        (fdl.vmap(until_four), (fnp.array([0, 3, 9]),), [4, 4, 9]),
    ],
)
def test_what_holds_changes_nothing(jit, function, args, expected):
    np.testing.assert_array_equal(jit(function)(*args), expected)


def test_a_second_call_raises_too_and_a_third_is_right():
    f = fdl.jit(fdl.vmap(positive))
    for _ in range(3):
        with pytest.raises(CheckError):
            f(X)
        np.testing.assert_array_equal(f(abs(X)), 3 * abs(np.asarray(X)))


def test_switched_off(monkeypatch):
    f = fdl.jit(positive)
    with pytest.raises(CheckError):
        f(-1.0)
    monkeypatch.setattr(fdl.config, "runtime_checks", False)
    assert f(-1.0) == -3
    assert fdl.make_program(positive)(1.0).effect is False
    assert fdl.debug.error_if(-1.0, True, "never") == -1.0


def test_a_check_on_disk_raises_the_same(tmp_path, monkeypatch):
    from fdl.compile.runtime.archive import Archive

    compiled = fdl.jit(positive).lower(X).compile()
    archive = compiled.traced.compiled.archive
    inlined = fdl.transforms.inline.inline(fdl.control.check.numbered(compiled.traced.program))
    assert Archive.unpack(archive.pack(inlined), inlined) is not None
    assert not any(list(subprograms(e.operation)) and "Rule" in repr(e.operation) for e in inlined.equations)


def test_wrong_conditions():
    with pytest.raises(DtypeError, match="check needs a boolean condition, got i32"):
        fdl.debug.check(fnp.int32(1), "one")
    with pytest.raises(DtypeError, match="error_if needs a boolean condition"):
        fdl.debug.error_if(1.0, 1.0, "one")
