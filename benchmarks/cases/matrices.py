"""Linear algebra and Fourier transforms; the same inside of scans."""

from functools import partial
from typing import Any

import numpy as np

from benchmarks.cases.case import Case, magnitudes, normal, sized, with_gradient
from benchmarks.cases.case import unchanged as same

#: Batch and order of square matrices; no batch is 0.
SQUARE = [(0, 4), (0, 64), (0, 256), (0, 512), (1000, 4), (100, 16), (100, 64)]
LARGE = [(0, 1024)]


def _definite(batch: int, n: int, rng: np.random.Generator) -> list[np.ndarray]:
    """A positive definite matrix, and right-hand sides."""
    lead = (batch,) if batch else ()
    x = rng.standard_normal((*lead, n, n)).astype(np.float32)
    return [
        x @ x.swapaxes(-1, -2) / n + np.eye(n, dtype=np.float32),
        rng.standard_normal((*lead, n, 2)).astype(np.float32),
    ]


def linear_algebra() -> list[Case]:
    """Factorizations and what is solved by them."""
    found = []
    for batch, n in SQUARE + LARGE:
        size = f"{batch} of {n}x{n}" if batch else f"{n}x{n}"
        operands = partial(_definite, batch, n)
        one = partial(_one, operands)
        triangle = partial(_triangle, operands)
        pairs: list[tuple[str, Any, Any, Any, Any, bool]] = [
            ("cholesky", one, lambda xp, x: xp.numpy.linalg.cholesky(x), lambda t, x: t.linalg.cholesky(x), same, True),
            ("solve", operands, lambda xp, *a: xp.numpy.linalg.solve(*a), lambda t, *a: t.linalg.solve(*a), same, True),
            ("inv", one, lambda xp, x: xp.numpy.linalg.inv(x), lambda t, x: t.linalg.inv(x), same, True),
            ("slogdet", one, lambda xp, x: xp.numpy.linalg.slogdet(x)[1], lambda t, x: t.slogdet(x)[1], same, True),
            ("triangular solve", triangle, _triangular, _triangular_torch, same, True),
            ("lu", one, lambda xp, x: xp.lax.linalg.lu(x)[0], lambda t, x: t.linalg.lu_factor(x)[0], same, False),
            ("qr", one, lambda xp, x: xp.numpy.linalg.qr(x)[1], lambda t, x: t.linalg.qr(x)[1], magnitudes, False),
        ]  # fmt: skip
        if n <= 256:
            pairs += [
                ("eigh", one, lambda xp, x: xp.numpy.linalg.eigh(x), lambda t, x: t.linalg.eigh(x), _first, False),
                ("svd", one, lambda xp, x: xp.numpy.linalg.svd(x), lambda t, x: t.linalg.svd(x), _second, False),
            ]
        for name, make, functional, torch, check, differentiable in pairs:
            case = Case(
                f"{name} {size}", make, functional, torch, tolerance=1e-2, **({"check": check} if check else {})
            )
            found += with_gradient(case) if differentiable else [case]
    return found


def _triangular(xp: Any, x: Any, y: Any) -> Any:
    return xp.lax.linalg.triangular_solve(x, y, left_side=True, lower=True)


def _triangular_torch(t: Any, x: Any, y: Any) -> Any:
    return t.linalg.solve_triangular(x, y, upper=False)


def _one(operands: Any, rng: np.random.Generator) -> list[np.ndarray]:
    return operands(rng)[:1]


def _triangle(operands: Any, rng: np.random.Generator) -> list[np.ndarray]:
    x, y = operands(rng)
    return [np.linalg.cholesky(x), y]


def _first(results: list[np.ndarray]) -> list[np.ndarray]:
    return results[:1]


def _second(results: list[np.ndarray]) -> list[np.ndarray]:
    return results[1:2]


