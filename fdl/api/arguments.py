"""From Python calls with pytrees to flat sequences of values, and back."""

import functools
import inspect
import operator
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl import tree
from fdl.array import alias, as_weak
from fdl.config import config
from fdl.core.trace import Value
from fdl.errors import LeafError, TreeError
from fdl.tree.structures import explain_structures

#: The dtype of tangents of integers, which have no size.
float0 = np.dtype([("float0", np.void, 0)])


class _Float0:
    """An array of dtype float0, which holds no numbers, as a part of a structure: it stands there as its shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


# What comes out of a structure is the array again.
tree.register_pytree_node(_Float0, lambda node: ((), node.shape), lambda shape, _: np.zeros(shape, float0))


def _is_float0(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.dtype == float0


_LEAF, _ONE_LEAF = tree.flatten(0)[1], tree.flatten(((0,), {}))[1]


def flatten(values: Any) -> tuple[list[Any], Any]:
    """Leaves and structure of a tree, its arrays of dtype float0 among the structure."""
    if isinstance(values, Value):
        return [values], _LEAF
    leaves, structure = tree.flatten(values)
    if any(map(_is_float0, leaves)):
        leaves = [_Float0(leaf.shape) if _is_float0(leaf) else leaf for leaf in leaves]
        leaves, structure = tree.flatten(tree.unflatten(structure, leaves))
    return leaves, structure


def lengthened(values: Any, size: int) -> Any:
    """A tree whose arrays of dtype float0 have one more leading axis; for what is stacked."""
    return tree.map(lambda x: np.zeros((size, *x.shape), float0) if _is_float0(x) else x, values)


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, for messages; of a partial call, that of the function inside."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else type(function).__name__


def require_function(name: str, parameter: str, value: Any) -> None:
    """Raise unless `value`, the argument `parameter` of the function `name`, can be called."""
    if not callable(value):
        kind = type(value).__name__
        raise TypeError(f"{name} needs a function as {parameter}, got {reprlib.repr(value)} of type {kind}")


def flatten_values(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """The leaves of a call's arguments as values, and their structure.

    Raises:
        LeafError: a leaf is not an array; names the argument and the path.
    """
    if len(args) == 1 and not kwargs and isinstance(args[0], Value):
        return [args[0]], _ONE_LEAF
    leaves, structure = flatten((tuple(args), kwargs))
    try:
        return [leaf if isinstance(leaf, Value) else as_weak(leaf) for leaf in leaves], structure
    except LeafError:
        pass
    for path, leaf in tree.leaves_with_path((tuple(args), kwargs)):
        check_leaf(leaf, f"{argument_path(function, path)} of {name_of(function)}")
    raise AssertionError("one of the leaves must have been refused")


def weakness(leaves: Sequence[Any]) -> list[np.dtype | None]:
    """For every value the dtype that it shows if it is weak, else None."""
    return [leaf.type.dtype if leaf.weak else None for leaf in leaves]


def weakened(values: Sequence[Any], weak: Sequence[np.dtype | None]) -> list[Any]:
    """The values, those weak that have a dtype in `weak`: the inverse of taking what they hold."""
    return [v if w is None else v.weakened(w) for v, w in zip(values, weak, strict=True)] if any(weak) else [*values]


def call_structure(*arguments: Any) -> Any:
    """The structure of a call's (args, kwargs), from those of its positional arguments."""
    return tree.treedef_tuple([tree.treedef_tuple(arguments), tree.structure({})])


def check_leaf(leaf: Any, where: str) -> Any:
    """`leaf` as a value, weak if it is a number of Python, or an error that says where it was found."""
    try:
        return as_weak(leaf)
    except LeafError as error:
        if isinstance(leaf, (str, bytes)) or not hasattr(leaf, "dtype"):
            raise LeafError(
                f"{where} is {leaf!r} of type {type(leaf).__name__}, but every leaf must be an array or a number. Keep "
                "such values out of the argument, or make it static (static_argnums, static_argnames)."
            ) from None
        raise LeafError(f"{where}: {error}") from None


def argument_path(function: Callable[..., Any], path: Sequence[Any]) -> str:
    """A path into (args, kwargs) as the user would write it, e.g. ``params['conv1']['w']``."""
    which, step, rest = path[0].idx, path[1], path[2:]
    if which == 1:
        return f"argument {step.key}{tree.keystr(rest)}"
    return f"argument {parameter_name(function, step.idx)}{tree.keystr(rest)}"


