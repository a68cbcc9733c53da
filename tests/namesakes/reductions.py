"""Rows of reductions, statistics, sorting and searching of fdl.numpy."""

import numpy as np

import fdl.numpy as fnp
from fdl.dtypes import promote_integer
from tests.namesakes.draws import ALL, FEW, FLOATS, INTS, REALS, Draw
from tests.namesakes.engine import Call, Table, call

TABLE = Table(fnp, np)
row = TABLE.row
FLOAT = ("float32", "float64")
INDEX = np.dtype(np.int32)


def _mask(d: Draw, x: np.ndarray) -> np.ndarray:
    return np.asarray(d.rng.random(x.shape if d.flag() else x.shape[1:]) < 0.6)


def reduction(dtypes, several=True, extra=lambda d, x: {}, **settings):
    def draw(d: Draw) -> Call:
        x = d.array(dtypes, **settings)
        keywords = d.some(axis=lambda: d.axis(x, several=several), keepdims=True)
        return call(x, **keywords, **extra(d, x))

    return draw


def _sum(d: Draw) -> Call:
    x = d.array(REALS, low=-9, high=9)
    keywords = d.some(
        axis=lambda: d.axis(x, several=True), keepdims=True, where=lambda: _mask(d, x), initial=d.pick(2, 0)
    )
    if x.dtype.kind in "biu" and d.flag():
        keywords["dtype"] = d.pick(np.float32, np.float64, np.int64)
    return call(x, **keywords)


row("sum", _sum, kind="sum", near=True, ulps=32, zeros=False, examples=2)
row("nansum", lambda d: call(d.array(REALS), **d.some(keepdims=True)), kind="sum", near=True, ulps=64, zeros=False)


