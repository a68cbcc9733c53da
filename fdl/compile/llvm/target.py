"""The processor that code is generated for: its features, vector width and register tile."""

import struct
import sys
from dataclasses import dataclass, replace
from functools import cache, cached_property
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from fdl.compile.llvm.amx import permit_matrix_unit
from fdl.compile.llvm.tuning import Tuning
from fdl.config import SETTINGS, config
from fdl.core.types import DType
from fdl.errors import PlatformError

if TYPE_CHECKING:  # loading LLVM takes a while
    from llvmlite.binding import TargetMachine

#: LLVM's names of processors with AVX512_BF16.
_DOT_BFLOAT16 = ("cooperlake", "sapphirerapids", "emeraldrapids", "graniterapids", "znver4", "znver5")

#: LLVM's names of processors with AVX-512 whose gathers are no loop of microcode: not AMD's, and not those of Intel's
#: whose gathers leak what other programs read, unless they are slow.
_FAST_GATHER = ("sapphirerapids", "emeraldrapids", "graniterapids", "graniterapids-d", "diamondrapids")

#: Programs that LLVM's code generator takes its time for: all of them, large ones, none.
EFFORTS = ("full", "fast", "none")

#: What programs are compiled with.
TUNING = Tuning()


@dataclass(frozen=True)
class Target:
    """A processor as the code generator sees it.

    Attributes:
        cpu: LLVM's name of the processor.
        features: LLVM's comma-separated feature string, empty when `cpu` implies them all.
        vector_bits: width of a vector register.
        fma: whether fused multiply-add is one instruction.
        half: whether float16 converts in hardware.
        tuning: sizes and thresholds by which the compiler chooses.
        effort: which programs LLVM's code generator takes its time for; one of `EFFORTS`.
        matrix_unit: whether this process may use the instructions of AMX, which multiply blocks of bfloat16.
    """

    cpu: str
    features: str
    vector_bits: int
    fma: bool
    half: bool
    tuning: Tuning = TUNING
    effort: str = "full"
    matrix_unit: bool = False

    @cached_property
    def key(self) -> str:
        """A string that differs whenever generated code may differ."""
        parts = self.cpu, self.features, self.vector_bits, self.effort, self.matrix_unit, self.tuning
        return "|".join(map(str, (process_triple(), *parts)))

    def lanes(self, dtype: DType | type | str) -> int:
        """How many elements of `dtype` fill a vector register; 16-bit floats count as the float32 they compute in."""
        size = np.dtype(dtype).itemsize
        return self.vector_bits // 8 // (4 if np.dtype(dtype).kind not in "iub" and size == 2 else size)

    @cached_property
    def pair_lanes(self) -> int:
        """How many pairs of 16-bit integers one instruction multiplies and adds up (`pmaddwd`); 0 if there is none."""
        if not process_triple().startswith("x86_64"):
            return 0
        return 16 if self._has("+avx512bw", "x86-64-v4") else 8 if self._has("+avx2", "x86-64-v3") else 4

    def _has(self, feature: str, level: str) -> bool:
        """Whether there is a feature, which is named, or implied by the name of the processor."""
        return feature in self.features.split(",") or self.cpu == level

    @cached_property
    def dot_bfloat16(self) -> bool:
        """Whether one instruction adds the products of pairs of bfloat16 to float32 (`vdpbf16ps`, AVX512_BF16)."""
        has = self.features.split(",")
        return process_triple().startswith("x86_64") and (
            self.cpu in _DOT_BFLOAT16 if not self.features else {"+avx512bf16", "+avx512vl"} <= set(has)
        )

    @property
    def takes_floats_apart(self) -> bool:
        """Whether vectors have 512 bits and there are the instructions of AVX-512 for exponents and small tables."""
        return self.vector_bits == 512 and self._has("+avx512f", "x86-64-v4")

    @property
    def fast_gather(self) -> bool:
        """Whether one instruction gathers a vector faster than loads of single elements do."""
        return self.vector_bits == 512 and self.cpu in _FAST_GATHER

    @property
    def low_products(self) -> str:
        """How products of bfloat16 and int8 are computed: by ``pairs``, by ``blocks``, or in float32 ``panels``.

        Intel's processors take two cycles for `vdpbf16ps`, so that float32 is as fast there.
        """
        if self.tuning.low_products:
            return self.tuning.low_products
        fast = self.dot_bfloat16 and self.cpu.startswith("znver")
        return "blocks" if self.matrix_unit else "pairs" if fast else "panels"

    def tile(self) -> tuple[int, int]:
        """Rows and vectors a row of the matrix tile, whose accumulators fill the register file."""
        return (6, 4) if self.vector_bits == 512 else (6, 2)

    def tile_rows(self, vectors: int) -> int:
        """The most rows of a matrix tile that is `vectors` wide; few if its code has to be short."""
        registers = 32 if self.vector_bits == 512 else 16
        most = (registers - self.tuning.free_registers - vectors) // vectors
        return max(1, min(most, 4 if self.effort == "none" else 12))

    def tile_vectors(self, rows: int) -> int:
        """The most vectors, at most 4, that a row of a matrix tile of so many rows has."""
        return max(vectors for vectors in (1, 2, 3, 4) if vectors == 1 or self.tile_rows(vectors) >= rows)

    @cached_property
    def machine(self) -> "TargetMachine":
        """LLVM's target machine."""
        llvm = llvm_binding()
        target = llvm.Target.from_triple(process_triple())
        return target.create_target_machine(
            cpu=self.cpu,
            features=self.features,
            opt=0 if self.effort == "none" else 3,
            reloc="pic",
            codemodel="small",
            jit=True,
        )

    def optimized(self) -> "Target":
        """The same for code that outlives the setting under which it was first needed."""
        return replace(self, effort="full")

    def for_program(self, time: float) -> "Target":
        """The same for a program that takes about so many microseconds."""
        if self.effort != "fast":
            return self
        return replace(self, effort="none" if time < self.tuning.small_program else "full")


