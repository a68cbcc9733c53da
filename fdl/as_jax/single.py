"""Transforms over devices, for the one device there is: axes of meshes have the extent 1."""

import functools
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdl import tree
from fdl.api.jit import jit
from fdl.api.vmap import vmap
from fdl.api.wrapping import wraps
from fdl.array import Array, as_array
from fdl.errors import BatchError
from fdl.sharding import devices, get_mesh


def _is_none(x: Any) -> bool:
    return x is None


def _first(out: Any) -> Any:
    return tree.map(lambda x: x[0], out)


def pmap(
    fun: Callable[..., Any],
    axis_name: Any = None,
    *,
    in_axes: Any = 0,
    out_axes: Any = 0,
    static_broadcasted_argnums: int | Sequence[int] = (),
    devices: Any = None,
    backend: str | None = None,
    axis_size: int | None = None,
    donate_argnums: int | Sequence[int] = (),
    global_arg_shapes: Any = None,
) -> Callable[..., Any]:
    """`fun` over an axis of extent 1, one row for each device.

    Args:
        fun: works on the rows of one device.
        axis_name: a name for the axis, for collectives.
        in_axes, out_axes: as for :func:`fdl.vmap`; None in `out_axes` takes the result of the device as it is.
        static_broadcasted_argnums: positional arguments that are Python values.
        devices, backend, donate_argnums, global_arg_shapes: accepted for ports, and ignored.
        axis_size: 1.

    Returns:
        The mapped and compiled function.

    Raises:
        BatchError: a mapped axis has another extent than 1.

    >>> import fdl.numpy as fnp
    >>> pmap(lambda x: 2 * x)(fnp.ones((1, 2)))
    Array([[2., 2.]], dtype=float32)
    """
    static = (
        (static_broadcasted_argnums,) if isinstance(static_broadcasted_argnums, int) else static_broadcasted_argnums
    )
    axes = in_axes if isinstance(in_axes, tuple) else None
    kept = tree.map(lambda axis: 0 if axis is None else axis, out_axes, is_leaf=_is_none)

    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        fixed = {n % len(args): args[n] for n in static}
        rest = [a for n, a in enumerate(args) if n not in fixed]

        @wraps(fun)
        def of_rows(*rows: Any, **named: Any) -> Any:
            found = iter(rows)
            return fun(*(fixed[n] if n in fixed else next(found) for n in range(len(args))), **named)

        mapped = in_axes if axes is None else tuple(a for n, a in enumerate(axes) if n not in fixed)
        one = vmap(of_rows, mapped, kept, axis_name, 1 if mapped is None else axis_size)
        for n, a in enumerate(rest):
            axis = mapped[n] if isinstance(mapped, tuple) else mapped
            for leaf in tree.leaves(a) if isinstance(axis, int) else ():
                if np.ndim(leaf) and np.shape(leaf)[axis] != 1:
                    raise BatchError(
                        f"pmap: argument {n} has extent {np.shape(leaf)[axis]} along its mapped axis, and there is one "
                        "device; use vmap, or reshape it to a leading axis of extent 1"
                    )
        found = one(*rest, **kwargs)
        return tree.map(lambda axis, out: _first(out) if axis is None else out, out_axes, found, is_leaf=_is_none)

    return jit(wrapped, static_argnums=tuple(static) or None)


def shard_map(
    f: Callable[..., Any] | None = None,
    /,
    mesh: Any = None,
    in_specs: Any = None,
    out_specs: Any = None,
    **ignored: Any,
) -> Any:
    """`f` on the whole arrays, with the axes of the mesh bound to the extent 1.

    Args:
        f: works on the part of one device, which is the whole.
        mesh: of one device; None takes the current one.
        in_specs, out_specs: accepted for ports: nothing is cut.
        **ignored: accepted for ports.

    Returns:
        A function of the same arguments.

    Raises:
        ValueError: there is no mesh.

    >>> from fdl import lax, sharding
    >>> mesh = sharding.make_mesh((1,), ("data",))
    >>> shard_map(lambda x: lax.psum(x, "data"), mesh=mesh, in_specs=None, out_specs=None)(2.0)
    Array(2., dtype=float32)
    """
    if f is None:
        return functools.partial(shard_map, mesh=mesh, in_specs=in_specs, out_specs=out_specs, **ignored)

    @wraps(f)
    def wrapped(*args: Any) -> Any:
        current = get_mesh() if mesh is None else mesh
        if current.empty:
            raise ValueError("shard_map: there is no mesh; give it as mesh=, or call it inside of jax.set_mesh(mesh)")
        inner: Any = f
        for name in current.axis_names:
            inner = _bound(inner, name)
        return inner(*args)

    return wrapped


