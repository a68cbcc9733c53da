"""ONNX models as pure functions of fdl."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.api.environment import ensure_compile_time_eval
from fdl.errors import InteropError, TreeError
from fdl.interop.graph import Graph, ValueName, check_operators, inner_graphs, resolve, store
from fdl.interop.onnx_conditions import deciding
from fdl.interop.onnx_control import TABLE as CONTROL
from fdl.interop.onnx_graph import as_array, graph_of, inlined, is_narrow, read, version_of
from fdl.interop.onnx_operators import TABLE

REMEDY = "Give functions for them: from_onnx(..., operators={name: function})"
#: Operands that are no parameters, though they are no integers: what has to be known when a model is traced, and
#: bounds, rates and filling, which training should not move.
STATIC = {
    ("Resize", 1), ("Resize", 2), ("Upsample", 2), ("Range", 0), ("Range", 1), ("Range", 2), ("Clip", 1), ("Clip", 2),
    ("Dropout", 1), ("Pad", 2), ("OneHot", 2),
}  # fmt: skip


@dataclass(frozen=True)
class OnnxFunction:
    """A model: `apply(params, *inputs) -> outputs`. It pickles, and needs no onnx."""

    graph: Graph
    parameters: tuple[str, ...]
    operators: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __call__(self, params: Any, *inputs: Any) -> Any:
        """The output, or a tuple of outputs, for inputs in the order of the model's."""
        names = self.graph.inputs
        if len(inputs) != len(names):
            raise InteropError(f"apply: the model takes {len(names)} inputs ({', '.join(names)}), got {len(inputs)}")
        missing = [name for name in self.parameters if name not in params]
        if missing:
            raise TreeError(f"params have no {missing[0]}: give a tree like the one that the import returned")
        values = {name: params[name] for name in self.parameters}
        values |= {name: as_array(value) for name, value in zip(names, inputs, strict=True)}
        outputs = tuple(map(as_array, run(self.graph, {**TABLE, **self.operators}, values)))
        return outputs[0] if len(outputs) == 1 else outputs


def run(graph: Graph, table: Mapping[str, Callable[..., Any]], values: Mapping[str, Any]) -> tuple[Any, ...]:
    """The outputs of a graph. What depends on constants and shapes alone is computed at once, also in a trace.

    Args:
        graph: what to evaluate.
        table: a function for each of its operators that holds no graph.
        values: what its inputs stand for, and values around it by name.
    """
    known = {**graph.constants, **values}
    for node, unused in zip(graph.nodes, graph.unused_after, strict=True):
        args = _read(partial(resolve, node.args, known))
        if node.operator in CONTROL and node.operator not in table:

            def evaluate(inner: Graph, inputs: Sequence[Any], around: Mapping[str, Any] = known) -> tuple[Any, ...]:
                return run(inner, table, {**around, **dict(zip(inner.inputs, inputs, strict=True))})

            result = CONTROL[node.operator](evaluate, *args, **node.attributes)
        elif all(arg is None or isinstance(arg, np.ndarray | np.generic) for arg in args):
            with ensure_compile_time_eval():
                result = table[node.operator](*args, **node.attributes)
            several = isinstance(result, tuple)
            result = tuple([np.asarray(r) for r in result]) if several else np.asarray(result)
        else:
            result = table[node.operator](*args, **node.attributes)
        store(known, node.outputs, result)
        for name in unused:
            known.pop(name, None)
    return _read(lambda: tuple([known[name] for name in graph.outputs]))


def _read(function: Callable[[], Any]) -> Any:
    """What a function reads of the values of a graph; an operator of fdl may make fewer than ONNX's."""
    try:
        return function()
    except KeyError as error:
        raise InteropError(f"from_onnx: fdl's operators do not make the output {error.args[0]!r}") from None


def from_onnx(
    model: Any, *, operators: Mapping[str, Callable[..., Any]] | None = None
) -> tuple[OnnxFunction, dict[str, Any]]:
    """A pure function, and its parameters, of an ONNX model.

    The function can be compiled, differentiated, mapped and pickled, and needs no onnx. Opening a file runs no code;
    weights that are kept in other files are read only from the model's folder. Random and training operators are
    those of evaluation; strings, sequences and sparse tensors are not read.

    Args:
        model: a path, bytes, or an `onnx.ModelProto`.
        operators: functions for operators that fdl does not know, or in place of its own, by name. They take the
            operands in order, and attributes by name.

    Returns:
        (apply, params): `apply(params, *inputs)` takes inputs in the order of the model's, and returns its output, or a
        tuple of them. Parameters are the model's floating-point initializers by name; others are constants, and so are
        numbers that decide which branch is taken, or how many steps a loop has.

    Raises:
        OperatorError: the model uses operators that are not known; all are named.
        InteropError: it is no ONNX model, or its weights are outside of its folder.
        ModuleNotFoundError: onnx is not installed.

    >>> apply, params = from_onnx("resnet18.onnx")  # doctest: +SKIP
    >>> fdl.jit(apply)(params, images).shape  # doctest: +SKIP
    (8, 1000)
    """
    proto, _ = read(model)
    graph, operators = graph_of(inlined(proto).graph, version_of(proto)), dict(operators or {})
    check_operators("from_onnx", [graph], {*TABLE, *CONTROL, *operators}, REMEDY)
    static = {
        arg.name
        for inner in inner_graphs(graph)
        for node in inner.nodes
        for number, arg in enumerate(node.args)
        if isinstance(arg, ValueName) and (node.operator, number) in STATIC
    }
    static |= {name for name in deciding(graph) if name in graph.constants and graph.constants[name].size == 1}
    params = {
        name: fnp.asarray(value)
        for name, value in graph.constants.items()
        if not is_narrow(value) and fnp.issubdtype(value.dtype, fnp.floating) and name not in static
    }
    constants = {name: value for name, value in graph.constants.items() if name not in params}
    return OnnxFunction(Graph(graph.inputs, graph.nodes, graph.outputs, constants), tuple(params), operators), params
