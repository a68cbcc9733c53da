"""checkify: a function that returns the first error beside its result.

The Program of a function is run with a state beside its values: the number of the first place where an error arose, and
for each place the numbers that its message shows. Branches and loops take the state in and hand it out.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from string import Formatter
from typing import Any, NamedTuple

import numpy as np

from fdl import numpy as fnp
from fdl import tree
from fdl.api.arguments import FlatFunction, flatten_values, name_of, require_function, weakness
from fdl.api.wrapping import wraps
from fdl.array import as_operand
from fdl.control.check import Check, DebugCheck
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.control.while_loop import While
from fdl.core import trace
from fdl.core.program import Atom, Equation, Literal, Program, Var, subprograms
from fdl.core.trace import ReplayedLines, lift, source_line, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import INEXACT, int32
from fdl.errors import DtypeError
from fdl.experimental.checkify.errors import DivisionByZeroError, Error, FailedCheckError, NaNError, OOBError, Site
from fdl.ops.arithmetic import Div
from fdl.ops.indexing import Gather, Scatter
from fdl.ops.slicing import DynamicSlice, DynamicUpdateSlice
from fdl.tracebacks import boundary
from fdl.transforms.inline import inline

ErrorCategory = type[Any]

empty_checks: frozenset[ErrorCategory] = frozenset()
user_checks: frozenset[ErrorCategory] = frozenset({FailedCheckError})
nan_checks: frozenset[ErrorCategory] = frozenset({NaNError})
index_checks: frozenset[ErrorCategory] = frozenset({OOBError})
div_checks: frozenset[ErrorCategory] = frozenset({DivisionByZeroError})
float_checks = nan_checks | div_checks
automatic_checks = float_checks | index_checks
all_checks = automatic_checks | user_checks

_INT = TensorType((), int32)


def check(pred: Any, msg: str, *fmt_args: Any, debug: bool = False, **fmt_kwargs: Any) -> None:
    """Have `checkify` return an error unless a condition holds; without it, raise the error at run time.

    Args:
        pred: a boolean scalar.
        msg: a format string.
        *fmt_args, **fmt_kwargs: arrays that it shows, or pytrees of them.
        debug: whether the check counts under `checkify` only.

    Raises:
        JaxRuntimeError: outside of `checkify`, when the function runs.
        TypeError: `pred` is no boolean scalar, or `msg` is no string.

    >>> import fdl
    >>> error, _ = checkify(lambda x: check(x > 0, "x is {}", x))(fdl.numpy.float32(-2))
    >>> error.get()
    'x is -2.0 (`check` failed)'
    """
    if not isinstance(msg, str):
        raise TypeError(f"check needs a string as msg, got {msg!r}")
    condition = as_operand(pred, "the condition of check")
    if condition.dtype != bool or condition.ndim:
        raise DtypeError(f"check needs a boolean scalar as pred, got {condition.type}; use fdl.numpy.all or any")
    leaves, structure = tree.flatten((fmt_args, fmt_kwargs))
    values, names = [as_operand(v, "a value of check") for v in leaves], tuple(fmt_kwargs)
    if not tree.all_leaves((*fmt_args, *fmt_kwargs.values())):
        msg, names = _written_out(msg, structure, [str(v.dtype) for v in values]), ()
    kind = DebugCheck if debug else Check
    kind(msg, source_line(), names)(condition, *values)


class _Leaf(NamedTuple):
    """A leaf of a pytree in a message."""

    number: int
    dtype: str

    def __repr__(self) -> str:
        return f"Array(\0{self.number}\0, dtype={self.dtype})"


def _written_out(message: str, structure: Any, types: Sequence[str]) -> str:
    """A format string of the leaves of (args, kwargs) for one of pytrees."""
    args, kwargs = tree.unflatten(structure, [_Leaf(n, dtype) for n, dtype in enumerate(types)])
    order, text = iter(range(len(args))), ""
    for literal, name, spec, conversion in Formatter().parse(message):
        text += _literal(literal)
        if name is None:
            continue
        first, rest = re.fullmatch(r"([^.\[]*)(.*)", name).groups()  # type: ignore[union-attr]  # it always matches
        value = kwargs[first] if first in kwargs else args[int(first) if first else next(order)]
        if isinstance(value, _Leaf):
            text += f"{{{value.number}{rest}{'!' if conversion else ''}{conversion or ''}{':' if spec else ''}{spec}}}"
        else:
            text += re.sub("\0(\\d+)\0", r"{\1}", _literal(repr(value)))
    return text


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def debug_check(pred: Any, msg: str, *fmt_args: Any, **fmt_kwargs: Any) -> None:
    """As :func:`check`, but without `checkify` nothing is checked.

    >>> debug_check(False, "nobody looks")
    """
    check(pred, msg, *fmt_args, debug=True, **fmt_kwargs)


def check_error(error: Error) -> None:
    """Raise an error that `checkify` returned; inside of a function, at run time, or for a `checkify` around it.

    >>> error, _ = checkify(lambda x: check(x > 0, "x is {}", x))(1.0)
    >>> check_error(error)
    """
    if not isinstance(error, Error):
        raise TypeError(f"check_error needs an Error, got {error!r}")
    if trace.is_eager():
        error.throw()
    else:
        error.check()


def checkify(f: Callable[..., Any], errors: frozenset[ErrorCategory] = user_checks) -> Callable[..., tuple[Error, Any]]:
    """A function that returns the first run-time error of `f`, and the result.

    Args:
        f: a function of arrays; it may be made by jit, vmap, grad, and hold loops and branches.
        errors: which errors to look for: `user_checks` (conditions of :func:`check`, the default), `nan_checks`,
            `div_checks`, `index_checks`, or a union of them (`float_checks`, `automatic_checks`, `all_checks`).

    Returns:
        ``checked(*args, **kwargs) -> (error, result)``, which may be transformed in turn. Arguments that are numbers of
        Python or no arrays stay what they are, so that `f` may branch on them. ``error.get()`` is the
        message or None, ``error.throw()`` raises it.

    >>> import fdl, fdl.numpy as fnp
    >>> x = fnp.arange(3.0)
    >>> error, _ = fdl.jit(checkify(lambda x, i: x[i], errors=index_checks))(x, 5)
    >>> error.get()
    'out-of-bounds indexing for array of shape (3,): index 5 is out of bounds for axis 0 with size 3.'
    """
    require_function("checkify", "f", f)

    @boundary
    def checked(*args: Any, **kwargs: Any) -> tuple[Error, Any]:
        given, named, function = args, kwargs, f
        if any(map(_is_fixed, tree.leaves((args, kwargs)))):
            function, arrays = _of_arrays(f, args, kwargs)
            given, named = tuple(arrays), {}
        leaves, structure = flatten_values(function, given, named)
        flat = FlatFunction(function, structure, weak=weakness(leaves))
        held = [leaf.held for leaf in leaves]
        program, captured = trace_program(flat, [leaf.type for leaf in held], name_of(f))
        program = inline(program)
        sites = _Sites(program, frozenset(errors))
        state = sites.initial()
        state, outs = _Checking(sites).run(program, state, [*captured, *held])
        return sites.error(state), flat.unflatten(outs)

    return checked


def _is_fixed(leaf: Any) -> bool:
    return not (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))


def _of_arrays(f: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Callable[..., Any], list[Any]]:
    """`f` as a function of those leaves of its arguments that are arrays, and these."""
    leaves, structure = tree.flatten((args, kwargs))

    @wraps(f)
    def function(*arrays: Any) -> Any:
        rest = iter(arrays)
        args, kwargs = tree.unflatten(structure, [leaf if _is_fixed(leaf) else next(rest) for leaf in leaves])
        return f(*args, **kwargs)

    return function, [leaf for leaf in leaves if not _is_fixed(leaf)]


class _Sites:
    """The places of a Program where errors may arise, by equation, in the order of the text."""

    def __init__(self, program: Program, errors: frozenset[ErrorCategory]) -> None:
        self.errors = errors
        self.sites: list[Site] = []
        self.places: dict[Equation, list[int]] = {}
        self.starts: list[int] = []
        self._collect(program)
        sizes = [len(site.types) for site in self.sites]
        self.starts = [1 + sum(sizes[:n]) for n in range(len(sizes))]

    def _collect(self, program: Program) -> None:
        for equation in program.equations:
            if equation in self.places:
                continue
            found = list(self._of(equation))
            self.places[equation] = list(range(len(self.sites), len(self.sites) + len(found)))
            self.sites += found
            for inner in subprograms(equation.operation):
                self._collect(inner)

    def _of(self, equation: Equation) -> Iterator[Site]:
        operation, types = equation.operation, tuple(a.type for a in equation.inputs)
        line = equation.source
        if isinstance(operation, Check) and FailedCheckError in self.errors:
            yield Site(FailedCheckError, operation, types)
        if isinstance(operation, Div) and DivisionByZeroError in self.errors:
            yield Site(DivisionByZeroError, Check("division by zero.", line), ())
        if OOBError in self.errors and (found := _limits(operation, types)):
            shape = found[0]
            text = (
                f"out-of-bounds indexing for array of shape {shape}: index {{}} is out of bounds for axis {{}} with "
                "size {}."
            )
            yield Site(OOBError, Check(text, line), (_INT,) * 3)
        if NaNError in self.errors and _makes_numbers(equation):
            yield Site(NaNError, Check(f"nan generated by primitive: {operation.name}.", line), ())

    def within(self, program: Program) -> bool:
        """Whether errors may arise in a Program."""
        return any(
            self.places[e] or any(map(self.within, subprograms(e.operation)))
            for e in program.equations
            if e in self.places
        )

    @property
    def types(self) -> list[TensorType]:
        """Types of the state."""
        return [_INT, *(t for site in self.sites for t in site.types)]

    def initial(self) -> list[Any]:
        """The state without an error."""
        return [fnp.zeros(t.shape, t.dtype) for t in self.types]

    def error(self, state: Sequence[Any]) -> Error:
        """The state as the user gets it."""
        ends = zip(self.starts, self.sites, strict=True)
        return Error(state[0], [state[n : n + len(site.types)] for n, site in ends], self.sites)

    def note(self, state: Sequence[Any], number: int, failed: Any, payload: Sequence[Any]) -> list[Any]:
        """The state after a place where an error arises if `failed`; the first one stays."""
        first = failed & (state[0] == 0)
        after = list(state)
        after[0] = fnp.where(first, np.int32(number + 1), state[0])
        for place, value in enumerate(payload, self.starts[number]):
            after[place] = fnp.where(first, value, state[place])
        return after


def _makes_numbers(equation: Equation) -> bool:
    operation = equation.operation
    if operation.lowering_kind in ("move", "control") or operation.transports or isinstance(operation, Check):
        return False
    return any(v.type.dtype in INEXACT for v in equation.outputs)


def _limits(operation: Any, types: Sequence[TensorType]) -> tuple[tuple[int, ...], list[tuple[int, int]]] | None:
    """For operations that index: the shape, and the axis and the last valid start of every index; None for others."""
    if isinstance(operation, DynamicSlice):
        shape, sizes = types[0].shape, operation.sizes
        return shape, [(axis, n - s) for axis, (n, s) in enumerate(zip(shape, sizes, strict=True))]
    if isinstance(operation, DynamicUpdateSlice):
        shape, sizes = types[0].shape, types[1].shape
        return shape, [(axis, n - s) for axis, (n, s) in enumerate(zip(shape, sizes, strict=True))]
    if isinstance(operation, Gather) and operation.mode != "clip":
        shape, axes = types[0].shape, operation.numbers.start_index_map
        return shape, [(axis, shape[axis] - operation.slice_sizes[axis]) for axis in axes]
    if isinstance(operation, Scatter) and operation.mode != "clip":
        shape, numbers = types[0].shape, operation.numbers
        windows = iter(types[2].shape[d] for d in numbers.update_window_dims)
        gone = {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
        sizes = tuple(1 if axis in gone else next(windows) for axis in range(len(shape)))
        return shape, [(axis, shape[axis] - sizes[axis]) for axis in numbers.scatter_dims_to_operand_dims]
    return None


def _indices(operation: Any, args: Sequence[Any]) -> list[Any]:
    """The indices of each axis, in the order of `_limits`."""
    if isinstance(operation, DynamicSlice):
        return [fnp.reshape(a, (1,)) for a in args[1:]]
    if isinstance(operation, DynamicUpdateSlice):
        return [fnp.reshape(a, (1,)) for a in args[2:]]
    count = args[1].type.shape[-1]
    return [fnp.reshape(args[1][..., n], (-1,)) for n in range(count)]


class _Checking:
    """Runs Programs with a state beside their values."""

    def __init__(self, sites: _Sites) -> None:
        self.sites, self.count = sites, len(sites.types)

    def run(self, program: Program, state: Sequence[Any], args: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The state afterwards, and the results, in the current interpreter."""
        values: dict[Var, Any] = {var: lift(value) for var, value in program.constants}
        values.update(zip(program.inputs, args, strict=True))

        def read(atom: Atom) -> Any:
            return lift(atom.value) if isinstance(atom, Literal) else values[atom]

        state = list(state)
        with ReplayedLines() as at:
            for equation in program.equations:
                at(equation.source)
                state, outs = self.equation(equation, state, list(map(read, equation.inputs)))
                values.update(zip(equation.outputs, outs, strict=True))
        return state, [read(atom) for atom in program.outputs]

    def program(self, program: Program) -> Program:
        """The same as a Program: the state comes first, among inputs and outputs."""
        types = (*self.sites.types, *program.input_types)

        def run(*values: Any) -> list[Any]:
            state, outs = self.run(program, values[: self.count], values[self.count :])
            return [*state, *outs]

        return trace_program(run, types)[0]

    def equation(self, equation: Equation, state: list[Any], args: list[Any]) -> tuple[list[Any], Sequence[Any]]:
        """The state after an equation, and its results."""
        operation: Any = equation.operation
        numbers = self.sites.places[equation]
        if isinstance(operation, Check):
            for number in numbers:
                state = self.sites.note(state, number, ~fnp.all(args[0]), args)
            return state, ()
        if any(map(self.sites.within, subprograms(operation))):
            if isinstance(operation, Cond):
                return self.split(Cond(tuple(map(self.program, operation.branches)))(args[0], *state, *args[1:]))
            if isinstance(operation, Scan):
                return self.scan(operation, state, args)
            if isinstance(operation, While):
                return self.loop(operation, state, args)
        outs = trace.current().process(operation, args)
        for number in numbers:
            state = self.automatic(number, operation, state, args, outs)
        return state, outs

    def split(self, outs: Sequence[Any]) -> tuple[list[Any], Sequence[Any]]:
        """State and results of what returns both."""
        return list(outs[: self.count]), outs[self.count :]

    def automatic(
        self, number: int, operation: Any, state: list[Any], args: Sequence[Any], outs: Sequence[Any]
    ) -> list[Any]:
        """The state after an operation that may have made an error."""
        kind, note = self.sites.sites[number].kind, self.sites.note
        if kind is NaNError:
            for out in outs:
                if out.type.dtype in INEXACT:
                    state = note(state, number, fnp.any(fnp.isnan(out)), ())
            return state
        if kind is DivisionByZeroError:
            return note(state, number, fnp.any(args[1] == 0), ())
        limits = _limits(operation, [a.type for a in args])
        assert limits is not None
        shape, bounds = limits
        for (axis, last), places in zip(bounds, _indices(operation, args), strict=True):
            if places.type.size:
                bad = (places < 0) | (places > last)
                index = places[fnp.argmax(bad)].astype(int32)
                state = note(state, number, fnp.any(bad), (index, np.int32(axis), np.int32(shape[axis])))
        return state

    def scan(self, operation: Scan, state: list[Any], args: list[Any]) -> tuple[list[Any], Sequence[Any]]:
        """The results of a scan whose carry has the state too."""
        constants, count = operation.constants, self.count

        def body(*values: Any) -> list[Any]:
            first, rest = values[:constants], values[constants:]
            found, outs = self.run(operation.body, rest[:count], [*first, *rest[count:]])
            return [*found, *outs]

        types = operation.body.input_types
        program = trace_program(body, [*types[:constants], *self.sites.types, *types[constants:]])[0]
        loop = replace(operation, body=program, carries=operation.carries + count)
        return self.split(loop(*args[:constants], *state, *args[constants:]))

    def loop(self, operation: While, state: list[Any], args: list[Any]) -> tuple[list[Any], Sequence[Any]]:
        """The results of a while; its condition is looked at whenever it is evaluated."""
        mine, own, carry = (list(a) for a in operation.divide(args))
        checked, count, n = self.sites.within(operation.condition), self.count, len(mine)
        if checked:
            state, _ = self.run(operation.condition, state, [*mine, *carry])
        carry_types = [c.type for c in carry]

        def condition(*values: Any) -> list[Any]:
            quiet = _Checking(_Sites(operation.condition, empty_checks))
            return quiet.run(operation.condition, quiet.sites.initial(), [*values[:n], *values[n + count :]])[1]

        def body(*values: Any) -> list[Any]:
            first, second, rest = values[:n], values[n : n + len(own)], values[n + len(own) :]
            after, outs = self.run(operation.body, rest[:count], [*second, *rest[count:]])
            if checked:
                after, _ = self.run(operation.condition, after, [*first, *outs])
            return [*after, *outs]

        types = [m.type for m in mine]
        loop = While(
            trace_program(condition, [*types, *self.sites.types, *carry_types])[0],
            trace_program(body, [*types, *(o.type for o in own), *self.sites.types, *carry_types])[0],
            n,
            n + len(own),
        )
        return self.split(loop(*mine, *mine, *own, *state, *carry))
