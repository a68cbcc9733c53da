"""Determinants and pseudo-inverses, with derivatives where singular values vanish or are the same."""

import math
from collections.abc import Callable
from typing import Any

from fdl.api.custom import custom_jvp
from fdl.core.types import Array
from fdl.lax.control import cond
from fdl.numpy._norms import vector_norm
from fdl.numpy._operands import cast
from fdl.numpy.arithmetic import absolute, conj
from fdl.numpy.creation import eye
from fdl.numpy.diagonals import diag
from fdl.numpy.elementwise import exp, log
from fdl.numpy.linear import matmul
from fdl.numpy.ranges import arange
from fdl.numpy.reductions import any as any_
from fdl.numpy.reductions import prod
from fdl.numpy.reductions import sum as total
from fdl.numpy.scalar_types import finfo
from fdl.numpy.selection import where
from fdl.numpy.shapes import broadcast_to, matrix_transpose
from fdl.ops import linalg, systems


def _adjoint(x: Array) -> Array:
    return conj(matrix_transpose(x))


@custom_jvp
def determinant(x: Array) -> Array:
    sign, magnitude = systems.slogdet(x)
    found: Array = sign * cast(exp(magnitude), x.type.dtype)
    return found


@determinant.defjvp
def _determinant_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    out = determinant(x)
    return out, total(_cofactors(x, out) * dx, (-2, -1))


def _cofactors(x: Array, out: Array) -> Array:
    """The derivatives of the determinant with respect to each element."""
    n = x.type.shape[-1]
    # Far below Hadamard's bound, rounding has left nothing of the inverse.
    bound = total(log(vector_norm(x, axis=-1)), -1) + math.log(1e3 * float(finfo(x.type.dtype).eps))
    singular = (log(absolute(out)) <= bound)[..., None, None]

    def by_inverse(x: Array) -> Array:
        unit = broadcast_to(eye(n, dtype=x.type.dtype), x.type.shape)
        return out[..., None, None] * matrix_transpose(systems.solve(where(singular, unit, x), unit))

    def by_singular_values(x: Array) -> Array:
        # The rest gets distinct singular values, so that second derivatives of what is not selected are finite.
        distinct = cast(diag(arange(1, n + 1)), x.type.dtype)
        u, s, vh = linalg.svd(where(singular, x, distinct), True, True)
        others = prod(where(eye(n, dtype=bool), 1, s[..., None, :]), -1)
        phase = (determinant(u) * determinant(vh))[..., None, None]
        adjugate = phase * matmul(_adjoint(vh) * cast(others, x.type.dtype)[..., None, :], _adjoint(u))
        return where(singular, matrix_transpose(adjugate), by_inverse(x))

    found: Array = cond(any_(singular), by_singular_values, by_inverse, x)
    return found


def _pseudo_inverse(x: Array, limit: Array, factors: Callable[[Array], Any]) -> Array:
    u, s, vh = factors(x)
    kept = s > limit[..., None] * s[..., :1]
    inverse = where(kept, 1 / where(kept, s, 1), 0)
    return matmul(_adjoint(vh), cast(inverse, u.type.dtype)[..., None] * _adjoint(u))


#: Of matrices, with the share of the largest singular value up to which others count as zero, and a function that gives
#: the three factors of the singular value decomposition.
pseudo_inverse = custom_jvp(_pseudo_inverse, nondiff_argnums=(2,))


@pseudo_inverse.defjvp
def _pseudo_inverse_jvp(factors: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    """Golub and Pereyra (1973), which needs no distinct singular values; the rank does not change."""
    x, limit = primals
    p, dx = pseudo_inverse(x, limit, factors), tangents[0]
    right, left = matmul(_adjoint(dx), _adjoint(p)), matmul(_adjoint(p), _adjoint(dx))
    along_rows = matmul(p, left - matmul(matmul(left, x), p))
    along_columns = matmul(right - matmul(p, matmul(x, right)), p)
    return p, along_rows + along_columns - matmul(p, matmul(dx, p))
