"""Taylor mode: derivatives of higher order along a curve, all at once."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction
from fdl.array import as_array
from fdl.control.higher import Higher, reorder
from fdl.core import trace
from fdl.core.interpret import apply_program
from fdl.core.operation import Operation
from fdl.core.program import Program
from fdl.core.trace import Interpreter, Tracer, Value, entered, lift, trace_program, use
from fdl.core.types import TensorType
from fdl.dtypes import is_inexact
from fdl.errors import ShapeError, TreeError
from fdl.ops.arithmetic import add, mul
from fdl.ops.convert import convert
from fdl.ops.shape import full_like, zeros_of
from fdl.transforms.forward import jvp_program

__all__ = ["fact", "jet", "zero_series"]


class ZeroSeries:
    """Stands for the series of an argument that does not move."""

    def __repr__(self) -> str:
        return "zero_series"


zero_series = ZeroSeries()


def fact(n: int) -> int:
    """The product of the numbers up to `n`.

    >>> fact(4)
    24
    """
    return factorial(n)


#: Coefficients of t, t**2, ... of a value along a curve; None is zero.
Series = list[Any]


def jet(fun: Callable[..., Any], primals: Any, series: Any) -> tuple[Any, Any]:
    """The value of `fun` at a point, and its derivatives along a curve through it.

    Args:
        fun: any function of arrays.
        primals: tuple of its positional arguments: where the curve is at t = 0.
        series: for each argument a list of derivatives of the curve at t = 0: the first, the second, and so on; of
            equal lengths, or `zero_series`. Arguments that are pytrees have a list at each leaf.

    Returns:
        (output, derivatives of the output along the curve, a list at each leaf).

    Raises:
        TreeError, ShapeError: the series do not fit the primals.

    Linear operations act on each derivative, products by Leibniz's rule, and all others through their first derivative,
    whose series is the output's one order lower.

    Source: Griewank and Walther, "Evaluating Derivatives", 2008, chapter 13; Bettencourt, Johnson and Duvenaud,
    "Taylor-Mode Automatic Differentiation for Higher-Order Derivatives in JAX", 2019.

    >>> import fdl.numpy as fnp
    >>> jet(fnp.exp, (0.0,), ([1.0, 0.0, 0.0],))
    (Array(1., dtype=float32), [Array(1., dtype=float32), Array(1., dtype=float32), Array(1., dtype=float32)])
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(series, (tuple, list)) or len(primals) != len(series):
        raise TreeError("jet takes a tuple of arguments and a tuple of their series, of one length")
    leaves, structure = tree.flatten((tuple(primals), {}))
    values = [as_array(leaf) for leaf in leaves]
    rows = [_coefficients(v, r) for v, r in zip(values, _lists(tuple(primals), tuple(series)), strict=True)]
    orders = {len(row) for row in rows if row is not None}
    if len(orders) > 1:
        raise TreeError(f"jet needs series of one length, got {sorted(orders)}")
    order = orders.pop() if orders else 0
    flat = FlatFunction(fun, structure)
    outs, found = jet_values(flat, values, rows, order)
    made = [
        [zeros_of(o.type) if c is None else _times(c, factorial(k)) for k, c in enumerate(row or [None] * order, 1)]
        for o, row in zip(outs, found, strict=True)
    ]
    return flat.unflatten(outs), tree.unflatten(flat.out_structure, made)


def _lists(primals: Any, series: Any) -> list[Any]:
    """The list of derivatives at each leaf of the primals."""
    try:
        return tree.structure(primals).flatten_up_to(series)
    except (ValueError, TypeError) as error:
        raise TreeError(f"jet needs a list of derivatives for each leaf of the primals: {error}") from None


def _coefficients(value: Any, derivatives: Any) -> Series | None:
    """Derivatives as coefficients of powers."""
    if isinstance(derivatives, ZeroSeries):
        return None
    if not isinstance(derivatives, (tuple, list)):
        raise TreeError(f"jet needs a list of derivatives for each leaf of the primals, got {derivatives!r}")
    found: Series = []
    for number, one in enumerate(derivatives, 1):
        term = as_array(one)
        if term.type.shape != value.type.shape:
            raise ShapeError(f"jet: the derivative {number} is {term.type}, but the argument is {value.type}")
        if not is_inexact(value.type.dtype):
            found.append(None)
            continue
        if term.type.dtype != value.type.dtype:
            term = convert(term, value.type.dtype)
        found.append(_times(term, 1 / factorial(number)))
    return found


def _times(x: Any, number: float) -> Any:
    return x if number == 1 else mul(x, full_like(x, number))


class JetTracer(Tracer):
    """A value and its series."""

    __slots__ = ("primal", "series")

    def __init__(self, interpreter: Interpreter, primal: Value, series: Series) -> None:
        super().__init__(interpreter, primal.type)
        self.primal, self.series = primal, series

    def concrete(self, why: str = "") -> np.ndarray:
        return self.primal.concrete(why)


