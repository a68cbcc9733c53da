"""Elements that are moved but never computed with: random keys and complex numbers go wherever numbers go.

Every program moves them in one way, alone, and with work on each element behind it, so that loop nests, row groups
and kernels meet them; what comes out is the very bits that the interpreter moves.
"""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn

ORDER = np.array([5, 3, -1, 0, 7, 3, 2, 200])


def places(n):
    return ORDER % n


def carried(x):
    return lax.scan(lambda c, row: (fnp.where(row[:1] == row[:1], row, c), (c, row)), x[0], x)


def chosen(x, k):
    return lax.cond(k > 1, lambda v: v[::-1], lambda v: fnp.roll(v, 1, 0), x)


def repeated(x, k):
    return lax.while_loop(lambda s: s[0] < 3 + k, lambda s: (s[0] + 1, fnp.roll(s[1], s[0], 0)), (0, x))[1]


def masked(x, k):
    return fnp.where((fnp.arange(len(x)) % 2 == k % 2)[:, None], x, x[::-1])


#: Each takes an array of shape (n, 6) and a number that is not known when the program is compiled.
MOVES = {
    "itself": lambda x, k: x,
    "transpose": lambda x, k: x.T,
    "reverse": lambda x, k: x[::-1, ::-1],
    "slice": lambda x, k: x[1::2, 1:4],
    "broadcast": lambda x, k: fnp.broadcast_to(x[:, None], (len(x), 3, 6)),
    "reshape": lambda x, k: x.reshape(-1, 2),
    "concatenate": lambda x, k: fnp.concatenate([x[2:], x, x[:2]]),
    "concatenate columns": lambda x, k: fnp.concatenate([x[:, ::2], x], 1),
    "stack": lambda x, k: fnp.stack([x, x[::-1]], 1),
    "where": masked,
    "select one": lambda x, k: fnp.where(k > 1, x, x[::-1]),
    "pad": lambda x, k: lax.pad(x, x[0, 0], [(1, 2, 0), (0, 1, 0)]),
    "pad between": lambda x, k: lax.pad(x, x[0, 0], [(1, 2, 1), (0, 1, 2)]),
    "pad away": lambda x, k: lax.pad(x, x[0, 0], [(-1, 2, 0), (1, -1, 0)]),
    "gather rows": lambda x, k: x[places(len(x)) % (k + 2)],
    "gather elements": lambda x, k: x[places(len(x)), ORDER % 6 - k],
    "take along": lambda x, k: fnp.take_along_axis(x, (fnp.arange(6 * len(x)).reshape(-1, 6) * 5 + k) % 6, 1),
    "dynamic slice": lambda x, k: lax.dynamic_slice(x, (k, 1), (2, 3)),
    "dynamic index": lambda x, k: x[k],
    "dynamic update": lambda x, k: lax.dynamic_update_slice(x, x[:2, :3], (k, 2)),
    "scatter rows": lambda x, k: x.at[places(len(x))[:3] - k].set(x[:3]),
    "scatter element": lambda x, k: x.at[k, 2].set(x[0, 0]),
    "scan": lambda x, k: carried(x),
    "cond": chosen,
    "while": repeated,
    "fori": lambda x, k: lax.fori_loop(0, 3 + k, lambda i, v: fnp.roll(v, i, 1), x),
    "sort by another": lambda x, k: lax.sort(((fnp.arange(6.0) * 5 + k) % 7 + 0 * _real(x), x), num_keys=1)[1],
    "order": lambda x, k: x[fnp.argsort((fnp.arange(len(x)) * 7 + k) % 5)],
    "tile": lambda x, k: fnp.tile(x, (2, 2)),
    "repeat": lambda x, k: fnp.repeat(x, 3, 0),
    "split": lambda x, k: fnp.split(x, 3, 1)[::-1],
    "vmapped gather": lambda x, k: fdl.vmap(lambda row, i: row[i])(x, fnp.arange(len(x)) * k % 6),
    "vmapped update": lambda x, k: fdl.vmap(lambda row, i: row.at[i].set(row[0]))(x, fnp.arange(len(x)) * k % 6),
    "vmapped cond": lambda x, k: fdl.vmap(
        lambda row, i: lax.cond(i % 2 == 0, lambda r: r[::-1], lambda r: fnp.roll(r, 1), row)
    )(x, fnp.arange(len(x)) + k),
    "vmapped while": lambda x, k: fdl.vmap(
        lambda row, n: lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, fnp.roll(s[1], 1)), (0, row))[1]
    )(x, fnp.arange(len(x)) % 4 + k),
    "vmapped scan": lambda x, k: fdl.vmap(lambda row: lax.scan(lambda c, e: (e, c), row[0], row))(x),
}


