"""Graphs of named operators, written by hand, so that neither PyTorch nor ONNX is needed."""

import pickle

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import InteropError, OperatorError, ShapeError, TreeError
from fdl.interop.aten import TABLE
from fdl.interop.graph import Graph, Node, ValueName, check_operators, evaluate
from fdl.interop.torch_graph import KEY, ExportedModule, Position
from fdl.interop.torch_model import Evaluation, Training

W = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]], np.float32)
B = np.array([0.5, -0.5, 0.0], np.float32)
X = np.array([[1.0, 2.0], [-1.0, 0.5]], np.float32)
PARAMS = {"0": {"weight": fnp.asarray(W), "bias": fnp.asarray(B)}}


def linear_relu(last: Node) -> ExportedModule:
    """relu(linear(x)), followed by one more node, as `torch.export` describes it."""
    nodes = (
        Node("aten.linear.default", (ValueName("x"), ValueName("w"), ValueName("b")), "linear", where="0 (Linear)"),
        Node("aten.relu.default", (ValueName("linear"),), "relu", where="1 (ReLU)"),
        last,
    )
    return ExportedModule(
        graph=Graph(("w", "b", "x", KEY), nodes, ("relu", "last"), {"running": np.float32(2)}),
        parameters={"w": "0.weight", "b": "0.bias"},
        frozen=frozenset(),
        states={},
        user=("x",),
        fixed={},
        types={"x": ((None, 2), np.dtype("float32"))},
        outputs={"hidden": Position(0), "rest": (Position(1), None)},
        updates={},
        arguments=((Position(0),), {}),
        random=False,
    )


DOUBLED = linear_relu(Node("aten.mul.Tensor", (ValueName("relu"), ValueName("running")), "last"))
HIDDEN = np.maximum(X @ W.T + B, 0)


def test_an_exported_graph_is_a_pure_function() -> None:
    apply = pickle.loads(pickle.dumps(Evaluation(DOUBLED)))
    out = fdl.jit(apply)(PARAMS, X)
    np.testing.assert_allclose(out["hidden"], HIDDEN, rtol=1e-6)
    np.testing.assert_allclose(out["rest"][0], 2 * HIDDEN, rtol=1e-6)
    assert out["rest"][1] is None
    gradient = fdl.grad(lambda p: apply(p, X)["rest"][0].sum())(PARAMS)["0"]
    np.testing.assert_allclose(gradient["bias"], 2 * (HIDDEN > 0).sum(0), rtol=1e-6)
    np.testing.assert_allclose(gradient["weight"], 2 * (HIDDEN > 0).T @ X, rtol=1e-6)
    rows = fdl.vmap(lambda x: apply(PARAMS, x[None])["hidden"][0])(fnp.asarray(X))
    np.testing.assert_allclose(rows, HIDDEN, rtol=1e-6)


def test_frozen_parameters_have_no_gradient() -> None:
    frozen = ExportedModule(**{**DOUBLED.__dict__, "frozen": frozenset(["w"])})
    gradient = fdl.grad(lambda p: Evaluation(frozen)(p, X)["hidden"].sum())(PARAMS)["0"]
    assert not np.asarray(gradient["weight"]).any()
    np.testing.assert_allclose(gradient["bias"], (HIDDEN > 0).sum(0), rtol=1e-6)


def test_wrong_calls_say_what_the_example_had() -> None:
    apply = Evaluation(DOUBLED)
    with pytest.raises(ShapeError, match=r"x has the shape \(2, 3\), the module was exported for \(any, 2\)"):
        apply(PARAMS, np.ones((2, 3), np.float32))
    with pytest.raises(InteropError, match="args must be the 1 of the example, got 2"):
        apply(PARAMS, X, X)
    with pytest.raises(InteropError, match="x is int32, the module was exported for float32"):
        apply(PARAMS, np.ones((2, 2), np.int32))
    with pytest.raises(InteropError, match=r"keys \[\] of the example, got \['mask'\]"):
        apply(PARAMS, X, mask=X)
    with pytest.raises(TreeError, match=r"params have no 0\.bias"):
        apply({"0": {"weight": PARAMS["0"]["weight"]}}, X)


def test_unknown_operators_are_named_all_at_once() -> None:
    nodes = [Node("aten.fft", (), "a", where="net.0 (Net)"), Node("aten.fft", (), "b"), Node("aten.svd", (), "c")]
    inner = Graph((), (nodes[0],), ("a",))
    graph = Graph((), (*nodes, Node("aten.exp.default", (), "d", {"body": inner})), ("a",))
    with pytest.raises(OperatorError) as error:
        check_operators("from_torch", [graph], TABLE, "Do this.")
    assert str(error.value) == (
        "from_torch: 2 operators have no counterpart in fdl: aten.fft (3 times, first in net.0 (Net)), "
        "aten.svd (once). Do this."
    )
    with pytest.raises(OperatorError, match=r"aten\.svd"):
        evaluate(graph, TABLE, {})


def test_state_and_keys_of_training() -> None:
    step = Node("aten.dropout.default", (ValueName("relu"), 0.5, True, ValueName(KEY), 1), "last")
    training = linear_relu(step)
    updated = ExportedModule(**{**training.__dict__, "states": {"s": "0.seen"}, "updates": {"0.seen": 0}})
    apply = Training(updated, DOUBLED)
    state = {"0": {"seen": fnp.zeros(())}}
    with pytest.raises(InteropError, match=r"call apply with key=fdl\.random\.key\(seed\)"):
        apply(PARAMS, state, X)
    out, new = apply(PARAMS, state, X, key=fdl.random.key(0))
    kept = np.asarray(out["rest"][0])
    assert set(np.unique(kept)) <= {*np.unique(2 * HIDDEN)}
    np.testing.assert_allclose(new["0"]["seen"], HIDDEN, rtol=1e-6)
    out, same = apply(PARAMS, state, X, training=False)
    assert same is state
    np.testing.assert_allclose(out["rest"][0], 2 * HIDDEN, rtol=1e-6)


def test_values_are_forgotten_when_nothing_reads_them() -> None:
    nodes = (
        Node("f", (ValueName("x"),), "a"),
        Node("f", (ValueName("a"),), ("b", "c")),
        Node("f", (ValueName("b"),), "d"),
    )
    graph = Graph(("x",), nodes, ("d", "x"))
    assert [sorted(names) for names in graph.unused_after] == [[], ["a", "c"], ["b"]]


def test_native_dropout_gives_what_is_kept_and_where() -> None:
    x = np.arange(1, 1001, dtype=np.float32)
    out, kept = map(np.asarray, TABLE["aten.native_dropout.default"](x, 0.25, None, random_key=fdl.random.key(0)))
    np.testing.assert_allclose(out, np.where(kept, x / 0.75, 0), rtol=1e-6)
    assert kept.dtype == bool and abs(kept.mean() - 0.75) < 0.06  # 4.4 deviations
    out, kept = TABLE["aten.native_dropout.default"](x, 0.25, False)
    np.testing.assert_array_equal(out, x)
    assert np.asarray(kept).all()
