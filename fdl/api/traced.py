"""What jit keeps of a function: its traces, found again by the signature of a call."""

import logging
import sys
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from fdl.api.arguments import weakened
from fdl.api.fast_call import FastCall
from fdl.array import Array, Given, scalar_dtype, wide_dtype
from fdl.config import config
from fdl.control import key_reuse
from fdl.core.nonfinite import check_program, computes_by_effects, wanted
from fdl.core.program import Program
from fdl.core.trace import Value
from fdl.core.types import TensorType
from fdl.dtypes import ANY, WEAK, canonical

_log = logging.getLogger("fdl")


@contextmanager
def logged(what: str, name: str, types: Sequence[TensorType]) -> Iterator[None]:
    """Log how long something took of a function for arguments of these types, if `config.log_compiles`."""
    start = time.perf_counter()
    yield
    if config.log_compiles:
        shown = ", ".join(map(str, types))
        _log.warning("Finished %s %s(%s) in %.4f s", what, name, shown, time.perf_counter() - start)


@dataclass
class Traced:
    """A function traced for one kind of arguments.

    Attributes:
        program: what was recorded; its first inputs are `captured`.
        captured: tracers of enclosing transforms that the function closes over.
        out_structure: of the result.
        donated: which leaves are donated.
        out_weak: for every result the dtype that it shows if it is weak, else None; empty if none is.
        name: of the function, for what is logged.
        effort: of compiling it; without one the settings decide.
    """

    program: Program
    captured: list[Any]
    out_structure: Any
    donated: tuple[bool, ...]
    _compiled: Any = None
    out_weak: tuple[np.dtype | None, ...] = ()
    name: str = "a function"
    effort: str | None = None

    def __post_init__(self) -> None:
        place = {var: number for number, var in enumerate(self.program.inputs)}
        atoms = self.program.outputs
        #: For every output, the number of the input it simply is, or None.
        self.forwarded_from = [place.get(a) for a in atoms]  # type: ignore[arg-type]
        self.computed = self.program
        if any(p is not None for p in self.forwarded_from):
            kept = tuple(a for a, p in zip(atoms, self.forwarded_from, strict=True) if p is None)
            self.computed = Program(self.program.inputs, self.program.equations, kept, self.program.constants)
        #: How many calls took the slow path, and the fast call that is made for the second.
        self.calls = 0
        self.fast: FastCall | None = None

    @property
    def donates(self) -> bool:
        """Whether any leaf is donated."""
        return any(self.donated)

    def _shared(self, leaves: Sequence[Any]) -> list[int]:
        """Numbers of the donated leaves whose memory somebody else can see: other arrays, NumPy views, other leaves."""
        seen = Counter(map(id, leaves))
        return [
            number
            for number, (leaf, given) in enumerate(zip(leaves, self.donated, strict=True))
            if given
            and (
                type(leaf) is not Array
                or sys.getrefcount(leaf._data) > 2
                or _is_window(leaf._data)
                or seen[id(leaf)] > 1
            )
        ]

    @property
    def may_overwrite(self) -> tuple[bool, ...]:
        """Which inputs may be overwritten: the donated ones, unless they are returned as they are."""
        return tuple(given and n not in self.forwarded_from for n, given in enumerate(self.donated))

    @property
    def compiled(self) -> Any:
        """The native function, made when first needed."""
        if self._compiled is None:
            from fdl.compile import compile_program

            types = self.program.input_types[len(self.captured) :]
            with logged("compiling", self.name, types):
                self._compiled = compile_program(self.computed, self.may_overwrite, self.effort)
        return self._compiled

    def run(self, leaves: Sequence[Any]) -> list[Any]:
        """Results for concrete leaves."""
        shared = self._shared(leaves) if self.donates else ()
        arrays = [leaf._data if type(leaf) is Array and leaf._data is not None else concrete(leaf) for leaf in leaves]
        for number in shared:
            arrays[number] = arrays[number].copy()
        checks = config.checks
        kept = [a.copy() if given else a for a, given in zip(arrays, self.donated, strict=True)] if checks else []
        at_once = checks and computes_by_effects(self.computed)  # since it cannot be run a second time
        compiled = None if at_once else self.compiled  # nothing is lost if compilation is interrupted
        fresh = key_reuse.check_program(self.computed, arrays) if config.debug_key_reuse else []
        try:
            made = check_program(self.computed, arrays) if compiled is None else compiled.run(arrays)
        except BaseException:
            key_reuse.used.forget(fresh)
            if self.donates:  # who knows what is in their memory
                _donate(leaves, self.donated, ())
            raise
        if config.debug_key_reuse:
            key_reuse.note_results(self.computed, made)
        rest = iter(made)
        outs = [Array(next(rest)) if p is None else _as_result(leaves[p]) for p in self.forwarded_from]
        if self.donates:
            _donate(leaves, self.donated, outs)
        if checks and not at_once and any(map(wanted, made)):
            check_program(self.computed, kept, made)
        return weakened(outs, self.out_weak) if self.out_weak else outs


