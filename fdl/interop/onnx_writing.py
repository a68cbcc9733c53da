"""Functions of fdl as ONNX models."""

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import name_of
from fdl.api.inspect import ShapeDtypeStruct, trace_call
from fdl.core.program import Program
from fdl.core.rewrite import eliminate_dead
from fdl.errors import ExportError, OperatorError
from fdl.interop.graph import message
from fdl.interop.onnx_export.control import write
from fdl.interop.onnx_export.extents import AlignedProgram, Growing, aligned
from fdl.interop.onnx_export.writer import Shared, Unsupported, Writer
from fdl.saving.atomic import write_atomically
from fdl.transforms.inline import inline

#: The version of ONNX's operators, and of its file format, that models are written in.
OPSET, IR_VERSION = 20, 9
#: How many more rows than the example the function is traced for: few, and in no proportion.
MORE_ROWS = 1, 2, 4
#: The largest message of protocol buffers.
LARGEST = 2**31 - 1


def to_onnx(
    apply: Callable[..., Any],
    params: Any,
    example: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    dynamic_batch: bool = True,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """A function with its parameters as an ONNX model.

    Operations become nodes of ONNX's operators, version 20; loops (`scan`, `while_loop`) stay loops. Parameters become
    initializers named by their paths, as ``conv1.w``. The function is traced, and so computes what it computes for the
    example but for the number of rows: derivatives may be in it, dropout and other random numbers may not.

    Args:
        apply: (params, *inputs) -> pytree of arrays.
        params: pytree of arrays.
        example: its inputs, as arrays or `fdl.ShapeDtypeStruct`s: a tuple of all, or the only one, which may be a dict.
        path: of a file to write, which is whole or not there.
        dynamic_batch: whether the model takes any number of rows, along the first axis of every input that has axes.
            The function is traced for three numbers of rows; what differs must be extents that are a multiple of the
            rows plus a constant.
        metadata: texts that go with the model, by name.

    Returns:
        The model as bytes. Its inputs are named as the arguments of `apply`, or by their paths in dicts; the output is
        ``output``, or several by their paths.

    Raises:
        OperatorError: the function uses operations that have no nodes; all are named.
        ExportError: it depends on the number of rows by more than extents, inputs have different numbers of rows, it
            closes over values that are traced, or has more than 2 GB of parameters.
        ModuleNotFoundError: onnx is not installed.

    >>> model = to_onnx(apply, params, images, "model.onnx")  # doctest: +SKIP
    """
    import onnx

    if not isinstance(example, tuple):
        example = (example,)
    name = name_of(apply)
    traced, result = _traced(apply, name, params, example, dynamic_batch)
    shared = Shared(traced)
    w = Writer(shared)
    program, helper = traced.program, onnx.helper
    count = len(tree.leaves(params))
    names = [shared.fresh(text) for text in _input_names(apply, example)]
    results = [shared.fresh(text) for text in _output_names(result)]
    weights = list[str]()
    for (key, leaf), var in zip(tree.leaves_with_path(params), program.inputs, strict=False):
        weights.append(shared.fresh(tree.keystr(key, simple=True, separator=".") or "params"))
        shared.initializers[weights[-1]] = np.asarray(leaf, var.type.dtype)
    held, rows = program.inputs[count:], "batch" if dynamic_batch else ""
    growing = [text for text, var in zip(names, held, strict=True) if traced.of(var)[:1] == (Growing(1),)]
    if growing:
        shared.rows = shared.fresh("rows")
        w.nodes.append(helper.make_node("Shape", [growing[0]], [shared.rows], start=0, end=1))
    found = write(w, program, [*weights, *names])
    if shared.missing:
        remedy = f"Write that part of {name} with other operations"
        raise OperatorError(message("to_onnx", shared.missing, remedy, "ONNX"))
    if growing and not shared.reads_rows:
        del w.nodes[0]
    for inner, outer in zip(found, results, strict=True):
        w.nodes.append(helper.make_node("Identity", [inner], [outer]))
    try:
        inputs = [w.info(text, v.type.dtype, traced.of(v), rows) for text, v in zip(names, held, strict=True)]
        outputs = [w.info(t, a.type.dtype, traced.of(a), rows) for t, a in zip(results, program.outputs, strict=True)]
    except Unsupported as reason:
        raise OperatorError(f"to_onnx: ONNX has no arrays of {reason}, which {name} takes or returns") from None
    needed = _read(w.nodes)
    arrays = {text: value for text, value in shared.initializers.items() if text in needed}
    if sum(value.nbytes for value in arrays.values()) > LARGEST:
        raise ExportError(f"to_onnx({name}): an ONNX file holds at most 2 GB, and the parameters are larger")
    tensors = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), text)
        for text, value in arrays.items()
    ]
    graph = helper.make_graph(w.nodes, name, inputs, outputs, tensors)
    versions = {"opset_imports": [helper.make_opsetid("", OPSET)], "ir_version": IR_VERSION}
    model = helper.make_model(graph, producer_name="fdl", **versions)
    helper.set_model_props(model, dict(metadata or {}))
    content: bytes = model.SerializeToString()
    if path is not None:
        write_atomically(path, [content])
    return content