def _bound(f: Callable[..., Any], name: Any) -> Callable[..., Any]:
    """`f` under a named axis of extent 1."""
    return lambda *args: tree.map(lambda x: x[0], vmap(f, None, 0, name, 1)(*args))


def create_device_mesh(mesh_shape: Sequence[int], devices: Any = None, **ignored: Any) -> np.ndarray:
    """The one device in a grid of extents 1.

    >>> create_device_mesh((1, 1)).shape
    (1, 1)
    """
    return np.array(_all(), object).reshape(tuple(mesh_shape))


def sync_global_devices(name: str) -> None:
    """Do nothing: there is one process."""


def process_allgather(in_tree: Any, tiled: bool = False) -> Any:
    """The arrays of a tree as NumPy arrays, with a leading axis for the one process unless `tiled`.

    >>> process_allgather(np.ones(2)).shape
    (1, 2)
    """
    return tree.map(lambda x: np.asarray(x) if tiled else np.asarray(x)[None], in_tree)


def broadcast_one_to_all(in_tree: Any, is_source: bool | None = None) -> Any:
    """The arrays of a tree as NumPy arrays: what the one process has.

    >>> broadcast_one_to_all([1.0])
    [array(1., dtype=float32)]
    """
    return tree.map(lambda x: np.asarray(as_array(x)), in_tree)


def assert_equal(in_tree: Any, fail_message: str = "") -> None:
    """Do nothing: there is one process, which agrees with itself."""


def host_local_array_to_global_array(local_inputs: Any, global_mesh: Any, pspecs: Any) -> Any:
    """The inputs: the one process has all of each array; likewise ``global_array_to_host_local_array``."""
    return local_inputs


def reached_preemption_sync_point(step_id: int) -> bool:
    """Whether the process is about to be taken away: not that fdl knew."""
    return False


def shard_alike(x: Any, y: Any) -> tuple[Any, Any]:
    """Both values: they lie on the one device.

    >>> shard_alike(1, 2)
    (1, 2)
    """
    return x, y


@dataclass(frozen=True)
class Layout:
    """The order in which the axes of an array lie in memory; fdl has one, in which the last axis varies fastest."""

    major_to_minor: tuple[int, ...] = ()


def with_layout_constraint(x: Any, layouts: Any) -> Any:
    """The arrays of a tree, of which row after row lies in memory.

    Raises:
        ValueError: another order of axes is asked for.

    >>> with_layout_constraint(np.ones((2, 3)), Layout((0, 1))).shape
    (2, 3)
    """
    for layout in tree.leaves(layouts, is_leaf=lambda v: isinstance(v, Layout)):
        if tuple(layout.major_to_minor) != tuple(range(len(layout.major_to_minor))):
            raise ValueError(f"with_layout_constraint: fdl's arrays lie row after row, not {layout}")
    return x


def pcast(x: Any, axis_name: Any = None, *, to: str = "varying") -> Any:
    """The value: on one device, all parts of it are the same."""
    return x


def live_arrays(platform: str | None = None) -> list[Any]:
    """The arrays that the process holds on to and that have not been donated.

    >>> x = as_array(np.ones(3))
    >>> any(x is found for found in live_arrays())
    True
    """
    return [found for found in gc.get_objects() if type(found) is Array and not found.is_deleted()]


def wait_for_tokens() -> None:
    """Do nothing: effects have happened when a call returns."""


def effects_barrier() -> None:
    """Do nothing: effects have happened when a call returns."""


def _all() -> Any:
    return devices()
