"""fdl's operations as primitives of JAX, by JAX's names, with parameters called as there and Programs as Jaxprs."""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from fdl.as_jax.linear_util import WrappedFun
from fdl.as_jax.primitive import Applied, UserPrimitive
from fdl.core import trace
from fdl.core.operation import Operation
from fdl.core.primitive import registry
from fdl.core.program import Program, parameters
from fdl.ops.elementwise import Elementwise
from fdl.ops.shape import broadcast_in_dim


class JaxName(NamedTuple):
    """What JAX calls a primitive.

    Attributes:
        name: of the primitive.
        parameters: JAX's names of fields, where they differ.
        ignored: parameters that only JAX has.
    """

    name: str
    parameters: Mapping[str, str] = MappingProxyType({})
    ignored: Mapping[str, Any] = MappingProxyType({})


_REDUCES = {name: JaxName(f"reduce_{name.lower()}") for name in ("Sum", "Prod")}
#: What JAX calls fdl's operations by the names of their classes, where that is another name or has other parameters.
NAMES = _REDUCES | {
    "ArgMax": JaxName("argmax"),
    "ArgMin": JaxName("argmin"),
    "Bitcast": JaxName("bitcast_convert_type", {"dtype": "new_dtype"}),
    "BroadcastInDim": JaxName("broadcast_in_dim", {"axes": "broadcast_dimensions"}, {"sharding": None}),
    "Call": JaxName("jit", {"program": "jaxpr", "label": "name"}, {"inline": False, "keep_unused": False}),
    "Callback": JaxName("pure_callback", {"function": "callback"}),
    "Concatenate": JaxName("concatenate", {"axis": "dimension"}),
    "ConvGeneral": JaxName(
        "conv_general_dilated",
        {"strides": "window_strides", "lhs_dilation": "lhs_dilation", "numbers": "dimension_numbers"},
        {"precision": None},
    ),
    "Convert": JaxName("convert_element_type", {"dtype": "new_dtype"}, {"weak_type": False, "sharding": None}),
    "CustomJvp": JaxName("custom_jvp_call", {"program": "call_jaxpr", "closed": "num_consts", "rule": "jvp_jaxpr_fun"}),
    "CustomVjp": JaxName(
        "custom_vjp_call",
        {"program": "call_jaxpr", "closed": "num_consts", "forward": "fwd_jaxpr_thunk", "backward": "bwd"},
    ),
    "DotGeneral": JaxName("dot_general", {"dtype": "preferred_element_type"}, {"precision": None}),
    "Effect": JaxName("debug_callback", {"function": "callback"}),
    "IntegerPow": JaxName("integer_pow", {"exponent": "y"}),
    "Iota": JaxName("iota", {"axis": "dimension"}, {"sharding": None}),
    "Remat": JaxName(
        "checkpoint",
        {"program": "jaxpr", "label": "name"},
        {"prevent_cse": True, "differentiated": False, "policy": None},
    ),
    "Reshape": JaxName("reshape", {"shape": "new_sizes"}, {"dimensions": None, "sharding": None}),
    "Reverse": JaxName("rev", {"axes": "dimensions"}),
    "Scan": JaxName(
        "scan",
        {"body": "jaxpr", "constants": "num_consts", "carries": "num_carry"},
        {"unroll": 1, "_split_transpose": False},
    ),
    "Slice": JaxName("slice", {"starts": "start_indices", "limits": "limit_indices"}),
    "Transpose": JaxName("transpose", {"axes": "permutation"}),
    "While": JaxName(
        "while",
        {
            "condition": "cond_jaxpr",
            "body": "body_jaxpr",
            "condition_constants": "cond_nconsts",
            "body_constants": "body_nconsts",
        },
    ),
}


class OperationPrimitive(UserPrimitive):
    """A class of fdl's operations as a primitive of JAX.

    >>> primitive("While").name, primitive("Sin").bind(0.0)
    ('while', Array(0., dtype=float32))
    """

    def __init__(self, kind: type[Operation], named: JaxName) -> None:
        super().__init__(named.name)
        self.kind, self.named = kind, named
        self.multiple_results = kind.multiple
        self.impl = self.bind
        self.call_primitive = self.map_primitive = False

    def view(self, operation: Operation, view: Callable[..., Any]) -> dict[str, Any]:
        """The parameters of an operation of the class."""
        params: dict[str, Any] = dict(self.named.ignored)
        opened = self.kind.recomputed
        for field in parameters(operation):
            value = getattr(operation, field)
            params[self.named.parameters.get(field, field)] = _replaced(value, lambda p: view(p, opened))
        return params

    def operation(self, params: dict[str, Any]) -> Operation:
        """The operation with these parameters."""
        fields = self.kind.__dataclass_fields__  # type: ignore[attr-defined]  # every operation is a dataclass
        names = {field: self.named.parameters.get(field, field) for field in fields}
        return self.kind(**{f: _opened(params[name]) for f, name in names.items() if name in params})

    def get_bind_params(self, params: dict[str, Any]) -> dict[str, Any]:
        if "call_jaxpr" not in params:
            return params
        closed = params["call_jaxpr"]
        rules = [params[name] for name in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd") if name in params]
        return params | {"subfuns": (WrappedFun(closed.call), *map(WrappedFun, rules))}

    def bind(self, *args: Any, **params: Any) -> Any:
        values = [trace.lift(a).strong() for a in args]
        if issubclass(self.kind, Elementwise):  # JAX's take numbers beside arrays
            shape = max((v.type.shape for v in values), key=len)
            values = [v if v.type.shape else broadcast_in_dim(v, shape, ()) for v in values] if shape else values
        outs = trace.current().process(self.operation(params), values)
        return list(outs) if self.multiple_results else outs[0]


def _replaced(value: Any, change: Callable[[Program], Any]) -> Any:
    """`value`, or elements of it as a tuple, changed if they are Programs."""
    if isinstance(value, tuple):
        return tuple(change(v) if isinstance(v, Program) else v for v in value)
    return change(value) if isinstance(value, Program) else value


def _opened(value: Any) -> Any:
    """A parameter of JAX as the field of an operation: Jaxprs as Programs."""
    if isinstance(value, (tuple, list)):
        return tuple(getattr(v, "program", v) for v in value)
    return getattr(value, "program", value)


@cache
def primitive(name: str) -> OperationPrimitive:
    """The primitive of the operations of a class."""
    kind = registry[name]
    plain = kind.name if isinstance(kind.name, str) else kind.__new__(kind).name
    return OperationPrimitive(kind, NAMES.get(name, JaxName(plain)))


def view(operation: Operation, inner: Callable[..., Any]) -> tuple[UserPrimitive, dict[str, Any]]:
    """The primitive and the parameters of an operation; `inner` makes Jaxprs of the Programs among them."""
    if isinstance(operation, Applied):
        return operation.primitive, dict(operation.params)
    found = primitive(type(operation).__name__)
    return found, found.view(operation, inner)


#: Primitives that fdl's tracing never makes; interpreters of Jaxprs keep rules for them.
call_p = UserPrimitive("call")
closed_call_p = UserPrimitive("closed_call")


@cache
def _by_name() -> dict[str, str]:
    return {primitive(name).name: name for name in registry if not name.startswith("_")}


def __getattr__(name: str) -> OperationPrimitive:
    """Primitives under the names that JAX gives them, such as ``dot_general_p``."""
    found = _by_name().get({"remat_p": "checkpoint_p"}.get(name, name).removesuffix("_p"))
    if found is None or not name.endswith("_p"):
        raise AttributeError(f"fdl has no primitive {name}", name=name)
    return primitive(found)
