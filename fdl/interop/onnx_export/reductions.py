"""Operations of fdl that combine elements, as ONNX nodes: reductions, products of matrices, convolutions, pooling."""

from collections.abc import Callable
from math import prod

import numpy as np

from fdl.interop.onnx_export.extents import Extents, Growing
from fdl.interop.onnx_export.shapes import padded, spread
from fdl.interop.onnx_export.writer import Unsupported, WrittenEquation
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def reduced(operator: str, dtype: type | None = None) -> Callable[[WrittenEquation], str]:
    def write(e: WrittenEquation) -> str:
        w = e.w
        name = e.name() if dtype is None else w.cast(e.name(), dtype)
        if not e.p["axes"]:
            return e.name()
        found = w.node(operator, [name, w.integers(e.p["axes"])], keepdims=0)
        return found if dtype is None else w.cast(found, e.outputs[0].dtype)

    return write


for name, operator in {"Sum": "Sum", "Prod": "Prod", "ReduceMax": "Max", "ReduceMin": "Min"}.items():
    define(name)(reduced(f"Reduce{operator}"))
define("Any_")(reduced("ReduceMax", np.int32))
define("All_")(reduced("ReduceMin", np.int32))


def placed(operator: str) -> Callable[[WrittenEquation], str]:
    def write(e: WrittenEquation) -> str:
        x = e.w.cast(e.name(), np.int32) if e.dtype == np.bool_ else e.name()
        return e.w.cast(e.w.node(operator, [x], axis=e.p["axis"], keepdims=0), e.outputs[0].dtype)

    return write


define("ArgMax")(placed("ArgMax"))
define("ArgMin")(placed("ArgMin"))


@define("Cumsum")
def cumsum(e: WrittenEquation) -> str:
    return e.w.node("CumSum", [e.name(), e.w.constant(e.p["axis"], np.int64)], reverse=int(e.p["reverse"]))


@define("DotGeneral")
def dot_general(e: WrittenEquation) -> str:
    """MatMul where one follows by moving axes, else Einsum."""
    w, (of_x, of_y), (batch_x, batch_y) = e.w, e.p["contracting"], e.p["batch_axes"]
    x, y = e.names()
    if e.outputs[0].dtype != e.dtype:
        x, y = w.cast(x, e.outputs[0].dtype), w.cast(y, e.outputs[0].dtype)
    free_x = [a for a in range(len(e.extents(0))) if a not in of_x and a not in batch_x]
    free_y = [a for a in range(len(e.extents(1))) if a not in of_y and a not in batch_y]
    if len(of_x) == 1 and len(free_y) == 1 and (not batch_x or len(free_x) == 1):
        left = w.transpose(x, [*batch_x, *free_x, *of_x])
        return w.node("MatMul", [left, w.transpose(y, [*batch_y, *of_y, *free_y])])
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left_names, right_names = {a: next(letters) for a in range(len(e.extents(0)))}, {}
    for a in range(len(e.extents(1))):
        pair = [*zip(of_y, of_x, strict=True), *zip(batch_y, batch_x, strict=True)]
        right_names[a] = left_names[dict(pair)[a]] if a in dict(pair) else next(letters)
    result = [left_names[a] for a in (*batch_x, *free_x)] + [right_names[a] for a in free_y]
    terms = ["".join(names[a] for a in sorted(names)) for names in (left_names, right_names)]
    return w.node("Einsum", [x, y], equation=f"{terms[0]},{terms[1]}->{''.join(result)}")


