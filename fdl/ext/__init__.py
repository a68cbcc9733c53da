"""fdl and numba together.

`numba_call` makes a compiled function of arrays a step of a fdl program, `elementwise` a compiled function of numbers
part of its loops, and `to_numba` makes a fdl function callable from compiled Python. None of the three passes through
the interpreter when it runs.
"""

from fdl.ext.call import numba_call
from fdl.ext.elementwise import elementwise
from fdl.ext.export import to_numba

__all__ = ["elementwise", "numba_call", "to_numba"]
