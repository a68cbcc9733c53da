"""ONNX's trees, support vector machines, recurrences and optimizers, against formulas; they need no onnx."""

import ml_dtypes
import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import InteropError
from fdl.interop.graph import Graph, Node, ValueName
from fdl.interop.onnx_model import OnnxFunction
from fdl.interop.onnx_operators import TABLE
from fdl.interop.onnx_operators.support_vectors import coupled

RNG = np.random.default_rng(0)
#: Two trees: x0 <= 0 ? (x1 <= 1 ? leaf : leaf) : leaf, and a leaf alone.
TREES = {
    "nodes_treeids": [0, 0, 0, 0, 0, 1],
    "nodes_nodeids": [0, 1, 2, 3, 4, 0],
    "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF", "LEAF"],
    "nodes_featureids": [0, 1, 0, 0, 0, 0],
    "nodes_values": [0.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    "nodes_truenodeids": [1, 2, 0, 0, 0, 0],
    "nodes_falsenodeids": [4, 3, 0, 0, 0, 0],
    "nodes_missing_value_tracks_true": [1, 0, 0, 0, 0, 0],
}
ROWS = np.array([[-1, 0], [0, 2], [1, 0], [np.nan, 2]], np.float32)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_trees_are_descended() -> None:
    weights = {"treeids": [0, 0, 0, 1], "nodeids": [2, 3, 4, 0], "ids": [0, 0, 1, 1]}
    targets = {f"target_{name}": value for name, value in weights.items()}
    apply = fdl.jit(lambda x: TABLE["ai.onnx.ml.TreeEnsembleRegressor"](
        x, n_targets=2, base_values=[100.0, 0.0], target_weights=[1.0, 2.0, 3.0, 0.5], **targets, **TREES
    ))  # fmt: skip
    np.testing.assert_allclose(apply(ROWS), [[101, 0.5], [102, 0.5], [100, 3.5], [102, 0.5]])
    classes = {f"class_{name}": value for name, value in (weights | {"ids": [0] * 4}).items()}
    settings = {"class_weights": [-1.0, 2.0, -3.0, 0.5], "classlabels_int64s": [4, 6], "post_transform": "LOGISTIC"}
    labels, scores = TABLE["ai.onnx.ml.TreeEnsembleClassifier"](ROWS, **settings, **classes, **TREES)
    second = 1 / (1 + np.exp(-np.array([-0.5, 2.5, -2.5, 2.5])))
    np.testing.assert_allclose(scores, np.stack([1 - second, second], 1), rtol=1e-5)
    np.testing.assert_array_equal(labels, [4, 6, 4, 6])
    with pytest.raises(InteropError, match="1 trees has 2 roots"):
        broken = TREES | {"nodes_treeids": [0] * 6, "nodes_nodeids": [0, 1, 2, 3, 4, 5]}
        TABLE["ai.onnx.ml.TreeEnsembleRegressor"](ROWS, target_weights=[1.0], target_treeids=[0], target_nodeids=[2],
                                                  target_ids=[0], **broken)  # fmt: skip


def test_trees_with_sets_and_other_sums() -> None:
    # x0 in {1, 3} ? leaf 0 : (x1 >= 2 ? leaf 1 : leaf 2)
    settings = {
        "nodes_splits": np.array([0, 2], np.float32), "nodes_featureids": [0, 1], "nodes_modes": np.array([6, 2]),
        "nodes_truenodeids": [0, 1], "nodes_falsenodeids": [1, 2], "nodes_trueleafs": [1, 1],
        "nodes_falseleafs": [0, 1], "leaf_targetids": [0, 0, 1], "tree_roots": [0], "n_targets": 2,
        "leaf_weights": np.array([5, 7, 9], np.float32), "membership_values": np.array([1, 3, np.nan], np.float32),
    }  # fmt: skip
    x = np.array([[3, 0], [2, 2], [2, 0]], np.float32)
    np.testing.assert_array_equal(TABLE["ai.onnx.ml.TreeEnsemble"](x, **settings), [[5, 0], [7, 0], [0, 9]])
    lowest = np.finfo(np.float32).min
    largest = TABLE["ai.onnx.ml.TreeEnsemble"](x, aggregate_function=3, **settings)
    np.testing.assert_array_equal(largest, np.array([[5, lowest], [7, lowest], [lowest, 9]], np.float32))