@cache
def llvm_binding() -> ModuleType:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def process_triple() -> str:
    return str(llvm_binding().get_process_triple())


def host_target(name: str | None = None, effort: str | None = None) -> Target:
    """The target called `name`; without one the environment variable ``FDL_CPU`` decides, and then ``native``.

    Args:
        name: ``native``, LLVM's name of this processor, or one of the levels ``x86-64``, ``x86-64-v2``,
            ``x86-64-v3``, ``x86-64-v4``; ``:128``, ``:256`` or ``:512`` behind it sets the width of
            vectors, which LLVM makes of several registers where the processor has none so wide.
        effort: ``full`` or ``fast``; without one the settings decide.

    Returns:
        The target; equal names give the same object, while `TUNING` stays the same.

    Raises:
        PlatformError: the machine is big-endian or 32-bit, or has no processor of that name.

    >>> host_target("x86-64").vector_bits
    128
    """
    effort = "none" if config.disable_most_optimizations else effort or config.effort
    return _target(name or SETTINGS["cpu"].read() or "native", TUNING, effort)


@cache
def _target(name: str, tuning: Tuning, effort: str) -> Target:
    check_platform(sys.byteorder, struct.calcsize("P") * 8)
    name, _, bits = name.partition(":")
    found = replace(_processor(name), tuning=tuning, effort=effort)
    if not bits:
        return found
    if bits not in ("128", "256", "512"):
        raise PlatformError(f"FDL_CPU='{name}:{bits}': vectors have 128, 256 or 512 bits")
    return replace(found, vector_bits=int(bits), matrix_unit=found.matrix_unit and bits == "512")


def _processor(name: str) -> Target:
    llvm = llvm_binding()
    on = llvm.get_host_cpu_features()
    if name in ("native", llvm.get_host_cpu_name()):
        cpu, features = llvm.get_host_cpu_name(), on.flatten()
        wide, middle = on.get("avx512f", False), on.get("avx2", False)
        fma, half = on.get("fma", False) or on.get("neon", False), on.get("f16c", False) or on.get("neon", False)
        bits = 512 if wide else 256 if middle else 128
        units = on.get("amx-bf16", False) and on.get("amx-int8", False)
        matrix_unit = units and bits == 512 and permit_matrix_unit()
        return Target(cpu, features, bits, fma, half, matrix_unit=matrix_unit)
    levels = {"x86-64": (128, False), "x86-64-v2": (128, False), "x86-64-v3": (256, True), "x86-64-v4": (512, True)}
    triple = process_triple()
    if not triple.startswith("x86_64") and name in levels:
        raise PlatformError(f"FDL_CPU={name!r} names an x86-64 processor but this machine is {triple}; use 'native'")
    if name not in levels:
        own = llvm.get_host_cpu_name()
        raise PlatformError(
            f"FDL_CPU={name!r} is neither this processor ({own}) nor a level; use 'native' or x86-64-v3"
        )
    bits, modern = levels[name]
    features = "" if bits < 512 else "-prefer-256-bit"
    return Target(name, features, bits, modern, modern)


def check_platform(byteorder: str, pointer_bits: int) -> None:
    """Refuse machines whose memory layout the generated code does not have.

    Raises:
        PlatformError: `byteorder` is not ``little`` or `pointer_bits` is not 64.
    """
    if byteorder != "little" or pointer_bits != 64:
        raise PlatformError(
            f"fdl compiles for 64-bit little-endian processors; this Python is {pointer_bits}-bit {byteorder}-endian"
        )
