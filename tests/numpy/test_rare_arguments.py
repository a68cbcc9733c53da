"""What few programs ask for: rare arguments, axes and dtypes, against NumPy."""

import array
import io
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import DtypeError, RangeError, ShapeError

FLOATS = [np.float16, np.float32, np.float64]


def same(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(np.asarray(found), expected, strict=True)


def test_zeros_are_trimmed_along_axes() -> None:
    box = np.pad(np.ones((2, 2)), ((1, 2), (0, 3)))
    for x in (np.array([0, 0, 1, 0, 2, 0]), box, np.zeros((2, 3)), np.zeros(3)):
        for trim in ("f", "b", "fb", "B", "BF"):
            for axis in (None, 0, -1):
                same(fnp.trim_zeros(x, trim, axis=axis), np.trim_zeros(x, trim.lower(), axis=axis))


@pytest.mark.parametrize("dtype", FLOATS)
def test_scaling_by_powers_of_two(dtype: Any) -> None:
    info = np.finfo(dtype)
    ends = [info.max, info.tiny, info.smallest_subnormal, -3 * info.smallest_subnormal]
    x = np.array([0, -0.0, 1.5, -2, np.inf, np.nan, 1e-3, *ends], dtype)
    exponents = np.array([0, 1, -1, 5, -30, 200, -200, 1000, -1000, 70000, 2**31 - 1, -(2**31)], np.int32)
    with np.errstate(all="ignore"):
        expected = np.ldexp(x[:, None], exponents)
    for scale in (fnp.ldexp, fdl.jit(fnp.ldexp)):
        same(scale(x[:, None], exponents), expected)
    finite = np.isfinite(x)
    for split in (fnp.frexp, fdl.jit(fnp.frexp)):
        mantissa, exponent = split(x)
        same(mantissa, np.frexp(x)[0])
        same(np.asarray(exponent)[finite], np.frexp(x)[1][finite])


def test_exponents_of_any_integer_dtype() -> None:
    assert float(fnp.ldexp(3.0, np.uint8(100))) == 3 * 2.0**100
    assert np.isinf(fnp.ldexp(np.float32(1), np.uint32(4_000_000_000)))
    assert float(fnp.ldexp(1.0, True)) == 2


def test_derivative_of_a_mantissa() -> None:
    slopes = fdl.vmap(fdl.grad(lambda x: fnp.frexp(x)[0]))(np.array([6.0, -0.3, 1e-30]))
    np.testing.assert_array_equal(np.asarray(slopes), 0.5 ** np.frexp([6.0, -0.3, 1e-30])[1])


def test_logarithms_of_sums_of_complex_numbers() -> None:
    x, y = np.array([1 + 2j, 3 - 1j, 0, 30j]), np.array([3 - 1j, 3 - 1j, 2j, -700 + 1j])
    np.testing.assert_allclose(fnp.logaddexp(x, y), np.log(np.exp(x) + np.exp(y)), rtol=1e-14)
    np.testing.assert_allclose(fnp.logaddexp2(x, y), np.log2(2**x + 2**y), rtol=1e-13)
    assert float(fnp.logaddexp(np.complex128(-np.inf), np.complex128(-np.inf)).real) == -np.inf
    pull = fdl.vjp(lambda x, y: fnp.logaddexp(x, y), x[:3], y[:3])[1](np.ones(3, complex))
    for found, part in zip(pull, (x, y), strict=True):
        np.testing.assert_allclose(np.asarray(found), np.exp(part[:3]) / (np.exp(x) + np.exp(y))[:3], rtol=1e-12)


def test_distances_of_the_trapezoidal_rule() -> None:
    y = np.arange(60.0).reshape(3, 4, 5) ** 1.5
    for options in (
        {"dx": np.arange(4.0), "axis": -1}, {"dx": np.ones((3, 4, 4)), "axis": 2}, {"dx": 2.0, "axis": 0},
        {"dx": np.arange(20.0).reshape(4, 5), "axis": 0}, {"dx": np.ones((2, 1, 1)), "axis": 0},
        {"x": np.arange(4.0) ** 2, "axis": 1}, {"x": np.cumsum(y, 1), "axis": 1}, {"x": np.arange(3.0), "axis": 0},
    ):  # fmt: skip
        np.testing.assert_allclose(np.asarray(fnp.trapezoid(y, **options)), np.trapezoid(y, **options), rtol=1e-13)


def test_lines_go_on_beyond_their_ends() -> None:
    x, y = np.array([1.0, 2, 4]), np.array([10.0, 20, 0])
    found = fnp.interp(np.array([-1.0, 3, 5]), x, y, left="extrapolate", right="extrapolate")
    np.testing.assert_allclose(np.asarray(found), [-10, 10, -10])
    assert float(fnp.interp(0.0, x, y, right="extrapolate")) == 10
    with pytest.raises(ValueError, match="left is a number or 'extrapolate', got 'nearest'"):
        fnp.interp(0.0, x, y, left="nearest")


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_traced_places_of_insertion_and_deletion(axis: int | None) -> None:
    x = np.arange(12.0).reshape(3, 4)
    places = [0, 1, -1, 2]
    inserted = fdl.vmap(lambda i: fnp.insert(x, i, 9.0, axis=axis))(np.array(places))
    same(inserted, np.stack([np.insert(x, i, 9.0, axis=axis) for i in places]))
    deleted = fdl.vmap(lambda i: fnp.delete(x, i, axis=axis))(np.array(places))
    same(deleted, np.stack([np.delete(x, i, axis) for i in places]))
    pairs = np.array([[0, -1], [2, 1]])
    deleted = fdl.vmap(lambda i: fnp.delete(x, i, axis=axis, assume_unique_indices=True))(pairs)
    same(deleted, np.stack([np.delete(x, pair, axis) for pair in pairs]))
    mask = np.arange(12 if axis is None else x.shape[axis]) % 2 == 0
    for given in (mask, mask.tolist()):
        same(fnp.insert(x, given, 9.0, axis=axis), np.insert(x, mask, 9.0, axis=axis))


def test_more_deletions_than_elements() -> None:
    assert fdl.jit(lambda i: fnp.delete(np.ones(2), i, assume_unique_indices=True))(np.arange(3)).shape == (0,)


def test_fillings_that_the_dtype_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros(2, np.uint8)
    for number in (-1, 300):
        for fill in (
            lambda n: fnp.pad(x, 1, constant_values=n),
            lambda n: fnp.full_like(x, n),
            lambda n: fnp.full(2, n, np.uint8),
        ):
            with pytest.raises(RangeError, match=f"{number} does not fit into uint8"):
                fill(number)
            monkeypatch.setattr(fdl.config, "weak_arrays", True)  # JAX lets them wrap around
            same(np.asarray(fill(number))[:1], np.array([number]).astype(np.uint8))
            monkeypatch.setattr(fdl.config, "weak_arrays", False)
    same(fnp.pad(np.ones(1), 1, constant_values=0.1), np.pad(np.ones(1), 1, constant_values=0.1))


def test_bytes() -> None:
    for old in ("i1", "i4", "u2", "f8"):
        x = np.arange(16).reshape(2, 8).astype(old)
        for new in ("i1", "i4", "u2", "i8"):
            same(fnp.asarray(x).view(new), x.view(new))
        same(fnp.asarray(x).byteswap().view("u1"), x.byteswap().view("u1"))
        assert [fnp.asarray(x).tobytes(order) for order in "CF"] == [x.tobytes(order) for order in "CF"]
    z = np.array([1 + 2j], np.complex64)
    same(fnp.asarray(z).byteswap(), z.byteswap())
    with pytest.raises(ShapeError, match=r"view: the last axis of i32\[3\] has no whole number of elements of float64"):
        fnp.ones(3, "int32").view("float64")
    with pytest.raises(ShapeError, match=r"view: i32\[\] has no last axis.*x\[None\]"):
        fnp.int32(3).view("int64")
    with pytest.raises(DtypeError, match="random.key_data"):
        fdl.random.key(0).view("uint32")


def test_sequences_and_buffers() -> None:
    assert fnp.array_equal([1, 2], [1, 2]) and fnp.array_equiv([1, 2], [[1, 2], [1, 2]])
    assert fnp.iscomplexobj([1, 2j]) and not fnp.iscomplexobj([[1], [2.0]])
    assert fdl.jit(lambda x: fnp.ones(2) * fnp.iscomplexobj([x]))(1j).tolist() == [1, 1]
    same(fnp.array(array.array("i", [1, 2])), np.array([1, 2], np.int32))
    assert fnp.lexsort([3, 1]).shape == np.lexsort([3, 1]).shape == ()
    file = io.BytesIO()
    fnp.save(file, fnp.arange(3))
    assert fnp.load(io.BytesIO(file.getvalue()), allow_pickle=True).tolist() == [0, 1, 2]
    many = io.BytesIO()
    np.savez(many, a=np.arange(2), b=fnp.ones(2, "bfloat16"))
    found = fnp.load(io.BytesIO(many.getvalue()))
    assert list(found) == ["a", "b"] and found["a"].tolist() == [0, 1] and found["b"].dtype == fnp.bfloat16


def test_forms_of_joined_parts() -> None:
    same(fnp.c_["r", np.arange(3), np.arange(3)], np.column_stack([np.arange(3)] * 2))
    assert fnp.r_["r", [1, 2]].shape == (1, 2) and fnp.r_["c", [1, 2]].shape == (2, 1) and fnp.mgrid[()].shape == (0,)
    with pytest.raises(ValueError, match="'asdf' is none of 'r', 'c' and integers"):
        fnp.c_["asdf", [1, 2]]


def test_names_of_one_argument() -> None:
    for name, other in (("pinv", "rcond"), ("matrix_rank", "tol")):
        with pytest.raises(ValueError, match=f"linalg.{name}: {other}= is another name of rtol="):
            getattr(fnp.linalg, name)(np.eye(2), rtol=0.1, **{other: 0.1})