def test_support_vectors() -> None:
    x, vectors = f32(4, 3), f32(5, 3)
    weights = f32(5)
    distance = ((x[:, None].astype(np.float64) - vectors) ** 2).sum(-1)
    found = TABLE["ai.onnx.ml.SVMRegressor"](
        x, coefficients=weights.tolist(), kernel_params=[0.3, 0.0, 3.0], kernel_type="RBF", n_supports=5, rho=[0.25],
        support_vectors=vectors.reshape(-1).tolist(),
    )  # fmt: skip
    np.testing.assert_allclose(found[:, 0], np.exp(-0.3 * distance) @ weights + 0.25, rtol=1e-5)
    shares = np.array([0.6, 0.3, 0.1], np.float32)  # which pairs that agree give back
    pairs = shares[:, None] / (shares[:, None] + shares)
    np.testing.assert_allclose(coupled(fnp.asarray(pairs), 3), shares, atol=0.005)


def test_labels_and_missing_values() -> None:
    x = fnp.asarray(np.array([[1, np.nan], [2, 5]], np.float32))
    settings = {"imputed_value_floats": [0.0, 7.0], "replaced_value_float": float("nan")}
    np.testing.assert_array_equal(TABLE["ai.onnx.ml.Imputer"](x, **settings), [[1, 7], [2, 5]])
    hot = TABLE["ai.onnx.ml.OneHotEncoder"](fnp.asarray(np.array([2, 9])), cats_int64s=[1, 2])
    np.testing.assert_array_equal(hot, [[0, 1], [0, 0]])
    tables = {"keys_int64s": [3, 5], "values_floats": [0.5, 1.5], "default_float": -1.0}
    coded = TABLE["ai.onnx.ml.LabelEncoder"](fnp.asarray(np.array([5, 4, 3])), **tables)
    np.testing.assert_array_equal(coded, [1.5, -1, 0.5])
    with pytest.raises(InteropError, match="encodes text"):
        TABLE["ai.onnx.ml.LabelEncoder"](x, keys_strings=["a"], values_int64s=[1])


def test_rows_of_several_lengths_end_where_they_end() -> None:
    kind = "LSTM"
    x, w, u = f32(5, 2, 3), f32(2, 16, 3), f32(2, 16, 4)
    settings = {"direction": "bidirectional", "hidden_size": 4}
    operands = tuple(map(fnp.asarray, (x, w, u)))
    out, *last = TABLE[kind](*operands, None, fnp.asarray(np.array([5, 3], np.int32)), **settings)
    alone, *ends = TABLE[kind](fnp.asarray(x[:3, 1:]), *operands[1:], **settings)
    np.testing.assert_allclose(out[:3, :, 1:], alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(out[3:, :, 1], 0)
    for one, other in zip(last, ends, strict=True):
        np.testing.assert_allclose(one[:, 1:], other, rtol=1e-5, atol=1e-6)


def test_linear_attention_is_attention_without_the_softmax() -> None:
    q, k, v = f32(2, 5, 4), f32(2, 5, 2), f32(2, 5, 3)  # two heads of queries on one of keys
    found, state = TABLE["LinearAttention"](*map(fnp.asarray, (q, k, v)), q_num_heads=2, kv_num_heads=1,
                                            update_rule="linear", scale=0.5)  # fmt: skip
    scores = np.einsum("bthd,bsd->bhts", q.reshape(2, 5, 2, 2), k) * np.tri(5)
    want = np.einsum("bhts,bsm->bthm", scores, v).reshape(2, 5, 6) / 2
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state[:, 0], np.einsum("btd,btm->bdm", k, v), rtol=1e-4, atol=1e-5)
    # With the delta rule a key of length 1 that is written again with beta 1 has its new value.
    key, value, one = np.tile([[[1.0, 0]]], (1, 2, 1)), np.array([[[3.0], [8]]]), np.ones((1, 2, 1))
    operands = [fnp.asarray(a.astype(np.float32)) for a in (key, key, value)]
    read, _ = TABLE["LinearAttention"](*operands, None, None, fnp.asarray(one.astype(np.float32)), q_num_heads=1,
                                       kv_num_heads=1, update_rule="delta", scale=1.0)  # fmt: skip
    np.testing.assert_allclose(read[0, :, 0], [3, 8])


