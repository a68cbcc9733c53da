"""Packing: a matrix of any strides copied into rows of whole vectors, as the tile reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import new_function
from fdl.compile.llvm.shuffles import transposed
from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import HALVES, I32, I64, POINTER, Value
from fdl.dtypes import int64


@dataclass(frozen=True)
class Panel:
    """Copies a matrix [count, columns] of any strides into rows of whole vectors, filled up with zeros.

    Attributes:
        dtype: of the matrix.
        columns: columns to copy.
        width: elements of a row of the copy, a multiple of the lanes.
        row, column: strides of the matrix that is read.
        into: dtype of the copy; None is `dtype`.
    """

    dtype: np.dtype
    columns: int
    width: int
    row: int
    column: int
    into: np.dtype | None = None

    def call(self, build: Build, source: ir.Value, destination: ir.Value, count: Any) -> None:
        """Emit the copy of `count` rows from `source` to `destination`."""
        case = "turned" if self.turned else "near" if self.column == 1 else "far"
        name = f"panel.{self.dtype}.{self.columns}.{self.width}.{case}.{self.into}"
        function = build.module.globals.get(name) or self._emit(build.module, build.target, name)
        build.call_function(function, [source, destination, count, self.row, self.column])

    @property
    def turned(self) -> bool:
        """Whether the matrix is read along its columns."""
        return self.row == 1 and self.column != 1 and self.columns > 1

    def _emit(self, module: ir.Module, target: Target, name: str) -> ir.Function:
        function = new_function(module, name, [POINTER, POINTER, I64, I64, I64])
        function.attributes.add("noinline")
        build = Build(module, target, function)
        lanes, count = target.lanes(self.dtype), build.argument(2, "int64")
        whole: Any = 0
        if self.turned:
            whole = build.quotient(count, lanes) * lanes
            with build.loop(0, whole, lanes) as k:
                self._turn(build, k, lanes)
        with build.loop(whole, count) as k:
            self._copy(build, k, lanes)
        build.ret()
        return function

    def _copy(self, build: Build, k: Value, lanes: int) -> None:
        """Copy row `k`."""
        source, destination = build.function.args[:2]
        line = build.at(source, k if self.turned else k * build.argument(3, int64), self.dtype)
        into = self.into or self.dtype
        copy = build.at(destination, k * self.width, into)
        for start in range(0, self.width, lanes):
            build.store(build.convert(self._read(build, line, start, lanes), into), copy, start)

    def _read(self, build: Build, line: Any, start: int, lanes: int) -> Value:
        """`lanes` elements of a row from `start` on; those that do not exist are 0."""
        left = self.columns - start
        if left <= 0:
            return build.constant(0, self.dtype, lanes)
        if self.column == 1 and (left >= lanes or self.dtype not in HALVES):
            mask = None if left >= lanes else build.first_lanes(left, lanes)
            return build.load(line, self.dtype, start, lanes, mask=mask)
        vector: Any = build.constant(0, self.dtype, lanes).ir
        column = build.argument(4, int64)
        places = columns_of(build, build.at(line, start * column, self.dtype), column, min(left, lanes), self.dtype)
        for i, place in enumerate(places):
            vector = build.ir.insert_element(vector, build.load(place, self.dtype).ir, I32(i))
        return build.value(vector, self.dtype)

    def _turn(self, build: Build, k: Value, lanes: int) -> None:
        """Copy as many rows as a vector has lanes, from `k` on, where the matrix is read along its columns."""
        whole = self.columns // lanes * lanes
        with build.loop(0, whole, lanes) as start:
            self._turn_square(build, k, start, lanes, lanes)
        if whole < self.columns:
            self._turn_square(build, k, whole, self.columns - whole, lanes)
        empty = range(-(-self.columns // lanes) * lanes, self.width, lanes)
        if empty:
            self._clear(build, k, empty, lanes)

    def _clear(self, build: Build, k: Value, starts: Sequence[int], lanes: int) -> None:
        """Store zeros in the vectors of a square of rows that hold no column."""
        into = self.into or self.dtype
        zero = build.convert(build.constant(0, self.dtype, lanes), into)
        with build.loop(k, k + lanes) as row:
            line = build.at(build.function.args[1], row * self.width, into)
            for start in starts:
                build.store(zero, line, start)

    def _turn_square(self, build: Build, k: Value, start: Value | int, count: int, lanes: int) -> None:
        """Copy a square of rows and columns, of which `count` columns exist, by a function that panels share."""
        (source, destination), column = build.function.args[:2], build.argument(4, int64)
        into = self.into or self.dtype
        name = f"turn.{self.dtype}.{count}.{into}"
        function = build.module.globals.get(name) or self._emit_square(build, name, count, lanes)
        first = build.at(source, k + start * column, self.dtype)
        build.call_function(function, [first, build.at(destination, k * self.width + start, into), column, self.width])

    def _emit_square(self, build: Build, name: str, count: int, lanes: int) -> ir.Function:
        function = new_function(build.module, name, [POINTER, POINTER, I64, I64])
        function.attributes.add("noinline")
        inner = Build(build.module, build.target, function)
        source, destination = function.args[:2]
        places = columns_of(inner, source, inner.argument(2, int64), count, self.dtype)
        read = [inner.load(place, self.dtype, 0, lanes) for place in places]
        read += [inner.constant(0, self.dtype, lanes)] * (lanes - count)
        into, width = self.into or self.dtype, inner.argument(3, int64)
        for i, row in enumerate(transposed(inner, read)):
            inner.store(inner.convert(row, into), inner.at(destination, i * width, into))
        inner.ret()
        return function


def columns_of(build: Build, line: Any, column: Value, count: int, dtype: np.dtype) -> list[Any]:
    """Where `count` columns of a row are.

    Eight share a register; multiples of the stride that processors do not find themselves are computed once.
    """
    with build.ir.goto_entry_block():
        odd = {factor: column * factor for factor in (1, 3, 5, 7)}
    places = []
    for i in range(count):
        if i % 8 == 0:
            base = build.at(line, i * column, dtype) if i else line
        power = (i % 8) & -(i % 8) or 1
        places.append(build.at(base, odd[i % 8 // power] * power, dtype) if i % 8 else base)
    return places
