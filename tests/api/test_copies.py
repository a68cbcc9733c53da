"""Memory: a copy has its own; what shares memory cannot be written through; a donation takes one array away."""

import copy
import inspect
import io
import pickle
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.array import Array
from fdl.errors import DonationError

#: Donates its argument and writes to the memory, if it may.
overwrite = fdl.jit(lambda x: x * 0 - 1, donate_argnums=0)
overwrite_tree = fdl.jit(lambda xs: fdl.tree.map(lambda x: x * 0 - 1, xs), donate_argnums=0)

NUMBERS = np.arange(1.0, 7.0)


def fresh(shape: Any = (6,)) -> Any:
    """An Array made by a compiled call, whose memory can be donated."""
    return fdl.jit(lambda x: x.reshape(shape) * 1.0)(NUMBERS)


def _out_of_band(x: Any) -> Any:
    buffers: list[Any] = []
    data = pickle.dumps(x, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=buffers)


def _saved(x: Any) -> Any:
    file = io.BytesIO()
    fnp.save(file, x)
    return fnp.load(io.BytesIO(file.getvalue()))


#: Ways to make a copy of an Array.
COPIES = {
    "array": fnp.array,
    "array copy": lambda x: fnp.array(x, copy=True),
    "array ndmin": lambda x: fnp.array(x, ndmin=2)[0],
    "array dtype": lambda x: fnp.array(x, np.float64),
    "asarray copy": lambda x: fnp.asarray(x, copy=True),
    "astype copy": lambda x: x.astype(x.dtype, copy=True),
    "fnp.astype copy": lambda x: fnp.astype(x, x.dtype, copy=True),
    "fnp.copy": fnp.copy,
    "method copy": lambda x: x.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "deepcopy of a tree": lambda x: copy.deepcopy({"x": [x]})["x"][0],
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "pickle out of band": _out_of_band,
    "save and load": _saved,
    "from_dlpack copy": lambda x: fnp.from_dlpack(x, copy=True),
    "np.array": lambda x: np.array(x, copy=True),
    "np.array dtype": lambda x: np.asarray(x, np.float32),
    "np.from_dlpack copy": lambda x: np.from_dlpack(x, copy=True),
    "DLPack before 1.0": lambda x: np.from_dlpack(_Old(x)),
    "tolist": lambda x: np.array(x.tolist()),
    "a list of elements": lambda x: fnp.array(list(x)),
    "arithmetic": lambda x: x + 0,
}


class _Old:
    """Exports as if the consumer knew nothing of DLPack 1.0."""

    def __init__(self, x: Any) -> None:
        self.x = x

    def __dlpack__(self, **_: Any) -> Any:
        return self.x.__dlpack__()

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()


