"""A function as its forward and its backward pass."""

from collections.abc import Callable, Sequence
from typing import Any

from fdl.api.arguments import normalize_numbers, require_function
from fdl.api.differentiate import vjp
from fdl.api.jit import jit


def fwd_and_bwd(
    fun: Callable[..., Any], argnums: int | Sequence[int], has_aux: bool = False, jitted: bool = True
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The forward and the backward pass of a function, each compiled once.

    Args:
        fun: any function of arrays.
        argnums: the positional arguments to differentiate by.
        has_aux: whether `fun` returns a pair (output, aux).
        jitted: whether both passes are compiled.

    Returns:
        ``fwd(*args) -> (output, residuals)``, with `has_aux` (output, residuals, aux); and
        ``bwd(residuals, cotangent)``, which returns a tuple of cotangents of the arguments, or one if `argnums` is an
        integer.

    >>> import fdl
    >>> fwd, bwd = fdl.fwd_and_bwd(lambda x, w: x * w, argnums=(0, 1))
    >>> y, residuals = fwd(3.0, 4.0)
    >>> y, bwd(residuals, 1.0)
    (Array(12., dtype=float32), (Array(4., dtype=float32), Array(3., dtype=float32)))
    """
    require_function("fwd_and_bwd", "fun", fun)

    def fwd(*args: Any, **kwargs: Any) -> Any:
        numbers = normalize_numbers(argnums, len(args), "argnums")

        def of_chosen(*parts: Any) -> Any:
            full = list(args)
            for number, part in zip(numbers, parts, strict=True):
                full[number] = part
            return fun(*full, **kwargs)

        return vjp(of_chosen, *(args[n] for n in numbers), has_aux=has_aux)

    def bwd(residuals: Any, cotangent: Any) -> Any:
        found = residuals(cotangent)
        return found[0] if isinstance(argnums, int) else found

    return (jit(fwd), jit(bwd)) if jitted else (fwd, bwd)
