"""Steps that are one equation with a kernel."""

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

from fdl.compile.codegen import partial
from fdl.compile.fallback import during
from fdl.compile.ir.affine import strides
from fdl.compile.ir.plan import nbytes
from fdl.compile.ir.steps import KernelStep
from fdl.compile.kernels import moves, rows, scans, sort, window
from fdl.compile.kernels.conv import convolution
from fdl.compile.kernels.conv.spec import Convolution
from fdl.compile.kernels.matmul import contraction
from fdl.compile.kernels.matmul.spec import Contraction
from fdl.compile.loopnest.epilogue import EpilogueEmitter, as_nest
from fdl.compile.lowerings.lowering import has_convolution_kernel, has_product_kernel
from fdl.compile.passes.canonical import features_last, product
from fdl.compile.schedule.fuse import is_nothing
from fdl.compile.schedule.nested import convolution_chunks
from fdl.dtypes import uint8

#: Bytes that a thread copies at least.
_COPY_BYTES = 4096

#: What a kernel returns that has computed the epilogue of its step too.
FUSED = "fused"


def emit_kernel(emitter: Any, step: KernelStep) -> None:
    """Emit the code of a step, which Python computes if its kernel does not take the operands."""
    operation = step.equation.operation
    if is_nothing(step.equation):
        return
    with during("kernels" if step.epilogue is None else "epilogues"):
        emit = KERNELS.get(operation.name) or KERNELS[operation.family]
        done = emit(emitter, step)
        if not done:
            emitter.host(step)
        if step.epilogue is not None and done != FUSED:
            # Nobody else knows of the work after the first barrier, so that the step ends with another one.
            emitter.emission.team.barrier()
            emitter.loops(as_nest(step))
            emitter.emission.team.barrier()


def emit_product(emitter: Any, step: KernelStep) -> bool | str:
    """A batched matrix product in canonical form."""
    operation, (x, y), (out,) = step.equation.operation, step.views, step.equation.outputs
    dtype = out.type.dtype
    is_canonical = operation == product(x.type.ndim) and x.type.ndim > 2
    if not is_canonical or not has_product_kernel(dtype, x.type.shape[-1]) or x.type.dtype != dtype:
        return False
    (*batch, m, k), n = x.type.shape, y.type.shape[-1]
    c = strides((*batch, m, n))
    loops = _merged_batch(batch, [v[: len(batch)] for v in (x.strides, y.strides, c)])
    # The kernel loops over one batch axis; where several cannot be merged into one, it is called in loops.
    (size, inner), outer = loops[-1], loops[:-1]
    a, b, to = ((s, *v[-2:]) for s, v in zip(inner, (x.strides, y.strides, c), strict=True))
    spec = Contraction(dtype, size, m, n, k, a, b, to)  # type: ignore[arg-type]
    emission, build = emitter.emission, emitter.build
    tail = EpilogueEmitter(step, emitter.given.slots, 3) if step.epilogue else None
    operands = tail.operands if tail else []
    kernel = emission.shared(
        f"{spec} {tail and tail.key()}",
        lambda: contraction.emit(emission.module, emission.target, spec, tail, len(operands)),
    )
    scratch = emission.scratch_for(kernel.scratch_bytes)
    pointers, extras = [emitter.first(x), emitter.first(y), emitter.pointer(out)], [*map(emitter.pointer, operands)]
    with ExitStack() as stack:
        for extent, steps in outer:
            i = stack.enter_context(build.loop(0, extent))
            pointers = [build.at(p, i * s, dtype) for p, s in zip(pointers, steps, strict=True)]
        kernel.run(build, [*pointers, *extras], scratch, *emission.team.share(kernel.work))
    return FUSED


def emit_panel_product(emitter: Any, step: KernelStep) -> bool:
    """A product with a packed matrix: one for all whole panels, and one for the last if it is narrower."""
    (x, panels), (out,) = step.views, step.outputs
    (m, k), n, (count, _, width), dtype = x.type.shape, out.type.shape[1], panels.type.shape, out.type.dtype
    emission, build = emitter.emission, emitter.build
    whole = n // width
    for first, number, columns in ((0, whole, width), (whole, count - whole, n - whole * width)):
        if number == 0:
            continue
        a, b, c = (0, *x.strides), (k * width, width, 1), (width, n, 1)
        spec = Contraction(dtype, number, m, columns, k, a, b, c)  # type: ignore[arg-type]  # three numbers each
        kernel = emission.shared(f"{spec}", lambda spec=spec: contraction.emit(emission.module, emission.target, spec))
        pointers = [emitter.first(x)]
        pointers.append(build.at(emitter.first(panels), first * k * width, dtype))
        pointers.append(build.at(emitter.pointer(out), first * width, dtype))
        scratch = emission.scratch_for(kernel.scratch_bytes)
        kernel.run(build, pointers, scratch, *emission.team.share(kernel.work))
    return True


def _merged_batch(extents: Sequence[int], steps: Sequence[Sequence[int]]) -> list[tuple[int, tuple[int, ...]]]:
    """Batch axes as few loops: (extent, stride of each array)."""
    loops: list[tuple[int, tuple[int, ...]]] = []
    for extent, *own in zip(extents, *steps, strict=True):
        if loops and extent == 1:
            continue
        if loops and all(before == s * extent for before, s in zip(loops[-1][1], own, strict=True)):
            loops[-1] = (loops[-1][0] * extent, tuple(own))
        elif loops and loops[-1][0] == 1:
            loops[-1] = (extent, tuple(own))
        else:
            loops.append((extent, tuple(own)))
    return loops


