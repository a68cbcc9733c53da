"""What NumPy has no word for or says otherwise: JAX's conventions (values of JAX 0.10), limits of the Array API."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fdl
import fdl.numpy as fnp
from fdl import nn
from fdl.errors import DtypeError
from fdl.scipy import special

A, B = np.array([3, 1, 2, 2], np.int32), np.array([2, 3, 7], np.int32)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    "name, size, fill, expected",
    [
        ("intersect1d", 4, None, [2, 3, 2, 2]), ("intersect1d", 4, 9, [2, 3, 9, 9]), ("intersect1d", 1, None, [2]),
        ("setxor1d", 4, None, [1, 7, 1, 1]), ("setxor1d", 4, -1, [1, 7, -1, -1]),
        ("setdiff1d", 4, None, [1, 0, 0, 0]), ("setdiff1d", 3, 5, [1, 5, 5]),
        ("union1d", 6, None, [1, 2, 3, 7, 1, 1]), ("union1d", 6, 0, [1, 2, 3, 7, 0, 0]), ("union1d", 2, None, [1, 2]),
    ],
)  # fmt: skip
def test_sets_of_a_given_size_are_padded(name, size, fill, expected, jitted):
    def f(a, b):
        return getattr(fnp, name)(a, b, size=size, fill_value=fill)

    found = (fdl.jit(f) if jitted else f)(A, B)
    assert found.dtype == np.int32 and found.tolist() == expected


def test_padding_of_what_is_empty_and_of_places():
    assert fnp.intersect1d(A, np.array([8, 9]), size=2).tolist() == [0, 0]
    assert fnp.setxor1d(np.array([5, 5]), np.array([5]), size=3).tolist() == [0, 0, 0]
    values, in_a, in_b = fnp.intersect1d(A, B, return_indices=True, size=4)
    assert (values.tolist(), in_a.tolist(), in_b.tolist()) == ([2, 3, 2, 2], [2, 0, 4, 4], [0, 1, 3, 3])
    found = fnp.unique(A, True, True, True, size=5)
    assert [f.tolist() for f in found] == [[1, 2, 3, 1, 1], [1, 2, 0, 1, 1], [2, 0, 1, 1], [1, 2, 1, 0, 0]]


def _step(v):
    return 2 * v + 1


@pytest.mark.parametrize("index", [np.array([0, 0, 1]), (np.array([0, 0, 1]),), np.array([0, -3, 1])])
def test_a_function_is_applied_to_a_place_as_often_as_it_comes(index):
    x = fnp.array([1.0, 2.0, 3.0])
    expected = [7.0, 5.0, 3.0]
    assert x.at[index].apply(_step).tolist() == expected
    assert fdl.jit(lambda x, i: x.at[i].apply(_step))(x, index).tolist() == expected
    assert fdl.grad(lambda x: x.at[index].apply(fnp.sin).sum())(x).tolist() == pytest.approx(
        [np.cos(np.sin(1)) * np.cos(1), np.cos(2), 1.0], rel=1e-6
    )
    traced = fdl.grad(lambda x, i: x.at[i].apply(fnp.sin).sum())(x, index)
    assert traced.tolist() == pytest.approx([np.cos(np.sin(1)) * np.cos(1), np.cos(2), 1.0], rel=1e-6)


def test_a_function_is_applied_once_to_slices_and_unique_places():
    x = fnp.array([1.0, 2.0, 3.0])
    assert x.at[1:].apply(_step).tolist() == [1.0, 5.0, 7.0]
    assert x.at[2].apply(_step).tolist() == [1.0, 2.0, 7.0]
    assert x.at[np.array([2, 9])].apply(_step, mode="drop").tolist() == [1.0, 2.0, 7.0]
    assert x.at[np.array([2, 9])].apply(_step, mode="clip").tolist() == [1.0, 2.0, 15.0]
    assert x.at[np.array([0, 1])].apply(_step, unique_indices=True).tolist() == [3.0, 5.0, 3.0]


@pytest.mark.parametrize("where", [np.array([1, 0, 2]), np.array([1.0, 0.0, 0.5])], ids=["integers", "floats"])
@pytest.mark.parametrize("name", "sum prod mean var std max min all any nansum nanmean nanvar nanmax".split())
def test_numbers_are_no_mask(name, where):
    initial = {"initial": 0.0} if name in ("max", "min", "nanmax") else {}
    with pytest.raises(DtypeError, match="where= must be boolean"):
        getattr(fnp, name)(fnp.arange(3.0), where=where, **initial)


@pytest.mark.parametrize("ddof", [2, 3])
def test_nothing_can_be_said_of_fewer_elements_than_degrees_of_freedom(ddof):
    x = fnp.arange(2.0)
    for found in (fnp.var(x, ddof=ddof), fnp.std(x, ddof=ddof), fdl.jit(lambda x: fnp.var(x, ddof=ddof))(x)):
        assert np.isnan(found)
    assert np.isnan(fnp.var(fnp.arange(3.0), where=np.array([True, False, False]), ddof=1))


def test_the_axis_of_softmax_is_that_of_the_namesake():
    x = fnp.array([[0.0, 1.0], [2.0, 3.0]])
    assert_allclose(special.softmax(x).sum(), 1, rtol=1e-6)
    assert_allclose(np.exp(special.log_softmax(x)).sum(), 1, rtol=1e-6)
    assert_allclose(nn.softmax(x).sum(-1), [1, 1], rtol=1e-6)
    assert_allclose(special.softmax(x, axis=0).sum(0), [1, 1], rtol=1e-6)


@pytest.mark.parametrize("jitted", [False, True])
def test_quotients_of_infinities_and_signs_of_zero(jitted):
    v = np.array([np.inf, -np.inf, 1.0, -1.0, 0.0, -0.0, 5.0, -5.0, np.nan, 7.25, 1e-30], np.float32)
    x, y = (w.ravel() for w in np.meshgrid(v, v))
    for name in ("floor_divide", "remainder"):
        f = getattr(fnp, name)
        found = np.asarray((fdl.jit(f) if jitted else f)(x, y))
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x, y)
            if name == "floor_divide":  # the Array API's values
                expected = np.where(np.isinf(x) | np.isinf(y), x / y, expected)
        assert_array_equal(found, expected)
        number = ~np.isnan(expected)
        assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))
    zeros = np.array([0.0, -0.0])
    f = fdl.jit(fnp.sign) if jitted else fnp.sign
    assert not np.signbit(np.asarray(f(zeros))).any()


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    "name, z, expected",
    [
        ("expm1", complex(np.inf, 0), complex(np.inf, 0)), ("expm1", complex(-np.inf, 1), -1 + 0j),
        ("expm1", complex(-np.inf, np.inf), -1 + 0j), ("expm1", complex(np.nan, 0), complex(np.nan, 0)),
        ("expm1", complex(-np.inf, np.nan), -1 + 0j), ("expm1", complex(1, np.inf), complex(np.nan, np.nan)),
        ("tanh", complex(np.inf, 1), 1 + 0j), ("tanh", complex(np.inf, np.inf), 1 + 0j),
        ("tanh", complex(np.inf, np.nan), 1 + 0j), ("tanh", complex(np.nan, 0), complex(np.nan, 0)),
        ("tanh", complex(1, np.inf), complex(np.nan, np.nan)), ("tanh", complex(-np.inf, 2), -1 + 0j),
        *[(name, complex(0, 0), complex(-np.inf, 0)) for name in ("log", "log2", "log10")],
        ("log2", complex(np.inf, 0), complex(np.inf, 0)), ("log10", complex(np.inf, 0), complex(np.inf, 0)),
        *[("reciprocal", z, 0j) for z in (complex(np.inf, 0), complex(0, -np.inf), complex(1, np.inf))],
    ],
)  # fmt: skip
def test_complex_limits_of_the_array_api(name, z, expected, jitted):
    for dtype in (np.complex64, np.complex128):
        f = getattr(fnp, name)
        found = np.asarray((fdl.jit(f) if jitted else f)(np.array([z], dtype)))[0]
        for part, limit in ((found.real, expected.real), (found.imag, expected.imag)):
            assert part == limit or (np.isnan(part) and np.isnan(limit)), f"{found}, expected {expected}"


def test_single_values():
    assert np.isnan(special.xlogy(0.0, np.nan)) and np.isnan(special.xlog1py(0.0, np.nan))
    assert special.betaln(1e8, 1.0).item() == pytest.approx(-18.420680743952367, rel=1e-6)
    assert special.betaln(fnp.float64(1e15), fnp.float64(2.5)).item() == pytest.approx(-86.06225811680379586, rel=1e-12)
    for shape in ((0,), (2, 0)):
        assert np.isnan(fnp.cov(fnp.zeros(shape))).all()
    ends = fnp.linspace(0.1, 0.7, 3, dtype=np.float64)
    assert ends.tolist() == [0.1, np.linspace(0.1, 0.7, 3)[1], 0.7]
    assert fnp.geomspace(0.1, 0.7, 3, dtype=np.float64).tolist()[::2] == [0.1, 0.7]
