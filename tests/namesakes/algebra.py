"""Rows of fdl.numpy for products, polynomials, sets, signals and bits, and what has no row."""

import numpy as np

import fdl.numpy as fnp
from tests.namesakes.draws import Draw
from tests.namesakes.engine import Call, Table, call

TABLE = Table(fnp, np)
row = TABLE.row
FLOAT = ("float32", "float64")
NUMBERS = ("float32", "float64", "int32", "int8", "complex64", "bool")
INDEX = np.dtype(np.int32)


# Products
def _product(shapes):
    """Operands of shapes that fit, given as (m, k, n) -> two shapes."""

    def draw(d: Draw) -> Call:
        m, k, n = (d.pick(2, 1, 3, 0) for _ in range(3))
        kinds = [d.pick(*NUMBERS) for _ in range(2)]
        kinds = kinds if d.flag() else kinds[:1] * 2
        return call(*(d.elements(t, s, False, -3, 3) for t, s in zip(kinds, d.pick(*shapes(m, k, n)), strict=True)))

    return draw


def _matrices(m, k, n):
    return [
        ((m, k), (k, n)),
        ((k,), (k, n)),
        ((m, k), (k,)),
        ((k,), (k,)),
        ((4, m, k), (k, n)),
        ((4, m, k), (4, k, n)),
        ((m, k), (k + 1, n)),
    ]


def _products(*names, oracle=None, shapes=_matrices, **settings):
    row(" ".join(names), _product(shapes), oracle, promoted=True, near=True, ulps=64, zeros=False, **settings)


_products("matmul", "dot", examples=2)
_products("inner", shapes=lambda m, k, n: [((m, k), (n, k)), ((k,), (k,)), ((), (n, k))])
_products("outer", shapes=lambda m, k, n: [((m,), (n,)), ((m, 2), (n,)), ((), (2,))])
_products("vdot", shapes=lambda m, k, n: [((k,), (k,)), ((m, k), (m, k))])
_products("kron", shapes=lambda m, k, n: [((m,), (n,)), ((m, k), (n, 2)), ((m,), (n, 2))])
_products("tensordot", shapes=lambda m, k, n: [((m, k, 2), (k, 2, n)), ((m, k), (m, k))])
_products("matvec", shapes=lambda m, k, n: [((m, k), (k,)), ((4, m, k), (4, k))])
_products("vecmat", shapes=lambda m, k, n: [((k,), (k, n)), ((4, k), (4, k, n))])
_products("vecdot", shapes=lambda m, k, n: [((k,), (k,)), ((m, k), (m, k)), ((m, 1, k), (k,))])
row(
    "cross",
    lambda d: call(d.array(FLOAT, d.pick((3,), (2, 3)), False), d.array(FLOAT, d.pick((3,), (4, 1, 3)), False)),
    promoted=True,
    near=True,
    ulps=64,
    zeros=False,
)


def _einsum(d: Draw) -> Call:
    m, k, n = (d.pick(2, 3, 1) for _ in range(3))
    form = d.pick(
        ("ij,jk->ik", (m, k), (k, n)),
        ("ij,jk", (m, k), (k, n)),
        ("ii->i", (m, m)),
        ("ii", (m, m)),
        ("ij->ji", (m, k)),
        ("i,j->ij", (m,), (n,)),
        ("i,i->", (m,), (m,)),
        ("...ij,...jk->...ik", (2, m, k), (k, n)),
        ("ijk->", (m, k, n)),
        ("bij,bjk->bik", (2, m, k), (2, k, n)),
        ("ij,kj->", (m, k), (n, k)),
        ("iij->j", (m, m, k)),
        ("i...->...", (m, k)),
    )
    kind = d.pick("float32", "int32", "complex64")
    return call(form[0], *(d.elements(kind, s, False, -3, 3) for s in form[1:]))


row("einsum", _einsum, near=True, ulps=64, zeros=False, dtype=lambda c: c.args[1].dtype, examples=3)


# Polynomials
def _vectors(count, least=1, kinds=FLOAT):
    def draw(d: Draw) -> Call:
        kind = d.pick(*kinds)
        return call(*(d.elements(kind, (d.integer(least, 4),), False, -3, 3) for _ in range(count)))

    return draw


