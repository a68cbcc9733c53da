"""Schur and Hessenberg forms by SciPy, and what is made of them: roots, equations and functions of matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.api.custom import custom_jvp
from fdl.core.types import Array
from fdl.errors import ShapeError
from fdl.numpy._operands import broadcast_shapes, complex_of
from fdl.ops.matrix import adjoint
from fdl.scipy._lapack import matrices, per_matrix

__all__ = ["funm", "hessenberg", "polar", "rsf2csf", "schur", "solve_sylvester", "sqrtm"]


def _by_scipy(name: str, arrays: list[Array], results: tuple[tuple[int, ...], ...], dtype: Any, **settings: Any) -> Any:
    """SciPy's function of each matrix; `results` are the shapes of its results for one.

    They are NaN where a matrix is not finite: SciPy refuses it, which would be an error for the whole stack.
    """

    def run(*given: np.ndarray) -> Any:
        import scipy.linalg

        if not all(np.isfinite(a).all() for a in given):
            return tuple(np.full(shape, np.nan, dtype) for shape in results)
        return getattr(scipy.linalg, name)(*given, **settings)

    return per_matrix(run, arrays, [(shape, dtype) for shape in results])


def schur(a: Any, output: str = "real") -> tuple[Array, Array]:
    """Schur form a = z t z^H; without a derivative.

    Args:
        a: [..., n, n].
        output: "real" leaves blocks of two on the diagonal of t for the complex eigenvalues of a real matrix; "complex"
            makes t upper triangular.

    Returns:
        t and unitary z, [..., n, n].

    Raises:
        ValueError: another `output`.

    >>> t, z = schur(fnp.array([[2.0, 1.0], [0.0, 3.0]]))
    >>> t.tolist()
    [[2.0, 1.0], [0.0, 3.0]]
    """
    if output not in ("real", "complex"):
        raise ValueError(f"schur takes output 'real' or 'complex', got {output!r}")
    (a,) = matrices("schur", a)
    shape = a.shape[-2:]
    dtype = complex_of(a.dtype) if output == "complex" else a.dtype
    return _by_scipy("schur", [a], (shape, shape), dtype, output=output)


def rsf2csf(T: Any, Z: Any, check_finite: bool = True) -> tuple[Array, Array]:
    """The complex Schur form from the real one; without a derivative.

    Args:
        T: [..., n, n] of :func:`schur`.
        Z: [..., n, n] of :func:`schur`.
        check_finite: accepted for compatibility.

    Returns:
        Upper triangular t and unitary z, complex.

    Raises:
        ShapeError: they are not square, or differ in shape.

    >>> t, z = rsf2csf(*schur(fnp.array([[0.0, 1.0], [-1.0, 0.0]])))
    >>> sorted(fnp.diagonal(t).imag.round(3).tolist())
    [-1.0, 1.0]
    """
    t, z = matrices("rsf2csf", T, Z)
    if t.shape != z.shape:
        raise ShapeError(f"rsf2csf needs matrices of one shape, got {t.type} and {z.type}")
    shape = t.shape[-2:]
    return _by_scipy("rsf2csf", [t, z], (shape, shape), complex_of(t.dtype))


def hessenberg(a: Any, *, calc_q: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """Hessenberg form a = q h q^H, zero below the first subdiagonal; without a derivative.

    Args:
        a: [..., n, n].
        calc_q: whether to return q.
        overwrite_a: accepted for compatibility.
        check_finite: accepted for compatibility.

    Returns:
        h, or (h, q).

    >>> hessenberg(fnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    (a,) = matrices("hessenberg", a)
    shape = a.shape[-2:]
    found = _by_scipy("hessenberg", [a], (shape, shape)[: 1 + calc_q], a.dtype, calc_q=calc_q)
    return tuple(found) if calc_q else found[0]


def solve_sylvester(A: Any, B: Any, C: Any, *, method: str = "schur", tol: float = 1e-8) -> Array:
    """The solution x of A x + x B = C.

    Args:
        A: [..., m, m].
        B: [..., n, n].
        C: [..., m, n].
        method: accepted for compatibility: LAPACK's by the Schur form is taken.
        tol: where the sum of an eigenvalue of A and one of B is smaller, the solution is NaN: there may be none.

    Returns:
        [..., m, n]; the derivatives are those of the equation.

    Raises:
        ShapeError: the shapes do not fit.

    >>> solve_sylvester(fnp.array([[2.0]]), fnp.array([[1.0]]), fnp.array([[6.0]])).tolist()
    [[2.0]]
    """
    a, b, c = matrices("solve_sylvester", A, B, C, square=False)
    m, n = c.shape[-2:]
    if a.shape[-2:] != (m, m) or b.shape[-2:] != (n, n):
        raise ShapeError(f"solve_sylvester needs A [m, m], B [n, n] and C [m, n], got {a.type}, {b.type} and {c.type}")
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2], c.shape[:-2], name="solve_sylvester: the leading axes")
    a, b, c = (fnp.broadcast_to(v, lead + v.shape[-2:]) for v in (a, b, c))
    first, second = (fnp.linalg.eigvals(lax.stop_gradient(v)) for v in (a, b))
    sums = first[..., :, None] + second[..., None, :]
    unsolvable = fnp.any(fnp.abs(sums) < tol, axis=(-2, -1), keepdims=True)
    return fnp.where(unsolvable, fnp.asarray(fnp.nan, c.dtype), _sylvester(a, b, c))


