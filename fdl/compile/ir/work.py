"""How much work the instructions of a loop nest are."""

from collections.abc import Iterable

from fdl.compile.ir.body import Apply, Instruction

#: Machine instructions of operations that take more than a few, by name.
_MANY = {
    "div": 5, "sqrt": 8, "exp": 12, "exp2": 12, "expm1": 20, "log": 15, "log2": 15, "log10": 15, "log1p": 25,
    "tanh": 20, "erf": 25, "erfc": 25, "erf_inv": 35, "normal_quantile": 50, "pow": 35, "hypot": 25, "cbrt": 40,
    "sin": 30, "cos": 30, "tan": 40, "asin": 30, "acos": 30, "atan": 30, "atan2": 35, "sinh": 30, "cosh": 25,
    "asinh": 40, "acosh": 40, "atanh": 30, "logistic": 20, "logistic_density": 20, "tanh_derivative": 20,
    "logaddexp": 30, "gaussian": 15, "ndtr": 25, "threefry": 60, "threefry_halves": 60, "lgamma": 60, "digamma": 60,
    "trigamma": 60,
}  # fmt: skip


def work_of(instructions: Iterable[Instruction]) -> int:
    """About how many machine instructions the operations among them take."""
    return sum(_MANY.get(i.operation.name, 1) for i in instructions if isinstance(i, Apply))
