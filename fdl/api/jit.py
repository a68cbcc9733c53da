"""jit: functions traced once for each kind of arguments, compiled, and called natively."""

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Generic, ParamSpec, TypeVar, overload

import numpy as np

from fdl import tree
from fdl.api.arguments import FlatFunction, flatten_values, name_of, weakened
from fdl.api.explain import why_traced
from fdl.api.fast_call import MISMATCH, fast_call
from fdl.api.inspect import ShapeDtypeStruct, held_leaves
from fdl.api.options import check_ignored, effort_of
from fdl.api.static import Partly, Static
from fdl.api.traced import (
    Signature,
    Traced,
    abstract_value,
    all_caches,
    concrete,
    logged,
    shared_cache,
    signed_settings,
)
from fdl.api.wrapping import update_wrapper
from fdl.array import Array, eager
from fdl.config import config
from fdl.control.call import Call
from fdl.core.markup import heading
from fdl.core.program import Program
from fdl.core.trace import Value, current, is_eager, trace_program
from fdl.core.types import TensorType
from fdl.ops.convert import convert
from fdl.tracebacks import boundary, hide

P = ParamSpec("P")
R = TypeVar("R")

_log = logging.getLogger("fdl")

#: How many abstract_values of calls of one function are fast at a time.
_RECENT = 4


def _lay_out(leaves: Sequence[Any], donated: Sequence[bool]) -> None:
    """Give Arrays that are strided views memory of their own, which native code can read as it is."""
    for leaf, given in zip(leaves, donated, strict=True):
        if type(leaf) is Array and leaf._data is not None:
            flags = leaf._data.flags
            if not (flags.c_contiguous and flags.aligned and (flags.writeable or not given)):
                leaf._data = leaf._data.copy("C")


class _Signature:
    """The signature of a jitted function, made when it is asked for; the class itself has its own."""

    def __get__(self, jitted: Any, owner: Any = None) -> inspect.Signature | None:
        try:
            return None if jitted is None else inspect.signature(jitted.fun)
        except ValueError:  # of a function written in C
            return None