#: Ways that do not copy; NumPy arrays among the results must be read-only.
NO_COPIES = {
    "array": lambda x: fnp.array(x, copy=False),
    "asarray": fnp.asarray,
    "asarray no copy": lambda x: fnp.asarray(x, copy=False),
    "astype": lambda x: x.astype(x.dtype),
    "device_put": fdl.device_put,
    "device_get": fdl.device_get,
    "from_dlpack": fnp.from_dlpack,
    "from_dlpack no copy": lambda x: fnp.from_dlpack(x, copy=False),
    "np.asarray": np.asarray,
    "np.asarray no copy": lambda x: np.asarray(x, copy=False),
    "np.from_dlpack": np.from_dlpack,
    "__array__": lambda x: x.__array__(),
    "slice": lambda x: x[1:],
    "whole slice": lambda x: x[:],
    "ellipsis": lambda x: x[...],
    "backward": lambda x: x[::-1],
    "new axis": lambda x: x[None],
    "reshape": lambda x: x.reshape(2, 3),
    "same shape": lambda x: x.reshape(6),
    "ravel": lambda x: x.ravel(),
    "flatten": lambda x: x.flatten(),
    "squeeze": lambda x: x.squeeze(),
    "T": lambda x: x.T,
    "transpose": lambda x: x.reshape(2, 3).T,
    "view": lambda x: x.view(),
    "bits": lambda x: x.view(np.int64),
    "broadcast_to": lambda x: fnp.broadcast_to(x, (2, 6)),
    "same broadcast": lambda x: fnp.broadcast_to(x, (6,)),
    "positive": lambda x: +x,
    "real": lambda x: x.real,
    "clip": lambda x: x.clip(),
    "power": lambda x: x**1,
    "stop_gradient": lax.stop_gradient,
    "lax.reshape": lambda x: lax.reshape(x, (6,)),
    "lax.rev": lambda x: lax.rev(x, ()),
    "expand_dims": lambda x: fnp.expand_dims(x, ()),
    "split": lambda x: fnp.split(x, 1)[0],
    "concatenate": lambda x: fnp.concatenate([x]),
    "nn.identity": fdl.nn.identity,
    "jit of a slice": fdl.jit(lambda x: x[1:]),
    "vmap": fdl.vmap(lambda x: x),
    "vmap, not mapped": lambda x: fdl.vmap(lambda x, _: x, (None, 0), None)(x, NUMBERS),
    "aux": lambda x: fdl.grad(lambda y: (y.sum(), x), has_aux=True)(NUMBERS)[1],
    "vjp": lambda x: fdl.vjp(lambda y: y, x)[0],
    "linearize": lambda x: fdl.linearize(lambda y: y, x)[0],
    "cond": lambda x: lax.cond(True, lambda y: y, lambda y: -y, x),
    "scan": lambda x: lax.scan(lambda c, _: (c, None), x, None, 2)[0],
    "while_loop": lambda x: lax.while_loop(lambda y: False, lambda y: y, x),
    "checkpoint": lambda x: fdl.jit(fdl.checkpoint(lambda y: y))(x),
    "flat tree": lambda x: fdl.flatten_util.ravel_pytree([x])[0],
    "unflat tree": lambda x: fdl.flatten_util.ravel_pytree([x])[1](x)[0],
}

_jitted = fdl.jit(lambda x: (x, x + 1))


def _donate(x: Any) -> None:
    for _ in range(3):  # the third call of a kind is the fast one
        overwrite(fnp.asarray(NUMBERS.astype(x.dtype)) + 0)
    overwrite(x)
    assert x.is_deleted()


@pytest.mark.parametrize("way", COPIES)
def test_copies_are_copies(way: str) -> None:
    x = fresh()
    y = COPIES[way](x)
    assert not np.shares_memory(np.asarray(x), np.asarray(y))
    if isinstance(y, np.ndarray):
        if y.flags.writeable:
            y[...] = -1
    else:
        _donate(y)
    np.testing.assert_array_equal(np.asarray(x), NUMBERS)
    y = COPIES[way](x)
    _donate(x)
    np.testing.assert_array_equal(np.asarray(y), NUMBERS)


@pytest.mark.parametrize("way", NO_COPIES)
def test_what_shares_memory_is_not_written_through(way: str) -> None:
    x = fresh()
    y = NO_COPIES[way](x)
    expected = np.array(y)
    if isinstance(y, np.ndarray):
        assert np.shares_memory(x, y)
        with pytest.raises(ValueError, match="read-only"):
            y[...] = -1
    else:
        assert y is not x
        _donate(y)
        np.testing.assert_array_equal(np.asarray(x), NUMBERS)
        y = NO_COPIES[way](x)
    _donate(x)
    np.testing.assert_array_equal(np.asarray(y), expected)
    with pytest.raises(DonationError, match="donated"):
        np.asarray(x)


def test_the_documented_ones_share_memory() -> None:
    x = fresh()
    for way in ("asarray", "array", "device_put", "reshape", "slice", "np.from_dlpack", "same shape"):
        assert np.shares_memory(np.asarray(x), np.asarray(NO_COPIES[way](x))), way


