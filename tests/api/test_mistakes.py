"""Typical mistakes: the class of the error, and what its message must name."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, random, scipy
from fdl.errors import (
    AxisError,
    BatchError,
    ConcretizationError,
    DtypeError,
    IndexingError,
    LeafError,
    RangeError,
    ShapeError,
    TreeError,
)

X, V, K = fnp.ones((2, 3)), fnp.arange(3), random.key(0)


def step(c: Any, x: Any) -> Any:
    return c, x


#: What is called, the class, and pieces of the message, which are regular expressions.
MISTAKES: list[tuple[Any, Any, tuple[str, ...]]] = [
    # Functions that are none
    (lambda: fdl.vmap(3), TypeError, ("vmap needs a function as fun", "3 of type int")),
    (lambda: fdl.grad("f"), TypeError, ("grad needs a function as fun", "'f' of type str")),
    (lambda: fdl.jvp(None, (X,), (X,)), TypeError, ("needs a function as fun", "None")),
    (lambda: lax.scan(3, 0.0, X), TypeError, ("scan needs a function as f",)),
    (lambda: lax.while_loop(step, 3, 0), TypeError, ("while_loop needs a function as body_fun",)),
    (lambda: lax.fori_loop(0, 3, 5, 0), TypeError, ("fori_loop needs a function as body_fun",)),
    (lambda: lax.map(3, X), TypeError, ("map needs a function as f",)),
    (lambda: lax.switch(0, [1, 2]), TypeError, ("switch needs a sequence of functions", r"\[1, 2\]")),
    (lambda: lax.switch(0, []), ValueError, ("switch needs at least one branch",)),
    (lambda: lax.cond(True, 1, 2), TypeError, ("cond needs two functions",)),
    (lambda: lax.associative_scan(3, X), TypeError, ("associative_scan needs a function as fn",)),
    (lambda: fnp.vectorize(3), TypeError, ("vectorize needs a function as pyfunc",)),
    # Numbers and names of arguments
    (lambda: fdl.jit(lambda x, n: x, static_argnums=5), ValueError, ("static_argnums", "argument 5", "2 positional")),
    (lambda: fdl.jit(lambda x: x, donate_argnums=1), ValueError, ("donate_argnums", "argument 1", "1 positional")),
    (lambda: fdl.jit(lambda x: x, static_argnums="a"), TypeError, ("static_argnums", "'a'")),
    (lambda: fdl.jit(lambda x: x, static_argnames=3), TypeError, ("static_argnames", "got 3")),
    (lambda: fdl.jit(lambda x: x, donate_argnames="q"), ValueError, ("donate_argnames", "'q'")),
    (lambda: fdl.grad(lambda x: x, argnums="a")(1.0), TypeError, ("argnums", "'a'")),
    (lambda: fdl.grad(lambda x: x, argnums=1.5)(1.0), TypeError, ("argnums", "1.5")),
    (lambda: fdl.jacfwd(lambda x: x, argnums=3)(1.0), ValueError, ("argnums=3", "1 positional")),
    # Loops
    (lambda: lax.fori_loop(0, 3.5, step, 0), DtypeError, (r"lower and upper, got i32\[\] and f32\[\]", "convert")),
    (lambda: lax.fori_loop(0.0, 3.0, step, 0), DtypeError, ("integer scalars",)),
    (lambda: fdl.jit(lambda n: lax.fori_loop(0, n, step, 0))(2.5), DtypeError, (r"f32\[\]",)),
    (lambda: lax.fori_loop(np.int32(0), np.asarray(3), step, 0), DtypeError, (r"i32\[\] and i64\[\]",)),
    (lambda: lax.fori_loop(0, fnp.ones(2, int), step, 0), DtypeError, (r"i32\[2\]",)),
    (lambda: lax.fori_loop(0, "3", step, 0), LeafError, ("bound upper of fori_loop", "'3'")),
    (lambda: lax.fori_loop(0, 2, lambda i, c: (c, c), 0), TreeError, ("body of fori_loop", "carry")),
    (lambda: lax.fori_loop(0, 2, lambda i, c: X, 0), ShapeError, ("body of fori_loop", r"f32\[2,3\]")),
    (lambda: lax.scan(step, 0.0, X, unroll=-1), ValueError, ("scan: unroll", "got -1")),
    (lambda: lax.scan(step, 0.0, None, length=-1), ValueError, ("scan: length", "got -1")),
    (lambda: lax.scan(step, 0.0, "abc"), LeafError, ("xs of scan is 'abc'",)),
    (lambda: lax.map(lambda x: x, X, batch_size=-1), ValueError, ("map: batch_size", "got -1")),
    (lambda: lax.map(lambda x: x, 3.0), ShapeError, ("map needs xs to have a leading axis",)),
    (lambda: lax.associative_scan(fnp.add, fnp.ones(())), AxisError, ("associative_scan: axis 0",)),
    (lambda: lax.associative_scan(fnp.add, X, axis=2), AxisError, ("axis 2 is out of bounds",)),
    (lambda: lax.associative_scan(lambda a, b: (a, b), V), TreeError, ("function of associative_scan", "tuple of 2")),
    (lambda: lax.associative_scan(lambda a, b: a[:1], fnp.ones(5)), ShapeError, ("types it was given", r"f32\[2\]")),
    # vmap
    (lambda: fdl.vmap(step, in_axes=True), TypeError, ("vmap in_axes", "got True")),
    (lambda: fdl.vmap(lambda x: x, in_axes=(1.0,))(X), TypeError, ("vmap in_axes must hold ints and None, got 1.0",)),
    (lambda: fdl.vmap(lambda x: x, None, axis_size=-1), TypeError, ("axis_size", "got -1")),
    (lambda: fdl.vmap(lambda x: x, (0,))("b"), LeafError, ("argument x of", "'b' of type str")),
    (lambda: fdl.vmap(lambda x: x, 2)(X), BatchError, ("map axis 2 of argument x", r"f32\[2,3\]")),
    (lambda: fdl.vmap(lambda x: lax.psum(x, ("i", "j")), axis_name="i")(X), NameError, ("axis name 'j'",)),
    (lambda: fdl.vmap(lambda x: lax.ppermute(x, "i", [(0, 5)]), axis_name="i")(X), ValueError, ("2 examples",)),
    (lambda: fdl.vmap(lambda x: lax.psum_scatter(x, "i"), axis_name="i")(X), ShapeError, ("must be 2",)),
    # Traced values
    (lambda: fdl.jit(lambda x: f"{x:.2f}")(1.0), ConcretizationError, (r"'\.2f'", r"traced f32\[\]", r"debug\.print")),
    (lambda: fdl.vmap(lambda x: f"{x:.2f}")(fnp.ones(2)), ConcretizationError, (r"debug\.print",)),
    (lambda: fdl.grad(lambda x: float(f"{x:+.3e}"))(1.0), ConcretizationError, (r"debug\.print",)),
    (lambda: fdl.jit(lambda n: fnp.zeros(n))(3), ConcretizationError, ("argument n of", "static_argnums")),
    (lambda: fdl.jit(lambda n: fnp.arange(n))(3), ConcretizationError, ("arange",)),
    (lambda: fdl.jit(lambda x: x[x > 0])(V), ConcretizationError, ("boolean mask",)),
    (lambda: fdl.jit(lambda n: fnp.reshape(X, n))(3), ConcretizationError, ("reshape: the shape",)),
    (lambda: fdl.jit(lambda n: fnp.reshape(X, (n, -1)))(3), ConcretizationError, ("argument n of", "static_argnums")),
    (lambda: fdl.jit(lambda n: fnp.sum(X, axis=n))(0), ConcretizationError, ("argument n of", "static_argnums")),
    (lambda: fdl.jit(lambda n: fnp.linspace(0, 1, n))(3), ConcretizationError, ("argument n of", "static_argnums")),
    (lambda: fdl.jit(lambda n: lax.top_k(V, n))(1), ConcretizationError, ("argument n of", "static_argnums")),
    (lambda: fdl.jit(lambda n: lax.scan(step, 0.0, None, n))(3), ConcretizationError, ("scan needs a length", "fori")),
    # Shapes
    (lambda: fnp.zeros(-1), ShapeError, ("zeros", "negative")),
    (lambda: fnp.zeros(1.5), ShapeError, ("zeros", "integers", "1.5")),
    (lambda: fnp.reshape(X, (-1, -1)), ShapeError, (r"\(2, 3\)", r"\(-1, -1\)")),
    (lambda: fnp.reshape(X, (4,)), ShapeError, ("6 elements", r"\(4,\)")),
    (lambda: fnp.reshape(X, "a"), TypeError, ("reshape: an extent must be an integer, got 'a'",)),
    (lambda: fnp.split(V, 0), ShapeError, ("split", "0 equal parts")),
    (lambda: fnp.split(V, -1), ShapeError, ("split", "-1 equal parts")),
    (lambda: fnp.split(V, "a"), TypeError, ("split: the number of parts", "'a'")),
    (lambda: fnp.concatenate([]), ShapeError, ("concatenate needs at least one array",)),
    (lambda: fnp.block([]), ShapeError, ("block needs at least one array",)),
    (lambda: fnp.stack([V, X]), ShapeError, ("stack", r"\(3,\)", r"\(2, 3\)")),
    (lambda: fnp.dot(X, X), ShapeError, ("dot", r"\(2, 3\)")),
    (lambda: lax.dot_general(X, X, 3), ShapeError, ("dimension_numbers", "got 3")),
    (lambda: lax.add(X, fnp.ones(3)), ShapeError, ("lax.add", r"f32\[2,3\], f32\[3\]", "fdl.numpy")),
    (lambda: lax.add(fnp.ones(4), fnp.ones(3)), ShapeError, ("lax.add", "extents of 1")),
    (lambda: lax.select(fnp.ones(1, bool), V, V), ShapeError, ("lax.select", r"\(3,\)", r"bool\[1\]")),
    (lambda: lax.reduce_sum(X, None), TypeError, ("reduce_sum: axes must be a sequence of integers, got None",)),
    (lambda: lax.top_k(X, "a"), TypeError, ("top_k: k must be an integer, got 'a'",)),
    (lambda: fnp.nonzero(3), ShapeError, ("nonzero needs at least one axis", "atleast_1d")),
    (lambda: fnp.where(fnp.float32(3)), ShapeError, ("nonzero needs at least one axis",)),
    (lambda: fnp.repeat(V, -1), DtypeError, ("repeat", "not negative")),
    (lambda: fnp.delete(V, 5), IndexingError, ("delete", "extent 3")),
    (lambda: fnp.arange(X), ShapeError, ("arange takes numbers", r"f32\[2,3\]")),
    (lambda: fnp.tril_indices("a"), TypeError, ("tril_indices: n must be an integer",)),
    (lambda: random.uniform(K, (-1,)), ShapeError, ("negative", r"\(-1,\)")),
    (lambda: random.split(K, -1), ShapeError, (r"random\.split", "negative")),
    # Indices
    (lambda: V["a"], IndexingError, ("'a' of type str",)),
    (lambda: V[1.5], IndexingError, ("must be an integer",)),
    (lambda: V[5], IndexingError, ("index 5 is out of bounds for axis 0 of extent 3",)),
    (lambda: V[[0, 1], False], IndexingError, ("do not broadcast",)),
    (lambda: fnp.zeros(0)[0], IndexingError, ("index 0 is out of bounds",)),
    # vectorize contradicts its signature
    (lambda: fnp.vectorize(lambda a: a.sum(), signature="(n)->(n)")(X), ShapeError, (r"\(n\)->\(n\)", r"shape \(\)")),
    (lambda: fnp.vectorize(lambda a: a[:2], signature="(n)->(n)")(X), ShapeError, ("core axis 'n'", "3 and 2")),
    (lambda: fnp.vectorize(lambda a: (a, a), signature="(n)->(n)")(X), ShapeError, ("1 results", "tuple of 2")),
    (lambda: fnp.vectorize(lambda a: a, signature="(n)->(n),()")(X), ShapeError, ("2 results, got one",)),
    (lambda: fnp.vectorize(lambda a: X * a, signature="()->()")(V), ShapeError, (r"got shape \(2, 3\)",)),
    (lambda: fnp.vectorize(step, signature="(n)->(n)")(X, X), TypeError, ("has 1 arguments, got 2",)),
    (lambda: fnp.vectorize(step, excluded={-1}), TypeError, ("excluded", "{-1}")),
    # Dtypes and numbers
    *[
        (call, DtypeError, (f"fdl has no arrays of {shown}",))
        for dtype, shown in (("str", "<U0"), (object, "object"), ("S4", r"\|S4"), ("datetime64[s]", "datetime64"))
        for call in (
            lambda d=dtype: fnp.ones(2, d),
            lambda d=dtype: X.astype(d),
            lambda d=dtype: fnp.asarray([1], d),
            lambda d=dtype: lax.full((2,), 1, d),
            lambda d=dtype: fnp.full_like(X, 1, d),
            lambda d=dtype: fnp.eye(2, dtype=d),
            lambda d=dtype: lax.convert_element_type(X, d),
            lambda d=dtype: fdl.nn.one_hot(V, 3, dtype=d),
        )
    ],
    (lambda: fnp.finfo("int32"), ValueError, ("finfo", "int32", "iinfo")),
    (lambda: fnp.iinfo(fnp.float32), ValueError, ("iinfo", "float32", "finfo")),
    (lambda: fnp.zeros(2, "nonsense"), DtypeError, ("'nonsense' is no dtype",)),
    (lambda: fnp.zeros(2, [1, 2]), DtypeError, ("no dtype",)),
    (lambda: fnp.ones(2, "int8") + 300, RangeError, ("300 does not fit into int8",)),
    (lambda: fnp.abs(2**70), RangeError, ("64 bits",)),
    (lambda: random.key(2**64), RangeError, ("seed", "18446744073709551616", "64 bits")),
    (lambda: random.key(-(2**63) - 1), RangeError, ("seed", "64 bits")),
    (lambda: random.PRNGKey(2**64), RangeError, ("seed",)),
    (lambda: random.key(1.5), DtypeError, ("integer scalar", r"f32\[\]")),
    (lambda: random.key(V), DtypeError, ("integer scalar", r"i32\[3\]", "vmap")),
    (lambda: random.fold_in(K, 2**32), RangeError, ("fold_in", "32 bits")),
    (lambda: fnp.einsum("ij,jk", X), ShapeError, ("einsum 'ij,jk'",)),
    (lambda: fnp.einsum(object()), ShapeError, ("einsum",)),
    (lambda: fnp.linalg.solve(fnp.eye(3), fnp.ones(2)), ShapeError, (r"\(2,\)", r"\(3, 3\)")),
    (lambda: fnp.trim_zeros(V, "x"), ValueError, ("trim must be", "'x'")),
    (lambda: fnp.polyfit(V[:2], V[:2], 1, cov=True), ShapeError, ("more than 2 points", "cov", "got 2")),
    (lambda: fnp.polyfit(V, V, 1, cov="all"), ValueError, ("cov must be", "'all'")),
    (lambda: fnp.polyfit(V, V, 1, w=V[:2]), ShapeError, ("weight w for each of 3 points", r"\(2,\)")),
    (lambda: fnp.diff(V, n="a"), TypeError, ("diff: n must be an integer", "'a'")),
    (lambda: fnp.diff(V, n=1.5), TypeError, ("diff: n must be an integer",)),
    (lambda: fnp.trapezoid(V, dx="a"), LeafError, ("operand of trapezoid", "'a'")),
    (lambda: fnp.trapezoid(V, dx=V), ShapeError, ("trapezoid: dx", r"\(3,\)", r"\(2,\)")),
    (lambda: fnp.clip(V, "a", 2), LeafError, ("operand of clip", "'a'")),
    (lambda: scipy.fft.dctn(X, s="a"), TypeError, ("dctn: s must be an integer",)),
    (lambda: scipy.signal.convolve2d(X, X, fillvalue=None), LeafError, ("convolve2d: fillvalue", "None")),
    (lambda: scipy.signal.convolve2d(X, X, fillvalue=1j), DtypeError, ("fillvalue", "float32", "c64")),
    (lambda: scipy.signal.correlate2d(X, X, fillvalue=V), DtypeError, ("correlate2d: fillvalue", r"\[3\]")),
    (lambda: nn.max_pool(fnp.ones((1, 4, 1)), 2, padding=((1.7, 1),)), ShapeError, ("padding must be", "1.7")),
    (lambda: nn.max_pool(fnp.ones((1, 4, 1)), 2, padding=("12",)), ShapeError, ("padding must be", "'12'")),
    (lambda: fnp.linalg.cond(fnp.zeros((0, 0))), ShapeError, ("cond", r"\(0, 0\)")),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes_are_named(number: int) -> None:
    call, kind, pieces = MISTAKES[number]
    with pytest.raises(kind) as found:
        call()
    for piece in pieces:
        assert found.match(piece)


OUT_OF_BOUNDS = [
    lambda a: fnp.expand_dims(X, a), lambda a: fnp.sum(X, a), lambda a: fnp.sum(X, (0, a)), lambda a: fnp.max(X, a),
    lambda a: fnp.mean(X, a), lambda a: fnp.argmax(X, a), lambda a: fnp.cumsum(X, a), lambda a: fnp.sort(X, a),
    lambda a: fnp.argsort(X, a), lambda a: fnp.flip(X, a), lambda a: fnp.roll(X, 1, a), lambda a: fnp.squeeze(X, a),
    lambda a: fnp.swapaxes(X, 0, a), lambda a: fnp.moveaxis(X, 0, a), lambda a: fnp.concatenate([X, X], a),
    lambda a: fnp.stack([X, X], a), lambda a: fnp.split(X, 1, a), lambda a: fnp.take(X, V[:1], a),
    lambda a: fnp.repeat(X, 2, a), lambda a: fnp.diff(X, axis=a), lambda a: fnp.unique(X, axis=a),
    lambda a: fnp.delete(X, 0, a), lambda a: fnp.insert(X, 0, 1.0, a), lambda a: fnp.median(X, a),
    lambda a: fnp.transpose(X, (0, a)), lambda a: fnp.rollaxis(X, a), lambda a: fnp.apply_along_axis(fnp.sum, a, X),
    lambda a: fnp.fft.fft(X, axis=a), lambda a: fdl.nn.softmax(X, a), lambda a: fdl.nn.one_hot(V, 3, axis=a),
    lambda a: lax.squeeze(X, (a,)), lambda a: lax.expand_dims(X, (a,)), lambda a: lax.reduce_sum(X, (a,)),
    lambda a: lax.cumsum(X, a), lambda a: lax.concatenate([X, X], a), lambda a: lax.sort(X, a),
    lambda a: lax.argmax(X, a, np.int32), lambda a: lax.associative_scan(fnp.add, X, axis=a),
    lambda a: random.categorical(K, X, a), lambda a: random.permutation(K, X, a), lambda a: fnp.linalg.norm(X, axis=a),
    lambda a: fnp.trapezoid(X, axis=a), lambda a: fnp.nansum(X, a), lambda a: fnp.var(X, a), lambda a: fnp.ptp(X, a),
    lambda a: fnp.average(X, a), lambda a: fnp.quantile(X, 0.5, a), lambda a: fnp.count_nonzero(X, a),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(OUT_OF_BOUNDS)))
@pytest.mark.parametrize("axis", [7, -9])
def test_axes_out_of_bounds_are_value_and_index_errors(number: int, axis: int) -> None:
    """As NumPy's AxisError is."""
    for kind in (AxisError, ValueError, IndexError, ShapeError):
        with pytest.raises(kind, match=str(axis)):
            OUT_OF_BOUNDS[number](axis)


def test_an_axis_given_twice() -> None:
    for call in (lambda: fnp.sum(X, (0, 0)), lambda: fnp.flip(X, (1, -1)), lambda: fnp.expand_dims(X, (0, 0))):
        with pytest.raises(AxisError, match="twice"):
            call()


def test_formats_of_traced_values_that_need_no_number() -> None:
    shown = []
    fdl.jit(lambda x: shown.append((f"{x}", f"{x:>30}", f"{x!r:<20}")))(1.0)
    assert "f32[]" in shown[0][0] and shown[0][1].endswith(shown[0][0]) and len(shown[0][1]) >= 30
