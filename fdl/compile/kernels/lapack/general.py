"""What only LAPACK computes, whatever the extent: eigenvalues of general matrices, and reflections as it keeps them."""

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.lapack.calls import LapackLowering, Work, query
from fdl.compile.kernels.lapack.matrices import Matrix, copy, or_nan, poison
from fdl.compile.llvm.values import Value
from fdl.compile.lowerings.lowering import Types
from fdl.core.types import DType, TensorType
from fdl.dtypes import float64, int64
from fdl.ops.householder import HouseholderQr
from fdl.ops.linalg import Eig
from fdl.ops.matrix import real_dtype


class LapackEig(LapackLowering[Eig]):
    """Eigenvalues, and right eigenvectors of norm 1; real matrices have pairs of them as two columns of numbers.

    All are computed in double precision, as NumPy does: small changes of a matrix may change its eigenvalues much.
    """

    operations = (Eig,)
    routines = ("geev",)

    def arithmetic(self, type: TensorType) -> DType:
        return np.promote_types(type.dtype, float64)

    def effort(self, operation: Eig, operands: Types, results: Types) -> int:
        return (25 if operation.vectors else 10) * operands[0].size * operands[0].shape[-1]

    def scratch(self, operation: Eig, types: Types, dtype: DType) -> dict[str, int]:
        n, real = types[0].shape[-1], real_dtype(dtype)
        vectors = n * n if operation.vectors else 1
        sizes = {"a": n * n, "vectors": vectors, "work": self._length(operation, n, dtype)}
        sizes = {name: count * dtype.itemsize for name, count in sizes.items()}
        return sizes | dict.fromkeys(("values", "real"), n * 2 * real.itemsize)

    def _job(self, operation: Eig) -> str:
        return "V" if operation.vectors else "N"

    def _length(self, operation: Eig, n: int, dtype: DType) -> int:
        """Elements of the workspace."""
        parts, rest = ((None,), (None,)) if dtype.kind == "c" else ((None, None), ())
        first = query("geev", dtype, "N", self._job(operation), n, None, n, *parts, None, 1, None, n, dtype, -1, *rest)
        return first[0]

    def matrix(self, operation: Eig, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        build, places, (a, values, *vectors), n = work.build, work.places, grids, types[0].shape[-1]
        held, columns = work.columns("a", n), work.columns("vectors", n)
        # Of a real matrix, real parts are the first column and imaginary ones the second.
        found = work.columns("values", n)
        copy(a, held, n, n)
        bad = poison(build, held.pointer, held.real, n * n * held.parts)
        failed = build.variable(build.ne(bad, bad))
        real = held.parts == 1
        parts = [found.pointer, found.at(0, 1)] if real else [found.pointer]
        with build.if_(build.not_(failed.get())):
            rest: list[ir.Value | int] = [] if real else [places["real"]]
            given = [held.pointer, n, *parts, columns.pointer, 1, columns.pointer, n, places["work"]]
            work.call(
                "geev", "N", self._job(operation), n, *given, self._length(operation, n, work.dtype), *rest, work.info
            )
            failed.set(work.failed())
        with or_nan(failed.get(), (values, 1, n), *[(result, n, n) for result in vectors]):
            if real:
                with build.loop(0, n) as j:
                    imaginary = found.load(j, 1)
                    values.store(found.load(j, 0), 0, j)
                    values.store(imaginary, 0, j, 1)
                    for result in vectors:
                        _put_together(columns, result, j, imaginary, n)
            else:
                copy(found.turned(), values, 1, n)
                for result in vectors:
                    copy(columns, result, n, n)


def _put_together(columns: Matrix, result: Matrix, j: Value, imaginary: Value, n: int) -> None:
    """A complex eigenvector: of two whose eigenvalues are conjugate, the first column has the real part of both."""
    build = columns.build
    zero = build.constant(0.0, columns.real)
    second, paired = imaginary < zero, build.ne(imaginary, zero)
    first = j - build.convert(second, int64)
    with build.loop(0, n) as i:
        part = columns.load(i, first + build.convert(paired, int64))
        part = build.select(paired, build.select(second, build.neg(part), part), zero)
        result.store(columns.load(i, first), i, j)
        result.store(part, i, j, 1)


class LapackReflections(LapackLowering[HouseholderQr]):
    """The matrix with reflections below its diagonal, and their factors."""

    operations = (HouseholderQr,)
    routines = ("geqrf",)

    def effort(self, operation: HouseholderQr, operands: Types, results: Types) -> int:
        return 2 * operands[0].size * min(operands[0].shape[-2:])

    def scratch(self, operation: HouseholderQr, types: Types, dtype: DType) -> dict[str, int]:
        m, n = types[0].shape[-2:]
        sizes = {"a": m * n, "factors": min(m, n), "work": self._length(m, n, dtype)}
        return {name: count * dtype.itemsize for name, count in sizes.items()}

    def _length(self, m: int, n: int, dtype: DType) -> int:
        """Elements of the workspace."""
        return query("geqrf", dtype, m, n, None, m, None, dtype, -1)[0]

    def matrix(self, operation: HouseholderQr, types: Types, work: Work, grids: Sequence[Matrix]) -> None:
        (a, packed, factors), (m, n) = grids, types[0].shape[-2:]
        held, found = work.columns("a", m), work.columns("factors", 1)
        copy(a, held, m, n)
        length = self._length(m, n, work.dtype)
        work.call("geqrf", m, n, held.pointer, m, found.pointer, work.places["work"], length, work.info)
        copy(held, packed, m, n)
        copy(found, factors, 1, min(m, n))
