"""One class for each kind of error; its docstring says how to fix it, and ends with a link to its section."""

from types import TracebackType
from typing import Any

from fdl.tracebacks import PYTHONS, of_users, whole

#: The page of the documentation with a section for each class; its address, once it has one.
DOCUMENTATION = "docs/errors.md"


def link_to_section(kind: type, page: str) -> None:
    """Let the docstring of an error's class end with the place where it is explained."""
    if kind.__doc__:
        kind.__doc__ = f"{kind.__doc__.rstrip()}\n\n    See {page}#{kind.__name__.lower()}\n    "


def _traceback(error: BaseException) -> TracebackType | None:
    return whole(error) if getattr(error, "whole_traceback", False) else of_users(whole(error))


class FdlError(Exception):
    """Base of every error that fdl raises on purpose."""

    #: What Python's `traceback` prints: the frames of the user. Python itself keeps all frames.
    __traceback__ = property(_traceback, PYTHONS.__set__)
    #: Whether it tells of a fault of fdl, whose frames say where.
    whole_traceback = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__module__ == __name__:
            link_to_section(cls, DOCUMENTATION)


class ShapeError(FdlError, TypeError, ValueError):
    """Shapes of the operands do not fit the operation.

    Print the shapes named in the message; reshape, transpose or broadcast one operand so that they agree.
    """


class AxisError(ShapeError, IndexError):
    """An axis lies outside those of the array, or is given twice.

    An array with n axes has the axes -n to n - 1; print ``x.shape``. As in NumPy it is a ValueError and an IndexError.
    """


class DtypeError(FdlError, TypeError):
    """An operation is not defined for the dtype it was given.

    Convert the operand first, for example with ``x.astype(fdl.numpy.float32)``.
    """


class RangeError(FdlError, ValueError, OverflowError):
    """A number lies outside of the range of its dtype, or of an argument.

    Choose a wider dtype, or bring the number into the range of ``fdl.numpy.iinfo(dtype)``, or that the message names.
    """


class TreeError(FdlError, TypeError, ValueError):
    """A pytree does not have the required structure.

    The message names the path where the two trees first differ; give both the same keys, lengths and node types.
    """


class LeafError(FdlError, TypeError):
    """A leaf of a pytree is not an array or a number.

    Transforms work on arrays. Keep strings and other objects out of the arguments, or make them static
    (``static_argnums``, ``static_argnames``).
    """


class ConcretizationError(FdlError, TypeError):
    """Python needed the number of a value that is known only at run time, or that is being differentiated.

    Under ``jit`` and ``vmap``, Python's ``if``, ``while``, ``int()`` and ``bool()`` need a concrete value. Use
    ``fdl.numpy.where``, ``fdl.lax.cond``, ``fdl.lax.while_loop``, or make the argument static with ``static_argnums``.
    Under ``grad`` and ``jvp`` alone these work, but ``float()``, ``math`` and NumPy would cut the derivative. Use the
    functions of ``fdl.numpy``; write ``fdl.lax.stop_gradient(x)`` where no derivative is wanted.
    """


class LeakedTracerError(FdlError, RuntimeError):
    """A tracer was used after the transform that made it had ended.

    Do not store intermediate values of a transformed function in globals, attributes or lists; return them.
    """


class DifferentiationError(FdlError, TypeError):
    """A function cannot be differentiated in the way that was asked for.

    ``grad`` needs real floating-point inputs and a scalar output; ``while_loop`` has no reverse mode (use ``scan``).
    """


class BatchError(FdlError, ValueError):
    """``vmap`` was given axes or sizes that do not agree.

    Every mapped argument needs the same extent along its mapped axis.
    """


class AxisNameError(FdlError, NameError):
    """A collective names an axis that no enclosing ``vmap`` binds.

    Call it inside ``fdl.vmap(..., axis_name=...)`` with the same name.
    """


class DonationError(FdlError, RuntimeError):
    """An array was used after its memory had been donated to a jitted call.

    Use the result of that call instead, or drop the argument from ``donate_argnums``.
    """


