"""Functions of arrays, compiled by numba, as steps of a program."""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np

from fdl import tree
from fdl.api.arguments import flatten_values
from fdl.api.custom import custom_jvp, custom_vjp
from fdl.compile.kernels.foreign import ForeignLowering
from fdl.control.custom import Rule
from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.dtypes import as_dtype
from fdl.errors import DifferentiationError, DtypeError, ShapeError
from fdl.ext._numba import compiled, dtype_of, numba, numba_type
from fdl.lax.control import map as each


def numba_call(
    function: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    jvp: Callable[..., Any] | None = None,
    vjp: Callable[..., Any] | None = None,
) -> Any:
    """The result of a function of arrays compiled by numba; a jitted program calls its machine code directly.

    Args:
        function: made by ``numba.njit``. It gets one C-contiguous array for each argument (a number for an argument
            without axes), must not change them, and returns one array, or a tuple of arrays.
        result_shape_dtypes: a ShapeDtypeStruct (or array) like the result, or a tuple or list of them.
        *args: arrays of boolean, integer, complex, float32 or float64 numbers.
        jvp: ``jvp(primals, tangents) -> tangents of the results``: the derivative, made of fdl functions, or of further
            calls.
        vjp: ``vjp(args, results, cotangents) -> a tuple with the cotangent of each argument``; one of the two at most.

    Returns:
        Arrays in the structure of `result_shape_dtypes`.

    Raises:
        TypeError: the function is not made by ``numba.njit``, or both `jvp` and `vjp` are given.
        DtypeError: numba has no numbers of an argument's dtype, or the function returns others than declared.
        ShapeError: the function returns another number of results or of axes than declared.
        DifferentiationError: a derivative is asked for, and neither `jvp` nor `vjp` is given.
        RuntimeError: in a jitted function, when the function raised, or returned another shape than declared.

    >>> import fdl, fdl.numpy as fnp, numba, numpy as np
    >>> @numba.njit
    ... def recurrence(x):
    ...     y = np.zeros_like(x)
    ...     for i in range(1, x.size):
    ...         y[i] = 0.5 * y[i - 1] + x[i]
    ...     return y
    >>> fdl.jit(lambda x: numba_call(recurrence, x, x))(fnp.arange(4.0))
    Array([0.  , 1.  , 2.5 , 4.25], dtype=float32)
    """
    if jvp is not None and vjp is not None:
        raise TypeError("numba_call takes jvp or vjp, not both: forward mode follows from neither, reverse from either")
    expected, structure = tree.flatten(result_shape_dtypes)
    types = tuple(TensorType(tuple(e.shape), as_dtype(e.dtype)) for e in expected)
    leaves, _ = flatten_values(function, args, {})
    operation = NumbaCall(Rule(function), types)
    operation.check(tuple(leaf.type for leaf in leaves))

    def call(*values: Any) -> Any:
        return tree.unflatten(structure, operation(*values))

    call.__name__ = operation.label
    if jvp is not None:
        differentiable = custom_jvp(call)
        differentiable.defjvp(lambda primals, tangents: (call(*primals), jvp(primals, tangents)))
        return differentiable(*leaves)
    if vjp is not None:
        reverse = custom_vjp(call)
        reverse.defvjp(lambda *values: _with_residuals(call, values), lambda kept, ct: vjp(*kept, ct))
        return reverse(*leaves)
    return call(*leaves)


def _with_residuals(call: Callable[..., Any], values: Sequence[Any]) -> Any:
    results = call(*values)
    return results, (values, results)


