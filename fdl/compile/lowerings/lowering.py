"""One object for each kind of operation with code of its own: all that the compiler asks about it, and its kernel.

Scheduling, code generation and the cost report know operations only by these questions, so that a kernel is added by
one class:

    class SortLowering(Lowering[Sort]):
        operations = (Sort,)
        ...

Defining the class registers it for its operations. What has no lowering, or is not supported by it, is computed by
Python: the operation's reference is called from inside of the compiled program.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.steps import KernelStep
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.registry import registry
from fdl.compile.lowerings.words import largest_shape, name_of, shape_text
from fdl.core.operation import Operation
from fdl.core.program import Equation
from fdl.core.types import TensorType
from fdl.errors import PrimitiveError

Types = Sequence[TensorType]

#: The operations of a lowering.
Op = TypeVar("Op", bound=Operation)


class Lowering(ABC, Generic[Op]):
    """How the operations of some classes become machine code.

    Only `emit` has to be written. The questions are asked in this order: while steps are made (`takes_epilogue`,
    `reads_views`), when their cost is estimated (`parallel`, `effort`, `bytes`), when values are placed in
    memory (`workspace_bytes`, `overwritten`), when code is emitted (`supports`, `fuses_epilogue`, `emit`), and when
    `fdl.profile` reports (`describe`, `flops`, `bytes`).

    Class attributes:
        operations: classes of operations that it lowers.
        reads_views: whether the kernel reads operands by any strides; if not, operands that are only views of other
            values are stored first, in row-major order.
        parallel: whether `emit` divides the work among the threads (`Team.share`); if not, one thread runs it.
    """

    operations: ClassVar[tuple[type[Operation], ...]] = ()
    reads_views: ClassVar[bool] = False
    parallel: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "operations" not in vars(cls):
            return
        if cls.emit is Lowering.emit:
            raise PrimitiveError(f"lowering {cls.__name__} lacks the method emit")
        if not cls.__module__.startswith("fdl."):
            # Fdl's own lowerings come first, so that one that takes their place is told so here.
            importlib.import_module("fdl.compile.kernels")
        for operation in cls.operations:
            known = type(registry[operation]) if operation in registry else cls
            if not _is_same(known, cls):
                raise PrimitiveError(
                    f"{operation.__name__} has the lowering {known.__name__} of {known.__module__}; to replace it by "
                    f"{cls.__name__}, call unregister({known.__name__}) first"
                )
        registry.update(dict.fromkeys(cls.operations, cls()))

    def operation(self, step: KernelStep) -> Op:
        """The operation of a step, which is one of the `operations`."""
        return cast(Op, step.equation.operation)

    # Steps

    def takes_epilogue(self, operation: Op, equation: Equation) -> bool:
        """Whether elementwise equations on the result may become a part of the step."""
        return False

    # Cost

    def effort(self, operation: Op, operands: Types, results: Types) -> int:
        """How many floating-point operations of a matrix kernel take as long; tells what is worth dividing."""
        return self.flops(operation, operands, results)

    def flops(self, operation: Op, operands: Types, results: Types) -> int:
        """Floating-point operations, for the cost report."""
        return 0

    def bytes(self, operation: Op, operands: Types, results: Types) -> int:
        """Bytes of operands, as far as they are read, and of results, as far as they are written."""
        return sum(map(nbytes, (*operands, *results)))

    def describe(self, operation: Op, operands: Types, results: Types) -> str:
        """The operation with its sizes, for the cost report."""
        return f"{name_of(operation)} {shape_text(largest_shape((*operands, *results)))}"

    # Memory

    def workspace_bytes(self, step: KernelStep) -> int:
        """Memory in the arena that the step needs besides its results, the same for all threads."""
        return 0

    def overwritten(self, operation: Op, result: int, operands: int) -> int | None:
        """The number of the operand in whose memory a result may be made, among so many operands; None if in none.

        The operand has then the type of the result, is whole and in row-major order, and nothing reads it afterwards;
        `emit` learns from `Emitter.in_place` whether the memory was given.
        """
        return None

    # Code

    def supports(self, step: KernelStep) -> bool:
        """Whether there is code for operands of these dtypes, shapes and strides; if not, Python computes the step."""
        return True

    def fuses_epilogue(self, step: KernelStep) -> bool:
        """Whether `emit` computes the step's epilogue too; if not, it becomes a loop nest behind the kernel."""
        return False

    @abstractmethod
    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        """Emit the code of a step, which is supported.

        Args:
            emitter: the function that the code goes to, and where operands and results are.
            step: the equation, and `views` of its operands.
        """


class HostLowering(Lowering[Operation]):
    """What has no code of its own: Python calls the reference of the operation, on operands of any strides."""

    reads_views = True

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        emitter.host(step)


_HOST = HostLowering()


def lowering_of(operation: Operation) -> Lowering[Any]:
    """The lowering of an operation."""
    found: Lowering[Any] = registry.get(type(operation), _HOST)
    return found


def has_lowering(operation: Operation) -> bool:
    """Whether a lowering was registered for the operation's class."""
    return type(operation) in registry


def lowerings() -> tuple[Lowering[Any], ...]:
    """All that are registered, each once."""
    return tuple(dict.fromkeys(registry.values()))


def unregister(lowering: type[Lowering[Any]]) -> None:
    """Forget a lowering: its operations are computed by Python again, unless another one has taken them over."""
    for operation in lowering.operations:
        if operation in registry and _is_same(type(registry[operation]), lowering):
            del registry[operation]


def _is_same(one: type, other: type) -> bool:
    """Whether two classes are the same, or one is the other, defined anew."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)