def _sylvester(a: Array, b: Array, c: Array) -> Array:
    m, n = c.shape[-2:]
    turned = fnp.swapaxes(a, -1, -2), fnp.swapaxes(b, -1, -2)
    by = lambda a, b: lambda _, c: _by_scipy("solve_sylvester", [a, b, c], ((m, n),), c.dtype)[0]  # noqa: E731
    return lax.custom_linear_solve(lambda x: fnp.matmul(a, x) + fnp.matmul(x, b), c, by(a, b), by(*turned))


@custom_jvp
def _root(a: Array) -> Array:
    return _by_scipy("sqrtm", [a], (a.shape[-2:],), a.dtype)[0]


@_root.defjvp
def _root_jvp(primals: Any, tangents: Any) -> tuple[Array, Array]:
    (a,), (da,) = primals, tangents
    root = _root(a)
    return root, _sylvester(root, root, da)


def sqrtm(A: Any, blocksize: int = 1) -> Array:
    """The principal square roots of matrices.

    Args:
        A: [..., n, n].
        blocksize: accepted for compatibility.

    Returns:
        A complex array [..., n, n], whose square is A.

    >>> sqrtm(fnp.array([[4.0, 0.0], [0.0, 9.0]])).real.round(3).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    (a,) = matrices("sqrtm", A)
    return _root(a.astype(complex_of(a.dtype)))


def polar(
    a: Any, side: str = "right", *, method: str = "qdwh", eps: float | None = None, max_iterations: int | None = None
) -> tuple[Array, Array]:
    """Polar decomposition a = u p, or a = p u, by the singular value decomposition.

    Args:
        a: [..., m, n].
        side: "right" for u p, "left" for p u.
        method: accepted for compatibility.
        eps: accepted for compatibility.
        max_iterations: accepted for compatibility.

    Returns:
        u [..., m, n] with orthonormal columns or rows, and Hermitian p [..., n, n] or [..., m, m]. The derivative needs
        different singular values.

    Raises:
        ValueError: another `side`.

    >>> u, p = polar(fnp.array([[0.0, -2.0], [3.0, 0.0]]))
    >>> p.round(3).tolist()
    [[3.0, 0.0], [0.0, 2.0]]
    """
    if side not in ("right", "left"):
        raise ValueError(f"polar takes side 'right' or 'left', got {side!r}")
    (a,) = matrices("polar", a, square=False)
    w, s, vh = fnp.linalg.svd(a, full_matrices=False)
    left, right = (w, adjoint(w)) if side == "left" else (adjoint(vh), vh)
    return fnp.matmul(w, vh), fnp.matmul(left * s[..., None, :].astype(a.dtype), right)


def funm(A: Any, func: Callable[[Array], Array], disp: bool = True) -> Any:
    """A function of a matrix by Parlett's recurrence on the Schur form; without a derivative.

    Args:
        A: [n, n], with different eigenvalues.
        func: takes an array of eigenvalues, elementwise.
        disp: False for an estimate of the error beside the result.

    Returns:
        A complex array [n, n]; with `disp` False a pair of it and the relative error's estimate.
        Source: Golub and Van Loan, "Matrix computations", 9.1.4.

    >>> funm(fnp.array([[1.0, 0.0], [0.0, 4.0]]), fnp.sqrt).real.round(3).tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    (a,) = matrices("funm", A)
    if a.ndim != 2:
        raise ShapeError(f"funm needs one matrix, got {a.type}; use vmap")
    t, z = schur(a, output="complex")
    n, eigenvalues = a.shape[0], fnp.diagonal(t)
    tiny = float(fnp.finfo(t.dtype).eps)
    gaps = eigenvalues[None, :] - eigenvalues[:, None]
    gaps = fnp.where(gaps == 0, tiny, gaps)
    found = fnp.diag(func(eigenvalues).astype(t.dtype))
    for k in range(1, n):
        # The function commutes with the matrix: what lies nearer to the diagonal gives diagonal k.
        found = fnp.where(np.eye(n, k=k, dtype=bool), (t @ found - found @ t) / gaps, found)
    result = z @ found @ adjoint(z)
    if disp:
        return result
    least = fnp.min(fnp.abs(gaps), where=~np.tri(n, dtype=bool), initial=1.0)
    size = fnp.max(fnp.sum(fnp.abs(fnp.triu(t, 1)), axis=0), initial=0.0)
    return result, fnp.clip(tiny / least * size, tiny, 1.0)
