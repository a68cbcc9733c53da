"""Rows of fdl.numpy that create, rearrange, index and join arrays."""

import numpy as np

import fdl.numpy as fnp
from tests.namesakes.draws import REALS, Draw
from tests.namesakes.engine import Call, Table, call, common, numbers

TABLE = Table(fnp, np)
row = TABLE.row
INDEX = np.dtype(np.int32)
KINDS = ("float32", "int32", "bool", "int8", "complex64", "bfloat16")


def plain(**settings):
    return lambda d: call(d.array(KINDS, special=False, **settings))


def first(c: Call):
    return numbers(c.args)[0].dtype


# Creation
def _shaped(d: Draw) -> Call:
    shape = d.pick((), 3, (2, 3), (0, 2), [2, 1])
    return call(shape, **d.some(dtype=lambda: np.dtype(d.pick(*KINDS))))


row("zeros ones", _shaped, dtype=lambda c: c.kwargs.get("dtype", np.dtype(np.float32)))
row("empty", _shaped, np.zeros, dtype=lambda c: c.kwargs.get("dtype", np.dtype(np.float32)))
row(
    "full",
    lambda d: call(d.pick((), (2, 3), (0,)), d.array(("float32", "int8"), (), special=True)),
    dtype=lambda c: c.args[1].dtype,
)


def _like(d: Draw) -> Call:
    return call(d.array(KINDS, special=False), **d.some(dtype=np.dtype(np.int16), shape=(2, 2)))


row("zeros_like ones_like", _like)
row("empty_like", _like, np.zeros_like)
row("full_like", lambda d: call(d.array(KINDS, special=False), 1))
row(
    "eye",
    lambda d: call(d.integer(0, 4), **d.some(M=d.integer(0, 5), k=d.pick(1, -1, 7, -7), dtype=np.dtype("int32"))),
    dtype=lambda c: c.kwargs.get("dtype", np.dtype(np.float32)),
)
row("identity", lambda d: call(d.integer(0, 4)), dtype=np.float32)
row(
    "tri", lambda d: call(d.integer(0, 4), **d.some(M=d.integer(0, 5), k=d.pick(1, -1, 7, -7, 2**40))), dtype=np.float32
)
row(
    "tril triu",
    lambda d: call(d.array(KINDS, least=2, most=3, special=False), **d.some(k=d.pick(1, -1, 9, -9, -(2**40)))),
)
row(
    "vander",
    lambda d: call(
        d.array(("float32", "int32"), (d.pick(3, 0, 1),), low=-3, high=3), **d.some(N=d.integer(0, 4), increasing=True)
    ),
)
row("array asarray copy", plain())
row(
    "astype",
    lambda d: call(d.array(REALS, special=False, low=0, high=9), np.dtype(d.pick("float32", "int32", "bool", "int8"))),
    lambda x, t: x.astype(t),
    dtype=lambda c: c.args[1],
)


def _arange(d: Draw) -> Call:
    kind = d.pick("int", "float")
    args = (
        [d.pick(0, 3, -2, 10), d.pick(7, -7, 0), d.pick(1, 2, -1, 3)]
        if kind == "int"
        else [0.5, d.pick(3.0, -2.0), d.pick(0.5, 0.3)]
    )
    return call(*args[: d.integer(1, 3)], **d.some(dtype=lambda: np.dtype(d.pick("float32", "int32", "float64"))))


def _arange_dtype(c: Call):
    return c.kwargs.get("dtype", np.dtype(np.int32 if type(c.args[0]) is int else np.float32))


row("arange", _arange, dtype=_arange_dtype, jit=False)


def _ends(d: Draw) -> list:
    if d.flag():
        return [d.pick(0, 1, -2, 0.1), d.pick(1, 5, 0.7, 1)]
    return d.operands(("float32", "float64", "int32"), low=1, high=9)


def _space(d: Draw) -> Call:
    keywords = d.some(num=d.pick(0, 1, 2, 7), endpoint=False, dtype=lambda: np.dtype(d.pick("float64", "float32")))
    return call(*_ends(d), **keywords)


def _space_dtype(c: Call):
    found = common(c)
    return c.kwargs.get("dtype", found if found.kind == "f" else np.dtype(np.float32))


