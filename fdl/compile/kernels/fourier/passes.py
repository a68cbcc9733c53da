"""The passes of a transform (T. Stockham, "High-speed convolution and correlation", 1966), each one loop in a function.

All lanes of a pair are transforms of their own, so that a pass is the same code for every length: a loop over the
factors, and one over the numbers that share them. Results come out in order, in other memory than the operands.
"""

from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.fourier.butterfly import Complex, dft, mul
from fdl.compile.kernels.fourier.layout import PairLayout
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.values import I64, POINTER, Value
from fdl.compile.lowerings.emitter import Emission
from fdl.dtypes import int64


@dataclass(frozen=True)
class Ends:
    """How the first pass reads and the last one writes.

    Attributes:
        read: interleaved numbers that fill the first lanes; 0 reads pairs.
        write: whether results are interleaved numbers, otherwise pairs.
        swap: whether real and imaginary parts of interleaved numbers are exchanged, which makes the inverse.
        scale: factor of the results.
    """

    read: int = 0
    write: bool = False
    swap: bool = False
    scale: float = 1.0

    def finished(self, z: Complex) -> Complex:
        """A result as it is stored."""
        if self.scale != 1.0:
            z = z[0] * self.scale, z[1] * self.scale
        return (z[1], z[0]) if self.swap else z


def run_passes(
    build: Build, emission: Emission, layout: PairLayout, lengths: tuple[int, ...], ends: Ends,
    source: tuple[ir.Value, Value | int], target: tuple[ir.Value, Value | int], factors: ir.Value, room: ir.Value,
) -> None:  # fmt: skip
    """Emit the calls of all passes of one transform in every lane.

    Args:
        build: where the calls go.
        emission: of the program.
        layout: of pairs.
        lengths: of the passes.
        ends: how to read and to write.
        source, target: the pointer, and the distance of numbers where they are interleaved. They may be the same.
        factors: pointer to `pass_factors`, one table behind the other.
        room: pointer to memory for twice as many pairs as there are numbers; unless one end is interleaved or there are
            more than two passes, the other end of it stays as it is.
    """
    count, before, (place, step) = int(np.prod(lengths)), 1, source
    rooms = [room, build.at(room, count * layout.bytes, np.uint8)]
    for number, r in enumerate(lengths):
        first, last = number == 0, number == len(lengths) - 1
        own = Ends(
            ends.read if first else 0,
            ends.write and last,
            ends.swap and last and ends.write,
            ends.scale if last else 1.0,
        )
        swapped = ends.swap and first and ends.read > 0
        function = _pass(emission, layout, r, own, swapped, not last)
        out, out_step = target if last else (rooms[number % 2], 1)
        rest = count // (r * before)
        build.call_function(function, [place, out, factors, step, out_step, rest, before])
        if not last:
            factors = build.at(factors, 2 * rest * (r - 1), layout.dtype)
        place, step, before = out, 1, before * r


def _pass(emission: Emission, layout: PairLayout, r: int, ends: Ends, swapped: bool, factored: bool) -> ir.Function:
    """The function ``pass(source, target, factors, source step, target step, rest, before)``."""

    def make() -> ir.Function:
        name = emission.module.get_unique_name(f"fourier.pass{r}")
        function = new_function(emission.module, name, [POINTER] * 3 + [I64] * 4)
        function.attributes.add("noinline")
        for argument in function.args[:2]:
            argument.attributes.discard("noalias")
        build = Build(emission.module, emission.target, function)
        source, target, factors = function.args[:3]
        source_step, target_step, rest, before = (build.argument(n, int64) for n in range(3, 7))
        with build.loop(0, rest) as p:
            own = [layout.load_one(build, factors, p * (r - 1) + k) for k in range(r - 1)] if factored else []
            with build.loop(0, before) as q:
                x = []
                for k in range(r):
                    place = q + before * (p + rest * k)
                    if ends.read:
                        z = layout.load(build, source, place * source_step, ends.read)
                        x.append((z[1], z[0]) if swapped else z)
                    else:
                        x.append(layout.load_pair(build, source, place))
                for k, y in enumerate(dft(build, x)):
                    if k and factored:
                        y = mul(build, y, own[k - 1])
                    y = ends.finished(y)
                    place = q + before * (p * r + k)
                    if ends.write:
                        layout.store(build, y, target, place * target_step)
                    else:
                        layout.store_pair(build, y, target, place)
        build.ret()
        return function

    return emission.shared(f"fourier pass {layout} {r} {ends} {swapped} {factored}", make)
