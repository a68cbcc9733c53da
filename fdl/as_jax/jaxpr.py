"""Programs in the place of Jaxprs: a function of arrays as data that can be walked through and called again."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import weakened
from fdl.api.inspect import ShapeDtypeStruct, trace_call
from fdl.api.wrapping import wraps
from fdl.array import Array, as_array
from fdl.as_jax import operations
from fdl.as_jax.core import ShapedArray
from fdl.config import config
from fdl.core import program as fdl_program
from fdl.core.interpret import apply_program
from fdl.core.listing import Listing
from fdl.core.program import Program
from fdl.core.trace import lift, trace_program
from fdl.core.types import TensorType
from fdl.ops.elementwise import Elementwise
from fdl.ops.shape import BroadcastInDim

no_effects: frozenset[Any] = frozenset()


class JaxprVar:
    """A variable of a Jaxpr; two are the same only if they are the same object."""

    def __init__(self, aval: TensorType) -> None:
        self.aval = ShapedArray(aval.shape, aval.dtype)

    def __repr__(self) -> str:
        return f"JaxprVar:{self.aval}"


class DropVar(JaxprVar):
    """A variable that nothing reads."""


class JaxprLiteral:
    """A number written in a Jaxpr itself."""

    def __init__(self, val: Any, aval: TensorType | None = None) -> None:
        self.val = val
        found = lift(val).type if aval is None else aval
        self.aval = ShapedArray(found.shape, found.dtype)

    def __repr__(self) -> str:
        return f"{np.asarray(self.val).item()}:{self.aval}"


Atom = JaxprVar | JaxprLiteral


class SourceInfo(str):
    """The user's line; JAX's has the names of scopes, too, of which Programs keep none."""

    __slots__ = ()
    name_stack = ""
    traceback = None


class JaxprEqn:
    """One application of a primitive.

    Attributes:
        invars: what it reads, each a JaxprVar or a JaxprLiteral.
        outvars: what it makes.
        primitive: the primitive, whose ``bind(*values, **primitive.get_bind_params(params))`` applies it again.
        params: its parameters, Programs among them as Jaxprs.
        effects: empty, or the name of the primitive if it does something besides.
        source_info: the user's line.
    """

    ctx: Any = None

    def __init__(
        self,
        invars: Sequence[Any],
        outvars: Sequence[JaxprVar],
        primitive: Any,
        params: dict[str, Any],
        effects: Any = no_effects,
        source_info: Any = "",
    ) -> None:
        self.invars, self.outvars = list(invars), list(outvars)
        self.primitive, self.params, self.effects = primitive, params, effects
        self.source_info = SourceInfo(source_info)

    def replace(self, **changes: Any) -> "JaxprEqn":
        """With other attributes."""
        names = ("invars", "outvars", "primitive", "params", "effects", "source_info")
        return JaxprEqn(**({name: getattr(self, name) for name in names} | changes))

    def __repr__(self) -> str:
        return "\n".join(_equation_lines(self, fdl_program.Names(), ""))


def new_jaxpr_eqn(
    invars: Sequence[Any],
    outvars: Sequence[JaxprVar],
    primitive: Any,
    params: dict[str, Any],
    effects: Any = no_effects,
    source_info: Any = "",
    ctx: Any = None,
) -> JaxprEqn:
    """An equation."""
    return JaxprEqn(invars, outvars, primitive, params, effects, source_info)


class Jaxpr:
    """A Program as JAX's interpreters of Jaxprs expect it, or equations that one of them has put together.

    Attributes:
        constvars, invars: variables of the values that it closes over, and of its arguments.
        outvars: its results, each a JaxprVar or a JaxprLiteral.
        eqns: the equations, in the order of evaluation.
    """

    debug_info: Any = None

    def __init__(
        self,
        constvars: Sequence[JaxprVar],
        invars: Sequence[JaxprVar],
        outvars: Sequence[Any],
        eqns: Sequence[JaxprEqn],
        effects: Any = no_effects,
        debug_info: Any = None,
        is_high: bool = False,
    ) -> None:
        self.constvars, self.invars = list(constvars), list(invars)
        self.outvars, self.eqns, self.effects = list(outvars), list(eqns), effects

    @classmethod
    def of_program(cls, program: Program, constants: int) -> "Jaxpr":
        """The view of a Program whose first inputs are values that it closes over; constants of it become literals."""
        known: dict[Any, Any] = {var: JaxprLiteral(array, var.type) for var, array in program.constants}

        def view(atom: Any) -> Any:
            if isinstance(atom, fdl_program.Literal):
                return JaxprLiteral(atom.value, atom.type)
            return known[atom] if atom in known else known.setdefault(atom, JaxprVar(atom.type))

        inputs = [view(v) for v in program.inputs]
        equations = []
        spread = _spread(program)
        known |= {var: JaxprLiteral(number.value, number.type) for var, number in spread.items()}
        for e in program.equations:
            if e.outputs and e.outputs[0] in spread:
                continue
            primitive, params = operations.view(e.operation, _inner)
            effects = frozenset([primitive.name]) if e.operation.effect else no_effects
            read = [view(a) for a in e.inputs]
            equations.append(JaxprEqn(read, [view(v) for v in e.outputs], primitive, params, effects, e.source))
        effects = frozenset().union(*(e.effects for e in equations))
        self = cls(inputs[:constants], inputs[constants:], [view(a) for a in program.outputs], equations, effects)
        vars(self)["program"] = program
        return self

    @cached_property
    def program(self) -> Program:
        """From the values that it closes over and the arguments to the results."""
        types = [TensorType(v.aval.shape, v.aval.dtype) for v in (*self.constvars, *self.invars)]
        return trace_program(self._evaluate, types)[0]

    def _evaluate(self, *values: Any) -> list[Any]:
        environment: dict[Any, Any] = dict(zip((*self.constvars, *self.invars), values, strict=True))

        def read(atom: Any) -> Any:
            return lift(atom.val) if isinstance(atom, JaxprLiteral) else environment[atom]

        for e in self.eqns:
            found = e.primitive.bind(*map(read, e.invars), **e.primitive.get_bind_params(e.params))
            environment.update(zip(e.outvars, found if e.primitive.multiple_results else [found], strict=True))
        return [read(a) for a in self.outvars]

    @property
    def in_avals(self) -> list[ShapedArray]:
        """Types of the arguments."""
        return [v.aval for v in self.invars]

    @property
    def out_avals(self) -> list[ShapedArray]:
        """Types of the results."""
        return [v.aval for v in self.outvars]

    def replace(self, **changes: Any) -> "Jaxpr":
        """With other attributes."""
        names = ("constvars", "invars", "outvars", "eqns", "effects")
        return Jaxpr(**({name: getattr(self, name) for name in names} | changes))

    def __repr__(self) -> str:
        return "\n".join(_lines(self, ""))

    def _repr_html_(self) -> str:
        return Listing(self)._repr_html_()

    def pretty_print(self, **_: Any) -> str:
        """As text."""
        return str(self)


class ClosedJaxpr:
    """A Jaxpr and the values that it closes over.

    >>> closed = make_jaxpr(lambda x: x * x)(3.0)
    >>> closed
    { lambda ; a:f32[]. let
        b:f32[] = mul a a
      in (b,) }
    >>> eval_jaxpr(closed.jaxpr, closed.consts, 4.0)
    [Array(16., dtype=float32)]
    """

    def __init__(self, jaxpr: Jaxpr, consts: Sequence[Any] = ()) -> None:
        self.jaxpr, self.consts = jaxpr, list(consts)

    @classmethod
    def of_program(cls, program: Program, captured: Sequence[Any] = ()) -> "ClosedJaxpr":
        """The view of a Program whose first inputs are `captured` values.

        Arrays that are scalars are literals of the Program, the other ones its constants.
        """
        count, constants = len(captured), program.constants
        inputs = (*program.inputs[:count], *(var for var, _ in constants), *program.inputs[count:])
        jaxpr = Jaxpr.of_program(Program(inputs, program.equations, program.outputs), count + len(constants))
        return cls(jaxpr, [*captured, *(Array(array) for _, array in constants)])

    @property
    def program(self) -> Program:
        """From the arguments to the results, with the values that it closes over as constants."""
        program, count = self.jaxpr.program, len(self.consts)
        if not count:
            return program
        held = tuple((v, np.asarray(c)) for v, c in zip(program.inputs, self.consts, strict=False))
        return Program(program.inputs[count:], program.equations, program.outputs, held + program.constants)

    def call(self, *args: Any) -> list[Any]:
        """Its results for arguments."""
        return eval_jaxpr(self.jaxpr, self.consts, *args)

    @property
    def in_avals(self) -> list[ShapedArray]:
        """Types of the arguments."""
        return self.jaxpr.in_avals

    @property
    def out_avals(self) -> list[ShapedArray]:
        """Types of the results."""
        return self.jaxpr.out_avals

    @property
    def eqns(self) -> list[JaxprEqn]:
        """Its equations."""
        return self.jaxpr.eqns

    @property
    def effects(self) -> Any:
        """What it does besides computing its results."""
        return self.jaxpr.effects

    @property
    def literals(self) -> list[Any]:
        """The values that it closes over."""
        return self.consts

    def replace(self, jaxpr: Jaxpr | None = None, consts: Sequence[Any] | None = None) -> "ClosedJaxpr":
        """With another Jaxpr, or other values."""
        return ClosedJaxpr(jaxpr or self.jaxpr, self.consts if consts is None else consts)

    def __repr__(self) -> str:
        return str(self.jaxpr)

    def _repr_html_(self) -> str:
        return self.jaxpr._repr_html_()

    def pretty_print(self, **_: Any) -> str:
        """As text."""
        return str(self)


def make_jaxpr(
    fun: Callable[..., Any], static_argnums: int | Sequence[int] = (), axis_env: Any = None, return_shape: bool = False
) -> Callable[..., Any]:
    """A function that returns the :class:`ClosedJaxpr` of `fun` for given arguments instead of running it.

    >>> print(make_jaxpr(lambda x: x + 1)(1.0).out_avals[0])
    f32[]
    """
    static = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fixed = {n % len(args): args[n] for n in static}

        def partly(*rest: Any, **named: Any) -> Any:
            left = iter(rest)
            return fun(*(fixed[n] if n in fixed else next(left) for n in range(len(args))), **named)

        given = [a for n, a in enumerate(args) if n not in fixed], kwargs
        program, captured, flat = trace_call(partly, *tree.map(_typed, given))
        closed = ClosedJaxpr.of_program(program, captured)
        mark_weak(closed, flat.weak, flat.out_weak)
        if not return_shape:
            return closed
        types = zip(program.output_types, flat.out_weak, strict=True)
        return closed, tree.unflatten(
            flat.out_structure, [ShapeDtypeStruct(t.shape, t.dtype, weak_type=w is not None) for t, w in types]
        )

    return wrapped


def _typed(leaf: Any) -> Any:
    """What an argument shows; it is weak where arrays can be."""
    if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
        leaf = as_array(leaf)
    weak = getattr(leaf, "weak", getattr(leaf, "weak_type", False))
    return ShapeDtypeStruct(leaf.shape, leaf.dtype, weak_type=weak and config.weak_arrays)


def mark_weak(closed: ClosedJaxpr, arguments: Sequence[Any], results: Sequence[Any]) -> None:
    """Mark the types of the arguments and results that have an entry."""
    for atoms, weak in ((closed.jaxpr.invars, arguments), (closed.jaxpr.outvars, results)):
        for atom, shown in zip(atoms, weak, strict=True):
            if shown is not None:
                atom.aval = atom.aval.update(weak_type=True)


def eval_jaxpr(jaxpr: Jaxpr, consts: Sequence[Any], *args: Any, **_: Any) -> list[Any]:
    """The results of a Jaxpr for arguments, in the current interpreter.

    A result is weak if it was so in the Jaxpr and arguments that were weak in it still are.
    """
    values = [as_array(v) for v in args]
    found = apply_program(jaxpr.program, [as_array(v).strong() for v in (*consts, *values)])
    if not all(v.weak or not var.aval.weak_type for v, var in zip(values, jaxpr.invars, strict=False)):
        return found
    shown = [v.aval.dtype if v.aval.weak_type else None for v in jaxpr.outvars]
    return weakened(found, shown)


def jaxpr_as_fun(closed_jaxpr: ClosedJaxpr) -> Callable[..., list[Any]]:
    """A Jaxpr as a function of its arguments.

    >>> jaxpr_as_fun(make_jaxpr(lambda x: x + 1)(1.0))(2.0)
    [Array(3., dtype=float32)]
    """
    return lambda *args: closed_jaxpr.call(*tree.leaves(args))


def jaxprs_in_params(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The Jaxprs among the parameters of an equation."""
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, (Jaxpr, ClosedJaxpr)):
                yield one.jaxpr if isinstance(one, ClosedJaxpr) else one


