"""Functions of numbers, compiled by numba, in the loops that fdl makes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.values import I32, POINTER, memory_type, register_type, wide
from fdl.control.custom import Rule
from fdl.core.types import TensorType
from fdl.dtypes import bool_, float32, float64
from fdl.errors import DifferentiationError, DtypeError
from fdl.ext._numba import compiled, dtype_of, numba_type
from fdl.numpy._operands import matched
from fdl.ops.elementwise import Elementwise, check_elementwise


def elementwise(
    function: Callable[..., Any], *, derivatives: Sequence[Callable[..., Any] | None] | None = None
) -> Callable[..., Any]:
    """A function of numbers as a function of arrays, whose code becomes part of the loops around it.

    Args:
        function: of one or more numbers, made by ``numba.njit``, or a Python function that numba can compile. It
            returns a boolean, or a number, which is converted to the dtype of its operands; where it raises, the
            result is NaN (or True). Divisions by zero follow IEEE 754.
        derivatives: for each operand a function of all operands that gives the partial derivative by it, made of fdl
            functions or again by `elementwise`; None where it is zero.

    Returns:
        A function of arrays, which are broadcast and promoted together; integers become float32.

    Raises:
        DtypeError: the operands are neither float32 nor float64, or the function does not return real numbers.
        ValueError: there is not one derivative for each operand.
        DifferentiationError: a derivative is asked for that is not given.

    >>> import fdl, fdl.numpy as fnp, numba
    >>> @numba.njit
    ... def collatz(n):
    ...     steps = 0
    ...     while n > 1:
    ...         n = n / 2 if n % 2 == 0 else 3 * n + 1
    ...         steps += 1
    ...     return n * 0 + steps
    >>> fdl.jit(elementwise(collatz))(fnp.arange(1.0, 8.0))
    Array([ 0.,  1.,  7.,  2.,  5.,  8., 16.], dtype=float32)
    """
    name = getattr(function, "__name__", "function")

    def apply(*args: Any) -> Any:
        operands = matched(name, *args, to_inexact=True)
        if derivatives is not None and len(derivatives) != len(operands):
            raise ValueError(
                f"elementwise({name}) has {len(operands)} operands, but {len(derivatives)} derivatives were given; "
                "give one for each, None where it is zero"
            )
        rules = None if derivatives is None else tuple(None if d is None else Rule(d) for d in derivatives)
        dtype = operands[0].type.dtype
        return NumbaScalar(_code(Rule(function), dtype, len(operands)), dtype, len(operands), rules)(*operands)

    apply.__name__ = apply.__qualname__ = name
    apply.__doc__ = getattr(function, "__doc__", None)
    return apply


class Code:
    """A function of numbers with its machine-independent code, by which it is known.

    Attributes:
        function: what numba made of it.
        text: the LLVM module that has it.
        symbol: its name there.
        returned: the dtype that it returns.
    """

    def __init__(self, function: Any, text: str, symbol: str, returned: np.dtype) -> None:
        self.function, self.text, self.symbol, self.returned = function, text, symbol, returned
        self.__qualname__ = f"{function.__name__}@{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Code) and (self.text, self.symbol) == (other.text, other.symbol)

    def __hash__(self) -> int:
        return hash(self.text)


@lru_cache(maxsize=256)
def _code(function: Rule, dtype: np.dtype, arity: int) -> Code:
    if dtype not in (float32, float64):
        raise DtypeError(f"elementwise({function.__qualname__.split('@')[0]}) takes float32 or float64, got {dtype}")
    own = compiled(function.function, error_model="numpy")
    bare = compiled(own, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
    signature = (numba_type("elementwise", dtype),) * arity
    bare.compile(signature)
    overload = bare.overloads[signature]
    result = dtype_of(f"elementwise({own.__name__})", overload.signature.return_type)
    if result.kind not in "biuf":
        raise DtypeError(f"elementwise: {own.__name__} of {dtype} returns {result}, which is not a real number")
    return Code(own, bare.inspect_llvm(signature), overload.fndesc.llvm_func_name, result)


class NumbaScalar(Elementwise):
    """A compiled function of numbers, applied to each element."""

    code: Code
    dtype: np.dtype
    operands: int
    derivatives: tuple[Rule | None, ...] | None = None
    weak_operands = None  # the code is made for the dtype that operands show

    @property
    def to(self) -> np.dtype:
        """The dtype of the result."""
        return bool_ if self.code.returned == bool_ else self.dtype

    def result(self, *types: TensorType) -> TensorType:
        check_elementwise(self, types, self.operands, (self.dtype,))
        return TensorType(types[0].shape, self.to)

    def reference(self, *arrays: np.ndarray) -> np.ndarray:
        out = np.empty(arrays[0].shape, self.to)
        for index in np.ndindex(out.shape):
            try:
                out[index] = self.code.function(*(a[index] for a in arrays))
            except Exception:  # documented: NaN where it raises
                out[index] = np.nan
        return out

    def derivative(self, index: int, out: Any, *args: Any) -> Any:
        if self.derivatives is None:
            raise DifferentiationError(
                f"fdl cannot see inside {self.code.function.__name__}, which numba compiled; give "
                "elementwise its derivatives"
            )
        rule = self.derivatives[index]
        return None if rule is None else rule(*args)

    def lower(self, build: Any, *xs: Any) -> Any:
        function = build.import_function(
            self.code.text, self.code.symbol, I32, [POINTER, POINTER, *(register_type(x.dtype) for x in xs)]
        )
        slot, unused = build.stack_slot(memory_type(self.code.returned)), build.stack_slot(POINTER)
        lanes = xs[0].lanes
        found: Any = None if lanes == 1 else ir.Constant(wide(register_type(self.to), lanes), ir.Undefined)
        for lane in range(lanes):
            status = build.ir.call(function, [slot, unused, *(build.lane(x, lane).ir for x in xs)])
            fine = build.value(build.ir.icmp_signed("==", status, I32(0)), bool_)
            number = build.convert(build.load(slot, self.code.returned), self.to)
            number = build.select(fine, number, build.constant(np.nan, self.to))
            found = number.ir if lanes == 1 else build.ir.insert_element(found, number.ir, I32(lane))
        return build.value(found, self.to)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for dtype in (float32, float64):
            code = _code(Rule(_hypotenuse), np.dtype(dtype), 2)
            slopes = (Rule(lambda x, y: x / (x * x + y * y) ** 0.5), Rule(lambda x, y: y / (x * x + y * y) ** 0.5))
            for shape in ((), (3, 7), (0, 2)):
                yield (
                    NumbaScalar(code, np.dtype(dtype), 2, slopes),
                    *(rng.normal(size=shape).astype(dtype) for _ in "xy"),
                )


def _hypotenuse(x: Any, y: Any) -> Any:
    return (x * x + y * y) ** 0.5