row(
    "linspace",
    lambda d: Call((c := _space(d)).args, c.kwargs | d.some(retstep=True)),
    dtype=_space_dtype,
    near=True,
    ulps=4,
    examples=2,
)
row(
    "logspace",
    lambda d: call(d.pick(0, 0.5, -1), d.pick(1, 2.5), **_space(d).kwargs),
    kind="raw",
    dtype=_space_dtype,
    ulps=64,
)
row(
    "geomspace",
    lambda d: call(d.pick(1, 0.5, 3), d.pick(8, 2.5), **_space(d).kwargs),
    kind="raw",
    dtype=_space_dtype,
    ulps=64,
)
row(
    "meshgrid",
    lambda d: call(
        *(d.array(("float32", "int32"), (d.pick(3, 1, 0),), special=False) for _ in range(d.integer(1, 3))),
        **d.some(indexing="ij", sparse=True),
    ),
    dtype=None,
)
row("indices", lambda d: call(d.pick((2, 3), (4,), (0, 2)), **d.some(sparse=True)), dtype=INDEX)
row("ix_", lambda d: call(np.array([0, 2]), np.array([1, 1, 3])), dtype=None)
row("fromfunction", lambda d: call(lambda i, j: i * 2 + j, d.pick((2, 3), (1, 0), (3, 3))), dtype=None, jit=False)


# Shape
def _reshape(d: Draw) -> Call:
    x = d.array(KINDS, special=False)
    return call(x, d.pick((-1,), (x.size,), (1, -1) if x.size else (0, 4), (x.size, 1), (7, 9)), **d.some(order="F"))


row("reshape", _reshape)
row("ravel", lambda d: call(d.array(KINDS, special=False), **d.some(order="F")))
row("ndim size", plain(), dtype=None)
row("shape", plain(), dtype=None)
row("atleast_1d atleast_2d atleast_3d", plain())
row("squeeze", lambda d: call(x := d.array(KINDS, special=False), **d.some(axis=lambda: d.axis(x, several=True))))


def _expand(d: Draw) -> Call:
    x = d.array(KINDS, special=False)
    return call(x, d.pick(0, -1, (0, 2), x.ndim, 5))


row("expand_dims", _expand)


def _permuted(d: Draw) -> Call:
    x = d.array(KINDS, special=False)
    order = d.rng.permutation(x.ndim)
    return call(x, **({"axes": tuple(int(a) - x.ndim * d.flag() for a in order)} if d.flag() else {}))


row("transpose", _permuted)
row(
    "permute_dims", lambda d: call(x := d.array(KINDS, special=False), tuple(int(a) for a in d.rng.permutation(x.ndim)))
)
row("matrix_transpose", plain(least=1))


def _two_axes(d: Draw) -> Call:
    x = d.array(KINDS, special=False, least=1)
    return call(x, d.axis(x, none=False), d.axis(x, none=False))


row("swapaxes moveaxis rollaxis", _two_axes)
row("flip", lambda d: call(x := d.array(KINDS, special=False), **d.some(axis=lambda: d.axis(x, several=True))))
row("fliplr flipud", plain(least=1))
row(
    "rot90",
    lambda d: call(
        d.array(KINDS, special=False, least=1), **d.some(k=d.pick(0, 2, 3, -1, 5), axes=d.pick((1, 0), (0, 0)))
    ),
)


def _roll(d: Draw) -> Call:
    x = d.array(KINDS, special=False)
    if x.ndim > 1 and d.flag():
        return call(x, d.pick((1, -2), 3), axis=(0, 1))
    return call(x, d.pick(1, -1, 7, -9), **d.some(axis=lambda: d.axis(x)))


row("roll", _roll)
row("tile", lambda d: call(d.array(KINDS, special=False), d.pick(2, 0, (2, 1), (1, 2, 3), ())))


def _repeat(d: Draw) -> Call:
    x = d.array(KINDS, special=False)
    axis = d.axis(x)
    extent = x.size if axis is None else x.shape[axis]
    return call(x, d.pick(2, 0, d.rng.integers(0, 3, extent)), axis=axis)


row("repeat", _repeat, static=(1,))
row("resize", lambda d: call(d.array(KINDS, special=False), d.pick((2, 3), 4, (0,), (3, 1))))
row("broadcast_to", lambda d: call(d.array(KINDS, special=False), d.pick((2, 3), (3,), (2, 1, 3), (), (0, 3))))
row("broadcast_arrays", lambda d: call(*d.operands(("float32", "int32"))), dtype=None)
row("broadcast_shapes", lambda d: call(d.shape(), d.shape()), dtype=None, jit=False)


def _parts(d: Draw) -> list[np.ndarray]:
    shape = d.shape(least=1)
    return [d.array(("float32", "int32", "bool", "int8"), shape, special=False) for _ in range(d.integer(1, 3))]