def _real(x):
    return fnp.zeros(x.shape)


def array(dtype, n, seed):
    """Made of a seed, so that a program can make what only it reads."""
    if dtype == "key":
        return fdl.random.split(fdl.random.wrap_key_data(seed), (n, 6))
    parts = fnp.sin(fnp.arange(12.0 * n) + seed[0]).reshape(2, n, 6)
    return fnp.asarray(lax.complex(parts[0], parts[1]), dtype)


def words(tree):
    return [np.asarray(fdl.random.key_data(v) if v.dtype.names else v) for v in tree]


def use(x):
    """Something of each element, and of the rows of that."""
    if not x.dtype.names:
        y = (fnp.real(x) + fnp.imag(x) * 2).reshape(-1, x.shape[-1] if x.ndim else 1)
        return [y, y - y.max(1, keepdims=True)]
    unit = fdl.vmap(lambda q: fdl.random.uniform(q, (4,)))(x.reshape(-1))
    return [unit, unit - unit.max(1, keepdims=True) > -0.3]


@pytest.mark.parametrize("dtype", ["key", "complex64", "complex128"])
@pytest.mark.parametrize("name", MOVES)
def test_moved_as_the_interpreter_moves(name, dtype):
    move = MOVES[name]
    if name == "scan" and dtype == "key":  # keys do not compare
        move = lambda x, k: lax.scan(lambda c, row: (row, (c, row)), x[0], x)  # noqa: E731
    seed = np.array([3, 5], np.uint32)

    def moved(x, k):
        return fdl.tree.leaves(move(x, k))

    def used(seed, k):
        return [u for v in fdl.tree.leaves(move(array(dtype, 171, seed), k)) for u in use(v)]

    few = array(dtype, 9, seed)
    alone, behind = fdl.jit(moved), fdl.jit(used)
    for k in (0, 2):
        found, want = alone(few, k), moved(few, k)
        assert [v.type for v in found] == [v.type for v in want]
        assert [v.tobytes() for v in words(found)] == [v.tobytes() for v in words(want)]
    for a, b in zip(behind(seed, 2), used(seed, 2), strict=True):
        np.testing.assert_allclose(a, b, 1e-6, 1e-6) if dtype != "key" else np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("draw", ["uniform", "bernoulli", "bits", "normal", "exponential", "randint"])
@pytest.mark.parametrize("count", [1, 100, 512, 1000])
def test_draws_of_many_keys(draw, count):
    """Monte Carlo: each key is made in the program and read by its own draws only."""
    draws = {
        "bernoulli": lambda q: fdl.random.bernoulli(q, 0.3, (4,)),
        "randint": lambda q: fdl.random.randint(q, (4,), 0, 1000),
    }
    one = draws.get(draw) or (lambda q: getattr(fdl.random, draw)(q, (4,)))

    def program(key):
        drawn = fdl.vmap(one)(fdl.random.split(key, count))
        return drawn, nn.softmax(drawn.astype("float32") % 7.0)

    key = fdl.random.key(0)
    (found, soft), (want, expected) = fdl.jit(program)(key), program(key)
    if draw in ("normal", "exponential"):
        np.testing.assert_allclose(found, want, 1e-6)  # the logarithm's last bit
    else:
        np.testing.assert_array_equal(found, want)
    np.testing.assert_allclose(soft, expected, 1e-5)


def test_dropout_of_each_example(rng):
    w, x = (rng.normal(size=s).astype(np.float32) for s in ((64, 33), (300, 64)))

    def loss(w, key, x):
        kept = fdl.random.bernoulli(key, 0.7, (33,))
        return fnp.sum(fnp.where(kept, fnp.tanh(x @ w) / 0.7, 0.0) ** 2)

    def program(key):
        keys = fdl.random.split(key, 300)
        values, gradients = fdl.vmap(fdl.value_and_grad(loss), in_axes=(None, 0, 0))(w, keys, x)
        return values, gradients.mean(0)

    key = fdl.random.key(5)
    for a, b in zip(fdl.jit(program)(key), program(key), strict=True):
        np.testing.assert_allclose(a, b, 1e-4, 1e-5)
