"""Vector quantization, under the names of ``scipy.cluster.vq``."""

from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.scipy._operands import inexact

__all__ = ["vq"]


def vq(obs: Any, code_book: Any, check_finite: bool = True) -> tuple[Array, Array]:
    """The nearest code of each observation, by Euclidean distance.

    Args:
        obs: observations [m, n], or [m] of one number each.
        code_book: codes [k, n], or [k].
        check_finite: accepted for compatibility.

    Returns:
        Indices of codes, int32 [m], and the distances to them [m].

    Raises:
        ShapeError: the arrays have not one or two axes each, or differ in the length of a vector.

    >>> code, distance = vq(fnp.array([1.0, 4.0]), fnp.array([0.0, 5.0, 2.0]))
    >>> code.tolist(), distance.tolist()
    ([0, 1], [1.0, 1.0])
    """
    obs, code_book = inexact(obs, code_book)
    if obs.ndim not in (1, 2) or obs.ndim != code_book.ndim or obs.shape[1:] != code_book.shape[1:]:
        raise ShapeError(
            f"vq needs obs [m, n] and code_book [k, n], or [m] and [k], got {obs.type} and {code_book.type}"
        )
    if not code_book.shape[0]:
        raise ShapeError(f"vq needs at least one code, got code_book {code_book.type}")
    obs, code_book = (v.reshape(v.shape[0], -1 if v.size else v.shape[-1]) for v in (obs, code_book))
    distances = fnp.linalg.norm(obs[:, None] - code_book[None], axis=-1)
    code = fnp.argmin(distances, axis=-1)
    return code, fnp.take_along_axis(distances, code[:, None], axis=-1)[:, 0]


def __dir__() -> list[str]:
    return __all__