def _prod(d: Draw) -> Call:
    c = _sum(d)
    x = c.args[0]
    x = np.where(np.abs(x) > 2, x // 4, x).astype(x.dtype) if x.dtype.kind == "f" else x
    return Call((x,), c.kwargs)


row("prod", _prod, kind="sum", ulps=64, zeros=False, examples=2)
row("nanprod", reduction(("float32", "float64", "int32")), kind="sum", ulps=64, zeros=False)


def _extremum_keywords(d: Draw, x: np.ndarray):
    return {"where": _mask(d, x), "initial": d.pick(0, 3)} if d.flag() else d.some(initial=d.pick(1, 2))


row("max amax min amin", reduction(REALS, extra=_extremum_keywords, special=True), zeros=False, examples=2)
row("nanmax nanmin", reduction((*FLOAT, "int32", "int8", "bool"), extra=_extremum_keywords), zeros=False)
row("ptp", reduction(("float32", "int32", "int8", "float16")), zeros=False)
row("all any", reduction(ALL, extra=lambda d, x: d.some(where=lambda: _mask(d, x))), dtype=bool)
row("count_nonzero", reduction(ALL), dtype=INDEX)
row("argmax argmin", reduction(REALS, several=False, special=True), dtype=INDEX)


def _nanarg(function):
    """-1 where NumPy finds nothing but NaN, as in JAX."""

    def oracle(x, axis=None, keepdims=False):
        none = np.isnan(x).all(axis, keepdims=keepdims)
        filled = np.where(np.isnan(x).all(axis, keepdims=True), 0.0, x)
        return np.where(none, -1, function(filled, axis=axis, keepdims=keepdims))

    return oracle


row("nanargmax", reduction(FLOAT, several=False), _nanarg(np.nanargmax), dtype=INDEX)
row("nanargmin", reduction(FLOAT, several=False), _nanarg(np.nanargmin), dtype=INDEX)


def _running(d: Draw) -> Call:
    x = d.array(("float32", "float64", "float16", "bfloat16", *INTS, "bool"), low=-3, high=3)
    return call(x, **d.some(axis=lambda: d.axis(x)))


def _counted(c: Call):
    return promote_integer(c.args[0].dtype) if c.args[0].dtype == bool else c.args[0].dtype


row("cumsum nancumsum", _running, near=True, ulps=32, dtype=_counted, zeros=False)
row("cumprod nancumprod", _running, ulps=32, dtype=_counted, zeros=False)


def _cumulative(d: Draw) -> Call:
    c = _running(d)
    x = c.args[0]
    x = x if x.ndim else np.atleast_1d(x)
    return call(x, axis=d.axis(x, none=x.ndim == 1), **d.some(include_initial=True))


row("cumulative_sum", _cumulative, kind="sum", near=True, ulps=32, zeros=False)
row("cumulative_prod", _cumulative, kind="sum", ulps=32, zeros=False)


def _ddof(d: Draw, x: np.ndarray):
    return d.some(ddof=d.pick(1, 2, 3), where=lambda: _mask(d, x))


def _nan_without_freedom(function):
    """NaN where there are not more elements than ddof, as in JAX; NumPy divides by 0 there."""

    def oracle(x, axis=None, keepdims=False, ddof=0, where=True):
        count = np.broadcast_to(np.asarray(where), x.shape)
        count = (count & ~np.isnan(x) if function.__name__.startswith("nan") else count).sum(axis, keepdims=keepdims)
        return np.where(count > ddof, function(x, axis=axis, keepdims=keepdims, ddof=ddof, where=where), np.nan)

    return oracle


STATS = (*FLOATS, "int32", "int8", "bool")
row("mean", reduction(STATS, extra=lambda d, x: d.some(where=lambda: _mask(d, x))), kind="inexact", near=True, ulps=16)
row(
    "nanmean",
    reduction((*FLOAT, "int32"), extra=lambda d, x: d.some(where=lambda: _mask(d, x))),
    kind="inexact",
    near=True,
    ulps=16,
    zeros=False,
)
for name in "var nanvar".split():
    row(
        name,
        reduction(STATS if name == "var" else FLOAT, extra=_ddof, low=-3, high=3),
        _nan_without_freedom(getattr(np, name)),
        kind="inexact",
        near=True,
        ulps=64,
    )
for name in "std nanstd".split():
    row(
        name,
        reduction(FLOAT, extra=_ddof, low=-3, high=3),
        _nan_without_freedom(getattr(np, name)),
        kind="inexact",
        near=True,
        ulps=4000,
    )


def _average(d: Draw) -> Call:
    x = d.array((*FLOAT, "int32"), low=-3, high=3, empty=False)
    keywords = d.some(axis=lambda: d.axis(x, several=True), keepdims=True, returned=True)
    if d.flag():
        keywords["weights"] = d.elements("float32", x.shape, False, 0.5, 2)
    return call(x, **keywords)


row("average", _average, kind="inexact", near=True, ulps=32)
row(
    "median nanmedian",
    reduction((*FLOAT, "int32", "bool"), empty=False),
    kind="inexact",
    near=True,
    ulps=8,
    zeros=False,
)


def _quantile(scale):
    def draw(d: Draw) -> Call:
        # Without infinities, of which NumPy's interpolation makes NaN.
        x = d.array((*FLOAT, "int32"), special=False, empty=False)
        if x.dtype.kind == "f" and d.flag():
            x = np.where(d.rng.random(x.shape) < 0.2, np.nan, x).astype(x.dtype)
        q = d.pick(0.0, 1.0, 0.5, np.array([0.25, 0.75], np.float32), np.array(0.3, np.float32), np.array([1.0]))
        keywords = d.some(axis=lambda: d.axis(x, several=True), keepdims=True)
        keywords |= d.some(method=lambda: d.pick("linear", "lower", "higher", "midpoint", "nearest"))
        return call(x, q * scale if isinstance(q, float) else (q * scale).astype(q.dtype), **keywords)

    return draw


row("quantile nanquantile", _quantile(1), kind="inexact", promoted=True, near=True, ulps=16, zeros=False, examples=2)
row(
    "percentile nanpercentile",
    _quantile(100),
    kind="inexact",
    promoted=True,
    near=True,
    ulps=16,
    zeros=False,
    examples=2,
)


def _cov(d: Draw) -> Call:
    x = d.array((*FLOAT, "int32"), least=1, most=2, low=-3, high=3)
    keywords = d.some(rowvar=False, bias=True, ddof=d.pick(0, 1, 2))
    count = x.shape[0] if x.ndim == 1 or "rowvar" in keywords else x.shape[1]
    keywords |= d.some(
        fweights=lambda: d.rng.integers(1, 4, count).astype(np.int32),
        aweights=lambda: d.elements("float32", (count,), False, 0.5, 2),
    )
    return call(x, **keywords)


row("cov", _cov, lenient=True, kind="inexact", near=True, ulps=200, zeros=False, examples=2)
row(
    "corrcoef",
    lambda d: call(d.array(FLOAT, least=1, most=2, low=-3, high=3, empty=False), **d.some(rowvar=False)),
    kind="inexact",
    near=True,
    ulps=2000,
    zeros=False,
)


def _diff(d: Draw) -> Call:
    x = d.array((*FLOAT, "int32", "bool", "uint8"), least=1)
    return call(x, **d.some(n=d.pick(0, 1, 2, 3), axis=d.axis(x, none=False)))


row("diff", _diff, near=True, zeros=False)
row("ediff1d", lambda d: call(d.array((*FLOAT, "int32")), **d.some(to_end=1, to_begin=2)), near=True, zeros=False)
row(
    "trapezoid",
    lambda d: call(d.array(FLOAT, least=1, special=False), **d.some(dx=0.5)),
    kind="inexact",
    near=True,
    ulps=16,
    zeros=False,
)


def _sort(d: Draw) -> Call:
    x = d.array(ALL, special=True)
    return call(x, **({} if x.ndim else {"axis": None}), **(d.some(axis=lambda: d.axis(x)) if x.ndim else {}))


def _stable(function):
    return lambda x, axis=-1: function(x, axis=axis, kind="stable")


row("sort", _sort, zeros=False, examples=2)
row("argsort", _sort, _stable(np.argsort), dtype=INDEX, examples=2)
row("sort_complex", lambda d: call(d.array((*FEW, "complex64"))), dtype=None)
row("lexsort", lambda d: call([d.rng.integers(0, 3, 6), d.rng.integers(0, 3, 6).astype(np.float32)]), dtype=INDEX)


def _kth(d: Draw) -> Call:
    x = d.array(("float32", "int32"), least=1, empty=False)
    axis = d.axis(x, none=False)
    return call(x, d.integer(0, x.shape[axis] - 1), axis=axis)


row("partition", _kth, lambda x, kth, axis: np.sort(x, axis), zeros=False)
row("argpartition", _kth, lambda x, kth, axis: np.argsort(x, axis, kind="stable"), dtype=INDEX)


def _sorted_vector(d: Draw, dtype=None) -> np.ndarray:
    return np.sort(d.array((dtype,) if dtype else ("float32", "int32", "float64"), (d.pick(4, 1, 0, 7),)))


def _searchsorted(d: Draw) -> Call:
    a = _sorted_vector(d)
    return call(a, d.array((a.dtype,)), **d.some(side="right"))


row("searchsorted", _searchsorted, dtype=INDEX, examples=2)


def _digitize(d: Draw) -> Call:
    bins = _sorted_vector(d, "float32")
    bins = bins[np.isfinite(bins)]
    return call(d.array(("float32",)), bins[::-1].copy() if d.flag() else bins, **d.some(right=True))


row("digitize", _digitize, dtype=INDEX)


def _bincount(d: Draw) -> Call:
    x = d.array(("int32", "uint8", "int8", "int64"), (d.pick(4, 0, 9),), low=0, high=9)
    return call(x, **d.some(minlength=d.pick(3, 12), weights=lambda: d.elements("float32", x.shape, False)))


row("bincount", _bincount, dtype=lambda c: INDEX if "weights" not in c.kwargs else np.float32, near=True, jit=False)


def _histogram(d: Draw) -> Call:
    x = d.elements(d.pick(*FLOAT, "int32"), d.pick((7,), (2, 3), (30,)), False)
    bins = d.pick(1, 4, 10, np.array([-2.0, 0.0, 1.0, 5.0], np.float32))
    return call(x, **({"bins": bins} if d.flag() else {}), **d.some(range=(-3.0, 4.0), density=True))


def _as_float(function):
    """Counts as floats, as in JAX."""
    return lambda *args, **kwargs: tuple(np.asarray(r, float) for r in function(*args, **kwargs))


row("histogram", _histogram, _as_float(np.histogram), kind="inexact", near=True, ulps=16, static=("bins",), jit=False)
row("histogram_bin_edges", lambda d: Call(_histogram(d).args, {"bins": d.pick(1, 4)}), kind="inexact", near=True)


def _histogram2d(d: Draw) -> Call:
    n = d.pick(5, 9, 0)  # a single point would lie on an edge
    x, y = (d.elements("float32", (n,), False) for _ in range(2))
    return call(x, y, **d.some(bins=d.pick(3, (2, 4)), range=((-3, 3), (-4, 4)), density=True))


row("histogram2d", _histogram2d, dtype=None, near=True, ulps=16, jit=False)
row(
    "histogramdd",
    lambda d: call(d.elements("float32", (d.pick(5, 9), 2), False), **d.some(bins=3, density=True)),
    dtype=None,
    near=True,
    jit=False,
)
