"""`Build`: typed code generation for one LLVM function, the argument of every primitive's ``lower`` rule."""

import numpy as np

from fdl.compile.llvm import vecmath
from fdl.compile.llvm.function import FunctionBuilder
from fdl.compile.llvm.values import Value
from fdl.core.types import DTypeLike
from fdl.errors import DtypeError


class Build(FunctionBuilder):
    """Emits code at the end of `function`, typed by NumPy dtypes.

    Values are `Value` (`fdl.compile.llvm.values`), of one lane or a vector. Arithmetic is in `Arithmetic`, dtypes and
    constants in `Conversion`, loads and stores in `Memory`, control flow in `FunctionBuilder`; this class adds
    mathematical functions.

    Args:
        module: where functions that the code needs are put.
        target: the processor.
        function: the function to fill; an entry block is made if it has none.
    """

    def supports(self, name: str, dtype: DTypeLike) -> bool:
        """Whether `call` knows the function `name` for `dtype`."""
        return vecmath.supports(name, np.dtype(dtype))

    def call(self, name: str, *operands: Value) -> Value:
        """The mathematical function `name` (see `fdl.compile.llvm.vecmath`), elementwise, on values of one float dtype.

        Raises:
            DtypeError: the function is not offered for this dtype; see `supports`.
        """
        values = self._common(*operands, like=operands[0])
        if not vecmath.supports(name, values[0].dtype):
            raise DtypeError(f"no generated code for {name} of dtype {values[0].dtype}")
        return vecmath.call(self, name, values)