def test_scores_are_changed_by_a_graph() -> None:
    q, k, v = f32(1, 2, 3, 4), f32(1, 2, 5, 4), f32(1, 2, 5, 4)
    twice = Graph(("s",), (Node("Add", (ValueName("s"), ValueName("s")), ("t",)),), ("t",))
    node = Node("ai.onnx.preview.FlexAttention", tuple(map(ValueName, "qkv")), ("y",), {"score_mod": twice})
    found = OnnxFunction(Graph(("q", "k", "v"), (node,), ("y",)), ())({}, q, k, v)
    weights = np.exp(q @ k.swapaxes(2, 3))  # the scale, one half, twice
    np.testing.assert_allclose(found, weights / weights.sum(-1, keepdims=True) @ v, rtol=1e-4, atol=1e-5)


def test_steps_of_optimizers() -> None:
    x, g, v = (np.float32(n) for n in (1.0, 0.5, 0.25))
    momentum = TABLE["ai.onnx.preview.training.Momentum"]
    settings = {"alpha": 0.9, "beta": 1.0, "norm_coefficient": 0.1}
    both = momentum(np.float32(0.1), np.int64(1), *map(fnp.asarray, (x, x, g, g, v, v)), **settings)
    after = 0.9 * 0.25 + 0.6
    np.testing.assert_allclose(both, [1 - 0.1 * after] * 2 + [after] * 2, rtol=1e-6)
    y, h = TABLE["ai.onnx.preview.training.Adagrad"](np.float32(0.1), np.int64(0), *map(fnp.asarray, (x, g, v)))
    np.testing.assert_allclose((y, h), (1 - 0.05 / np.sqrt(0.5), 0.5), rtol=1e-6)
    zero = fnp.asarray(np.float32(0))
    y, *_ = TABLE["ai.onnx.preview.training.Adam"](
        np.float32(0.1), np.int64(1), fnp.asarray(x), fnp.asarray(g), zero, zero
    )
    np.testing.assert_allclose(y, 1 - 0.1, rtol=1e-5)  # the first step is the rate along the sign


def test_narrow_dtypes_are_cast_when_the_model_is_traced() -> None:
    stored = np.array([[-8, 7], [1, 0]], ml_dtypes.int4)
    cast = TABLE["Cast"]
    np.testing.assert_array_equal(cast(stored, 1), [[-8, 7], [1, 0]])
    scale = fnp.asarray(np.array([0.5, 2], np.float32))
    nodes = (Node("DequantizeLinear", (ValueName("w"), ValueName("s")), ("f",), {"axis": 1}),
             Node("MatMul", (ValueName("x"), ValueName("f")), ("y",)))  # fmt: skip
    apply = OnnxFunction(Graph(("x",), nodes, ("y",), {"w": stored}), ("s",))
    y = fdl.jit(apply)({"s": scale}, np.eye(2, dtype=np.float32))
    np.testing.assert_array_equal(y, [[-4, 14], [0.5, 0]])
    large = fnp.asarray(np.array([1e6, -np.inf, 0.3], np.float32))
    bounded = cast(large, 17)  # float8_e4m3fn, of which 448 is the largest
    assert bounded.dtype == ml_dtypes.float8_e4m3fn
    np.testing.assert_array_equal(bounded.astype(np.float32), [448, -448, 0.3125])
    assert np.isnan(cast(large, 17, saturate=0).astype(np.float32)[:2]).all()
    powers = cast(fnp.asarray(np.array([3.0, 4, 5], np.float32)), 24, round_mode="down")
    np.testing.assert_array_equal(powers.astype(np.float32), [2, 4, 4])
    with pytest.raises(InteropError, match="makes float8_e4m3fn of an input"):
        fdl.jit(lambda x: cast(x, 17))(large)


def test_the_bits_of_numbers() -> None:
    ones = TABLE["BitCast"](fnp.asarray(np.ones(2, np.float32)), 12)
    np.testing.assert_array_equal(ones, np.ones(2, np.float32).view(np.uint32))
    assert TABLE["ReduceMax"](fnp.zeros((2, 0))).tolist() == [[-np.inf]]
    values, places = TABLE["TopK"](fnp.asarray(np.array([0, 2, 1], np.uint8)), np.array([2]))
    assert (values.tolist(), places.tolist()) == ([2, 1], [1, 2])
