"""The C header of a library that `fdl.export.library` makes."""

import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from fdl.core.types import TensorType
from fdl.dtypes import bfloat16, key

_C_TYPES = {
    "bool": "uint8_t", "float16": "uint16_t", "float32": "float", "float64": "double",
    "complex64": "float", "complex128": "double", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t",
}  # fmt: skip
_NOTES = {"bool": ", 0 or 1", "float16": ", bits of IEEE half precision", "bfloat16": ", the upper bits of floats"}
RESERVED = set("""
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool class
    delete new operator private protected public template this throw try catch virtual workspace linux unix asm typeof
    true false nullptr typename using namespace explicit mutable friend export import module requires concept constexpr
    consteval constinit decltype noexcept static_assert thread_local alignas alignof typeid dynamic_cast static_cast
    const_cast reinterpret_cast wchar_t char8_t char16_t char32_t and and_eq bitand bitor compl not not_eq or or_eq xor
    xor_eq co_await co_return co_yield final override
""".split()) | set(keyword.kwlist)  # fmt: skip


@dataclass(frozen=True)
class Argument:
    """A pointer that the C function takes.

    Attributes:
        name: in C.
        path: where the array is among the arguments, or in the result, of the Python function.
        type: shape and dtype.
        result: whether the function writes it.
    """

    name: str
    path: str
    type: TensorType
    result: bool

    @property
    def declaration(self) -> str:
        """As C declares it."""
        return f"{'' if self.result else 'const '}{c_type(self.type)[0]} *{self.name}"


def c_type(type: TensorType) -> tuple[str, int]:
    """The C type of an element's parts, and how many parts it has."""
    if type.dtype == key:
        return "uint32_t", 2
    if type.dtype == bfloat16:
        return "uint16_t", 1
    return _C_TYPES[str(type.dtype)], 2 if type.dtype.kind == "c" else 1


def named(paths: Sequence[str]) -> list[str]:
    """Names in C for key paths: letters, digits and underscores, all different."""
    found: list[str] = []
    for path in paths:
        name = re.sub(r"[^0-9A-Za-z]+", "_", path).strip("_") or "x"
        name = f"x_{name}" if name[0].isdigit() or name in RESERVED else name
        unique, number = name, 2
        while unique in found:
            unique, number = f"{name}_{number}", number + 1
        found.append(unique)
    return found


def write_header(name: str, arguments: Sequence[Argument], workspace_bytes: int, cpu: str) -> str:
    """The text of the header.

    Args:
        name: of the C function.
        arguments: what it takes: inputs, then results.
        workspace_bytes: memory that a call works in.
        cpu: the processor that it was compiled for, in words.
    """
    guard = f"{name.upper()}_H"
    declared = ", ".join(a.declaration for a in arguments)
    rows = "\n".join(f" *   {a.name}: {_described(a)}" for a in arguments)
    return f"""\
/* {name}: compiled by fdl for {cpu}. Needs no Python.
 *
 * Arrays are in row-major order without gaps, and aligned to the size of an element. Results must not overlap other
 * arrays. Calls from several threads at once are safe.
 *
{rows}
 */
#ifndef {guard}
#define {guard}

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

/* Compute the results. Returns 0, or 1 if there is no memory to work in. */
int32_t {name}({declared});

/* The same with the caller's memory to work in, aligned to 64 bytes; it allocates nothing and returns 0. */
#define {name.upper()}_WORKSPACE_BYTES {workspace_bytes}
int32_t {name}_in(void *workspace{", " if declared else ""}{declared});

#ifdef __cplusplus
}}
#endif

#endif
"""


def _described(argument: Argument) -> str:
    type, (_, parts) = argument.type, c_type(argument.type)
    extents = "".join(f"[{n}]" for n in type.shape) or " (one number)"
    note = ", real and imaginary parts in turn" if type.dtype.kind == "c" else _NOTES.get(str(type.dtype), "")
    kind = "key" if type.dtype == key else str(type.dtype)
    path = argument.path.replace("*/", "* /")
    return f"{path}, {kind}{extents}{note}; {prod(type.shape) * parts} elements"