class NumbaCall(Primitive):
    """Results of a function that numba compiled, which must return arrays of the declared types."""

    lowering_kind = "kernel"
    multiple = True
    function: Rule
    types: tuple[TensorType, ...]

    @property
    def label(self) -> str:
        """The function's name."""
        return getattr(self.function.function, "__name__", "function")

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        return self.types

    def check(self, types: tuple[TensorType, ...]) -> None:
        """Raise unless the function, compiled for such operands, returns what is declared, as far as types tell."""
        found, _ = _return_types(self.function, types)
        if len(found) != len(self.types):
            raise ShapeError(f"{self.label} returns {len(found)} results where {len(self.types)} were declared")
        for number, (type, (dtype, ndim)) in enumerate(zip(self.types, found, strict=True)):
            if dtype != type.dtype:
                raise DtypeError(f"{self.label} returns {dtype} as result {number}, which was declared to be {type}")
            if ndim != type.ndim:
                raise ShapeError(f"{self.label} returns {ndim} axes as result {number}, declared to be {type}")

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        found = self.function(*(np.array(a, order="C") if a.ndim else a[()] for a in arrays))
        results = [np.asarray(r) for r in (found if isinstance(found, tuple) else (found,))]
        for result, type in zip(results, self.types, strict=True):
            if result.shape != type.shape:
                raise ShapeError(f"{self.label} returned shape {list(result.shape)} where {type} was declared")
        return results

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        raise DifferentiationError(
            f"fdl cannot see inside {self.label}, which numba compiled; give numba_call its derivative as jvp= or vjp="
        )

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        def one(own: Sequence[Any]) -> Any:
            rest = iter(own)
            return self(*(next(rest) if b else a for a, b in zip(args, batched, strict=True)))

        outs = each(one, [a for a, b in zip(args, batched, strict=True) if b])
        return outs, (True,) * len(self.types)

    def entry(self, *types: TensorType) -> Any:
        """An object whose `address` is that of ``i32 call(ptr addresses of operands and results)``; 0 is success."""
        return _entry(self.function, types, self.types)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        x = rng.normal(size=(3, 2))
        kinds = TensorType((2, 3), x.dtype), TensorType((), x.dtype)
        yield NumbaCall(Rule(compiled(_turned_and_scaled)), kinds), x, np.float64(2.0)


class NumbaLowering(ForeignLowering[NumbaCall]):
    """A compiled program calls the code that numba made."""

    operations = (NumbaCall,)


def _turned_and_scaled(x: Any, factor: Any) -> Any:
    return (x * factor).T.copy(), x.sum()


@lru_cache(maxsize=256)
def _return_types(function: Rule, types: tuple[TensorType, ...]) -> tuple[tuple[tuple[np.dtype, int], ...], bool]:
    """(dtype, number of axes) of each result, and whether they come as a tuple."""
    module, dispatcher = numba(), cast(Any, function.function)
    if not hasattr(dispatcher, "py_func"):
        raise TypeError(f"numba_call needs a function made by numba.njit, got {dispatcher!r}")
    signature = []
    for type in types:
        element = numba_type(f"numba_call of {dispatcher.__name__}", type.dtype)
        signature.append(module.types.Array(element, type.ndim, "C") if type.ndim else element)
    dispatcher.compile(tuple(signature))
    found = dispatcher.overloads[tuple(signature)].signature.return_type
    several = isinstance(found, module.types.BaseTuple)
    parts = [(getattr(p, "dtype", p), getattr(p, "ndim", 0)) for p in (found if several else (found,))]
    return tuple((dtype_of(f"numba_call of {dispatcher.__name__}", dtype), ndim) for dtype, ndim in parts), several


@lru_cache(maxsize=256)
def _entry(function: Rule, inputs: tuple[TensorType, ...], outputs: tuple[TensorType, ...]) -> Any:
    """The function as C calls it: a pointer to the addresses of its operands, then of its results."""
    module = numba()
    names = [f"x{n}" for n in range(len(inputs))]
    lines = ["def call(table):", "    try:"]
    for n, type in enumerate(inputs):
        whole = f"carray(table[{n}], {type.shape or (1,)}, input{n})"
        lines.append(f"        x{n} = {whole}" + ("" if type.ndim else "[0]"))
    lines.append(f"        found = function({', '.join(names)})")
    _, several = _return_types(function, inputs)
    for n, type in enumerate(outputs):
        item = f"found[{n}]" if several else "found"
        if type.ndim:
            lines += [f"        if {item}.shape != {type.shape}:", "            return 1"]
        place = f"carray(table[{len(inputs) + n}], {type.shape or (1,)}, output{n})"
        lines.append(f"        {place}[{':' if type.ndim else '0'}] = {item}")
    lines += ["        return 0", "    except Exception:", "        return 1"]
    scope: dict[str, Any] = {"carray": module.carray, "function": function.function}
    scope |= {f"input{n}": numba_type("numba_call", t.dtype) for n, t in enumerate(inputs)}
    scope |= {f"output{n}": numba_type("numba_call", t.dtype) for n, t in enumerate(outputs)}
    # numba compiles no loops over operands of different types: each gets its own line.
    exec("\n".join(lines), scope)
    pointers = module.types.CPointer(module.types.voidptr)
    return module.cfunc(module.types.int32(pointers))(scope["call"])
