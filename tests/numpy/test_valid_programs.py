"""Programs over fdl.numpy that must work, with what NumPy returns for them, under every transform."""

from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.flatten_util import ravel_pytree
from tests.programs import check_program

REALS, G = np.array([0.5, -1.0, 2.0]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
COUNT, B = np.arange(3), np.array([[True, False, True], [False, False, False]])
NOTHING, NO_ROWS = np.zeros(0), np.zeros((0, 3))

#: Name, function of (namespace, *arrays), arrays. The expected value is that of the function over NumPy itself.
PROGRAMS: list[tuple[str, Any, tuple[Any, ...]]] = [
    # Booleans are summed by "or" and multiplied by "and".
    *[
        (f"{name} of {x.dtype} {x.shape} as bool, axis {axis}", lambda n, x, name=name, axis=axis: getattr(n, name)(
            x, axis=axis, dtype=bool), (x,))
        for name in ("sum", "prod", "cumsum", "cumprod", "nansum", "nanprod")
        for x in (REALS, COUNT, B, NOTHING, NO_ROWS)
        for axis in (0, None)
    ],
    ("sum as bool, kept", lambda n, x: n.sum(x, axis=1, dtype=bool, keepdims=True), (B,)),
    ("sum as bool where", lambda n, x: n.sum(x, where=n.asarray([False, True, False]), dtype=bool), (B,)),
    ("sum as bool from", lambda n, x: n.sum(x, initial=True, dtype=bool), (np.zeros(2),)),
    ("trace as bool", lambda n, x: n.trace(x, dtype=bool), (G,)),
    ("sum as float16", lambda n, x: n.sum(x, dtype="float16"), (COUNT,)),
    ("sum as int", lambda n, x: n.sum(x, dtype=int), (REALS,)),
    ("mean as float64", lambda n, x: n.mean(x, dtype=np.float64), (COUNT,)),
    *[
        (f"einsum {s} of booleans", lambda n, *x, s=s: n.einsum(s, *x), x)
        for s, x in (
            ("ij->i", (B,)), ("ij->", (B,)), ("ij->j", (B,)), ("ij->ji", (B,)), ("ii", (B[:, :2],)),
            ("ii->i", (B[:, :2],)), ("i->", (B[0, :0],)),
            ("ij,kj->ik", (B, B)), ("ij,ij->", (B, B)), ("ij,j->i", (B, B[0])), ("i,j->ij", (B[0], B[1])),
            ("i,i,i->", (B[0], B[0], B[0])), ("ij,kj,ik->", (B, B, B[:, :2])), ("ij->i", (B[:0],)),
        )
    ],
    ("einsum of booleans and numbers", lambda n, x, y: n.einsum("ij,jk->ik", x, y), (B, G)),
    ("dot of booleans", lambda n, x, y: n.dot(x, y), (B[0], B[0])),
    ("tensordot of booleans", lambda n, x, y: n.tensordot(x, y, 1), (B, B.T)),
    ("vdot of booleans", lambda n, x, y: n.vdot(x, y), (B[0], B[0])),
    ("inner of booleans", lambda n, x, y: n.inner(x, y), (B, B)),
    # Arrays without elements.
    ("take of nothing", lambda n, x: n.take(x, n.asarray([], dtype=int), axis=0), (NO_ROWS,)),
    ("take along no axis", lambda n, x: n.take_along_axis(x, n.zeros((0, 3), int), axis=0), (NO_ROWS,)),
    ("take columns of no rows", lambda n, x: n.take(x, n.asarray([0, 2]), axis=1), (NO_ROWS,)),
    ("sort nothing", lambda n, x: n.sort(x, axis=0), (NO_ROWS,)),
    ("diff of one", lambda n, x: n.diff(x), (REALS[:1],)),
    ("matmul over nothing", lambda n, x, y: n.matmul(x, y), (np.zeros((2, 0)), NO_ROWS)),
    ("einsum over nothing", lambda n, x, y: n.einsum("ij,jk->ik", x, y), (np.zeros((2, 0)), NO_ROWS)),
    ("maximum over no other axis", lambda n, x: n.max(x, axis=1), (NO_ROWS,)),
    ("argsort nothing", lambda n, x: n.argsort(x), (NOTHING,)),
    ("least squares of no equations", lambda n, x, y: n.linalg.lstsq(x, y)[0], (NO_ROWS, NOTHING)),
    ("gcd of the smallest integer", lambda n, x, y: n.gcd(x, y), (np.int8([-128, -128, 6]), np.int8([-1, 1, -4]))),
    ("searchsorted in nothing", lambda n, x, y: n.searchsorted(x, y), (NOTHING, REALS)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args"), [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS])
def test_programs_return_what_numpy_returns(function: Any, args: tuple[Any, ...]) -> None:
    check_program(lambda *x: function(fnp, *x), args, function(np, *args))


@pytest.mark.parametrize("more", [{}, {"return_index": True, "return_inverse": True, "return_counts": True}])
@pytest.mark.parametrize(
    ("x", "axis"), [(NOTHING, None), (NO_ROWS, None), (NO_ROWS, 0), (NO_ROWS, 1), (NO_ROWS.T, 0), (NO_ROWS.T, 1)]
)
@pytest.mark.parametrize("dtype", [float, int, bool])
def test_unique_of_nothing(x: Any, axis: Any, more: Any, dtype: Any) -> None:
    found, expected = (n.unique(n.asarray(x.astype(dtype)), axis=axis, **more) for n in (fnp, np))
    for f, e in zip(found if more else [found], expected if more else [expected], strict=True):
        assert f.shape == e.shape and f.dtype.kind == e.dtype.kind
        np.testing.assert_array_equal(np.asarray(f), e)


@pytest.mark.parametrize("name", ["union1d", "setdiff1d", "setxor1d", "intersect1d", "isin"])
@pytest.mark.parametrize(
    ("x", "y"), [(NOTHING, NOTHING), (NOTHING, REALS), (REALS, NOTHING), (NO_ROWS, REALS), (NO_ROWS, NO_ROWS)]
)
def test_sets_of_nothing(name: str, x: Any, y: Any) -> None:
    found, expected = getattr(fnp, name)(fnp.asarray(x), fnp.asarray(y)), getattr(np, name)(x, y)
    np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("name", ["unique_all", "unique_counts", "unique_inverse", "unique_values"])
def test_distinct_values_of_nothing(name: str) -> None:
    found, expected = getattr(fnp, name)(fnp.zeros(0)), getattr(np, name)(NOTHING)
    for f, e in zip(found, expected, strict=True):
        assert f.shape == e.shape


def test_counts_of_nothing() -> None:
    assert fnp.bincount(fnp.zeros(0, int)).shape == (0,)
    assert fnp.bincount(fnp.zeros(0, int), minlength=2).tolist() == [0, 0]


# Limits of dtypes

FLOATS = [
    (fnp.float32, np.float32), (np.float32, np.float32), (np.dtype("float32"), np.float32), ("float32", np.float32),
    (float, np.float32), (1.0, np.float32), (fnp.ones(2), np.float32), (np.ones(2), np.float64),
    (np.float64, np.float64), (np.float64(1), np.float32), (np.asarray(1.0), np.float64),
    (fnp.float16, np.float16), (np.float16, np.float16), ("f2", np.float16),
    (fnp.complex64, np.complex64), (np.complex128, np.complex128), (complex, np.complex64), (1j, np.complex64),
]  # fmt: skip


@pytest.mark.parametrize(("given", "dtype"), FLOATS, ids=repr)
def test_limits_of_floats(given: Any, dtype: Any) -> None:
    found, expected = fnp.finfo(given), np.finfo(dtype)
    for name in ("eps", "max", "min", "tiny", "bits", "nmant", "smallest_subnormal", "dtype"):
        assert getattr(found, name) == getattr(expected, name), name


@pytest.mark.parametrize(
    "given", [fnp.bfloat16, "bfloat16", fnp.bfloat16.dtype, fnp.ones(1, "bfloat16"), fnp.bfloat16.dtype.type], ids=repr
)
def test_limits_of_bfloat16(given: Any) -> None:
    # Eight bits of exponent, as float32, and seven of mantissa.
    found = fnp.finfo(given)
    assert (float(found.eps), found.bits, found.nmant) == (2.0**-7, 16, 7)
    assert float(found.tiny) == 2.0**-126 and float(found.max) == (2 - 2.0**-7) * 2.0**127


@pytest.mark.parametrize(
    ("given", "dtype"),
    [(fnp.int8, "i1"), (np.int8, "i1"), ("uint8", "u1"), (int, "i4"), (3, "i4"), (np.dtype("int64"), "i8"),
     (np.uint64, "u8"), (fnp.arange(2), "i4"), (np.arange(2), "i8"), (np.int16(3), "i2")],
    ids=repr,
)  # fmt: skip
def test_limits_of_integers(given: Any, dtype: str) -> None:
    found, expected = fnp.iinfo(given), np.iinfo(dtype)
    assert (found.min, found.max, found.bits) == (expected.min, expected.max, expected.bits)


def test_dtypes_given_as_classes() -> None:
    """The class np.float32 has an attribute `dtype`, as its instances do: it is not asked for."""
    assert fnp.promote_types(np.float32, np.float64) == np.float64 and fnp.can_cast(np.int8, np.int32)
    assert fnp.issubdtype(np.float32, fnp.floating) and fnp.isdtype(np.float32, "real floating")
    assert not fnp.iscomplexobj(np.float32) and fnp.result_type(np.int8, np.float32) == np.float32
    assert fnp.zeros(2, np.float16).dtype == np.float16 and fnp.ones(2).astype(np.int8).dtype == np.int8


# einsum: every way to say the order of the contractions

THREE = "ij,jk,kl->il"
OPERANDS = (np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4), np.arange(4.0).reshape(4, 1))


@pytest.mark.parametrize(
    "optimize",
    [
        True, False, None, "auto", "greedy", "optimal", "dp", "branch-2", [(0, 1), (0, 1)], ((1, 2), (0, 1)),
        [(0, 1, 2)],
        ["einsum_path", (0, 1), (0, 1)], ("greedy", 10**6), ["optimal", 10.0], [[1, 2], [0, 1]],
        fnp.einsum_path(THREE, *OPERANDS)[0], fnp.einsum_path(THREE, *OPERANDS, optimize="greedy")[0],
        np.einsum_path(THREE, *OPERANDS)[0], np.einsum_path(THREE, *OPERANDS, optimize="optimal")[0],
    ],
    ids=str,
)  # fmt: skip
def test_orders_of_einsum(optimize: Any) -> None:
    expected = np.einsum(THREE, *OPERANDS)
    check_program(lambda *x: fnp.einsum(THREE, *x, optimize=optimize), OPERANDS, expected, 1e-5)
    path, report = fnp.einsum_path(THREE, *OPERANDS, optimize=optimize)
    assert path[0] == "einsum_path" and sorted(sum(len(step) - 1 for step in path[1:]) for _ in "a") == [2]
    assert "il" in str(report)


def test_orders_that_do_not_fit() -> None:
    for optimize, text in (
        ([(0, 1)], "leaves 2 of 3 operands"), ([(0, 5), (0, 1)], r"\(0, 5\).*does not name some of 3 operands"),
        ([(0, 0), (0, 1)], r"\(0, 0\)"), ("nonsense", "called 'nonsense'"), (5, "got 5"), ([], "leaves 3 of 3"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            fnp.einsum(THREE, *OPERANDS, optimize=optimize)


# vectorize


def test_vectorize_passes_none_and_excluded_arguments_on() -> None:
    def f(a: Any, b: Any, c: Any = None) -> Any:
        return a * 2 if b is None else a * b

    for function, args, expected in (
        (fnp.vectorize(f), (None,), 2 * REALS),
        (fnp.vectorize(f), (None, None), 2 * REALS),
        (fnp.vectorize(f, excluded={1}), (3.0,), 3 * REALS),
        (fnp.vectorize(f, excluded=[1, 2]), (3.0, "text"), 3 * REALS),
        (fnp.vectorize(f, excluded={"b"}), (4.0,), 4 * REALS),
        (fnp.vectorize(f, signature="(n),()->(n)"), (None,), 2 * REALS),
        (fnp.vectorize(f, excluded={1}, signature="(n)->(n)"), (5.0,), 5 * REALS),
    ):
        check_program(lambda x: function(x, *args), (REALS,), expected)  # noqa: B023
    check_program(lambda x: fnp.vectorize(lambda a, b: b)(None, x), (REALS,), REALS)
    check_program(lambda x: fnp.vectorize(f, excluded={"b"})(x, b=3.0), (REALS,), 3 * REALS)


def test_vectorize_of_several_results() -> None:
    both = fnp.vectorize(lambda x: (x, x.sum()), signature="(n)->(n),()")
    check_program(both, (G,), (G, G.sum(1)))
    check_program(fnp.vectorize(lambda x: x[:1], signature="(n)->(k)"), (G,), G[:, :1])


# ravel_pytree: leaves of every dtype


@pytest.mark.parametrize(
    ("tree", "dtype"),
    [
        ({"a": np.float32([1, 2]), "b": 3}, "float32"), ({"a": np.float32([1, 2]), "b": True}, "float32"),
        ([np.arange(2, dtype="int8"), True], "int8"), ([np.int8([1]), np.float32([0.5]), np.array([True])], "float32"),
        ([np.float32([1]), np.float64([2])], "float64"), ([np.complex64([1j]), np.float32([2])], "complex64"),
        (2.5, "float32"), (3, "int32"), (True, "bool"), ([True, False], "bool"), ({}, "float32"), (None, "float32"),
        ([np.ones(2, "float32"), None, np.zeros((0, 3), "float32")], "float32"), (np.zeros((2, 0), "int16"), "int16"),
    ],
    ids=str,
)  # fmt: skip
def test_ravel_and_back(tree: Any, dtype: str) -> None:
    flat, unravel = ravel_pytree(tree)
    leaves = [np.asarray(leaf) for leaf in fdl.tree.leaves(tree)]
    expected = np.concatenate([leaf.ravel().astype(dtype) for leaf in leaves] or [np.zeros(0, dtype)])
    assert flat.dtype == dtype and flat.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(flat), expected)
    for back in (unravel(flat), fdl.jit(lambda t: ravel_pytree(t)[1](ravel_pytree(t)[0]))(tree)):
        assert fdl.tree.structure(back) == fdl.tree.structure(tree)
        for found, leaf in zip(fdl.tree.leaves(back), leaves, strict=True):
            assert found.shape == leaf.shape and found.dtype.kind == leaf.dtype.kind
            np.testing.assert_array_equal(np.asarray(found), leaf)


def test_vectors_of_other_dtypes() -> None:
    unravel = ravel_pytree({"w": np.ones((2, 1), "float32"), "b": np.ones(1, "float32")})[1]
    assert unravel(np.arange(3.0))["w"].dtype == np.float64 and unravel(np.arange(3))["b"].dtype == np.int64
    mixed = ravel_pytree([np.float32([1, 2]), 3])[1]
    assert [x.dtype for x in mixed(np.arange(3.0))] == [np.float32, np.int32]
    with pytest.raises(fdl.errors.DtypeError, match="needs a vector of dtype float32"):
        mixed(np.arange(3))
    with pytest.raises(fdl.errors.DtypeError, match="keys and numbers have no common dtype"):
        ravel_pytree([fdl.random.key(0), 1.0])