def subjaxprs(jaxpr: Jaxpr) -> Iterator[Jaxpr]:
    """The Jaxprs among the parameters of the equations of another one."""
    for e in jaxpr.eqns:
        yield from jaxprs_in_params(e.params)


def _spread(program: Program) -> dict[fdl_program.Var, fdl_program.Literal]:
    """Variables that are a number repeated for elementwise operations, which JAX's primitives take as it is."""
    found: dict[fdl_program.Var, fdl_program.Literal] = {}
    for e in program.equations:
        variables = [a for a in e.inputs if isinstance(a, fdl_program.Var)]
        if isinstance(e.operation, BroadcastInDim) and not variables:
            (number,) = e.inputs
            assert isinstance(number, fdl_program.Literal)
            found[e.outputs[0]] = number
        elif not isinstance(e.operation, Elementwise) or all(v in found for v in variables):
            for v in variables:
                found.pop(v, None)
    for a in program.outputs:
        if isinstance(a, fdl_program.Var):
            found.pop(a, None)
    return found


def _inner(program: Program, opened: bool = False) -> Any:
    """The view of a Program among the parameters of an operation."""
    return Jaxpr.of_program(program, 0) if opened else ClosedJaxpr.of_program(program)


def _lines(jaxpr: Jaxpr, indent: str) -> list[str]:
    """A Jaxpr as lines of text, the first of them without the indentation."""
    name: Any = fdl_program.Names()
    constants, inputs = (" ".join(f"{name(v)}:{v.aval}" for v in part) for part in (jaxpr.constvars, jaxpr.invars))
    text = [f"{{ lambda {constants}; {inputs}. let"]
    for e in jaxpr.eqns:
        text += _equation_lines(e, name, f"{indent}    ")
    outs = "".join(f"{_shown(a, name)}," for a in jaxpr.outvars)
    return [*text, f"{indent}  in ({outs}) }}"]


def _equation_lines(equation: JaxprEqn, name: Any, indent: str) -> list[str]:
    outs = " ".join(f"{name(v)}:{v.aval}" for v in equation.outvars)
    inputs = "".join(f" {_shown(a, name)}" for a in equation.invars)
    text = f"{indent}{outs} = " * bool(outs) + f"{indent}" * (not outs) + str(equation.primitive.name)
    plain = [f"{k}={v}" for k, v in equation.params.items() if not any(True for _ in jaxprs_in_params({k: v}))]
    held = {k: v for k, v in equation.params.items() if any(True for _ in jaxprs_in_params({k: v}))}
    if not held:
        return [f"{text}[{' '.join(plain)}]{inputs}" if plain else text + inputs]
    lines = [f"{text}["]
    for key, value in held.items():
        for inner in jaxprs_in_params({key: value}):
            first, *rest = _lines(inner, f"{indent}  ")
            lines += [f"{indent}  {key}={first}", *rest]
    return [*lines, *(f"{indent}  {one}" for one in plain), f"{indent}]{inputs}"]


def _shown(atom: Any, name: Any) -> str:
    return str(atom) if isinstance(atom, JaxprLiteral) else name(atom)
