"""Constants, broadcasts, changes of dtype and bit patterns of registers."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from llvmlite import ir

from fdl.compile.llvm.target import Target
from fdl.compile.llvm.values import (
    HALVES,
    I16,
    I32,
    I64,
    Emitter,
    Value,
    is_float,
    is_signed,
    register_type,
    undefined,
    wide,
    zeros,
)
from fdl.core.types import DType, DTypeLike, Number
from fdl.dtypes import bfloat16, bool_, float16, float32, float64, int32, int64, uint32
from fdl.errors import DtypeError


class Conversion:
    """The lowest layer of `Build`: how values come to be and change their dtype."""

    module: ir.Module
    target: Target
    ir: ir.IRBuilder

    def value(self, register: ir.Value, dtype: DTypeLike) -> Value:
        """`register`, an LLVM value, as a typed value."""
        lanes = register.type.count if isinstance(register.type, ir.VectorType) else 1
        return Value(register, np.dtype(dtype), lanes, self)  # type: ignore[arg-type]  # as above

    def constant(self, number: Number, dtype: DTypeLike, lanes: int = 1) -> Value:
        """The Python or NumPy `number` as a value of `dtype`, the same in every lane."""
        dtype = np.dtype(dtype)
        kind = register_type(dtype)
        if dtype == bool_:
            exact: float = bool(number)
        elif is_float(dtype):
            with np.errstate(over="ignore", invalid="ignore"):
                exact = float(np.asarray(number).astype(dtype))
        else:
            exact = int(np.asarray(number).astype(dtype)) if not isinstance(number, int) else number
        if lanes == 1:
            register = ir.Constant(kind, exact)
        elif exact == 0 and math.copysign(1, exact) == 1 and dtype != bool_:
            register = zeros(wide(kind, lanes))
        else:
            register = ir.Constant(wide(kind, lanes), [exact] * lanes)
        return replace(self.value(register, dtype), low_zero=dtype == bfloat16)

    def constants(self, numbers: Sequence[int], dtype: DTypeLike) -> Value:
        """A vector whose lanes hold `numbers`."""
        dtype = np.dtype(dtype)
        return self.value(ir.Constant(wide(register_type(dtype), len(numbers)), list(numbers)), dtype)

    def _constant_bits(self, dtype: DType, lanes: int, number: int) -> ir.Constant:
        kind = register_type(dtype)
        number = bool(number) if dtype == bool_ else number
        return ir.Constant(wide(kind, lanes), [number] * lanes) if lanes > 1 else ir.Constant(kind, number)

    def iota(self, dtype: DTypeLike, lanes: int) -> Value:
        """The lane's number: 0, 1, 2, ..."""
        return self.constants(range(lanes), dtype) if lanes > 1 else self.constant(0, dtype)

    def broadcast(self, x: Value, lanes: int) -> Value:
        """One element copied to `lanes` lanes; a vector of that size is returned as it is."""
        if x.lanes == lanes:
            return x
        if x.lanes != 1:
            raise ValueError(f"a vector of {x.lanes} lanes meets one of {lanes}")
        kind = wide(x.ir.type, lanes)
        if isinstance(x.ir, ir.Constant):
            return replace(x, ir=ir.Constant(kind, [x.ir.constant] * lanes), lanes=lanes)
        nothing = undefined(kind)
        first = self.ir.insert_element(nothing, x.ir, I32(0))
        register = self.ir.shuffle_vector(first, nothing, zeros(wide(I32, lanes)))
        return replace(x, ir=register, lanes=lanes)

    def intrinsic(self, name: str, *operands: Value, flags: tuple[bool, ...] = ()) -> Value:
        """LLVM's intrinsic `name`, overloaded on the type of the first operand, which is also the result's."""
        x = operands[0]
        arguments = [v.ir for v in operands] + [ir.Constant(ir.IntType(1), f) for f in flags]
        function = self.declare(f"llvm.{name}.{suffix(x.ir.type)}", x.ir.type, [a.type for a in arguments])
        return self.value(self.ir.call(function, arguments), x.dtype)

    def declare(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        """The external function `name`, declared once a module."""
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, list(arguments)), name)

    def convert(self, x: Value, dtype: DTypeLike) -> Value:
        """`x` as `dtype`: floats truncate toward zero and saturate (NaN gives 0), integers wrap, booleans are 0 and 1.

        As in JAX; where NumPy's result is defined, it is the same.
        """
        dtype = np.dtype(dtype)
        if x.dtype == dtype:
            return x
        if dtype == bool_:
            return self._to_bool(x)
        if is_float(x.dtype):
            return self._float_to_float(x, dtype) if is_float(dtype) else self._float_to_int(x, dtype)
        return self._int_to_float(x, dtype) if is_float(dtype) else self._int_to_int(x, dtype)

    def _to_bool(self, x: Value) -> Value:
        zero = self.constant(0, x.dtype, x.lanes).ir
        compare = self.ir.fcmp_unordered if is_float(x.dtype) else self.ir.icmp_unsigned
        return self.value(compare("!=", x.ir, zero), bool_)

    def _float_to_float(self, x: Value, dtype: DType) -> Value:
        if dtype == float64:
            return self.value(self.ir.fpext(x.ir, wide(register_type(dtype), x.lanes)), dtype)
        if x.dtype == float64:
            narrow = self._to_odd(x) if dtype == float16 else self.ir.fptrunc(x.ir, wide(ir.FloatType(), x.lanes))
        else:
            narrow = x.ir
        return self.round_to(narrow, dtype)

    def _to_odd(self, x: Value) -> ir.Value:
        """float64 as float32 rounded to odd, so that rounding once more gives what one rounding would."""
        near = self.value(self.ir.fptrunc(x.ir, wide(ir.FloatType(), x.lanes)), float32)
        back = self.ir.fpext(near.ir, x.ir.type)
        bits = self.bitcast(near, int32)
        one = self.constant(1, int32, x.lanes).ir
        inexact = self.ir.fcmp_ordered("!=", back, x.ir)
        even = self.ir.icmp_unsigned("==", self.ir.and_(bits.ir, one), self.constant(0, int32, x.lanes).ir)
        size, wanted = (self.intrinsic("fabs", self.value(v, float64)).ir for v in (back, x.ir))
        beyond = self.ir.fcmp_ordered(">", size, wanted)
        step = self.ir.select(beyond, self.constant(-1, int32, x.lanes).ir, one)
        odd = self.ir.select(self.ir.and_(inexact, even), self.ir.add(bits.ir, step), bits.ir)
        return self.ir.bitcast(odd, near.ir.type)

    def _float_to_int(self, x: Value, dtype: DType) -> Value:
        # LLVM's saturating conversions take vectors apart. What is converted outside of the range is not selected.
        result, signed, span = wide(register_type(dtype), x.lanes), is_signed(dtype), np.iinfo(dtype.name)
        wider = float64 if x.dtype == float64 else float32
        low, high = self.constant(span.min, dtype, x.lanes).ir, self.constant(span.max, dtype, x.lanes).ir
        first, end = float(span.min), 2.0 ** (8 * dtype.itemsize - signed)
        found = (self.ir.fptosi if signed else self.ir.fptoui)(x.ir, result)
        inside = self.ir.fcmp_ordered("<", x.ir, self.constant(end, wider, x.lanes).ir)
        found = self.ir.select(inside, found, high)
        inside = self.ir.fcmp_ordered(">=", x.ir, self.constant(first, wider, x.lanes).ir)
        found = self.ir.select(inside, found, low)
        if signed:  # else NaN gives the lowest, which is 0
            found = self.ir.select(self.ir.fcmp_ordered("ord", x.ir, x.ir), found, self.constant(0, dtype, x.lanes).ir)
        return self.value(found, dtype)

    def _int_to_float(self, x: Value, dtype: DType) -> Value:
        emit = self.ir.sitofp if is_signed(x.dtype) else self.ir.uitofp
        return self.round_to(emit(x.ir, wide(register_type(dtype), x.lanes)), dtype)

    def _int_to_int(self, x: Value, dtype: DType) -> Value:
        result = wide(register_type(dtype), x.lanes)
        before, after = 1 if x.dtype == bool_ else x.dtype.itemsize * 8, dtype.itemsize * 8
        if before == after:
            return self.value(x.ir, dtype)
        emit = self.ir.trunc if after < before else self.ir.sext if is_signed(x.dtype) else self.ir.zext
        return self.value(emit(x.ir, result), dtype)

    def round_to(self, register: ir.Value, dtype: DType) -> Value:
        """A float register rounded to the precision of `dtype`, still in its computing type."""
        value = self.value(register, dtype)
        if dtype == bfloat16:
            bits = self._bfloat16_rounded(value) & 0xFFFF0000
            return replace(self.value(self._as_float(bits), dtype), low_zero=True)
        return self.unpack(self.pack(value), dtype) if dtype == float16 else value

    def pack(self, x: Value) -> ir.Value:
        """The LLVM value that is stored for `x`: bytes for booleans, 16 bits for float16 and bfloat16."""
        if x.dtype == bool_:
            return self.ir.zext(x.ir, wide(ir.IntType(8), x.lanes))
        if x.dtype == float16 and self.target.half:
            return self.ir.bitcast(self.ir.fptrunc(x.ir, wide(ir.HalfType(), x.lanes)), wide(I16, x.lanes))
        if x.dtype in HALVES:
            bits = self._bits(x)
            if x.dtype == bfloat16:
                packed = self.build.shift_right_logical(bits if x.low_zero else self._bfloat16_rounded(x), 16)
            else:
                packed = self._float16_bits(bits)
            return self.ir.trunc(packed.ir, wide(I16, x.lanes))
        return x.ir

    def unpack(self, stored: ir.Value, dtype: DType) -> Value:
        """The inverse of `pack`."""
        lanes = stored.type.count if isinstance(stored.type, ir.VectorType) else 1
        if dtype == bool_:
            zero = ir.Constant(stored.type, [0] * lanes) if lanes > 1 else ir.Constant(stored.type, 0)
            return self.value(self.ir.icmp_unsigned("!=", stored, zero), bool_)
        if dtype not in HALVES:
            return self.value(stored, dtype)
        result = wide(ir.FloatType(), lanes)
        if dtype == float16 and self.target.half:
            return self.value(self.ir.fpext(self.ir.bitcast(stored, wide(ir.HalfType(), lanes)), result), dtype)
        bits = self.value(self.ir.zext(stored, wide(I32, lanes)), uint32)
        if dtype == bfloat16:
            register = self.ir.bitcast(self.build.shift_left(bits, 16).ir, result)
            return replace(self.value(register, dtype), low_zero=True)
        return self.value(self._float16_from_bits(bits), dtype)

    @property
    def build(self) -> Emitter:
        """This object with all its layers, for code that needs those above."""
        return self  # type: ignore[return-value]  # `Build` is one

    def _bits(self, x: Value) -> Value:
        return self.value(self.ir.bitcast(x.ir, wide(I32, x.lanes)), uint32)

    def _bfloat16_rounded(self, x: Value) -> Value:
        """Bits whose upper halves are the nearest bfloat16 of float32 registers, ties to even; NaN becomes quiet."""
        b, bits = self.build, self._bits(x)
        odd = b.shift_right_logical(bits, 16) & 1
        nan = self.value(self.ir.fcmp_unordered("uno", x.ir, x.ir), bool_)
        return b.select(nan, bits | 0x00400000, bits + (odd + 0x7FFF))

    def _float16_bits(self, bits: Value) -> Value:
        """The bits of the float16 nearest to a float32 given by its bits, for processors that lack the instruction."""
        b = self.build
        sign = b.shift_right_logical(bits, 16) & 0x8000
        size = bits & 0x7FFFFFFF
        odd = b.shift_right_logical(size, 13) & 1
        normal = b.shift_right_logical(size + odd + 0xC8000FFF, 13)
        # Adding 1/2 makes the float32 adder round a subnormal at the last bit of a float16.
        half = self.constant(0x3F000000, uint32, bits.lanes)
        shifted = self.ir.fadd(self._as_float(size), self._as_float(half))
        subnormal = self.value(self.ir.bitcast(shifted, bits.ir.type), uint32) - half
        result = b.select(size < 0x38800000, subnormal, normal)
        result = b.select(size >= 0x477FF000, self.constant(0x7C00, uint32, bits.lanes), result)
        return sign | b.select(size > 0x7F800000, self.constant(0x7E00, uint32, bits.lanes), result)

    def _float16_from_bits(self, bits: Value) -> ir.Value:
        b = self.build
        size = b.shift_left(bits & 0x7FFF, 13)
        # Multiplying by 2^112 moves the exponent from float16's bias to float32's and normalises subnormals.
        scale = self.ir.bitcast(self.constant(0x77800000, uint32, bits.lanes).ir, self._as_float(bits).type)
        scaled = self.ir.bitcast(self.ir.fmul(self._as_float(size), scale), bits.ir.type)
        finite = self.value(scaled, uint32)
        result = b.select(size >= 0x0F800000, size | 0x7F800000, finite)
        return self._as_float(result | b.shift_left(bits & 0x8000, 16))

    def _as_float(self, bits: Value) -> ir.Value:
        return self.ir.bitcast(bits.ir, wide(ir.FloatType(), bits.lanes))

    def bitcast(self, x: Value, dtype: DTypeLike) -> Value:
        """The stored bits of `x` read as `dtype`, which has the same size.

        Raises:
            DtypeError: the sizes differ.
        """
        dtype = np.dtype(dtype)
        if x.dtype.itemsize != dtype.itemsize:
            raise DtypeError(f"bitcast from {x.dtype} to {dtype}: the sizes differ")
        if bool_ in (x.dtype, dtype):
            return self.unpack(self.pack(x), dtype)
        stored = I16 if dtype in HALVES else register_type(dtype)
        packed = self.pack(x)
        wanted = wide(stored, x.lanes)
        return self.unpack(packed if packed.type == wanted else self.ir.bitcast(packed, wanted), dtype)

    def index(self, number: int | Value) -> Value:
        """`number` as a 64-bit index."""
        if isinstance(number, Value):
            return number if number.dtype == int64 else self.convert(number, int64)
        return self.value(I64(int(number)), int64)


def suffix(kind: ir.Type) -> str:
    """How LLVM spells `kind` in the name of an overloaded intrinsic."""
    if isinstance(kind, ir.VectorType):
        return f"v{kind.count}{kind.element.intrinsic_name}"
    return str(kind.intrinsic_name)