def emit_convolution(emitter: Any, step: KernelStep) -> bool | str:
    """A convolution with features last."""
    operation: Any = step.equation.operation
    (x, w), (out,) = step.views, step.equation.outputs
    is_canonical = x.type.ndim > 2 and operation.numbers == features_last(x.type.ndim)
    if not is_canonical or not has_convolution_kernel(out.type.dtype) or x.type.dtype != out.type.dtype:
        return False
    (batch, *spatial, features), (*window, _, out_features) = x.type.shape, w.type.shape
    spec = Convolution(
        out.type.dtype, batch, features, out_features, tuple(spatial), tuple(window), out.type.shape[1:-1],
        operation.strides, tuple(low for low, _ in operation.padding), operation.lhs_dilation, operation.rhs_dilation,
        operation.feature_group_count, x.strides, w.strides, strides(out.type.shape), operation.batch_group_count,
    )  # fmt: skip
    count = convolution_chunks(operation, x.type, w.type, out.type)
    if count > 1:
        partial.emit_chunks(emitter, step, spec, count)
        return True
    emission = emitter.emission
    fused = step.epilogue is not None and convolution.takes_epilogue(spec)
    tail = EpilogueEmitter(step, emitter.given.slots, len(out.type.shape)) if fused else None
    operands = tail.operands if tail else []
    kernel = emission.shared(
        f"{spec} {tail and tail.key()}",
        lambda: convolution.emit(emission.module, emission.target, spec, tail, len(operands)),
    )
    pointers = [emitter.first(x), emitter.first(w), *map(emitter.pointer, (out, *operands))]
    scratch = emission.scratch_for(kernel.scratch_bytes)
    kernel.run(emitter.build, pointers, scratch, *emission.team.share(kernel.work))
    return FUSED if fused else True


def emit_window(emitter: Any, step: KernelStep) -> bool:
    """A reduction over windows, or the choice of an element in each, and its transpose."""
    operation: Any = step.equation.operation
    (out,) = step.outputs
    # The chosen elements' operands are (dx, x) and (dy, x); kernels take x first.
    reduces = operation.name == "reduce_window"
    views = step.views if reduces else step.views[::-1]
    x, dtype = views[0].type, views[0].type.dtype
    if not window.supports(dtype):
        return False
    moving = [
        a
        for a, n in enumerate(operation.window)
        if (n, operation.strides[a], operation.padding[a], operation.base_dilation[a]) != (1, 1, (0, 0), 1)
    ]
    first, last = (moving[0], moving[-1] + 1) if moving else (0, 0)
    places = out.type.shape if operation.name != "select_and_scatter_add" else views[1].type.shape
    part = slice(first, last)
    spec = window.Window(
        dtype, prod(x.shape[:first]), prod(x.shape[last:]), x.shape[part], operation.window[part], places[part],
        operation.strides[part], tuple(low for low, _ in operation.padding[part]), operation.window_dilation[part],
        operation.base_dilation[part],
    )  # fmt: skip
    emit = {
        "reduce_window": window.emit_reduce,
        "select_and_scatter_add": window.emit_select_and_scatter,
        "select_and_gather": window.emit_select_and_gather,
    }[operation.name]
    emission = emitter.emission
    key = f"{operation.name} {operation.kind} {spec}"
    kernel = emission.shared(key, lambda: emit(emission.module, emission.target, spec, operation.kind))
    pointers = [*map(emitter.first, views), emitter.pointer(out)]
    scratch = emission.scratch_for(kernel.scratch_bytes)
    kernel.run(emitter.build, pointers, scratch, *emission.team.share(kernel.work))
    return True


def emit_copy(emitter: Any, step: KernelStep) -> bool:
    """Bytes as they are."""
    build, size = emitter.build, nbytes(step.outputs[0].type)
    begin, end = (unit * _COPY_BYTES for unit in emitter.emission.team.share(-(-size // _COPY_BYTES)))
    places = (emitter.first(step.views[0]), emitter.pointer(step.outputs[0]))
    source, target = (build.at(place, begin, uint8) for place in places)
    emitter.copy(source, target, build.min(end, size) - begin)
    return True


def emit_foreign(emitter: Any, step: KernelStep) -> bool:
    """A call of machine code that another compiler made; the operation knows where it is in each process."""
    emitter.foreign(step)
    return True


#: By the name or the family of an operation; a kernel returns False if it does not take the operands.
KERNELS = {
    "copy": emit_copy,
    "contract": emit_product,
    "panel_product": emit_panel_product,
    "conv": emit_convolution,
    "window": emit_window,
    "concatenate": moves.emit_concatenate,
    "pad": moves.emit_pad,
    "dynamic_slice": moves.emit_dynamic_slice,
    "dynamic_update_slice": moves.emit_dynamic_update_slice,
    "gather": moves.emit_gather,
    "scatter": moves.emit_scatter,
    "cumulative": scans.emit_cumulative,
    "arg_max": scans.emit_arg_extremum,
    "arg_min": scans.emit_arg_extremum,
    "distinct": rows.emit_distinct,
    "replay": rows.emit_replay,
    "sort": sort.emit_sort,
    "top_k": sort.emit_top_k,
    "foreign": emit_foreign,
}
