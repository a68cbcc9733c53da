"""Derivatives: grad, value_and_grad, jvp, vjp, linearize, linear_transpose."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fdl import tree
from fdl.api.arguments import (
    FlatFunction,
    argument_path,
    call_structure,
    flatten_values,
    name_of,
    normalize_numbers,
    parameter_name,
    require_function,
    returned,
    weakness,
)
from fdl.api.inspect import held_leaves
from fdl.api.linear_maps import (
    LinearMap,
    Pullback,
    Pushforward,
    Transposed,
    matching,
    scalars_as_inputs,
    tangent_zeros,
)
from fdl.api.wrapping import wraps
from fdl.array import Array
from fdl.config import config
from fdl.core.primitive import Linear
from fdl.core.program import Equation, Program, Var
from fdl.core.trace import computes_plainly, lift, trace_program
from fdl.dtypes import COMPLEX, FLOATING, INEXACT, bool_, is_inexact
from fdl.errors import DifferentiationError, TreeError
from fdl.ops.shape import full_like, zeros_of
from fdl.sparse.lookups import Table
from fdl.tracebacks import boundary
from fdl.transforms.forward import JVPInterpreter, jvp_values
from fdl.transforms.inline import inline
from fdl.transforms.linearize import linearize_values
from fdl.transforms.prepared import PreparedJVP, pulled_back
from fdl.transforms.transpose import backward

P = ParamSpec("P")
R = TypeVar("R")


def value_and_grad(
    fun: Callable[P, R],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    sparse: Any = False,
) -> Callable[P, tuple[R, Any]]:
    """A function that returns both the value of `fun` and its gradient.

    Args:
        fun: returns a real scalar (or a pair of it and anything, with `has_aux`).
        argnums: which positional arguments to differentiate by.
        has_aux: whether `fun` returns a pair (output, aux); aux is passed through.
        holomorphic: whether `fun` is complex and holomorphic.
        allow_int: whether integer leaves are allowed; their gradients have dtype float0.
        sparse: which leaves are tables, whose gradient is returned as :class:`fdl.Rows` if all that `fun` does with
            them is to look up rows (``table[ids]``, ``nn.embedding``), so that it costs what is looked up: a tree of
            booleans that is a prefix of the argument (of the tuple of them if `argnums` is a sequence).

    Returns:
        ``f(*args, **kwargs) -> (value, gradient)``, or ``((value, aux), gradient)``. The gradient has the structure,
        shapes and dtypes of the argument (a tuple of them if `argnums` is a sequence).

    Raises:
        DifferentiationError: the output is not a scalar, or an input has no derivative.
        TreeError: `sparse` is no prefix of the argument.

    >>> import fdl
    >>> fdl.value_and_grad(lambda x: x**2)(3.0)
    (Array(9., dtype=float32), Array(6., dtype=float32))
    >>> table, ids = fdl.numpy.ones((1000, 2)), fdl.numpy.array([7, 7])
    >>> fdl.value_and_grad(lambda table: table[ids].sum(), sparse=True)(table)[1].rows
    Array([7, 7], dtype=int32)
    """

    require_function("grad", "fun", fun)
    return boundary(_differentiated(fun, argnums, has_aux, holomorphic, allow_int, sparse), wraps(fun))


def _differentiated(
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    sparse: Any,
) -> Callable[..., tuple[Any, Any]]:
    """What `value_and_grad` returns, without a name."""

    def differentiated(*args: Any, **kwargs: Any) -> Any:
        numbers = normalize_numbers(argnums, len(args), "argnums")
        chosen = tuple(args[n] for n in numbers)

        leaves, structure = _flatten_chosen(fun, chosen, numbers)
        active = [_check_input(fun, numbers, chosen, i, leaf, holomorphic, allow_int) for i, leaf in enumerate(leaves)]
        flat = FlatFunction(_OfChosen(fun, numbers, args, kwargs), structure, has_aux)
        prepared = sparse is False and computes_plainly() and not config.weak_arrays
        rules = PreparedJVP if prepared else JVPInterpreter
        outs, program, residuals, has = linearize_values(flat, leaves, active, rules)
        if len(outs) < 1 or flat.count != 1:
            raise DifferentiationError(
                f"grad needs a function that returns one scalar, but {name_of(fun)} returned {flat.count} arrays; with "
                "has_aux=True it may return a pair of a scalar and anything else"
            )
        _check_output(fun, outs[0], holomorphic)
        cotangents = [_one(outs[0])] + [None] * (len(outs) - 1)
        tables = _tables(sparse, chosen, isinstance(argnums, int)) if sparse is not False else [False] * len(leaves)
        found = _pull(
            program,
            residuals,
            [x.type for x, a in zip(leaves, active, strict=True) if a],
            cotangents,
            has,
            [t for t, a in zip(tables, active, strict=True) if a],
            prepared,
        )
        rest = iter(found)
        gradients = [next(rest) if a else tangent_zeros(leaf.type) for leaf, a in zip(leaves, active, strict=True)]
        result = tree.unflatten(structure, returned(gradients, weakness(leaves)))[0]
        gradient = result[0] if isinstance(argnums, int) else tuple(result)
        value = flat.unflatten(outs[:1])
        return ((value, flat.restore_aux(outs[1:])) if has_aux else value), gradient

    return differentiated


def grad(
    fun: Callable[P, R],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    *,
    sparse: Any = False,
) -> Callable[P, Any]:
    """A function that returns the gradient of `fun`, or (gradient, aux); see :func:`value_and_grad`.

    >>> import fdl
    >>> fdl.grad(fdl.grad(lambda x: x**3))(2.0)
    Array(12., dtype=float32)
    """
    require_function("grad", "fun", fun)
    both = _differentiated(fun, argnums, has_aux, holomorphic, allow_int, sparse)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        value: Any
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return boundary(wrapped, wraps(fun))


def _flatten_chosen(fun: Callable[..., Any], chosen: Sequence[Any], numbers: Sequence[int]) -> tuple[list[Any], Any]:
    return flatten_values(_Named(fun, numbers), chosen, {})


class _OfChosen:
    """`fun` as a function of its chosen arguments; its name and signature, for messages, are those of `fun`."""

    def __init__(self, fun: Callable[..., Any], numbers: Sequence[int], args: Sequence[Any], kwargs: Any) -> None:
        self.__wrapped__, self.numbers, self.args, self.kwargs = fun, numbers, args, kwargs

    @property
    def __name__(self) -> str:
        return name_of(self.__wrapped__)

    def __call__(self, *parts: Any) -> Any:
        full = list(self.args)
        for number, part in zip(self.numbers, parts, strict=True):
            full[number] = part
        return self.__wrapped__(*full, **self.kwargs)


class _Named:
    """Stands for `fun` with only its chosen parameters, for messages."""

    def __init__(self, fun: Callable[..., Any], numbers: Sequence[int]) -> None:
        self.fun, self.numbers = fun, numbers

    @property
    def __name__(self) -> str:
        return name_of(self.fun)

    @property
    def __signature__(self) -> inspect.Signature:
        parameter = inspect.Parameter
        names = [parameter_name(self.fun, n) for n in self.numbers]
        return inspect.Signature(
            [parameter(n if n.isidentifier() else f"_{n}", parameter.POSITIONAL_OR_KEYWORD) for n in names]
        )

    def __call__(self) -> None: ...


def _check_input(
    fun: Callable[..., Any],
    numbers: Sequence[int],
    chosen: Any,
    index: int,
    leaf: Any,
    holomorphic: bool,
    allow_int: bool,
) -> bool:
    """Whether to differentiate by a leaf; raises if that is not possible."""
    dtype = leaf.type.dtype
    if dtype in (COMPLEX if holomorphic else INEXACT):
        return True
    if dtype not in INEXACT and allow_int:
        return False
    path = tree.leaves_with_path(((*chosen,), {}))[index][0]
    where = f"{argument_path(_Named(fun, numbers), path)} of {name_of(fun)}"
    if dtype in INEXACT:
        raise DifferentiationError(
            f"grad with holomorphic=True needs complex inputs, but {where} is {leaf.type}; convert it, or leave "
            "holomorphic out for a real function"
        )
    kind = "a bool" if dtype == bool_ else "an integer" if dtype.kind in "iu" else "not a real number"
    raise DifferentiationError(
        f"grad needs real floating-point inputs, but {where} is {leaf.type}, {kind}. Convert it to "
        "float32, choose other argnums, or pass allow_int=True to get a gradient of dtype float0."
    )


def _check_output(fun: Callable[..., Any], out: Any, holomorphic: bool) -> None:
    type = lift(out).type
    if type.shape != ():
        raise DifferentiationError(
            f"grad needs a scalar output, but {name_of(fun)} returned {type}. Reduce it (for example with "
            ".mean() or .sum()), "
            "or use fdl.jacrev for the derivative of an array."
        )
    if type.dtype not in (INEXACT if holomorphic else FLOATING):
        raise DifferentiationError(f"grad needs a real floating-point output, but {name_of(fun)} returned {type}")


_SPARSE = "sparse must be True, False, or a tree of them that is a prefix of the argument"


def _tables(sparse: Any, chosen: Sequence[Any], single: bool) -> list[bool]:
    """For every leaf of the chosen arguments whether it is a table."""
    if isinstance(sparse, bool):
        return [sparse] * len(tree.leaves(chosen))
    try:
        marks = tree.leaves(tree.broadcast((sparse,) if single else tuple(sparse), tuple(chosen)))
    except (TreeError, TypeError) as error:
        raise TreeError(f"{_SPARSE}: {error}") from None
    if strange := [m for m in marks if not isinstance(m, bool | np.bool_)]:
        raise TreeError(f"{_SPARSE}, which {strange[0]!r} is not")
    return [bool(m) for m in marks]


def _pull(
    program: Any,
    residuals: Sequence[Any],
    types: Sequence[Any],
    cotangents: Sequence[Any],
    has: Sequence[bool],
    tables: Sequence[bool],
    is_prepared: bool,
) -> list[Any]:
    """Cotangents of the active inputs, zeros instantiated; those of tables as Rows where that is possible."""
    given = [c for c, h in zip(cotangents, has, strict=True) if h]
    quick = pulled_back(program, residuals, given) if is_prepared else None
    if quick is not None:
        return [zeros_of(t) if f is None else f for f, t in zip(quick, types, strict=True)]
    operands = [Table(t) if is_table else Linear(t) for t, is_table in zip(types, tables, strict=True)]
    if any(tables):
        program = inline(program)  # so that lookups are seen inside of calls
    found = backward(program, [*residuals, *operands], given)
    return [_zero(o) if f is None else f for f, o in zip(found[len(residuals) :], operands, strict=True)]


def _one(out: Any) -> Any:
    return Array(np.ones((), out._data.dtype)) if type(out) is Array else full_like(out, 1)


def _zero(operand: Linear) -> Any:
    return operand.zero() if isinstance(operand, Table) else zeros_of(operand.type)


@boundary
def jvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """The value of `fun` and its directional derivative (forward mode).

    Args:
        fun: any function of arrays.
        primals: tuple of positional arguments.
        tangents: tuple of the same structure, shapes and dtypes.
        has_aux: whether `fun` returns (output, aux).

    Returns:
        (output, tangent of the output), with `has_aux` (output, tangent, aux).

    >>> import fdl
    >>> fdl.jvp(lambda x: x**2, (3.0,), (1.0,))
    (Array(9., dtype=float32), Array(6., dtype=float32))
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("the primals and tangents of jvp must be tuples of arguments, also when there is only one")
    leaves, structure = flatten_values(fun, primals, {})
    dots = matching(tangents, structure, [leaf.type for leaf in leaves], "tangents", "primals")
    flat = FlatFunction(fun, structure, has_aux)
    outs, out_dots = jvp_values(flat, leaves, dots)
    value = flat.unflatten(outs[: flat.count])
    filled = [tangent_zeros(lift(o).type) if d is None else d for o, d in zip(outs, out_dots, strict=True)][
        : flat.count
    ]
    tangent = flat.unflatten(filled)
    return (value, tangent, flat.restore_aux(outs[flat.count :])) if has_aux else (value, tangent)


