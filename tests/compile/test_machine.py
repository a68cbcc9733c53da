"""Targets, machine code and its cache on disk."""

import concurrent.futures
import ctypes
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from llvmlite import ir

import fdl
from fdl.compile import pipeline
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import check_platform, host_target
from fdl.compile.runtime import machine
from fdl.compile.runtime.cache import ObjectCache, default_directory
from fdl.errors import PlatformError


def module_returning(number):
    module = ir.Module("test")
    function = new_function(module, "answer", [], ir.IntType(64), exported=True)
    b = Build(module, host_target(), function)
    b.ret(b.index(number))
    return module


def answer(code):
    library = machine.load_objects([code], ["answer"])
    return ctypes.CFUNCTYPE(ctypes.c_int64)(library.addresses["answer"])()


@pytest.mark.parametrize(
    ("name", "bits", "fma"), [("x86-64", 128, False), ("x86-64-v3", 256, True), ("x86-64-v4", 512, True)]
)
def test_forced_processors(name, bits, fma, monkeypatch):
    monkeypatch.setenv("FDL_CPU", name)
    target = host_target()
    assert (target.vector_bits, target.fma) == (bits, fma)
    assert [target.lanes(d) for d in ("float32", "float64", "float16", "int8")] == [
        bits // 32,
        bits // 64,
        bits // 32,
        bits // 8,
    ]
    rows, vectors = target.tile()
    registers = 32 if bits == 512 else 16
    assert rows * vectors + vectors < registers
    assert all(target.tile_rows(v) * v + v < registers for v in range(1, 5))


def test_unknown_processor_is_refused():
    with pytest.raises(PlatformError, match="FDL_CPU='pdp-11'"):
        host_target("pdp-11")


@pytest.mark.parametrize(("order", "bits"), [("big", 64), ("little", 32)])
def test_foreign_memory_layouts_are_refused(order, bits):
    with pytest.raises(PlatformError, match=f"{bits}-bit {order}-endian"):
        check_platform(order, bits)


def test_objects_call_each_other():
    caller = ir.Module("caller")
    outside = ir.Function(caller, ir.FunctionType(ir.IntType(64), []), "answer")
    b = Build(caller, host_target(), new_function(caller, "twice", [], ir.IntType(64), exported=True))
    b.ret(b.value(b.ir.call(outside, []), "int64") * 2)
    codes = [machine.compile_object(m, host_target()) for m in (module_returning(21), caller)]
    library = machine.load_objects(codes, ["twice"])
    assert ctypes.CFUNCTYPE(ctypes.c_int64)(library.addresses["twice"])() == 42


def test_damaged_object_is_an_error_not_a_crash():
    with pytest.raises(RuntimeError):
        machine.load_objects([b"\x7fELF nonsense"], ["answer"])


def test_cache_saves_the_compilation(tmp_path):
    cache, made = ObjectCache(tmp_path), []

    def emit():
        made.append(1)
        return module_returning(7)

    codes = [machine.object_code("seven", host_target(), emit, cache) for _ in range(3)]
    assert made == [1] and answer(codes[2]) == 7
    assert machine.content_key("seven", host_target()) != machine.content_key("seven", host_target("x86-64:512"))


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:], lambda d: b"", lambda d: b"x" + d]
)
def test_damaged_entries_are_compiled_again(tmp_path, damage):
    cache = ObjectCache(tmp_path)
    machine.object_code("k", host_target(), lambda: module_returning(5), cache)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert cache.get(entry.stem) is None
    assert answer(machine.object_code("k", host_target(), lambda: module_returning(6), cache)) == 6


def test_cache_keeps_to_its_limit_and_drops_what_was_not_used(tmp_path):
    cache = ObjectCache(tmp_path, limit=10_000)
    for i in range(8):
        cache.put(f"{i:02x}", bytes(1000))
    import os

    for i in range(8):
        os.utime(tmp_path / f"{i:02x}.o", ns=(i * 10**9, i * 10**9))
    assert cache.get("00") == bytes(1000)
    for i in range(8, 11):
        cache.put(f"{i:02x}", bytes(1000))
    left = {p.stem for p in tmp_path.iterdir()}
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 10_000
    assert {"00", "0a"} <= left and "01" not in left