#: Ways for numbers of somebody else's to get in; what they are changed to later must not be seen.
ENTRIES = {
    "array": fnp.array,
    "array no copy": lambda a: fnp.array(a, copy=False),
    "asarray": fnp.asarray,
    "astype": lambda a: fnp.astype(a, a.dtype),
    "from_dlpack": fnp.from_dlpack,
    "frombuffer": lambda a: fnp.frombuffer(a.data, np.float64),
    "memoryview": lambda a: fnp.asarray(memoryview(a)),
    "bytearray": lambda a: fnp.frombuffer(memoryview(a).cast("B"), np.float64),
    "device_put": fdl.device_put,
    "reshape": lambda a: fnp.reshape(a, (6,)),
    "ravel": fnp.ravel,
    "real": fnp.real,
    "positive": fnp.positive,
    "stack": lambda a: fnp.stack([a])[0],
    "jit": lambda a: _jitted(a)[0],
    "jit, fast": lambda a: [_jitted(a)[0] for _ in range(4)][-1],
    "vmap": fdl.vmap(lambda x: x),
    "vjp": lambda a: fdl.vjp(lambda x: x, a)[0],
    "aux": lambda a: fdl.grad(lambda x: (x.sum(), x), has_aux=True)(a)[1],
    "residuals": lambda a: fdl.vjp(lambda x: x * x / 2, a)[1](np.ones(6))[0],
    "cond": lambda a: lax.cond(True, lambda y: y, lambda y: -y, a),
    "scan": lambda a: lax.scan(lambda c, x: (c, x), 0.0, a)[1],
    "ravel_pytree": lambda a: fdl.flatten_util.ravel_pytree([a])[0],
    "rows": lambda a: fdl.Rows(np.arange(6), a[:, None], (6, 1)).dense()[:, 0],
    "nested": lambda a: fnp.array([a, a])[1],
    "an object": lambda a: fnp.asarray(_Exporter(a)),
    "callback": lambda a: fdl.pure_callback(lambda x: a, fdl.ShapeDtypeStruct((6,), np.float64), 1.0),
    "callback under jit": lambda a: fdl.jit(
        lambda x: fdl.pure_callback(lambda x: a, fdl.ShapeDtypeStruct((6,), np.float64), x)
    )(1.0),
    "unpickled": lambda a: pickle.loads(
        pickle.dumps(fnp.asarray(a), protocol=5, buffer_callback=lambda _: None), buffers=[a.data]
    ),
}


class _Exporter:
    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.data


@pytest.mark.parametrize("way", ENTRIES)
def test_numpy_arrays_may_change_afterwards(way: str) -> None:
    a = NUMBERS.copy()
    x = ENTRIES[way](a)
    a[:] = -1
    np.testing.assert_array_equal(np.asarray(x), NUMBERS)


def test_the_vjp_remembers_what_the_array_was() -> None:
    a = NUMBERS.copy()
    _, f_vjp = fdl.vjp(lambda x: x * x, a)
    a[:] = 0
    np.testing.assert_array_equal(np.asarray(f_vjp(np.ones(6))[0]), 2 * NUMBERS)


def test_donated_numpy_arrays_are_not_written_to() -> None:
    a = NUMBERS.copy()
    for _ in range(4):
        np.testing.assert_array_equal(np.asarray(overwrite(a)), -np.ones(6))
        np.testing.assert_array_equal(a, NUMBERS)


def test_constants_of_a_program_survive() -> None:
    constant, scalar = fresh(), fresh()[0]
    f = fdl.jit(lambda x: (x + constant, constant, scalar))
    for _ in range(4):
        total, again, number = f(1.0)
        np.testing.assert_array_equal(np.asarray(total), NUMBERS + 1)
        np.testing.assert_array_equal(np.asarray(again), NUMBERS)
        assert number == 1.0
        _donate(again)
    _donate(constant)
    np.testing.assert_array_equal(np.asarray(f(1.0)[0]), NUMBERS + 1)
    np.testing.assert_array_equal(np.asarray(f(1.0)[1]), NUMBERS)


def test_leaves_that_are_one_array() -> None:
    for _ in range(4):
        x, other = fresh(), fresh()
        y = fnp.asarray(x)
        out = overwrite_tree({"a": x, "b": x, "c": other, "d": y})
        assert all((np.asarray(v) == -1).all() for v in out.values())
        assert x.is_deleted() and other.is_deleted() and y.is_deleted()


def test_an_argument_that_is_also_donated() -> None:
    f = fdl.jit(lambda x, y: (x * 0 - 1, y + 1), donate_argnums=0)
    for _ in range(4):
        x = fresh()
        y = fnp.asarray(x)
        _, more = f(x, y)
        np.testing.assert_array_equal(np.asarray(more), NUMBERS + 1)
        np.testing.assert_array_equal(np.asarray(y), NUMBERS)
        _, more = f(y, y)
        np.testing.assert_array_equal(np.asarray(more), NUMBERS + 1)