@boundary
def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `fun` at a point, and its derivative there as a linear function.

    Args:
        fun: any function of arrays.
        *primals: its positional arguments.
        has_aux: whether `fun` returns (output, aux).

    Returns:
        (output, f_jvp), with `has_aux` (output, f_jvp, aux); ``f_jvp(*tangents)`` gives the tangent of the output.

    >>> import fdl
    >>> y, f_jvp = fdl.linearize(lambda x: x**2, 3.0)
    >>> f_jvp(2.0)
    Array(12., dtype=float32)
    """
    leaves, structure = flatten_values(fun, primals, {})
    flat = FlatFunction(fun, structure, has_aux)
    active = [leaf.type.dtype in INEXACT for leaf in leaves]
    outs, program, residuals, has = linearize_values(flat, leaves, active)

    f_jvp = _linear_map(Pushforward, flat, leaves, outs, program, residuals, has)
    value = flat.unflatten(outs[: flat.count])
    return (value, f_jvp, flat.restore_aux(outs[flat.count :])) if has_aux else (value, f_jvp)


@boundary
def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `fun` at a point, and the function from cotangents of the output to those of the inputs.

    Args:
        fun: any function of arrays.
        *primals: its positional arguments.
        has_aux: whether `fun` returns (output, aux).

    Returns:
        (output, f_vjp), with `has_aux` (output, f_vjp, aux); ``f_vjp(cotangent)`` gives a tuple, one entry an argument.

    >>> import fdl
    >>> y, f_vjp = fdl.vjp(lambda a, b: a * b, 3.0, 4.0)
    >>> f_vjp(1.0)
    (Array(4., dtype=float32), Array(3., dtype=float32))
    """
    leaves, structure = flatten_values(fun, primals, {})
    flat = FlatFunction(fun, structure, has_aux)
    active = [leaf.type.dtype in INEXACT for leaf in leaves]
    outs, program, residuals, has = linearize_values(flat, leaves, active)
    value = flat.unflatten(outs[: flat.count])
    f_vjp = _linear_map(Pullback, flat, leaves, outs, program, residuals, has)
    return (value, f_vjp, flat.restore_aux(outs[flat.count :])) if has_aux else (value, f_vjp)