def test_cache_is_safe_among_threads(tmp_path):
    cache = ObjectCache(tmp_path, limit=50_000)

    def work(i):
        key, body = f"{i % 7:02x}", bytes([i % 7]) * 4000
        cache.put(key, body)
        return cache.get(key) in (None, body)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(200)))
    assert not list(tmp_path.glob("*.part"))


def test_cache_that_cannot_write_is_no_cache(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = ObjectCache(blocked / "below")
    cache.put("00", b"x")
    assert cache.get("00") is None


def test_cache_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("FDL_CACHE_DIR", str(tmp_path))
    assert default_directory() == tmp_path
    monkeypatch.setenv("FDL_CACHE_DIR", "")
    assert default_directory() is None


def test_threads_compile_at_once():
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda i: machine.compile_object(module_returning(i), host_target()), range(8)))
        assert list(pool.map(answer, codes)) == list(range(8))


def test_importing_fdl_does_not_import_llvm():
    script = "import sys, fdl; sys.exit('llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_this_processor_by_its_name_is_the_native_one():
    native = host_target("native")
    assert host_target(native.cpu) == native
    assert host_target(f"{native.cpu}:128").fma == native.fma


def test_code_of_a_package_in_a_zip_file_is_that_of_its_sources(tmp_path):
    """Spark's --py-files brings packages so: another version's machine code must not be taken for this one's."""
    package = Path(machine.__file__).parents[2]
    printed = []
    for version in ("one", "two"):
        with zipfile.ZipFile(tmp_path / f"{version}.zip", "w") as archive:
            for path in sorted(package.rglob("*.py")):
                archive.write(path, Path("fdl") / path.relative_to(package))
            archive.writestr("fdl/compile/more.py", f"# {version}")
        code = "import fdl.compile.runtime.machine as machine; print(machine.__file__, machine._emitter_version())"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / f"{version}.zip")}
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        place, found = run.stdout.split()
        assert place.startswith(str(tmp_path))
        printed.append(found)
    assert len({*printed, machine._emitter_version()}) == 3


def test_code_without_optimization_has_the_same_results(monkeypatch):
    """A setting of its own in every cache: what was compiled before is there again afterwards."""
    traced = []

    @fdl.jit
    def f(x):
        traced.append(x)
        return fdl.numpy.tanh(x) @ fdl.numpy.exp(-x).T

    x = fdl.numpy.linspace(-3, 3, 35).reshape(5, 7)
    best, assembly = np.asarray(f(x)), f.lower(x).as_text("asm")
    monkeypatch.setattr(fdl.config, "disable_most_optimizations", True)
    np.testing.assert_array_equal(np.asarray(f(x)), best)
    assert len(f.lower(x).as_text("asm")) > len(assembly)
    count = len(traced)
    monkeypatch.undo()
    np.testing.assert_array_equal(np.asarray(f(x)), best)
    assert len(traced) == count
    assert f.lower(x).as_text("asm") == assembly


def test_code_that_arrives_runs_however_much_it_was_optimized(monkeypatch):
    """A worker has settings of its own; what it is sent is compiled already."""
    program = fdl.make_program(lambda x: fdl.numpy.sin(x) * 5 - 3)(fdl.numpy.ones(11))
    monkeypatch.setattr(pipeline, "default_cache", lambda: ObjectCache(None))
    for quick in (True, False):
        monkeypatch.setattr(fdl.config, "disable_most_optimizations", quick)
        sent = pickle.dumps(pipeline.compile_program(program))
        monkeypatch.setattr(fdl.config, "disable_most_optimizations", not quick)
        pipeline._compile.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "build_archive", None)
            np.testing.assert_allclose(
                pickle.loads(sent).run([np.ones(11, np.float32)])[0], np.sin(1) * 5 - 3, rtol=1e-5
            )