class JetInterpreter(Interpreter):
    """Carries series of one order through every operation."""

    def __init__(self, parent: Interpreter, order: int) -> None:
        self.parent, self.order = parent, order

    def split(self, value: Any) -> tuple[Value, Series | None]:
        """Primal and series of a value."""
        if type(value) is JetTracer and value.interpreter is self:
            return value.primal, value.series
        return lift(value), None

    def join(self, primal: Any, series: Series | None) -> Any:
        """The value with this primal and series."""
        empty = series is None or all(c is None for c in series)
        return primal if empty else JetTracer(self, primal, series)  # type: ignore[arg-type]

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        primals, series = zip(*map(self.split, args), strict=True) if args else ((), ())
        with use(self.parent):
            if all(s is None for s in series):
                return self.parent.process(operation, primals)
            inner = operation.inlined
        if inner is not None:
            return apply_program(inner, args)
        moving = {n for n, s in enumerate(series) if s is not None}
        # What holds Programs is linear where these are, which its class does not know.
        groups = () if isinstance(operation, Higher) else operation.linear_groups([p.type for p in primals])
        with use(self.parent):
            outs = list(self.parent.process(operation, primals))
            if any(moving <= set(group) for group in groups):
                found = self.linear(operation, primals, series, next(set(g) for g in groups if moving <= set(g)))
            elif len(moving) == 2 and len(groups) == 2 and all(any({n} <= set(g) for g in groups) for n in moving):
                found = self.product(operation, primals, series, *sorted(moving))
            else:
                found = self.through_derivative(operation, primals, series)
        return [
            self.join(o, row if row and is_inexact(o.type.dtype) else None)
            for o, row in zip(outs, found or [None] * len(outs), strict=True)
        ]

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        # The rules are of first order: higher ones follow from the function itself.
        return call.function(*args)

    def linear(
        self, operation: Operation, primals: Sequence[Any], series: Sequence[Series | None], group: set[int]
    ) -> list[Series | None]:
        """Each coefficient by itself."""
        rows: list[Any] = []
        for k in range(self.order):
            terms = [None if s is None else s[k] for s in series]
            if all(t is None for t in terms):
                rows.append(None)
                continue
            operands = [
                p if n not in group else zeros_of(p.type) if t is None else t
                for n, (p, t) in enumerate(zip(primals, terms, strict=True))
            ]
            rows.append(self.parent.process(operation, operands))
        return _by_output(rows)

    def product(
        self, operation: Operation, primals: Sequence[Any], series: Sequence[Series | None], first: int, second: int
    ) -> list[Series | None]:
        """Leibniz's rule."""
        x, y = [primals[first], *series[first]], [primals[second], *series[second]]  # type: ignore[misc]
        rows: list[Any] = []
        for k in range(1, self.order + 1):
            total: Any = None
            for j in range(k + 1):
                if x[j] is None or y[k - j] is None:
                    continue
                operands = list(primals)
                operands[first], operands[second] = x[j], y[k - j]
                outs = self.parent.process(operation, operands)
                total = outs if total is None else [add(a, b) for a, b in zip(total, outs, strict=True)]
            rows.append(total)
        return _by_output(rows)

    def through_derivative(
        self, operation: Operation, primals: Sequence[Any], series: Sequence[Series | None]
    ) -> list[Series | None]:
        """The integral of the series of the first derivative, which is of one order less."""
        marks = tuple(s is not None for s in series)
        program, has = _derivative(operation, tuple(p.type for p in primals), marks)
        lower = self.order - 1
        inputs = [*primals, *(s[0] if s[0] is not None else zeros_of(p.type) for p, s in _moving(primals, series))]
        rows = [None if s is None else s[:lower] for s in series]
        rows += [
            [None if c is None else _times(c, k + 2) for k, c in enumerate(s[1:])] for _, s in _moving(primals, series)
        ]
        outs, found = jet_values(lambda *xs: apply_program(program, xs), inputs, rows, lower)
        made = iter(
            [
                [o, *(None if c is None else _times(c, 1 / (k + 2)) for k, c in enumerate(row or [None] * lower))]
                for o, row in zip(outs, found, strict=True)
            ]
        )
        return [next(made) if h else None for h in has]


def _moving(primals: Sequence[Any], series: Sequence[Series | None]) -> list[tuple[Any, Series]]:
    return [(p, s) for p, s in zip(primals, series, strict=True) if s is not None]


def _by_output(rows: list[Any]) -> list[Series | None]:
    """For each output its coefficients, from the outputs of each order."""
    count = next(len(row) for row in rows if row is not None)
    return [[None if row is None else row[n] for row in rows] for n in range(count)]


@lru_cache(maxsize=256)
def _derivative(
    operation: Operation, types: tuple[TensorType, ...], marks: tuple[bool, ...]
) -> tuple[Program, tuple[bool, ...]]:
    """The Program from operands and tangents of those marked to tangents of the results, and which results have one."""

    def run(*values: Any) -> list[Any]:
        return list(trace.current().process(operation, values))

    program = trace_program(run, types)[0]
    both, has = jvp_program(program, marks, (False,) * len(program.outputs))
    return reorder(both, range(len(both.inputs)), range(len(has), len(both.outputs))), has


def jet_values(
    function: Callable[..., Sequence[Any]], primals: Sequence[Any], series: Sequence[Series | None], order: int
) -> tuple[list[Any], list[Series | None]]:
    """Values, and coefficients of their series (None is zero), of ``function(*primals)``, a sequence of values."""
    if order == 0:
        values = [lift(o) for o in function(*primals)]
        return values, [None] * len(values)
    interpreter = JetInterpreter(trace.current(), order)
    with entered(interpreter):
        outs = function(*[interpreter.join(lift(p), s) for p, s in zip(primals, series, strict=True)])
        pairs = [interpreter.split(o) for o in outs]
    return [p for p, _ in pairs], [s for _, s in pairs]


def __dir__() -> list[str]:
    return __all__
