"""ONNX's operators on graphs written by hand, which need no onnx, and on a file where it is installed."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import InteropError, OperatorError, TreeError
from fdl.interop import from_onnx
from fdl.interop.graph import Graph, Node, ValueName
from fdl.interop.onnx_conditions import deciding
from fdl.interop.onnx_model import OnnxFunction
from fdl.interop.onnx_operators import TABLE
from fdl.interop.onnx_versions import modern

W = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]], np.float32)
RNG = np.random.default_rng(0)
X = np.arange(12, dtype=np.float32).reshape(2, 3, 2) - 5

#: Rows of x, whatever their number is, through a layer: shapes are computed by nodes.
NODES = (
    Node("Shape", (ValueName("x"),), ("shape",)),
    Node("Gather", (ValueName("shape"), ValueName("last")), ("width",), {"axis": 0}),
    Node("Concat", (ValueName("minus"), ValueName("width")), ("rows",), {"axis": 0}),
    Node("Reshape", (ValueName("x"), ValueName("rows")), ("flat",)),
    Node("Gemm", (ValueName("flat"), ValueName("w")), ("product",), {"transB": 1}),
    Node("Relu", (ValueName("product"),), ("y",)),
    Node("Split", (ValueName("y"), None), ("", "second"), {"axis": 1, "num_outputs": 2}),
)
CONSTANTS = {"last": np.array([-1]), "minus": np.array([-1])}
APPLY = OnnxFunction(Graph(("x",), NODES, ("y", "second"), CONSTANTS), ("w",))


def test_a_graph_is_a_pure_function_of_any_batch() -> None:
    apply = fdl.jit(pickle.loads(pickle.dumps(APPLY)))
    for x in (X, X[:1]):
        want = np.maximum(x.reshape(-1, 2) @ W.T, 0)
        y, second = apply({"w": W}, x)
        np.testing.assert_allclose(y, want, rtol=1e-6)
        np.testing.assert_allclose(second, want[:, 2:], rtol=1e-6)
    gradient = fdl.grad(lambda w: APPLY({"w": w}, X)[0].sum())(fnp.asarray(W))
    rows = X.reshape(-1, 2)
    np.testing.assert_allclose(gradient, (rows @ W.T > 0).astype(np.float32).T @ rows, rtol=1e-6)


def test_wrong_calls_are_said() -> None:
    with pytest.raises(InteropError, match=r"takes 1 inputs \(x\), got 2"):
        APPLY({"w": W}, X, X)
    with pytest.raises(TreeError, match="params have no w"):
        APPLY({}, X)
    traced = OnnxFunction(Graph(("x", "n"), (Node("Tile", (ValueName("x"), ValueName("n")), ("y",)),), ("y",)), ())
    with pytest.raises(InteropError, match="repeats of Tile depend on the numbers of an input"):
        fdl.jit(traced)({}, X, np.array([1, 2, 1]))


@pytest.mark.parametrize(
    ("name", "args", "attributes", "want"),
    [
        ("Div", (np.array([-7, 7]), np.array([2, -2])), {}, [-3, -3]),
        ("Slice", (np.arange(6.0), [5], [-7], [0], [-2]), {}, [5, 3, 1]),
        ("CumSum", (np.array([1.0, 2.0, 3.0]), np.array(0)), {"exclusive": 1, "reverse": 1}, [5, 3, 0]),
        ("ArgMax", (np.array([3.0, 1.0, 3.0]),), {"keepdims": 0, "select_last_index": 1}, 2),
        ("Pad", (np.array([1.0, 2.0]), np.array([1, -1])), {}, [0, 1]),
        ("AveragePool", (np.arange(3.0).reshape(1, 1, 3),), {"kernel_shape": [2], "strides": [2], "ceil_mode": 1},
         [[[0.5, 2.0]]]),
        ("OneHot", (np.array([1, -1, 2, -3]), 2, np.array([0, 5])), {}, [[0, 5], [0, 5], [0, 0], [0, 0]]),
    ],
)  # fmt: skip
def test_operators_whose_rules_differ_from_numpys(name: str, args: tuple, attributes: dict, want: list) -> None:
    operands = [fnp.asarray(a) if isinstance(a, np.ndarray) else a for a in args]
    np.testing.assert_allclose(TABLE[name](*operands, **attributes), want)


def test_a_file_with_weights_beside_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    x, y = (helper.make_tensor_value_info(name, kind, ["n", width]) for name, width in (("x", 2), ("y", 3)))
    graph = helper.make_graph([node], "g", [x], [y], [onnx.numpy_helper.from_array(W, "w")])
    model = helper.make_model(graph)
    apply, params = from_onnx(model.SerializeToString())
    np.testing.assert_allclose(apply(params, X[0]), X[0] @ W.T, rtol=1e-6)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    apply, params = from_onnx(path)
    np.testing.assert_array_equal(params["w"], W)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "model.onnx").write_bytes(path.read_bytes().replace(b"weights", b"../weig"))
    with pytest.raises(InteropError, match="no file in its folder"):
        from_onnx(tmp_path / "inner" / "model.onnx")
    with pytest.raises(InteropError, match="is no ONNX model"):
        from_onnx(b"text")
    graph.node[0].op_type = "Gem"
    with pytest.raises(OperatorError, match=r"1 operator has no counterpart in fdl: Gem \(once\)"):
        from_onnx(helper.make_model(graph))


def test_attention_with_a_cache_reads_what_lies_before_a_query() -> None:
    q, k, v = (RNG.normal(size=(2, 1, n, 4)).astype(np.float32) for n in (2, 2, 2))
    past = RNG.normal(size=(2, 2, 1, 3, 4)).astype(np.float32)
    keys, values = np.concatenate([past[0], k], 2), np.concatenate([past[1], v], 2)
    scores = q @ keys.swapaxes(2, 3) / 2
    scores[..., 0, 4] = -np.inf  # the first of two queries, which stand behind three keys, must not read the fifth
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    found, present, *_ = TABLE["Attention"](*map(fnp.asarray, (q, k, v)), None, *map(fnp.asarray, past), is_causal=1)
    np.testing.assert_allclose(found, weights @ values, rtol=1e-5)
    np.testing.assert_array_equal(present, keys)


def test_integers_that_stand_for_numbers() -> None:
    x = fnp.asarray(np.array([[-1.0, 0.26, 300.0]], np.float32))
    scale, zero = fnp.asarray(np.float32(0.5)), fnp.asarray(np.uint8(10))
    stored = TABLE["QuantizeLinear"](x, scale, zero)
    np.testing.assert_array_equal(stored, np.array([[8, 11, 255]], np.uint8))
    np.testing.assert_array_equal(
        TABLE["DequantizeLinear"](stored, scale, zero), np.array([[-1, 0.5, 122.5]], np.float32)
    )


@pytest.mark.parametrize(
    ("name", "attributes", "want"),
    [
        ("Scaler", {"offset": [1.0, 2.0], "scale": [2.0]}, [[4, -8]]),
        ("Normalizer", {"norm": "L1"}, [[0.6, -0.4]]),
        ("LinearRegressor", {"coefficients": [1.0, 2.0, 3.0, 4.0], "intercepts": [1.0, 0.0], "targets": 2}, [[0, 1]]),
    ],
)
def test_operators_of_scikit_learns_models(name: str, attributes: dict, want: list) -> None:
    x = fnp.asarray(np.array([[3.0, -2.0]], np.float32))
    np.testing.assert_allclose(TABLE[f"ai.onnx.ml.{name}"](x, **attributes), want, rtol=1e-6)


def test_a_classifier_of_two_labels_has_one_row() -> None:
    x = fnp.asarray(np.array([[3.0, -2.0], [0.0, 1.0]], np.float32))
    settings = {"coefficients": [1.0, 1.0], "intercepts": [-2.0], "classlabels_ints": [5, 7]}
    labels, scores = TABLE["ai.onnx.ml.LinearClassifier"](x, post_transform="LOGISTIC", **settings)
    second = 1 / (1 + np.exp([1.0, 1.0]))
    np.testing.assert_allclose(scores, np.stack([1 - second, second], 1), rtol=1e-6)
    np.testing.assert_array_equal(labels, [5, 5])


def test_branches_and_loops_are_evaluated() -> None:
    twice = Graph(("i", "more", "v"), (Node("Add", (ValueName("v"), ValueName("x")), ("w",)),), ("more", "w", "w"))
    minus = Graph((), (Node("Neg", (ValueName("x"),), ("n",)),), ("n",))
    same = Graph((), (Node("Identity", (ValueName("x"),), ("p",)),), ("p",))
    nodes = (
        Node("Loop", (ValueName("trips"), None, ValueName("x")), ("last", "rows"), {"body": twice}),
        Node("ReduceSum", (ValueName("x"),), ("total",), {"keepdims": 0}),
        Node("Less", (ValueName("total"), ValueName("zero")), ("negative",)),
        Node("If", (ValueName("negative"),), ("size",), {"then_branch": minus, "else_branch": same}),
    )
    for trips in (2, 20):
        constants = {"trips": np.array(trips), "zero": np.zeros((), np.float32)}
        apply = OnnxFunction(Graph(("x",), nodes, ("last", "rows", "size"), constants), ())
        last, rows, size = apply({}, X[0])
        np.testing.assert_allclose(last, X[0] * (trips + 1))
        np.testing.assert_allclose(rows, np.multiply.outer(np.arange(2, trips + 2), X[0]))
        np.testing.assert_allclose(size, -X[0])


@pytest.mark.parametrize("limit", [3.0, 20.0])
def test_loops_that_count_in_what_they_carry_have_a_known_number_of_steps(limit: float) -> None:
    """As TensorFlow writes them, with a condition on a counter, an array that grows, and stacked results."""
    v = {name: ValueName(name) for name in ("n", "one", "limit", "fraction", "x", "v", "w", "m", "grown")}
    body = (
        Node("Add", (v["n"], v["one"]), ("m",)),
        Node("Cast", (v["m"],), ("fraction",), {"to": 1}),
        Node("Less", (v["fraction"], v["limit"]), ("again",)),
        Node("Mul", (v["v"], v["x"]), ("w",)),
    )
    double = Node("Concat", (v["grown"], v["x"]), ("longer",), {"axis": 0})
    constants = {"one": np.array(1), "start": np.array(0), "limit": np.array(limit, np.float32), "true": np.array(True)}

    def applied(nodes: tuple, carried: tuple, results: tuple) -> OnnxFunction:
        inner = Graph(("i", "more", "n", *carried), nodes, ("again", "m", *results))
        args = (None, ValueName("true"), ValueName("start"), *[v["x"] for _ in carried])
        loop = Node("Loop", args, ("", *[f"last{name}" for name in carried], "rows"), {"body": inner})
        graph = Graph(("x",), (loop,), (f"last{carried[-1]}", "rows"), constants)
        assert {"limit", "start", "true", "one", "fraction", "n", "m"} <= deciding(graph)
        assert "w" not in deciding(graph)
        return OnnxFunction(graph, ())

    steps, x = int(limit), fnp.asarray(np.array([0.9, -1.1], np.float32))
    last, rows = fdl.jit(applied(body, ("v",), ("w", "w")))({}, x)
    powers = np.stack([np.asarray(x, np.float64) ** (k + 2) for k in range(steps)])
    np.testing.assert_allclose(rows, powers, rtol=1e-5)
    np.testing.assert_allclose(last, powers[-1], rtol=1e-5)
    slope = fdl.grad(lambda x: applied(body, ("v",), ("w", "w"))({}, x)[0].sum())(x)
    np.testing.assert_allclose(slope, (steps + 1) * np.asarray(x, np.float64) ** steps, rtol=1e-5)
    longer, _ = applied((*body, double), ("v", "grown"), ("w", "longer", "w"))({}, x)
    np.testing.assert_array_equal(longer, np.tile(np.asarray(x), steps + 1))


def test_operators_of_older_versions_keep_their_meaning() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)

    def run(name: str, args: tuple, settings: dict, version: int) -> np.ndarray:
        args, settings = modern(name, args, settings, 1, version)
        return np.asarray(TABLE[name](*args, **settings))

    flat = np.exp(x.reshape(2, 12).astype(np.float64))  # all axes from the second on
    shares = (flat / flat.sum(1, keepdims=True)).reshape(x.shape)
    np.testing.assert_allclose(run("Softmax", (x,), {}, 12), shares, rtol=1e-5)
    np.testing.assert_allclose(run("LogSoftmax", (x,), {"axis": -2}, 11), np.log(shares), rtol=1e-5)
    assert run("Hardmax", (x,), {}, 1).sum() == 2
    np.testing.assert_allclose(run("Softmax", (x,), {}, 13).sum(-1), 1, rtol=1e-6)
    scales = np.array([1, 1, 2], np.float32)
    for name, version in (("Upsample", 9), ("Resize", 10)):
        np.testing.assert_array_equal(run(name, (x, scales), {"mode": "nearest"}, version), x.repeat(2, axis=2))
        between = run(name, (x, scales), {"mode": "linear"}, version)  # at 0, 1/2, 1, ...
        np.testing.assert_allclose(between[..., :-1:2], x, rtol=1e-6)
        np.testing.assert_allclose(between[..., 1:-1:2], (x[..., :-1] + x[..., 1:]) / 2, rtol=1e-5, atol=1e-6)


def test_dropout_in_training_is_refused() -> None:
    yes, no, half, zero = np.array(True), np.array(False), np.array(0.5), np.array(0.0)
    for settings in ((), (half,), (half, no), (zero, yes)):
        np.testing.assert_array_equal(TABLE["Dropout"](X, *settings)[0], X)
    with pytest.raises(InteropError, match="dropout in training mode"):
        TABLE["Dropout"](X, half, yes)


def test_outputs_that_no_operator_makes_are_named() -> None:
    node = Node("MaxPool", (ValueName("x"),), ("y", "places"), {"kernel_shape": [1]})
    assert OnnxFunction(Graph(("x",), (node,), ("y",)), ())({}, X).shape == X.shape
    with pytest.raises(InteropError, match="do not make the output 'places'"):
        OnnxFunction(Graph(("x",), (node,), ("y", "places")), ())({}, X)


def test_bounds_are_no_parameters() -> None:
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"])
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    bounds = [onnx.numpy_helper.from_array(np.float32(n), name) for n, name in ((0, "low"), (1, "high"))]
    graph = helper.make_graph([node], "g", [value], [helper.make_empty_tensor_value_info("y")], bounds)
    apply, params = from_onnx(helper.make_model(graph))
    assert not params
    assert apply(params, np.array([-1, 0.5], np.float32)).tolist() == [0, 0.5]
