"""Matrix factorizations; see :mod:`fdl.ops.matrix` for conventions and the source of the derivatives."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.core.types import TensorType
from fdl.errors import DifferentiationError
from fdl.ops import lapack
from fdl.ops.arithmetic import add, div, mul, neg, sub
from fdl.ops.compare import eq
from fdl.ops.complex import real
from fdl.ops.convert import convert
from fdl.ops.matrix import (
    MatrixPrimitive,
    adjoint,
    along_columns,
    along_rows,
    by_precision,
    check_matrix,
    diagonal,
    draw_matrices,
    each_or_nan,
    eye_like,
    has_signs,
    hermitian,
    lower_part,
    masked,
    matmul,
    not_finite,
    real_dtype,
    signs_of,
    triangular_solve,
)
from fdl.ops.select import select
from fdl.ops.shape import full_like, zeros_of
from fdl.ops.slicing import concatenate, slice_
from fdl.ops.systems import Solve


class Cholesky(MatrixPrimitive):
    """The lower triangular l with l l^H = a; reads the lower triangle.

    All of l is NaN if a is not positive definite, or not finite.
    """

    def result(self, *types: TensorType) -> TensorType:
        check_matrix("cholesky", types[0], square=True)
        return types[0]

    def reference(self, a: np.ndarray) -> np.ndarray:
        found = by_precision(np.tril(a), lapack.cholesky, np.linalg.cholesky)
        bad = not_finite(found)
        return np.tril(np.where(bad, np.nan, found)).astype(a.dtype) if bad.any() else found

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a,), (da,) = primals, tangents
        factor = self(a)
        complex_ = a.type.dtype.kind == "c"
        inner = triangular_solve(factor, hermitian(da), lower=True, transpose_a=True, conjugate_a=complex_)
        inner = triangular_solve(factor, inner, left_side=True, lower=True)
        half = mul(masked(inner, np.eye(a.type.shape[-1], dtype=bool)), full_like(inner, 0.5))
        return factor, matmul(factor, sub(lower_part(inner), half))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            yield Cholesky(), a @ np.conj(np.swapaxes(a, -1, -2))


class Qr(MatrixPrimitive):
    """QR factorization by Householder reflections: (q, r), or (r,) without ``compute_q``.

    With ``full_matrices`` q is square. They are NaN if a is not finite.
    """

    multiple = True
    full_matrices: bool = False
    compute_q: bool = True

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        (a,) = types
        check_matrix("qr", a)
        *batch, m, n = a.shape
        k = m if self.full_matrices else min(m, n)
        r = a.with_shape((*batch, k, n))
        return (a.with_shape((*batch, m, k)), r) if self.compute_q else (r,)

    def without(self, read: Sequence[bool]) -> "Qr | None":
        return Qr(self.full_matrices, False) if tuple(read) == (False, True) else None

    def reference(self, a: np.ndarray) -> tuple[np.ndarray, ...]:
        mode: Any = "complete" if self.full_matrices else "reduced"
        q, r = by_precision(a, lambda a: lapack.qr(a, self.full_matrices), lambda a: tuple(np.linalg.qr(a, mode=mode)))
        r = np.triu(r) if np.isnan(r).any() else r
        return (q, r) if self.compute_q else (r,)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        if not self.compute_q:
            (_, r), (_, dr) = Qr(self.full_matrices).jvp(primals, tangents)
            return (r,), (dr,)
        (a,), (da,) = primals, tangents
        *_, m, n = a.type.shape
        q, r = self(a)
        k = min(m, n)
        thin_q, thin_r = _part(q, m, k), _part(r, k, k)
        dq, dr = _thin_qr_jvp(thin_q, thin_r, _part(da, m, k))
        if m < n:  # the other columns are q times those of r
            (rest, change) = (_part(x, m, n, k) for x in (a, da))
            beside = add(matmul(adjoint(dq), rest), matmul(adjoint(q), change))
            return (q, r), (dq, concatenate([dr, beside], dr.type.ndim - 1))
        if self.full_matrices and m > n:
            # The other columns of q are any basis of the complement; this one turns only as far as it has to.
            others = _part(q, m, m, n)
            turn = neg(matmul(thin_q, matmul(adjoint(dq), others)))
            below = zeros_of(_part(r, m, n, 0, n).type)
            return (q, r), (concatenate([dq, turn], q.type.ndim - 1), concatenate([dr, below], r.type.ndim - 2))
        return (q, r), (dq, dr)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            yield Qr(False), a
            yield Qr(False, False), a
        yield Qr(False), rng.normal(size=(4, 2))
        yield Qr(True, False), rng.normal(size=(4, 2))
        yield Qr(False), rng.normal(size=(2, 3))


def _part(x: Any, rows: int, columns: int, left: int = 0, top: int = 0) -> Any:
    """Some rows and columns of matrices, up to these."""
    lead = x.type.shape[:-2]
    return slice_(x, (*(0,) * len(lead), top, left), (*lead, rows, columns))


def _thin_qr_jvp(q: Any, r: Any, da: Any) -> tuple[Any, Any]:
    """The tangents of both factors of matrices of at least as many rows as columns."""
    change = triangular_solve(r, da)
    inner = matmul(adjoint(q), change)
    below = lower_part(inner, 1)
    turn = sub(below, adjoint(below))
    if q.type.dtype.kind == "c":
        imaginary = sub(inner, convert(real(inner), inner.type.dtype))
        turn = add(turn, masked(imaginary, np.eye(r.type.shape[-1], dtype=bool)))
    return add(matmul(q, sub(turn, inner)), change), matmul(sub(inner, turn), r)


class Eigh(MatrixPrimitive):
    """Eigenvalues in ascending order of Hermitian matrices, and eigenvectors (columns) if ``vectors``.

    It reads the lower triangle. Signs and phases of the vectors mean nothing; `signs_of` decides on those of small real
    matrices.
    """

    multiple = True
    vectors: bool = True

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        (a,) = types
        check_matrix("eigh", a, square=True)
        w = TensorType(a.shape[:-1], real_dtype(a.dtype))
        return (w, a) if self.vectors else (w,)

    def reference(self, a: np.ndarray) -> tuple[np.ndarray, ...]:
        if not self.vectors:
            return tuple(by_precision(np.tril(a), lapack.eigvalsh, lambda a: (np.linalg.eigvalsh(a),)))
        w, v = by_precision(np.tril(a), lapack.eigh, lambda a: tuple(np.linalg.eigh(a)))
        return w, v * signs_of(v, -2) if has_signs(v) else v

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a,), (da,) = primals, tangents
        w, v = Eigh(True)(a)
        n = a.type.shape[-1]
        inner = matmul(adjoint(v), matmul(hermitian(da), v))
        dw = diagonal(inner)
        dw = real(dw) if dw.type.dtype.kind == "c" else dw
        if not self.vectors:
            return (w,), (dw,)
        gaps = convert(sub(along_rows(w, n), along_columns(w, n)), inner.type.dtype)
        turn = masked(div(inner, add(gaps, eye_like(gaps, n, n))), ~np.eye(n, dtype=bool))
        return (w, v), (dw, matmul(v, turn))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        # Complex eigenvectors are determined only up to a phase, so finite differences of them mean nothing.
        a = rng.normal(size=(2, 3, 3))
        yield Eigh(), a + np.swapaxes(a, -1, -2)
        for a in draw_matrices(rng, 2, 3, 3):
            yield Eigh(False), a


class Svd(MatrixPrimitive):
    """Singular values in descending order, after u and before v^H if ``compute_uv``: (u, s, vh), else (s,).

    Signs and phases of pairs of vectors mean nothing; `signs_of` decides on those of small real matrices.
    """

    multiple = True
    full_matrices: bool = False
    compute_uv: bool = True

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        (a,) = types
        check_matrix("svd", a)
        *batch, m, n = a.shape
        k = min(m, n)
        s = TensorType((*batch, k), real_dtype(a.dtype))
        if not self.compute_uv:
            return (s,)
        rows, columns = (m, n) if self.full_matrices else (k, k)
        return a.with_shape((*batch, m, rows)), s, a.with_shape((*batch, columns, n))

    def reference(self, a: np.ndarray) -> tuple[np.ndarray, ...]:
        def svd(a: np.ndarray) -> tuple[np.ndarray, ...]:
            found: Any = np.linalg.svd(a, self.full_matrices, compute_uv=self.compute_uv)  # type: ignore[call-overload]
            return tuple(found) if self.compute_uv else (found,)

        found = tuple(by_precision(a, lambda a: lapack.svd(a, self.full_matrices, self.compute_uv), svd))
        if not self.compute_uv or not has_signs(a):
            return found
        (u, s, vh), few = found, min(a.shape[-2:])
        signs = signs_of(vh[..., :few, :], -1)
        u[..., :few] *= np.swapaxes(signs, -1, -2)
        vh[..., :few, :] *= signs
        return u, s, vh

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        (a,), (da,) = primals, tangents
        *_, m, n = a.type.shape
        if self.compute_uv and self.full_matrices and m != n:
            raise DifferentiationError(f"the derivative of svd needs full_matrices=False for {a.type}")
        u, s, vh = Svd(False, True)(a)
        inner = matmul(adjoint(u), matmul(da, adjoint(vh)))
        ds = diagonal(inner)
        ds = real(ds) if ds.type.dtype.kind == "c" else ds
        if not self.compute_uv:
            return (s,), (ds,)
        du, dv = _singular_vectors(u, s, vh, da, inner)
        return (u, s, vh), (du, ds, adjoint(dv))

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for shape in ((2, 3, 3), (4, 2), (2, 4)):
            yield Svd(False, True), rng.normal(size=shape)
        yield Svd(False, False), rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2))


class Eig(MatrixPrimitive):
    """Eigenvalues, followed by right eigenvectors (columns) if ``vectors``, of square matrices; always complex.

    The eigenvalues have a derivative, the eigenvectors, which LAPACK scales in its own way, have none.
    """

    multiple = True
    vectors: bool = True

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        (a,) = types
        check_matrix("eig", a, square=True)
        dtype = np.result_type(a.dtype, np.complex64)
        w, v = TensorType(a.shape[:-1], dtype), TensorType(a.shape, dtype)
        return (w, v) if self.vectors else (w,)

    def reference(self, a: np.ndarray) -> tuple[np.ndarray, ...]:
        dtype = np.result_type(a.dtype, np.complex64)

        def parts(a: np.ndarray) -> tuple[np.ndarray, ...]:
            # LAPACK gets real matrices as they are: real eigenvalues have no imaginary part then, others come in pairs.
            found = tuple(np.linalg.eig(a)) if self.vectors else (np.linalg.eigvals(a),)
            return tuple(part.astype(dtype) for part in found)

        return each_or_nan(parts, a)

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        if self.vectors:
            raise DifferentiationError(
                "eig: eigenvectors have no derivative rule; use eigvals, or eigh if a is Hermitian, or "
                "fdl.linalg.eig(..., enable_eigvec_derivs=True) if all eigenvalues differ"
            )
        w, v = Eig(True)(*primals)
        return (w,), (diagonal(Solve()(v, matmul(convert(tangents[0], v.type.dtype), v))),)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for a in draw_matrices(rng, 2, 3, 3):
            yield Eig(False), a


def _singular_vectors(u: Any, s: Any, vh: Any, da: Any, inner: Any) -> tuple[Any, Any]:
    """Tangents of u and v, where inner = u^H da v."""
    k, dtype = s.type.shape[-1], u.type.dtype
    columns, rows = along_rows(s, k), along_columns(s, k)
    gaps = mul(add(columns, rows), sub(columns, rows))
    zero = eq(gaps, full_like(gaps, 0))
    factor = select(zero, full_like(gaps, 0), div(full_like(gaps, 1), select(zero, full_like(gaps, 1), gaps)))
    factor, columns, rows = (convert(x, dtype) for x in (factor, columns, rows))
    by_u, by_v = mul(inner, columns), mul(rows, inner)
    skew = masked(sub(inner, adjoint(inner)), np.eye(k, dtype=bool))
    skew = div(
        mul(skew, full_like(skew, 0.5)), select(eq(columns, full_like(columns, 0)), full_like(columns, 1), columns)
    )
    du = matmul(u, add(mul(factor, add(by_u, adjoint(by_u))), skew))
    v = adjoint(vh)
    dv = matmul(v, mul(factor, add(by_v, adjoint(by_v))))
    m, n = da.type.shape[-2:]
    if m > n:
        du = add(du, _outside(u, matmul(da, v), s))
    if n > m:
        dv = add(dv, _outside(v, matmul(adjoint(da), u), s))
    return du, dv


def _outside(basis: Any, x: Any, s: Any) -> Any:
    """The part of the columns of x / s that is orthogonal to `basis`."""
    rest = sub(x, matmul(basis, matmul(adjoint(basis), x)))
    return div(rest, convert(along_rows(s, x.type.shape[-2]), x.type.dtype))


cholesky, eigh = Cholesky(), Eigh()


def qr(a: Any, full_matrices: bool = False) -> tuple[Any, Any]:
    """(q, r) of matrices [..., m, n]."""
    return Qr(full_matrices)(a)


def eigvalsh(a: Any) -> Any:
    """Eigenvalues in ascending order of Hermitian matrices [..., n, n], of which the lower triangle is read."""
    return Eigh(False)(a)[0]


def svd(a: Any, full_matrices: bool = False, compute_uv: bool = True) -> tuple[Any, ...]:
    """(u, s, vh), or (s,), of matrices [..., m, n]."""
    return Svd(full_matrices, compute_uv)(a)


def eig(a: Any, vectors: bool = True) -> tuple[Any, ...]:
    """(eigenvalues, eigenvectors), or (eigenvalues,), of matrices [..., n, n]."""
    return Eig(vectors)(a)
