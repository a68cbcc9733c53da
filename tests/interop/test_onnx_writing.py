"""Functions of fdl written as ONNX models, and read again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn
from fdl.errors import ExportError, OperatorError
from fdl.interop import from_onnx, to_onnx
from fdl.interop.onnx_export.extents import Growing, aligned
from fdl.interop.onnx_graph import graph_of

RNG = np.random.default_rng(0)
PARAMS = {
    "dense": {"w": RNG.normal(size=(5, 4)).astype(np.float32), "b": RNG.normal(size=4).astype(np.float32)},
    "conv": RNG.normal(size=(2, 2, 1, 3)).astype(np.float32),
    "words": RNG.normal(size=(7, 4)).astype(np.float32),
    "wx": RNG.normal(size=(5, 8)).astype(np.float32),
    "wh": RNG.normal(size=(2, 8)).astype(np.float32),
}


def dense(p: Any, x: Any) -> Any:
    logits = nn.gelu(x @ p["dense"]["w"] + p["dense"]["b"])
    return {"classes": logits.argmax(-1), "probabilities": nn.softmax(logits)}


def images(p: Any, x: Any) -> Any:
    """Strides, padding, grouping, pooling with a padding that the kernel does not allow, and gaps."""
    numbers = ("NHWC", "HWIO", "NHWC")
    h = lax.conv_general_dilated(x, p["conv"], (2, 1), ((1, 0), (0, 2)), dimension_numbers=numbers)
    h = lax.conv_general_dilated(h, p["conv"], (1, 1), "SAME", (2, 2), dimension_numbers=numbers, feature_group_count=3)
    mean = nn.avg_pool(h, (2, 2), strides=(2, 2), padding="SAME")
    largest = lax.reduce_window(h, -fnp.inf, lax.max, (1, 2, 2, 3), (1, 1, 1, 1), ((0, 0), (2, 0), (0, 0), (0, 0)))
    return mean.reshape(mean.shape[0], -1), fnp.transpose(largest, (3, 0, 1, 2))


def attention(p: Any, words: Any) -> Any:
    """Embedding, of words that are there, causal attention, and contractions that no MatMul is."""
    x = p["words"].at[words].get(mode="fill", fill_value=0)
    scores = fnp.einsum("bqe,bke->bqk", x, x) + fnp.where(fnp.tri(3, dtype=bool), 0, -1e9)
    return fnp.einsum("bqk,bke,ef->bqf", nn.softmax(scores), x, p["wx"][:4]), fnp.einsum("bqe,bqe->b", x, x)


def recurrent(p: Any, x: Any) -> Any:
    """An LSTM over the steps of the second axis, backwards."""

    def step(state: Any, row: Any) -> Any:
        h, c = state
        i, f, g, o = fnp.split(row @ p["wx"] + h @ p["wh"], 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * fnp.tanh(g)
        h = nn.sigmoid(o) * fnp.tanh(c)
        return (h, c), h

    zero = fnp.zeros((x.shape[0], 2), x.dtype)
    (last, _), outs = lax.scan(step, (zero, zero), fnp.moveaxis(x, 1, 0), reverse=True)
    return last, fnp.moveaxis(outs, 0, 1)


def loops(p: Any, x: Any) -> Any:
    """Branches, a loop that data ends, one of a known number of steps, and a derivative."""
    grown = lax.while_loop(lambda v: fnp.abs(v[0]).sum() < 50, lambda v: (v[0] * 1.5 + v[1], v[1]), (x, fnp.ones(5)))
    chosen = lax.switch((x.sum() > 0).astype(fnp.int32) + 1, [fnp.sin, fnp.cos, lambda v: v * p["dense"]["w"][:, 0]], x)
    return grown[0], chosen, lax.fori_loop(0, 20, lambda i, v: 0.9 * v + i, x), fdl.grad(lambda v: (v**3).sum())(x)


def places(p: Any, x: Any) -> Any:
    """Numbers of rows, elements by place, parts whose start is data, and order."""
    start = fnp.argmax(x.sum(0))
    part = lax.dynamic_slice(x, (0, start), (x.shape[0], 2))
    order = fnp.argsort(x, 1)
    rows = fnp.arange(x.shape[0])[:, None] * fnp.ones((1, 2), int)
    return part, fnp.take_along_axis(x, order, 1), lax.dynamic_update_slice(x, -part, (0, start)), rows, x[:, ::-2]


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (dense, (3, 5)),
        (images, (2, 5, 4, 1)),
        (attention, (2, 3)),
        (recurrent, (2, 3, 5)),
        (loops, (2, 5)),
        (places, (2, 5)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_function_is_the_same_after_onnx(function: Callable[..., Any], shape: tuple[int, ...]) -> None:
    onnx = pytest.importorskip("onnx")
    integers = function is attention
    example = fdl.ShapeDtypeStruct(shape, "int32" if integers else "float32")
    content = to_onnx(function, PARAMS, example)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    apply, params = from_onnx(content)
    for rows in (1, 4):
        x = RNG.integers(-1, 8, (rows, *shape[1:])) if integers else RNG.normal(size=(rows, *shape[1:]))
        x = x.astype(example.dtype)
        found = apply(params, x)
        want = fdl.tree.leaves(function(fdl.tree.map(fnp.asarray, PARAMS), x))
        for a, b in zip(found if isinstance(found, tuple) else (found,), want, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_names_metadata_and_the_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")

    def apply(params: Any, images: Any, batch: Any) -> Any:
        return images @ params["dense"]["w"] + batch["more"]

    example = (np.ones((2, 5), np.float32), {"more": np.ones((2, 4), np.float32)})
    content = to_onnx(apply, PARAMS, example, tmp_path / "a.onnx", metadata={"source": "a test"})
    assert (tmp_path / "a.onnx").read_bytes() == content
    model = onnx.load_from_string(content)
    assert [p.value for p in model.metadata_props if p.key == "source"] == ["a test"]
    graph = graph_of(model.graph)
    assert (graph.inputs, graph.outputs, [*graph.constants]) == (("images", "more"), ("output",), ["dense.w"])
    np.testing.assert_array_equal(graph.constants["dense.w"], PARAMS["dense"]["w"])
    extents = [d.dim_param or d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert extents == ["batch", 4]
    fixed = onnx.load_from_string(to_onnx(apply, PARAMS, example, dynamic_batch=False))
    assert fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2


def test_what_cannot_be_written_is_named_all_at_once() -> None:
    pytest.importorskip("onnx")
    x = np.ones((3, 3), np.float32)

    def factored(params: Any, x: Any) -> Any:
        return lax.scan(lambda c, _: (fnp.linalg.cholesky(c), None), fnp.linalg.svd(x)[0], None, length=2)[0]

    with pytest.raises(OperatorError, match=r"2 operators have no counterpart in ONNX: cholesky \(once.*svd"):
        to_onnx(factored, {}, x, dynamic_batch=False)
    with pytest.raises(ExportError, match=r"a number in .* depends on the number of rows; give dynamic_batch=False"):
        to_onnx(lambda params, x: x - x.mean(0), {}, x)
    with pytest.raises(ExportError, match=r"different numbers of rows \(2, 3\)"):
        to_onnx(lambda params, x, y: (x, y), {}, (x, x[:2]))


def test_extents_that_are_no_multiple_of_the_rows_are_refused() -> None:
    rows = 2, 3, 5
    square = [fdl.make_program(lambda x: fnp.outer(x, x).reshape(-1))(fnp.ones(n)) for n in rows]
    with pytest.raises(ExportError, match=r"a shape is 4, 9, 25 for 2, 3, 5 rows"):
        aligned(square, rows)
    padded = aligned([fdl.make_program(lambda x: fnp.pad(x, (1, 2)))(fnp.ones(n)) for n in rows], rows)
    assert padded.of(padded.program.outputs[0]) == (Growing(1, 3),)
