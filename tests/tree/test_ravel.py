"""Trees as vectors."""

import functools

import numpy as np
import pytest

import fdl.numpy as fnp
from fdl import api, tree
from fdl.errors import DtypeError, ShapeError
from fdl.flatten_util import ravel_pytree


def test_unravel_restores_shapes_and_dtypes():
    values = {"w": fnp.arange(6.0).reshape(2, 3), "n": fnp.array([1, 2], dtype="int32"), "h": fnp.ones((), "bfloat16")}
    flat, unravel = ravel_pytree(values)
    assert flat.dtype == np.float32 and flat.shape == (9,)
    assert flat.tolist() == [1.0, 1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    again = unravel(flat)
    for a, b in zip(tree.leaves(values), tree.leaves(again), strict=True):
        assert a.type == b.type and np.array_equal(a, b)


def test_vectors_of_another_type_are_refused():
    _, unravel = ravel_pytree([1.0, 2])
    with pytest.raises(ShapeError, match="2 elements"):
        unravel(fnp.ones(3))
    with pytest.raises(DtypeError, match="float32"):
        unravel(fnp.ones(2, "int64"))


def test_ravel_is_differentiable_and_maps():
    values = {"a": fnp.ones((2,)), "b": fnp.full((1, 2), 3.0)}
    gradient = api.differentiate.grad(lambda t: (ravel_pytree(t)[0] ** 2).sum())(values)
    assert tree.map(lambda g: g.tolist(), gradient) == {"a": [2.0, 2.0], "b": [[6.0, 6.0]]}
    assert ravel_pytree([])[0].shape == (0,)


def test_functions_back_are_equal_for_equal_structures():
    traces = []

    @functools.partial(api.jit.jit, static_argnums=1)
    def double(flat, unravel):
        traces.append(flat.shape)
        return unravel(2 * flat)

    for values in ({"a": 1.0, "b": np.ones(3, np.float32)}, {"a": 5.0, "b": np.zeros(3, np.float32)}):
        flat, unravel = ravel_pytree(values)
        assert np.array_equal(double(flat, unravel)["b"], 2 * values["b"])
    assert traces == [(4,)]
    others = [{"a": 1.0, "b": np.ones(4, np.float32)}, {"a": 1, "b": np.ones(3, np.float32)}, [1.0, np.ones(3)]]
    assert not any(ravel_pytree(other)[1] == unravel for other in others)
