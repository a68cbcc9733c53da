"""The lowering of reductions over windows and of their derivatives: which loops of `window` an operation needs."""

from collections.abc import Callable
from math import prod
from typing import ClassVar

from fdl.compile.ir.steps import KernelStep, View
from fdl.compile.kernels import window
from fdl.compile.kernels.kernel import Kernel, run_kernel
from fdl.compile.lowerings.emitter import Emitter
from fdl.compile.lowerings.lowering import Lowering, Types
from fdl.ops.window import ReduceWindow, SelectAndGather, SelectAndScatterAdd, Windowed


class WindowLowering(Lowering[Windowed]):
    """A reduction over windows, or the choice of an element in each, and its transpose."""

    operations = (ReduceWindow, SelectAndScatterAdd, SelectAndGather)
    parallel = True
    #: What emits the kernel of an operation.
    kernels: ClassVar[dict[type[Windowed], Callable[..., Kernel]]] = {
        ReduceWindow: window.emit_reduce,
        SelectAndScatterAdd: window.emit_select_and_scatter,
        SelectAndGather: window.emit_select_and_gather,
    }

    def effort(self, operation: Windowed, operands: Types, results: Types) -> int:
        return 20 * prod(operation.window) * min(t.size for t in (*operands, *results))

    def supports(self, step: KernelStep) -> bool:
        return window.supports(step.views[0].type.dtype)

    def emit(self, emitter: Emitter, step: KernelStep) -> None:
        operation, (out,) = self.operation(step), step.outputs
        spec, emission = window_of(step, operation), emitter.emission
        emit = self.kernels[type(operation)]
        run_kernel(
            emitter,
            f"{operation.name} {operation.kind} {spec}",
            lambda: emit(emission.module, emission.target, spec, operation.kind),
            [*map(emitter.first, _in_order(step)), emitter.pointer(out)],
        )


def _in_order(step: KernelStep) -> list[View]:
    """Operands as kernels take them, x first; those of the choosing operations are (dx, x) and (dy, x)."""
    return step.views[::-1]


def window_of(step: KernelStep, operation: Windowed) -> window.Window:
    """The window of a step, with the axes that it does not move along merged into `outer` and `inner`."""
    (out,) = step.outputs
    x, *others = (v.type for v in _in_order(step))
    moving = [
        a
        for a, n in enumerate(operation.window)
        if (n, operation.strides[a], operation.padding[a], operation.base_dilation[a]) != (1, 1, (0, 0), 1)
    ]
    first, last = (moving[0], moving[-1] + 1) if moving else (0, 0)
    places = others[0].shape if isinstance(operation, SelectAndScatterAdd) else out.type.shape
    part = slice(first, last)
    return window.Window(
        x.dtype, prod(x.shape[:first]), prod(x.shape[last:]), x.shape[part], operation.window[part], places[part],
        operation.strides[part], tuple(low for low, _ in operation.padding[part]), operation.window_dilation[part],
        operation.base_dilation[part],
    )  # fmt: skip
