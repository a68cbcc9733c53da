"""Compiled functions as bytes, as ``jax.export`` gives them; made of :mod:`fdl.export`, whose files run no code."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.inspect import ShapeDtypeStruct
from fdl.as_jax.core import ShapedArray
from fdl.dtypes import dtype_of
from fdl.errors import ExportError
from fdl.export import ExportedProgram, from_bytes, program, to_bytes

#: The version of the calling convention, of which JAX has several.
minimum_supported_calling_convention_version = maximum_supported_calling_convention_version = 9


class ExportedCall:
    """An exported function of positional arguments; make one with :func:`export` or :func:`deserialize`.

    Attributes:
        fun_name: the name of the function.
    """

    platforms = ("cpu",)
    nr_devices = 1
    calling_convention_version = maximum_supported_calling_convention_version

    def __init__(self, made: ExportedProgram, fun_name: str) -> None:
        self._made, self.fun_name = made, fun_name

    @property
    def in_avals(self) -> tuple[ShapedArray, ...]:
        """Types of the arguments' leaves."""
        return tuple(ShapedArray(t.shape, t.dtype) for t in tree.leaves(self._made.in_types))

    @property
    def out_avals(self) -> tuple[ShapedArray, ...]:
        """Types of the result's leaves."""
        return tuple(ShapedArray(t.shape, t.dtype) for t in tree.leaves(self._made.out_types))

    @property
    def in_tree(self) -> Any:
        """The structure of (args, kwargs)."""
        return tree.structure((tuple(self._made.in_types), {}))

    @property
    def out_tree(self) -> Any:
        """The structure of the result."""
        return tree.structure(self._made.out_types)

    def call(self, *args: Any) -> Any:
        """The result for arguments of the types that it was exported for; derivatives are those of its operations."""
        return self._made(*args)

    def mlir_module(self) -> str:
        """The Program as text, where JAX has a module of StableHLO."""
        return str(self._made.program)

    def serialize(self, vjp_order: int = 0) -> bytearray:
        """All of it as bytes; `vjp_order` is accepted for ports: derivatives are made of the Program, of any order."""
        return bytearray(to_bytes(self._made))

    def _repr_html_(self) -> str:
        return self._made._repr_html_()

    def __repr__(self) -> str:
        return f"Exported({self.fun_name}, {self.in_tree}, {list(map(str, self.in_avals))})"


def export(
    fun_jit: Callable[..., Any],
    *,
    platforms: Sequence[str] | None = None,
    disabled_checks: Sequence[Any] = (),
    **_: Any,
) -> Callable[..., ExportedCall]:
    """A function that exports `fun_jit` for positional arguments, given as arrays or ShapeDtypeStructs.

    Args:
        fun_jit: a function of arrays.
        platforms: names of platforms, of which there must be ``"cpu"``.
        disabled_checks: accepted for ports: nothing is left unchecked.

    Raises:
        ExportError: only other platforms are asked for, or arguments are passed by keyword.

    >>> import fdl
    >>> exported = export(fdl.jit(lambda x: 2 * x))(fdl.ShapeDtypeStruct((2,), "float32"))
    >>> deserialize(exported.serialize()).call(fdl.numpy.ones(2))
    Array([2., 2.], dtype=float32)
    """
    if platforms is not None and "cpu" not in platforms:
        raise ExportError(f"export: fdl computes on the CPU only, and {list(platforms)} were asked for")

    def exporting(*args: Any, **kwargs: Any) -> ExportedCall:
        if kwargs:
            raise ExportError(f"export takes positional arguments only, got {sorted(kwargs)} by keyword")
        return ExportedCall(program(fun_jit, *args), getattr(fun_jit, "__name__", "function"))

    return exporting


def deserialize(blob: bytes | bytearray) -> ExportedCall:
    """What :meth:`ExportedCall.serialize` wrote; reading it runs no code.

    Raises:
        ExportError: the bytes are something else.
    """
    made = from_bytes(bytes(blob))
    if not isinstance(made, ExportedProgram):
        raise ExportError("deserialize: these bytes hold a model of params and rows; read it by fdl.export.from_bytes")
    return ExportedCall(made, "exported")


