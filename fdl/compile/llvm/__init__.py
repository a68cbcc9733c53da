"""Typed code generation: registers, memory, arithmetic and mathematical functions of one LLVM function.

llvmlite declares no types. Annotations say `ir.Value`, `ir.Type` and the like for the reader; a type checker knows
nothing of them, here and in all code that is given them.
"""