def _is_window(data: np.ndarray | None) -> bool:
    """Whether an array looks at memory of another object that somebody else holds too."""
    from fdl.compile.runtime.blocks import Block

    return (
        data is not None
        and data.base is not None
        and type(data.base) not in (Block, Given)
        and (type(data.base) is not np.ndarray or data.base.base is not None or sys.getrefcount(data.base) > 2)
    )


def concrete(leaf: Any) -> np.ndarray:
    """The NumPy array of a leaf."""
    if isinstance(leaf, Value):
        return leaf.held.concrete()
    return np.asarray(leaf, wide_dtype(scalar_dtype(leaf))) if type(leaf) in WEAK else np.asarray(leaf)


def _as_result(leaf: Any) -> Array:
    return leaf if type(leaf) is Array else Array(np.array(concrete(leaf)))


def _donate(leaves: Sequence[Any], donated: Sequence[bool], outs: Sequence[Any]) -> None:
    """Take the memory away from donated arrays, except those returned as they are."""
    returned = {id(o) for o in outs}
    for leaf, given in zip(leaves, donated, strict=True):
        if given and type(leaf) is Array and id(leaf) not in returned:
            _ = leaf.type
            leaf._data = None


class Signature(NamedTuple):
    """All that decides which trace a call uses.

    Attributes:
        structure: of the dynamic arguments, as (args, kwargs).
        abstract_values: shape and dtype of every leaf; of a weak one, the dtype that it holds and that which it shows.
        static: number or name, type and value of every static argument.
        default_float ... effort: settings.
        axes: names and sizes of the axes bound by transforms around the call.
    """

    structure: Any
    abstract_values: tuple[Any, ...]
    static: tuple[Any, ...]
    default_float: str
    default_int: str
    enable_x64: bool
    runtime_checks: bool
    weak_arrays: bool
    check_indices: bool
    numpy_rank_promotion: str
    numpy_dtype_promotion: str
    default_matmul_precision: str
    threefry_partitionable: bool
    disable_most_optimizations: bool
    effort: str
    axes: tuple[Any, ...]

    @property
    def types(self) -> list[TensorType]:
        """Types of the leaves."""
        return [TensorType(value[0], value[1]) for value in self.abstract_values]

    @property
    def weak(self) -> list[np.dtype | None]:
        """For every leaf the dtype that it shows if it is weak, else None."""
        return [value[2] if len(value) == 3 else None for value in self.abstract_values]


#: The settings that a signature holds, in its order.
SIGNED = [
    *("default_float", "default_int", "enable_x64", "runtime_checks", "weak_arrays", "check_indices"),
    *("numpy_rank_promotion", "numpy_dtype_promotion", "default_matmul_precision"),
    *("threefry_partitionable", "disable_most_optimizations", "effort"),
]


def signed_settings() -> tuple[str, str, bool, bool, bool, bool, str, str, str, bool, bool, str]:
    """The values of the settings that a signature holds."""
    found: tuple[str, str, bool, bool, bool, bool, str, str, str, bool, bool, str] = _signed(config)
    return found


_signed: Any = attrgetter(*SIGNED)


class Cache(dict[Signature, Traced]):
    """What was traced, by kind of call.

    Attributes:
        adopted: the same of other processes, without the rules for derivatives: for calls outside of transforms.
        recent: for each state of the configuration the fast calls that were made last.
    """

    def __init__(self) -> None:
        self.adopted: dict[Signature, Traced] = {}
        self.recent: dict[Any, tuple[FastCall, ...]] = {}

    def clear(self) -> None:
        """Forget everything."""
        super().clear()
        self.adopted.clear()
        self.recent.clear()


def abstract_value(leaf: Any) -> Any:
    """What a :class:`Signature` has of a leaf; None if it is no array."""
    if type(leaf) is Array and leaf._data is not None:
        return leaf._data.shape, leaf._data.dtype
    if isinstance(leaf, Value):
        return (leaf.shape, leaf.held.dtype, leaf.dtype) if leaf.weak else (leaf.shape, leaf.dtype)
    if type(leaf) in WEAK:
        shown = scalar_dtype(leaf)
        return (), wide_dtype(shown), shown
    if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype in ANY and canonical(leaf.dtype) == leaf.dtype:
        return leaf.shape, leaf.dtype
    return None


_caches: Any = weakref.WeakKeyDictionary()


def shared_cache(fun: Callable[..., Any], *options: Any) -> Cache:
    """One cache for all jits of the same function with the same options."""
    try:
        return _caches.setdefault(fun, {}).setdefault(options, Cache())
    except TypeError:
        return Cache()


def jitted_functions() -> list[Callable[..., Any]]:
    """The functions that were given to jit and still exist, oldest first."""
    return list(_caches)


def all_caches() -> list[Cache]:
    """The caches of all functions that still exist."""
    return [cache for of_function in _caches.values() for cache in of_function.values()]