class SymbolicScope:
    """Names of unknown extents and what is known about them: fdl has none.

    Raises:
        ExportError: always.
    """

    def __init__(self, constraints_str: Sequence[str] = ()) -> None:
        raise _no_symbols("SymbolicScope")


def symbolic_shape(
    shape_spec: str | None, *, constraints: Sequence[str] = (), scope: Any = None, like: Sequence[int] | None = None
) -> tuple[int, ...]:
    """The extents of a shape given as text.

    Args:
        shape_spec: as ``"2, 3"``; ``"..."`` and ``"_"`` stand for extents of `like`.
        constraints: must be empty.
        scope: must be None.
        like: a shape of known extents.

    Raises:
        ExportError: an extent is a name: Programs are compiled for known shapes.

    >>> symbolic_shape("2, _, ...", like=(2, 3, 4))
    (2, 3, 4)
    """
    words = [word.strip() for word in (shape_spec or "...").strip("() ").split(",") if word.strip()]
    if constraints or scope is not None or not all(re.fullmatch(r"\d+|_|\.\.\.", word) for word in words):
        raise _no_symbols(f"symbolic_shape({shape_spec!r})")
    if "..." in words:
        place = words.index("...")
        count = len(like or ()) - len(words) + 1
        words[place : place + 1] = ["_"] * max(0, count)
    if "_" in words and (like is None or len(like) != len(words)):
        raise ExportError(f"symbolic_shape({shape_spec!r}): '_' and '...' stand for extents of like=, got {like}")
    found = tuple((like or ())[axis] if word == "_" else int(word) for axis, word in enumerate(words))
    if like is not None and found != tuple(like):
        raise ExportError(f"symbolic_shape({shape_spec!r}) does not have the extents {tuple(like)} of like")
    return found


def symbolic_args_specs(args: Any, shapes_specs: Any, constraints: Sequence[str] = (), scope: Any = None) -> Any:
    """ShapeDtypeStructs of arguments, of shapes given as text; see :func:`symbolic_shape`.

    Raises:
        ExportError: an extent is a name.

    >>> symbolic_args_specs((np.ones((2, 3)),), "2, ...")[0].shape
    (2, 3)
    """
    leaves, structure = tree.flatten(args)
    texts: Any = shapes_specs
    if shapes_specs is None or isinstance(shapes_specs, str):
        texts = [shapes_specs] * len(leaves)
    else:
        texts = tree.leaves(shapes_specs)
    specs = [
        ShapeDtypeStruct(
            symbolic_shape(text, constraints=constraints, scope=scope, like=np.shape(leaf)), dtype_of(leaf)
        )
        for leaf, text in zip(leaves, texts, strict=True)
    ]
    return tree.unflatten(structure, specs)


def is_symbolic_dim(p: Any) -> bool:
    """Whether an extent is a name: never.

    >>> is_symbolic_dim(3)
    False
    """
    return False


def _no_symbols(what: str) -> ExportError:
    return ExportError(
        f"{what}: fdl compiles and exports functions for known shapes. Export the function once for each shape, or pad "
        "the batches to one shape"
    )


class DisabledSafetyCheck:
    """A check that an export leaves out; fdl has none of them, and accepts the names."""

    def __init__(self, check_kind: str) -> None:
        self.check_kind = check_kind

    @classmethod
    def platform(cls) -> "DisabledSafetyCheck":
        """That the platform is the one exported for."""
        return cls("platform")

    @classmethod
    def custom_call(cls, target_name: str) -> "DisabledSafetyCheck":
        """That a call of foreign code stays as it is."""
        return cls(f"custom_call:{target_name}")


def default_export_platform() -> str:
    """The platform that functions are exported for.

    >>> default_export_platform()
    'cpu'
    """
    return "cpu"