class Jitted(Generic[P, R]):
    """What :func:`jit` returns; see there."""

    __signature__ = _Signature()

    def __init__(self, fun: Callable[P, R], static: Static, donated: Static, options: dict[str, Any]) -> None:
        update_wrapper(self, fun)
        self.fun = fun
        self.static = static
        self.donated = donated
        self.options = options
        self.effort = effort_of(options["compiler_options"])
        self.cache = shared_cache(fun, static, donated, self.effort)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            if is_eager():
                for call in self.cache.recent.get(config.state, ()):
                    result = call(args, kwargs)
                    if result is not MISMATCH:
                        return result
            return self.call(args, kwargs)
        except BaseException as error:
            hide(error)
            raise

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of any call."""
        if config.disable_jit:
            return self.fun(*args, **kwargs)
        leaves, signature, static_arguments, rest = self.signature(args, kwargs)
        traced = self.cache.get(signature)
        if traced is None and is_eager():
            traced = self.cache.adopted.get(signature)
        if traced is None:
            if config.explain_cache_misses:
                self.explain(args, kwargs)
            traced = self.record(static_arguments, signature, self.donated.marks(args, rest, static_arguments))
            if not traced.captured:
                self.cache[signature] = traced
        if is_eager():
            self.prepare(traced, args, kwargs, static_arguments, signature.structure)
            if traced.fast is not None:
                _lay_out(leaves, traced.donated)
            return tree.unflatten(traced.out_structure, traced.run(leaves))
        held = [leaf.held if isinstance(leaf, Value) else concrete(leaf) for leaf in leaves]
        outs = Call(traced.program, name_of(self.fun))(*traced.captured, *held)
        return tree.unflatten(traced.out_structure, weakened(outs, traced.out_weak) if traced.out_weak else outs)

    def signature(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], Signature, dict[Any, Any], dict[str, Any]]:
        """The leaves of a call's dynamic arguments, its signature, its static arguments, its dynamic keywords."""
        split = self.static.split(args, kwargs) if self.static else (args, {}, kwargs, ())
        dynamic, static_arguments, rest, static = split
        leaves, structure = tree.flatten((dynamic, rest))
        abstract_values = [abstract_value(leaf) for leaf in leaves]
        if None in abstract_values:
            leaves, structure = flatten_values(Partly(self.fun, static_arguments), dynamic, rest)
            abstract_values = [abstract_value(leaf) for leaf in leaves]
        axes = () if is_eager() else current().axis_sizes()
        found = Signature(structure, tuple(abstract_values), static, *signed_settings(), axes)
        return leaves, found, static_arguments, rest

    def explain(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Log why a call is traced."""
        _log.warning("%s", why_traced(self, args, kwargs))

    def prepare(self, traced: Traced, args: Any, kwargs: Any, static_arguments: Any, structure: Any) -> None:
        """Make calls like this one fast, from the second on."""
        if config.checks:
            return
        traced.calls += 1
        if traced.calls == 2:
            from fdl.compile.fallback import otherwise

            make = functools.partial(fast_call, traced, args, kwargs, static_arguments, structure)
            traced.fast = otherwise("fast calls", traced.program, make, None)
        if traced.fast is not None:
            others = [call for call in self.cache.recent.get(config.state, ()) if call is not traced.fast]
            self.cache.recent[config.state] = (traced.fast, *others[: _RECENT - 1])

    def record(self, static_arguments: dict[Any, Any], signature: Signature, donated: tuple[bool, ...]) -> Traced:
        """Record the function for calls of a signature."""
        flat = FlatFunction(Partly(self.fun, static_arguments), signature.structure, weak=signature.weak)
        name, types = name_of(self.fun), signature.types
        with logged("tracing", name, types):
            program, captured = trace_program(flat, types, name)
        out_weak = tuple(flat.out_weak) if config.weak_arrays and any(flat.out_weak) else ()
        marks = donated or (False,) * len(signature.types)
        return Traced(program, captured, flat.out_structure, marks, None, out_weak, name, self.effort)

    @boundary
    def trace(self, *args: Any, **kwargs: Any) -> "TracedCall":
        """Trace for arguments (arrays or ShapeDtypeStructs) without running; see :class:`TracedCall`."""
        split = self.static.split(args, kwargs) if self.static else (args, {}, kwargs, ())
        dynamic, static_arguments, kwargs, static = split
        types, weak, structure = held_leaves(Partly(self.fun, static_arguments), dynamic, kwargs)
        marks = self.donated.marks(args, kwargs, static_arguments)
        abstract_values = tuple(
            (t.shape, t.dtype) if w is None else (t.shape, t.dtype, w) for t, w in zip(types, weak, strict=True)
        )
        axes = () if is_eager() else current().axis_sizes()
        signature = Signature(structure, abstract_values, static, *signed_settings(), axes)
        return TracedCall(self, self.record(static_arguments, signature, marks), signature)

    @boundary
    def lower(self, *args: Any, **kwargs: Any) -> "Lowered":
        """Trace for arguments (arrays or ShapeDtypeStructs) without running; see :class:`Lowered`."""
        return self.trace(*args, **kwargs).lower()

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
class _Stage:
    """A call of a function with arguments of some shapes and dtypes, as it was recorded."""

    jitted: Jitted
    traced: Traced
    signature: Signature

    @property
    def fun_name(self) -> str:
        """The name of the function."""
        return name_of(self.jitted.fun)

    @property
    def program(self) -> Program:
        """What was recorded."""
        return self.traced.program

    @property
    def out_info(self) -> Any:
        """Shapes and dtypes of the result."""
        return tree.unflatten(
            self.traced.out_structure, [ShapeDtypeStruct(t.shape, t.dtype) for t in self.program.output_types]
        )

    def _repr_html_(self) -> str:
        return self.program._repr_html_()


class TracedCall(_Stage):
    """A function as it was recorded for arguments of some shapes and dtypes; :meth:`lower` is the next stage.

    >>> import fdl
    >>> traced = fdl.jit(lambda x: 2 * x).trace(fdl.ShapeDtypeStruct((3,), "float32"))
    >>> traced.out_info, traced.lower().compile()(fdl.numpy.ones(3)).tolist()
    (ShapeDtypeStruct(shape=(3,), dtype=float32), [2.0, 2.0, 2.0])
    """

    def __repr__(self) -> str:
        return f"<traced {self.fun_name}: {self.program!r}>"

    def lower(self, lowering_platforms: Any = None) -> "Lowered":
        """The next stage; `lowering_platforms` is accepted for ports, and ignored."""
        return Lowered(self.jitted, self.traced, self.signature)


class Lowered(_Stage):
    """A traced call: prints as its Program; :meth:`compile` makes it callable."""

    def __repr__(self) -> str:
        return f"<lowered {self.fun_name}: {self.program!r}>"

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
        from fdl.compile.listing import host_target, listing

        return listing(self.traced.computed, self.traced.may_overwrite, stage, host_target(effort=self.traced.effort))

    def cost_analysis(self) -> dict[str, float]:
        """Estimates of a call's work, under XLA's names; what loops and branches hold is counted once.

        Returns:
            ``"flops"``: floating-point operations; ``"bytes accessed"``: bytes that the steps read and write.

        >>> import fdl, fdl.numpy as fnp
        >>> fdl.jit(fnp.matmul).lower(fnp.ones((64, 32)), fnp.ones((32, 16))).cost_analysis()["flops"]
        65536.0
        """
        return _cost_analysis(self.traced)

    def compile(self, compiler_options: Any = None) -> "CompiledFunction":
        """A function of the same arguments, without the static ones, that runs the compiled Program.

        Args:
            compiler_options: as of :func:`jit`, instead of those given there.
        """
        traced, effort = self.traced, effort_of(compiler_options)
        if effort is not None and effort != traced.effort:
            traced = replace(traced, effort=effort, _compiled=None)
        _ = traced.compiled
        return CompiledFunction(name_of(self.jitted.fun), traced, self.signature, self.jitted.fun)


def _static_cost(traced: Traced) -> Any:
    from fdl.compile.profile.report import static_cost

    return static_cost(traced.computed, traced.may_overwrite)


def _cost_analysis(traced: Traced) -> dict[str, float]:
    cost = _static_cost(traced)
    return {"flops": float(cost.flops), "bytes accessed": float(cost.bytes)}


@dataclass(frozen=True)
class MemoryAnalysis:
    """Bytes that a call needs, under XLA's names.

    Attributes:
        argument_size_in_bytes, output_size_in_bytes: of its arguments and results.
        temp_size_in_bytes: of the memory that it works in, which threads' own come on top of.
        alias_size_in_bytes: of results that are made in the memory of donated arguments.
    """

    argument_size_in_bytes: int
    output_size_in_bytes: int
    temp_size_in_bytes: int
    alias_size_in_bytes: int = 0
    generated_code_size_in_bytes: int = 0


class CompiledFunction:
    """A function of arguments of one structure and one set of types, as :meth:`Lowered.compile` makes it.

    It pickles with its machine code, which runs without being compiled again where processor and versions are the
    same; elsewhere the Program, which comes along, is compiled. As with every pickle, who can change it can run code.
    """

    def __init__(self, name: str, traced: Traced, signature: Signature, fun: Callable[..., Any] | None = None) -> None:
        self.__name__, self.traced, self.signature = name, traced, signature
        if fun is not None:
            self.__wrapped__ = fun  # whose arguments errors name

    @boundary
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        traced = self.traced
        leaves, found = flatten_values(self, args, kwargs)
        expected = zip(traced.program.input_types, self.signature.weak, strict=True)
        leaves = [_fitting(leaf, *wanted) for leaf, wanted in zip(leaves, expected, strict=False)]
        types = [leaf.type for leaf in leaves]
        if found != self.signature.structure or types != list(traced.program.input_types):
            raise TypeError(
                f"compiled for ({', '.join(map(str, traced.program.input_types))}), called with "
                f"({', '.join(map(str, types))})"
            )
        return tree.unflatten(traced.out_structure, traced.run(leaves))

    def cost_analysis(self) -> dict[str, float]:
        """See :meth:`Lowered.cost_analysis`."""
        return _cost_analysis(self.traced)

    def memory_analysis(self) -> "MemoryAnalysis":
        """How much memory a call needs.

        >>> import fdl, fdl.numpy as fnp
        >>> fdl.jit(fnp.sin).lower(fnp.ones(4)).compile().memory_analysis().output_size_in_bytes
        16
        """
        program = self.traced.program
        given, made = (
            sum(t.size * t.dtype.itemsize for t in types) for types in (program.input_types, program.output_types)
        )
        cost = _static_cost(self.traced)
        return MemoryAnalysis(given, made, cost.memory_bytes, cost.alias_bytes)

    def __reduce__(self) -> Any:
        traced = self.traced
        if traced.captured:
            raise TypeError(
                f"{self.__name__} closes over values of a transform around it, so that it cannot be pickled"
            )
        of_trace = traced.compiled, traced.forwarded_from, traced.out_structure, traced.donated
        return _restored, (self.__name__, *of_trace, self.signature)

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}>"

    def _repr_html_(self) -> str:
        return f"<div>{heading('compiled', self.__name__)}{self.traced.program._repr_html_()}</div>"


def _fitting(leaf: Any, wanted: TensorType, weak: np.dtype | None) -> Any:
    """A leaf as an input of a compiled Program, to which weak numbers and arrays of the dtype that they show fit."""
    if leaf.weak and leaf.held.type == wanted:
        return leaf.held
    return leaf.strong() if weak is None or leaf.type.dtype != weak else convert(leaf.strong(), wanted.dtype)


def _restored(
    name: str, compiled: Any, forwarded_from: list[int | None], out_structure: Any, donated: Any, signature: Signature
) -> CompiledFunction:
    computed, made = compiled.program, iter(compiled.program.outputs)
    outputs = tuple(next(made) if number is None else computed.inputs[number] for number in forwarded_from)
    program = Program(computed.inputs, computed.equations, outputs, computed.constants)
    return CompiledFunction(name, Traced(program, [], out_structure, donated, compiled), signature)


def _run_compiled(operation: Any, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    from fdl.compile import run_compiled

    eager.run_compiled = run_compiled
    return run_compiled(operation, arrays)


def _exactly(function: Any) -> Any:
    from fdl.compile.llvm.target import host_target

    return jit(function) if host_target().fma else None


def _compiled(program: Program, *least: int) -> Any:
    from fdl.compile.eager import compiled

    eager.compiled = compiled
    return compiled(program, *least)


def _compiled_single(operation: Any, *types: TensorType) -> Any:
    from fdl.compile.eager import compiled_single

    eager.compiled_single = compiled_single
    return compiled_single(operation, *types)


#: The compiler is imported when the first operation with `compile_eagerly` or jitted function runs.
eager.run_compiled = _run_compiled
eager.exactly = _exactly
eager.compiled = _compiled
eager.compiled_single = _compiled_single


@overload
def jit(
    fun: Callable[P, R],
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    compiler_options: Mapping[str, Any] | None = None,
    **ignored: Any,
) -> Jitted[P, R]: ...
@overload
def jit(
    fun: None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    compiler_options: Mapping[str, Any] | None = None,
    **ignored: Any,
) -> Callable[[Callable[P, R]], Jitted[P, R]]: ...
def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    compiler_options: Mapping[str, Any] | None = None,
    **ignored: Any,
) -> Any:
    """`fun`, traced once for every structure and type of arguments and compiled to one native function.

    Args:
        fun: a pure function of pytrees of arrays. Without it, a decorator is returned.
        static_argnums: positional arguments that are hashable Python values; each value is compiled for separately.
        static_argnames: the same by name.
        donate_argnums: positional arguments whose memory may be reused for results; they cannot be used afterwards.
        donate_argnames: the same by name.
        compiler_options: ``{"effort": "fast"}`` has programs that take less than about 0.1 ms a call compiled in half
            of the time, without LLVM's optimization, and others as ever; ``"full"`` optimizes all; without an effort
            `fdl.config.effort` decides, and for a call inside of another jitted function that one's. Options of XLA are
            accepted for ports, and ignored.
        **ignored: `device`, `backend`, `inline`, `keep_unused`, `abstracted_axes`, `in_shardings` and `out_shardings`
            are accepted for ports.

    Returns:
        A function of the same arguments. It has `lower`, `eval_shape` and `clear_cache`, and pickles.

    Raises:
        LeafError: an argument is no array; names its path.
        ConcretizationError: Python control flow needs the value of a traced array.
        ValueError: `compiler_options` asks for an effort that there is not.

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
        "compiler_options": compiler_options,
    }
    check_ignored(ignored)
    if fun is None:
        return functools.partial(jit, **options)
    if not callable(fun):
        raise TypeError(f"jit needs a function, got {fun!r}")
    static = Static(fun, static_argnums, static_argnames, "static")
    return Jitted(fun, static, Static(fun, donate_argnums, donate_argnames, "donate"), options)