class IndexingError(FdlError, IndexError):
    """An index lies outside its axis, or is of a kind that cannot index.

    Check the bounds named in the message. Under ``jit`` out-of-bounds indices follow ``mode=`` instead.
    """


class NonFiniteError(FdlError, FloatingPointError):
    """An operation made a NaN, or an infinity, while ``fdl.config.debug_nans`` or ``debug_infs`` looks for it.

    The message names the operation, its line, and the ranges of its operands: logarithms and roots of negative numbers,
    0 / 0 and differences of infinities are NaN, quotients by 0 and exponentials of large numbers infinite. Guard the
    operand (``fnp.where(x > 0, fnp.log(fnp.where(x > 0, x, 1)), 0)``), or scale it.
    """


class CheckError(FdlError, ValueError, RuntimeError):
    """A condition that a program checks while it runs (``fdl.debug.check``) did not hold.

    The message is that of the check, with the values that broke it, the example of a batch and the steps of loops.
    ``fdl.config.runtime_checks = False`` leaves checks out.
    """


class KeyReuseError(FdlError, TypeError):
    """A random key is used twice, while ``fdl.config.debug_key_reuse`` looks for that; both uses give the same numbers.

    Split the key before, ``key, subkey = fdl.random.split(key)``, and use each part once; in a loop, split it into as
    many keys as there are steps and scan over them, or use ``fdl.random.fold_in(key, step)``.
    """


class PrimitiveError(FdlError, TypeError):
    """A primitive class lacks one of its rules, or is used with operands it does not take.

    Define every rule named in the message in the class itself or in a base class that fits.
    """


class VerificationError(FdlError, AssertionError):
    """A Program is malformed: a value is used before it is defined, or a type does not match.

    This is a fault of the transform that made the Program; report it with the printed Program.
    """

    whole_traceback = True


class PlatformError(FdlError, RuntimeError):
    """fdl cannot compile for this machine, or not for the processor that was asked for.

    fdl needs a 64-bit little-endian processor; ``FDL_CPU`` takes ``native``, ``x86-64`` or another name LLVM knows.
    """


class FileError(FdlError, ValueError):
    """A tree cannot be written to a file, or a file is damaged, or holds another tree than the one asked for.

    Keep arrays, numbers and text in a tree that is saved. A damaged file cannot be mended: restore it from a copy. If
    the structures differ, load without ``like`` to see what the file has.
    """


class ExportError(FdlError, ValueError):
    """A function cannot be exported, a file holds no exported function, or is called with other arguments.

    Exported functions consist of fdl's own operations: leave callbacks out. A damaged file cannot be mended: restore it
    from a copy, or export the function again. Call the function with the shapes that the message names.
    """


class InteropError(FdlError, ValueError):
    """A model of another library cannot be read or written, or is called with what it does not take.

    The message names the file or the argument. Export the model again, call it in the way in which the example called
    it, and let it return tensors, tuples, lists and dicts.
    """


class OperatorError(InteropError, NotImplementedError):
    """A model of another library uses operators that fdl has no function for; the message names all of them.

    Give functions for them (``operators={name: function}``), or write that part of the model with other operators.
    """


class ServeError(FdlError, ValueError):
    """A function cannot be served (`fdl.serve`).

    It needs an example of a batch, inputs and outputs that are numbers, and a row of output for each row of input. Give
    ``join=False`` for a function of whole batches.
    """


class CompilerError(FdlError, RuntimeError):
    """A pass of fdl's compiler failed, and there is no fallback.

    This is a fault of fdl, not of the program; report it with the message and the printed Program. It is raised by
    what needs machine code (`fdl.ext.to_numba`), and by everything if ``FDL_DEBUG_COMPILER=1``.
    """

    whole_traceback = True


class CompilerWarning(UserWarning):
    """A pass of fdl's compiler failed, and the program was compiled without it: results are right, calls may be slower.

    This is a fault of fdl, not of the program; report it with the message and the printed Program.
    ``FDL_DEBUG_COMPILER=1`` raises a CompilerError with the whole traceback instead.
    """


link_to_section(FdlError, DOCUMENTATION)
link_to_section(CompilerWarning, DOCUMENTATION)
