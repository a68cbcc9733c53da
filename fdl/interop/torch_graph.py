"""Programs of `torch.export` as graphs that need no PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from fdl.errors import InteropError
from fdl.interop.aten import RANDOM
from fdl.interop.graph import Graph, Node, ValueName, live, refs

#: The name of the random key among the inputs of a graph.
KEY = "%key"

#: Arguments about devices and memory.
IGNORED = frozenset(
    ("device", "layout", "pin_memory", "memory_format", "non_blocking", "copy", "generator", "requires_grad")
)

#: Operators that only check what PyTorch assumed.
CHECKS = frozenset(
    (
        "aten._assert_scalar.default", "aten._assert_tensor_metadata.default", "aten._assert_async.msg",
        "aten.sym_constrain_range_for_size.default", "aten.sym_constrain_range.default",
    )
)  # fmt: skip


@dataclass(frozen=True)
class ExportedModule:
    """A graph, and what its inputs and outputs are.

    Attributes:
        graph: with inputs for parameters, states, what the user gives, and the key.
        parameters: the dotted name of each input that is a parameter.
        frozen: inputs that are parameters without a gradient.
        states: the dotted name of each input that is a buffer which the module updates.
        user: names of inputs that the user gives, in order; None where a constant was given.
        fixed: those constants, by number.
        types: shape and dtype of each, None where an extent may differ.
        outputs: positions of what the user gets among the graph's outputs, and constants, as nested containers.
        updates: the position of the new value of each state among the graph's outputs.
        arguments: (args, kwargs) of the example as nested containers, with numbers of `user` for leaves.
        random: whether there are random operators.
    """

    graph: Graph
    parameters: Mapping[str, str]
    frozen: frozenset[str]
    states: Mapping[str, str]
    user: tuple[str | None, ...]
    fixed: Mapping[int, Any]
    types: Mapping[str, tuple[tuple[int | None, ...], np.dtype]]
    outputs: Any
    updates: Mapping[str, int]
    arguments: Any
    random: bool


@dataclass(frozen=True)
class Position:
    """Stands in a container for one of the outputs of a graph, or one of the inputs."""

    number: int


def dtype_of(dtype: Any) -> np.dtype:
    """PyTorch's dtype as NumPy's; integers of 64 bits become those of 32."""
    name = str(dtype).removeprefix("torch.")
    if name == "int64":
        return np.dtype("int32")
    if name == "bfloat16":
        return np.dtype(ml_dtypes.bfloat16)
    try:
        return np.dtype(name)
    except TypeError:
        raise InteropError(f"from_torch: fdl has no counterpart of the dtype {dtype}") from None


def array_of(tensor: Any) -> np.ndarray:
    """A copy of a tensor; integers of 64 bits that fit into 32 become such."""
    import torch

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    array = np.array(tensor.numpy())
    if array.dtype == np.int64 and (not array.size or abs(array).max() < 2**31):
        return array.astype(np.int32)
    return array


def operator_name(target: Any) -> str:
    """How the table calls the target of a node."""
    import torch

    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    name = getattr(target, "__name__", str(target))
    if getattr(target, "__module__", "") in ("_operator", "builtins"):
        return f"python.{name}"
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"higher_order.{name}"
    return f"sym.{name.removeprefix('_')}"


def place(node: Any) -> str:
    """The submodule that a node comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__name__
    path = str(path).removeprefix("L['self']").strip(".")
    kind = kind.rpartition(".")[2]
    return f"{path} ({kind})" if path else kind


class Converter:
    """Collects nodes and constants of a graph module and of those that it calls."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Any] = {}
        self.streams = 0

    def convert(self, module: Any, values: dict[Any, Any], prefix: str = "") -> Any:
        """Append the nodes of a module whose placeholders have values; what it returns."""
        import torch

        def known(value: Any) -> Any:
            if isinstance(value, torch.fx.Node):
                return values[value]
            if isinstance(value, list | tuple):
                return [known(v) for v in value]
            if isinstance(value, torch.dtype):
                return dtype_of(value)
            if isinstance(value, torch.device | torch.layout | torch.memory_format):
                return None
            return value

        for node in module.graph.nodes:
            if node.op == "placeholder":
                continue
            if node.op == "output":
                return known(node.args[0])
            name = prefix + node.name
            values[node] = ValueName(name)
            if node.op == "get_attr":
                value = module
                for part in node.target.split("."):
                    value = getattr(value, part)
                if isinstance(value, torch.nn.Module):
                    values[node] = value
                else:
                    self.constants[name] = array_of(value)
                continue
            operator = operator_name(node.target)
            if operator in CHECKS:
                continue
            if operator == "higher_order.wrap_with_set_grad_enabled":
                enabled, inner, *args = node.args
                values[node] = self.inline(values[inner], [values[a] for a in args], f"{name}/", enabled, place(node))
                continue
            args = arguments(node)
            if args[:1] and operator == "python.getitem" and isinstance(values[args[0]], list):
                values[node] = values[args[0]][args[1]]
                continue
            extra: list[Any] = []
            if operator in RANDOM:
                self.streams += 1
                extra = [ValueName(KEY), self.streams]
            self.nodes.append(Node(operator, (*[known(a) for a in args], *extra), name, where=place(node)))
        return None

    def inline(self, module: Any, args: list[Any], prefix: str, enabled: bool, where: str) -> Any:
        """The outputs of an inner module, through which gradients may not flow."""
        placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
        results = self.convert(module, dict(zip(placeholders, args, strict=True)), prefix)
        if enabled:
            return results
        stopped = []
        for number, result in enumerate(results):
            name = f"{prefix}stopped{number}"
            self.nodes.append(Node("fdl.stop_gradient", (result,), name, where=where))
            stopped.append(ValueName(name))
        return stopped


def arguments(node: Any) -> list[Any]:
    """Arguments of a node in the order of its operator's schema, with defaults, without those about memory."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return [*node.args, *node.kwargs.values()]
    result = []
    for number, argument in enumerate(schema.arguments):
        if argument.name in IGNORED:
            continue
        if number < len(node.args):
            result.append(node.args[number])
        else:
            result.append(node.kwargs.get(argument.name, argument.default_value))
    return result


