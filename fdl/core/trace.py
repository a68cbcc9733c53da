"""Values, interpreters, and how Python code becomes a Program.

One interpreter is current at any moment; it decides what an operation does with its operands (compute, record,
differentiate, batch). A transform makes an interpreter that keeps the former one as its `parent` and hands it the
operations that it is made of, so there are no levels to compare and none to leak.
"""

import sys
import threading
from collections.abc import Callable, Hashable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from fdl.config import config
from fdl.core.operation import Operation
from fdl.core.program import Atom, Equation, Literal, Program, Var
from fdl.core.types import TensorType
from fdl.errors import ConcretizationError, LeakedTracerError
from fdl.tracebacks import cell_name, shown_name

if TYPE_CHECKING:
    from fdl.core.interface import Array as _Interface
else:
    _Interface = object


class Value(_Interface):
    """Base of arrays and tracers; `fdl.numpy` adds operators and methods to it."""

    __slots__ = ("__weakref__",)
    __array_priority__ = 100

    type: TensorType
    #: Whether the dtype yields to that of arrays, as that of a Python scalar does (see `fdl.core.weak`).
    weak = False

    @property
    def held(self) -> "Value":
        """What operations are given of the value: of a weak one all digits, else itself."""
        return self

    def strong(self) -> "Value":
        """The value with the dtype that it shows."""
        return self

    def weakened(self, dtype: np.dtype) -> "Value":
        """A weak value that holds this one, and shows `dtype` where it stands alone."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents of the axes."""
        return self.type.shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype of the elements."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.type.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    def concrete(self, why: str = "") -> np.ndarray:
        """The NumPy array behind the value.

        Raises:
            ConcretizationError: the value is known only when the compiled program runs, or is being differentiated.
        """
        raise NotImplementedError

    def discrete(self, why: str = "") -> np.ndarray:
        """Like :meth:`concrete`, for a decision or an integer made of the value, whose derivative is zero anyway."""
        return self.concrete(why)


class Interpreter:
    """What operations mean at the moment."""

    parent: "Interpreter"
    alive = True

    @property
    def main(self) -> "Interpreter":
        """Itself, as JAX's libraries ask for what two values of one transform share."""
        return self

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        """The results of `operation` on values; a sequence, also when there is one."""
        raise NotImplementedError

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        """The results of a function with derivative rules of its own, a `CustomCall`."""
        raise NotImplementedError

    def axis_size(self, name: Hashable) -> int | None:
        """The size of the named axis that this interpreter, or one below it, binds."""
        return self.parent.axis_size(name)

    def axis_sizes(self) -> tuple[tuple[Hashable, int], ...]:
        """Names and sizes of all axes that this interpreter and those below it bind; (None, 0) for those without."""
        return self.parent.axis_sizes()


#: The name of the axis of directions that a Jacobian is made of: the user wrote no vmap.
DIRECTIONS = "directions of a Jacobian"


class _Context(threading.local):
    """What a thread runs in; hot code reads `interpreter`, others call the functions below."""

    base: Interpreter
    lift: Callable[[Any], Value]
    interpreter: Interpreter | None = None
    #: The user's line that operations are recorded for, if it is not on the stack (see `ReplayedLines`).
    line = ""


context = _Context()


def set_base(interpreter: Interpreter, lift: Callable[[Any], Value]) -> None:
    """Install what runs when no transform does, and what turns NumPy arrays into values."""
    _Context.base = interpreter
    _Context.lift = staticmethod(lift)


def lift(value: Any) -> Value:
    """`value` itself if it is a Value that is not weak, else the array made of it."""
    return value.strong() if isinstance(value, Value) else context.lift(value)


def current() -> Interpreter:
    """The interpreter in force."""
    return context.interpreter or context.base


def is_eager() -> bool:
    """Whether no transform is active: operations compute at once."""
    return context.interpreter is None


def base() -> Interpreter:
    """The interpreter that computes at once."""
    return _Context.base


def computes_plainly() -> bool:
    """Whether operations compute at once, and nothing looks at their results."""
    return context.interpreter is None and not config.checks


def is_base(interpreter: Interpreter) -> bool:
    """Whether `interpreter` is the one that computes at once."""
    return interpreter is _Context.base


class use:
    """Make an interpreter current for a while; a context manager."""

    __slots__ = ("interpreter", "saved")

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter

    def __enter__(self) -> Interpreter:
        self.saved = context.interpreter
        context.interpreter = None if self.interpreter is _Context.base else self.interpreter
        return self.interpreter

    def __exit__(self, *_: object) -> None:
        context.interpreter = self.saved


