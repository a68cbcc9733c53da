"""Kernels of operations that are no loop nests. Importing this package registers the lowerings of all of them."""

from fdl.compile.kernels import copies, gather, moves, pooling, rows, scans, small_matrices, sort
from fdl.compile.kernels.control import control_of
from fdl.compile.kernels.conv import lowering as convolutions
from fdl.compile.kernels.fourier import lowering as transforms
from fdl.compile.kernels.grouped import singular
from fdl.compile.kernels.lapack import general
from fdl.compile.kernels.matmul import prepacked, product
from fdl.compile.lowerings.lowering import has_lowering, lowering_of