def _joined(d: Draw) -> Call:
    xs = _parts(d)
    return call(xs, **d.some(axis=lambda: d.axis(xs[0])))


row("concatenate", _joined)
row("concat", lambda d: call(xs := _parts(d), axis=d.axis(xs[0], none=False)), np.concatenate)
row("stack", lambda d: call(xs := _parts(d), **d.some(axis=lambda: d.axis(xs[0], none=False))))
row("vstack hstack dstack column_stack", lambda d: call(_parts(d)))
row("row_stack", lambda d: call(_parts(d)), np.vstack)
row("append", lambda d: call(*_parts(d)[:1] * 2, **d.some(axis=0)))
row("block", lambda d: call([[x := d.array(("float32",), (2, 3), special=False), x + 1], [x, x]]))


def _split(d: Draw) -> Call:
    x = d.array(KINDS, special=False, least=1)
    return call(x, d.pick(1, 2, 3, [1], [0, 2, 9], [-1]), **d.some(axis=d.axis(x, none=False)))


row("split array_split", _split)
row("hsplit vsplit dsplit", lambda d: call(d.array(KINDS, special=False), d.pick(1, 2, [1])))
row("unstack", lambda d: call(x := d.array(KINDS, special=False, least=1), axis=d.axis(x, none=False)))


def _pad(d: Draw) -> Call:
    x = d.array(("float32", "int32"), special=False)
    width = d.pick(0, 1, 2, (1, 3), ((1, 2),), 6)
    mode = d.pick(
        "constant", "edge", "reflect", "symmetric", "wrap", "maximum", "minimum", "mean", "linear_ramp", "empty"
    )
    keywords = {"constant_values": 5} if mode == "constant" and d.flag() else {}
    if mode in ("reflect", "symmetric"):
        keywords |= d.some(reflect_type="odd")
    if mode in ("maximum", "minimum", "mean"):
        keywords |= d.some(stat_length=2)
    if mode == "linear_ramp":
        keywords |= d.some(end_values=3)
    return call(x, width, mode, **keywords)


def _pad_oracle(x, width, mode, **keywords):
    return np.pad(x, width, "constant" if mode == "empty" else mode, **keywords)


row("pad", _pad, _pad_oracle, near=True, ulps=8, zeros=False, examples=4)
row("trim_zeros", lambda d: call(d.rng.integers(0, 2, d.integer(0, 6)), **d.some(trim=d.pick("f", "b"))), jit=False)


def _places(d: Draw, extent: int, count=None) -> np.ndarray:
    shape = d.pick((), (3,), (2, 2), (0,)) if count is None else count
    low = -extent if d.flag() else 0
    return d.rng.integers(low, max(extent, low + 1), shape).astype(d.pick("int32", "int64", "int8"))


def _delete(d: Draw) -> Call:
    x = d.array(KINDS, special=False, least=1, empty=False)
    axis = d.axis(x)
    extent = x.size if axis is None else x.shape[axis]
    return call(x, d.pick(0, -1, slice(0, 2), _places(d, extent, (2,))), axis)


row("delete", _delete, static=(1,))


def _insert(d: Draw) -> Call:
    x = d.array(("float32", "int32"), special=False, least=1)
    axis = d.axis(x)
    extent = x.size if axis is None else x.shape[axis]
    return call(x, d.pick(0, -1, extent, [0, extent]), d.pick(7, 3), axis)


row("insert", _insert)

# Diagonals
row("diag diagflat", lambda d: call(d.array(KINDS, special=False, least=1, most=2), **d.some(k=d.pick(1, -1, 5, -5))))
row(
    "diagonal",
    lambda d: call(d.array(KINDS, special=False, least=2), **d.some(offset=d.pick(1, -1, 6, -6), axis1=-1, axis2=0)),
)
row(
    "trace",
    lambda d: call(
        d.array(("float32", "int32", "bool", "int8"), special=False, least=2), **d.some(offset=d.pick(1, -1, 6))
    ),
    kind="sum",
    near=True,
)
row("diag_indices", lambda d: call(d.integer(0, 3), **d.some(ndim=3)), dtype=None)
row("diag_indices_from", lambda d: call(np.zeros((3, 3))), dtype=None)
row(
    "tril_indices triu_indices",
    lambda d: call(d.integer(0, 4), **d.some(k=d.pick(1, -1, 9), m=d.integer(0, 5))),
    dtype=None,
)
row("tril_indices_from triu_indices_from", lambda d: call(np.zeros((d.integer(0, 4), 3)), **d.some(k=1)), dtype=None)
row(
    "mask_indices",
    lambda d: call(3, d.pick(np.triu, np.tril)),
    lambda n, f: np.mask_indices(n, f),
    dtype=None,
    jit=False,
)


