"""Elements that change places between registers."""

from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import I32, Value


def picked(build: Build, vectors: list[Value], starts: list[int], first: int, step: int) -> Value:
    """Elements `first`, `first` + `step`, ... as one vector; `vectors` hold the elements from `starts` on."""
    lanes = vectors[0].lanes
    wanted = range(first, first + step * lanes, step)
    owners = [min(element // lanes, len(vectors) - 1) for element in wanted]
    total = vectors[0].ir
    for number in range(1, len(vectors)):
        order = [lane if number > 1 else element for lane, element in enumerate(wanted)]
        for lane, (element, owner) in enumerate(zip(wanted, owners, strict=True)):
            if owner == number:
                order[lane] = lanes + element - starts[number]
            elif owner > number:
                order[lane] = 0  # any: another vector has it
        total = build.ir.shuffle_vector(total, vectors[number].ir, ir.Constant(ir.VectorType(I32, lanes), order))
    return build.value(total, vectors[0].dtype)


def transposed(build: Build, rows: list[Value]) -> list[Value]:
    """A square matrix of vectors with rows and columns exchanged; the number of lanes is a power of two.

    Blocks off the diagonal change places: those of half the size first, single elements last.
    """
    rows, size = list(rows), len(rows)
    half = size // 2
    while half:
        kind = ir.VectorType(I32, size)
        above = ir.Constant(kind, [size + j - half if j & half else j for j in range(size)])
        below = ir.Constant(kind, [size + j if j & half else j + half for j in range(size)])
        for i in range(size):
            if not i & half:
                a, b = rows[i], rows[i + half]
                rows[i], rows[i + half] = (
                    build.value(build.ir.shuffle_vector(a.ir, b.ir, order), a.dtype) for order in (above, below)
                )
        half //= 2
    return rows
