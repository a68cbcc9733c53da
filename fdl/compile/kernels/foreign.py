"""Operations that are machine code of another compiler."""

from fdl.compile.ir.steps import KernelStep
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Op


class ForeignLowering(Lowering[Op]):
    """Base: calls the code at the address that the operation's method `entry` knows in each process.

    Who knows such operations derives a class with these `operations`.
    """

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        emitter.foreign(step)
