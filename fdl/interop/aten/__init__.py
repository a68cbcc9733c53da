"""PyTorch's ATen operators as functions of fdl: one table, by the names that exported graphs have for them.

A function takes the operator's arguments in the order of its schema, without those about devices and memory. Numbers of
64 bits that PyTorch makes for indices and sizes are of 32 bits here.
"""

from fdl.interop.aten import elementwise, networks, recurrent, reductions, shapes
from fdl.interop.tables import joined

TABLE = joined(elementwise.TABLE, shapes.TABLE, reductions.TABLE, networks.TABLE, recurrent.TABLE)

#: Operators that draw random numbers: they take two more arguments, a key and a number to fold into it.
RANDOM = networks.RANDOM | recurrent.RANDOM