def _padded(function):
    """JAX keeps leading zeros, so that shapes do not depend on values."""

    def oracle(x, y):
        n = max(len(x), len(y))
        return function(np.pad(x, (n - len(x), 0)), np.pad(y, (n - len(y), 0)))

    return oracle


row("polyadd", _vectors(2), _padded(np.add), near=True, zeros=False)
row("polysub", _vectors(2), _padded(np.subtract), near=True, zeros=False)
row("polymul", _vectors(2), np.convolve, near=True, ulps=16, zeros=False)
row(
    "polyval",
    lambda d: call(d.array(FLOAT, (d.integer(0, 4),), False, -3, 3), d.array(FLOAT, None, False, -3, 3)),
    promoted=True,
    near=True,
    ulps=1000,
    zeros=False,
)
row("polyder", lambda d: call(*_vectors(1)(d).args, **d.some(m=d.pick(0, 1, 2))), near=True, zeros=False)
row("polyint", lambda d: call(*_vectors(1)(d).args, **d.some(m=d.pick(0, 1, 2))), near=True, zeros=False)
row("poly", _vectors(1, 1), near=True, ulps=1000, zeros=False)
row(
    "polydiv",
    lambda d: call(np.array([1.0, d.integer(-3, 3), 2.0, 4.0]), np.array([d.pick(1.0, -2.0), 3.0])),
    lambda u, v: (lambda q, r: (q, np.pad(r, (len(u) - len(r), 0))))(*np.polydiv(u, v)),
    near=True,
    ulps=100,
    zeros=False,
)
row(
    "polyfit",
    lambda d: call(np.arange(6.0), d.array(FLOAT, (6,), False), d.pick(0, 1, 2)),
    dtype=None,
    near=True,
    ulps=2**32 * 3,
)
row(
    "roots",
    lambda d: call(np.array(d.pick([1.0, -3.0, 2.0], [1.0, 0.0, 4.0], [0.0, 2.0, -2.0], [1.0, 2.0, 0.0]))),
    dtype=None,
    near=True,
    ulps=2**30,
    zeros=False,
    jit=False,
)


# Sets
def _set(d: Draw) -> np.ndarray:
    x = d.array(("float32", "int32", "bool", "int8"), most=2, low=-3, high=3)
    return np.round(x).astype(x.dtype) if x.dtype.kind == "f" else x


def _unique(d: Draw) -> Call:
    x = d.array(("float32", "int32", "bool", "float64"), most=2) if d.flag() else _set(d)
    return call(x, **d.some(return_index=True, return_inverse=True, return_counts=True, equal_nan=False))


def _unique_dtype(c: Call):
    flags = [k for k in ("return_index", "return_inverse", "return_counts") if k in c.kwargs]
    return (c.args[0].dtype, *(INDEX for _ in flags)) if flags else c.args[0].dtype


row("unique", _unique, dtype=_unique_dtype, zeros=False, jit=False, examples=3)
row(
    "unique_values", lambda d: call(_set(d)), lambda x: np.sort(np.unique_values(x)), dtype=None, zeros=False, jit=False
)
row("unique_counts unique_inverse unique_all", lambda d: call(_set(d)), dtype=None, zeros=False, jit=False)


def _two_sets(d: Draw) -> Call:
    kind = d.pick("float32", "int32", "bool")
    return call(*(np.round(d.elements(kind, d.shape(most=2), False, -3, 3)).astype(kind) for _ in range(2)))


row("union1d setdiff1d setxor1d", _two_sets, zeros=False, jit=False)
row("intersect1d", lambda d: Call(_two_sets(d).args, d.some(return_indices=True)), dtype=None, zeros=False, jit=False)
row("isin", lambda d: Call(_two_sets(d).args, d.some(invert=True)), dtype=bool)


# Signals
def _convolution(d: Draw) -> Call:
    kind = d.pick("float32", "int32", "complex64", "float64")
    x, y = (d.elements(kind, (d.integer(1, 6),), False, -3, 3) for _ in range(2))
    return call(x, y, **d.some(mode=lambda: d.pick("full", "same", "valid")))


row("convolve correlate", _convolution, near=True, ulps=64, zeros=False, examples=2)


def _gradient(d: Draw) -> Call:
    x = d.elements(d.pick(*FLOAT), d.pick((4,), (3, 4), (2, 5), (2,)), False)
    return call(x, *d.pick((), (2.0,)), **d.some(axis=lambda: d.axis(x, none=False), edge_order=1))


