"""Short discrete Fourier transforms of complex numbers in registers, as straight code."""

from collections.abc import Sequence

import numpy as np

from fdl.compile.kernels.fourier.roots import roots
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value

#: The real and the imaginary part of a complex number, or vectors of them.
Complex = tuple[Value, Value]

#: The lengths of transforms that passes are made of, besides powers of two.
PRIMES = (3, 5, 7, 11, 13)


def add(a: Complex, b: Complex) -> Complex:
    """a + b."""
    return a[0] + b[0], a[1] + b[1]


def sub(a: Complex, b: Complex) -> Complex:
    """a - b."""
    return a[0] - b[0], a[1] - b[1]


def mul(build: Build, a: Complex, w: Complex) -> Complex:
    """a * w."""
    real = build.fma(build.neg(a[1]), w[1], a[0] * w[0])
    return real, build.fma(a[0], w[1], a[1] * w[0])


def rotated(a: Complex) -> Complex:
    """a * -i."""
    return a[1], -a[0]


def dft(build: Build, x: Sequence[Complex]) -> list[Complex]:
    """The transform of so many numbers as there are: a power of two or a small odd prime."""
    n = len(x)
    if n == 1:
        return list(x)
    if n == 2:
        return [add(*x), sub(*x)]
    if n % 2:
        return _odd(build, x)
    first = 4 if n in (4, 16) else 2
    if n == 4:
        (a, b), (c, d) = dft(build, x[::2]), dft(build, x[1::2])
        d = rotated(d)
        return [add(a, c), add(b, d), sub(a, c), sub(b, d)]
    columns = [dft(build, x[j::first]) for j in range(first)]
    out: list[Complex] = [x[0]] * n
    for k in range(n // first):
        turned = [_by_root(build, columns[j][k], n, j * k) for j in range(first)]
        out[k :: n // first] = dft(build, turned)
    return out


def _by_root(build: Build, a: Complex, n: int, k: int) -> Complex:
    """a times root number k, for a power of two n."""
    eighth, rest = divmod(8 * k, n)
    if rest:
        w = complex(roots(n, np.array(k)))
        return mul(build, a, tuple(build.constant(v, a[0].dtype, a[0].lanes) for v in (w.real, w.imag)))  # type: ignore[arg-type]
    for _ in range(eighth // 2):
        a = rotated(a)
    if eighth % 2:
        half = 0.5**0.5
        a = (a[0] + a[1]) * half, (a[1] - a[0]) * half
    return a


def _odd(build: Build, x: Sequence[Complex]) -> list[Complex]:
    """Sums and differences of x[j] and x[n - j] meet cosines and sines."""
    n, half = len(x), len(x) // 2
    sums = [add(x[j], x[n - j]) for j in range(1, half + 1)]
    differences = [sub(x[j], x[n - j]) for j in range(1, half + 1)]
    total = x[0]
    for s in sums:
        total = add(total, s)
    out: list[Complex] = [total] * n
    for k in range(1, half + 1):
        even, odd = x[0], None
        for j in range(1, half + 1):
            w = complex(roots(n, np.array(j * k)))
            even = _fma(build, sums[j - 1], w.real, even)
            odd = _fma(build, differences[j - 1], w.imag, odd)
        assert odd is not None
        # odd * i is what the sines add to the one result and take from the other.
        out[k] = even[0] - odd[1], even[1] + odd[0]
        out[n - k] = even[0] + odd[1], even[1] - odd[0]
    return out


def _fma(build: Build, a: Complex, factor: float, b: Complex | None) -> Complex:
    if b is None:
        return a[0] * factor, a[1] * factor
    return build.fma(a[0], factor, b[0]), build.fma(a[1], factor, b[1])