def _linear_map(
    kind: type[LinearMap],
    flat: FlatFunction,
    leaves: Sequence[Any],
    outs: Sequence[Any],
    program: Program,
    residuals: Sequence[Any],
    has: Sequence[bool],
) -> tree.Partial:
    """The derivative of a function as a pytree of its residuals."""
    out_structure = call_structure(flat.out_structure)
    out_types = tuple(lift(o).type for o in outs[: flat.count])
    program, residuals = scalars_as_inputs(program, residuals)
    in_types = tuple(x.type for x in leaves)
    results = weakness(leaves) if kind is Pullback else flat.out_weak[: flat.count]
    weak = tuple(w is not None for w in results) if config.weak_arrays else ()
    return tree.Partial(kind(program, flat.structure, in_types, out_structure, out_types, tuple(has), weak), *residuals)


@boundary
def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a linear function.

    Args:
        fun: linear in all of its arguments together; what it adds that does not depend on them plays no part.
        *primals: arrays, or ShapeDtypeStructs, that give the arguments' types.

    Returns:
        A function from a cotangent of the output to a tuple of cotangents of the arguments; a pytree.

    Raises:
        DifferentiationError: when it is called, if `fun` is not linear; names the operation that is not, and its line.

    >>> import fdl
    >>> fdl.linear_transpose(lambda x: 3.0 * x, 1.0)(2.0)
    (Array(6., dtype=float32),)
    """
    held, shown, structure = held_leaves(fun, primals, {})
    types = [t.with_dtype(w) for t, w in zip(held, shown, strict=True)]
    weak = tuple(w is not None for w in shown) if config.weak_arrays else ()
    flat = FlatFunction(fun, structure)
    program, captured = trace_program(flat, types, name_of(fun))
    for inexact in (True, False):
        _refuse_other_kind(program, program.inputs[len(captured) :], inexact)

    out_structure, out_types = call_structure(flat.out_structure), tuple(program.output_types)
    program, residuals = scalars_as_inputs(program, captured)
    made = Transposed(program, structure, tuple(types), out_structure, out_types, (True,) * len(out_types), weak)
    return tree.Partial(made, *residuals)


def _refuse_other_kind(program: Program, inputs: Sequence[Var], inexact: bool) -> None:
    """Raise if an output that depends on floating-point `inputs` is an integer or a boolean, or the reverse."""
    moving = {v for v in inputs if is_inexact(v.type.dtype) == inexact}
    turned: dict[Any, tuple[Equation, Var]] = {}  # for values of the other kind, what made the first one of it
    for equation in program.equations:
        given = [v for v in equation.inputs if v in moving]
        if given:
            moving.update(equation.outputs)
            before = next((turned[v] for v in given if v in turned), None)
            others = (v for v in equation.outputs if is_inexact(v.type.dtype) != inexact)
            turned.update((v, before or (equation, v)) for v in others)
    for atom in program.outputs:
        if atom in turned:
            maker, made = turned[atom]
            raise DifferentiationError(
                f"only linear functions can be transposed, but {maker.operation.name} at {maker.source} is not linear: "
                f"it makes {made.type} of arguments that are {'' if inexact else 'no '}floating-point numbers"
            )
