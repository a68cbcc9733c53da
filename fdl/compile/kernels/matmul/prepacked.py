"""Products with a matrix that was packed before, as the matrix kernel would pack it itself."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels.matmul.product import MatrixLowering, product_kernel
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.lowerings.emitter import Emitter
from fdl.core.operation import Operation
from fdl.core.types import NumPyArray, TensorType


@dataclass(frozen=True)
class PrepackedProduct(Operation):
    """The product of a matrix [m, k] with one that was packed as panels [ceil(columns / width), k, width].

    It exists only inside of the compiler (`fdl.compile.passes.hoisting.panels`).
    """

    lowering_kind = "kernel"
    columns: int

    def result(self, *types: TensorType) -> TensorType:
        """[m, columns]."""
        return types[0].with_shape((types[0].shape[0], self.columns))

    def reference(self, *arrays: NumPyArray) -> NumPyArray:
        """By NumPy, from the matrix unpacked."""
        x, panels = arrays
        whole = panels.transpose(1, 0, 2).reshape(x.shape[1], -1)
        return np.dot(x, whole[:, : self.columns])


class PrepackedLowering(MatrixLowering[PrepackedProduct]):
    """One product for all whole panels, and one for the last if it is narrower."""

    operations = (PrepackedProduct,)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        (x, panels), (out,) = step.views, step.outputs
        (m, k), n, (count, _, width), dtype = x.type.shape, out.type.shape[1], panels.type.shape, out.type.dtype
        emission, build = emitter.emission, emitter.build
        whole = n // width
        for first, number, columns in ((0, whole, width), (whole, count - whole, n - whole * width)):
            if number == 0:
                continue
            a: Any = (0, *x.strides)
            spec = Contraction(dtype, number, m, columns, k, a, (k * width, width, 1), (width, n, 1))
            kernel = product_kernel(emission, spec)
            pointers = [emitter.first(x)]
            pointers.append(build.at(emitter.first(panels), first * k * width, dtype))
            pointers.append(build.at(emitter.pointer(out), first * width, dtype))
            scratch = emission.scratch_for(kernel.scratch_bytes)
            kernel.run(build, pointers, scratch, *emission.team.share(kernel.work))
