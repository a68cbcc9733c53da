"""Elementwise functions refuse dtypes clearly, alike eagerly and under jit; every public function is documented."""

import inspect

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.errors import DtypeError


@pytest.mark.parametrize("transform", [lambda f: f, fdl.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(("name", "args"), [("sin", (1,)), ("bitwise_and", (1.0, 2.0)), ("abs", (True,))])
def test_wrong_dtype_is_one_clear_error(transform, name, args):
    with pytest.raises(DtypeError, match=f"lax.{name} is not defined for .* convert_element_type"):
        transform(getattr(fdl.lax, name))(*args)


@pytest.mark.parametrize("name", ["lt", "le", "gt", "ge"])
def test_complex_numbers_have_no_order(name):
    with pytest.raises(DtypeError, match=rf"lax.{name} .*c64\[\].*no order"):
        getattr(fdl.lax, name)(2 + 3j, 4 + 5j)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conj_of_real_numbers_is_complex(dtype):
    x = np.array([1.5, -2.0], dtype)
    found = np.asarray(fdl.lax.conj(x))
    assert found.dtype == (x + 0j).dtype
    np.testing.assert_array_equal(found, np.conj(x + 0j))


@pytest.mark.parametrize("module", [fdl.lax, fnp], ids=["lax", "numpy"])
def test_public_functions_have_an_example(module):
    functions = {n: f for n, f in vars(module).items() if inspect.isfunction(f) and not n.startswith("_")}
    own = {n: f for n, f in functions.items() if f.__module__.startswith("fdl.")}
    assert len(own) > 100
    assert [n for n, f in own.items() if ">>> " not in (f.__doc__ or "")] == []


def test_functions_of_factories_are_found_under_their_names():
    assert fnp.sin.__module__ == "fdl.numpy"
    assert fdl.lax.sin.__module__ == "fdl.lax.operators"
    assert not {"install", "Grid", "Joined"} & set(vars(fnp))


def test_dot_general_of_bfloat16():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = fdl.lax.dot_general(fnp.asarray(x, "bfloat16"), fnp.asarray(x.T, "bfloat16"), (((1,), (0,)), ((), ())))
    assert found.dtype == fnp.bfloat16
    np.testing.assert_array_equal(found.astype("float32"), x @ x.T)
    with pytest.raises(DtypeError, match="not defined for random keys"):
        fdl.lax.dot_general(fdl.random.split(fdl.random.key(0)), fnp.ones(2), (((0,), (0,)), ((), ())))
