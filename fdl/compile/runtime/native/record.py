"""The record of a native call: words that say what a program takes and makes; see `fdl.compile.runtime.native.call`."""

#: Places in Python's objects, and in NumPy's arrays: number of axes, extents, base, dtype.
TYPE, NDIM, EXTENTS, BASE, DTYPE = 8, 24, 32, 48, 56

#: Words at the start of a record.
CODE, CALLBACK, CONSTANTS, SCRATCH, INPUTS, OUTPUTS, STRIDE, DONATES = range(8)
ARRAY, NUMPY, POOLED, SLOT, TYPE_SLOT, NEW = range(8, 14)
HEADER = 14

#: Words of an input or an output in a record: dtype, number of axes, extents. What comes between is for inputs whether
#: it is donated, and its TensorType; for outputs the number of the input whose memory it takes (or -1), and a function
#: that makes the array (or 0).
KIND_DTYPE, KIND_FIRST, KIND_SECOND, KIND_NDIM, KIND_EXTENTS = range(5)

#: Arguments before the leaves: the addresses of the workspace, of the function that enters the pool of threads (0 for
#: programs that run on one) and of the pool, and the number of threads.
LEADING = 4
