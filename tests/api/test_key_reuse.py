"""`config.debug_key_reuse`: both lines are named, outside of transforms and inside; what is right passes."""

import inspect
import re

import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, random
from fdl.errors import KeyReuseError


@pytest.fixture(autouse=True)
def look(monkeypatch):
    monkeypatch.setattr(fdl.config, "debug_key_reuse", True)


def twice(key):
    first = random.normal(key)  # first
    return first + random.uniform(key)  # second


def in_python_loop(key):
    return [random.normal(key) for _ in range(2)]  # first second


def after_split(key):
    random.split(key)  # first
    return random.normal(key)  # second


def same_part(key):
    keys = random.split(key, 3)
    first = random.normal(keys[0])  # first
    return first + random.normal(keys[0])  # second


def part_and_whole(key):
    keys = random.split(key, 3)
    first = fdl.vmap(random.normal)(keys)  # first
    return first + random.normal(keys[0])  # second


def same_in_all_steps(key):
    return lax.scan(lambda c, _: (c + random.normal(key), None), 0.0, length=3)[0]  # first second


def carried_on(key):
    return lax.scan(lambda k, _: (k, random.normal(k)), key, length=3)[1]  # first second


def in_while(key):
    return lax.while_loop(lambda c: c < 3, lambda c: c + 1 + abs(random.normal(key)), 0.0)  # first second


def branch_and_after(key):
    first = lax.cond(True, lambda k: random.normal(k), lambda k: 0.0, key)  # first
    return first + random.normal(key)  # second


WRONG = [twice, in_python_loop, after_split, same_part, part_and_whole, same_in_all_steps, carried_on]
WRONG += [in_while, branch_and_after]


@pytest.mark.parametrize("transform", [lambda f: f, fdl.jit])
@pytest.mark.parametrize("function", WRONG)
def test_both_lines_are_named(transform, function):
    lines, start = inspect.getsourcelines(function)
    marks = []
    for mark in ("first", "second"):
        marks.append(next(start + n for n, text in enumerate(lines) if mark in text.partition("#")[2]))
    with pytest.raises(KeyReuseError) as caught:
        transform(function)(random.key(0))
    assert re.findall(r"test_key_reuse\.py:(\d+)", str(caught.value)) == list(map(str, marks))


def split_once(key):
    first, second = random.split(key)
    return random.normal(first) + random.normal(second)


def folded(key):
    return [random.normal(random.fold_in(key, i)) for i in range(3)]


def carried(key):
    def step(key, _):
        key, now = random.split(key)
        return key, random.normal(now)

    return lax.scan(step, key, length=3)[1]


def scanned(key):
    return lax.scan(lambda c, k: (c + random.normal(k), None), 0.0, random.split(key, 3))[0]


def either(key):
    return lax.cond(True, random.normal, random.uniform, key)


def recomputed(key):
    def f(x):
        return fnp.sin(x * random.normal(key)) * x

    return fdl.grad(fdl.checkpoint(f))(2.0)


def two_methods(key):
    first, second = random.split(key)
    return random.poisson(first, 2.0), random.binomial(second, 5.0, 0.5), random.gamma(random.fold_in(key, 1), 2.0)


RIGHT = [split_once, folded, carried, scanned, either, recomputed, two_methods]


@pytest.mark.parametrize("transform", [lambda f: f, fdl.jit])
@pytest.mark.parametrize("function", RIGHT)
def test_what_is_right_passes(transform, function):
    for _ in range(2):  # a key that is made again is a new one
        transform(function)(random.key(0))


def test_calls_of_a_compiled_function():
    f, key = fdl.jit(split_once), random.key(1)
    f(key)
    with pytest.raises(KeyReuseError):
        f(key)
    first, second = fdl.jit(random.split)(random.key(2))
    f(first), f(second)
    with pytest.raises(KeyReuseError):
        random.normal(first)


def test_a_key_closed_over():
    key = random.key(3)
    f = fdl.jit(lambda: random.normal(key))
    f()
    with pytest.raises(KeyReuseError):
        f()


def test_off_by_default(monkeypatch):
    monkeypatch.setattr(fdl.config, "debug_key_reuse", False)
    twice(random.key(0)), fdl.jit(twice)(random.key(0))


def test_clones_are_used_once_more():
    def again(key):
        return random.normal(key) - random.normal(random.clone(key))

    assert again(random.key(0)) == fdl.jit(again)(random.key(1)) == 0
    with pytest.raises(KeyReuseError):
        fdl.jit(lambda key: again(key) + random.normal(key))(random.key(2))


def test_calls_that_fail_use_no_keys():
    broken = [True]

    def check(_):
        if broken:
            raise ValueError("not yet")

    def draw(key):
        x = random.normal(key)
        fdl.debug.callback(check, x)
        return x

    jitted, key = fdl.jit(draw), random.key(0)
    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            jitted(key)
    broken.clear()
    jitted(key)
    with pytest.raises(KeyReuseError):
        jitted(key)


def test_equal_keys_made_apart_are_used_once_each():
    first, second = random.key(4), random.key(4)
    draw = fdl.jit(random.normal)
    assert random.normal(first) == draw(second)
    for key in (first, second):
        with pytest.raises(KeyReuseError):
            draw(key)