@define("ConvGeneral")
def conv(e: WrittenEquation) -> str:
    w, p, n = e.w, e.p, e.p["numbers"]
    if p["batch_group_count"] != 1:
        raise Unsupported("groups of examples")
    if not p["strides"]:
        raise Unsupported("no spatial axes")
    x, kernel = e.names()
    if e.outputs[0].dtype != e.dtype:
        x, kernel = w.cast(x, e.outputs[0].dtype), w.cast(kernel, e.outputs[0].dtype)
    x = w.transpose(x, n.lhs_spec)
    extents = tuple([e.extents()[a] for a in n.lhs_spec])
    x, _ = spread(w, x, extents, [1, 1, *p["lhs_dilation"]])
    padding, dtype = list(p["padding"]), e.outputs[0].dtype
    if any(min(pair) < 0 for pair in padding):
        x, padding = padded(w, x, [(0, 0), (0, 0), *padding], w.constant(0, dtype), dtype), [(0, 0)] * len(padding)
    size = [e.inputs[1].shape[a] for a in n.rhs_spec[2:]]
    found = w.node(
        "Conv", [x, w.transpose(kernel, n.rhs_spec)], kernel_shape=size, strides=list(p["strides"]),
        dilations=list(p["rhs_dilation"]), group=p["feature_group_count"],
        pads=[*[a for a, _ in padding], *[b for _, b in padding]],
    )  # fmt: skip
    return w.transpose(found, [int(a) for a in np.argsort(n.out_spec)])


@define("ReduceWindow")
def reduce_window(e: WrittenEquation) -> str:
    """MaxPool, or AveragePool times the number of elements; with the axes that the window spans last."""
    w, p, dtype = e.w, e.p, e.dtype
    if dtype.kind != "f":
        raise Unsupported(f"dtype {dtype}")
    x, kind = e.name(), p["kind"]
    x, extents = spread_windows(e, x)
    geometry = list(zip(p["window"], p["strides"], p["padding"], p["window_dilation"], strict=True))
    along = [a for a, (size, step, around, _) in enumerate(geometry) if (size, step, *around) != (1, 1, 0, 0)]
    if not along:
        return x
    if any(isinstance(extents[a], Growing) for a in along):
        raise Unsupported("windows over rows")
    others = [a for a in range(len(extents)) if a not in along]
    order = [*others, *along]
    x = w.transpose(x, order)
    outer, spatial = tuple([extents[a] for a in others]), tuple([extents[a] for a in along])
    if len(others) != 2:
        x = w.node("Reshape", [x, w.integers([-1, 1, *[n for n in spatial if isinstance(n, int)]])])
    sizes, steps, around, distances = zip(*[geometry[a] for a in along], strict=True)
    if kind == "min":
        x = w.node("Neg", [x])
    spans = [(size - 1) * d + 1 for size, d in zip(sizes, distances, strict=True)]
    if any(min(pair) < 0 or max(pair) >= span for pair, span in zip(around, spans, strict=True)):
        fill = w.constant(0 if kind == "sum" else -np.inf, dtype)
        x, around = padded(w, x, [(0, 0), (0, 0), *around], fill, dtype), ((0, 0),) * len(along)
    attributes = {
        "kernel_shape": list(sizes), "strides": list(steps), "dilations": list(distances),
        "pads": [*[a for a, _ in around], *[b for _, b in around]],
    }  # fmt: skip
    if kind == "sum":
        x = w.node("AveragePool", [x], count_include_pad=1, **attributes)
        x = w.node("Mul", [x, w.constant(prod(sizes), dtype)])
    else:
        x = w.node("MaxPool", [x], **attributes)
    if kind == "min":
        x = w.node("Neg", [x])
    if len(others) != 2:
        places: Extents = tuple([e.result()[a] for a in along])
        x = w.reshape(x, (*outer, *places))
    return w.transpose(x, [int(a) for a in np.argsort(order)])


def spread_windows(e: WrittenEquation, x: str) -> tuple[str, Extents]:
    """The operand with the distances of its elements; only sums, of zeros, can have other ones than one."""
    distances = e.p["base_dilation"]
    if max(distances, default=1) > 1 and e.p["kind"] != "sum":
        raise Unsupported("extremes over elements with gaps")
    return spread(e.w, x, e.extents(), distances)
