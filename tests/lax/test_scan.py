"""scan, map, associative_scan, fori_loop against Python loops."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from tests.api.check import assert_close, assert_same, check_derivatives


def looped(f, carry, xs, length, reverse=False):
    """scan as a Python loop over NumPy slices."""
    ys = [None] * length
    for n in range(length)[:: -1 if reverse else 1]:
        carry, ys[n] = f(carry, tree.map(lambda x, n=n: fnp.asarray(x)[n], xs))
    return carry, tree.map(lambda *rows: np.stack([np.asarray(r) for r in rows]), *ys)


def body(carry, x):
    state = fnp.tanh(carry["h"] * x["u"] + x["v"])
    return {"h": state, "n": carry["n"] + 1}, (state.sum(), {"h": carry["h"]})


@pytest.fixture
def case(rng):
    return {"h": rng.normal(size=3), "n": np.int32(0)}, {"u": rng.normal(size=(5, 3)), "v": rng.normal(size=5)}


@pytest.mark.parametrize("reverse", [False, True])
def test_pytrees_and_direction(case, reverse):
    init, xs = case
    expected = looped(body, tree.map(fnp.asarray, init), xs, 5, reverse)
    assert_close(lax.scan(body, init, xs, reverse=reverse), expected)
    assert_close(lax.scan(body, init, xs, length=5, reverse=reverse, unroll=2), expected)
    assert_close(fdl.jit(lambda i, x: lax.scan(body, i, x, reverse=reverse))(init, xs), expected)


def test_without_xs_or_without_carry_or_without_ys(rng):
    last, ys = lax.scan(lambda c, _: (c * 2, c), 1.0, None, length=4)
    assert_close((last, ys), (16.0, np.array([1.0, 2.0, 4.0, 8.0])))
    x = rng.normal(size=(3, 2))
    assert_close(lax.scan(lambda c, v: (c, v * 2), None, x), (None, 2 * x))
    assert_close(lax.scan(lambda c, v: (c + v, None), np.zeros(2), x), (x.sum(0), None))
    assert_close(lax.scan(lambda c, v: ((), ()), (), x), ((), ()))
    assert_close(lax.scan(lambda c, _: (c + 1, None), 0, length=3), (3, None))


@pytest.mark.parametrize("jit", [False, True])
def test_zero_steps(jit):
    def run(c, x):
        return lax.scan(lambda c, x: (c + x.sum(), (x * 2, c)), c, x)

    c, (y, cs) = (fdl.jit(run) if jit else run)(np.asarray(3.0), np.zeros((0, 2)))
    assert_same((c, y, cs), (np.asarray(3.0), np.zeros((0, 2)), np.zeros(0)))
    found = fdl.grad(lambda c: run(c, np.zeros((0, 2)))[0])(np.asarray(3.0))
    assert float(found) == 1.0
    assert lax.map(lambda x: x * 2, np.zeros((0, 3))).shape == (0, 3)


def test_the_body_is_traced_once_whatever_the_length():
    calls = []

    def f(c, x):
        calls.append(None)
        return c + x, c

    lax.scan(f, np.asarray(0.0), np.ones(100))
    assert len(calls) == 1


def test_a_python_number_as_the_carry_takes_the_dtype_that_it_meets():
    x = fnp.ones(3, dtype=fnp.float64)
    assert lax.scan(lambda c, v: (c + v, None), 0.0, x)[0].dtype == np.float64
    assert lax.scan(lambda c, v: (c + v, None), 0, x)[0].dtype == np.float64
    half = fnp.ones(3, dtype=fnp.bfloat16)
    assert lax.scan(lambda c, v: (c + v, None), 0.0, half)[0].dtype == fnp.bfloat16
    assert lax.while_loop(lambda c: c < 3, lambda c: c + half[0], 0.0).dtype == fnp.bfloat16
    assert lax.fori_loop(0, 3, lambda i, c: c + x[i], 0.0).dtype == np.float64


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_by_carry_slices_and_closed_over_values(rng, reverse):
    w, b, h, x = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3), rng.normal(size=(4, 3))

    def run(w, b, h, x):
        def step(c, v):
            new = fnp.tanh(w @ c + v) + b
            return new, (new * v, c.sum())

        return lax.scan(step, h, x, reverse=reverse)

    check_derivatives(run, w, b, h, x, order=2 if reverse else 1)
    check_derivatives(fdl.jit(run), w, b, h, x, order=1 if reverse else 2)
    expected = looped(
        lambda c, v: (lambda n: (n, (n * v, c.sum())))(fnp.tanh(w @ c + v) + b), fnp.asarray(h), x, 4, reverse
    )
    assert_close(run(w, b, h, x), expected)


def test_carries_that_only_partly_depend_on_what_is_differentiated(rng):
    x = rng.normal(size=4)

    def run(a, x):
        def step(carry, v):
            n, fixed, late, moving = carry
            return (n + 1, fixed * 2, late + moving * fixed, moving * v + a), (fixed, late)

        starts = (0, np.asarray(1.0), np.asarray(0.0))
        return lax.scan(step, (*starts, np.asarray(1.0)), x)[0][1:], lax.scan(step, (*starts, a), x)[1]

    check_derivatives(run, np.asarray(0.7), x)
    check_derivatives(lambda a: run(a, x), np.asarray(0.7))


def test_carries_that_swap_places(rng):
    x = rng.normal(size=5)
    check_derivatives(
        lambda a, b, x: lax.scan(lambda c, v: ((c[1], fnp.sin(c[0] * v)), c[0]), (a, b), x), *rng.normal(size=2), x
    )


def test_vmap_over_carry_slices_and_closed_over_values(rng):
    c, x, w = rng.normal(size=(3, 2)), rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 2))

    def run(c, x, w):
        return lax.scan(lambda c, v: (fnp.sin(c * v + w), (c, w)), c, x)

    for axes in [(0, 0, 0), (0, None, None), (None, 0, None), (None, None, 0), (None, 0, 0)]:
        args = [a if axis == 0 else a[0] for a, axis in zip((c, x, w), axes, strict=True)]
        rows = [run(*(a[n] if axis == 0 else a for a, axis in zip(args, axes, strict=True))) for n in range(3)]
        expected = tree.map(lambda *r: np.stack([np.asarray(v) for v in r]), *rows)
        assert_close(fdl.vmap(run, axes)(*args), expected)
        assert_close(fdl.jit(fdl.vmap(run, axes))(*args), expected)


def test_nested_scans(rng):
    x = rng.normal(size=(3, 4))

    def run(w, x):
        def outer(c, row):
            inner, ys = lax.scan(lambda d, v: (fnp.sin(d + v * w), d * c), c, row)
            return inner, ys.sum()

        return lax.scan(outer, w, x)

    check_derivatives(fdl.jit(run), np.asarray(0.3), x)


def test_scan_in_vmap_in_grad(rng):
    w, x = rng.normal(size=2), rng.normal(size=(3, 4, 2))

    def run(w, x):
        def one(rows):
            return lax.scan(lambda c, v: (fnp.tanh(c * w + v), None), w, rows)[0]

        return fdl.vmap(one)(x)

    check_derivatives(run, w, x)


def test_integer_carry_and_indexing(rng):
    table = rng.normal(size=(4, 3))

    def run(table):
        def step(i, _):
            return (i * 3 + 1) % 4, table[i] * 2

        return lax.scan(step, np.int32(2), None, length=6)[1]

    index, expected = 2, []
    for _ in range(6):
        expected.append(2 * table[index])
        index = (index * 3 + 1) % 4
    assert_close(run(fnp.asarray(table)), np.stack(expected))
    check_derivatives(run, table)


def test_random_keys_as_carry():
    def step(key, _):
        key, sub = fdl.random.split(key)
        return key, fdl.random.normal(sub, (2,))

    last, ys = fdl.jit(lambda k: lax.scan(step, k, None, length=3))(fdl.random.key(1))
    key, expected = fdl.random.key(1), []
    for _ in range(3):
        key, sub = fdl.random.split(key)
        expected.append(np.asarray(fdl.random.normal(sub, (2,))))
    assert_close(ys, np.stack(expected))
    assert_same(fdl.random.key_data(last), fdl.random.key_data(key))


def test_fori_loop(rng):
    x = rng.normal(size=5)
    assert_close(lax.fori_loop(0, 5, lambda i, c: c + i * fnp.asarray(x)[i], 0.0), np.sum(x * np.arange(5)))
    assert_close(lax.fori_loop(3, 3, lambda i, c: c + 1, 7.0), 7.0)
    assert_close(lax.fori_loop(3, 1, lambda i, c: c + 1, 7.0), 7.0)
    assert int(lax.fori_loop(-2, 2, lambda i, c: c + i, 0)) == -2
    bounds = fdl.jit(lambda a, b: lax.fori_loop(a, b, lambda i, c: c + i, 0))
    assert int(bounds(2, 6)) == 2 + 3 + 4 + 5
    assert int(bounds(6, 2)) == 0
    check_derivatives(lambda x: lax.fori_loop(0, 3, lambda i, c: fnp.sin(c + x[i]), x), x)
    found = fdl.vmap(lambda n: lax.fori_loop(0, n, lambda i, c: c * 2.0, 1.0))(np.array([0, 3, 5]))
    assert_close(found, np.array([1.0, 8.0, 32.0]))


def test_map(rng):
    x, y = rng.normal(size=(7, 2)), rng.normal(size=7)

    def f(pair):
        return {"sum": (fnp.sin(pair[0]) * pair[1]).sum(), "x": pair[0]}

    expected = {"sum": (np.sin(x) * y[:, None]).sum(1), "x": x}
    assert_close(lax.map(f, (x, y)), expected)
    for size in (1, 3, 7, 10):
        assert_close(lax.map(f, (x, y), batch_size=size), expected)
    check_derivatives(lambda x, y: lax.map(f, (x, y), batch_size=3), x, y, order=1)
    check_derivatives(lambda x, y: lax.map(f, (x, y)), x, y)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 7, 8, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan(rng, length, reverse):
    x = rng.normal(size=(2, length))
    expected = np.cumsum(x[:, ::-1], 1)[:, ::-1] if reverse else np.cumsum(x, 1)
    assert_close(lax.associative_scan(fnp.add, x, reverse=reverse, axis=1), expected)
    assert_close(fdl.jit(lambda x: lax.associative_scan(fnp.add, x, reverse=reverse, axis=-1))(x), expected)


def test_associative_scan_of_what_does_not_commute(rng):
    # The linear recurrence h[n] = a[n] h[n-1] + b[n], as composition of affine maps.
    a, b = rng.normal(size=(2, 9, 3))

    def compose(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    _, found = lax.associative_scan(compose, (a, b))
    h, expected = np.zeros(3), []
    for n in range(9):
        h = a[n] * h + b[n]
        expected.append(h)
    assert_close(found, np.stack(expected))
    check_derivatives(lambda a, b: lax.associative_scan(compose, (a, b))[1], a, b)
    matrices = rng.normal(size=(6, 2, 2))
    products = [matrices[0]]
    for m in matrices[1:]:
        products.append(products[-1] @ m)
    assert_close(lax.associative_scan(fnp.matmul, matrices), np.stack(products))
    assert_close(fdl.vmap(lambda m: lax.associative_scan(fnp.matmul, m))(matrices[None])[0], np.stack(products))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2, 3, 5, 9, True, False])
def test_unrolled(case, reverse, unroll):
    init, xs = case
    expected = lax.scan(body, init, xs, reverse=reverse)
    assert_close(lax.scan(body, init, xs, reverse=reverse, unroll=unroll), expected)
    program = fdl.make_program(lambda i, x: lax.scan(body, i, x, reverse=reverse, unroll=unroll))(init, xs)
    at_once = {True: 5, False: 1}.get(unroll, unroll) if isinstance(unroll, bool) else unroll
    lengths = [e.operation.length for e in program.equations if e.operation.name == "scan"]
    assert lengths == ([5] if at_once == 1 else [5 // at_once] if at_once < 4 and 5 // at_once > 1 else [])

    def loss(h):
        return lax.scan(body, init | {"h": h}, xs, reverse=reverse, unroll=unroll)[1][0].sum()

    check_derivatives(loss, init["h"])


def test_unroll_is_a_number_of_steps():
    for unroll in (-1, 1.5, "all"):
        with pytest.raises(ValueError, match="unroll must be True, False or a number of steps"):
            lax.scan(lambda c, x: (c + x, None), 0.0, np.ones(3), unroll=unroll)
    assert float(lax.fori_loop(0, 5, lambda i, s: s + 1.0, 0.0, unroll=True)) == 5.0
    assert lax.scan(lambda c, x: (c + x, c), 0.0, np.ones(0), unroll=4)[1].shape == (0,)


def test_loops_of_very_many_steps_keep_no_numbers():
    steps = 2**24 + 3
    run = (
        fdl.jit(lambda x: lax.fori_loop(2, 2 + steps, lambda i, total: total + (i & 1), x)).lower(np.int32(0)).compile()
    )
    assert run.memory_analysis().temp_size_in_bytes < 1000
    assert int(run(np.int32(0))) == steps // 2
