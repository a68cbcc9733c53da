"""PyTorch's modules as pure functions of fdl."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, overload

import fdl.numpy as fnp
from fdl import lax
from fdl.errors import InteropError, ShapeError
from fdl.interop.aten import TABLE
from fdl.interop.graph import check_operators, evaluate
from fdl.interop.names import at, nested
from fdl.interop.torch_graph import KEY, ExportedModule, Position, array_of, exported, learns, memory_of, operator_name

Params = dict[str, Any]
REMEDY = "Give functions for them: from_torch(..., operators={name: function})"


@dataclass(frozen=True)
class Evaluation:
    """A module in evaluation mode: `apply(params, *args, **kwargs) -> outputs`. It pickles, and needs no PyTorch."""

    exported: ExportedModule
    operators: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __call__(self, params: Any, *args: Any, **kwargs: Any) -> Any:
        """The module's outputs for inputs like those of the example."""
        return outputs_of(self.exported, results(self.exported, self.operators, params, {}, None, args, kwargs))


@dataclass(frozen=True)
class Training:
    """A module in both modes: `apply(params, state, *args, training=True, key=None, **kwargs) -> (outputs, state)`.

    It pickles, and needs no PyTorch.
    """

    training: ExportedModule
    evaluation: ExportedModule
    operators: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def __call__(
        self, params: Any, state: Any, *args: Any, training: bool = True, key: Any = None, **kwargs: Any
    ) -> tuple[Any, Any]:
        """The module's outputs, and its new state; in evaluation that is the old one."""
        program = self.training if training else self.evaluation
        found = results(program, self.operators, params, state, key, args, kwargs)
        if training:
            state = nested({name: found[place] for name, place in program.updates.items()})
        return outputs_of(program, found), state


def results(
    program: ExportedModule,
    operators: Mapping[str, Callable[..., Any]],
    params: Any,
    state: Any,
    key: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Any, ...]:
    """The outputs of the graph."""
    values = {name: at(params, path, "params") for name, path in program.parameters.items()}
    values |= {name: lax.stop_gradient(values[name]) for name in program.frozen}
    values |= {name: at(state, path, "state") for name, path in program.states.items()}
    given: dict[int, Any] = {}
    example_args, example_kwargs = program.arguments
    match("args", example_args, args, given)
    match("kwargs", example_kwargs, kwargs, given)
    for number, name in enumerate(program.user):
        if name is None:
            if not same(given[number], program.fixed[number]):
                raise InteropError(
                    f"apply: the example has {program.fixed[number]!r} where {given[number]!r} is given; what is no "
                    "tensor is fixed when the module is imported"
                )
        else:
            values[name] = checked(name, given[number], program.types.get(name))
    values[KEY] = key
    return evaluate(program.graph, {**TABLE, **operators}, values)


def same(given: Any, fixed: Any) -> bool:
    """Whether what is no tensor is what the example had."""
    return type(given) is type(fixed) and bool(given == fixed)


def match(path: str, example: Any, given: Any, found: dict[int, Any]) -> None:
    """Find the leaves of an argument by the containers of the example."""
    if isinstance(example, Position):
        found[example.number] = given
    elif isinstance(example, dict):
        if not isinstance(given, Mapping) or set(example) != set(given):
            keys = list(given) if isinstance(given, Mapping) else type(given).__name__
            raise InteropError(f"apply: {path} must have the keys {list(example)} of the example, got {keys}")
        for name, inner in example.items():
            match(f"{path}[{name!r}]", inner, given[name], found)
    elif isinstance(example, list | tuple):
        if not isinstance(given, list | tuple) or len(given) != len(example):
            count = len(given) if isinstance(given, list | tuple) else type(given).__name__
            raise InteropError(f"apply: {path} must be the {len(example)} of the example, got {count}")
        for number, inner in enumerate(example):
            match(f"{path}[{number}]", inner, given[number], found)


