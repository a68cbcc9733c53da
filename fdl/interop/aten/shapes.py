"""ATen operators that arrange, index and create arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.core.types import Array
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


@define("aten.sym_size.int")
def sym_size(x: Any, dim: int) -> int:
    return x.shape[dim]


@define("aten.sym_numel.default")
def sym_numel(x: Any) -> int:
    return x.size


@define("aten.sym_stride.int")
def sym_stride(x: Any, dim: int) -> int:
    return int(np.prod(x.shape[dim:][1:], dtype=int))


@define("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default", "aten.view_copy.default",
        "aten._reshape_copy.default")  # fmt: skip
def view(x: Any, size: Sequence[int]) -> Array:
    return fnp.reshape(x, tuple(size))


@define("aten.view_as.default", "aten.reshape_as.default")
def view_as(x: Any, other: Any) -> Array:
    return fnp.reshape(x, other.shape)


@define("aten.flatten.using_ints")
def flatten(x: Any, start: int = 0, end: int = -1) -> Array:
    if not x.ndim:
        return x.reshape(1)
    start, end = start % x.ndim, end % x.ndim
    return x.reshape(*x.shape[:start], int(np.prod(x.shape[start : end + 1], dtype=int)), *x.shape[end + 1 :])


@define("aten.unflatten.int")
def unflatten(x: Any, dim: int, sizes: Sequence[int]) -> Array:
    dim %= x.ndim
    known = -int(np.prod(sizes, dtype=int))
    sizes = [x.shape[dim] // known if size == -1 else size for size in sizes]
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


@define("aten.permute.default", "aten.permute_copy.default")
def permute(x: Any, dims: Sequence[int]) -> Array:
    return fnp.transpose(x, tuple(dims))


@define("aten.transpose.int", "aten.swapaxes.default", "aten.swapdims.default", "aten.transpose_copy.int")
def transpose(x: Any, a: int, b: int) -> Array:
    return fnp.swapaxes(x, a, b) if x.ndim else x


@define("aten.t.default", "aten.numpy_T.default")
def t(x: Any) -> Array:
    return x.T


@define("aten.mT.default", "aten.adjoint.default")
def matrix_transpose(x: Any) -> Array:
    return fnp.swapaxes(x, -1, -2)


@define("aten.movedim.int", "aten.movedim.intlist", "aten.moveaxis.int")
def movedim(x: Any, source: Any, destination: Any) -> Array:
    return fnp.moveaxis(x, source, destination)


@define("aten.squeeze.default")
def squeeze(x: Any) -> Array:
    return fnp.squeeze(x)


@define("aten.squeeze.dim", "aten.squeeze.dims", "aten.squeeze_copy.dims")
def squeeze_dims(x: Any, dims: Any) -> Array:
    axes = [dims] if isinstance(dims, int) else dims
    return fnp.squeeze(x, tuple([axis for axis in axes if x.ndim and x.shape[axis] == 1]))


@define("aten.unsqueeze.default", "aten.unsqueeze_copy.default")
def unsqueeze(x: Any, dim: int) -> Array:
    return fnp.expand_dims(x, dim)


@define("aten.expand.default", "aten.expand_copy.default", "aten.broadcast_to.default")
def expand(x: Any, size: Sequence[int], implicit: bool = False) -> Array:
    shape = (1,) * (len(size) - x.ndim) + x.shape
    return fnp.broadcast_to(x, tuple([own if want == -1 else want for want, own in zip(size, shape, strict=True)]))


@define("aten.expand_as.default")
def expand_as(x: Any, other: Any) -> Array:
    return fnp.broadcast_to(x, other.shape)


@define("aten.broadcast_tensors.default")
def broadcast_tensors(arrays: Sequence[Any]) -> list[Array]:
    return [*fnp.broadcast_arrays(*arrays)]


@define("aten.cat.default", "aten.concat.default", "aten.concatenate.default")
def cat(arrays: Sequence[Any], dim: int = 0) -> Array:
    full = [x for x in arrays if x.shape != (0,)]  # which PyTorch takes for nothing, whatever the other shapes are
    return fnp.concatenate(full or arrays, axis=dim)


@define("aten.stack.default")
def stack(arrays: Sequence[Any], dim: int = 0) -> Array:
    return fnp.stack(list(arrays), axis=dim)


@define("aten.hstack.default")
def hstack(arrays: Sequence[Any]) -> Array:
    return fnp.hstack(list(arrays))


@define("aten.vstack.default")
def vstack(arrays: Sequence[Any]) -> Array:
    return fnp.vstack(list(arrays))


def parts(x: Any, sizes: Sequence[int], dim: int) -> list[Array]:
    """Consecutive parts of an axis."""
    ends = np.cumsum(sizes).tolist()
    return [lax.slice_in_dim(x, end - size, end, axis=dim) for size, end in zip(sizes, ends, strict=True)]


@define("aten.split.Tensor")
def split(x: Any, size: int, dim: int = 0) -> list[Array]:
    extent = x.shape[dim]
    return parts(x, [min(size, extent - start) for start in range(0, max(extent, 1), size)], dim)


@define("aten.split_with_sizes.default", "aten.split.sizes", "aten.split_with_sizes_copy.default")
def split_with_sizes(x: Any, sizes: Sequence[int], dim: int = 0) -> list[Array]:
    return parts(x, sizes, dim)


@define("aten.chunk.default")
def chunk(x: Any, chunks: int, dim: int = 0) -> list[Array]:
    return split(x, max(1, -(x.shape[dim] // -chunks)), dim)


@define("aten.tensor_split.sections")
def tensor_split(x: Any, sections: int, dim: int = 0) -> list[Array]:
    return [*fnp.array_split(x, sections, axis=dim)]


@define("aten.unbind.int")
def unbind(x: Any, dim: int = 0) -> list[Array]:
    return [lax.index_in_dim(x, i, dim, keepdims=False) for i in range(x.shape[dim])]


@define("aten.select.int", "aten.select_copy.int")
def select(x: Any, dim: int, index: int) -> Array:
    return lax.index_in_dim(x, index, dim, keepdims=False)


@define("aten.slice.Tensor", "aten.slice_copy.Tensor")
def slice_tensor(x: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Array:
    end = None if end == 2**63 - 1 else end
    return x[along(x, dim, slice(start, end, step))]


def along(x: Any, dim: int, index: Any) -> tuple[Any, ...]:
    """An index of one axis."""
    return (*[slice(None)] * (dim % x.ndim), index)


@define("aten.narrow.default")
def narrow(x: Any, dim: int, start: int, length: int) -> Array:
    return lax.slice_in_dim(x, start, start + length, axis=dim)


@define("aten.select_scatter.default")
def select_scatter(x: Any, source: Any, dim: int, index: int) -> Array:
    return x.at[along(x, dim, index)].set(source)


@define("aten.slice_scatter.default")
def slice_scatter(
    x: Any, source: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Array:
    return x.at[along(x, dim, slice(start, end, step))].set(source)


@define("aten.copy.default")
def copy(x: Any, source: Any, non_blocking: bool = False) -> Array:
    return fnp.broadcast_to(source, x.shape).astype(x.dtype)


@define("aten.fill.Scalar", "aten.fill.Tensor")
def fill(x: Any, value: Any) -> Array:
    return fnp.broadcast_to(fnp.asarray(value, x.dtype), x.shape)


@define("aten.index_select.default")
def index_select(x: Any, dim: int, index: Any) -> Array:
    return fnp.take(x, index, axis=dim)


@define("aten.gather.default")
def gather(x: Any, dim: int, index: Any, sparse_grad: bool = False) -> Array:
    region = tuple([slice(None) if axis == dim % x.ndim else slice(size) for axis, size in enumerate(index.shape)])
    return fnp.take_along_axis(x[region], index, axis=dim)


def places(index: Any, dim: int) -> tuple[Any, ...]:
    """Indices of the elements that scattering along an axis writes to."""
    dim %= index.ndim
    grid = fnp.indices(index.shape, sparse=True)
    return tuple([index if axis == dim else grid[axis] for axis in range(index.ndim)])


@define("aten.scatter.src", "aten.scatter.value")
def scatter(x: Any, dim: int, index: Any, source: Any) -> Array:
    if np.ndim(source):
        source = source[tuple([slice(size) for size in index.shape])]
    return x.at[places(index, dim)].set(source)


@define("aten.scatter_add.default")
def scatter_add(x: Any, dim: int, index: Any, source: Any) -> Array:
    return x.at[places(index, dim)].add(source[tuple([slice(size) for size in index.shape])])


@define("aten.index_add.default")
def index_add(x: Any, dim: int, index: Any, source: Any, alpha: Any = 1) -> Array:
    return x.at[along(x, dim, index)].add(source * alpha)


@define("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index_tensor(x: Any, indices: Sequence[Any]) -> Array:
    return x[tuple([slice(None) if i is None else i for i in indices])]


@define("aten.index_put.default", "aten._unsafe_index_put.default")
def index_put(x: Any, indices: Sequence[Any], values: Any, accumulate: bool = False) -> Array:
    where = x.at[tuple([slice(None) if i is None else i for i in indices])]
    return where.add(values) if accumulate else where.set(values)


@define("aten.embedding.default")
def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, by_frequency: bool = False, sparse: bool = False
) -> Any:
    if padding_idx >= 0:  # the row of padding has no gradient
        weight = weight.at[padding_idx].set(lax.stop_gradient(weight[padding_idx]))
    return fnp.take(weight, indices, axis=0)


@define("aten.one_hot.default")
def one_hot(x: Any, num_classes: int = -1) -> Array:
    return nn.one_hot(x, num_classes, dtype=np.int32)


@define("aten.repeat.default", "aten.tile.default")
def repeat(x: Any, repeats: Sequence[int]) -> Array:
    return fnp.tile(x, tuple(repeats))


@define("aten.repeat_interleave.self_int")
def repeat_interleave(x: Any, repeats: int, dim: int | None = None, output_size: Any = None) -> Array:
    return fnp.repeat(x, repeats, axis=dim)


@define("aten.flip.default")
def flip(x: Any, dims: Sequence[int]) -> Array:
    return fnp.flip(x, tuple(dims))


@define("aten.roll.default")
def roll(x: Any, shifts: Sequence[int], dims: Sequence[int] = ()) -> Array:
    return fnp.roll(x, tuple(shifts), tuple(dims)) if dims else fnp.roll(x, shifts[0])


@define("aten.tril.default")
def tril(x: Any, diagonal: int = 0) -> Array:
    return fnp.tril(x, diagonal)


@define("aten.triu.default")
def triu(x: Any, diagonal: int = 0) -> Array:
    return fnp.triu(x, diagonal)


@define("aten.diagonal.default")
def diagonal(x: Any, offset: int = 0, a: int = 0, b: int = 1) -> Array:
    return fnp.diagonal(x, offset, a, b)


@define("aten.unfold.default")
def unfold(x: Any, dim: int, size: int, step: int) -> Array:
    starts = np.arange(0, x.shape[dim] - size + 1, step)
    windows = fnp.take(x, fnp.asarray(starts[:, None] + np.arange(size), np.int32), axis=dim)
    return fnp.moveaxis(windows, dim % x.ndim + 1, -1)


def pairs(pad: Sequence[int], ndim: int) -> list[tuple[int, int]]:
    """PyTorch's padding, which begins with the last axis, as (low, high) of all axes.

    >>> pairs([1, 2], 2)
    [(0, 0), (1, 2)]
    """
    found = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    return [(0, 0)] * (ndim - len(found)) + found


@define("aten.constant_pad_nd.default")
def constant_pad_nd(x: Any, pad: Sequence[int], value: Any = 0) -> Array:
    return lax.pad(x, fnp.asarray(value or 0, x.dtype), [(a, b, 0) for a, b in pairs(pad, x.ndim)])


@define("aten.pad.default")
def pad(x: Any, amounts: Sequence[int], mode: str = "constant", value: Any = None) -> Array:
    if mode == "constant":
        return constant_pad_nd(x, amounts, value)
    return fnp.pad(x, pairs(amounts, x.ndim), mode={"replicate": "edge", "circular": "wrap"}.get(mode, mode))


for axes in (1, 2, 3):
    define(f"aten.reflection_pad{axes}d.default")(lambda x, amounts: pad(x, amounts, "reflect"))
    define(f"aten.replication_pad{axes}d.default")(lambda x, amounts: pad(x, amounts, "replicate"))


@define("aten.pixel_shuffle.default")
def pixel_shuffle(x: Any, factor: int) -> Array:
    *batch, channels, height, width = x.shape
    out = x.reshape(*batch, channels // factor**2, factor, factor, height, width)
    n = len(batch)
    out = out.transpose(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return out.reshape(*batch, channels // factor**2, height * factor, width * factor)


@define("aten.pixel_unshuffle.default")
def pixel_unshuffle(x: Any, factor: int) -> Array:
    *batch, channels, height, width = x.shape
    out = x.reshape(*batch, channels, height // factor, factor, width // factor, factor)
    n = len(batch)
    out = out.transpose(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return out.reshape(*batch, channels * factor**2, height // factor, width // factor)


@define("aten.channel_shuffle.default")
def channel_shuffle(x: Any, groups: int) -> Array:
    batch, channels, *space = x.shape
    return x.reshape(batch, groups, channels // groups, *space).swapaxes(1, 2).reshape(x.shape)


def real(dtype: Any) -> Any:
    """A dtype that is asked for, or PyTorch's default."""
    return np.dtype("float32") if dtype is None else dtype