row("gradient", _gradient, near=True, ulps=16, zeros=False)


def _interp(d: Draw) -> Call:
    n = d.pick(4, 1, 2)
    xp = np.sort(d.elements("float64", (n,), False, -3, 3))
    x = d.array(("float64",), None, None)
    x = x if x.ndim else xp[:1].copy()
    x = np.where(np.isnan(x), 0.5, x) if n == 1 else x  # where NumPy returns the one value
    return call(x, xp, d.elements("float64", (n,), False), **d.some(left=7.0, right=-7.0))


row("interp", _interp, near=True, ulps=16, zeros=False, dtype=np.float64, examples=2)
row("bartlett", lambda d: call(d.pick(0, 1, 2, 5, 8)), dtype=np.float32, near=True)
row("blackman hamming hanning", lambda d: call(d.pick(0, 1, 2, 5, 8)), dtype=np.float32, near=True, zeros=False)
row("kaiser", lambda d: call(d.pick(0, 1, 2, 5, 8), d.pick(0.0, 4.0, 14.0)), dtype=np.float32, ulps=64)


def _bits(d: Draw) -> Call:
    x = d.array(("bool", "uint8"), least=1)
    return call(x, **d.some(axis=lambda: d.axis(x), bitorder="little"))


row("packbits", _bits, dtype=np.uint8)
row(
    "unpackbits",
    lambda d: call(
        x := d.array(("uint8",), least=1, empty=False),
        **d.some(axis=lambda: d.axis(x), bitorder="little", count=d.pick(3, 9, -2)),
    ),
    dtype=np.uint8,
)

# Functions of functions
row(
    "apply_along_axis",
    lambda d: call(lambda v: v * 2, d.pick(0, 1, -1), d.array(("float32", "int32"), (2, 3), False)),
    dtype=lambda c: c.args[2].dtype,
    jit=False,
)
row(
    "apply_over_axes",
    lambda d: call(lambda v, a: v.max(a), d.array(("float32", "int32"), (2, 3), False), d.pick(0, (0, 1), [1])),
    dtype=lambda c: c.args[1].dtype,
    jit=False,
)
TABLE.exclude("vectorize", "tests/numpy/test_shape.py tries signatures; NumPy's returns other dtypes")

# Values that are not arrays
row("isscalar", lambda d: call(d.pick(1, 2.0, "a", [1], np.float32(3))), dtype=None, jit=False, lenient=True)
row("iscomplexobj isrealobj", lambda d: call(d.array(NUMBERS)), dtype=None)
row("iterable", lambda d: call(d.array(NUMBERS)), dtype=None, jit=False)
row(
    "can_cast",
    lambda d: call(
        d.pick("int8", "float32", "int64"), d.pick("int8", "float64", "complex64"), **d.some(casting="same_kind")
    ),
    dtype=None,
)
row(
    "isdtype",
    lambda d: call(np.dtype(d.pick("int8", "float32", "bool")), d.pick("integral", "bool", ("numeric", "bool"))),
    dtype=None,
    jit=False,
)
row(
    "issubdtype",
    lambda d: call(np.dtype(d.pick("int8", "float32", "bool")), d.pick(np.integer, np.floating, np.number)),
    dtype=None,
    jit=False,
)
TABLE.exclude("promote_types result_type", "fdl's own lattice, which tests/numpy/test_promotion.py holds")
TABLE.exclude("array_repr array_str get_printoptions printoptions set_printoptions", "printing")
TABLE.exclude(
    "save savez load fromfile frombuffer fromstring fromiter from_dlpack", "NumPy reads and writes; nothing is computed"
)
TABLE.exclude("einsum_path", "opt_einsum's answer, which need not be NumPy's")
TABLE.exclude(
    "bool bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 int_ uint bfloat16 float16 float32 float64 float_ "
    "single double complex64 complex128 complex_ csingle cdouble",
    "scalar types, tests/numpy/test_promotion.py",
)
TABLE.exclude("finfo iinfo", "NumPy's and ml_dtypes' objects")
TABLE.exclude("frompyfunc ufunc", "tests/numpy/test_ufuncs.py")
TABLE.exclude("index_exp s_", "objects that are indexed")
