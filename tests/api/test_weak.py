"""Numbers of Python and NumPy as arguments of transforms: weakly typed, with all of their digits."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax

WIDE = fnp.array(np.array([1.0, -2.0, 3.0]))
NUMBERS = [0.1, np.float64(0.1), 1 / 3]

#: Functions of an array and a number that are the product of both.
PRODUCTS = {
    "jit": lambda x, n: fdl.jit(lambda x, n: x * n)(x, n),
    "jit of what is made of it": lambda x, n: fdl.jit(lambda x, n: x * (n * 4) / 4)(x, n),
    "nested jit": lambda x, n: fdl.jit(lambda x, n: fdl.jit(lambda n: x * n)(n))(x, n),
    "cond": lambda x, n: lax.cond(True, lambda n: x * n, lambda n: x, n),
    "result of cond": lambda x, n: x * 0 + lax.cond(True, lambda n: n, lambda n: x[0], n) * x,
    "switch": lambda x, n: lax.switch(1, [lambda n: x, lambda n: n * x], n),
    "scan": lambda x, n: lax.scan(lambda c, _: (c, x * c), n, None, 1)[1][0],
    "carry of scan": lambda x, n: lax.scan(lambda c, x: (c * x[0] / x[0], c * x), n, x[None])[1][0],
    "while_loop": lambda x, n: lax.while_loop(lambda s: s[1] < 1, lambda s: (s[0] * n, s[1] + 1), (x, 0))[0],
    "carry of while_loop": lambda x, n: lax.while_loop(lambda s: s[2] < 1, lambda s: (s[0] * s[1], s[1], 1), (x, n, 0))[
        0
    ],
    "fori_loop": lambda x, n: lax.fori_loop(0, 1, lambda i, v: v * n, x),
    "step of fori_loop": lambda x, n: lax.fori_loop(0, 2, lambda i, v: v + x * (i * n), 0 * x),
    "traced fori_loop": lambda x, n: fdl.jit(lambda x, k: lax.fori_loop(0, k, lambda i, v: v + x * (i * n), 0 * x))(
        x, 2
    ),
    "jvp": lambda x, n: fdl.jvp(lambda n: x * n, (n,), (1.0,))[0],
    "tangent of jvp": lambda x, n: fdl.jvp(lambda y: x * y, (x[0],), (n,))[1],
    "linearize": lambda x, n: fdl.linearize(lambda n: x * n, n)[0],
    "derivative of linearize": lambda x, n: fdl.linearize(lambda n: x * n * n / 2, n)[1](1.0),
    "vjp": lambda x, n: fdl.vjp(lambda n: x * n, n)[0],
    "grad": lambda x, n: fdl.grad(lambda x, n: (x * x / 2 * n).sum())(x, n),
    "jit of grad": lambda x, n: fdl.jit(fdl.grad(lambda x, n: (x * x / 2 * n).sum()))(x, n),
    "vmap": lambda x, n: fdl.vmap(lambda x, n: x * n, in_axes=(0, None))(x, n),
    "jit of vmap": lambda x, n: fdl.jit(fdl.vmap(lambda x, n: x * n, in_axes=(0, None)))(x, n),
    "checkpoint": lambda x, n: fdl.jit(fdl.checkpoint(lambda x, n: x * n))(x, n),
    "compiled": lambda x, n: fdl.jit(lambda x, n: x * n).lower(x, n).compile()(x, n),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_numbers_keep_their_digits_through_transforms(name):
    for n in NUMBERS:
        found = PRODUCTS[name](WIDE, n)
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, np.asarray(WIDE) * n, rtol=1e-15)


def test_integers_keep_their_digits_through_transforms():
    x = fnp.array(np.array([1, 2]))
    for n in (2**40 + 1, np.int64(-(2**35))):
        for call in (
            fdl.jit(lambda x, n: x * n),
            lambda x, n: fdl.jit(lambda x, n: x * (n - 1) + x)(x, n),
            lambda x, n: lax.cond(True, lambda n: x * n, lambda n: x, n),
            lambda x, n: lax.fori_loop(0, 1, lambda i, v: v * n, x),
        ):
            assert call(x, n).tolist() == [int(n), 2 * int(n)]
    # What does not fit into the default integer alone fits beside an array of 64 bits.
    assert fdl.jit(lambda x, n: x + n * n)(x, 2**20).tolist() == [2**40 + 1, 2**40 + 2]


def test_numbers_that_stand_alone_have_the_default_dtype():
    for call in (
        fdl.jit(lambda n: n),
        fdl.jit(lambda n: n * 1),
        fdl.grad(lambda n: n * n / 2),
        lambda n: lax.scan(lambda c, _: (c * 1, None), n, None, 2)[0],
        lambda n: lax.scan(lambda c, _: (c, c), n, None, 2)[1][0],
        lambda n: lax.cond(True, lambda n: n, lambda n: n * 2, n),
        lambda n: lax.while_loop(lambda n: n > 1, lambda n: n, n),
        lambda n: fdl.vmap(lambda x, n: n, in_axes=(0, None))(WIDE, n)[0],
        lambda n: fdl.jit(fdl.checkpoint(lambda n: n))(n),
        lambda n: fdl.jvp(lambda n: n, (n,), (n,))[1],
        lambda n: fdl.jit(lambda n: fnp.ones((), n.dtype) * n)(n),
    ):
        found = call(0.1)
        assert found.dtype == np.float32 and not found.weak_type
        assert found.item() == np.float32(0.1).item()
    assert fdl.jit(lambda n: n)(3).dtype == np.int32
    assert fdl.jit(lambda n: (n, fnp.ones(2, "bfloat16") * n))(0.1)[1].dtype == fnp.bfloat16
    assert fdl.jit(lambda n: n)(1e300).item() == np.inf  # without a warning


def test_numbers_in_lists_have_the_dtype_of_the_arrays_beside_them():
    thirds = [1 / 3, 0.1, 0.7]
    for found in (
        fnp.array([WIDE, thirds])[1],
        fnp.array([thirds, np.asarray(WIDE)])[0],
        fdl.jit(lambda x: fnp.array([x, thirds])[1])(WIDE),
        fnp.stack([WIDE, thirds])[1],
        fnp.concatenate([thirds, WIDE])[:3],
        fnp.append(WIDE, thirds)[3:],
    ):
        assert found.dtype == np.float64 and found.tolist() == thirds
    half = fnp.ones(3, "bfloat16")
    assert fnp.array([half, thirds]).dtype == fnp.concatenate([half, [1.0]]).dtype == fnp.bfloat16
    assert fnp.array([fnp.ones(3, "int8"), thirds]).dtype == np.float32


def test_limits_of_clip_have_all_digits_and_no_bounds():
    assert fnp.clip(0.1, 0, WIDE).tolist() == [0.1, -2.0, 0.1]
    small = fnp.array([1, 7, 200], "uint8")
    assert fnp.clip(small, -1, 2**40).tolist() == [1, 7, 200]
    assert fdl.jit(lambda x: fnp.clip(x, -1, 5))(small).tolist() == [1, 5, 5]
    assert fnp.clip(small, 0, 300).dtype == np.uint8


def test_a_sum_of_numbers_in_a_loop_has_their_digits():
    """Ten million times 0.1, of which float32 would make 1087937."""
    assert lax.fori_loop(0, 10**7, lambda i, t: t + 0.1, 0.0).item() == pytest.approx(1e6, rel=1e-7)
    total = fdl.jit(lambda n, t: lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] + 0.1), (0, t))[1])
    assert total(10**6, 0.0).item() == pytest.approx(1e5, rel=1e-7)


def _powers(x, n):
    """x times a power of n, of which some examples take more than others."""
    steps = lax.while_loop(lambda s: s[2] < 2 + abs(x), lambda s: (s[0] * s[1], s[1] * n, s[2] + 1), (x, n, 0))
    return lax.fori_loop(0, (x * 0).astype(int) + 1, lambda i, s: (s[0] * s[1], s[1] * n), (steps[0], n))[0]


@pytest.mark.parametrize("over", [fdl.vmap, lambda f, axes: fdl.vmap(fdl.jit(f), axes)], ids=["vmap", "vmap of jit"])
def test_numbers_in_loops_of_batches_have_the_width_of_the_arrays(over):
    """Vectors of two widths take the time of the wider one; so a loop of float32 has no double numbers in it."""
    narrow = WIDE.astype("float32")
    call = fdl.jit(over(lambda x: _powers(x, 0.1), 0))
    assert "f64" not in call.lower(narrow).as_text("optimized")
    assert "f64" in call.lower(WIDE).as_text("optimized")
    steps = np.ceil(2 + np.abs(np.asarray(WIDE))).astype(int)
    expected = np.asarray(WIDE) * 0.1 ** (steps * (steps + 1) / 2 + 1)
    np.testing.assert_allclose(call(narrow), expected, rtol=1e-5)
    np.testing.assert_allclose(call(WIDE), expected, rtol=1e-14)
    both = over(lambda x, n: _powers(x, n), (0, None))
    np.testing.assert_allclose(fdl.jit(both)(WIDE, 0.1), expected, rtol=1e-14)


def test_a_carry_takes_the_dtype_that_the_body_gives_it():
    half = fnp.ones((), "bfloat16")
    assert lax.scan(lambda c, _: (c * half, c), 1.0, None, 2)[0].dtype == fnp.bfloat16
    assert lax.scan(lambda c, _: (c + 0.5, c), 1, None, 2)[0].tolist() == 2.0  # an integer becomes a float
    assert lax.scan(lambda c, _: (0.0, c), half, None, 2)[0].dtype == fnp.bfloat16  # a number takes the carry's
    assert lax.cond(True, lambda: 1.0, lambda: half).dtype == fnp.bfloat16
    with pytest.raises(fdl.errors.ShapeError, match=r"came in as f32\[\] and went out as f32\[3\]"):
        lax.scan(lambda c, x: (c + x, None), 0.0, fnp.ones((2, 3)))


@pytest.mark.parametrize("numbers", [(0.5, np.float64(0.25)), (3, np.int64(4)), (True, np.bool_(False))])
def test_numbers_of_python_and_numpy_share_a_fast_call(numbers):
    f = fdl.jit(lambda x, n: x * n)
    for n in numbers * 3:
        assert f(WIDE, n).tolist() == (np.asarray(WIDE) * n).tolist()
    (calls,) = f.cache.recent.values()
    assert len(calls) == 1 and calls[0]((WIDE, numbers[1]), {}) is not NotImplemented


def _custom_jvp():
    @fdl.custom_jvp
    def f(x, n):
        return x * n

    f.defjvp(lambda primals, dots: (f(*primals), dots[0] * primals[1] + primals[0] * dots[1]))
    return f


def _custom_vjp():
    f = fdl.custom_vjp(lambda x, n: x * n)
    f.defvjp(lambda x, n: (x * n, (x, n)), lambda kept, g: (g * kept[1], fnp.sum(g * kept[0])))
    return f


def _custom_vmap():
    f = fdl.custom_batching.custom_vmap(lambda x, n: x * n)
    f.def_vmap(lambda size, batched, x, n: (x * n, True))
    return f


CUSTOM = {"custom_jvp": _custom_jvp, "custom_vjp": _custom_vjp, "custom_vmap": _custom_vmap}


@pytest.mark.parametrize("kind", CUSTOM)
@pytest.mark.parametrize("n", [0.1, np.float64(0.1)])
def test_numbers_keep_their_digits_through_rules(kind, n):
    f, expected = CUSTOM[kind](), np.asarray(WIDE) * 0.1
    calls = [
        f,
        fdl.jit(f),
        lambda x, n: fdl.jit(lambda x: f(x, n))(x),
        fdl.vmap(f, in_axes=(0, None)),
        fdl.jit(fdl.vmap(f, in_axes=(0, None))),
        fdl.grad(lambda x, n: (f(x, n) * x / 2).sum()),
        fdl.jit(fdl.grad(lambda x, n: (f(x, n) * x / 2).sum())),
    ]
    if kind != "custom_vjp":
        calls += [
            lambda x, n: fdl.jvp(f, (x, n), (x, 1.0))[0],
            lambda x, n: fdl.jvp(lambda x: f(x, n), (x,), (x,))[1],
        ]
    for place, call in enumerate(calls):
        found = call(WIDE, n)
        assert found.dtype == np.float64, place
        np.testing.assert_allclose(found, expected, rtol=1e-15, err_msg=str(place))
    narrow = WIDE.astype("float32")
    for call in calls:
        assert call(narrow, n).dtype == np.float32
    slope = fdl.jit(fdl.grad(lambda n: f(narrow, n).sum()))(n)
    assert (slope.dtype, float(slope)) == (np.float32, 2.0)
    both = fdl.jit(lambda n: f(n, n))(n)
    assert both.dtype == np.float32


@pytest.mark.parametrize("n", [0.1, np.float64(0.1), 3, np.int64(3)])
def test_numbers_in_callbacks_take_the_dtype_of_what_they_meet(n):
    for x in (WIDE, WIDE.astype("float32"), fnp.array([1, 2])):
        x = x if x.dtype.kind == np.asarray(n).dtype.kind else x.astype("float64")
        for call in (fdl.pure_callback, fdl.jit(fdl.pure_callback, static_argnums=0)):
            found = call(lambda x, n: x * n, x, x, n)
            assert found.dtype == x.dtype
            np.testing.assert_allclose(found, np.asarray(x) * x.dtype.type(n), rtol=1e-15)
    for call in (lambda n: fdl.pure_callback(lambda v: v * 2, n, n),):
        for found in (call(n), fdl.jit(call)(n)):
            assert found.dtype == fnp.asarray(n).dtype
            np.testing.assert_allclose(found, 2 * n, rtol=1e-7)


def test_indices_of_loops_may_become_the_carry():
    for body, expected in [(lambda i, c: i, 2), (lambda i, c: i + 1, 3), (lambda i, c: 2 * i, 4)]:
        assert lax.fori_loop(0, 3, body, 0) == expected
        assert fdl.jit(lambda n, body=body: lax.fori_loop(0, n, body, 0))(3) == expected


def test_whole_numbers_of_64_bits_are_not_cut():
    large = 2**40
    assert lax.cond(True, lambda: large, lambda: 0) == large
    assert lax.scan(lambda c, _: (large, None), 0, None, 3)[0] == large
    assert lax.fori_loop(large, large + 3, lambda i, c: i, 0) == large + 2
    assert fdl.jit(lambda n: n + 1)(large) == large + 1
    assert fdl.jit(lambda n: fnp.maximum(n, 3))(large) == large
    assert fdl.jit(lambda n: n > 0)(2**63 + 5)


def test_comparisons_look_at_all_bits_that_numbers_hold():
    assert fdl.jit(lambda n: n * n > 2**33)(10**5)
    assert not fdl.jit(lambda n: n * n < 2**33)(10**5)


def test_derivatives_of_loops_are_those_of_what_the_loops_compute():
    """The directions of a Jacobian are no batch of the user's, in which loops carry numbers in float32."""

    def f(x):
        return lax.fori_loop(0, 1000, lambda i, c: c + 0.1, 0.0) * fnp.sum(x)

    x = fnp.ones(2)
    for found in (fdl.grad(f)(x), fdl.jacrev(f)(x), fdl.jacfwd(f)(x), fdl.hessian(lambda x: f(x) * x.sum())(x)[0] / 2):
        np.testing.assert_allclose(found, 100.0, rtol=1e-6)
