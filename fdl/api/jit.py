"""jit: functions traced once for each kind of arguments, compiled, and called natively."""

import functools
import logging
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fdl import tree
from fdl.api.arguments import PYTHON_SCALARS, FlatFunction, flatten_values, name_of
from fdl.api.fast_call import MISMATCH, FastCall, fast_call
from fdl.api.inspect import ShapeDtypeStruct, abstract_leaves
from fdl.api.static import Partly, Static
from fdl.array import Array, eager, scalar_dtype
from fdl.config import config
from fdl.control.call import Call
from fdl.core.program import Program
from fdl.core.trace import Value, current, is_eager, trace_program
from fdl.core.types import TensorType
from fdl.dtypes import ANY

_log = logging.getLogger("fdl")

#: How many kinds of calls of one function are fast at a time.
_RECENT = 4


@dataclass
class Traced:
    """A function traced for one kind of arguments.

    Attributes:
        program: what was recorded; its first inputs are `captured`.
        captured: tracers of enclosing transforms that the function closes over.
        out_structure: of the result.
        donated: which leaves are donated.
    """

    program: Program
    captured: list[Any]
    out_structure: Any
    donated: tuple[bool, ...]
    _compiled: Any = None

    def __post_init__(self) -> None:
        place = {var: number for number, var in enumerate(self.program.inputs)}
        atoms = self.program.outputs
        #: For every output, the number of the input it simply is, or None.
        self.passed = [place.get(a) for a in atoms]  # type: ignore[arg-type]
        self.computed = self.program
        if any(p is not None for p in self.passed):
            kept = tuple(a for a, p in zip(atoms, self.passed, strict=True) if p is None)
            self.computed = Program(self.program.inputs, self.program.equations, kept, self.program.constants)
        #: How many calls went the general way, and the faster way that is made for the second.
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
    def free(self) -> tuple[bool, ...]:
        """Which inputs may be overwritten: the donated ones, unless they are returned as they are."""
        return tuple(given and n not in self.passed for n, given in enumerate(self.donated))

    @property
    def compiled(self) -> Any:
        """The native function, made when first needed."""
        if self._compiled is None:
            from fdl.compile import compile_program

            self._compiled = compile_program(self.computed, self.free)
        return self._compiled

    def run(self, leaves: Sequence[Any]) -> list[Any]:
        """Results for concrete leaves."""
        shared = self._shared(leaves) if self.donates else ()
        arrays = [leaf._data if type(leaf) is Array and leaf._data is not None else concrete(leaf) for leaf in leaves]
        for number in shared:
            arrays[number] = arrays[number].copy()
        made = iter(self.compiled.run(arrays))
        outs = [Array(next(made)) if p is None else _as_result(leaves[p]) for p in self.passed]
        if self.donates:
            _donate(leaves, self.donated, outs)
        return outs


def _is_window(data: np.ndarray | None) -> bool:
    """Whether an array looks at memory of another object that somebody else holds too."""
    from fdl.compile.runtime.blocks import Block

    return (
        data is not None
        and data.base is not None
        and type(data.base) is not Block
        and (type(data.base) is not np.ndarray or data.base.base is not None or sys.getrefcount(data.base) > 2)
    )


def _lay_out(leaves: Sequence[Any], donated: Sequence[bool]) -> None:
    """Give Arrays that are strided views memory of their own, which native code can read as it is."""
    for leaf, given in zip(leaves, donated, strict=True):
        if type(leaf) is Array and leaf._data is not None:
            flags = leaf._data.flags
            if not (flags.c_contiguous and flags.aligned and (flags.writeable or not given)):
                leaf._data = leaf._data.copy("C")


def concrete(leaf: Any) -> np.ndarray:
    """The NumPy array of a leaf."""
    if isinstance(leaf, Value):
        return leaf.concrete()
    return np.asarray(leaf, scalar_dtype(leaf)) if type(leaf) in PYTHON_SCALARS else np.asarray(leaf)


def _as_result(leaf: Any) -> Array:
    return leaf if type(leaf) is Array else Array(np.array(concrete(leaf)))


class Signature(NamedTuple):
    """All that decides which trace a call uses.

    Attributes:
        structure: of the dynamic arguments, as (args, kwargs).
        kinds: shape and dtype of every leaf, and a mark if it is weak.
        static: number or name, type and value of every static argument.
        default_float, default_int: settings.
        axes: names and sizes of the axes bound by transforms around the call.
    """

    structure: Any
    kinds: tuple[Any, ...]
    static: tuple[Any, ...]
    default_float: str
    default_int: str
    axes: tuple[Any, ...]


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


