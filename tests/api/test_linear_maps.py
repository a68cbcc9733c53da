"""The functions of vjp and linearize are pytrees; arrays of dtype float0 go in and out of compiled functions."""

import pickle

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, tree
from fdl.errors import ShapeError, TreeError

X = np.array([0.5, 1.0, 2.0])


def test_they_go_out_of_jit_and_into_it() -> None:
    _, f_vjp = fdl.jit(lambda x: fdl.vjp(fnp.sin, x))(X)
    np.testing.assert_allclose(f_vjp(np.ones(3))[0], np.cos(X), rtol=1e-14)
    _, f_jvp = fdl.jit(lambda x: fdl.linearize(fnp.sin, x))(X)
    np.testing.assert_allclose(f_jvp(np.ones(3)), np.cos(X), rtol=1e-14)
    apply = fdl.jit(lambda f, c: f(c))
    for _ in range(3):
        np.testing.assert_allclose(apply(f_vjp, 2 * np.ones(3))[0], 2 * np.cos(X), rtol=1e-14)
        np.testing.assert_allclose(apply(f_jvp, 2 * np.ones(3)), 2 * np.cos(X), rtol=1e-14)


def test_transposes_go_out_of_jit_and_into_it() -> None:
    apply = fdl.jit(lambda f, c: f(c))
    transposed = fdl.jit(lambda a: fdl.linear_transpose(lambda x, y: a * x + y.sum(), 1.0, X))(3.0)
    for f in (transposed, fdl.linear_transpose(lambda x, y: 3.0 * x + y.sum(), 1.0, X)):
        x, y = apply(f, np.float64(2))
        assert x == 6 and np.asarray(y).tolist() == [2, 2, 2]
    assert fdl.grad(lambda a: fdl.linear_transpose(lambda x: a * a * x, 1.0)(1.0)[0])(3.0) == 6
    # Integers count: JAX, run beside, gives 8 too.
    assert fdl.linear_transpose(lambda n: n * 2, 3)(4)[0] == 8
    assert np.asarray(fdl.linear_transpose(lambda n: n.sum() + n[0], fnp.arange(3))(4)[0]).tolist() == [8, 4, 4]
    with pytest.raises(TypeError, match="linear_transpose returns takes one cotangent"):
        transposed(1.0, 2.0)


def test_equal_derivatives_at_other_points_share_compiled_code() -> None:
    traces = []
    apply = fdl.jit(lambda f, c: traces.append(1) or f(c))
    for point in (X, np.array(0.5)):
        traces.clear()
        for shift in range(3):
            x = np.asarray(point + shift)
            _, f_vjp = fdl.vjp(lambda x: fnp.sin(x) * x, x)
            np.testing.assert_allclose(apply(f_vjp, np.ones(x.shape))[0], np.cos(x) * x + np.sin(x), rtol=1e-14)
        assert len(traces) == 1


def test_their_leaves_are_what_they_remember() -> None:
    _, f_vjp = fdl.vjp(fnp.sin, X)
    (residual,) = tree.leaves(f_vjp)
    np.testing.assert_allclose(residual, np.cos(X), rtol=1e-14)
    (number,) = tree.leaves(fdl.vjp(fnp.sin, 0.5)[1])
    assert abs(number - np.cos(0.5)) < 1e-6
    doubled = tree.map(lambda r: 2 * r, f_vjp)
    np.testing.assert_allclose(doubled(np.ones(3))[0], 2 * np.cos(X), rtol=1e-14)
    again = pickle.loads(pickle.dumps(f_vjp))
    np.testing.assert_allclose(again(np.ones(3))[0], np.cos(X), rtol=1e-14)


def test_they_are_differentiated_and_batched() -> None:
    def through(x):
        _, f_vjp = fdl.jit(lambda x: fdl.vjp(fnp.sin, x))(x)
        return f_vjp(np.ones(3))[0].sum()

    np.testing.assert_allclose(fdl.grad(through)(X), -np.sin(X), rtol=1e-14)
    maps = fdl.vmap(lambda x: fdl.vjp(fnp.sin, x)[1])(X)
    np.testing.assert_allclose(fdl.vmap(lambda f, c: f(c)[0])(maps, np.ones(3)), np.cos(X), rtol=1e-14)
    carried = lax.scan(lambda c, _: (fdl.vjp(fnp.sin, X)[1](c)[0], None), np.ones(3), None, 2)[0]
    np.testing.assert_allclose(carried, np.cos(X) ** 2, rtol=1e-14)


def test_wrong_cotangents_are_named() -> None:
    _, f_vjp = fdl.vjp(lambda a: a["x"] * 2, {"x": fnp.ones(2)})
    with pytest.raises(TreeError, match="cotangent must have the structure of the output"):
        f_vjp((fnp.ones(2),))
    with pytest.raises(ShapeError, match=r"cotangent is f32\[3\], but output is f32\[2\]"):
        f_vjp(fnp.ones(3))
    with pytest.raises(TypeError, match="takes one cotangent"):
        f_vjp(fnp.ones(2), fnp.ones(2))
    _, f_jvp = fdl.linearize(lambda a: a["x"] * 2, {"x": fnp.ones(2)})
    with pytest.raises(ShapeError, match=r"tangents\[0\]\['x'\] is f32\[3\]"):
        f_jvp({"x": fnp.ones(3)})


def test_float0_out_of_compiled_functions() -> None:
    n = np.arange(3)
    for transform in (fdl.jit, lambda f: f):
        g = transform(fdl.grad(lambda x: 1.0 * x.sum(), allow_int=True))(n)
        assert g.dtype == fdl.float0 and g.shape == (3,)
        dx, dn = transform(lambda x, n: fdl.vjp(lambda x, n: x * n, x, n)[1](1.0))(2.0, 3)
        assert dx == 3.0 and dn.dtype == fdl.float0 and dn.shape == ()
        out, dots = transform(lambda x: fdl.jvp(lambda x: (x * 2, (x > 0).astype(int)), (x,), (1.0,)))(2.0)
        assert out == (4.0, 1) and dots[0] == 2.0 and dots[1].dtype == fdl.float0
        linear = transform(lambda x: fdl.linearize(lambda x: (x * 2, n), x)[1](1.0))(2.0)
        assert linear[0] == 2.0 and linear[1].shape == (3,)


def test_float0_into_compiled_functions() -> None:
    nothing = np.zeros((), fdl.float0)
    f = fdl.jit(lambda x, n, dn: fdl.jvp(lambda x, n: x * n, (x, n), (1.0, dn)))
    g = fdl.jit(lambda x, ct: fdl.vjp(lambda x: (x * 2, 3), x)[1]((1.0, ct)))
    for _ in range(3):
        assert f(2.0, 3, nothing) == (6.0, 3.0) and g(2.0, nothing) == (2.0,)
    assert fdl.jit(lambda tree: tree)({"a": nothing, "b": 1.0})["a"].dtype == fdl.float0


def test_float0_is_stacked() -> None:
    def one(x, n):
        return fdl.vjp(lambda x, n: x * n, x, n)[1](1.0)

    assert fdl.vmap(one)(np.ones(2), np.arange(2))[1].shape == (2,)
    assert lax.scan(lambda c, n: (c, one(c, n)), 1.0, np.arange(4))[1][1].shape == (4,)
    assert lax.cond(True, lambda: one(1.0, 2), lambda: one(2.0, 3))[1].shape == ()
