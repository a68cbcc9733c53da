"""A function that computes named arrays, for a few numbers of rows."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.arguments import name_of
from fdl.api.inspect import ShapeDtypeStruct, eval_shape
from fdl.api.jit import jit
from fdl.errors import CheckError, ServeError
from fdl.export import Exported, ExportedFunction, ExportedProgram
from fdl.serve.signature import NamedType, named_types, plain_dtype


@dataclass(frozen=True)
class Served:
    """A compiled function of arrays.

    Attributes:
        inputs: what it takes.
        outputs: what it gives.
        bare: whether the input, and the output, is one array and no dict, list or tuple.
        sizes: the numbers of rows that it is compiled for, ascending; none if requests are not joined.
        call: the function, from the leaves of a batch to the leaves of the result.
        example: the leaves of a batch, for warming up.
    """

    inputs: tuple[NamedType, ...]
    outputs: tuple[NamedType, ...]
    bare: tuple[bool, bool]
    sizes: tuple[int, ...]
    call: Callable[[list[np.ndarray]], list[np.ndarray]]
    example: list[np.ndarray]

    def warm_up(self) -> None:
        """Compile for each number of rows."""
        for size in self.sizes or (None,):
            leaves = [x if size is None else np.repeat(x[:1], size, axis=0) for x in self.example]
            with suppress(CheckError):  # of zeros, which no client has sent; it is compiled
                self.call(leaves)

    def compute(self, arrays: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[int]]:
        """The outputs for arrays of any number of rows, and the numbers of rows that were computed at once.

        Rows are padded by copies of the last one to the next number that the function is compiled for.
        """
        if not self.sizes:
            return self.call(list(arrays)), []
        total, largest = arrays[0].shape[0], self.sizes[-1]
        if not total:
            return [np.empty((0, *type.shape), type.dtype) for type in self.outputs], []
        pieces, computed = [], []
        for start in range(0, total, largest):
            count = min(total - start, largest)
            size = next(size for size in self.sizes if size >= count)
            places = np.minimum(np.arange(start, start + size), total - 1)
            taken = [x[start : start + size] if size == count else x[places] for x in arrays]
            pieces.append([x[:count] for x in self.call(taken)])
            computed.append(count)
        return [np.concatenate(parts) if len(parts) > 1 else parts[0] for parts in zip(*pieces, strict=True)], computed


def default_sizes(most: int) -> tuple[int, ...]:
    """A few numbers of rows up to the largest, each a quarter of the next.

    >>> default_sizes(32)
    (1, 2, 8, 32)
    """
    sizes = {1, most}
    while most > 1:
        sizes.add(most := -(-most // 4))
    return tuple(sorted(sizes))


def served(model: Any, params: Any, example: Any, sizes: Sequence[int] | None, join: bool) -> Served:
    """What is served of a function, an exported function or an exported program.

    Raises:
        ServeError: it takes or gives what no body can hold, or has no rows.
    """
    function: Any
    given = any(value is not None for value in (params, example, sizes))
    if given and isinstance(model, ExportedProgram | Exported):
        raise ServeError("an exported function has its parameters, example and number of rows: leave them out")
    if isinstance(model, Exported):
        function, params, example, sizes = model.apply, model.params, model.apply.batch, (model.apply.rows,)
    elif isinstance(model, ExportedProgram):
        whole = len(model.in_types) == 1
        function = (lambda _, batch: model(batch)) if whole else (lambda _, batch: model(*batch))
        example, join = model.in_types[0] if whole else model.in_types, False
    elif callable(model) and not isinstance(model, ExportedFunction):
        if example is None:
            raise ServeError(f"application({name_of(model)}) needs an example of a batch: arrays or ShapeDtypeStructs")
        function = model if params is not None else lambda _, batch: model(batch)
    else:
        raise ServeError(f"application takes a function, or what fdl.export.load gives; got {type(model).__name__}")
    return _compiled(name_of(model), function, params, example, tuple(sorted({*(sizes or ())})) if join else ())


def _compiled(name: str, function: Any, params: Any, example: Any, sizes: tuple[int, ...]) -> Served:
    leaves, structure = tree.flatten(example)
    leaves = [x if hasattr(x, "dtype") and hasattr(x, "shape") else np.asarray(x) for x in leaves]
    if not leaves or (sizes and any(not x.shape for x in leaves)):
        raise ServeError(f"{name}: an example must have arrays, all with rows first")
    if sizes and sizes[0] < 1:
        raise ServeError(f"batch sizes must be at least 1, got {list(sizes)}")
    join = bool(sizes)

    def types(size: int) -> Any:
        rows = [ShapeDtypeStruct((size, *x.shape[1:]) if join else x.shape, x.dtype) for x in leaves]
        return eval_shape(function, params, tree.unflatten(structure, rows))

    result = types(sizes[-1] if join else 0)
    for path, found in tree.leaves_with_path(result):
        if join and found.shape[:1] != sizes[-1:]:
            raise ServeError(
                f"{name}: the result{tree.keystr(path)} of {sizes[-1]} rows has shape {found.shape}; it must have a "
                f"row for each, or application(..., join=False) serves whole batches"
            )
    result_types = tree.map(lambda x: ShapeDtypeStruct(x.shape, plain_dtype(x.dtype)), result)
    inputs, outputs = named_types(example, "input", join), named_types(result_types, "output", join)
    if not outputs:
        raise ServeError(f"{name} returns no arrays")
    call = function if isinstance(function, ExportedFunction) else jit(function)

    def run(arrays: list[np.ndarray]) -> list[np.ndarray]:
        found = [np.asarray(x) for x in tree.leaves(call(params, tree.unflatten(structure, arrays)))]
        return [x.astype(type.dtype, copy=False) for type, x in zip(outputs, found, strict=True)]

    known = [_example(x, join) for x in leaves]
    bare = tuple(tree.all_leaves([value]) for value in (example, result))
    return Served(inputs, outputs, (bare[0], bare[1]), sizes, run, known)


def _example(leaf: Any, join: bool) -> np.ndarray:
    """An array of the example; zeros if only its type is known, one row of them if requests are joined."""
    if isinstance(leaf, ShapeDtypeStruct) or (join and not leaf.shape[0]):
        return np.zeros((1, *leaf.shape[1:]) if join else leaf.shape, leaf.dtype)
    return np.asarray(leaf)
