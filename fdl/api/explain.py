"""Why a call of a jitted function (`fdl.api.jit.Jitted`) is traced or compiled once more."""

import re
from collections.abc import Iterator
from typing import Any

from fdl.api.arguments import FlatFunction, difference, name_of, parameter_name
from fdl.api.static import Partly
from fdl.api.traced import SIGNED, Signature, jitted_functions
from fdl.control.check import numbered
from fdl.core.program import Program
from fdl.transforms.inline import inline

_HINTS = {
    "shape": "a shape is part of what is compiled: pad to a few sizes, or cut the data into pieces of one size",
    "dtype": "a dtype is part of what is compiled: convert the argument always or never",
    "weak": "a Python number and an array are compiled apart: pass always one of them",
    "static": "each value of a static argument is compiled apart: only what decides on shapes or branches should be so",
    "structure": "the structure of a tree is part of what is compiled: keep the same keys and lengths, in every call",
}


def why_traced(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Whether a call of a jitted function would be traced and compiled again, and why."""
    return "\n".join(_lines(f, args, kwargs))


def _lines(f: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[str]:
    name = name_of(f.fun)
    _, signature, static_arguments, rest = f.signature(args, kwargs)
    if signature in f.cache:
        yield f"{name} was traced for this kind of call before: nothing is traced or compiled again."
        return
    known = list(f.cache)  # other threads add to it
    if known:
        flat = FlatFunction(Partly(f.fun, static_arguments), signature.structure)
        found = [list(_differences(flat, signature, other)) for other in known]
        nearest = min(reversed(found), key=len)
        count = len(found)
        yield (
            f"{name} is traced again: it was traced for {count} kind{'s' * (count > 1)} of calls, and the most similar "
            "one differs in"
        )
        yield from (f"  {line}" for _, line in nearest)
        yield from (f"Hint: {_HINTS[kind]}." for kind in dict.fromkeys(kind for kind, _ in nearest) if kind in _HINTS)
    else:
        yield f"{name} is traced: this function object has not been called{_sisters(f)}."
    donated = f.donated.marks(args, rest, static_arguments)
    try:
        traced = f.record(static_arguments, signature, donated)
    except Exception as error:
        yield f"Tracing it fails: {type(error).__name__}: {error}"
        return
    if traced.captured:
        yield (
            f"{name} uses {len(traced.captured)} traced value{'s' * (len(traced.captured) > 1)} of an enclosing "
            "transform, so every call of it is traced. Pass them as arguments instead."
        )
    yield _on_disk(traced.computed, traced.may_overwrite)


def _differences(flat: FlatFunction, new: Signature, old: Signature) -> Iterator[tuple[str, str]]:
    """What distinguishes two signatures: kinds of differences and their descriptions."""
    before = {place: value for place, _, value in old.static}
    for place, kind, value in new.static:
        if place not in before:
            yield "static", f"static argument {place}: {value!r} now, not given before"
        elif type(before[place]) is not kind or before[place] != value:
            yield "static", f"static argument {place}: {value!r} now, {before[place]!r} before"
    for place in before.keys() - {place for place, _, _ in new.static}:
        yield "static", f"static argument {place}: not given now, {before[place]!r} before"
    if new.structure != old.structure:
        yield "structure", _structures(flat, new.structure, old.structure)
    else:
        for number, (now, then) in enumerate(zip(new.abstract_values, old.abstract_values, strict=True)):
            if now != then:
                yield from _leaf_differences(flat.describe(number), now, then)
    for field in SIGNED:
        if getattr(new, field) != getattr(old, field):
            yield "setting", f"fdl.config.{field}: {getattr(new, field)!r} now, {getattr(old, field)!r} before"
    if new.axes != old.axes:
        yield "axes", f"named axes around the call: {dict(new.axes)} now, {dict(old.axes)} before"


def _structures(flat: FlatFunction, new: Any, old: Any) -> str:
    place, _, rest = difference(new, old).partition(": ")
    now, _, before = rest.partition(" against ")
    positional = re.match(r"at \[0\]\[(\d+)\](.*)", place)
    named = re.match(r"at \[1\]\['(\w+)'\](.*)", place)
    if positional:
        where = f"argument {parameter_name(flat.function, int(positional[1]))}{positional[2]}"
    else:
        where = f"argument {named[1]}{named[2]}" if named else "the arguments"
    if where == "the arguments":
        now, before = map(_counts, (new, old))
    return f"{where}: {now} now, {before.partition(': ')[0]} before"


def _counts(structure: Any) -> str:
    args, kwargs = structure.children()
    return f"{args.num_children} by position and {kwargs.entries() or 'none'} by name"


def _leaf_differences(where: str, now: Any, then: Any) -> Iterator[tuple[str, str]]:
    if now[0] != then[0]:
        yield "shape", f"{where}: shape {now[0]} now, {then[0]} before"
    if now[-1] != then[-1]:
        yield "dtype", f"{where}: dtype {now[-1]} now, {then[-1]} before"
    if len(now) != len(then):
        one, other = ("a Python number", "an array") if len(now) == 3 else ("an array", "a Python number")
        yield "weak", f"{where}: {one} now, {other} before"


def _sisters(f: Any) -> str:
    """Whether functions of the same code have been traced: `f` was made anew, in a loop perhaps."""
    code = getattr(f.fun, "__code__", None)
    others = [g for g in jitted_functions() if g is not f.fun and getattr(g, "__code__", None) is code]
    if code is None or not others:
        return ""
    text = f", but the same code was jitted {len(others)} time{'s' * (len(others) > 1)} before as another object"
    mine, theirs = f.fun.__closure__ or (), others[-1].__closure__ or ()
    changed = [repr(name) for name, a, b in zip(code.co_freevars, mine, theirs, strict=True) if not _same(a, b)]
    if changed:
        text += f" (line {code.co_firstlineno}) with another value of {', '.join(changed)}"
    return text + ". Make the function and its jit once, outside of loops, and pass what changes as an argument"


def _same(a: Any, b: Any) -> bool:
    """Whether two cells of closures hold the same object."""
    try:
        return a.cell_contents is b.cell_contents
    except ValueError:
        return False


def _on_disk(program: Program, donated: tuple[bool, ...]) -> str:
    from fdl.compile.pipeline import cache_key
    from fdl.compile.runtime.cache import default_cache

    cache = default_cache()
    if cache.directory is None:
        return "Machine code is not kept on disk, because FDL_CACHE_DIR is empty."
    refusal = cache.refusal()
    if refusal is not None:
        return f"Machine code is not kept on disk, because others could have put theirs there: {refusal}."
    if cache.get(cache_key(inline(numbered(program)), donated)) is not None:
        return f"Its machine code is on disk in {cache.directory}: it is loaded, not compiled."
    if not cache.directory.is_dir():
        return f"Nothing was compiled before: {cache.directory} does not exist yet."
    return (
        f"No machine code for it is on disk in {cache.directory}: it was not compiled for this processor by this "
        "version of fdl before, or a constant in it has other values, or the entry was the oldest one in a full cache."
    )
