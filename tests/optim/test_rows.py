"""Gradients of tables as rows and values: the same numbers as dense gradients, in every transformation."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import nn, optim
from fdl.errors import DtypeError, ShapeError, TreeError

IDS = np.array([[1, 2, 2], [9, 1, 2]], np.int32)


def parameters(dtype=np.float32):
    rng = np.random.default_rng(0)
    return {
        "table": fnp.array(rng.normal(size=(10, 3)).astype(dtype)),
        "w": fnp.array(rng.normal(size=3).astype(dtype)),
    }


def loss(params, ids):
    x = params["table"][ids] * params["w"] + nn.embedding({"w": params["table"]}, ids + 0)[..., ::-1]
    return (x**2).sum()


def dense(gradient):
    """An independent sum of the rows, in float64."""
    out = np.zeros(gradient.shape)
    for row, value in zip(np.asarray(gradient.rows), np.asarray(gradient.values), strict=True):
        if 0 <= row < len(out):
            out[row] += value
    return out


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_of_lookups_is_rows(compiled, dtype):
    params = parameters(dtype)
    of_table = fdl.grad(loss, sparse={"table": True, "w": False})
    found = (fdl.jit(of_table) if compiled else of_table)(params, IDS)
    expected = fdl.grad(loss)(params, IDS)
    assert isinstance(found["table"], fdl.Rows) and found["table"].rows.shape == (12,)
    assert found["table"].dtype == dtype
    for rows in (found["table"], found["table"].combined()):
        np.testing.assert_allclose(dense(rows), expected["table"], rtol=1e-5)
    np.testing.assert_allclose(found["w"], expected["w"], rtol=1e-5)


def test_other_uses_of_a_table_make_its_gradient_dense():
    params = parameters()

    def tied(params):
        return (params["table"][IDS].sum(0) @ params["table"].T).sum()

    found = fdl.grad(tied, sparse=True)(params)
    assert isinstance(found["table"], fnp.ndarray)
    np.testing.assert_allclose(found["table"], fdl.grad(tied)(params)["table"], rtol=1e-5)
    assert found["w"].rows.shape == (0,)  # not used at all


def test_lookups_inside_jit_and_with_other_modes():
    table = parameters()["table"]
    ids = np.array([3, -1, 12, 3, -20], np.int64)
    for mode in ("clip", "fill"):
        read = fdl.jit(lambda t, mode=mode: t.at[ids].get(mode=mode, fill_value=0.0))
        found = fdl.grad(lambda t, read=read: (read(t) ** 2).sum(), sparse=True)(table)
        expected = fdl.grad(lambda t, read=read: (read(t) ** 2).sum())(table)
        np.testing.assert_allclose(dense(found), expected, rtol=1e-6)


OPTIMIZERS = {
    "sgd": optim.sgd(0.1),
    "momentum": optim.sgd(0.1, 0.9, nesterov=True),
    "adam": optim.adam(0.1),
    "adamw": optim.adamw(0.1),
    "adagrad": optim.adagrad(0.1),
    "rmsprop": optim.rmsprop(0.1),
    "lamb": optim.lamb(0.1),
    "clip": optim.chain(optim.clip(0.5), optim.sgd(0.1)),
    "global norm": optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(lambda count: 0.1 / (count + 1))),
    "block": optim.chain(optim.clip_by_block_rms(0.1), optim.zero_nans(), optim.sgd(0.1)),
    "decay": optim.chain(optim.add_decayed_weights(0.1), optim.sgd(0.1)),
    "centralize": optim.chain(optim.centralize(), optim.sgd(0.1)),
    "masked": optim.masked(optim.adam(0.1), {"table": True, "w": False}),
    "nonnegative": optim.chain(optim.sgd(0.1), optim.keep_params_nonnegative()),
    "steps": optim.multi_steps(optim.adam(0.1), 2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_rows(name):
    optimizer, results = OPTIMIZERS[name], []
    for sparse in (False, True):
        params = parameters()
        state = optimizer.init(params)
        for _ in range(2):
            grads = fdl.grad(loss, sparse=sparse)(params, IDS)
            updates, state = optimizer.update(grads, state, params)
            params = optim.apply_updates(params, updates)
        results.append(params)
    for name in params:
        np.testing.assert_allclose(results[1][name], results[0][name], rtol=1e-5, atol=1e-6)


def test_the_global_norm_counts_duplicates_once():
    rows = fdl.Rows(fnp.array([2, 0, 2, 7, -1]), fnp.array([[3.0], [0.0], [1.0], [100.0], [100.0]]), (4, 1))
    assert float(optim.global_norm({"a": rows, "b": fnp.array([3.0])})) == 5.0


def test_arithmetic_and_tree_functions_see_one_value():
    rows = fdl.Rows(fnp.array([2, 0, 2]), fnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), (4, 2))
    full = dense(rows)
    np.testing.assert_array_equal(fdl.tree.map(lambda g: 2 * g, {"t": rows})["t"].dense(), 2 * full)
    np.testing.assert_array_equal((rows / fnp.array(2.0)).dense(), full / 2)
    np.testing.assert_array_equal((np.float32(2) * -rows).dense(), -2 * full)
    np.testing.assert_array_equal((rows + rows).dense(), 2 * full)
    np.testing.assert_array_equal(fnp.ones((4, 2)) - rows, 1 - full)
    np.testing.assert_array_equal(rows * rows, full * full)
    np.testing.assert_array_equal(fnp.clip(rows, 0, 5), full.clip(0, 5))
    leaves, structure = fdl.tree.flatten(rows)
    assert len(leaves) == 2 and fdl.tree.unflatten(structure, leaves).shape == (4, 2)


def test_rows_travel_through_transforms():
    table = parameters()["table"]
    of_one = fdl.grad(lambda t, i: (t[i] ** 2).sum(), sparse=True)
    per_example = fdl.vmap(lambda i: of_one(table, i).combined().dense())(IDS)
    for ids, found in zip(IDS, per_example, strict=True):
        np.testing.assert_allclose(found, fdl.grad(lambda t, i: (t[i] ** 2).sum())(table, ids), rtol=1e-6)
    total, _ = fdl.lax.scan(lambda t, i: (optim.apply_updates(t, -0.1 * of_one(t, i)), None), table, IDS)
    expected = table
    for ids in IDS:
        expected = expected - 0.1 * fdl.grad(lambda t, i=ids: (t[i] ** 2).sum())(expected)
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_half_precision_parameters_are_rounded_once():
    table = fnp.ones((3, 1), fnp.bfloat16)
    rows = fdl.Rows(fnp.array([1, 1]), fnp.full((2, 1), 0.003, fnp.float32), (3, 1))
    np.testing.assert_array_equal(optim.apply_updates(table, rows), (table + rows.dense()).astype(fnp.bfloat16))


def test_parts_that_do_not_fit():
    with pytest.raises(ShapeError, match=r"needs rows \(count,\) and values \(count, 2\)"):
        fdl.Rows(fnp.array([1]), fnp.ones((1, 3)), (4, 2))


def test_numbers_of_rows_are_integers():
    with pytest.raises(DtypeError, match="argument rows of Rows must be integers.*float32"):
        fdl.Rows(fnp.ones(2), fnp.ones((2, 2)), (4, 2))


@pytest.mark.parametrize("sparse", ["table", None, {"other": True}, lambda params: True])
def test_sparse_is_a_tree_of_booleans(sparse):
    with pytest.raises(TreeError, match="sparse must be True, False, or a tree of them"):
        fdl.grad(lambda params: params["table"][0].sum(), sparse=sparse)({"table": fnp.ones((3, 2))})
