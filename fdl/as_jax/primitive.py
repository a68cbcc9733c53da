"""Primitives that libraries define in JAX's way: an object, and rules for it in the tables of each transform."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fdl import tree
from fdl.array import Array, as_array
from fdl.as_jax.core import ShapedArray
from fdl.control.callback import Callback, IoCallback
from fdl.control.custom import Rule
from fdl.core import trace
from fdl.core.operation import Operation
from fdl.core.primitive import Linear
from fdl.core.types import TensorType
from fdl.errors import BatchError, ConcretizationError, DifferentiationError
from fdl.ops.shape import move_axis, reshape, zeros_of

#: Rules by primitive, as libraries set them.
primitive_jvps: dict[Any, Callable[..., Any]] = {}
primitive_transposes: dict[Any, Callable[..., Any]] = {}
primitive_batchers: dict[Any, Callable[..., Any]] = {}
#: The same for rules that are told of the axis: by its size and name first, or as :class:`AxisData`.
axis_primitive_batchers: dict[Any, Callable[..., Any]] = {}
fancy_primitive_batchers: dict[Any, Callable[..., Any]] = {}
#: What computes a primitive in compiled code, ``rule(context, *values, **params)``, where that is not its `impl`.
lowerings: dict[Any, Callable[..., Any]] = {}

#: How a batching rule says that an operand has no batch axis.
not_mapped = None


class UserPrimitive:
    """A primitive by name; libraries set its rules.

    >>> double = UserPrimitive("double")
    >>> _ = double.def_impl(lambda x: 2 * x), double.def_abstract_eval(lambda x: x)
    >>> double.bind(3.0)
    Array(6., dtype=float32)
    """

    multiple_results = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.impl: Callable[..., Any] | None = None
        self.abstract_eval: Callable[..., Any] | None = None

    def def_impl(self, impl: Callable[..., Any]) -> Callable[..., Any]:
        """Set what computes it, a function of arrays that may be traced."""
        self.impl = impl
        return impl

    def def_abstract_eval(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set what tells the types of its results from those of its operands."""
        self.abstract_eval = rule
        return rule

    def def_effectful_abstract_eval(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """As :meth:`def_abstract_eval`, for a rule that returns (types, effects)."""
        self.abstract_eval = lambda *avals, **params: rule(*avals, **params)[0]
        return rule

    def get_bind_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """What :meth:`bind` is given besides operands, of the parameters of an equation."""
        return params

    def bind(self, *args: Any, **params: Any) -> Any:
        """Apply it in the current interpreter."""
        values = [as_array(a, f"an operand of {self.name}").strong() for a in args]
        outs = trace.current().process(Applied(self, params, tuple(v.type for v in values)), values)
        return list(outs) if self.multiple_results else outs[0]

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Applied(Operation):
    """A primitive of a library with its parameters, as an operation of fdl on operands of certain types."""

    multiple = True
    primitive: UserPrimitive
    params: dict[str, Any]
    types: tuple[TensorType, ...]

    @property
    def name(self) -> str:
        return self.primitive.name

    def outputs(self, found: Any) -> list[Any]:
        """What a rule returned for the results, as a list."""
        return list(found) if self.primitive.multiple_results else [found]

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        if self.primitive.abstract_eval is None:
            raise NotImplementedError(f"the primitive {self.name} has no abstract_eval; set it with def_abstract_eval")
        avals = [ShapedArray(t.shape, t.dtype) for t in types]
        found = self.outputs(self.primitive.abstract_eval(*avals, **self.params))
        return tuple(TensorType(tuple(f.shape), np.dtype(f.dtype)) for f in found)

    def compute(self, *values: Any) -> list[Any]:
        """Its results by its implementation."""
        if self.primitive.impl is None:
            return self.lowered(*values)
        return [as_array(o).strong() for o in self.outputs(self.primitive.impl(*values, **self.params))]

    def lowered(self, *values: Any) -> list[Any]:
        """Its results in compiled code."""
        if self.primitive not in lowerings:
            raise NotImplementedError(f"the primitive {self.name} has no implementation; set it with def_impl")
        types = [ShapedArray(t.shape, t.dtype) for t in self.types]
        results = [ShapedArray(t.shape, t.dtype) for t in self.result(*self.types)]
        found = lowerings[self.primitive](LoweringContext(types, results), *values, **self.params)
        return [as_array(o).strong() for o in (found if isinstance(found, (list, tuple)) else [found])]

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        with trace.use(trace.base()):
            return [o.concrete() for o in self.compute(*map(Array, arrays))]

    @cached_property
    def inlined(self) -> Any:
        try:
            run = self.lowered if self.primitive in lowerings else self.compute
            program, captured = trace.trace_program(run, self.types, self.name)
        except ConcretizationError:
            return None  # an implementation that reads its operands' numbers is called from compiled code
        trace.require_closed(captured)
        return program

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        rule = primitive_jvps.get(self.primitive)
        if rule is None:
            raise DifferentiationError(f"the primitive {self.name} has no derivative; set primitive_jvps")
        given = [Zero(p.type) if t is None else t for p, t in zip(primals, tangents, strict=True)]
        outs, dots = (self.outputs(part) for part in rule(tuple(primals), tuple(given), **self.params))
        return [trace.lift(o) for o in outs], [None if type(d) is Zero else trace.lift(d) for d in dots]

    def linear_groups(self, types: Sequence[TensorType]) -> Sequence[Sequence[int]]:
        return (range(len(types)),) if self.primitive in primitive_transposes else ()

    def transpose(self, cotangents: Sequence[Any], *args: Any) -> Sequence[Any]:
        types = self.result(*self.types)
        given = [Zero(t) if c is None else c for c, t in zip(cotangents, types, strict=True)]
        operands = [UndefinedPrimal(a.type) if isinstance(a, Linear) else a for a in args]
        rule = primitive_transposes[self.primitive]
        found = rule(given if self.primitive.multiple_results else given[0], *operands, **self.params)
        return [
            trace.lift(c) if isinstance(a, Linear) and c is not None and type(c) is not Zero else None
            for c, a in zip(found, args, strict=True)
        ]

    def batch_named(self, size: int, args: Sequence[Any], batched: Sequence[bool], axis_name: Any) -> Any:
        dims = tuple(0 if b else not_mapped for b in batched)  # and operands, for rules that compare their trees
        if self.primitive in axis_primitive_batchers:
            rule = axis_primitive_batchers[self.primitive]
            outs, places = rule(size, axis_name, None, tuple(args), dims, **self.params)
        elif self.primitive in fancy_primitive_batchers:
            rule = fancy_primitive_batchers[self.primitive]
            outs, places = rule(AxisData(axis_name, size), tuple(args), dims, **self.params)
        elif self.primitive in primitive_batchers:
            outs, places = primitive_batchers[self.primitive](tuple(args), dims, **self.params)
        else:
            raise BatchError(f"the primitive {self.name} has no rule for vmap; set primitive_batchers")
        found = [trace.lift(o) for o in self.outputs(outs)]
        axes = self.outputs(places)
        moved = [o if a is None or a == 0 else move_axis(o, a, 0) for o, a in zip(found, axes, strict=True)]
        return moved, tuple(a is not None for a in axes)


class AxisData(NamedTuple):
    """The axis that a batching rule is for."""

    name: Any
    size: int
    spmd_name: Any = None


class Zero:
    """A tangent or cotangent that is zero, by its type.

    >>> Zero.from_primal_value(1.0).instantiate()
    Array(0., dtype=float32)
    """

    def __init__(self, aval: TensorType) -> None:
        self.aval = ShapedArray(aval.shape, aval.dtype)

    @staticmethod
    def from_primal_value(value: Any) -> "Zero":
        """The one of a value."""
        return Zero(as_array(value).type)

    def instantiate(self) -> Any:
        """An array of zeros."""
        return zeros_of(TensorType(self.aval.shape, self.aval.dtype))


# Rules of derivatives may return it from inside of a transform: it has no leaves.
tree.register_pytree_node(Zero, lambda zero: ((), zero.aval), lambda aval, _: Zero(aval))


def defvectorized(primitive: UserPrimitive) -> None:
    """Say that a primitive works element by element of one operand, whatever its shape."""

    def rule(args: Sequence[Any], dims: Sequence[Any], **params: Any) -> Any:
        out = primitive.bind(*args, **params)
        return out, [dims[0]] * len(out) if primitive.multiple_results else dims[0]

    primitive_batchers[primitive] = rule


def defbroadcasting(primitive: UserPrimitive) -> None:
    """Say that a primitive works element by element of operands that broadcast, as NumPy's functions do."""

    def rule(args: Sequence[Any], dims: Sequence[Any], **params: Any) -> Any:
        rows = [a if d is not_mapped else move_axis(as_array(a), d, 0) for a, d in zip(args, dims, strict=True)]
        rank = max(np.ndim(x) - (d is not not_mapped) for x, d in zip(rows, dims, strict=True))
        for n, (x, d) in enumerate(zip(rows, dims, strict=True)):
            if d is not not_mapped:  # the axes of an example stay the last ones
                rows[n] = reshape(x, (x.shape[0], *(1,) * (rank + 1 - x.ndim), *x.shape[1:]))
        out = primitive.bind(*rows, **params)
        return out, [0] * len(out) if primitive.multiple_results else 0

    primitive_batchers[primitive] = rule


def instantiate_zeros(tangent: Any) -> Any:
    """`tangent`, as an array if it is a :class:`Zero`.

    >>> instantiate_zeros(1.0)
    1.0
    """
    return tangent.instantiate() if type(tangent) is Zero else tangent


class UndefinedPrimal:
    """An operand by which a transposition is taken: only its type is known."""

    def __init__(self, aval: TensorType) -> None:
        self.aval = ShapedArray(aval.shape, aval.dtype)


def is_undefined_primal(x: Any) -> bool:
    """Whether it is an :class:`UndefinedPrimal`.

    >>> is_undefined_primal(1.0)
    False
    """
    return type(x) is UndefinedPrimal


def deflinear2(primitive: UserPrimitive, transpose_rule: Callable[..., Any]) -> None:
    """Say that a primitive is linear, and how it is transposed."""

    def jvp(primals: Any, tangents: Any, **params: Any) -> Any:
        filled = [instantiate_zeros(t) for t in tangents]
        return primitive.bind(*primals, **params), primitive.bind(*filled, **params)

    primitive_jvps[primitive], primitive_transposes[primitive] = jvp, transpose_rule


class LoweringContext:
    """What a rule for compiled code is told besides operands.

    Attributes:
        avals_in, avals_out: types of the operands and of the results.
        module_context: accepts what has to be kept alive.
    """

    def __init__(self, avals_in: list[ShapedArray], avals_out: list[ShapedArray]) -> None:
        self.avals_in, self.avals_out, self.module_context = avals_in, avals_out, self

    def add_keepalive(self, _: Any) -> None:
        """Do nothing: an operation keeps alive what it calls."""


def lower_fun(fun: Callable[..., Any], multiple_results: bool = True) -> Callable[..., Any]:
    """A function of arrays as the rule that compiles a primitive.

    >>> lower_fun(abs, multiple_results=False)(None, -3)
    [3]
    """

    def rule(context: Any, *values: Any, **params: Any) -> list[Any]:
        found = fun(*values, **params)
        return list(found) if multiple_results else [found]

    return rule


def register_lowering(primitive: UserPrimitive, rule: Callable[..., Any], platform: str | None = None, **_: Any) -> Any:
    """Compile a primitive by ``rule(context, *values, **params)``, unless it is for another platform than the CPU.

    >>> twice = UserPrimitive("twice")
    >>> _ = register_lowering(twice, lower_fun(lambda x: x + x, multiple_results=False))
    >>> _ = twice.def_abstract_eval(lambda x: x)
    >>> twice.bind(3.0)
    Array(6., dtype=float32)
    """
    if platform in (None, "cpu"):
        lowerings[primitive] = rule
    return rule


def emit_python_callback(
    context: Any,
    callback: Callable[..., Any],
    token: Any,
    operands: Sequence[Any],
    operand_avals: Sequence[Any],
    result_avals: Sequence[Any],
    *,
    has_side_effect: bool = False,
    **_: Any,
) -> tuple[list[Any], Any, None]:
    """Results of a Python function of arrays that is called from compiled code, the token, and nothing to keep."""

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        with trace.use(trace.base()):
            return [np.asarray(o) for o in callback(*map(Array, arrays))]

    kind = IoCallback if has_side_effect else Callback
    types = tuple(TensorType(tuple(a.shape), np.dtype(a.dtype)) for a in result_avals)
    return list(kind(Rule(run), types)(*operands)), token, None