def parameter_name(function: Callable[..., Any], number: int) -> str:
    """The name of a positional parameter, or its number."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return str(number)
    return names[number] if number < len(names) else str(number)


class FlatFunction:
    """A function of pytrees as one of flat values; remembers the structure of what it returned.

    Attributes:
        out_structure: structure of the last result (of its first part, with `has_aux`).
        out_weak: for every leaf of the last result (and of aux) the dtype that it shows if it was weak, else None.
        aux: the second part of the last result, its arrays replaced by the numbers of values; see `restore_aux`.

    Args:
        function: takes and returns pytrees.
        structure: of its arguments, as (args, kwargs).
        has_aux: whether it returns a pair of which only the first is transformed.
        weak: for every flat value the dtype that it shows in the function if it is weak there, else None (empty: none).
        holds: whether weak results are returned as what they hold, instead of in the dtype that they show.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        structure: Any,
        has_aux: bool = False,
        weak: Sequence[np.dtype | None] = (),
        holds: bool = False,
    ) -> None:
        require_function("a transform", "fun", function)
        self.function = function
        self.structure = structure
        self.has_aux = has_aux
        self.weak = weak
        self.holds = holds
        self.out_weak: list[np.dtype | None] = []
        self.out_structure: Any = None
        self.count = 0

    @property
    def name(self) -> str:
        """Of the function."""
        return name_of(self.function)

    def describe(self, number: int) -> str:
        """Which argument, or part of one, a flat value is, for messages."""
        return argument_path(self.function, tree.paths(self.structure)[number])

    def __call__(self, *values: Any) -> list[Any]:
        args, kwargs = tree.unflatten(self.structure, weakened(values, self.weak) if self.weak else values)
        result = self.function(*args, **kwargs)
        if self.has_aux:
            if not (isinstance(result, tuple) and len(result) == 2):
                raise TreeError(
                    f"with has_aux=True {name_of(self.function)} must return a pair (output, aux), not {_kind(result)}"
                )
            result, aux = result
        leaves, self.out_structure = flatten(result)
        outs = [self.check_output(leaf, result) for leaf in leaves]
        self.count = len(outs)
        if not self.has_aux:
            return self.settled(outs)
        leaves, self.aux_structure = tree.flatten(aux)
        self.aux_is_value = [isinstance(leaf, Value) for leaf in leaves]
        self.aux_rest = [leaf for leaf in leaves if not isinstance(leaf, Value)]
        return self.settled(outs + [leaf for leaf in leaves if isinstance(leaf, Value)])

    def settled(self, outs: Sequence[Any]) -> list[Any]:
        """The values without their weakness, which is remembered."""
        self.out_weak = weakness(outs)
        return [o.held if self.holds else o.strong() for o in outs] if any(self.out_weak) else [*outs]

    def check_output(self, leaf: Any, result: Any) -> Any:
        """`leaf` as a value, or an error that names the path in the result."""
        if isinstance(leaf, Value):
            return leaf
        try:
            return as_weak(leaf)
        except LeafError:
            path = next(tree.keystr(p) for p, other in tree.leaves_with_path(result) if other is leaf)
            return check_leaf(leaf, f"the output{path} of {name_of(self.function)}")

    def unflatten(self, outs: Sequence[Any]) -> Any:
        """The result with `outs` as its leaves."""
        return tree.unflatten(self.out_structure, returned(outs, self.out_weak[: self.count]))

    def restore_aux(self, values: Sequence[Any]) -> Any:
        """The second part of the result with `values` as its arrays."""
        arrays, rest = iter(returned(values, self.out_weak[self.count :])), iter(self.aux_rest)
        return tree.unflatten(self.aux_structure, [next(arrays) if v else next(rest) for v in self.aux_is_value])


def returned(values: Sequence[Any], weak: Sequence[np.dtype | None]) -> list[Any]:
    """Results as they are handed to the user: weak only under JAX's rules, and not the very Array that came in.

    A tangent of dtype float0 is no value, and never weak.
    """
    if config.weak_arrays and any(weak):
        pairs = zip(values, weak, strict=True)
        return [alias(v) if w is None or _is_float0(v) else v.weakened(w) for v, w in pairs]
    return [*map(alias, values)]


def _kind(value: Any) -> str:
    if isinstance(value, Value):
        return f"an array {value.type}"
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else f"a {type(value).__name__}"


def difference(first: Any, second: Any, path: str = "") -> str:
    """Where and how two different structures part, in words: first against second."""
    found = explain_structures(first, second, path)
    if found is None:
        # Only a leaf of the first stands against a node of the second.
        place, rest = str(explain_structures(second, first, path)).split(": ", 1)
        found = f"{place}: {' against '.join(reversed(rest.split(' against ')))}"
    return found


def argument_numbers(name: str, numbers: Any) -> tuple[int, ...]:
    """One number of an argument, or several of them, as a tuple.

    Raises:
        TypeError: they are no integers.
    """
    given = tuple(numbers) if isinstance(numbers, (list, tuple, set, frozenset, range)) else (numbers,)
    try:
        return tuple(operator.index(n) for n in given)
    except TypeError:
        raise TypeError(f"{name} must be the number of an argument, or several of them, got {numbers!r}") from None


def normalize_numbers(numbers: int | Sequence[int], count: int, name: str) -> tuple[int, ...]:
    """Argument numbers as a tuple of non-negative ints below `count`.

    Raises:
        ValueError: one is out of range.
    """
    given = argument_numbers(name, numbers)
    for number in given:
        if not -count <= number < count:
            raise ValueError(
                f"{name}={numbers!r} names argument {number}, but the call has {count} positional arguments "
                "(those passed by keyword do not count)"
            )
    return tuple(n % count for n in given)
