"""`debug.progress` in loops: what it writes, how seldom, and that the loop computes the same."""

import sys

import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.debug import progress
from fdl.errors import DtypeError


class Bar:
    def __init__(self, count, description):
        self.count, self.description, self.n, self.calls, self.closed = count, description, 0, 0, False

    def update(self, steps):
        assert steps >= 0 and not self.closed
        self.n += steps
        self.calls += 1

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    made = []

    def make(count, description):
        made.append(Bar(count, description))
        return made[-1]

    monkeypatch.setattr(sys.modules["fdl.debug.progress"], "_bar", make)
    return made


def total(n):
    def step(c, i):
        fdl.debug.progress(i, n, "adding")
        return c + i, None

    return lambda: lax.scan(step, 0, fnp.arange(n))[0]


@pytest.mark.parametrize("n", [1, 7, 1000])
@pytest.mark.parametrize("transform", [lambda f: f, fdl.jit])
def test_a_bar_is_moved_about_a_hundred_times(bars, transform, n):
    f = transform(total(n))
    assert f() == f() == n * (n - 1) // 2
    assert [(bar.count, bar.description, bar.n, bar.closed) for bar in bars] == [(n, "adding", n, True)] * 2
    assert bars[0].calls <= 102


def test_derivatives_and_batches_show_one_bar(bars):
    def loss(x):
        def body(i, c):
            fdl.debug.progress(i, 10)
            return c * x

        return lax.fori_loop(0, 10, body, 1.0)

    assert float(fdl.jit(fdl.grad(loss))(1.0)) == 10
    assert fdl.vmap(loss)(fnp.ones(3)).shape == (3,)
    assert [bar.n for bar in bars] == [10, 10]


def test_plain_text(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    total(1000)()
    assert capsys.readouterr().err.split("\r")[-1].startswith("adding: 100 % (1000 of 1000), ")


def test_a_float_is_no_step():
    with pytest.raises(DtypeError, match="progress needs an integer"):
        fdl.debug.progress(1.0, 3)


def test_the_name_is_a_function():
    assert callable(progress)