def in_scans() -> list[Case]:
    """A small matrix in every one of 1000 steps, as filters have it; PyTorch runs a loop of Python."""
    found = []

    def sequence(n: int, rng: np.random.Generator) -> list[np.ndarray]:
        return _definite(1000, n, rng)

    for n in (4, 8):
        for name, functional, torch in (
            ("cholesky", lambda xp, a, y: xp.numpy.linalg.cholesky(a) @ y, lambda t, a, y: t.linalg.cholesky(a) @ y),
            ("solve", lambda xp, a, y: xp.numpy.linalg.solve(a, y), lambda t, a, y: t.linalg.solve(a, y)),
            ("inv", lambda xp, a, y: xp.numpy.linalg.inv(a) @ y, lambda t, a, y: t.linalg.inv(a) @ y),
            (
                "triangular solve",
                lambda xp, a, y: xp.lax.linalg.triangular_solve(xp.numpy.tril(a), y, left_side=True, lower=True),
                lambda t, a, y: t.linalg.solve_triangular(t.tril(a), y, upper=False),
            ),
        ):  # fmt: skip

            def scanned(xp: Any, a: Any, y: Any, f: Any = functional) -> Any:
                def step(carry: Any, inputs: Any) -> Any:
                    carry = 0.1 * carry + f(xp, inputs[0], inputs[1])
                    return carry, carry[0, 0]

                return xp.lax.scan(step, 0 * y[0], (a, y))[1]

            def looped(t: Any, a: Any, y: Any, f: Any = torch) -> Any:
                carry, seen = 0 * y[0], []
                for matrix, right in zip(a, y, strict=True):
                    carry = 0.1 * carry + f(t, matrix, right)
                    seen.append(carry[0, 0])
                return t.stack(seen)

            found += with_gradient(Case(f"{name} {n}x{n}", partial(sequence, n), scanned, looped, tolerance=1e-2))

    def filtered(xp: Any, a: Any, y: Any) -> Any:
        """A Kalman filter of four states and two observations, 128 steps."""
        numpy = xp.numpy
        transition, seen = a[0] * 0.3, numpy.eye(4)[:2]

        def step(state: Any, z: Any) -> Any:
            mean, covariance = state
            mean, covariance = transition @ mean, transition @ covariance @ transition.T + 0.1 * numpy.eye(4)
            s = seen @ covariance @ seen.T + 0.2 * numpy.eye(2)
            gain = numpy.linalg.solve(s, seen @ covariance).T
            mean = mean + gain @ (z - seen @ mean)
            return (mean, covariance - gain @ seen @ covariance), mean

        return xp.lax.scan(step, (numpy.zeros(4), numpy.eye(4)), y[:128, :2, 0])[1]

    def filtered_torch(t: Any, a: Any, y: Any) -> Any:
        transition, seen = a[0] * 0.3, t.eye(4)[:2]
        mean, covariance, means = t.zeros(4), t.eye(4), []
        for z in y[:128, :2, 0]:
            mean, covariance = transition @ mean, transition @ covariance @ transition.T + 0.1 * t.eye(4)
            s = seen @ covariance @ seen.T + 0.2 * t.eye(2)
            gain = t.linalg.solve(s, seen @ covariance).T
            mean = mean + gain @ (z - seen @ mean)
            covariance = covariance - gain @ seen @ covariance
            means.append(mean)
        return t.stack(means)

    return found + with_gradient(
        Case("Kalman filter, 128 steps", partial(sequence, 4), filtered, filtered_torch, tolerance=1e-2)
    )


LINES = [(1, 256), (1, 1024), (1000, 8), (1000, 100), (64, 1024), (1000, 256), (1, 1 << 20), (16, 10_007), (100, 480)]
PLANES = [(1, 64), (1, 512), (16, 128), (1, 1024)]


def fourier() -> list[Case]:
    """Complex and real transforms of lines and planes; gradients by way of the squared magnitudes."""

    def complex_(*shape: int) -> Any:
        def operands(rng: np.random.Generator) -> list[np.ndarray]:
            return [(rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)]

        return operands

    def power(xp: Any, z: Any) -> Any:
        return z.real**2 + z.imag**2

    found = []
    for rows, n in LINES:
        shape = (rows, n) if rows > 1 else (n,)
        found.append(
            Case(f"fft {sized(*shape)}", complex_(*shape), lambda xp, x: xp.numpy.fft.fft(x), lambda t, x: t.fft.fft(x))
        )
        real = Case(
            f"power of rfft {sized(*shape)}", normal(shape), lambda xp, x: power(xp, xp.numpy.fft.rfft(x)),
            lambda t, x: power(t, t.fft.rfft(x)),
        )  # fmt: skip
        found.append(
            Case(f"rfft {sized(*shape)}", normal(shape), lambda xp, x: xp.numpy.fft.rfft(x), lambda t, x: t.fft.rfft(x))
        )
        found += with_gradient(real)[1:]
    for rows, n in PLANES:
        shape = (rows, n, n) if rows > 1 else (n, n)  # type: ignore[assignment]
        found.append(
            Case(
                f"fft2 {sized(*shape)}",
                complex_(*shape),
                lambda xp, x: xp.numpy.fft.fft2(x),
                lambda t, x: t.fft.fft2(x),
            )
        )
        real = Case(
            f"power of rfft2 {sized(*shape)}", normal(shape), lambda xp, x: power(xp, xp.numpy.fft.rfft2(x)),
            lambda t, x: power(t, t.fft.rfft2(x)),
        )  # fmt: skip
        found.append(
            Case(
                f"rfft2 {sized(*shape)}",
                normal(shape),
                lambda xp, x: xp.numpy.fft.rfft2(x),
                lambda t, x: t.fft.rfft2(x),
            )
        )
        found += with_gradient(real)[1:]
    for rows, n in ((64, 1024), (1000, 256)):
        inverse = Case(
            f"irfft {sized(rows, n)}", complex_(rows, n // 2 + 1), lambda xp, x: xp.numpy.fft.irfft(x.at[:, 0].set(0)),
            lambda t, x: t.fft.irfft(x * (t.arange(x.shape[1]) > 0)),
        )  # fmt: skip
        found.append(inverse)
    return found
