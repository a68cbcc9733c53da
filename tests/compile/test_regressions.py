"""Programs that were once compiled wrongly, as small as they get."""

import numpy as np
import pytest

import fdl
import fdl.numpy as jnp
from fdl.errors import LeafError


def test_donated_input_that_is_returned_is_not_overwritten() -> None:
    x, y = jnp.array([0.0, 1.0, 2.0]), jnp.array([1.0, 1.0, 1.0])
    same, total = fdl.jit(lambda x, y: (x, x + y), donate_argnums=(0, 1))(x, y)
    np.testing.assert_array_equal(same, [0, 1, 2])
    np.testing.assert_array_equal(total, [1, 2, 3])
    np.testing.assert_array_equal(x, [0, 1, 2])
    assert y.is_deleted()


def test_donation_spares_memory_that_another_array_shows() -> None:
    original = jnp.array([0.0, 1.0, 2.0, 3.0])
    square = jnp.reshape(original, (2, 2))
    flat = jnp.reshape(square, (4,))
    np.testing.assert_array_equal(fdl.jit(lambda x: x + 1, donate_argnums=0)(flat), [1, 2, 3, 4])
    np.testing.assert_array_equal(square, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(original, [0, 1, 2, 3])


def test_compiled_functions_take_donated_memory_away() -> None:
    x = jnp.array([0.0, 1.0])
    compiled = fdl.jit(lambda x: x + 1, donate_argnums=0).lower(x).compile()
    np.testing.assert_array_equal(compiled(x), [1, 2])
    assert x.is_deleted()


def test_arrays_of_foreign_dtypes_are_named_as_arguments() -> None:
    with pytest.raises(LeafError, match="x of .*>f4"):
        fdl.jit(lambda x: x + 1)(np.arange(3, dtype=">f4"))


def test_product_of_numbers_without_axes() -> None:
    three = jnp.array(3, jnp.uint8)
    assert int(fdl.jit(lambda x: fdl.lax.dot_general(x, x, (((), ()), ((), ()))))(three)) == 9
