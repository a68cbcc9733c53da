"""The compiler: from a Program to one native function."""

from fdl.compile.pipeline import Compiled, compile_program, run_compiled

__all__ = ["Compiled", "compile_program", "run_compiled"]
