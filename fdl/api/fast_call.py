"""Python code written for one kind of call: it takes trees of one structure apart and calls machine code.

The slow path from a call to its compiled Program finds the structure and types of whatever comes. A `fast_call` knows
them and only checks that they are the same, which takes a tenth of the time.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optree import PyTreeKind

from fdl import tree
from fdl.array import LARGE, Array, scalar_dtype, wide_dtype
from fdl.dtypes import WEAK, canonical
from fdl.threads import get_num_threads

#: What a fast call returns for arguments that are not of its kind.
MISMATCH = NotImplemented

FastCall = Callable[[tuple[Any, ...], dict[str, Any]], Any]

_SEQUENCES = {PyTreeKind.TUPLE: tuple, PyTreeKind.LIST: list}


def fast_call(
    traced: Any, args: Sequence[Any], kwargs: Mapping[str, Any], static_arguments: Mapping[Any, Any], structure: Any
) -> FastCall | None:
    """A function of (args, kwargs) for calls like this one.

    Args:
        traced: what the call led to, compiled.
        args, kwargs: of the call.
        static_arguments: the static ones among them, by number or name.
        structure: of the other ones.

    Returns:
        The function, which returns `MISMATCH` for calls of another kind; None if there is no faster way.
    """
    from fdl.compile.runtime.blocks import blocks
    from fdl.compile.runtime.executable import workspace
    from fdl.compile.runtime.native.call import native_call
    from fdl.compile.runtime.pool import the_pool

    if any(given and number in traced.forwarded_from for number, given in enumerate(traced.donated)):
        return None
    if traced.out_weak:
        return None  # results are weak arrays, under JAX's name
    executable = traced.compiled.executable
    if executable is None:
        return None
    run = native_call(executable, traced.program.input_types, traced.donated)
    if run is None:
        return None
    names = {"run": run, "workspace": workspace, "blocks": blocks, "the_pool": the_pool}
    writer = _Writer({**names, "get_num_threads": get_num_threads, "executable": executable})
    writer.arguments(args, kwargs, static_arguments, structure)
    leaves = tree.leaves(
        (tuple(a for n, a in enumerate(args) if n not in static_arguments), _without(kwargs, static_arguments))
    )
    if len(leaves) != len(writer.leaves):
        return None  # arrays of dtype float0 are leaves of the call, but not of the structure
    if not all(writer.number(name, leaf) for name, leaf in zip(writer.leaves, leaves, strict=True)):
        return None
    for number in traced.forwarded_from:
        if number is not None:
            writer.require(f"type({writer.leaves[number]}) is {writer.constant(Array)}")
    made = [f"made{n}" for n, p in enumerate(traced.forwarded_from) if p is None]
    results = [f"made{n}" if p is None else writer.leaves[p] for n, p in enumerate(traced.forwarded_from)]
    return writer.finish(made, writer.build(traced.out_structure, results), executable)


def _without(kwargs: Mapping[str, Any], static_arguments: Mapping[Any, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name not in static_arguments}


class _Writer:
    """Writes the function: `check` lines that find the leaves, then `after` lines that put results together."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = {"MISMATCH": MISMATCH, "flatten": tree.flatten, "asarray": np.asarray, **names}
        self.check: list[str] = []
        self.after: list[str] = []
        self.leaves: list[str] = []
        self._count = 0

    def new(self) -> str:
        """A new variable."""
        self._count += 1
        return f"v{self._count}"

    def constant(self, value: Any) -> str:
        """A name for a value that is known now."""
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def require(self, condition: str) -> None:
        """Go on only if an expression holds."""
        self.check.append(f"if not ({condition}): return MISMATCH")

    def arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], static_arguments: Mapping[Any, Any], structure: Any
    ) -> None:
        """Find the leaves of args and kwargs."""
        self.require(f"len(args) == {len(args)} and len(kwargs) == {len(kwargs)}")
        dynamic, by_name = structure.children()
        places = [self.new() for _ in args]
        if places:
            self.check.append(f"{', '.join(places)}, = args")
        rest = iter(dynamic.children())
        for number, name in enumerate(places):
            if number in static_arguments:
                self.static(name, static_arguments[number])
            else:
                self.take_apart(next(rest), name)
        for key, child in zip(by_name.entries(), by_name.children(), strict=True):
            self.take_apart(child, self.item("kwargs", key))
        for key in kwargs:
            if key in static_arguments:
                self.static(self.item("kwargs", key), static_arguments[key])

    def static(self, name: str, value: Any) -> None:
        """Check a static argument."""
        wanted = self.constant(value)
        self.require(f"{name} is {wanted} or type({name}) is {self.constant(type(value))} and {name} == {wanted}")

    def item(self, mapping: str, key: Any) -> str:
        """A variable for an item of a dict."""
        name = self.new()
        self.check.append(f"{name} = {mapping}[{self.constant(key)}]")
        return name

    def take_apart(self, structure: Any, name: str) -> None:
        """Check that a variable has a structure, and find its leaves."""
        kind, count = structure.kind, structure.num_children
        if kind == PyTreeKind.LEAF:
            self.leaves.append(name)
        elif kind == PyTreeKind.NONE:
            self.require(f"{name} is None")
        elif kind == PyTreeKind.DICT:
            self.require(f"type({name}) is dict and len({name}) == {count}")
            for key, child in zip(structure.entries(), structure.children(), strict=True):
                self.take_apart(child, self.item(name, key))
        elif kind in _SEQUENCES or kind == PyTreeKind.NAMEDTUPLE:
            wanted = self.constant(_SEQUENCES.get(kind, structure.type))
            self.require(f"type({name}) is {wanted} and len({name}) == {count}")
            parts = [self.new() for _ in range(count)]
            if parts:
                self.check.append(f"{', '.join(parts)}, = {name}")
            for part, child in zip(parts, structure.children(), strict=True):
                self.take_apart(child, part)
        else:
            found, leaves = self.new(), [self.new() for _ in range(structure.num_leaves)]
            self.check.append(f"{name}, {found} = flatten({name})")
            self.require(f"{found} == {self.constant(structure)}")
            if leaves:
                self.check.append(f"{', '.join(leaves)}, = {name}")
            self.leaves += leaves

    def number(self, name: str, leaf: Any) -> bool:
        """Turn a leaf that is a number into an array; False for a leaf that needs the slow path."""
        kind = type(leaf)
        if kind is np.ndarray and canonical(leaf.dtype) != leaf.dtype:  # 64 bits, where those of 32 take their place
            self.require(f"type({name}) is {self.constant(kind)} and {name}.dtype == {self.constant(leaf.dtype)}")
            self.check.append(f"{name} = asarray({name}, {self.constant(canonical(leaf.dtype))})")
        if kind is Array or kind is np.ndarray:
            return True
        if kind not in WEAK and not isinstance(leaf, np.generic):
            return False
        if kind not in WEAK:
            self.require(f"type({name}) is {self.constant(kind)}")
            self.check.append(f"{name} = asarray({name}, {self.constant(canonical(leaf.dtype))})")
            return True
        shown = scalar_dtype(leaf)
        alike = frozenset(other for other, of in WEAK.items() if of is WEAK[kind])
        self.require(f"type({name}) in {self.constant(alike)}")
        if WEAK[kind] is int:
            self.require(f"{self.constant(scalar_dtype)}({name}) is {self.constant(shown)}")
        self.check.append(f"{name} = asarray({name}, {self.constant(wide_dtype(shown))})")
        return True

    def build(self, structure: Any, results: Sequence[str]) -> str:
        """An expression for a tree of the results, in the order of its leaves."""
        kind, children = structure.kind, structure.children()
        if kind == PyTreeKind.LEAF:
            return results[0]
        if kind == PyTreeKind.NONE:
            return "None"
        name = self.new()
        ends = list(itertools.accumulate(c.num_leaves for c in children))
        parts = [(c, results[end - c.num_leaves : end]) for c, end in zip(children, ends, strict=True)]
        if kind == PyTreeKind.DICT:
            by_key = dict(zip(structure.entries(), parts, strict=True))
            keys = structure.one_level().unflatten(structure.entries())  # in the order in which they were put in
            items = [f"{self.constant(k)}: {self.build(*by_key[k])}" for k in keys]
            self.after.append(f"{name} = {{{', '.join(items)}}}")
        elif kind in _SEQUENCES or kind == PyTreeKind.NAMEDTUPLE:
            items = [self.build(*part) + ", " for part in parts]
            whole = f"[{''.join(items)}]" if kind == PyTreeKind.LIST else f"({''.join(items)})"
            if kind == PyTreeKind.NAMEDTUPLE:
                whole = f"{self.constant(structure.type)}._make({whole})"
            self.after.append(f"{name} = {whole}")
        else:
            leaves = "".join(f"{r}, " for r in results)
            self.after.append(f"{name} = {self.constant(structure)}.unflatten(({leaves}))")
        return name

    def finish(self, made: Sequence[str], result: str, executable: Any) -> FastCall:
        """The function."""
        enter = "enter = address = count = 0"
        if executable.parallel:
            enter = "pool = the_pool(); enter, address = pool.entry; count = pool.reserve(get_num_threads())"
        size = f"{executable.scratch_offset} + {executable.scratch_bytes} * (count or 1)"
        if executable.scratch_offset + executable.scratch_bytes >= LARGE:
            take, give, place = [f"block = blocks.take({size})"], "blocks.give(block)", "block.address"
        else:
            # The first call has made the workspace large enough.
            take = [f"if workspace.busy or workspace.size < {size}: return MISMATCH", "workspace.busy = True"]
            give, place = "workspace.busy = False", "workspace.address"
        body = [
            "def call(args, kwargs):",
            "    try:",
            *("        " + line for line in self.check),
            "    except KeyError:",
            "        return MISMATCH",
            *("    " + line for line in (enter, *take)),
            "    try:",
            f"        made = run({place}, enter, address, count, {', '.join(self.leaves)})",
            "    finally:",
            f"        {give}",
            "    if made is MISMATCH: return MISMATCH",
            "    if made is None: raise executable.error()",
            *([f"    {', '.join(made)}, = made"] if made else []),
            *("    " + line for line in self.after),
            f"    return {result}",
        ]
        # Code for this very structure of arguments takes a fraction of the time of loops over trees.
        exec(compile("\n".join(body), "<fast call>", "exec"), self.names)
        call: FastCall = self.names["call"]
        return call
