"""How lengths are taken apart into passes, and the factors between them."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.fourier.butterfly import PRIMES, Complex
from fdl.compile.kernels.fourier.roots import roots
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.dtypes import float64


@cache
def radices(n: int) -> tuple[int, ...] | None:
    """The lengths of the passes of a transform of n numbers, in order; None if n has a large prime factor.

    >>> radices(1000)
    (5, 5, 5, 8)
    """
    odd, rest = [], n
    for prime in reversed(PRIMES):
        while rest % prime == 0:
            odd.append(prime)
            rest //= prime
    bits = rest.bit_length() - 1
    if rest != 1 << bits:
        return None
    fours = 0 if bits < 2 else (-bits) % 3
    twos = [2] if bits == 1 else []
    return (*odd, *twos, *[4] * fours, *[8] * ((bits - 2 * fours) // 3)) or (1,)


def pass_factors(lengths: tuple[int, ...]) -> list[np.ndarray]:
    """For each pass but the last, the factors of its results: rows by the number of the rest, columns by result."""
    tables, rest = [], int(np.prod(lengths))
    for r in lengths[:-1]:
        tables.append(roots(rest, np.arange(rest // r)[:, None] * np.arange(1, r)))
        rest //= r
    return tables


@dataclass(frozen=True)
class FewRoots:
    """Roots of unity as products of two from tables of about the square root of their number, in double precision."""

    n: int

    @property
    def low(self) -> int:
        """How many there are in the table of small exponents, a power of two."""
        return 1 << (self.n.bit_length() // 2)

    def table(self) -> np.ndarray:
        """The table of small exponents, then that of their multiples."""
        high = np.arange(self.n // self.low + 1) * self.low
        powers = roots(self.n, np.concatenate([np.arange(self.low), high]))
        return np.stack([powers.real, powers.imag], -1).ravel()

    def at(self, build: Build, table: ir.Value, exponent: Value) -> Complex:
        """The root with an exponent below n."""
        small = build.and_(exponent, self.low - 1) * 2
        large = build.shift_right_logical(exponent, self.low.bit_length() - 1) * 2 + 2 * self.low
        a, b, c, d = (build.load(table, float64, place) for place in (small, small + 1, large, large + 1))
        return build.fma(build.neg(b), d, a * c), build.fma(a, d, b * c)
