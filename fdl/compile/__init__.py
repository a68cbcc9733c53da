"""The compiler: from a Program to one native function."""

from fdl.array import eager
from fdl.compile.pipeline import Compiled, compile_program, run_heavy

__all__ = ["Compiled", "compile_program", "run_heavy"]

eager.run_heavy = run_heavy
