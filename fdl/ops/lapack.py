"""Factorizations in single precision by LAPACK: what compiled programs call for large matrices, one matrix at a time.

NumPy computes single precision in double. That costs little for small matrices, and twice the time for large ones.
"""

from typing import Any

import numpy as np

from fdl.dtypes import complex64, float32

#: Rows and columns of the largest matrices that are computed in double precision, whatever their dtype.
DOUBLE_EXTENT = 32


def is_single(a: np.ndarray) -> bool:
    """Whether matrices are so large, and of such a dtype, that they are computed in single precision."""
    return a.dtype in (float32, complex64) and max(a.shape[-2:]) > DOUBLE_EXTENT


def cholesky(a: np.ndarray) -> np.ndarray:
    """The lower factor. Raises LinAlgError if there is none."""
    # LAPACK's matrices lie column by column: the transposed one needs no copy in another order.
    factor, info = _routine("potrf", a)(a.T, lower=False, clean=True)
    if info:
        raise np.linalg.LinAlgError("the matrix is not positive definite")
    return np.ascontiguousarray(factor.T)


def lu(a: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """(both factors in one matrix, the rows exchanged in each step, the number of the first zero on the diagonal)."""
    factors, pivots, info = _routine("getrf", a)(a)
    return factors, pivots, info


def solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x in a x = b, with infinities and NaN if there is none."""
    factors, pivots, _ = lu(a)
    return np.asarray(_routine("getrs", a)(factors, pivots, b)[0])


def slogdet(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sign, in double precision, and logarithm of the modulus of the determinant."""
    factors, pivots, info = lu(a.T)
    if info:
        return np.zeros((), a.dtype), np.full((), -np.inf)
    diagonal = np.diag(factors).astype(np.result_type(a.dtype, np.float64))
    size = np.abs(diagonal)
    turns = -1.0 if np.count_nonzero(pivots != np.arange(len(pivots))) % 2 else 1.0
    return np.asarray(np.prod(diagonal / size) * turns), np.asarray(np.log(size).sum())


def qr(a: np.ndarray, full: bool) -> tuple[np.ndarray, np.ndarray]:
    """(q, r), with q square if `full`."""
    m, n = a.shape
    columns = m if full else min(m, n)
    reflections, scales, *_ = _routine("geqrf", a)(a, lwork=_length("geqrf", a, m, n))
    name = "ungqr" if a.dtype.kind == "c" else "orgqr"
    start = np.zeros((m, columns), a.dtype, "F")
    start[:, : min(columns, n)] = reflections[:, :columns]
    # SciPy has no function that tells the length for square results.
    q = _routine(name, a)(start, scales, lwork=max(1, columns * 64), overwrite_a=True)[0]
    return q, np.triu(reflections[:columns])


def eigh(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors, from the lower triangle. Raises LinAlgError if LAPACK finds none."""
    values, vectors, info = _syevd(a, True)
    return _checked(info, values, vectors)


def eigvalsh(a: np.ndarray) -> tuple[np.ndarray]:
    """(eigenvalues,), from the lower triangle. Raises LinAlgError if LAPACK finds none."""
    values, _, info = _syevd(a, False)
    return _checked(info, values)


def _syevd(a: np.ndarray, vectors: bool) -> Any:
    return _routine("heevd" if a.dtype.kind == "c" else "syevd", a)(a, compute_v=vectors, lower=True)


def svd(a: np.ndarray, full: bool, vectors: bool) -> tuple[np.ndarray, ...]:
    """(u, s, vh), or (s,). Raises LinAlgError if LAPACK finds none."""
    length = _length("gesdd", a, *a.shape, compute_uv=vectors, full_matrices=full)
    u, s, vh, info = _routine("gesdd", a)(a, compute_uv=vectors, full_matrices=full, lwork=length)
    return _checked(info, *((u, s, vh) if vectors else (s,)))


def _checked(info: int, *results: Any) -> Any:
    if info:
        raise np.linalg.LinAlgError("LAPACK did not converge")
    return results


def _routine(name: str, a: np.ndarray) -> Any:
    from scipy.linalg.lapack import get_lapack_funcs

    return get_lapack_funcs(name, (a,))


def _length(name: str, a: np.ndarray, *arguments: Any, **more: Any) -> int:
    """The length of the workspace that a routine wants."""
    return int(_routine(f"{name}_lwork", a)(*arguments, **more)[0].real)
