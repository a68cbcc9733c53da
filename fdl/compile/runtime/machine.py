"""From LLVM modules to machine code in this process."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import llvmlite

from fdl.compile.llvm.sharing import share_functions
from fdl.compile.llvm.target import Target, llvm_binding, process_triple
from fdl.compile.runtime.cache import ObjectCache, default_cache

if TYPE_CHECKING:  # loading LLVM takes a while
    from llvmlite import ir
    from llvmlite.binding import LLJIT, ModuleRef, ResourceTracker

_names = itertools.count()


class Library:
    """Machine code in this process; it is unloaded when the last reference goes.

    Attributes:
        addresses: name of each exported function to its address.
    """

    def __init__(self, tracker: "ResourceTracker", addresses: dict[str, int]) -> None:
        self._tracker = tracker
        self.addresses = addresses


def compile_object(
    module: "ir.Module | str", target: Target, symbols: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """Optimise an LLVM module and translate it.

    Args:
        module: `llvmlite.ir.Module`, or its text.
        target: the processor.
        symbols: functions of the module, and the names that the object file has for them.

    Returns:
        A relocatable object file.

    Raises:
        RuntimeError: the module is not valid; this is a fault of the code that emitted it.
    """
    parsed = _optimised(module, target)
    for name, symbol in symbols.items():
        for own in (*parsed.functions, *parsed.global_variables):  # of the module, which may have the same name
            if own.name == symbol:
                own.name = f"{symbol}.own"
        parsed.get_function(name).name = symbol
    return bytes(target.machine.emit_object(parsed))


def assembly(module: "ir.Module | str", target: Target) -> str:
    """The optimised assembly of `module`, to be read by people; arguments as in `compile_object`."""
    parsed = _optimised(module, target)
    return str(target.machine.emit_assembly(parsed))


def _optimised(module: "ir.Module | str", target: Target) -> "ModuleRef":
    llvm = llvm_binding()
    parsed = llvm.parse_assembly(share_functions(str(module)))
    parsed.triple = process_triple()
    parsed.data_layout = str(target.machine.target_data)
    parsed.verify()
    # What is emitted has its vectors, tiles and unrolling already; LLVM's standard pipelines would take five times as
    # long to find nothing more. The code generator adds strength reduction and hoisting of its own.
    passes = llvm.create_new_module_pass_manager()
    if imported := getattr(module, "imported", None):
        _link(parsed, imported)
        passes.add_global_dead_code_eliminate_pass()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_loop_rotate_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_aggressive_dce_pass()
    passes.run(parsed, llvm.create_pass_builder(target.machine, llvm.create_pipeline_tuning_options()))
    return parsed


def _link(module: "ModuleRef", imported: dict[str, str]) -> None:
    """Add functions of other modules, given by the text of these, to be put where they are called."""
    for symbol, text in imported.items():
        library = llvm_binding().parse_assembly(text)
        for function in library.functions:
            if not function.is_declaration and function.name != symbol:
                function.linkage = "internal"
        module.link_in(library)
        own = module.get_function(symbol)
        own.linkage = "internal"
        own.add_function_attribute("alwaysinline")


def load_objects(objects: Iterable[bytes], exports: Sequence[str]) -> Library:
    """Link object files into this process; C's mathematical functions are found there too.

    Args:
        objects: object files; functions of one may call those of another.
        exports: names of the functions whose addresses are wanted.

    Raises:
        RuntimeError: an object is damaged, or a symbol is missing.
    """
    builder = llvm_binding().JITLibraryBuilder()
    for image in objects:
        builder.add_object_img(image)
    builder.add_current_process()
    for name in exports:
        builder.export_symbol(name)
    tracker = builder.link(_jit(), f"fdl{next(_names)}")
    return Library(tracker, {name: int(tracker[name]) for name in exports})


@cache
def _jit() -> "LLJIT":
    return llvm_binding().create_lljit_compiler(use_jit_link=True)


def object_code(
    key: str, target: Target, emit: "Callable[[], ir.Module | str]", cache: ObjectCache | None = None
) -> bytes:
    """The object file of the module that `emit` makes, from the disk cache if it is there.

    Args:
        key: a string that names the content (a hash of the Program, say); versions and processor are added to it.
        target: the processor.
        emit: makes the module; called only when the cache has no sound entry.
        cache: where to look; without one, the user's cache directory.
    """
    cache = cache or default_cache()
    digest = content_key(key, target)
    found = cache.get(digest)
    if found is None:
        found = compile_object(emit(), target)
        cache.put(digest, found)
    return found


def content_key(key: str, target: Target) -> str:
    """The name of a cache entry: a hash of `key`, the processor and the versions that shape machine code."""
    llvm = llvm_binding().llvm_version_info
    parts = [key, target.key, llvmlite.__version__, repr(llvm), _emitter_version()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@cache
def _emitter_version() -> str:
    """A hash of the emitters' source, so that a changed emitter never meets code of an older one."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[2]
    sources = sorted([*root.glob("compile/**/*.py"), *root.glob("ops/*.py")])
    for path in sources or [Path(__loader__.archive)]:  # type: ignore[name-defined]  # the package may be in a zip file
        digest.update(path.read_bytes())
    return digest.hexdigest()