def explain_cache_miss(f: Callable[..., Any]) -> Callable[..., str]:
    """A function that tells, for arguments of `f`, whether a call would be traced and compiled again, and why.

    Nothing is run, but `f` may be traced to see whether its machine code is on disk. With
    ``fdl.config.explain_cache_misses = True`` such texts are logged by themselves, by the logger ``fdl``.

    Args:
        f: a function made by :func:`fdl.jit`.

    Returns:
        A function of the arguments of `f` that returns a text. It compares the call with the most similar one before.

    Raises:
        TypeError: `f` is not jitted.

    >>> import fdl, fdl.numpy as fnp
    >>> f = fdl.jit(lambda params, scale: params["w"] * scale)
    >>> _ = f({"w": fnp.ones(3)}, 2.0)
    >>> print(fdl.explain_cache_miss(f)({"w": fnp.ones(4)}, 2.0).splitlines()[1])
      argument params['w']: shape (4,) now, (3,) before
    """
    if not isinstance(f, Jitted):
        raise TypeError(f"explain_cache_miss needs a jitted function, got {f!r}; wrap it in fdl.jit first")

    def explain(*args: Any, **kwargs: Any) -> str:
        return why_traced(f, args, kwargs)

    return explain


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
    for cache in all_caches():
        cache.clear()
