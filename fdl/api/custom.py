"""Functions with derivatives of the user's own, and checkpointing."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast

from fdl import tree
from fdl.api.arguments import FlatFunction, flatten_values, name_of
from fdl.array import as_array
from fdl.control.call import Call, Remat
from fdl.control.custom import CustomJvp, CustomVjp, Rule
from fdl.core.trace import is_eager, trace_program
from fdl.dtypes import INEXACT
from fdl.errors import DifferentiationError, ShapeError, TreeError
from fdl.ops.shape import zeros_of


def _resolve(fun: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """All arguments by position, defaults filled in."""
    if not kwargs:
        try:
            if len(inspect.signature(fun).parameters) == len(args):
                return tuple(args)
        except (TypeError, ValueError):
            return tuple(args)
    bound = inspect.signature(fun).bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.kwargs:
        raise TypeError(f"{name_of(fun)} has keyword-only arguments, which custom derivative rules do not take")
    return bound.args


class _CustomFunction:
    """What custom_jvp and custom_vjp share: static arguments, flattening, calling."""

    def __init__(
        self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] | int = (), nondiff_argnames: Sequence[str] = ()
    ) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        given = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else tuple(nondiff_argnums)
        names = list(inspect.signature(fun).parameters) if nondiff_argnames else []
        self.nondiff = tuple(sorted({*given, *(names.index(n) for n in nondiff_argnames)}))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = _resolve(self.fun, args, kwargs)
        if is_eager():
            return self.fun(*args)
        static = {n: args[n] for n in self.nondiff}
        dynamic = [a for n, a in enumerate(args) if n not in static]

        def partly(*parts: Any) -> Any:
            rest = iter(parts)
            return self.fun(*(static[n] if n in static else next(rest) for n in range(len(args))))

        functools.update_wrapper(partly, self.fun, updated=())
        leaves, structure = flatten_values(partly, dynamic, {})
        flat = FlatFunction(partly, structure)
        program, captured = trace_program(flat, [v.type for v in leaves], name_of(self.fun), [v.weak for v in leaves])
        outs = self.operation(program, len(captured), structure, flat, list(static.values()))(*captured, *leaves)
        return flat.unflatten(outs)

    def operation(self, program: Any, captured: int, structure: Any, flat: FlatFunction, static: list[Any]) -> Any:
        """The primitive for a traced call."""
        raise NotImplementedError


class custom_jvp(_CustomFunction):
    """A function whose forward derivative is given by a rule.

    Args:
        fun: any function of arrays.
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

    def defjvp(self, jvp: Callable[..., Any], symbolic_zeros: bool = False) -> Callable[..., Any]:
        """Set the rule ``jvp(*nondiff, primals, tangents) -> (output, tangent)``; returns it."""
        self.rule = jvp
        return jvp

    def defjvps(self, *jvps: Callable[..., Any] | None) -> None:
        """Set one rule for each argument, ``rule(tangent, output, *primals) -> tangent``; None is zero."""

        def rule(*args: Any) -> Any:
            *static, primals, tangents = args
            out = self(*static, *primals)
            parts = [r(t, out, *primals) for r, t in zip(jvps, tangents, strict=True) if r is not None]
            total = functools.reduce(lambda a, b: tree.map(lambda x, y: x + y, a, b), parts) if parts else None
            return out, tree.map(lambda o: zeros_of(as_array(o).type), out) if total is None else total

        self.rule = rule

    def operation(self, program: Any, captured: int, structure: Any, flat: FlatFunction, static: list[Any]) -> Any:
        if self.rule is None:
            raise DifferentiationError(f"custom_jvp function {name_of(self.fun)} has no rule yet; set one with defjvp")
        rule, name = self.rule, name_of(self.fun)

        def run(primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
            args, dots = (tree.unflatten(structure, vs[captured:])[0] for vs in (primals, tangents))
            result = rule(*static, tuple(args), tuple(dots))
            if not (isinstance(result, (tuple, list)) and len(result) == 2):
                raise TreeError(f"the jvp rule of {name} must return a pair (output, tangent)")
            return _flat_pair(name, *result)

        return CustomJvp(program, Rule(run), closed=captured, label=name)


def _flat_pair(name: str, out: Any, tangent: Any) -> tuple[list[Any], list[Any]]:
    outs, structure = tree.flatten(out)
    dots, its_structure = tree.flatten(tangent)
    if structure != its_structure:
        raise TreeError(
            f"the jvp rule of {name} returned an output of structure {structure} and a tangent of "
            f"structure {its_structure}"
        )
    outs, dots = [as_array(o) for o in outs], [as_array(d) for d in dots]
    return outs, [_same_type(name, d, o) for d, o in zip(dots, outs, strict=True)]


def _same_type(name: str, tangent: Any, out: Any) -> Any:
    if tangent.type == out.type or out.type.dtype not in INEXACT:
        return tangent
    if tangent.type.shape == out.type.shape:
        from fdl.ops.convert import convert

        return convert(tangent, out.type.dtype)
    raise ShapeError(f"the derivative rule of {name} returned {tangent.type} where {out.type} is needed")


class custom_vjp(_CustomFunction):
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

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Set ``fwd(*args) -> (output, residuals)`` and ``bwd(*nondiff, residuals, cotangent) -> tuple``."""
        self.rules = (fwd, bwd)

    def operation(self, program: Any, captured: int, structure: Any, flat: FlatFunction, static: list[Any]) -> Any:
        if self.rules is None:
            raise DifferentiationError(
                f"custom_vjp function {name_of(self.fun)} has no rules yet; set them with defvjp"
            )
        fwd, bwd = self.rules
        name, nondiff, residual_structure = name_of(self.fun), self.nondiff, cast(Any, None)
        out_structure = flat.out_structure

        def forward(*values: Any) -> tuple[list[Any], list[Any]]:
            nonlocal residual_structure
            parts = iter(tree.unflatten(structure, values[captured:])[0])
            fixed = dict(zip(nondiff, static, strict=True))
            count = len(fixed) + len(tree.unflatten(structure, values[captured:])[0])
            result = fwd(*(fixed[n] if n in fixed else next(parts) for n in range(count)))
            if not (isinstance(result, (tuple, list)) and len(result) == 2):
                raise TreeError(f"the forward rule of {name} must return a pair (output, residuals)")
            outs, found = tree.flatten(result[0])
            if found != out_structure:
                raise TreeError(
                    f"the forward rule of {name} returned structure {found}, the function itself {out_structure}"
                )
            residuals, residual_structure = tree.flatten(result[1])
            return [as_array(o) for o in outs], [as_array(r) for r in residuals]

        def backward(residuals: Sequence[Any], cotangents: Sequence[Any]) -> list[Any]:
            found = bwd(
                *static, tree.unflatten(residual_structure, residuals), tree.unflatten(out_structure, cotangents)
            )
            return [None] * captured + _match_cotangents(name, found, structure, program.input_types[captured:])

        return CustomVjp(program, Rule(forward), Rule(backward), closed=captured, label=name)


def _match_cotangents(name: str, found: Any, structure: Any, types: Sequence[Any]) -> list[Any]:
    """Cotangents per leaf of the arguments; None, for an argument or below it, is zero."""
    args = tree.unflatten(structure, list(range(structure.num_leaves)))[0]
    if not isinstance(found, (tuple, list)) or len(found) != len(args):
        raise TreeError(
            f"the backward rule of {name} must return a tuple of {len(args)} cotangents, one for each "
            "differentiable argument"
        )
    values: list[Any] = [None] * structure.num_leaves
    for arg, cotangent in zip(args, found, strict=True):
        if cotangent is None:
            continue
        numbers, expected = tree.flatten(arg)
        leaves = tree.leaves(cotangent, is_leaf=lambda x: x is None)
        if len(leaves) != len(numbers):
            raise TreeError(
                f"the backward rule of {name} returned a cotangent of structure "
                f"{tree.structure(cotangent)} for an argument of "
                f"structure {expected}"
            )
        for number, leaf in zip(numbers, leaves, strict=True):
            if leaf is not None and types[number].dtype in INEXACT:
                values[number] = _check_cotangent(name, as_array(leaf), types[number])
    return values


def _check_cotangent(name: str, cotangent: Any, type: Any) -> Any:
    if cotangent.type.shape != type.shape:
        raise ShapeError(
            f"the backward rule of {name} returned a cotangent {cotangent.type} for an argument of type {type}"
        )
    if cotangent.type.dtype != type.dtype:
        from fdl.ops.convert import convert

        return convert(cotangent, type.dtype)
    return cotangent


def custom_gradient(fun: Callable[..., Any]) -> Callable[..., Any]:
    """A function that returns its own gradient rule: ``fun(*args) -> (output, vjp)``.

    ``vjp(cotangent)`` returns the cotangent of the argument, or a tuple of them if there are several.

    >>> import fdl
    >>> f = fdl.custom_gradient(lambda x: (x**2, lambda g: 10.0 * g * x))
    >>> fdl.grad(f)(3.0)
    Array(30., dtype=float32)
    """

    @custom_vjp
    @functools.wraps(fun)
    def wrapped(*args: Any) -> Any:
        return fun(*args)[0]

    def fwd(*args: Any) -> Any:
        return fun(*args)[0], args

    def bwd(args: Any, cotangent: Any) -> Any:
        found = fun(*args)[1](cotangent)
        return found if isinstance(found, (tuple, list)) else (found,)

    wrapped.defvjp(fwd, bwd)
    return wrapped


def checkpoint(
    fun: Callable[..., Any] | None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., bool] | None = None,
    static_argnums: int | Sequence[int] = (),
    concrete: bool = False,
) -> Callable[..., Any]:
    """`fun`, whose inner values are computed again in the backward pass instead of being kept.

    Args:
        fun: any function of arrays.
        prevent_cse: keep the compiler from merging both computations; False lets it.
        policy: ``fdl.checkpoint_policies.everything_saveable`` keeps all inner values; others keep none.
        static_argnums: positional arguments that are Python values.
        concrete: accepted for ports, and ignored.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.grad(fdl.checkpoint(lambda x: fnp.sin(fnp.sin(x))))(0.0)
    Array(1., dtype=float32)
    """
    if fun is None:
        return functools.partial(checkpoint, prevent_cse=prevent_cse, policy=policy, static_argnums=static_argnums)
    fixed = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    keep = not prevent_cse or policy is checkpoint_policies.everything_saveable

    @functools.wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if is_eager():
            return fun(*args, **kwargs)
        static = {n % len(args): args[n] for n in fixed}

        def partly(*parts: Any, **kwargs: Any) -> Any:
            rest = iter(parts)
            return fun(*(static[n] if n in static else next(rest) for n in range(len(args))), **kwargs)

        functools.update_wrapper(partly, fun, updated=())
        leaves, structure = flatten_values(partly, [a for n, a in enumerate(args) if n not in static], kwargs)
        flat = FlatFunction(partly, structure)
        program, captured = trace_program(flat, [v.type for v in leaves], name_of(fun), [v.weak for v in leaves])
        outs = (Call if keep else Remat)(program, name_of(fun))(*captured, *leaves)
        return flat.unflatten(outs)

    return wrapped


class checkpoint_policies:
    """What :func:`checkpoint` keeps."""

    @staticmethod
    def everything_saveable(*_: Any, **__: Any) -> bool:
        """Keep all inner values."""
        return True

    @staticmethod
    def nothing_saveable(*_: Any, **__: Any) -> bool:
        """Keep none; compute them again."""
        return False


remat = checkpoint