class Jitted:
    """What :func:`jit` returns; see there."""

    def __init__(self, fun: Callable[..., Any], static: Static, donated: Static, options: dict[str, Any]) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.static = static
        self.donated = donated
        self.options = options
        self.cache = _shared_cache(fun, static, donated)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if is_eager():
            for call in self.cache.recent.get(config.state, ()):
                result = call(args, kwargs)
                if result is not MISMATCH:
                    return result
        return self.call(args, kwargs)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of any call."""
        if config.disable_jit:
            return self.fun(*args, **kwargs)
        leaves, signature, fixed, rest = self.signature(args, kwargs)
        traced = self.cache.get(signature)
        if traced is None and is_eager():
            traced = self.cache.adopted.get(signature)
        if traced is None:
            if config.explain_cache_misses:
                self.explain(args, kwargs)
            types, weak = [TensorType(k[0], k[1]) for k in signature.kinds], [len(k) == 3 for k in signature.kinds]
            traced = self.trace(fixed, signature.structure, types, weak, self.donated.marks(args, rest, fixed))
            if not traced.captured:
                self.cache[signature] = traced
        if is_eager():
            self.prepare(traced, args, kwargs, fixed, signature.structure)
            if traced.fast is not None:
                _lay_out(leaves, traced.donated)
            return tree.unflatten(traced.out_structure, traced.run(leaves))
        outs = Call(traced.program, name_of(self.fun))(*traced.captured, *leaves)
        return tree.unflatten(traced.out_structure, outs)

    def signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], Signature, dict[Any, Any], dict[str, Any]]:
        """The leaves of a call's dynamic arguments, its signature, its static arguments, its dynamic keywords."""
        dynamic, fixed, rest, static = self.static.split(args, kwargs) if self.static else (args, {}, kwargs, ())
        leaves, structure = tree.flatten((dynamic, rest))
        kinds = [_kind(leaf) for leaf in leaves]
        if None in kinds:
            leaves, structure = flatten_values(Partly(self.fun, fixed), dynamic, rest)
            kinds = [_kind(leaf) for leaf in leaves]
        axes = () if is_eager() else current().axis_sizes()
        found = Signature(structure, tuple(kinds), static, config.default_float, config.default_int, axes)
        return leaves, found, fixed, rest

    def explain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Log why a call is traced."""
        from fdl.api.explain import explain_cache_miss

        _log.warning("%s", explain_cache_miss(self)(*args, **kwargs))

    def prepare(self, traced: Traced, args: Any, kwargs: Any, fixed: Any, structure: Any) -> None:
        """Make calls like this one fast, from the second on."""
        traced.calls += 1
        if traced.calls == 2:
            from fdl.compile.fallback import otherwise

            make = functools.partial(fast_call, traced, args, kwargs, fixed, structure)
            traced.fast = otherwise("fast calls", traced.program, make, None)
        if traced.fast is not None:
            others = [call for call in self.cache.recent.get(config.state, ()) if call is not traced.fast]
            self.cache.recent[config.state] = (traced.fast, *others[: _RECENT - 1])

    def trace(
        self, fixed: dict[Any, Any], structure: Any, types: Sequence[TensorType], weak: Sequence[bool], donated: Any
    ) -> Traced:
        """Record the function for leaves of the given types."""
        flat = FlatFunction(Partly(self.fun, fixed), structure)
        program, captured = trace_program(flat, types, name_of(self.fun), weak)
        return Traced(program, captured, flat.out_structure, donated or (False,) * len(types))

    def lower(self, *args: Any, **kwargs: Any) -> "Lowered":
        """Trace for arguments (arrays or ShapeDtypeStructs) without running; see :class:`Lowered`."""
        dynamic, fixed, kwargs, static = self.static.split(args, kwargs) if self.static else (args, {}, kwargs, ())
        types, structure = abstract_leaves(Partly(self.fun, fixed), dynamic, kwargs)
        weak = [type(leaf) in PYTHON_SCALARS for leaf in tree.leaves((dynamic, kwargs))]
        marks = self.donated.marks(args, kwargs, fixed)
        kinds = tuple((t.shape, t.dtype, "weak") if w else (t.shape, t.dtype) for t, w in zip(types, weak, strict=True))
        axes = () if is_eager() else current().axis_sizes()
        signature = Signature(structure, kinds, static, config.default_float, config.default_int, axes)
        return Lowered(self, self.trace(fixed, structure, types, weak, marks), signature)

    def adopt(self, compiled: "CompiledFunction") -> None:
        """Let calls of its types run what was compiled from the same function, in another process say.

        Args:
            compiled: what `lower(...).compile()` gave there, unpickled here. Calls of other types, and calls inside of
                transforms, are traced and compiled as ever.

        >>> import fdl, pickle
        >>> double = lambda x: x * 2
        >>> sent = pickle.dumps(fdl.jit(double).lower(fdl.ShapeDtypeStruct((2,), "float32")).compile())
        >>> here = fdl.jit(double)
        >>> here.adopt(pickle.loads(sent))
        >>> here(fdl.numpy.ones(2))
        Array([2., 2.], dtype=float32)
        """
        self.cache.adopted[compiled.signature] = compiled.traced

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Shapes and dtypes of the result."""
        return self.lower(*args, **kwargs).out_info

    def clear_cache(self) -> None:
        """Forget everything that was traced."""
        self.cache.clear()

    def __repr__(self) -> str:
        return f"<jitted {name_of(self.fun)}>"

    def __reduce__(self) -> Any:
        module = sys.modules.get(self.fun.__module__)
        if getattr(module, self.fun.__qualname__, None) is self:
            return self.fun.__qualname__
        return functools.partial(jit, **self.options), (self.fun,)