class entered(use):
    """Like :func:`use`, and afterwards tracers of the interpreter count as leaked."""

    __slots__ = ()

    def __exit__(self, *_: object) -> None:
        self.interpreter.alive = False
        super().__exit__()


class ReplayedLines:
    """While a Program is run again, or backwards, its equations' lines are those of what is recorded.

    A context manager; call it with each line.
    """

    def __enter__(self) -> "ReplayedLines":
        self._outer = context.line
        return self

    def __call__(self, line: str) -> None:
        context.line = line or self._outer

    def __exit__(self, *_: object) -> None:
        context.line = self._outer


def is_replayed() -> bool:
    """Whether a Program is run again, so that its operations are none of the user's calls."""
    return bool(context.line)


def source_line() -> str:
    """The innermost line of the stack that is not fdl's own, or that is replayed, as ``file.py:12 (function)``."""
    if context.line:
        return context.line
    frame = user_frame()
    path = frame.f_code.co_filename
    name = shown_name(path) and (cell_name(path) or shown_name(path))
    return f"{name}:{frame.f_lineno} ({frame.f_code.co_name})" if name else ""


def user_frame() -> FrameType:
    """The innermost frame of the stack that is not fdl's own; the outermost one if all are."""
    frame = sys._getframe(1)
    while frame.f_back is not None and not shown_name(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


class Tracer(Value):
    """A value inside a transform."""

    __slots__ = ("interpreter", "type")
    #: Makes a weak value of a tracer; set by `fdl.core.weak`.
    weak_class: Callable[["Tracer", np.dtype], Value]

    def __init__(self, interpreter: Interpreter, type: TensorType) -> None:
        self.interpreter = interpreter
        self.type = type

    @property
    def _trace(self) -> Interpreter:
        """The interpreter, as JAX's libraries call it."""
        return self.interpreter

    def __repr__(self) -> str:
        return f"{type(self).__name__}<{self.type}>"

    def origin(self) -> str:
        """Which argument or line made it, in parentheses for messages; empty if that is not known."""
        return ""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise ConcretizationError(
            f"NumPy was given a traced {self.type}{self.origin()}, with which it cannot compute. Use the function of "
            "the same name in fdl.numpy, or fdl.pure_callback to call NumPy with the value."
        )

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.concrete("DLPack export").__dlpack__(**kwargs)

    def __reduce__(self) -> Any:
        raise ConcretizationError(
            f"a traced {self.type}{self.origin()} was pickled, which has no numbers outside of its transform. Return "
            "it from the transformed function, and pickle what that returns."
        )

    def __copy__(self) -> "Tracer":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tracer":
        return self

    def weakened(self, dtype: np.dtype) -> Value:
        return self.weak_class(self, dtype)


class StagedTracer(Tracer):
    """A value of a Program that is being recorded."""

    __slots__ = ("atom",)

    def __init__(self, interpreter: "Staging", atom: Atom) -> None:
        super().__init__(interpreter, atom.type)
        self.atom = atom

    def origin(self) -> str:
        return self.interpreter.origin(self)  # type: ignore[attr-defined]

    def concrete(self, why: str = "") -> np.ndarray:
        check_alive(self)
        raise ConcretizationError(
            f"{why or 'a concrete value'} was needed of a traced {self.type}{self.origin()}, whose value is only known "
            "when the compiled function runs. Use fdl.numpy.where, fdl.lax.cond or fdl.lax.while_loop on it, or "
            "make the argument static with static_argnums."
        )


class KnownValues(Interpreter):
    """Computes at once where all operands are known; leaves other operations to its parent."""

    def __init__(self, parent: Interpreter) -> None:
        self.parent = parent

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        with use(self.of(args)) as found:
            return found.process(operation, args)

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        with use(self.of([*args, *call.closed_over()])) as found:
            return found.call_custom(call, args)

    def of(self, args: Sequence[Any]) -> Interpreter:
        """Which interpreter computes with these operands."""
        return self.parent if any(isinstance(a, Tracer) for a in args) else base()


class Staging(Interpreter):
    """Records operations as equations of a Program."""

    def __init__(self, parent: Interpreter, name: str = "") -> None:
        self.parent = parent
        self.name = name
        self.describe: Callable[[int], str] | None = None
        self.inputs: list[Var] = []
        self.equations: list[Equation] = []
        self.constants: dict[int, tuple[Var, np.ndarray, Any]] = {}
        self.captured: dict[int, tuple[Var, Value]] = {}

    def new_input(self, type: TensorType) -> StagedTracer:
        """A tracer for one more input."""
        var = Var(type)
        self.inputs.append(var)
        return StagedTracer(self, var)

    def atom(self, value: Any) -> Atom:
        """What stands for `value` in the program: a variable of it, a literal, a constant or a captured input."""
        if isinstance(value, StagedTracer) and value.interpreter is self:
            return value.atom
        value = lift(value)
        if isinstance(value, Tracer):
            check_alive(value)
            if id(value) not in self.captured:
                self.captured[id(value)] = (Var(value.type), value)
            return self.captured[id(value)][0]
        return self.constant(value)

    def constant(self, value: Value) -> Atom:
        """A literal for a scalar, else a constant, shared between uses of the same object."""
        if value.type.shape == ():
            return Literal(value.concrete())
        if id(value) not in self.constants:
            self.constants[id(value)] = (Var(value.type), value.concrete(), value)
        return self.constants[id(value)][0]

    def process(self, operation: Operation, args: Sequence[Any]) -> Sequence[Any]:
        return self.record(operation, tuple([self.atom(a) for a in args]))

    def call_custom(self, call: Any, args: Sequence[Any]) -> Sequence[Any]:
        operation, captured = call.record(args)
        return self.process(operation, [*captured, *args])

    def record(self, operation: Operation, atoms: tuple[Atom, ...]) -> list[StagedTracer]:
        """Append one equation; returns tracers of its outputs."""
        result = operation.result(*[a.type for a in atoms])
        outputs = tuple([Var(t) for t in (result if operation.multiple else (result,))])
        self.equations.append(Equation(operation, atoms, outputs, source_line()))
        return [StagedTracer(self, v) for v in outputs]

    def origin(self, tracer: StagedTracer) -> str:
        """Which argument or operation made `tracer`, for messages."""
        if tracer.atom in self.inputs:
            number = self.inputs.index(tracer.atom)
            argument = self.describe(number) if self.describe else f"argument {number}"
            return f" ({argument} of {self.name or 'the function'})"
        for equation in self.equations:
            if tracer.atom in equation.outputs:
                if equation.operation.name == "convert" and equation.inputs[0] in self.inputs:
                    return self.origin(StagedTracer(self, equation.inputs[0]))  # an argument in another dtype
                return f" (made by {equation.operation.name} at {equation.source})"
        return ""

    def finish(self, outputs: Sequence[Any]) -> tuple[Program, list[Value]]:
        """The Program that returns `outputs`, and the outer values that its first inputs stand for."""
        atoms = tuple([self.atom(v) for v in outputs])
        captured = list(self.captured.values())
        program = Program(
            tuple(var for var, _ in captured) + tuple(self.inputs),
            tuple(self.equations),
            atoms,
            tuple((var, array) for var, array, _ in self.constants.values()),
        )
        return program, [value for _, value in captured]


def check_alive(tracer: Tracer) -> None:
    """Refuse a tracer whose transform has ended."""
    if not tracer.interpreter.alive:
        raise LeakedTracerError(
            f"a tracer {tracer.type}{tracer.origin()} was used after the transformed function that made it had "
            "returned. Return the value from the function instead of storing it in a global, an attribute or a list."
        )


def require_closed(captured: Sequence[Any]) -> None:
    """Raise if a Program that is transformed reads values from outside, which only a derivative rule in it can do."""
    if captured:
        raise LeakedTracerError(
            f"a derivative rule reads a traced {captured[0].type}{captured[0].origin()} that it closes over, or that "
            f"was passed in nondiff_argnums, inside a function that is compiled or otherwise transformed. {RULE_ADVICE}"
        )


#: What to do with a value that a derivative rule cannot reach.
RULE_ADVICE = (
    "Pass it as an ordinary argument, for which the rule returns a derivative of zero (None in a backward rule), or "
    "keep it among the residuals of the forward rule."
)


def trace_program(
    function: Callable[..., Sequence[Any]], types: Sequence[TensorType], name: str = ""
) -> tuple[Program, list[Value]]:
    """Record ``function(*tracers)``, which returns a sequence of values.

    Args:
        function: what to record.
        types: of its arguments.
        name: of the function, for messages.

    Returns:
        The Program, and the tracers of enclosing transforms that `function` closes over; they are its first inputs.
    """
    staging = Staging(current(), name)
    staging.describe = getattr(function, "describe", None)
    tracers = [staging.new_input(t) for t in types]
    with entered(staging):
        outputs = function(*tracers)
        return staging.finish(outputs)
