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
from fdl.interop.onnx_model import OnnxFunction
from fdl.interop.onnx_operators import TABLE

W = np.array([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]], np.float32)
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