@dataclass
class Lowered:
    """A traced call: prints as its Program; :meth:`compile` makes it callable."""

    jitted: Jitted
    traced: Traced
    signature: Signature

    @property
    def out_info(self) -> Any:
        """Shapes and dtypes of the result."""
        return tree.unflatten(
            self.traced.out_structure, [ShapeDtypeStruct(t.shape, t.dtype) for t in self.traced.program.output_types]
        )

    def as_text(self, stage: str = "traced") -> str:
        """What a stage of the compiler makes of the call, as text.

        A notebook shows it with parts to unfold, an interactive terminal in colours.

        Args:
            stage: ``traced`` (the Program as it was recorded), ``optimized`` (after the passes from Program to
                Program), ``schedule`` (the steps, each with its kernel or loops and the place of its results),
                ``loops`` (the same with the loops of each step), ``llvm`` (the module before LLVM optimizes it) or
                ``asm`` (machine code for this processor).

        Raises:
            ValueError: there is no such stage.

        >>> import fdl, fdl.numpy as fnp
        >>> lowered = fdl.jit(lambda x: (fnp.exp(x) + 1).sum(axis=1)).lower(fnp.ones((4, 3)))
        >>> lowered.as_text("loops")
        plan(a:f32[4,3]) {  # 1 steps, 0 bytes
          0: e:f32[4] in output 0 = loops 4, reducing 3: exp, add, sum
              for i in 4:
                for j in 3:  # reduced
                  %0 = load a[3 i + j]
                  %1 = exp %0 :f32
                  %2 = 1.0:f32
                  %3 = add %1 %2 :f32
                  sum %3 -> e[i]
          return e
        }
        """
        from fdl.compile.listing import listing

        return listing(self.traced.computed, self.traced.free, stage)

    def compile(self) -> "CompiledFunction":
        """A function of the same arguments, without the static ones, that runs the compiled Program."""
        _ = self.traced.compiled
        return CompiledFunction(name_of(self.jitted.fun), self.traced, self.signature, self.jitted.fun)


class CompiledFunction:
    """A function of arguments of one structure and one set of types, as :meth:`Lowered.compile` makes it.

    It pickles with its machine code, which runs without being compiled again where processor and versions are the
    same; elsewhere the Program, which comes along, is compiled. As with every pickle, who can change it can run code.
    """

    def __init__(self, name: str, traced: Traced, signature: Signature, fun: Callable[..., Any] | None = None) -> None:
        self.__name__, self.traced, self.signature = name, traced, signature
        if fun is not None:
            self.__wrapped__ = fun  # whose arguments errors name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        traced = self.traced
        leaves, found = flatten_values(self, args, kwargs)
        types = [leaf.type for leaf in leaves]
        if found != self.signature.structure or types != list(traced.program.input_types):
            raise TypeError(
                f"compiled for ({', '.join(map(str, traced.program.input_types))}), called with "
                f"({', '.join(map(str, types))})"
            )
        return tree.unflatten(traced.out_structure, traced.run(leaves))

    def __reduce__(self) -> Any:
        traced = self.traced
        if traced.captured:
            raise TypeError(
                f"{self.__name__} closes over values of a transform around it, so that it cannot be pickled"
            )
        parts = self.__name__, traced.compiled, traced.passed, traced.out_structure, traced.donated, self.signature
        return _restored, parts

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}>"


