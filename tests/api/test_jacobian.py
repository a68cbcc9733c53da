"""jacfwd, jacrev, hessian: every column and row, for trees, argnums and aux."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import tree
from tests.api.check import STENCIL, STEP, assert_close

BOTH = pytest.mark.parametrize("jac", [fdl.jacfwd, fdl.jacrev, fdl.jacobian])


def numeric(f, x):
    """The Jacobian of an array by an array, column by column."""
    columns = []
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = STEP
        columns.append(sum(w * np.asarray(f(fnp.asarray(x + n * step))) for n, w in STENCIL) / STEP)
    out = np.stack(columns, axis=-1)
    return out.reshape(out.shape[:-1] + x.shape)


def f(x):
    return fnp.sin(x) @ fnp.array([[1.0], [2.0], [3.0]], dtype=fnp.float64) * x[:, :2]


@BOTH
def test_arrays(rng, jac):
    x = rng.normal(size=(2, 3))
    found = jac(f)(x)
    assert found.shape == (2, 2, 2, 3)
    assert_close(found, numeric(f, x))
    assert_close(fdl.jit(jac(f))(x), found)
    assert_close(jac(fdl.jit(f))(x), found)
    assert_close(fdl.vmap(jac(f))(np.stack([x, 2 * x]))[0], found)


@BOTH
def test_scalars_in_and_out(jac):
    assert_close(jac(lambda x: x**3)(2.0), np.float32(12.0))
    assert_close(jac(lambda x: fnp.stack([x, x * x]))(np.asarray(3.0)), np.array([1.0, 6.0]))
    assert_close(jac(lambda x: fnp.sum(x * x))(np.array([1.0, 2.0])), np.array([2.0, 4.0]))


@BOTH
def test_trees_in_and_out(rng, jac):
    params = {"w": rng.normal(size=(2, 3)), "b": rng.normal(size=2)}

    def g(p):
        return {"y": p["w"].sum(1) * p["b"], "s": [fnp.sum(p["b"] ** 2)]}

    found = jac(g)(params)
    assert tree.structure(found) == tree.structure({"y": params, "s": [params]})
    assert_close(found["y"]["b"], np.diag(params["w"].sum(1)))
    assert_close(found["y"]["w"], np.einsum("ij,k->ijk", np.diag(params["b"]), np.ones(3)))
    assert_close(found["s"][0], {"w": np.zeros((2, 3)), "b": 2 * params["b"]})


@BOTH
def test_argnums_keywords_and_aux(rng, jac):
    x, y = rng.normal(size=(2, 3))

    def g(x, y, *, scale):
        return x * y * scale, {"sum": fnp.sum(x + y)}

    found, aux = jac(g, argnums=(1, 0), has_aux=True)(x, y, scale=2.0)
    assert_close(found, (np.diag(2 * x), np.diag(2 * y)))
    assert_close(aux, {"sum": np.sum(x + y)})
    assert_close(jac(lambda x, y: x * y, argnums=-1)(x, y), np.diag(x))


@BOTH
def test_mixed_dtypes(jac):
    found = jac(lambda p: p["a"] * 2.0 + p["b"].sum())({"a": np.ones(2, np.float32), "b": np.ones(3)})
    assert_close(found["a"], 2 * np.eye(2))
    assert_close(found["b"], np.ones((2, 3)))


@BOTH
def test_complex_holomorphic(jac):
    z = np.array([0.3 + 0.4j, 1.0 - 0.2j])
    found = jac(lambda z: z**3 + z[::-1], holomorphic=True)(z)
    assert_close(found, np.diag(3 * z**2) + np.eye(2)[::-1])


@BOTH
def test_integers_are_refused(jac):
    with pytest.raises(TypeError, match=r"needs floating-point inputs, but.*i32\[2\]"):
        jac(lambda x: x * 2.0)(np.arange(2, dtype=np.int32))


def test_hessian(rng):
    x = rng.normal(size=3)

    def g(x):
        return fnp.sum(fnp.sin(x) * x[::-1]) ** 2

    expected = numeric(fdl.grad(g), x)
    assert_close(fdl.hessian(g)(x), expected)
    assert_close(fdl.jit(fdl.hessian(fdl.jit(g)))(x), expected)
    assert_close(fdl.jacrev(fdl.jacfwd(g))(x), expected)
    assert_close(fdl.jacrev(fdl.jacrev(g))(x), expected)
    assert_close(fdl.jacfwd(fdl.jacfwd(g))(x), expected)


def test_hessian_of_a_tree_is_a_tree_of_trees(rng):
    params = {"a": rng.normal(size=2), "b": rng.normal(size=(1, 2))}
    found = fdl.hessian(lambda p: fnp.sum(p["a"] * p["b"] ** 2))(params)
    a, b = params["a"], params["b"][0]
    assert_close(found["a"]["a"], np.zeros((2, 2)))
    assert_close(found["a"]["b"], np.diag(2 * b).reshape(2, 1, 2))
    assert_close(found["b"]["a"], np.diag(2 * b).reshape(1, 2, 2))
    assert_close(found["b"]["b"], np.diag(2 * a).reshape(1, 2, 1, 2))


def test_hessian_by_several_arguments_and_of_many_outputs(rng):
    x, y = rng.normal(size=(2, 2))
    found = fdl.hessian(lambda x, y: fnp.sum(x * x * y), argnums=(0, 1))(x, y)
    assert_close(found, ((np.diag(2 * y), np.diag(2 * x)), (np.diag(2 * x), np.zeros((2, 2)))))
    cubes = fdl.hessian(lambda x: x**3)(x)
    assert_close(cubes, np.einsum("ij,jk->ijk", np.eye(2), np.diag(6 * x)))