def test_what_jit_returns_as_it_is_is_the_argument_itself() -> None:
    f = fdl.jit(lambda x, y: (x, y * 0 - 1), donate_argnums=(0, 1))
    for _ in range(4):
        x, y = fresh(), fresh()
        same, changed = f(x, y)
        assert same is x
        np.testing.assert_array_equal(np.asarray(same), NUMBERS)
        np.testing.assert_array_equal(np.asarray(changed), -np.ones(6))
        assert y.is_deleted()
        _donate(same)
        with pytest.raises(DonationError, match="use the call's result instead"):
            np.asarray(x)


def test_a_window_on_what_nobody_else_sees_may_be_donated() -> None:
    x = fresh()
    y = x[2:]
    del x
    _donate(y)


#: Optimizers whose first state is made of the parameters, or of zeros like them.
STATES = {
    "momentum": lambda: fdl.optim.sgd(0.1, momentum=0.9),
    "adam": lambda: fdl.optim.adam(0.1),
    "adadelta": lambda: fdl.optim.adadelta(0.1),
    "ema": lambda: fdl.optim.ema(0.9),
    "multi_steps": lambda: fdl.optim.multi_steps(fdl.optim.adam(0.1), 2),
}


@pytest.mark.parametrize("name", STATES)
def test_donating_the_state_of_an_optimizer_leaves_the_parameters(name: str) -> None:
    params = {"w": fresh((2, 3)), "b": fresh()}
    state = STATES[name]().init(params)
    fdl.jit(lambda s: fdl.tree.map(lambda x: x * 0, s), donate_argnums=0)(state)
    np.testing.assert_array_equal(np.asarray(params["b"]), NUMBERS)
    np.testing.assert_array_equal(np.asarray(params["w"]).ravel(), NUMBERS)


def test_no_function_returns_its_operand_itself() -> None:
    """Else to donate the result would take the operand away."""
    x = fresh()
    extra: list[tuple[Any, ...]] = [(), (0,), (1,), ((),), (0, 0), (0, None), ((6,),), (np.float64,), (None, None)]
    skipped = {"save", "savez", "block_until_ready", "named_call", "composite"}
    wrong = set()
    for module in (fnp, lax, fdl.nn, fdl.numpy.fft, fdl.numpy.linalg, fdl):
        for name in dir(module):
            function = getattr(module, name)
            if name in skipped or name.startswith("_") or not callable(function) or inspect.isclass(function):
                continue
            if not str(getattr(function, "__module__", "")).startswith("fdl.") or "._" in function.__module__:
                continue
            for more in extra:
                try:
                    out = function(x, *more)
                except Exception:  # not every function takes these
                    continue
                if any(leaf is x for leaf in (out if isinstance(out, (list, tuple)) else [out])):
                    wrong.add(name)
    assert not wrong
    assert type(x) is Array


def test_callbacks_may_keep_their_arrays_and_write_to_them() -> None:
    def spoil(a: np.ndarray) -> np.ndarray:
        a[:] = -1
        return a

    for transform in (fdl.jit, lambda f: f):
        seen: list[Any] = []

        def f(x: Any, seen: list[Any] = seen) -> Any:
            y = x * 2
            fdl.debug.callback(seen.append, y)
            return (y + 1).sum() * fnp.ones(1000)

        for n in range(3):
            transform(f)(fnp.full(6, float(n)))
        assert [s[0] for s in seen] == [0.0, 2.0, 4.0]
        x = fresh()
        out = transform(lambda x: fdl.pure_callback(spoil, fdl.ShapeDtypeStruct((6,), np.float64), x))(x)
        np.testing.assert_array_equal(np.asarray(out), -np.ones(6))
        transform(lambda x: fdl.debug.callback(spoil, x))(x)
        np.testing.assert_array_equal(np.asarray(x), NUMBERS)


def test_what_cannot_be_had_without_a_copy() -> None:
    with pytest.raises(ValueError, match="copy=False cannot make an array of a ndarray without a copy"):
        fnp.asarray(NUMBERS, copy=False)
    with pytest.raises(ValueError, match="of dtype float32 of f64"):
        fnp.asarray(fresh(), np.float32, copy=False)
    with pytest.raises(ValueError, match="from_dlpack with copy=False"):
        fnp.from_dlpack(NUMBERS, copy=False)
