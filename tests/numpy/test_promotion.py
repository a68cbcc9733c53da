"""Dtypes of results against the documented lattice of JAX (docs.jax.dev/en/latest/type_promotion.html)."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import dtypes

# Row by row the documented table for arrays: b1 u1 u2 u4 u8 i1 i2 i4 i8 bf f2 f4 f8 c4 c8 (bytes of a real).
ORDER = [
    "bool",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "int8",
    "int16",
    "int32",
    "int64",
    "bfloat16",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
]
SHORT = dict(
    zip(
        ["b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "bf", "f2", "f4", "f8", "c4", "c8", "w"],
        [*ORDER, "weak float"],
        strict=True,
    )
)
TABLE = """
b1 u1 u2 u4 u8 i1 i2 i4 i8 bf f2 f4 f8 c4 c8
u1 u1 u2 u4 u8 i2 i2 i4 i8 bf f2 f4 f8 c4 c8
u2 u2 u2 u4 u8 i4 i4 i4 i8 bf f2 f4 f8 c4 c8
u4 u4 u4 u4 u8 i8 i8 i8 i8 bf f2 f4 f8 c4 c8
u8 u8 u8 u8 u8 w  w  w  w  bf f2 f4 f8 c4 c8
i1 i2 i4 i8 w  i1 i2 i4 i8 bf f2 f4 f8 c4 c8
i2 i2 i4 i8 w  i2 i2 i4 i8 bf f2 f4 f8 c4 c8
i4 i4 i4 i8 w  i4 i4 i4 i8 bf f2 f4 f8 c4 c8
i8 i8 i8 i8 w  i8 i8 i8 i8 bf f2 f4 f8 c4 c8
bf bf bf bf bf bf bf bf bf bf f4 f4 f8 c4 c8
f2 f2 f2 f2 f2 f2 f2 f2 f2 f4 f2 f4 f8 c4 c8
f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f4 f8 c4 c8
f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 f8 c8 c8
c4 c4 c4 c4 c4 c4 c4 c4 c4 c4 c4 c4 c8 c4 c8
c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 c8 c8
"""
CASES = [
    (x, y, SHORT[entry])
    for x, row in zip(ORDER, TABLE.split("\n")[1:], strict=False)
    for y, entry in zip(ORDER, row.split(), strict=True)
]
# A Python number keeps the dtype of the array if that can hold its kind.
SCALARS = {
    int: dict(zip(ORDER, ["int32", *ORDER[1:]], strict=True)),
    float: {name: name if name[0] in "fcb" and name != "bool" else "float32" for name in ORDER},
    complex: {name: "complex128" if name in ("float64", "complex128") else "complex64" for name in ORDER},
}


@pytest.mark.parametrize(("x", "y", "expected"), CASES)
def test_two_arrays(x: str, y: str, expected: str) -> None:
    expected = "float32" if expected == "weak float" else expected
    a, b = fnp.ones(2, x), fnp.ones(2, y)
    assert str(fnp.promote_types(x, y)) == expected
    assert str((a * b).dtype) == str((b * a).dtype) == expected
    assert str(fnp.where(fnp.array([True, False]), a, b).dtype) == expected
    assert str(fnp.concatenate([a, b]).dtype) == expected


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("scalar", [1, 1.0, 1j])
def test_python_numbers_are_weak(name: str, scalar: complex) -> None:
    expected = SCALARS[type(scalar)][name]
    x = fnp.ones(2, name)
    assert str((x * scalar).dtype) == str((scalar * x).dtype) == expected
    assert str(fnp.add(x, scalar).dtype) == expected
    assert str(fnp.result_type(x, scalar)) == expected


@pytest.mark.parametrize("name", [n for n in ORDER if n not in ("bool", "bfloat16")])
def test_arrays_and_other_numpy_scalars_are_strong(name: str) -> None:
    strong = np.ones((), name)
    assert (fnp.ones(2, "bool") * strong).dtype == strong.dtype
    assert (strong * fnp.ones(2, "bool")).dtype == strong.dtype
    if name not in ("int64", "float64", "complex128"):
        assert (fnp.ones((), "bfloat16") * strong[()]).dtype == fnp.promote_types("bfloat16", name)


NUMPY_SCALARS = [np.True_, np.int64(3), np.float64(2.5), np.sqrt(4), np.complex128(1j), np.float64(np.nan)]


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("scalar", NUMPY_SCALARS, ids=str)
def test_scalars_of_numpys_default_types_are_the_python_numbers_that_they_equal(name: str, scalar: np.generic) -> None:
    x, number = fnp.ones(2, name), scalar.item()
    calls = [
        lambda n: x * n,
        lambda n: n * x,
        lambda n: fnp.add(n, x),
        lambda n: fnp.where(fnp.array([True, False]), x, n),
        lambda n: fnp.full(2, n),
        lambda n: fnp.asarray([n, n]),
        lambda n: fnp.array([x[0], n]),
        lambda n: fdl.jit(lambda x, n: x * n)(x, n),
        lambda n: fdl.jit(lambda x: x * n)(x),
        lambda n: fdl.vmap(lambda x, n: x * n, in_axes=(0, None))(x, n),
        lambda n: fdl.lax.scan(lambda c, x: (c * x, c), n, x)[0],
        lambda n: fdl.lax.cond(True, lambda n: x * n, lambda n: x, n),
        lambda n: fdl.lax.while_loop(lambda v: fnp.real(v[0]) < 0, lambda v: (v[0] * x[0], v[1]), (n, x))[0],
    ]
    if not isinstance(number, complex):
        calls += [lambda n: fnp.maximum(x, n), lambda n: fnp.full_like(x, n), lambda n: x.at[0].set(n)]
        calls += [lambda n: fdl.lax.fori_loop(0, n, lambda i, v: v * x, x)] if isinstance(number, int) else []
    if name[0] == "f":
        calls += [lambda n: fdl.nn.softmax(x / n)] + [lambda n: x**n] * (not isinstance(number, bool))
    for place, call in enumerate(calls):
        try:
            expected = call(number)
        except fdl.errors.FdlError as error:  # a bound of type bool, say
            with pytest.raises(type(error)):
                call(scalar)
            continue
        found = call(scalar)
        assert found.dtype == expected.dtype, place
        assert np.asarray(found).tobytes() == np.asarray(expected).tobytes(), place
    assert fnp.result_type(x, scalar) == fnp.result_type(x, number)
    assert fdl.eval_shape(lambda x, n: x * n, x, scalar) == fdl.eval_shape(lambda x, n: x * n, x, number)


def test_attention_scores_keep_their_dtype() -> None:
    scores = fnp.ones((2, 2), "bfloat16")
    assert (scores / np.sqrt(64)).dtype == fnp.bfloat16
    assert (scores * np.float64(0.1) ** 2).dtype == fnp.bfloat16
    assert (scores / np.sqrt(np.float32(64))).dtype == fnp.float32
    assert (scores / np.asarray(8.0)).dtype == fnp.float64
    assert fnp.asarray(np.float64(0.1), "float64").tolist() == fnp.float64(np.float64(0.1)).tolist() == 0.1
    wide = fnp.zeros(2)
    f = fdl.jit(lambda x, scale: x * scale)
    assert [f(wide, scale).dtype for scale in [np.sqrt(2.0)] * 3] == [np.float32] * 3  # slow, slow and fast path
    assert [f(wide, scale).tolist() for scale in (np.int64(3), np.int64(2**40))] == [[0, 0]] * 2


def test_numbers_keep_their_digits_beside_wide_arrays() -> None:
    x = fnp.zeros(1, "float64")
    for number in (0.1, np.float64(0.1)):
        written = [
            x.at[0].set(number),
            fdl.jit(lambda x, n=number: x.at[0].set(n))(x),
            x.at[fnp.array([0])].set(number),
        ]
        assert [(x + number).item(), *(w.item() for w in written), fnp.full_like(x, number).item()] == [0.1] * 5


def test_numbers_alone_get_the_defaults() -> None:
    for value, name in (
        (True, "bool"),
        (1, "int32"),
        (1.0, "float32"),
        (1j, "complex64"),
        (2**40, "int64"),
        (2**63, "uint64"),
        (np.float64(1), "float32"),
        (np.int64(1), "int32"),
        (np.int64(2**40), "int64"),
        (np.float32(1), "float32"),
        (np.asarray(1.0), "float64"),
    ):
        assert str(fnp.asarray(value).dtype) == name
    assert fnp.array([1, 2.0]).dtype == fnp.float32 and fnp.array([2**40]).dtype == fnp.int64
    assert fnp.zeros(1).dtype == fnp.arange(1.0).dtype == fnp.linspace(0, 1, 3).dtype == fnp.float32
    assert fnp.arange(3).dtype == fnp.array([True]).astype(int).dtype == fnp.int32
    assert fnp.array([np.float64(1), 2]).dtype == fnp.float32 and fnp.arange(np.int64(3)).dtype == fnp.int32
    assert fnp.array([np.int64(1), 2**62 + 1]).tolist() == [1, 2**62 + 1]
    assert fnp.linspace(np.float64(0), np.float64(1), 3).dtype == fnp.float32


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("bool", "int32"),
        ("int8", "int32"),
        ("int64", "int64"),
        ("uint8", "uint32"),
        ("uint64", "uint64"),
        ("bfloat16", "bfloat16"),
    ],
)
def test_sums_of_short_integers_are_widened(given: str, expected: str) -> None:
    x = fnp.ones(3, given)
    assert str(x.sum().dtype) == str(x.prod().dtype) == str(fnp.cumulative_sum(x).dtype) == expected
    if given != "bool":
        assert str(fnp.sum(x, promote_integers=False).dtype) == str(fnp.cumsum(x).dtype) == given


def test_names_of_dtypes() -> None:
    x = fnp.zeros(1, fnp.bfloat16)
    assert x.dtype == fnp.bfloat16 == dtypes.bfloat16 and x.dtype != fnp.float16
    assert hash(fnp.float32) == hash(np.dtype(np.float32)) and {fnp.float32: 1}[np.dtype("float32")] == 1
    assert isinstance(fnp.float16(2), fdl.Array) and fnp.float16(2).dtype == np.float16
    assert fnp.issubdtype(x.dtype, fnp.floating) and fnp.issubdtype(fnp.bfloat16, fnp.inexact)
    assert not fnp.issubdtype(fnp.int8, fnp.floating) and fnp.issubdtype(fnp.uint8, fnp.unsignedinteger)
    assert fnp.issubdtype(dtypes.key, dtypes.prng_key) and not fnp.issubdtype(dtypes.key, fnp.number)
    assert not fnp.issubdtype(np.dtype("U1"), fnp.floating) and fnp.issubdtype(np.dtype("U1"), np.character)
    assert fnp.isdtype(fnp.bfloat16, "real floating") and fnp.isdtype(fnp.int8, ("bool", "integral"))
    assert fnp.finfo(fnp.bfloat16).bits == 16 and fnp.iinfo("uint8").max == 255
    assert fnp.can_cast("int8", "int16") and not fnp.can_cast("int16", "int8")
    assert fnp.iscomplexobj(1j) and fnp.isrealobj(x) and fnp.isscalar(x[0]) and not fnp.isscalar(x)


def test_an_integer_that_does_not_fit_its_array_is_an_error() -> None:
    with pytest.raises(OverflowError, match="300"):
        fnp.ones(2, "uint8") + 300
    with pytest.raises(OverflowError, match="300"):
        fnp.ones(2, "uint8") + np.int64(300)
    with pytest.raises(OverflowError, match="300"):
        fnp.asarray(np.int64(300), "uint8")
