"""The QR factorization as Householder reflections, and products with the orthogonal matrix that they stand for."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.types import TensorType
from fdl.errors import DifferentiationError
from fdl.ops.arithmetic import add, div, mul, sub
from fdl.ops.compare import eq
from fdl.ops.matrix import (
    MatrixPrimitive,
    adjoint,
    along_rows,
    check_matrix,
    draw_matrices,
    each,
    eye_like,
    lower_part,
    masked,
    matmul,
    triangular_solve,
)
from fdl.ops.select import select
from fdl.ops.shape import full_like
from fdl.ops.slicing import slice_


class HouseholderQr(MatrixPrimitive):
    """QR factorization as LAPACK keeps it: r with the reflections' vectors below its diagonal, and their factors."""

    multiple = True

    def result(self, *types: TensorType) -> tuple[TensorType, TensorType]:
        (a,) = types
        check_matrix("geqrf", a)
        *batch, m, n = a.shape
        return a, a.with_shape((*batch, min(m, n)))

    def reference(self, a: np.ndarray) -> tuple[np.ndarray, ...]:
        return each(_factor_one, a)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        raise DifferentiationError("Householder reflections (geqrf) have no derivative rule; use qr, whose factors do")

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            yield HouseholderQr(), a
        yield HouseholderQr(), rng.normal(size=(4, 2))
        yield HouseholderQr(), rng.normal(size=(2, 4))
        yield HouseholderQr(), np.zeros((2, 3, 0))


def _factor_one(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.linalg import qr

    if not a.size:
        return a, np.zeros(min(a.shape), a.dtype)
    (packed, factors), _ = qr(a, mode="raw", check_finite=False)
    return np.ascontiguousarray(packed), factors


def apply_reflections(a: Any, taus: Any, c: Any, left: bool, conjugate: bool) -> Any:
    """``q c`` or ``c q`` for the product q of the reflections I - tau v v^H, or of its adjoint.

    The product is I - v t v^H, where the inverse of the triangular t has the products of the vectors above its diagonal
    and 1 / tau on it (Joffrain et al., "Accumulating Householder transformations, revisited", 2006).

    Args:
        a: [..., m, n], the vectors in the columns of its lower trapezoid, whose diagonal counts as ones.
        taus: [..., k].
        c: [..., m, p] if `left`, else [..., p, m].
        left: on which side of c the product stands.
        conjugate: whether to apply the adjoint.
    """
    *batch, m, _ = a.type.shape
    k = taus.type.shape[-1]
    vectors = slice_(a, (0,) * a.type.ndim, (*batch, m, k))
    vectors = add(lower_part(vectors, 1), eye_like(vectors, m, k))
    idle = eq(taus, full_like(taus, 0))  # the reflection is the identity: leave its vector out
    vectors = select(along_rows(idle, m), full_like(vectors, 0), vectors)
    one = full_like(taus, 1)
    on = div(one, select(idle, one, taus))
    inverse = masked(matmul(adjoint(vectors), vectors), ~np.eye(k, dtype=bool))
    inverse = add(inverse, mul(eye_like(inverse, k, k), along_rows(on, k)))
    inner = matmul(adjoint(vectors), c) if left else matmul(c, vectors)
    solved = triangular_solve(inverse, inner, left_side=left, transpose_a=conjugate, conjugate_a=conjugate)
    return sub(c, matmul(vectors, solved) if left else matmul(solved, adjoint(vectors)))