def _fill_diagonal(x, value, wrap=False, inplace=False):
    x = x.copy()
    np.fill_diagonal(x, value, wrap)
    return x


row(
    "fill_diagonal",
    lambda d: call(
        d.array(("float32", "int32"), d.pick((3, 3), (5, 2), (2, 4), (3, 3, 3)), special=False),
        7,
        inplace=False,
        **d.some(wrap=False),
    ),
    _fill_diagonal,
)


# Selection
def _where(d: Draw) -> Call:
    mask, x, y = d.operands(("float32", "int32", "bool"), 3)
    return call(np.asarray(mask) != 0, x, y)


row("where", _where, lambda m, x, y: np.where(m, x, y), dtype=lambda c: common(Call(c.args[1:], {})))


def _take(d: Draw) -> Call:
    x = d.array(KINDS, special=False, least=1, empty=False)
    axis = d.axis(x)
    extent = x.size if axis is None else x.shape[axis]
    places = _places(d, extent)
    mode = d.pick(None, "wrap", "clip")
    if mode:
        places = places * 3
    return call(x, places, axis, **({"mode": mode} if mode else {}))


row("take", _take, dtype=first, examples=2)


def _along(d: Draw) -> Call:
    x = d.array(KINDS, special=False, least=1, empty=False)
    axis = d.axis(x)
    extent = x.size if axis is None else x.shape[axis]
    shape = list(x.shape)
    shape[axis or 0] = 2
    return call(x, _places(d, extent, (2,) if axis is None else shape), axis)


row("take_along_axis", _along, dtype=first)


def _put_along(x, places, values, axis, inplace=False):
    x = x.copy()
    np.put_along_axis(x, places, values, axis)
    return x


row("put_along_axis", lambda d: call(*(c := _along(d)).args[:2], 1, c.args[2], inplace=False), _put_along, dtype=first)


def _put(x, places, values, mode="raise", inplace=False):
    x = x.copy()
    np.put(x, places, values, mode)
    return x


row(
    "put",
    lambda d: call(*(c := _take(d)).args[:2], d.pick(1, np.array([1, 0])), inplace=False, **c.kwargs),
    _put,
    dtype=first,
)
row("nonzero", plain(), np.nonzero, dtype=INDEX, jit=False)
row("flatnonzero argwhere", plain(), dtype=INDEX, jit=False)


def _compress(d: Draw) -> Call:
    x = d.array(KINDS, special=False, least=1)
    axis = d.axis(x)
    extent = x.size if axis is None else x.shape[axis]
    return call(d.rng.random(max(0, extent - d.flag())) < 0.5, x, axis)


row("compress", _compress, dtype=lambda c: c.args[1].dtype, jit=False)
row(
    "extract",
    lambda d: call((x := d.array(("float32", "int32"), special=False)) > 0, x),
    dtype=lambda c: c.args[1].dtype,
    jit=False,
)


def _place(x, mask, values, inplace=False):
    x = x.copy()
    np.place(x, mask, values)
    return x


row(
    "place",
    lambda d: call(x := d.array(("float32", "int32"), special=False), x > 0, np.array([1, 2], x.dtype), inplace=False),
    _place,
    dtype=first,
)
row(
    "select",
    lambda d: call([(x := d.array(("float32", "int32"), special=False)) > 1, x < 0], [x, -x], d.pick(0, 7)),
    dtype=lambda c: c.args[1][0].dtype,
)
row(
    "choose",
    lambda d: call(
        d.rng.integers(-1, 4, (3, 2)), [np.arange(2), np.ones((3, 2)), np.zeros(1)], mode=d.pick("wrap", "clip")
    ),
    dtype=None,
)
row(
    "piecewise",
    lambda d: call(x := d.array(("float32", "int32"), special=False), [x < 0, x > 1], [-1, lambda v: v * 2, 5]),
)
row(
    "unravel_index",
    lambda d: call(d.rng.integers(0, 12, d.shape()).astype(d.pick("int32", "int8")), (3, 4)),
    dtype=None,
)
row(
    "ravel_multi_index",
    lambda d: call(
        (d.rng.integers(-2, 5, 4), d.rng.integers(-2, 6, 4)), (3, 4), mode=d.pick("wrap", "clip"), **d.some(order="F")
    ),
    dtype=None,
)
