"""What happens when a pass of the compiler fails: the program is compiled without it, and the user is told once.

A pass says its name while it runs (`during`), so that an exception is known to be its own. `with_fewer_passes` then
tries again without that pass, without any optional one, and in the end leaves the program to the reference interpreter:
a fault of the compiler costs time, and never a result.
"""

import functools
import signal
import warnings
from collections.abc import Callable
from traceback import walk_tb
from types import TracebackType
from typing import Any, TypeVar

from fdl.config import config
from fdl.core.program import Equation, Program
from fdl.core.trace import source_line, user_frame
from fdl.errors import CompilerError, CompilerWarning, PlatformError
from fdl.tracebacks import whole

T = TypeVar("T")
U = TypeVar("U")

#: What may be left out, in the order in which it runs: of the passes from Program to Program, of those that make and
#: place steps, and of those that emit code.
OPTIONAL = (
    "complex_parts", "simplify", "hoist", "sink_slices", "index_columns", "canonical", "sink_transposes",
    "fuse", "epilogues", "group", "join_rows", "split", "reuse",
    "threads", "kernels", "tape",
)  # fmt: skip

#: What is left out only if it fails itself, since without it most of a program runs in Python: loops around elementwise
#: operations, and native branches and loops of control flow.
NATIVE = ("loops", "control")

#: Nothing that fewer passes could mend, and what has been said already.
_NOT_OURS = (MemoryError, PlatformError, CompilerError, CompilerWarning)

Skip = frozenset[str]


class during:  # reads as a statement: with during("fuse"): ...
    """Marks an exception that leaves the body as a failure of the pass `name`; the innermost mark counts.

    Args:
        name: of the pass.
        author: the class whose code the body calls; the user is told of it if it is not fdl's own.
    """

    def __init__(self, name: str, author: type | None = None) -> None:
        self.name, self.author = name, author

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            error.__dict__.setdefault("fdl_pass", self.name)
            if self.author is not None and not self.author.__module__.startswith("fdl."):
                error.__dict__.setdefault("fdl_author", f"{self.author.__module__}.{self.author.__qualname__}")


def with_fewer_passes(program: Program, attempt: Callable[[Skip], T], interpreted: Callable[[], T]) -> T:
    """What `attempt` makes of a Program, or `interpreted` if it fails with however few passes.

    Args:
        program: for the warning.
        attempt: compiles without the passes of the names that it is given.
        interpreted: does without the compiler.

    Raises:
        CompilerError: a pass failed, and `config.debug_compiler` is set.
    """
    skip: Skip = frozenset()
    first: Exception | None = None
    while True:
        try:
            made = attempt(skip)
            break
        except _NOT_OURS:
            raise
        except Exception as error:
            if _of_a_signal(error):
                raise
            first = first or _checked(error, program)
            failed = _pass_of(error)
            if not skip and failed in (*OPTIONAL, *NATIVE):
                skip = frozenset([failed])
            elif not skip.issuperset(OPTIONAL):
                skip |= frozenset(OPTIONAL)
            else:
                _warn(first, program, "the program is run by the reference interpreter")
                return interpreted()
    if first is not None:
        _warn(first, program, f"the program is compiled without {_words(skip)}")
    return made


def otherwise(name: str, program: Program, make: Callable[[], T], instead: U) -> T | U:
    """What `make`, the pass `name`, makes for a Program, or `instead` of it if that fails."""
    try:
        with during(name):
            return make()
    except _NOT_OURS:
        raise
    except Exception as error:
        if _of_a_signal(error):
            raise
        _warn(_checked(error, program), program, "the program is run without it")
        return instead


def _of_a_signal(error: Exception) -> bool:
    """Whether the handler of a signal raised it, which came while the compiler ran."""
    handlers = {_code(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return any(frame.f_code in handlers for frame, _ in walk_tb(error.__traceback__))


def _code(handler: Any) -> Any:
    """The code that a handler runs: its own, that of what a partial calls, or that of an object's `__call__`."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = handler.__call__
    return getattr(handler, "__code__", None)


def _words(skip: Skip) -> str:
    return f"the pass {next(iter(skip))!r}" if len(skip) == 1 else "its optional passes"


def _pass_of(error: BaseException) -> str:
    name: str = error.__dict__.get("fdl_pass", "")
    return name


def _checked(error: Exception, program: Program) -> Exception:
    """The error, unless the compiler's errors are wanted as they are."""
    if config.debug_compiler:
        raise CompilerError(_failure(error, program)) from error
    return error


def _failure(error: Exception, program: Program) -> str:
    name, line = _pass_of(error), line_of(error, program)
    where = f"in its pass {name!r}" if name else "between its passes"
    return f"fdl's compiler failed {where}, on code of {line}, with {type(error).__name__}: {error}"


#: Digests of Programs that have been warned of.
_warned: set[bytes] = set()


def _warn(error: Exception, program: Program, instead: str) -> None:
    """Tell the user of a failure, once for each Program."""
    if program.digest in _warned:
        return
    message = f"{_failure(error, program)}. Results are right: {instead}, which may be slower. "
    if author := error.__dict__.get("fdl_author"):
        message += f"The error comes from {author}, which is no part of fdl; FDL_DEBUG_COMPILER=1 gives the traceback"
    else:
        message += (
            "Please report this as a fault of fdl, with this text, the traceback that FDL_DEBUG_COMPILER=1 gives, and "
            "what print(fdl.make_program(f)(*args)) prints"
        )
    frame = user_frame()
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    try:
        warnings.warn_explicit(message, CompilerWarning, frame.f_code.co_filename, frame.f_lineno, registry=registry)
    except CompilerWarning as warning:
        raise warning from error
    _warned.add(program.digest)


def line_of(error: BaseException, program: Program) -> str:
    """The user's line that a pass worked on when it failed, as ``file.py:12 (function)``.

    It is that of the equation, or of the step, in the innermost frame of the traceback that has one; else that of the
    first equation of the program; else that which called fdl.
    """
    line = ""
    made = {v: e.source for e in program.equations for v in e.outputs}
    trace = whole(error)
    while trace is not None:
        for value in list(trace.tb_frame.f_locals.values()):
            if isinstance(value, Program):
                made.update((v, e.source) for e in value.equations for v in e.outputs)
            line = _line(value, made) or line
        trace = trace.tb_next
    return line or next((e.source for e in program.equations if e.source), "") or source_line()


def _line(value: Any, made: dict[Any, str]) -> str:
    """The line of an equation, or of a step of a schedule (by the equation that makes one of its results)."""
    if isinstance(value, Equation):
        return value.source
    if not type(value).__module__.startswith("fdl.compile."):
        return ""
    if isinstance(equation := getattr(value, "equation", None), Equation):
        return equation.source
    outputs = getattr(value, "outputs", ()) if hasattr(value, "reads") else ()
    return next((made[v] for v in outputs if made.get(v)), "")
