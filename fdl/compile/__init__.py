"""The compiler: from a Program to one native function."""
