"""Functions with derivatives of the user's own, and checkpointing."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction, flatten_values, name_of, weakened, weakness
from fdl.api.inspect import trace_call
from fdl.api.wrapping import update_wrapper, wraps
from fdl.array import as_array
from fdl.control.custom import NO_PROGRAM, Custom, CustomCall, CustomJvp, CustomVjp, Rule
from fdl.core.interpret import apply_program
from fdl.core.program import Program
from fdl.core.trace import RULE_ADVICE, current, is_eager, lift
from fdl.core.types import TensorType
from fdl.dtypes import INEXACT, WEAK
from fdl.errors import DifferentiationError, LeakedTracerError, ShapeError, TreeError
from fdl.ops.convert import convert
from fdl.ops.shape import zeros_of
from fdl.tracebacks import boundary
from fdl.tree.structures import explain_structures, subtrees

P = ParamSpec("P")
R = TypeVar("R")


def by_position(
    fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by position, and those that can only be passed by keyword if any was; defaults filled in."""
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        return tuple(args), kwargs
    kinds = [p.kind for p in signature.parameters.values()]
    names = [p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    if not kwargs and not names and len(kinds) == len(args):
        return tuple(args), {}
    places = sum(k in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for k in kinds)
    if len(args) == places + len(names) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        # What a rule got after the positional arguments, it may hand on so.
        args, kwargs = args[:places], {**dict(zip(names, args[places:], strict=True)), **kwargs}
    bound = signature.bind(*args, **kwargs)
    given = not kwargs.keys().isdisjoint(bound.kwargs)
    bound.apply_defaults()
    return bound.args, bound.kwargs if given else {}


class SymbolicZero:
    """A tangent or cotangent that is zero because nothing depends on it, for rules set with ``symbolic_zeros=True``.

    >>> import fdl
    >>> @fdl.custom_jvp
    ... def f(x, y):
    ...     return x * y
    >>> def f_jvp(primals, tangents):
    ...     print(tangents[1])
    ...     return f(*primals), tangents[0] * primals[1]
    >>> f.defjvp(f_jvp, symbolic_zeros=True) is f_jvp
    True
    >>> fdl.grad(f)(3.0, 4.0)
    SymbolicZero(f32[])
    Array(4., dtype=float32)
    """

    def __init__(self, type: TensorType) -> None:
        self.aval = type

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the axes."""
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.aval.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.aval.size

    def __fdl_array__(self) -> Any:
        return zeros_of(self.aval)

    def __repr__(self) -> str:
        return f"SymbolicZero({self.aval})"


def zero_from_primal(val: Any, symbolic_zeros: bool = False) -> Any:
    """The zero tangents of a tree of values: arrays, or each a :class:`SymbolicZero`.

    >>> zero_from_primal(3.0, symbolic_zeros=True)
    SymbolicZero(f32[])
    """
    zero = SymbolicZero if symbolic_zeros else zeros_of
    return tree.map(lambda leaf: zero(as_array(leaf).type), val)


@dataclass(frozen=True)
class CustomVJPPrimal:
    """An argument of a forward rule that was set with ``symbolic_zeros=True``.

    Attributes:
        value: the argument.
        perturbed: whether the output is differentiated by it.
    """

    value: Any
    perturbed: bool


def custom_vjp_primal_tree_values(tree_of_primals: Any) -> Any:
    """A tree of :class:`CustomVJPPrimal` as the tree of their values.

    >>> custom_vjp_primal_tree_values((CustomVJPPrimal(1.0, True), CustomVJPPrimal(2.0, False)))
    (1.0, 2.0)
    """
    return tree.map(lambda leaf: leaf.value, tree_of_primals)


def _advised(name: str, rule: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a rule; says what to do about a value that it cannot reach any more."""
    try:
        return rule(*args, **kwargs)
    except LeakedTracerError as error:
        raise LeakedTracerError(
            f"the derivative rule of {name} reads a traced value that it closes over, or that was passed in "
            f"nondiff_argnums, after the function that made it had returned: {str(error).split(' was used')[0]}. Rules "
            f"run when {name} is differentiated. {RULE_ADVICE}"
        ) from error


class _CustomFunction(Generic[P, R]):
    """What custom_jvp and custom_vjp share: static arguments, flattening, calling."""

    def __init__(
        self, fun: Callable[P, R], nondiff_argnums: Sequence[int] | int = (), nondiff_argnames: Sequence[str] = ()
    ) -> None:
        update_wrapper(self, fun)
        self.fun = fun
        given = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        names = list(inspect.signature(fun).parameters) if nondiff_argnames else []
        self.nondiff = tuple(sorted({*given, *(names.index(n) for n in nondiff_argnames)}))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __getattr__(self, name: str) -> Any:
        # What wraps a function with rules of another kind lets them be set as well: ``def_vmap`` of a custom_vmap.
        if name == "fun" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.fun, name)

    @boundary
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(*by_position(self.fun, args, kwargs))

    def run(self, args: Any, named: Any) -> Any:
        """The results for positional arguments, and those that are keyword-only."""
        if is_eager():
            return self.fun(*args, **named)
        count = len(args)
        names: tuple[str, ...] = ()
        if named and not self.takes_by_name(named):
            args, names, named = (*args, *named.values()), tuple(named), {}
        static = {n: args[n] for n in self.nondiff}
        dynamic = [a for n, a in enumerate(args) if n not in static]

        def partly(*parts: Any) -> Any:
            rest = iter(parts)
            whole = [static[n] if n in static else next(rest) for n in range(len(args))]
            return self.fun(*whole[:count], **dict(zip(names, whole[count:], strict=True)), **named)

        update_wrapper(partly, self.fun, updated=())
        leaves, structure = flatten_values(partly, dynamic, {})
        weak, leaves = weakness(leaves), [v.held for v in leaves]
        flat = FlatFunction(partly, structure, weak=weak)
        rules = self.flat_rules(flat, [v.type for v in leaves], list(static.values()), named)
        owners = [self.fun, *self.user_rules(), *static.values(), named]
        call = CustomCall(flat, rules, owners)
        return flat.unflatten(list(current().call_custom(call, leaves)))

    def user_rules(self) -> Sequence[Callable[..., Any]]:
        """The rules as they were set."""
        raise NotImplementedError

    def flat_rules(
        self, flat: FlatFunction, types: Sequence[TensorType], static: list[Any], named: dict[str, Any]
    ) -> Custom:
        """The rules on flat values, as an operation without a Program."""
        raise NotImplementedError

    def takes_by_name(self, named: dict[str, Any]) -> bool:
        """Whether the rule takes the keyword-only arguments of a call by keyword too."""
        rules = self.user_rules()
        parameters = inspect.signature(rules[0]).parameters.values() if rules else ()
        names = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
        return named.keys() <= names or any(p.kind is p.VAR_KEYWORD for p in parameters)