def containers(value: Any, what: str) -> Any:
    """Nested tuples, lists and dicts of PyTorch's and of Transformers as plain ones."""
    if isinstance(value, dict):
        return {key: containers(v, what) for key, v in value.items()}
    if isinstance(value, tuple):
        return tuple(containers(v, what) for v in value)
    if isinstance(value, list):
        return [containers(v, what) for v in value]
    if value is None or isinstance(value, Position | bool | int | float | str):
        return value
    raise InteropError(
        f"from_torch: {what} a {type(value).__name__}; fdl takes tensors in tuples, lists and dicts (models of "
        "Transformers return their cache unless they are called with use_cache=False)"
    )


def learns(tensor: Any) -> bool:
    """Whether a parameter can have a gradient; integers, such as states of random numbers, are constants."""
    return bool(tensor.is_floating_point() or tensor.is_complex())


def memory_of(tensor: Any) -> tuple[Any, ...]:
    """Equal for tensors that are the same elements of the same memory."""
    return tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype


def exported(
    program: Any,
    canonical: Mapping[str, str],
    updated: frozenset[str],
    lifted: Mapping[tuple[Any, ...], str],
    frozen: frozenset[str],
) -> ExportedModule:
    """A program of `torch.export`, without operators that write to their operands, as data of fdl.

    Args:
        program: an ExportedProgram.
        canonical: the name that each parameter and buffer goes by, of the several that a shared one has.
        updated: names of the buffers that are inputs; others are constants.
        lifted: the name of each parameter by its memory. Modules that keep parameters in objects of their own, as those
            of Keras do, are exported with constants for them.
        frozen: names of the parameters that PyTorch gives no gradient.

    Returns:
        The graph, and what its inputs and outputs are.

    Raises:
        InteropError: it takes or returns what is no tensor.
    """
    import torch
    from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument

    signature, converter = program.graph_signature, Converter()
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    values = {node: ValueName(name) for name, node in placeholders.items()}
    parameters, states, fixed = dict[str, str](), dict[str, str](), dict[int, Any]()
    user, types = list[str | None](), dict[str, Any]()
    for spec in signature.input_specs:
        name: Any = getattr(spec.arg, "name", None)
        if spec.kind == InputKind.USER_INPUT:
            if isinstance(spec.arg, ConstantArgument):
                fixed[len(user)] = spec.arg.value
                user.append(None)
                continue
            user.append(name)
            if isinstance(spec.arg, TensorArgument):
                tensor = placeholders[name].meta["val"]
                shape = tuple([e if isinstance(e, int) else None for e in tensor.shape])
                types[name] = (shape, dtype_of(tensor.dtype))
        elif spec.kind == InputKind.PARAMETER and learns(program.state_dict[spec.target]):
            parameters[name] = canonical.get(spec.target, spec.target)
        elif spec.kind == InputKind.BUFFER and canonical.get(spec.target, spec.target) in updated:
            states[name] = canonical.get(spec.target, spec.target)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            kept = program.state_dict if spec.target in program.state_dict else program.constants
            held = lifted.get(memory_of(kept[spec.target]))
            if held is not None and spec.kind == InputKind.CONSTANT_TENSOR:
                parameters[name] = held
            else:
                converter.constants[name] = array_of(kept[spec.target])
        else:
            raise InteropError(f"from_torch: the module holds {spec.target}, which is no tensor")
    results = converter.convert(program.graph_module, values)
    outputs, updates, leaves = list[str](), dict[str, int](), list[Any]()
    for spec, result in zip(signature.output_specs, results, strict=True):
        target = canonical.get(spec.target, spec.target) if spec.target else None
        if spec.kind == OutputKind.BUFFER_MUTATION:
            if target is not None and target in updated:
                updates[target] = len(outputs)
                outputs.append(result.name)
        elif spec.kind == OutputKind.USER_OUTPUT:
            leaves.append(Position(len(outputs)) if isinstance(result, ValueName) else result)
            if isinstance(result, ValueName):
                outputs.append(result.name)
        else:
            raise InteropError("from_torch: the module writes to one of its inputs; let it return the new value")
    unflatten = torch.utils._pytree.tree_unflatten
    whole = unflatten(leaves, program.call_spec.out_spec)
    example = unflatten([Position(i) for i in range(len(user))], program.call_spec.in_spec)
    nodes = live(converter.nodes, outputs)
    read = {*outputs, *refs(tuple([(node.args, tuple(node.attributes.values())) for node in nodes]))}
    constants = {name: value for name, value in converter.constants.items() if name in read}
    inputs = (*parameters, *states, *[name for name in user if name], KEY)
    return ExportedModule(
        Graph(inputs, nodes, tuple(outputs), constants),
        parameters,
        frozenset([name for name, path in parameters.items() if path in frozen]),
        states,
        tuple(user),
        fixed,
        types,
        containers(whole, "the module returns"),
        updates,
        containers(example, "the example has"),
        KEY in read,
    )
