"""Elementwise operations of fdl as ONNX nodes. Operands broadcast, as ONNX's operators allow it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl.core.program import Var
from fdl.interop.onnx_export.extents import Extents
from fdl.interop.onnx_export.writer import Unsupported, Writer, WrittenEquation, number_of
from fdl.interop.tables import OperatorTable

#: Functions (what is written, names of operands) -> name of the result.
TABLE = OperatorTable()
define = TABLE.define

#: Operations that are one node.
SAME = {
    "Abs": "Abs", "Acos": "Acos", "Acosh": "Acosh", "Add": "Add", "Asin": "Asin", "Asinh": "Asinh", "Atan": "Atan",
    "Atanh": "Atanh", "Ceil": "Ceil", "Cos": "Cos", "Cosh": "Cosh", "Div": "Div", "Erf": "Erf", "Exp": "Exp",
    "Floor": "Floor", "Log": "Log", "Logistic": "Sigmoid", "Max": "Max", "Min": "Min", "Mul": "Mul", "Neg": "Neg",
    "Pow": "Pow", "Select": "Where", "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh", "SoftSign": "Softsign",
    "Sqrt": "Sqrt", "StopGradient": "Identity", "Sub": "Sub", "Tan": "Tan", "Tanh": "Tanh",
}  # fmt: skip


def one_node(operator: str) -> Callable[..., str]:
    return lambda e, *names: e.w.node(operator, names)


for name, operator in SAME.items():
    define(name)(one_node(operator))


def logical(on_bools: str, on_integers: str) -> Callable[..., str]:
    return lambda e, *names: e.w.node(on_bools if e.dtype == np.bool_ else on_integers, names)


for name in ("And", "Or", "Xor", "Not"):
    define(name)(logical(name, f"Bitwise{name}"))


def compared(operator: str, negated: bool = False) -> Callable[..., str]:
    def write(e: WrittenEquation, *names: str) -> str:
        w = e.w
        if e.dtype == np.bool_ and operator != "Equal":
            names = tuple([w.cast(name, np.int32) for name in names])
        found = w.node(operator, names)
        return w.node("Not", [found]) if negated else found

    return write


for name, operator in {"Gt": "Greater", "Ge": "GreaterOrEqual", "Lt": "Less", "Le": "LessOrEqual"}.items():
    define(name)(compared(operator))
define("Eq")(compared("Equal"))
define("Ne")(compared("Equal", negated=True))


def number(e: WrittenEquation, value: float) -> str:
    """A constant in the dtype of the operands."""
    return e.w.constant(value, e.dtype)


@define("Gate")
def gate(e: WrittenEquation, predicate: str, x: str) -> str:
    return e.w.node("Identity", [x])


@define("Convert")
def convert(e: WrittenEquation, x: str) -> str:
    return e.w.node("Cast", [x], to=number_of(e.outputs[0].dtype))


@define("Clamp")
def clamp(e: WrittenEquation, low: str, x: str, high: str) -> str:
    return e.w.node("Min", [e.w.node("Max", [low, x]), high])


@define("Rem")
def rem(e: WrittenEquation, a: str, b: str) -> str:
    return e.w.node("Mod", [a, b], fmod=1)


@define("IntegerPow")
def integer_pow(e: WrittenEquation, x: str) -> str:
    exponent = e.p["exponent"]
    if exponent == 2:
        return e.w.node("Mul", [x, x])
    if exponent == -1:
        return e.w.node("Reciprocal", [x])
    return e.w.node("Pow", [x, number(e, exponent)])


@define("Rsqrt")
def rsqrt(e: WrittenEquation, x: str) -> str:
    return e.w.node("Reciprocal", [e.w.node("Sqrt", [x])])


@define("Exp2")
def exp2(e: WrittenEquation, x: str) -> str:
    return e.w.node("Pow", [number(e, 2), x])


@define("Log2")
def log2(e: WrittenEquation, x: str) -> str:
    return e.w.node("Mul", [e.w.node("Log", [x]), number(e, 1 / np.log(2))])


@define("Log10")
def log10(e: WrittenEquation, x: str) -> str:
    return e.w.node("Mul", [e.w.node("Log", [x]), number(e, 1 / np.log(10))])


@define("Cbrt")
def cbrt(e: WrittenEquation, x: str) -> str:
    root = e.w.node("Pow", [e.w.node("Abs", [x]), number(e, 1 / 3)])
    return e.w.node("Mul", [e.w.node("Sign", [x]), root])


@define("Hypot")
def hypot(e: WrittenEquation, a: str, b: str) -> str:
    squares = [e.w.node("Mul", [x, x]) for x in (a, b)]
    return e.w.node("Sqrt", [e.w.node("Add", squares)])


def is_small(e: WrittenEquation, x: str) -> str:
    return e.w.node("Less", [e.w.node("Abs", [x]), number(e, 0.5)])


@define("Expm1")
def expm1(e: WrittenEquation, x: str) -> str:
    """2 t / (1 - t) with t = tanh(x / 2) near zero, where exp(x) - 1 cancels."""
    w = e.w
    t = w.node("Tanh", [w.node("Mul", [x, number(e, 0.5)])])
    near = w.node("Div", [w.node("Add", [t, t]), w.node("Sub", [number(e, 1), t])])
    return w.node("Where", [is_small(e, x), near, w.node("Sub", [w.node("Exp", [x]), number(e, 1)])])


@define("Log1p")
def log1p(e: WrittenEquation, x: str) -> str:
    """2 atanh(x / (2 + x)) near zero, where 1 + x rounds."""
    w = e.w
    half = w.node("Atanh", [w.node("Div", [x, w.node("Add", [x, number(e, 2)])])])
    return w.node(
        "Where", [is_small(e, x), w.node("Add", [half, half]), w.node("Log", [w.node("Add", [x, number(e, 1)])])]
    )


@define("Logaddexp")
def logaddexp(e: WrittenEquation, a: str, b: str) -> str:
    if e.p["base2"]:
        raise Unsupported("base 2")
    w = e.w
    # Equal infinities have no difference.
    gap = w.node("Where", [w.node("Equal", [a, b]), number(e, 0), w.node("Abs", [w.node("Sub", [a, b])])])
    return w.node("Add", [w.node("Max", [a, b]), log1p(e, w.node("Exp", [w.node("Neg", [gap])]))])


@define("Erfc")
def erfc(e: WrittenEquation, x: str) -> str:
    return e.w.node("Sub", [number(e, 1), e.w.node("Erf", [x])])


@define("Ndtr")
def ndtr(e: WrittenEquation, x: str) -> str:
    w = e.w
    erf = w.node("Erf", [w.node("Mul", [x, number(e, 0.5**0.5)])])
    return w.node("Mul", [w.node("Add", [erf, number(e, 1)]), number(e, 0.5)])


@define("Squareplus")
def squareplus(e: WrittenEquation, x: str, y: str) -> str:
    w = e.w
    root = w.node("Sqrt", [w.node("Add", [w.node("Mul", [x, x]), y])])
    return w.node("Mul", [w.node("Add", [x, root]), number(e, 0.5)])


@define("LogisticDensity")
def logistic_density(e: WrittenEquation, x: str) -> str:
    return e.w.node("Mul", [e.w.node("Sigmoid", [x]), e.w.node("Sigmoid", [e.w.node("Neg", [x])])])


@define("TanhDerivative")
def tanh_derivative(e: WrittenEquation, x: str) -> str:
    t = e.w.node("Tanh", [x])
    return e.w.node("Sub", [number(e, 1), e.w.node("Mul", [t, t])])


@define("IsFinite")
def is_finite(e: WrittenEquation, x: str) -> str:
    odd = [e.w.node("IsNaN", [x]), e.w.node("IsInf", [x])]
    return e.w.node("Not", [e.w.node("Or", odd)])


@define("Round")
def round_(e: WrittenEquation, x: str) -> str:
    w = e.w
    if e.p["mode"] == "even":
        return w.node("Round", [x])
    up = w.node("Floor", [w.node("Add", [w.node("Abs", [x]), number(e, 0.5)])])
    return w.node("Mul", [w.node("Sign", [x]), up])


@define("ShiftLeft")
def shift_left(e: WrittenEquation, a: str, b: str) -> str:
    return shifted(e, "LEFT", a, b)


@define("ShiftRightLogical")
def shift_right(e: WrittenEquation, a: str, b: str) -> str:
    return shifted(e, "RIGHT", a, b)


def shifted(e: WrittenEquation, direction: str, a: str, b: str) -> str:
    if e.dtype.kind != "u":
        raise Unsupported(f"dtype {e.dtype}")
    return e.w.node("BitShift", [a, b], direction=direction)


def write(w: Writer, equation: Any, e: WrittenEquation) -> None:
    """Write an elementwise operation of operands that are not yet repeated, and repeat the result where it needs it."""
    operands = [w.small(a) for a in equation.inputs]
    (output,) = equation.outputs
    found = TABLE[type(equation.operation).__name__](e, *[name for name, _ in operands])
    put(w, output, found, broadcast([shape for _, shape in operands]))


def put(w: Writer, output: Var, name: str, extents: Extents) -> None:
    """Give a value its name, or keep it as a smaller one that it repeats."""
    if extents == w.shared.traced.of(output):
        w.names[output] = name
    else:
        w.repeated[output] = (name, extents)


def broadcast(shapes: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The shape to which shapes that fit together broadcast."""
    ndim = max(map(len, shapes))
    rows = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    return tuple([next((n for n in column if n != 1), 1) for column in zip(*rows, strict=True)])
