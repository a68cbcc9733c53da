"""Weights in float32, products in 16 bits: what becomes of a function, and casts by hand."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction, flatten_values, name_of, require_function, weakness
from fdl.api.wrapping import wraps
from fdl.array import as_array
from fdl.control.full_precision import FullPrecision
from fdl.core.trace import trace_program
from fdl.dtypes import FLOATING, WEAK, as_dtype, bfloat16, float16, float32, short_name
from fdl.errors import DtypeError
from fdl.nn.narrowing import Narrowing
from fdl.tracebacks import boundary

P = ParamSpec("P")
R = TypeVar("R")


def mixed_precision(fun: Callable[P, R], compute: Any = bfloat16) -> Callable[P, R]:
    """`fun` with matrix products and convolutions of 16-bit floats, whose sums are in float32.

    Parameters, inputs and results keep their dtypes: a function of float32 arrays returns float32. Inside, what a
    product makes or reads is rounded to `compute` and stored so; operations that move or choose elements (reshape,
    relu, max pooling) keep that; all others (norms, softmax, losses, sums, exponentials) get float32. Products of
    float64, and those with a dtype of their own for the result, stay as they are.

    It may be differentiated, compiled and batched, and may hold such functions: gradients of products are products of
    `compute` too, those of parameters come out in float32. Apply it to the loss rather than to its gradient: then
    what is kept for the backward pass has 16 bits. Inside of functions with derivative rules of their own nothing
    changes.

    Args:
        fun: any function of arrays; arguments that are no arrays stay what they are.
        compute: bfloat16, which has the range of float32; float16, which has three bits more and needs a loss scale
            (:class:`DynamicLossScale`); or float32, for a part of a function in mixed precision that is to stay in
            float32.

    Returns:
        The function, with the same arguments and structure of results.

    Raises:
        DtypeError: `compute` is none of the three.
        TypeError: `fun` is no function.

    Source: Micikevicius et al., "Mixed Precision Training", 2018; Kalamkar et al., "A Study of BFLOAT16 for Deep
    Learning Training", 2019.

    >>> import fdl, fdl.numpy as fnp
    >>> w, x = fnp.full((4, 2), 0.1), fnp.ones((3, 4))
    >>> def loss(w, x):
    ...     return fnp.sum(x @ w)
    >>> loss(w, x).item(), mixed_precision(loss)(w, x).item()  # 0.1 is not a bfloat16, nor 0.4
    (2.4000000953674316, 2.4023437...)
    >>> fdl.jit(fdl.grad(mixed_precision(loss)))(w, x).dtype
    dtype('float32')
    """
    require_function("mixed_precision", "fun", fun)
    dtype = as_dtype(compute)
    if dtype not in (bfloat16, float16, float32):
        raise DtypeError(f"mixed_precision computes in bfloat16, float16 or float32, got compute={compute!r}")

    @boundary
    @wraps(fun)
    def mixed(*args: P.args, **kwargs: P.kwargs) -> Any:
        given, structure = tree.flatten((args, kwargs))
        places = [n for n, leaf in enumerate(given) if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]

        @wraps(fun)
        def of_arrays(*arrays: Any) -> Any:
            leaves = list(given)
            for place, array in zip(places, arrays, strict=True):
                leaves[place] = array
            own, named = tree.unflatten(structure, leaves)
            return fun(*own, **named)

        leaves, flat_structure = flatten_values(of_arrays, [given[n] for n in places], {})
        flat = FlatFunction(of_arrays, flat_structure, weak=weakness(leaves))
        held = [leaf.held for leaf in leaves]
        program, captured = trace_program(flat, [leaf.type for leaf in held], name_of(fun))
        values = [*captured, *held]
        if dtype == float32:
            return flat.unflatten(FullPrecision(program, name_of(fun))(*values))
        return flat.unflatten(Narrowing(dtype)(program, values))

    return mixed


@dataclass(frozen=True)
class Policy:
    """Dtypes for those who cast by hand: of parameters, of what is computed, of results.

    The casts change the floating-point arrays of a pytree only.

    Attributes:
        param_dtype: in which parameters are kept.
        compute_dtype: to which parameters and inputs are cast before anything is computed.
        output_dtype: of results.

    >>> import fdl.numpy as fnp
    >>> policy = Policy(compute_dtype="bfloat16")
    >>> params, x = policy.cast_to_compute(({"w": fnp.ones((2, 2))}, fnp.ones(2)))
    >>> y = x @ params["w"]
    >>> y.dtype, policy.cast_to_output(y).dtype
    (dtype(bfloat16), dtype('float32'))
    """

    param_dtype: Any = float32
    compute_dtype: Any = float32
    output_dtype: Any = float32

    def __post_init__(self) -> None:
        for name in ("param_dtype", "compute_dtype", "output_dtype"):
            dtype = as_dtype(getattr(self, name))
            if dtype not in FLOATING:
                raise DtypeError(f"a policy has floating-point dtypes, got {name}={getattr(self, name)!r}")
            object.__setattr__(self, name, dtype)

    def cast_to_param(self, values: Any) -> Any:
        """A pytree with its floats in the dtype of parameters."""
        return _cast(values, self.param_dtype)

    def cast_to_compute(self, values: Any) -> Any:
        """A pytree with its floats in the dtype that is computed in."""
        return _cast(values, self.compute_dtype)

    def cast_to_output(self, values: Any) -> Any:
        """A pytree with its floats in the dtype of results."""
        return _cast(values, self.output_dtype)

    def with_output_dtype(self, output_dtype: Any) -> "Policy":
        """The same policy with other results."""
        return replace(self, output_dtype=output_dtype)

    def __str__(self) -> str:
        names = (short_name(np.dtype(d)) for d in (self.param_dtype, self.compute_dtype, self.output_dtype))
        return ",".join(f"{letter}={name}" for letter, name in zip("pco", names, strict=True))


_PARTS = {"p": "param_dtype", "c": "compute_dtype", "o": "output_dtype"} | {
    "params": "param_dtype", "compute": "compute_dtype", "output": "output_dtype",
}  # fmt: skip
_NAMES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "full": "float32"}


def get_policy(text: str) -> Policy:
    """The policy that a text names: one dtype for all, or some of params=, compute= and output=.

    Args:
        text: such as "params=float32,compute=bfloat16,output=float32", "p=f32,c=bf16,o=f32" or "bfloat16". What it
            does not name is float32.

    Returns:
        A :class:`Policy`; its `str` is such a text.

    Raises:
        ValueError: the text is not of this form.

    >>> str(get_policy("params=float32,compute=bfloat16,output=float32"))
    'p=f32,c=bf16,o=f32'
    """
    if not re.search("[=,]", text):
        return Policy(*[_dtype(text, text)] * 3)
    found: dict[str, Any] = {}
    for part in text.replace(" ", "").split(","):
        name, _, dtype = part.partition("=")
        if name not in _PARTS or _PARTS[name] in found:
            raise ValueError(
                f"get_policy reads params=, compute= and output= (or p=, c=, o=), each once; got {part!r} in {text!r}"
            )
        found[_PARTS[name]] = _dtype(dtype, text)
    return Policy(**found)


def _dtype(name: str, text: str) -> Any:
    try:
        return as_dtype(_NAMES.get(name.strip(), name.strip()))
    except (TypeError, ValueError):
        raise ValueError(f"get_policy knows no dtype {name!r}, in {text!r}") from None


def _cast(values: Any, dtype: Any) -> Any:
    def one(leaf: Any) -> Any:
        if type(leaf) in WEAK or not hasattr(leaf, "dtype") or leaf.dtype not in FLOATING:
            return leaf
        return as_array(leaf).astype(dtype)

    return tree.map(one, values)