class custom_jvp(_CustomFunction[P, R]):
    """A function whose forward derivative is given by a rule.

    Args:
        fun: any function of arrays. Keyword-only arguments of a call follow the positional ones in the rule, or are
            passed to it by keyword, without derivative, if it has keyword-only parameters of their names.
        nondiff_argnums: positional arguments that are not differentiated (any Python objects); they come first in the
            rule.

    Set the rule with :meth:`defjvp` or :meth:`defjvps`; reverse mode follows from it.

    >>> import fdl, fdl.numpy as fnp
    >>> @fdl.custom_jvp
    ... def f(x):
    ...     return x**2
    >>> @f.defjvp
    ... def f_jvp(primals, tangents):
    ...     return f(*primals), 10.0 * primals[0] * tangents[0]
    >>> fdl.grad(f)(3.0)
    Array(30., dtype=float32)
    """

    rule: Callable[..., Any] | None = None
    symbolic_zeros = False

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """Set the rule ``jvp(*nondiff, primals, tangents) -> (output, tangent)``; returns it.

        With `symbolic_zeros`, tangents of zero come as :class:`SymbolicZero`, and may be returned as such.
        """
        self.rule, self.symbolic_zeros = jvp, symbolic_zeros
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Set one rule for each argument, ``rule(tangent, output, *primals) -> tangent``; None is zero."""

        def rule(*args: Any, **named: Any) -> Any:
            *static, primals, tangents = args
            out = self(*static, *primals, **named)
            parts = [r(t, out, *primals) for r, t in zip(jvps, tangents, strict=True) if r is not None]
            total = functools.reduce(lambda a, b: tree.map(lambda x, y: x + y, a, b), parts) if parts else None
            return out, tree.map(lambda o: zeros_of(as_array(o).type), out) if total is None else total

        self.rule, self.symbolic_zeros = rule, False

    def user_rules(self) -> Sequence[Callable[..., Any]]:
        return [self.rule] if self.rule else []

    def flat_rules(
        self, flat: FlatFunction, types: Sequence[TensorType], static: list[Any], named: dict[str, Any]
    ) -> Custom:
        if self.rule is None:
            raise DifferentiationError(f"custom_jvp function {name_of(self.fun)} has no rule yet; set one with defjvp")
        rule, name = self.rule, name_of(self.fun)
        zero = SymbolicZero if self.symbolic_zeros else zeros_of

        def run(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            primals = weakened([*map(lift, primals)], flat.weak)
            filled = [
                zero(p.type) if t is None else t.weakened(p.type.dtype) if p.weak else t
                for p, t in zip(primals, tangents, strict=True)
            ]
            args, dots = (tree.unflatten(flat.structure, vs)[0] for vs in (primals, filled))
            result = _advised(name, rule, *static, tuple(args), tuple(dots), **named)
            if not (isinstance(result, (tuple, list)) and len(result) == 2):
                raise TreeError(f"the jvp rule of {name} must return a pair (output, tangent)")
            if flat.out_structure is None:
                flat.out_structure = tree.structure(result[0])
            return _flat_pair(name, *result)

        return CustomJvp(NO_PROGRAM, Rule(run), label=name)


def _flat_pair(name: str, out: Any, tangent: Any) -> tuple[list[Any], list[Any]]:
    outs, structure = tree.flatten(out)
    dots, its_structure = tree.flatten(tangent)
    if structure != its_structure:
        raise TreeError(
            f"the jvp rule of {name} returned an output of structure {structure} and a tangent of "
            f"structure {its_structure}"
        )
    outs = [as_array(o).strong() for o in outs]
    return outs, [_same_type(name, d, o) for d, o in zip(dots, outs, strict=True)]


def _same_type(name: str, tangent: Any, out: Any) -> Any:
    """A tangent in the dtype of its output; None is zero."""
    if isinstance(tangent, SymbolicZero) or out.type.dtype not in INEXACT:
        return None
    tangent = as_array(tangent)
    if tangent.type == out.type:
        return tangent.strong()
    if tangent.type.shape == out.type.shape:
        return convert(tangent, out.type.dtype)
    raise ShapeError(f"the derivative rule of {name} returned {tangent.type} where {out.type} is needed")


class custom_vjp(_CustomFunction[P, R]):
    """A function whose reverse derivative is given by a pair of rules.

    Args:
        fun: any function of arrays.
        nondiff_argnums: positional arguments that are not differentiated (any Python objects); they come first in
            `bwd`.

    Set the rules with :meth:`defvjp`.

    >>> import fdl
    >>> @fdl.custom_vjp
    ... def clip_gradient(x):
    ...     return x
    >>> clip_gradient.defvjp(lambda x: (x, None), lambda _, g: (fdl.numpy.clip(g, -1.0, 1.0),))
    >>> fdl.grad(lambda x: 5.0 * clip_gradient(x))(2.0)
    Array(1., dtype=float32)
    """

    rules: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    symbolic_zeros = False

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Set ``fwd(*args) -> (output, residuals)`` and ``bwd(*nondiff, residuals, cotangent) -> tuple``.

        With `symbolic_zeros`, the leaves of the arguments of `fwd` are :class:`CustomVJPPrimal`, and cotangents of
        zero come to `bwd` as :class:`SymbolicZero`.
        """
        self.rules, self.symbolic_zeros = (fwd, bwd), symbolic_zeros

    def user_rules(self) -> Sequence[Callable[..., Any]]:
        return self.rules or ()

    def flat_rules(
        self, flat: FlatFunction, types: Sequence[TensorType], static: list[Any], named: dict[str, Any]
    ) -> Custom:
        if self.rules is None:
            raise DifferentiationError(
                f"custom_vjp function {name_of(self.fun)} has no rules yet; set them with defvjp"
            )
        fwd, bwd = self.rules
        name, nondiff, residual_structure = name_of(self.fun), self.nondiff, cast(Any, None)
        out_types: list[TensorType] = []
        kept: list[Any] = []  # residuals that are numbers of Python, which the backward rule gets as such
        residual_weak: list[Any] = []
        symbolic = self.symbolic_zeros
        zero = SymbolicZero if symbolic else zeros_of

        def forward(values: Sequence[Any], perturbed: Sequence[bool]) -> tuple[list[Any], list[Any]]:
            nonlocal residual_structure
            values = weakened([*map(lift, values)], flat.weak)
            shown = list(map(CustomVJPPrimal, values, perturbed)) if symbolic else values
            dynamic = tree.unflatten(flat.structure, shown)[0]
            parts, fixed = iter(dynamic), dict(zip(nondiff, static, strict=True))
            args = [fixed[n] if n in fixed else next(parts) for n in range(len(fixed) + len(dynamic))]
            result = _advised(name, fwd, *args, **named)
            if not (isinstance(result, (tuple, list)) and len(result) == 2):
                raise TreeError(f"the forward rule of {name} must return a pair (output, residuals)")
            outs, found = tree.flatten(result[0])
            if flat.out_structure is None:
                flat.out_structure = found
            if found != flat.out_structure:
                raise TreeError(
                    f"the forward rule of {name} returned structure {found}, the function itself {flat.out_structure}"
                )
            residuals, residual_structure = tree.flatten(result[1])
            kept[:] = [r if type(r) in WEAK else None for r in residuals]
            outs = [as_array(o).strong() for o in outs]
            out_types[:] = [o.type for o in outs]
            saved = [as_array(r) for r, k in zip(residuals, kept, strict=True) if k is None]
            residual_weak[:] = weakness(saved)
            return outs, [r.held for r in saved]

        def backward(residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
            filled = [zero(t) if c is None else c for c, t in zip(cotangents, out_types, strict=True)]
            rest = iter(weakened(residuals, residual_weak))
            found = [next(rest) if k is None else k for k in kept]
            given = tree.unflatten(residual_structure, found), tree.unflatten(flat.out_structure, filled)
            return _match_cotangents(name, _advised(name, bwd, *static, *given), flat.structure, types, flat.weak)

        return CustomVjp(NO_PROGRAM, Rule(forward), Rule(backward), label=name)


def _stands_alone(cotangent: Any) -> bool:
    """Whether a cotangent is one value, and no tree of them."""
    return cotangent is None or isinstance(cotangent, SymbolicZero) or hasattr(cotangent, "__fdl_array__")


def _match_cotangents(
    name: str, found: Any, structure: Any, types: Sequence[Any], weak: Sequence[np.dtype | None]
) -> list[Any]:
    """Cotangents per leaf of the arguments; None, for an argument or below it, is zero."""
    arguments = structure.child(0).children()
    if not isinstance(found, (tuple, list)) or len(found) != len(arguments):
        raise TreeError(
            f"the backward rule of {name} must return a tuple of {len(arguments)} cotangents, one for each "
            "differentiable argument"
        )
    values: list[Any] = []
    for argument, cotangent in zip(arguments, found, strict=True):
        leaves, given = tree.flatten(cotangent, is_leaf=_stands_alone)
        different = explain_structures(given, argument)
        if different:
            raise TreeError(
                f"the backward rule of {name} returned a cotangent of structure {tree.structure(cotangent)} for an "
                f"argument of structure {argument}; None stands for zeros of any structure (they part {different})"
            )
        for leaf, part in zip(leaves, subtrees(given, argument), strict=True):
            if leaf is None or isinstance(leaf, SymbolicZero):
                values += [None] * part.num_leaves
                continue
            if not part.is_leaf():
                raise TreeError(
                    f"the backward rule of {name} returned one cotangent {leaf!r} for an argument of structure {part}; "
                    "None stands for zeros of any structure"
                )
            type, shown = types[len(values)], weak[len(values)]
            values.append(_check_cotangent(name, as_array(leaf), type, shown) if type.dtype in INEXACT else None)
    return values


def _check_cotangent(name: str, cotangent: Any, type: TensorType, shown: np.dtype | None) -> Any:
    if cotangent.type.shape != type.shape:
        type = type if shown is None else TensorType(type.shape, shown)
        raise ShapeError(
            f"the backward rule of {name} returned a cotangent {cotangent.type} for an argument of type {type}"
        )
    if cotangent.type.dtype != type.dtype:
        return convert(cotangent, type.dtype)
    return cotangent.strong()


def custom_gradient(fun: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns its own gradient rule: ``fun(*args) -> (output, vjp)``.

    ``vjp(cotangent)`` returns the cotangent of the argument, or a tuple of them if there are several. It may close over
    anything that `fun` computes, and runs on what was computed in the forward pass.

    >>> import fdl
    >>> f = fdl.custom_gradient(lambda x: (x**2, lambda g: 10.0 * g * x))
    >>> fdl.grad(f)(3.0)
    Array(30., dtype=float32)
    """

    @custom_vjp
    @boundary
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return fun(*args, **kwargs)[0]

    def fwd(*args: Any, **kwargs: Any) -> Any:
        out, vjp = fun(*args, **kwargs)
        program, captured, flat = trace_call(vjp, (tree.map(as_array, out),), {})
        return out, tree.Partial(_Pullback(program, flat.out_structure), *captured)

    def bwd(pullback: Any, cotangent: Any) -> Any:
        found = pullback(*tree.leaves(cotangent))
        return found if isinstance(found, (tuple, list)) else (found,)

    wrapped.defvjp(fwd, bwd)
    return wrapped


@dataclass(frozen=True)
class _Pullback:
    """A gradient rule as a Program, which belongs to the structure of its residuals."""

    program: Program
    structure: Any

    def __call__(self, *values: Any) -> Any:
        return tree.unflatten(self.structure, apply_program(self.program, values))
