"""A stage of a transform: units of work on complex numbers that threads divide."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

from fdl.compile.kernels.fourier.layout import PairLayout
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.compile.lowerings.emitter import Emission


@dataclass(frozen=True)
class Job:
    """One unit of a stage, while its code is emitted.

    Attributes:
        build: where the code goes.
        emission: of the program.
        source, target: pointers to the first number of all units.
        table, exact: pointers to the tables of the stage.
        room: pointer to memory of this thread.
        unit: the number of the unit.
    """

    build: Build
    emission: Emission
    source: ir.Value
    target: ir.Value
    table: ir.Value
    exact: ir.Value
    room: ir.Value
    unit: Value

    def after(self, pointer: ir.Value, layout: PairLayout, pairs: int) -> ir.Value:
        """The address behind so many pairs."""
        return self.build.at(pointer, pairs * layout.bytes, np.uint8)


class Stage(ABC):
    """What is done between two barriers.

    Attributes:
        layout: of pairs.
        units: how many there are; they write disjoint memory.
        scratch_bytes: memory of a thread.
    """

    layout: PairLayout
    units: int
    scratch_bytes: int

    @property
    @abstractmethod
    def key(self) -> str:
        """Equal for stages of equal code."""

    def table(self) -> np.ndarray:
        """Numbers of the dtype of the parts that the code reads."""
        return np.zeros(1, self.layout.dtype)

    def exact(self) -> np.ndarray:
        """Numbers in double precision that the code reads."""
        return np.zeros(1)

    @abstractmethod
    def emit(self, job: Job) -> None:
        """Emit the work of one unit."""


def packed(table: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Complex numbers as a flat array of their parts."""
    return np.stack([table.real, table.imag], -1).astype(dtype).ravel()