def _traced(apply: Any, name: str, params: Any, example: tuple[Any, ...], dynamic: bool) -> tuple[AlignedProgram, Any]:
    """The function traced, for several numbers of rows if it is to take any; and its result with numbers as leaves."""
    shapes = tree.map(lambda x: x if hasattr(x, "shape") and hasattr(x, "dtype") else np.asarray(x), example)
    extents = {x.shape[0] for x in tree.leaves(shapes) if x.shape}
    if not dynamic or not extents:
        program, result = _trace(apply, name, params, shapes)
        return AlignedProgram(program), result
    if len(extents) > 1:
        text = ", ".join(map(str, sorted(extents)))
        raise ExportError(
            f"to_onnx({name}): the inputs have different numbers of rows ({text}) along their first axes; give "
            f"dynamic_batch=False for a model of those shapes"
        )
    rows = [next(iter(extents)) + more for more in MORE_ROWS]
    found = []
    for count in rows:
        resized = tree.map(lambda x, n=count: ShapeDtypeStruct((n, *x.shape[1:]) if x.shape else (), x.dtype), shapes)
        found.append(_trace(apply, name, params, resized))
    return aligned([program for program, _ in found], rows), found[0][1]


def _trace(apply: Any, name: str, params: Any, inputs: tuple[Any, ...]) -> tuple[Program, Any]:
    program, captured, flat = trace_call(apply, (params, *inputs), {})
    if captured:
        raise ExportError(f"to_onnx({name}) inside of a transform: {name} closes over values that it traces")
    return eliminate_dead(inline(program)), flat.unflatten(list(range(len(program.outputs))))


def _input_names(apply: Any, example: tuple[Any, ...]) -> list[str]:
    """A name for each leaf of the inputs: that of the argument, or the path within it."""
    try:
        given = list(inspect.signature(apply).parameters.values())[1:]
    except (TypeError, ValueError):
        given = []
    plain = [p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = []
    for number, value in enumerate(example):
        base = plain[number] if number < len(plain) else f"input_{number}"
        for key, _ in tree.leaves_with_path(value):
            names.append(tree.keystr(key, simple=True, separator=".") or base)
    return names


def _output_names(result: Any) -> list[str]:
    found = []
    for key, _ in tree.leaves_with_path(result):
        text = tree.keystr(key, simple=True, separator=".")
        found.append("output" if not text else f"output_{text}" if text[0].isdigit() else text)
    return found


def _read(nodes: Any) -> set[str]:
    """The names that nodes read, also within their graphs."""
    names = set()
    for node in nodes:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names |= _read(attribute.g.node)
    return names