def _restored(
    name: str, compiled: Any, passed: Sequence[int | None], out_structure: Any, donated: Any, signature: Signature
) -> CompiledFunction:
    computed, made = compiled.program, iter(compiled.program.outputs)
    outputs = tuple(next(made) if number is None else computed.inputs[number] for number in passed)
    program = Program(computed.inputs, computed.equations, outputs, computed.constants)
    return CompiledFunction(name, Traced(program, [], out_structure, donated, compiled), signature)


def _kind(leaf: Any) -> Any:
    """Shape and dtype of a leaf, and a mark if it is weak; None if it is no array."""
    if type(leaf) is Array and leaf._data is not None:
        return leaf._data.shape, leaf._data.dtype
    if isinstance(leaf, Value):
        return (leaf.shape, leaf.dtype, "weak") if leaf.weak else (leaf.shape, leaf.dtype)
    if type(leaf) in PYTHON_SCALARS:
        return (), scalar_dtype(leaf), "weak"
    if isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype in ANY:
        return leaf.shape, leaf.dtype
    return None


def _donate(leaves: Sequence[Any], donated: Sequence[bool], outs: Sequence[Any]) -> None:
    """Take the memory away from donated arrays, except those returned as they are."""
    returned = {id(o) for o in outs}
    for leaf, given in zip(leaves, donated, strict=True):
        if given and type(leaf) is Array and id(leaf) not in returned:
            _ = leaf.type
            leaf._data = None


def _run_heavy(operation: Any, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    from fdl.compile import run_heavy

    eager.run_heavy = run_heavy
    return run_heavy(operation, arrays)


#: The compiler is imported when the first heavy operation or jitted function runs.
eager.run_heavy = _run_heavy

_caches: Any = weakref.WeakKeyDictionary()


def _shared_cache(fun: Callable[..., Any], static: Static, donated: Static) -> Cache:
    """One cache for all jits of the same function with the same options."""
    try:
        return _caches.setdefault(fun, {}).setdefault((static, donated), Cache())
    except TypeError:
        return Cache()


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    **ignored: Any,
) -> Any:
    """`fun`, traced once for every structure and type of arguments and compiled to one native function.

    Args:
        fun: a pure function of pytrees of arrays. Without it, a decorator is returned.
        static_argnums: positional arguments that are hashable Python values; each value is compiled for separately.
        static_argnames: the same by name.
        donate_argnums: positional arguments whose memory may be reused for results; they cannot be used afterwards.
        donate_argnames: the same by name.
        **ignored: `device`, `backend`, `inline`, `keep_unused` and `abstracted_axes` are accepted for ports.

    Returns:
        A function of the same arguments. It has `lower`, `eval_shape` and `clear_cache`, and pickles.

    Raises:
        LeafError: an argument is no array; names its path.
        ConcretizationError: Python control flow needs the value of a traced array.

    >>> import fdl, fdl.numpy as fnp
    >>> f = fdl.jit(lambda x: fnp.sum(x * 2.0))
    >>> f(fnp.arange(3.0))
    Array(6., dtype=float32)
    """
    options: dict[str, Any] = {
        "static_argnums": static_argnums,
        "static_argnames": static_argnames,
        "donate_argnums": donate_argnums,
        "donate_argnames": donate_argnames,
    }
    unknown = set(ignored) - {"device", "backend", "inline", "keep_unused", "abstracted_axes", "compiler_options"}
    if unknown:
        raise TypeError(f"jit got an unexpected keyword argument {sorted(unknown)[0]!r}")
    if fun is None:
        return functools.partial(jit, **options)
    if not callable(fun):
        raise TypeError(f"jit needs a function, got {fun!r}")
    static = Static(fun, static_argnums, static_argnames, "static")
    return Jitted(fun, static, Static(fun, donate_argnums, donate_argnames, "donate"), options)


def jitted_functions() -> list[Callable[..., Any]]:
    """The functions that were given to jit and still exist, oldest first."""
    return list(_caches)


@contextmanager
def disable_jit(disable: bool = True) -> Iterator[None]:
    """Run jitted functions operation by operation inside the block.

    >>> import fdl
    >>> with fdl.disable_jit():
    ...     fdl.jit(lambda x: print(x))(1.0)
    1.0
    """
    saved, config.disable_jit = config.disable_jit, disable
    try:
        yield
    finally:
        config.disable_jit = saved


def clear_caches() -> None:
    """Forget every traced and compiled function."""
    for cache in _caches.values():
        for traced in cache.values():
            traced.clear()
