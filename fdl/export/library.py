"""Compiled functions as shared libraries for C, which run without Python."""

import ctypes.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from fdl import tree
from fdl.api.arguments import argument_path, name_of
from fdl.api.inspect import trace_call
from fdl.core.rewrite import eliminate_dead
from fdl.errors import ExportError
from fdl.export.header import RESERVED, Argument, named, write_header
from fdl.saving.atomic import make_atomically, write_atomically
from fdl.transforms.inline import inline


def library(fun: Callable[..., Any], *arguments: Any, name: str | None = None, cpu: str | None = None) -> Path:
    """Compile a function into a shared library with a C header, which needs no Python when it runs.

    Args:
        fun: a function of arrays; arrays that it closes over (its parameters, say) become part of the library.
        *arguments: its arguments, as arrays or `fdl.ShapeDtypeStruct`s, and last the path of the library, such as
            ``"model.so"``. The header is written beside it, as ``model.h``.
        name: of the function in C; that of the file by default.
        cpu: the processor, as in ``FDL_CPU``: ``"x86-64-v3"``, say, for other machines than this one.

    Returns:
        The path of the library.

    Raises:
        ExportError: the function needs Python when it runs (callbacks, operations without native code), `name` is no
            name in C, or there is no C compiler to link the library.
        OSError: a file cannot be written.

    The header declares ``int32_t model(const float *x, ..., float *result)``: a pointer for each array among the
    arguments, then one for each in the result. Calls run on the thread of the caller.

    >>> import tempfile, ctypes, numpy as np, fdl
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     path = library(lambda x: x * 2, fdl.ShapeDtypeStruct((3,), "float32"), f"{folder}/double.so")
    ...     x, result = np.arange(3, dtype="float32"), np.empty(3, "float32")
    ...     ctypes.CDLL(str(path)).double(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(result.ctypes.data))
    ...     result
    0
    array([0., 2., 4.], dtype=float32)
    """
    # Everything of the compiler takes a while to import.
    from fdl.compile.llvm.target import host_target
    from fdl.compile.standalone import build_standalone

    if not arguments or not isinstance(arguments[-1], str | os.PathLike):
        raise ExportError("library(fun, *types, path): the last argument is the path of the library, as 'model.so'")
    *types, path = *arguments[:-1], Path(arguments[-1])
    if path.suffix == ".h":
        raise ExportError(f"library({path}): this is where its header is written; end the path by .so")
    name = re.sub(r"\W", "_", path.stem.removeprefix("lib")) if name is None else name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ExportError(f"library(name={name!r}): a name in C begins with a letter, and has letters, digits and _")
    if name in RESERVED or _is_of_c(name):
        raise ExportError(f"library(name={name!r}): this is a word or a function of C; choose another name or path")
    program, captured, flat = trace_call(fun, types, {})
    if captured:
        raise ExportError(f"library({name_of(fun)}) inside of a transform: it closes over values that are traced")
    program = eliminate_dead(inline(program))
    paths = [key_path for key_path, _ in tree.leaves_with_path((tuple(types), {}))]
    inputs = [argument_path(fun, key_path).removeprefix("argument ") for key_path in paths]
    outputs = flat.unflatten(list(range(len(program.outputs))))
    results = [f"result{tree.keystr(key_path)}" for key_path, _ in tree.leaves_with_path(outputs)]
    names = named([*inputs, *results])
    kinds = [*program.input_types, *program.output_types]
    listed = [
        Argument(c_name, where, kind, number >= len(inputs))
        for number, (c_name, where, kind) in enumerate(zip(names, [*inputs, *results], kinds, strict=True))
    ]
    # The program that loads the library has not asked for the registers of the matrix unit.
    target = replace(host_target(cpu), matrix_unit=False)
    made = build_standalone(program, target, name)
    if made.outside:
        found = sorted({f"{host.operation.name} of {', '.join(map(str, host.operands))}" for host in made.outside})
        raise ExportError(f"library({name_of(fun)}): these run in Python only: {'; '.join(found)}")
    header = write_header(name, listed, made.workspace_bytes, f"{target.cpu} ({target.vector_bits} bits)")
    make_atomically(path, lambda unfinished: _link(made.objects, unfinished))
    write_atomically(path.with_suffix(".h"), [header.encode()])
    return path


@cache
def _is_of_c(name: str) -> bool:
    """Whether C's libraries have a function of this name."""
    return hasattr(ctypes.CDLL(ctypes.util.find_library("m")), name)


def _link(objects: Sequence[bytes], path: Path) -> None:
    """Link object files into a shared library."""
    named = shlex.split(os.environ.get("CC", ""))
    compiler = named or [found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))][:1]
    if not compiler:
        raise ExportError("no C compiler (cc, gcc or clang) links the library: install one, or name one by CC=...")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.o" for number in range(len(objects))]
        for file, content in zip(files, objects, strict=True):
            file.write_bytes(content)
        kind = ["-dynamiclib"] if sys.platform == "darwin" else ["-shared", "-Wl,-z,noexecstack"]
        command = [*compiler, *kind, "-o", str(path), *map(str, files), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise ExportError(f"{shlex.join(compiler)} cannot be run: {error}") from error
    if done.returncode:
        raise ExportError(f"{shlex.join(compiler)} could not link the library: {done.stderr.strip()}")
