"""The ends of rows: no store is wider than what is left there (decision 015).

Code for AVX-512 is checked on every x86-64 processor by reading it, and by running it on those that have it: the
guarded runs use vectors as wide as there are.
"""

import os
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import ir

import fdl
from fdl.compile import pipeline
from fdl.compile.llvm import target
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.target import Target, host_target
from fdl.compile.llvm.values import POINTER
from fdl.compile.runtime.machine import _optimised, assembly
from tests.compile.families import FAMILIES
from tests.compile.native import native

PROCESSORS = {
    "znver4": Target("znver4", "", 512, True, True),
    "skylake-avx512": Target("skylake-avx512", "", 512, True, True),
}
needs_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86-64 assembly")

#: (dtype that is loaded, dtype that is stored) of every truncation.
NARROWED = [
    *(("int64", to) for to in ("int32", "uint16", "int8")),
    *(("int32", to) for to in ("int16", "uint8")),
    *(("int16", "int8"), ("float64", "float32")),
    *(("float32", to) for to in ("bfloat16", "float16")),
]

#: Bytes that a store of the assembly writes, by its mnemonic or its register.
BYTES = {"b": 1, "w": 2, "l": 4, "q": 8, "ss": 4, "sd": 8, "lps": 8, "lpd": 8, "hps": 8, "hpd": 8, "d": 4, "ps": 4}
REGISTERS = {"x": 16, "y": 32, "z": 64}


def written(line):
    """(offset, bytes) that an instruction writes to the address in %rsi; None if it writes nothing there unmasked."""
    found = re.match(r"\t(\S+)\t(.*), (-?\d*)\(%rsi\)$", line)
    if found is None:
        return None
    name, source, offset = found.groups()
    suffix = next(s for s in sorted(BYTES, key=len, reverse=True) if name.endswith(s))
    whole = re.match(r"v?mov[aud]", name) and name not in ("vmovd", "movd")
    wide = re.search(r"%([xyz])mm", source) if whole else None
    return int(offset or 0), REGISTERS[wide[1]] if wide else BYTES[suffix]


@needs_x86
@pytest.mark.parametrize("cpu", [*PROCESSORS, "x86-64-v3", "x86-64"])
def test_a_lane_is_stored_as_wide_as_it_is(cpu):
    """Every truncation, vector and lane: the bug of LLVM is met by any of them where masks have one lane."""
    on, module, wanted = PROCESSORS.get(cpu) or host_target(cpu), ir.Module("test"), {}
    for source, to in NARROWED:
        for lanes in (2, 4, 8, 16, 32):
            for lane in {0, 1, lanes - 1}:
                function = new_function(module, f"{source}.{to}.{lanes}.{lane}", [POINTER] * 2, exported=True)
                b = Build(module, on, function)
                x = b.convert(b.load(b.argument(0), source, 0, lanes), to)
                b.store(x, b.argument(1), mask=b.constants([i == lane for i in range(lanes)], "bool"))
                b.ret()
                size = fdl.numpy.dtype(to).itemsize
                wanted[function.name] = lane * size, size
    for name, text in re.findall(r"^\"?([a-z][\w.]*)\"?:(.*?)\n\s*\.size", assembly(module, on), re.M | re.S):
        if name in wanted:
            assert "(%rsi) {%k" not in text
            assert list(filter(None, map(written, text.split("\n")))) == [wanted.pop(name)], text
    assert not wanted


class _Seen(Exception):
    """What would have been compiled: the target and the optimised module."""


def optimised(monkeypatch, processor, function, arguments):
    """The optimised module of a program for a processor that need not be this one."""

    def see(module, on):
        raise _Seen(_optimised(module, on))

    monkeypatch.setattr(target, "_target", lambda name, tuning, optimize: PROCESSORS[processor])
    monkeypatch.setattr(pipeline, "compile_object", see)
    program = fdl.make_program(function)(*arguments)
    with pytest.raises(_Seen) as seen:
        pipeline.build_archive(program, ())
    return seen.value.args[0]


@needs_x86
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "int8", "int16", "int32"])
@pytest.mark.parametrize("name", FAMILIES)
def test_kernels_leave_single_lanes_to_scalar_stores(name, dtype, monkeypatch):
    """LLVM is never given a masked store of one lane, nor one of lanes that it could find to be one."""
    function, operands, dtypes = FAMILIES[name]
    if dtype not in dtypes:
        pytest.skip("not of this dtype")
    processor = list(PROCESSORS)[(list(FAMILIES).index(name) + len(dtype)) % 2]
    module = optimised(monkeypatch, processor, function, operands(dtype, 17))
    for line in str(module).split("\n"):
        if "call void @llvm.masked.store" in line:
            assert line.count("i1 true") >= 2, line
    if "product" in name and dtype in ("bfloat16", "int16", "int8"):
        text = str(PROCESSORS[processor].machine.emit_assembly(module))
        # In these kernels everything that is stored alone is an element of the result.
        assert not re.search(r"\tv?(mov[dq]|movs[sd]|mov[lh]p[sd]|extractps)\t.*%xmm\d+, -?\d*\((?!%rsp)", text)


GUARDED = """
import sys
import numpy as np
import fdl
from tests import guard
from tests.compile.families import FAMILIES
guard.install()
for number, (name, (function, operands, dtypes)) in enumerate(FAMILIES.items()):
    for place, dtype in enumerate(dtypes):
        tail = 1 + (number * 5 + place * 3) % 16
        masked = "product" in name or "convolution" in name
        for length in {16 + tail, 17 if masked and operands(dtype, 1)[0].dtype.itemsize < 4 else 16 + tail}:
            arguments = operands(dtype, length)
            print(name, dtype, length, flush=True)
            found, want = (fdl.tree.leaves(f(*arguments)) for f in (fdl.jit(function), function))
            for a, b in zip(found, want, strict=True):
                tolerance = 0 if a.dtype.kind in "iub" else 2e-2 if a.dtype.itemsize == 2 else 1e-5
                np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), tolerance)
print("done")
"""


def test_kernels_of_every_dtype_between_guards():
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, env=os.environ)
    assert done.stdout.endswith("done\n"), done.stdout[-200:] + done.stderr[-2000:]


def test_masks_that_are_not_known_store_lane_by_lane():
    on, module = host_target(), ir.Module("test")
    function = new_function(module, "run", [POINTER] * 2, exported=True)
    b = Build(module, on, function)
    x = b.convert(b.load(b.argument(0), "int32", 1, 8), "int16")
    b.store(x, b.argument(1), mask=b.first_lanes(b.load(b.argument(0), "int32"), 8))
    b.ret()
    assert "masked.store" not in str(module)
    for count in range(9):
        y = np.full(10, -1, np.int16)
        native(module, on, "run", 2)(np.array([count, *range(8)], np.int32), y)
        assert y.tolist() == [*range(count), *[-1] * (10 - count)]
