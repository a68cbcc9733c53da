"""Loads and stores: contiguous, strided, gathered and masked."""

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.arithmetic import Arithmetic
from fdl.compile.llvm.conversion import suffix
from fdl.compile.llvm.values import I1, I32, I64, POINTER, Value, memory_type, undefined, wide, zeros
from fdl.core.types import DType, DTypeLike
from fdl.dtypes import bool_, int64

IndexLike = int | Value


class Memory(Arithmetic):
    """The memory layer of `Build`. A pointer is a plain LLVM ``ptr``; indices and strides count elements."""

    def at(self, pointer: ir.Value, index: IndexLike, dtype: DTypeLike) -> ir.Value:
        """The address of element `index` of an array of `dtype`, which needs no register, that starts at `pointer`."""
        if isinstance(index, int) and index == 0:
            return pointer
        return self.ir.gep(pointer, [self.index(index).ir], source_etype=ir.IntType(8 * np.dtype(dtype).itemsize))

    def held(self, pointer: ir.Value) -> ir.Value:
        """A pointer as a register of its own: LLVM does not see how it differs from others, to save registers."""
        return self.ir.asm(ir.FunctionType(POINTER, [POINTER]), "", "=r,0", [pointer], False)

    def load(
        self,
        pointer: ir.Value,
        dtype: DTypeLike,
        index: IndexLike = 0,
        lanes: int = 1,
        stride: IndexLike = 1,
        mask: Value | None = None,
    ) -> Value:
        """`lanes` elements from `pointer[index + i * stride]`.

        Args:
            pointer: start of the array.
            dtype: dtype of its elements.
            index: the first element, or a vector of `lanes` indices to gather from (then `stride` is ignored).
            lanes: 1, or the size of the vector to load.
            stride: distance of two lanes in elements; 0 copies one element to every lane.
            mask: boolean vector; lanes where it is false are not read and give 0.
        """
        dtype = np.dtype(dtype)
        if isinstance(index, Value) and index.lanes > 1:
            return self._gather(pointer, dtype, index, index.lanes, mask)
        if lanes == 1 and mask is None:
            return self.unpack(self._load_one(self.at(pointer, index, dtype), dtype, 1), dtype)
        if isinstance(stride, int) and stride == 0 and mask is None:
            return self.broadcast(self.load(pointer, dtype, index), lanes)
        if isinstance(stride, int) and stride == 1:
            address = self.at(pointer, index, dtype)
            stored = self._load_one(address, dtype, lanes) if mask is None else self._load_masked(address, dtype, mask)
            return self.unpack(stored, dtype)
        if isinstance(stride, int) and stride == -1 and mask is None:
            address = self.at(pointer, self.index(index) - (lanes - 1), dtype)
            return self.unpack(self._reversed(self._load_one(address, dtype, lanes), lanes), dtype)
        if isinstance(stride, int) and stride == 2 and mask is None:
            return self.unpack(self._load_alternate(self.at(pointer, index, dtype), dtype, lanes), dtype)
        if isinstance(stride, int) and mask is None:
            base = self.index(index)
            places = [self.at(pointer, base + i * stride if i else base, dtype) for i in range(lanes)]
            return self._load_each(places, dtype)
        return self._gather(pointer, dtype, self._lane_indices(index, stride, lanes), lanes, mask)

    def store(
        self, value: Value, pointer: ir.Value, index: IndexLike = 0, stride: IndexLike = 1, mask: Value | None = None
    ) -> None:
        """Write `value` to `pointer[index + i * stride]`; arguments as in `load`."""
        dtype, lanes = value.dtype, value.lanes
        stored = self.pack(value)
        if isinstance(index, Value) and index.lanes > 1:
            self._scatter(stored, pointer, dtype, index, mask)
        elif lanes == 1 and mask is None:
            self.ir.store(stored, self.at(pointer, index, dtype), align=dtype.itemsize)
        elif isinstance(stride, int) and stride == 1:
            address = self.at(pointer, index, dtype)
            if mask is None:
                self.ir.store(stored, address, align=dtype.itemsize)
            else:
                self._store_masked(stored, address, dtype, mask)
        elif isinstance(stride, int) and stride == -1 and mask is None:
            address = self.at(pointer, self.index(index) - (lanes - 1), dtype)
            self.ir.store(self._reversed(stored, lanes), address, align=dtype.itemsize)
        elif isinstance(stride, int) and mask is None:
            base = self.index(index)
            for i in range(lanes):
                address = self.at(pointer, base + i * stride if i else base, dtype)
                self.ir.store(self.ir.extract_element(stored, I32(i)), address, align=dtype.itemsize)
        else:
            self._scatter(stored, pointer, dtype, self._lane_indices(index, stride, lanes), mask)

    def clear(self, pointer: ir.Value, size: IndexLike) -> None:
        """Set `size` bytes to zero."""
        arguments = [pointer, ir.IntType(8)(0), self.index(size).ir, I1(False)]
        self.ir.call(self.declare("llvm.memset.p0.i64", ir.VoidType(), [a.type for a in arguments]), arguments)

    def prefetch(self, pointer: ir.Value, dtype: DTypeLike, index: IndexLike = 0, write: bool = True) -> None:
        """Ask for the cache line of an element that will be written (or only read) soon; it need not exist."""
        arguments = [self.at(pointer, index, dtype), I32(int(write)), I32(3), I32(1)]
        self.ir.call(self.declare("llvm.prefetch.p0", ir.VoidType(), [a.type for a in arguments]), arguments)

    def first_lanes(self, count: IndexLike, lanes: int) -> Value:
        """The mask of the first `count` lanes; a store takes each lane by itself where `count` is not known."""
        if isinstance(count, int):
            return self.value(ir.Constant(wide(I1, lanes), [i < count for i in range(lanes)]), bool_)
        return self.iota(int64, lanes) < self.broadcast(self.index(count), lanes)

    def lane(self, x: Value, number: int) -> Value:
        """One lane of a vector."""
        return x if x.lanes == 1 else self.value(self.ir.extract_element(x.ir, I32(number)), x.dtype)

    def _load_one(self, address: ir.Value, dtype: DType, lanes: int) -> ir.Value:
        return self.ir.load(address, align=dtype.itemsize, typ=wide(memory_type(dtype), lanes))

    def _reversed(self, x: ir.Value, lanes: int) -> ir.Value:
        """The lanes of a vector, the last one first."""
        return self.ir.shuffle_vector(x, x, ir.Constant(ir.VectorType(I32, lanes), list(reversed(range(lanes)))))

    def _load_alternate(self, address: ir.Value, dtype: DType, lanes: int) -> ir.Value:
        """Every other element, from two vectors that end with the last one wanted."""
        first, second = (self._load_one(self.at(address, start, dtype), dtype, lanes) for start in (0, lanes - 1))
        order = [2 * i if 2 * i < lanes else 2 * i + 1 for i in range(lanes)]
        return self.ir.shuffle_vector(first, second, ir.Constant(ir.VectorType(I32, lanes), order))

    def _load_masked(self, address: ir.Value, dtype: DType, mask: Value) -> ir.Value:
        kind = wide(memory_type(dtype), mask.lanes)
        if mask.lanes == 1:
            return self._load_lane(address, dtype, mask)
        if not isinstance(mask.ir, ir.Constant):
            # A load whose lanes are all off may be of memory that is not there, which processors survive slowly.
            bits = ir.IntType(mask.lanes)
            some = self.ir.icmp_unsigned("!=", self.ir.bitcast(mask.ir, bits), bits(0))
            address = self.ir.select(some, address, self.stack_slot(kind))
        arguments = [address, I32(dtype.itemsize), mask.ir, zeros(kind)]
        name = f"llvm.masked.load.{suffix(kind)}.p0"
        return self.ir.call(self.declare(name, kind, [a.type for a in arguments]), arguments)

    def _load_lane(self, address: ir.Value, dtype: DType, mask: Value) -> ir.Value:
        kind = memory_type(dtype)
        slot = self.stack_slot(kind)
        self.ir.store(ir.Constant(kind, 0), slot)
        with self.ir.if_then(mask.ir):
            self.ir.store(self._load_one(address, dtype, 1), slot)
        return self.ir.load(slot, typ=kind)

    def _store_masked(self, stored: ir.Value, address: ir.Value, dtype: DType, mask: Value) -> None:
        """Store the lanes of a mask; single lanes as scalars (decision 015)."""
        if mask.lanes == 1:
            with self.ir.if_then(mask.ir):
                self.ir.store(stored, address, align=dtype.itemsize)
            return
        if not isinstance(mask.ir, ir.Constant):
            # LLVM may find out later that it has one lane.
            self._scatter(stored, address, dtype, self.iota(int64, mask.lanes), mask)
            return
        kept = [i for i, on in enumerate(mask.ir.constant) if on.constant]
        if len(kept) < 2:
            for i in kept:
                element = self.ir.extract_element(stored, I32(i))
                self.ir.store(element, self.at(address, i, dtype), align=dtype.itemsize)
            return
        arguments = [stored, address, I32(dtype.itemsize), mask.ir]
        name = f"llvm.masked.store.{suffix(stored.type)}.p0"
        self.ir.call(self.declare(name, ir.VoidType(), [a.type for a in arguments]), arguments)

    def _lane_indices(self, index: IndexLike, stride: IndexLike, lanes: int) -> Value:
        return self.index(index) + self.iota(int64, lanes) * self.index(stride)

    def _gather(self, pointer: ir.Value, dtype: DType, index: Value, lanes: int, mask: Value | None) -> Value:
        kind = memory_type(dtype)
        index = self.index(index)
        if mask is None and self.target.fast_gather and dtype.itemsize in (4, 8) and lanes * dtype.itemsize >= 32:
            mask = self.constant(True, bool_, lanes)
        if mask is not None:
            pointers = self.ir.gep(pointer, [index.ir], source_etype=kind)
            pointers.type = ir.VectorType(POINTER, lanes)
            arguments = [pointers, I32(dtype.itemsize), self.broadcast(mask, lanes).ir, zeros(wide(kind, lanes))]
            name = f"llvm.masked.gather.{suffix(wide(kind, lanes))}.v{lanes}p0"
            loaded = self.ir.call(self.declare(name, wide(kind, lanes), [a.type for a in arguments]), arguments)
            return self.unpack(loaded, dtype)
        return self._load_each([self.at(pointer, self.lane(index, i), dtype) for i in range(lanes)], dtype)

    def _load_each(self, addresses: Sequence[ir.Value], dtype: DType) -> Value:
        """A vector of elements that lie anywhere."""
        result = undefined(wide(memory_type(dtype), len(addresses)))
        for i, address in enumerate(addresses):
            result = self.ir.insert_element(result, self._load_one(address, dtype, 1), I32(i))
        return self.unpack(result, dtype)

    def _scatter(self, stored: ir.Value, pointer: ir.Value, dtype: DType, index: Value, mask: Value | None) -> None:
        for i in range(index.lanes):
            element = self.ir.extract_element(stored, I32(i))
            address = self.at(pointer, self.lane(self.index(index), i), dtype)
            if mask is None:
                self.ir.store(element, address, align=dtype.itemsize)
            else:
                self._store_masked(element, address, dtype, self.lane(mask, i))

    def stack_slot(self, kind: ir.Type, count: int = 1) -> ir.Value:
        """Room for `count` values of an LLVM type on the stack, reserved once a call of the function."""
        with self.ir.goto_entry_block():
            slot = self.ir.alloca(kind, size=I64(count) if count > 1 else None)
        slot.type = POINTER
        return slot
