"""Typed code generation: registers, memory, arithmetic and mathematical functions of one LLVM function."""