@define("aten.zeros.default")
def zeros(size: Sequence[int], dtype: Any = None) -> Array:
    return fnp.zeros(tuple(size), real(dtype))


@define("aten.empty.memory_format")
def empty(size: Sequence[int], dtype: Any = None) -> Array:
    return fnp.zeros(tuple(size), real(dtype))


@define("aten.ones.default")
def ones(size: Sequence[int], dtype: Any = None) -> Array:
    return fnp.ones(tuple(size), real(dtype))


@define("aten.full.default")
def full(size: Sequence[int], value: Any, dtype: Any = None) -> Array:
    return fnp.full(tuple(size), value, dtype)


@define("aten.scalar_tensor.default")
def scalar_tensor(value: Any, dtype: Any = None) -> Array:
    return fnp.asarray(value, real(dtype))


@define("aten.zeros_like.default", "aten.empty_like.default")
def zeros_like(x: Any, dtype: Any = None) -> Array:
    return fnp.zeros_like(x, dtype)


@define("aten.ones_like.default")
def ones_like(x: Any, dtype: Any = None) -> Array:
    return fnp.ones_like(x, dtype)


@define("aten.full_like.default")
def full_like(x: Any, value: Any, dtype: Any = None) -> Array:
    return fnp.full_like(x, value, dtype)


