"""QR factors, eigenvalues of Hermitian matrices, and singular values by LAPACK, of a copy with contiguous columns."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from fdl.compile.kernels.lapack.calls import LapackLowering, Work, query
from fdl.compile.kernels.lapack.matrices import Matrix, copy, or_nan, poison
from fdl.compile.lowerings.lowering import Types
from fdl.core.types import DType
from fdl.dtypes import int32
from fdl.ops.linalg import Eigh, Qr, Svd
from fdl.ops.matrix import SIGNED_EXTENT, SIGNIFICANT, real_dtype


class LapackQr(LapackLowering[Qr]):
    """Householder reflections, and their product applied to the first columns of the identity."""

    routines = ("geqrf", "orgqr")

    def effort(self, operation: Qr, operands: Types, results: Types) -> int:
        m, n = operands[0].shape[-2:]
        return 4 * operands[0].size * min(m, n)

    def scratch(self, operation: Qr, types: Types, dtype: DType) -> dict[str, int]:
        m, n = types[0].shape[-2:]
        columns = self._columns(operation, m, n) if operation.compute_q else n
        return {
            "a": m * max(n, columns) * dtype.itemsize,
            "factors": min(m, n) * dtype.itemsize,
            "work": self._length(operation, m, n, dtype) * dtype.itemsize,
        }

    def _columns(self, operation: Qr, m: int, n: int) -> int:
        """Columns of q."""
        return m if operation.full_matrices else min(m, n)

    def _length(self, operation: Qr, m: int, n: int, dtype: DType) -> int:
        """Elements of the workspace."""
        k, columns = min(m, n), self._columns(operation, m, n)
        (first,) = query("geqrf", dtype, m, n, None, m, None, dtype, -1)
        (second,) = query("orgqr", dtype, m, columns, k, None, m, None, dtype, -1)
        return max(first, second)

    def matrix(self, operation: Qr, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, (a, *q, r) = work.build, grids
        m, n = types[0].shape[-2:]
        k, columns = min(m, n), self._columns(operation, m, n)
        length, factors, space = self._length(operation, m, n, work.dtype), work.places["factors"], work.places["work"]
        held = work.columns("a", m)
        copy(a, held, m, n)
        bad = poison(build, held.pointer, held.real, m * n * held.parts)
        with or_nan(build.ne(bad, bad), *[(each, m, columns) for each in q], (r, columns, n)):
            work.call("geqrf", m, n, held.pointer, m, factors, space, length, work.info)
            copy(held, r, columns, n)
            for each in q:
                work.call("orgqr", m, columns, k, held.pointer, m, factors, space, length, work.info)
                copy(held, each, m, columns)
        r.clear_above(columns, n, below=True)


class LapackEigh(LapackLowering[Eigh]):
    """Eigenvalues, and eigenvectors by divide and conquer, from the lower triangle."""

    routines = ("syevd",)

    def effort(self, operation: Eigh, operands: Types, results: Types) -> int:
        return (9 if operation.vectors else 3) * operands[0].size * operands[0].shape[-1]

    def scratch(self, operation: Eigh, types: Types, dtype: DType) -> dict[str, int]:
        n, real = types[0].shape[-1], real_dtype(dtype)
        sizes = {"a": n * n * dtype.itemsize, "values": n * real.itemsize}
        bytes_ = {"work": dtype.itemsize, "real": real.itemsize, "integers": 4}
        return sizes | {name: length * bytes_[name] for name, length in self._lengths(operation, n, dtype).items()}

    def _job(self, operation: Eigh) -> str:
        return "V" if operation.vectors else "N"

    def _lengths(self, operation: Eigh, n: int, dtype: DType) -> dict[str, int]:
        """Elements of the workspaces, in the order in which the routine takes them."""
        names = ("work", "real", "integers") if dtype.kind == "c" else ("work", "integers")
        kinds: list[Any] = [dtype, *[real_dtype(dtype)] * (dtype.kind == "c"), int32]
        given: list[Any] = [x for kind in kinds for x in (kind, -1)]
        return dict(zip(names, query("syevd", dtype, self._job(operation), "L", n, None, n, None, *given), strict=True))

    def matrix(self, operation: Eigh, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, (a, values, *vectors), n = work.build, grids, types[0].shape[-1]
        held = work.columns("a", n)
        copy(a, held, n, n)
        bad = build.variable(build.constant(0.0, held.real))
        with build.loop(0, n) as j:
            count = (build.index(n) - j) * held.parts
            bad.set(bad.get() + poison(build, held.at(j, j), held.real, count))
        failed = build.variable(build.ne(bad.get(), bad.get()))
        found = Matrix(build, work.places["values"], (n, 1), held.real)
        with build.if_(build.not_(failed.get())):
            lengths = self._lengths(operation, n, work.dtype)
            spaces = [x for name, count in lengths.items() for x in (work.places[name], count)]
            work.call("syevd", self._job(operation), "L", n, held.pointer, n, found.pointer, *spaces, work.info)
            failed.set(work.failed())
        with or_nan(failed.get(), (values, 1, n), *[(result, n, n) for result in vectors]):
            copy(found, values, 1, n)
            for result in vectors:
                copy(held, result, n, n)


class LapackSvd(LapackLowering[Svd]):
    """Singular values and vectors by divide and conquer."""

    routines = ("gesdd",)

    def effort(self, operation: Svd, operands: Types, results: Types) -> int:
        m, n = operands[0].shape[-2:]
        return 20 * operands[0].size * min(m, n)

    def scratch(self, operation: Svd, types: Types, dtype: DType) -> dict[str, int]:
        m, n = types[0].shape[-2:]
        few, many, real = min(m, n), max(m, n), real_dtype(dtype)
        (length,) = self._length(operation, m, n, dtype)
        rows, columns = self._vectors(operation, m, n)
        found = {"a": m * n, "u": m * rows, "vh": columns * n, "work": length}
        sizes = {name: count * dtype.itemsize for name, count in found.items()}
        sizes |= {"values": few * real.itemsize, "integers": 4 * 8 * few}
        if dtype.kind == "c":
            most = max(5 * few * few + 5 * few, 2 * many * few + 2 * few * few + few)
            sizes["real"] = (most if operation.compute_uv else 7 * few) * real.itemsize
        return sizes

    def _vectors(self, operation: Svd, m: int, n: int) -> tuple[int, int]:
        """Columns of u and rows of v^H."""
        few = min(m, n)
        return (0, 0) if not operation.compute_uv else (m, n) if operation.full_matrices else (few, few)

    def _arguments(self, operation: Svd, m: int, n: int, a: Any, s: Any, u: Any, vh: Any) -> tuple[Any, ...]:
        mode = "N" if not operation.compute_uv else "A" if operation.full_matrices else "S"
        return mode, m, n, a, m, s, u, m, vh, max(self._vectors(operation, m, n)[1], 1)

    def _length(self, operation: Svd, m: int, n: int, dtype: DType) -> tuple[int, ...]:
        """Elements of the workspace."""
        rest = (None, None) if dtype.kind == "c" else (None,)
        return query("gesdd", dtype, *self._arguments(operation, m, n, None, None, None, None), dtype, -1, *rest)

    def matrix(self, operation: Svd, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, places = work.build, work.places
        a, *results = grids
        m, n = types[0].shape[-2:]
        rows, columns = self._vectors(operation, m, n)
        held = work.columns("a", m)
        copy(a, held, m, n)
        bad = poison(build, held.pointer, held.real, m * n * held.parts)
        failed = build.variable(build.ne(bad, bad))
        with build.if_(build.not_(failed.get())):
            (length,) = self._length(operation, m, n, work.dtype)
            spaces: list[ir.Value | int] = [places["work"], length]
            spaces += [places[name] for name in ("real", "integers") if name in places]
            given = self._arguments(operation, m, n, held.pointer, places["values"], places["u"], places["vh"])
            work.call("gesdd", *given, *spaces, work.info)
            failed.set(work.failed())
        values = Matrix(build, places["values"], (min(m, n), 1), held.real)
        found = [(values, 1, min(m, n))]
        if operation.compute_uv:
            found = [(work.columns("u", m), m, rows), *found, (work.columns("vh", columns), columns, n)]
        with or_nan(failed.get(), *[(result, h, w) for result, (_, h, w) in zip(results, found, strict=True)]):
            if operation.compute_uv and held.parts == 1 and max(m, n) <= SIGNED_EXTENT:
                _choose_signs(found[0][0], found[2][0], m, n)
            for (source, height, width), result in zip(found, results, strict=True):
                copy(source, result, height, width)


def _choose_signs(u: Matrix, vh: Matrix, m: int, n: int) -> None:
    """Change signs of singular vectors to those of `fdl.ops.matrix.signs_of`."""
    build = u.build
    with build.loop(0, min(m, n)) as i:
        found = build.variable(build.constant(1.0, u.real))
        with build.loop(0, n) as step:
            element = vh.load(i, build.index(n - 1) - step)
            found.set(build.select(build.abs(element) >= SIGNIFICANT, element, found.get()))
        with build.if_(found.get() < 0.0):
            for matrix, count in ((vh, n), (u.turned(), m)):
                with build.loop(0, count) as j:
                    matrix.store(build.neg(matrix.load(i, j)), i, j)
