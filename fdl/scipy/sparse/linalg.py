"""Krylov methods for linear systems, under the names of ``scipy.sparse.linalg``; vectors may be pytrees.

The solvers run a loop whose length is not known beforehand. Derivatives are those of the solution of the
system, by the right-hand side and by what the operator is made of: they come from another solve.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, tree
from fdl.core.types import Array
from fdl.docstrings import F, fill_docstring
from fdl.errors import ShapeError
from fdl.flatten_util import ravel_pytree
from fdl.scalars import Scalar, checked

__all__ = ["bicgstab", "cg", "gmres"]


_ARGUMENTS = {
    "b": "right-hand side, a pytree.",
    "x0": "where to start; None is zero.",
    "tol": "the residual's norm relative to that of b at which to stop.",
    "atol": "the residual's norm at which to stop.",
    "maxiter": "the largest number of steps; None is ten times the number of unknowns.",
    "M": "preconditioner, an approximate inverse of A.",
}
_REFUSED = {
    "RangeError": "a limit is negative or NaN; DtypeError, ShapeError if it is no number.",
    "ShapeError": "a matrix is not square, or x0 is not like b.",
    "TypeError": "A or M is no operator.",
}


def _solver(function: F) -> F:
    documented = fill_docstring(_ARGUMENTS, "The solution, and None.", _REFUSED)(function)
    limit = Scalar(0, whole=True)
    return checked(tol=Scalar(0.0), atol=Scalar(0.0), maxiter=limit, restart=Scalar(1, whole=True))(documented)


@_solver
def cg(
    A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None, M: Any = None
) -> tuple[Any, None]:
    """Conjugate gradients for A x = b. Source: Hestenes, Stiefel (1952).

    Args:
        A: a Hermitian positive definite matrix, or the function that multiplies by it.

    >>> x, _ = cg(fnp.diag(fnp.array([2.0, 4.0])), fnp.ones(2))
    >>> [round(v, 3) for v in x.tolist()]
    [0.5, 0.25]
    """
    return _solve(_conjugate_gradients, A, b, x0, tol, atol, maxiter, M, symmetric=True)


@_solver
def bicgstab(
    A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None, M: Any = None
) -> tuple[Any, None]:
    """Stabilized biconjugate gradients for any square A. Source: van der Vorst (1992).

    Args:
        A: a square matrix, or the function that multiplies by it.

    >>> x, _ = bicgstab(fnp.array([[2.0, 1.0], [0.0, 4.0]]), fnp.array([2.0, 4.0]))
    >>> [round(v, 3) for v in x.tolist()]
    [0.5, 1.0]
    """
    return _solve(_stabilized, A, b, x0, tol, atol, maxiter, M, symmetric=False)


def _solve(
    method: Callable[..., Array],
    A: Any,
    b: Any,
    x0: Any,
    tol: float,
    atol: float,
    maxiter: int | None,
    M: Any,
    symmetric: bool,
) -> tuple[Any, None]:
    flat, unravel = ravel_pytree(b)
    start = fnp.zeros_like(flat) if x0 is None else lax.stop_gradient(_start(x0, b).astype(flat.dtype))
    multiply, precondition = _operator("A", A, unravel), _operator("M", M, unravel)
    steps = 10 * flat.shape[0] if maxiter is None else maxiter

    def run(multiply: Callable[[Array], Array], b: Array, x: Array) -> Array:
        goal = fnp.maximum(tol * _norm(b), atol)
        return method(multiply, precondition, b, x, goal, steps)

    # The transpose of a Hermitian complex matrix is another one.
    symmetric = symmetric and flat.dtype.kind != "c"
    again = lambda multiply, b: run(multiply, b, fnp.zeros_like(b))  # noqa: E731
    found = lax.custom_linear_solve(multiply, flat, lambda multiply, b: run(multiply, b, start), again, symmetric)
    return unravel(found), None


def _start(x0: Any, b: Any) -> Array:
    """The place to start at, which is like b, as a vector."""
    if tree.structure(x0) != tree.structure(b):
        raise ShapeError(
            f"x0 and b must have matching tree structures, got {tree.structure(x0)} and {tree.structure(b)}"
        )
    shapes = [[fnp.shape(leaf) for leaf in tree.leaves(given)] for given in (x0, b)]
    if shapes[0] != shapes[1]:
        raise ShapeError(f"x0 and b must have matching shapes, got {shapes[0]} and {shapes[1]}")
    return ravel_pytree(x0)[0]


def _operator(name: str, A: Any, unravel: Callable[[Array], Any]) -> Callable[[Array], Array]:
    """Multiplication by a function, a matrix or what has a shape and ``@``; M may be None."""
    if A is None and name == "M":
        return lambda v: v
    if callable(A):
        return lambda v: ravel_pytree(A(unravel(v)))[0]
    if not hasattr(A, "shape") or not hasattr(A, "__matmul__"):
        raise TypeError(f"{name} must be a linear operator: a function or an array, got {type(A).__name__}")
    if len(A.shape) != 2 or A.shape[0] != A.shape[1]:
        raise ShapeError(f"{name} must be a square matrix, got shape {tuple(A.shape)}")
    matrix = fnp.asarray(A) if isinstance(A, np.ndarray) else A
    return lambda v: ravel_pytree(matrix @ unravel(v))[0]


def _dot(x: Array, y: Array) -> Array:
    return fnp.sum(fnp.conj(x) * y)


def _norm(x: Array) -> Array:
    return fnp.sqrt(fnp.real(_dot(x, x)))


def _conjugate_gradients(
    multiply: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    b: Array,
    x: Array,
    goal: Array,
    steps: int,
) -> Array:
    def unfinished(state: Any) -> Array:
        _, residual, _, _, count = state
        return (_norm(residual) > goal) & (count < steps)

    def step(state: Any) -> Any:
        x, residual, direction, energy, count = state
        image = multiply(direction)
        size = energy / _dot(direction, image)
        x, residual = x + size * direction, residual - size * image
        better = precondition(residual)
        following = _dot(residual, better)
        return x, residual, better + following / energy * direction, following, count + 1

    residual = b - multiply(x)
    better = precondition(residual)
    return lax.while_loop(unfinished, step, (x, residual, better, _dot(residual, better), fnp.asarray(0)))[0]


def _stabilized(
    multiply: Callable[[Array], Array],
    precondition: Callable[[Array], Array],
    b: Array,
    x: Array,
    goal: Array,
    steps: int,
) -> Array:
    def unfinished(state: Any) -> Array:
        return (_norm(state[1]) > goal) & (state[-1] < steps)

    def step(state: Any) -> Any:
        x, residual, direction, image, rho, alpha, omega, count = state
        following = _dot(shadow, residual)
        direction = residual + following / rho * (alpha / omega) * (direction - omega * image)
        better = precondition(direction)
        image = multiply(better)
        alpha = following / _dot(shadow, image)
        half = residual - alpha * image
        better_half = precondition(half)
        other = multiply(better_half)
        # A half step may already be exact.
        size = _dot(other, other)
        omega = fnp.where(size == 0, 1, _dot(other, half) / fnp.where(size == 0, 1, size)).astype(half.dtype)
        x = x + alpha * better + omega * better_half
        return x, half - omega * other, direction, image, following, alpha, omega, count + 1

    shadow = b - multiply(x)
    one, zero = fnp.ones((), b.dtype), fnp.zeros_like(b)
    return lax.while_loop(unfinished, step, (x, shadow, zero, zero, one, one, one, fnp.asarray(0)))[0]


@_solver
def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    tol: float = 1e-5,
    atol: float = 0.0,
    restart: int = 20,
    maxiter: int | None = None,
    M: Any = None,
    solve_method: str = "batched",
) -> tuple[Any, None]:
    """Generalized minimal residuals for any square A. Source: Saad, Schultz (1986).

    Args:
        A: a matrix, or the function that multiplies by it.
        restart: the dimension of the space that is searched before starting again.
        maxiter: the largest number of restarts; None is ten times the number of unknowns.
        solve_method: accepted for compatibility.

    >>> x, _ = gmres(fnp.array([[2.0, 1.0], [0.0, 4.0]]), fnp.array([2.0, 4.0]))
    >>> [round(v, 3) for v in x.tolist()]
    [0.5, 1.0]
    """

    def method(
        multiply: Callable[[Array], Array],
        precondition: Callable[[Array], Array],
        b: Array,
        x: Array,
        goal: Array,
        steps: int,
    ) -> Array:
        size = min(restart, b.shape[0])

        def cycle(state: Any) -> Any:
            x, residual, count = state
            basis, images = _arnoldi(multiply, precondition, residual, size)
            weights = fnp.linalg.lstsq(images, residual)[0]
            x = x + precondition(fnp.matmul(basis, weights))
            return x, b - multiply(x), count + 1

        def unfinished(state: Any) -> Array:
            return (_norm(state[1]) > goal) & (state[2] < steps)

        return lax.while_loop(unfinished, cycle, (x, b - multiply(x), fnp.asarray(0)))[0]

    return _solve(method, A, b, x0, tol, atol, maxiter, M, symmetric=False)


def _arnoldi(
    multiply: Callable[[Array], Array], precondition: Callable[[Array], Array], residual: Array, size: int
) -> tuple[Array, Array]:
    """An orthonormal basis of the Krylov space as columns, and what the map makes of it."""
    smallest = 1e-10 * _norm(residual)

    def step(state: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], Array]:
        basis, v = state
        # Twice is enough; the columns that are still zero change nothing.
        for _ in range(2):
            v = v - fnp.matmul(basis, fnp.matmul(fnp.conj(basis).T, v))
        norm = _norm(v)
        ended = norm <= smallest
        v = fnp.where(ended, 0, v / fnp.where(ended, 1, norm)).astype(residual.dtype)
        image = multiply(precondition(v))
        return (fnp.where(fnp.arange(size) == place, v[:, None], basis), image), image

    empty = fnp.zeros((residual.shape[0], size), residual.dtype)
    (basis, _), images = lax.scan(step, (empty, residual), fnp.arange(size))
    return basis, images.T


def __dir__() -> list[str]:
    return __all__