@define("aten.new_zeros.default", "aten.new_empty.default")
def new_zeros(x: Any, size: Sequence[int], dtype: Any = None) -> Array:
    return fnp.zeros(tuple(size), x.dtype if dtype is None else dtype)


@define("aten.new_ones.default")
def new_ones(x: Any, size: Sequence[int], dtype: Any = None) -> Array:
    return fnp.ones(tuple(size), x.dtype if dtype is None else dtype)


@define("aten.new_full.default")
def new_full(x: Any, size: Sequence[int], value: Any, dtype: Any = None) -> Array:
    return fnp.full(tuple(size), value, x.dtype if dtype is None else dtype)


@define("aten.arange.default")
def arange(end: Any, dtype: Any = None) -> Array:
    return fnp.arange(end, dtype=dtype)


@define("aten.arange.start")
def arange_start(start: Any, end: Any, dtype: Any = None) -> Array:
    return fnp.arange(start, end, dtype=dtype)


@define("aten.arange.start_step")
def arange_step(start: Any, end: Any, step: Any = 1, dtype: Any = None) -> Array:
    return fnp.arange(start, end, step, dtype=dtype)


@define("aten.linspace.default")
def linspace(start: Any, end: Any, steps: int, dtype: Any = None) -> Array:
    return fnp.linspace(start, end, steps, dtype=real(dtype))


@define("aten.eye.default")
def eye(n: int, dtype: Any = None) -> Array:
    return fnp.eye(n, dtype=real(dtype))


@define("aten.eye.m")
def eye_m(n: int, m: int, dtype: Any = None) -> Array:
    return fnp.eye(n, m, dtype=real(dtype))


@define("aten.meshgrid.indexing", "aten.meshgrid.default")
def meshgrid(arrays: Sequence[Any], indexing: str = "ij") -> list[Array]:
    return [*fnp.meshgrid(*arrays, indexing=indexing)]