def checked(name: str, value: Any, expected: Any) -> Any:
    """An input as an array whose shape is one that the module was exported for."""
    if expected is None:
        return value
    array, (shape, dtype) = fnp.asarray(value), expected
    if len(array.shape) != len(shape) or any(b is not None and a != b for a, b in zip(array.shape, shape, strict=True)):
        wanted = ", ".join("any" if extent is None else str(extent) for extent in shape)
        raise ShapeError(
            f"apply: {name} has the shape {array.shape}, the module was exported for ({wanted}). Import it with an "
            "example of this shape, or with dynamic_shapes; extents of 1 in an example are fixed"
        )
    if fnp.issubdtype(dtype, fnp.integer) != fnp.issubdtype(array.dtype, fnp.integer):
        raise InteropError(f"apply: {name} is {array.dtype}, the module was exported for {dtype}")
    return array


def outputs_of(program: ExportedModule, found: tuple[Any, ...]) -> Any:
    """Outputs of the graph in the containers that the module returns."""

    def fill(value: Any) -> Any:
        if isinstance(value, Position):
            return found[value.number]
        if isinstance(value, dict):
            return {key: fill(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([fill(v) for v in value])
        return value

    return fill(program.outputs)


@overload
def from_torch(
    module: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    train: Literal[False] = False,
    dynamic_shapes: Any = "batch",
    operators: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Evaluation, Params]: ...


@overload
def from_torch(
    module: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    train: Literal[True],
    dynamic_shapes: Any = "batch",
    operators: Mapping[str, Callable[..., Any]] | None = None,
) -> tuple[Training, Params, Params]: ...


def from_torch(
    module: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    train: bool = False,
    dynamic_shapes: Any = "batch",
    operators: Mapping[str, Callable[..., Any]] | None = None,
) -> Any:
    """A pure function, and its parameters, of a PyTorch module, by way of `torch.export`.

    The function can be compiled, differentiated, mapped, pickled, and trained on Spark; it needs no PyTorch. The module
    stays as it is. Integers of 64 bits become those of 32.

    Args:
        module: a `torch.nn.Module`.
        args: an example of its arguments, a tuple of tensors. Extents of 1 are taken as fixed: give two rows or more.
        kwargs: those by keyword.
        train: whether to import the training mode too. Without it, the module is imported in evaluation mode: no
            dropout, batch normalisation by running statistics, and buffers are constants. With it, both modes are:
            `apply(params, state, *args, training=True, key=None)` returns (outputs, state). State are the buffers that
            the module updates, such as running statistics; `num_batches_tracked` is left out. Dropout draws from `key`:
            other numbers than PyTorch's.
        dynamic_shapes: "batch": the first axis of each tensor may have other extents in calls than in the example,
            where the module allows it. None: shapes are those of the example. Anything else goes to `torch.export`.
        operators: functions for operators that fdl does not know, or in place of its own, by name, such as
            {"aten.erf.default": f}. They take the arguments of the operator's schema without those about devices.

    Returns:
        (apply, params), or (apply, params, state) for `train`. Parameters are nested dicts by the parts of their dotted
        names in the module; a shared one stands there once, and those without `requires_grad` have gradients of zero.
        The outputs are those of the module in plain tuples, lists and dicts.

    Raises:
        OperatorError: the module uses operators that are not known; all are named.
        InteropError: it is no module, cannot be exported, or takes or returns something else than tensors.
        ModuleNotFoundError: PyTorch is not installed.

    >>> import torch  # doctest: +SKIP
    >>> layer = torch.nn.Linear(3, 2)  # doctest: +SKIP
    >>> apply, params = from_torch(layer, (torch.ones(4, 3),))  # doctest: +SKIP
    >>> apply(params, fnp.ones((8, 3))).shape  # doctest: +SKIP
    (8, 2)
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise InteropError(f"from_torch: module must be a torch.nn.Module, got {type(module).__name__}")
    if isinstance(args, torch.Tensor) or not isinstance(args, list | tuple):
        raise InteropError(f"from_torch: args must be a tuple of the module's arguments, got {type(args).__name__}")
    args, kwargs, operators = tuple(args), dict(kwargs or {}), dict(operators or {})
    canonical = canonical_names(module)
    known = {*TABLE, *operators}
    own = {canonical[name]: tensor for name, tensor in module.named_parameters() if learns(tensor)}
    lifted = {memory_of(tensor): name for name, tensor in own.items() if tensor.numel()}
    frozen = frozenset([name for name, tensor in own.items() if not tensor.requires_grad])
    if not train:
        program = captured(module, args, kwargs, dynamic_shapes, known, False)
        evaluation = exported(program, canonical, frozenset(), lifted, frozen)
        check_operators("from_torch", [evaluation.graph], known, REMEDY)
        return Evaluation(evaluation, operators), parameters_of(module, canonical)
    programs = [captured(module, args, kwargs, dynamic_shapes, known, mode) for mode in (True, False)]
    updated = frozenset(
        [
            canonical.get(name, name)
            for name in programs[0].graph_signature.buffers_to_mutate.values()
            if name.rpartition(".")[2] != "num_batches_tracked"
        ]
    )
    training, evaluation = (exported(program, canonical, updated, lifted, frozen) for program in programs)
    check_operators("from_torch", [training.graph, evaluation.graph], known, REMEDY)
    buffers = dict(module.named_buffers())
    state = nested({name: arrays(buffers[name]) for name in sorted(updated)})
    return Training(training, evaluation, operators), parameters_of(module, canonical), state


def arrays(tensor: Any) -> Any:
    """A tensor as an array of fdl."""
    return fnp.asarray(array_of(tensor))


def canonical_names(module: Any) -> dict[str, str]:
    """The first of the names that each parameter and buffer has."""
    first: dict[int, str] = {}
    names = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {name: first.setdefault(id(tensor), name) for name, tensor in names}


def parameters_of(module: Any, canonical: Mapping[str, str]) -> Params:
    """Parameters of a module as a nested dict."""
    own = [(name, tensor) for name, tensor in module.named_parameters() if canonical[name] == name and learns(tensor)]
    return nested({name: arrays(tensor) for name, tensor in own})


def captured(
    module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic_shapes: Any, known: set[str], training: bool
) -> Any:
    """An ExportedProgram of a module in one mode; its operators write to no operand and, where it can be, are known."""
    import torch

    modes = {part: part.training for part in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of PyTorch's internals, as the weights that its LSTM holds twice
        try:
            module.train(training)
            torch.backends.mha.set_fastpath_enabled(False)  # whose operators are one for a whole layer
            if isinstance(dynamic_shapes, str):
                dynamic_shapes = batch_axes(module, args, kwargs)
            program = torch.export.export(module, args, kwargs, dynamic_shapes=dynamic_shapes, strict=False)
        except Exception as error:
            raise InteropError(f"from_torch: torch.export cannot export {type(module).__name__}: {error}") from error
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for part, mode in modes.items():
                part.training = mode
        program = program.run_decompositions({})
        called = [node.target for node in program.graph.nodes if node.op == "call_function"]
        unknown = {target for target in called if operator_name(target) not in known}
        table = {op: rule for op, rule in torch.export.default_decompositions().items() if op in unknown}
        return program.run_decompositions(table) if table else program


def batch_axes(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What tells `torch.export` that the first axes of all tensors may have other extents."""
    import torch

    shapes = torch.export.ShapesCollection()
    for leaf in torch.utils._pytree.tree_leaves((args, kwargs)):
        if isinstance(leaf, torch.Tensor) and leaf.ndim:
            shapes[leaf] = {0: torch.export.Dim.AUTO}
    return shapes.dynamic_shapes(module, args, kwargs)
