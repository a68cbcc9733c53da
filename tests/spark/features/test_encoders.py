"""Each encoder gives what NumPy, a formula or a published vector says, and each row by itself."""

import math
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fdl_spark
from fdl_spark import features
from fdl_spark.data.columns import BadColumn
from fdl_spark.data.selection import Selection
from fdl_spark.features.hashes import murmur3
from fdl_spark.features.statistics import moments, quantiles, read_moments, root

WORDS = st.text(max_size=20)
ROWS = {"n": [1.0, 2.0, 6.0], "m": [4.0, 0.0, 2.0], "y": [0, 1, 1]}


def encoded(encoder, **columns):
    return features.fit([encoder], pa.table(columns)).encode(pa.table(columns))


def bad(encoder, **columns):
    """What is wrong with a batch, of which the encoder has nothing to learn."""
    with pytest.raises(BadColumn) as raised:
        features.Features((encoder,)).encode(pa.record_batch(columns))
    problem = raised.value.problem
    return problem.column, problem.text, problem.row


# Numbers.


@pytest.mark.parametrize(
    "kind", [pa.int8(), pa.uint16(), pa.int64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_()]
)
def test_numbers_of_all_types(kind):
    values = [True, False] if kind == pa.bool_() else np.array([1, 0], kind.to_pandas_dtype())
    found = features.numeric("x").encode({"x": pa.array(values, kind)})["x"]
    np.testing.assert_array_equal(found, np.float32([1, 0]))
    assert found.dtype == np.float32


def test_decimals_are_numbers():
    column = pa.array([Decimal("1.25"), Decimal("-3.50")])
    np.testing.assert_array_equal(features.numeric("x").encode({"x": column})["x"], np.float32([1.25, -3.5]))


def test_whole_numbers_beyond_the_mantissa_stay_as_they_are():
    column = pa.array([2**63 - 1, -(2**63), 2**53 + 1])
    np.testing.assert_array_equal(features.numeric("x", dtype="int64").encode({"x": column})["x"], column.to_numpy())


@pytest.mark.parametrize(
    ("dtype", "values", "row"),
    [
        ("int8", [127, 128], 1),
        ("uint8", [0, 255, -1], 2),
        ("int32", [1.0, 2.5], 1),
        ("int64", [0.0, 2.0**63], 1),
        ("float16", [65504.0, 1e5], 1),
        ("float32", [1e300], 0),
        ("bool", [0, 1, 2], 2),
    ],
)
def test_a_number_that_does_not_fit_is_an_error(dtype, values, row):
    column, text, found = bad(features.numeric("x", dtype=dtype), x=pa.array(values))
    assert (column, found) == ("x", row) and text.endswith(f"is no {dtype}")


def test_infinite_numbers_stay():
    np.testing.assert_array_equal(features.numeric("x").encode({"x": pa.array([math.inf, 1.0])})["x"], [math.inf, 1])


def test_nulls_and_nan_are_errors_or_another_number():
    column = pa.array([1.0, math.nan, None])
    assert bad(features.numeric("x"), x=column)[1:] == ("NaN; missing= says what it becomes", 1)
    assert bad(features.numeric("x"), x=column[2:])[1:] == ("null; missing= says what it becomes", 0)
    assert bad(features.numeric("x", dtype="int32"), x=pa.array([3, None]))[2] == 1
    np.testing.assert_array_equal(features.numeric("x", missing=-1).encode({"x": column})["x"], [1, -1, -1])
    whole = features.numeric("x", dtype="int16", missing=-1).encode({"x": pa.array([3, None])})["x"]
    np.testing.assert_array_equal(whole, [3, -1])


def test_columns_side_by_side():
    batch = {"a": pa.array([1, 2]), "b": pa.array([[3, 4], [5, 6]])}
    np.testing.assert_array_equal(features.numeric("a", "b", output="x").encode(batch)["x"], [[1, 3, 4], [2, 5, 6]])
    assert list(features.numeric("a", "b").encode(batch)) == ["a", "b"]


def test_lists_name_the_row_of_what_is_wrong():
    ragged = pa.array([[1.0, 2.0], [1.0], [1.0, 2.0]])
    assert bad(features.numeric("x"), x=ragged) == ("x", "1 numbers in a row, where there must be 2", 1)
    assert bad(features.numeric("x"), x=pa.array([[1.0, 2.0], [1.0, None]]))[2] == 1
    assert bad(features.numeric("x"), x=pa.array([[[1.0], [2.0]], [[1.0], [2.0, 3.0]]]))[2] == 1
    assert "string is no number" in bad(features.numeric("x"), x=pa.array(["1"]))[1]


@pytest.mark.parametrize("ddof_one", [np.random.default_rng(1).normal(1e6, 1e-3, 1000), np.array([1e300, -1e300, 3.0])])
def test_standardise_is_exact_where_sums_of_squares_cancel(ddof_one):
    table = pa.table({"x": ddof_one})
    (encoder,) = features.fit([features.standardise("x", dtype="float64")], table).encoders
    exact = [int(x * 2.0**40) for x in ddof_one / 2.0**960] if ddof_one[0] > 1e299 else None
    if exact is None:
        shifted = ddof_one - 1e6  # exact
        np.testing.assert_allclose(encoder.mean[0][0] - 1e6, math.fsum(shifted) / 1000, rtol=1e-6)
        np.testing.assert_allclose(encoder.scale[0][0], shifted.std(ddof=1), rtol=1e-12)
    else:
        assert encoder.mean == ((1.0,),)
        np.testing.assert_allclose(encoder.scale[0][0], 1e300, rtol=1e-15)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30), st.randoms())
def test_moments_are_exact_in_any_order(values, random):
    from fractions import Fraction

    exact = [Fraction(value) for value in values]
    mean = sum(exact) / len(exact)
    random.shuffle(values)
    ((count, found, squares),) = read_moments(moments(np.array(values)[:, None], "x"), "x")
    assert (count, found) == (len(values), mean)
    assert squares == sum((x - mean) ** 2 for x in exact)


def test_roots_of_fractions_that_are_no_floats():
    from fractions import Fraction

    assert root(Fraction(4) ** 900) == 2.0**900
    assert root(Fraction(1, 4**530)) == 2.0**-530
    assert root(Fraction(0)) == 0 and root(Fraction(9, 4)) == 1.5


def test_standardise_of_lists_and_of_constants():
    x = np.array([[1.0, 5.0], [2.0, 5.0], [6.0, 5.0]])
    found = encoded(features.standardise("x"), x=list(x))["x"]
    np.testing.assert_allclose(found[:, 0], (x[:, 0] - 3) / x[:, 0].std(ddof=1), rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1], 0)
    assert encoded(features.standardise("x"), x=[7.0])["x"] == [0]


def test_standardise_puts_the_mean_in_place_of_what_is_missing():
    found = encoded(features.standardise("x", missing="mean"), x=[1.0, None, 3.0, math.nan])["x"]
    np.testing.assert_allclose(found, [-(0.5**0.5), 0, 0.5**0.5, 0], rtol=1e-6)
    with pytest.raises(fdl_spark.ColumnError, match="column 'x': null.*first at row 1"):
        encoded(features.standardise("x"), x=[1.0, None])
    with pytest.raises(fdl_spark.ColumnError, match="infinite.*row 2"):
        encoded(features.standardise("x"), x=[1.0, 2.0, math.inf])
    with pytest.raises(fdl_spark.ColumnError, match="nothing to learn"):
        encoded(features.standardise("x", missing="mean"), x=pa.array([None, None], pa.float64()))


@pytest.mark.parametrize(("strategy", "expected"), [("mean", 3.0), ("median", 2.5), ("most_frequent", 1.0)])
def test_impute(strategy, expected):
    found = encoded(features.impute("x", strategy=strategy, indicator=True), x=[1.0, 1.0, None, 4.0, 6.0, math.nan])
    np.testing.assert_array_equal(found["x"], np.float32([1, 1, expected, 4, 6, expected]))
    np.testing.assert_array_equal(found["x_missing"], [0, 0, 1, 0, 0, 1])


def test_the_median_of_an_odd_number_is_one_of_them():
    (encoder,) = features.fit([features.impute("x", strategy="median")], {"x": [5, 1, 9]}).encoders
    assert encoder.value == (5.0,)


# Buckets, hashes, vocabularies.


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.integers(2, 6))
def test_learned_splits_are_quantiles(values, buckets):
    (encoder,) = features.fit([features.bucketize("x", buckets=buckets)], {"x": values}).encoders
    # k/buckets, where a float64 rounds the product with the number of values across a whole number, is left out.
    levels = np.arange(1, buckets) / buckets
    expected = np.quantile(np.array(values, float), levels, method="inverted_cdf")
    exact = [len(values) * k % buckets == 0 for k in range(1, buckets)]
    if not any(exact) or buckets in (2, 4):
        assert encoder.splits == tuple(sorted(set(expected)))


def test_quantiles_of_counts():
    table = pa.table({"number": [3.0, 1.0], "count": pa.array([1, 9])})
    assert quantiles(table, [1, 9, 10], 10) == [1.0, 1.0, 3.0]


def test_bucketize_missing_and_limits():
    encoder = features.bucketize("x", splits=[0, 1], missing="bucket")
    x = pa.array([-1.0, 0.0, 0.5, 1.0, math.inf, None, math.nan])
    np.testing.assert_array_equal(encoder.encode({"x": x})["x"], [0, 1, 1, 2, 2, 3, 3])
    assert encoder.depth == 4
    np.testing.assert_array_equal(features.bucketize("x", splits=[0], missing=5).encode({"x": x[5:]})["x"], [1, 1])
    assert bad(features.bucketize("x", splits=[0]), x=x)[2] == 5


def test_murmur3_has_published_values():
    """Vectors of SMHasher's author and of Wikipedia's article."""
    words = ["", "", "", "test", "test", "Hello, world!", "The quick brown fox jumps over the lazy dog"]
    seeds = np.array([0, 1, 0xFFFFFFFF, 0, 0x9747B28C, 0x9747B28C, 0x9747B28C], np.uint32)
    expected = [0, 0x514E28B7, 0x81F16F39, 0xBA6BD213, 0x704B81DC, 0x24884CBA, 0x2FA826CD]
    np.testing.assert_array_equal(murmur3(pa.array(words), seeds), np.array(expected, np.uint32))


@settings(max_examples=25, deadline=None)
@given(st.lists(WORDS, max_size=12), st.integers(0, 4))
def test_a_hash_depends_on_its_string_only(words, start):
    column = pa.array(words, pa.string())
    seeds = np.full(len(words), 7, np.uint32)
    whole = murmur3(column, seeds)
    alone = [murmur3(pa.array([word]), np.array([7], np.uint32))[0] for word in words]
    assert whole.tolist() == alone
    assert murmur3(column[start:], seeds[start:]).tolist() == alone[start:]


def test_whole_numbers_hash_as_their_strings():
    encoder = features.hashed("x", buckets=1000)
    found = encoder.encode({"x": pa.array([17, -3])})["x"]
    np.testing.assert_array_equal(found, encoder.encode({"x": pa.array(["17", "-3"])})["x"])
    assert bad(encoder, x=pa.array([1.5]))[1].startswith("double is no string")
    assert bad(encoder, x=pa.array(["a", None])) == ("x", "null; missing= says what it becomes", 1)
    missing = features.hashed("x", buckets=1000, missing="a").encode({"x": pa.array(["a", None])})["x"]
    assert missing[0] == missing[1]


def test_a_cross_tells_where_its_values_are_cut():
    encoder = features.crossed("a", "b", output="x", buckets=1 << 30)
    found = encoder.encode({"a": pa.array(["ab", "a", "abc"]), "b": pa.array(["c", "bc", ""])})["x"]
    assert len(set(found)) == 3
    both = features.crossed("a", features.bucketize("n", splits=[0.0]), output="x", buckets=1 << 30)
    found = both.encode({"a": pa.array(["a", "a", "a"]), "n": pa.array([-1, 1, 2])})["x"]
    assert found[0] != found[1] == found[2]
    assert both.inputs == ("a", "n")


def test_a_cross_of_what_learns_learns():
    table = pa.table({"a": ["u", "v", "u", "v"], "n": [1, 2, 3, 4]})
    fitted = features.fit(
        [features.crossed("a", features.bucketize("n", buckets=2), output="x", buckets=1 << 20)], table
    )
    assert fitted.encoders[0].of[1].splits == (2.0,)
    found = fitted.encode(table)["x"]
    assert found[1] == found[3] and len(set(found)) == 3


def test_vocabularies_are_ordered_by_frequency_and_code_points():
    words = ["b", "a", "b", "\U0001f600", "\uffff", "é", "e", None]
    fitted = features.fit([features.vocabulary("x", missing="b")], {"x": words})
    assert fitted.encoders[0].values == ("b", "a", "e", "é", "\uffff", "\U0001f600")
    found = fitted.encode(pa.record_batch({"x": ["b", "new", "", None]}))["x"]
    np.testing.assert_array_equal(found, [1, 0, 0, 1])
    assert found.dtype == np.int32


def test_vocabularies_are_cut():
    words = ["a"] * 3 + ["b"] * 2 + ["c"]
    assert features.fit([features.vocabulary("x", size=1)], {"x": words}).encoders[0].values == ("a",)
    assert features.fit([features.vocabulary("x", min_count=2)], {"x": words}).encoders[0].values == ("a", "b")
    assert features.fit([features.vocabulary("x", min_count=9)], {"x": words}).encoders[0].depth == 1


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x", "y", "x"]).dictionary_encode(),
        pa.array(["x", "y", "x"], pa.large_string()),
        pa.array(["x", "y", "x"], pa.string_view()),
        pa.chunked_array([["x"], ["y", "x"]]),
        pa.array([7, 8, 7]),
        pa.array([date(2020, 1, 1), date(1900, 1, 1), date(2020, 1, 1)]),
        pa.array([True, False, True]),
    ],
    ids=lambda column: str(column.type),
)
def test_vocabularies_of_all_types(column):
    np.testing.assert_array_equal(encoded(features.vocabulary("x"), x=column)["x"], [1, 2, 1])


def test_one_hot():
    table = pa.table({"x": ["b", "a", "b"], "n": [1.0, 2.0, 3.0]})
    encoders = [features.one_hot("x", dtype="uint8"), features.one_hot(features.bucketize("n", buckets=3))]
    found = features.fit(encoders, table).encode(table)
    np.testing.assert_array_equal(found["x"], [[0, 1, 0], [0, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(found["n"], [[0, 1, 0], [0, 0, 1], [0, 0, 1]])


# Dates.


@settings(max_examples=20, deadline=None)
@given(st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)), st.sampled_from(["UTC", "Asia/Tokyo", None]))
def test_parts_of_dates_are_those_in_utc(when, zone):
    column = pa.array([when.replace(tzinfo=UTC)], pa.timestamp("us", zone or "UTC"))
    if zone is None:
        column = pa.array([when], pa.timestamp("us"))
    parts = ["year", "month", "day", "day_of_week", "day_of_year", "hour", "minute", "second"]
    encoder = features.date_parts("t", parts=parts, cyclic=False, dtype="float64")
    expected = [when.year, when.month, when.day, when.weekday(), when.timetuple().tm_yday, when.hour, when.minute]
    np.testing.assert_array_equal(encoder.encode({"t": column})["t"], [[*expected, when.second]])
    since = features.seconds_since("t", origin="2000-01-01T00:00:00+00:00", dtype="float64").encode({"t": column})["t"]
    np.testing.assert_allclose(since, [(when - datetime(2000, 1, 1)).total_seconds()], rtol=1e-15)


def test_cyclic_parts_lie_on_a_circle():
    column = pa.array([date(2024, month, 1) for month in range(1, 13)])
    found = features.date_parts("t", parts=["month"], dtype="float64").encode({"t": column})["t"]
    angle = 2 * np.pi * np.arange(12) / 12
    np.testing.assert_allclose(found, np.stack([np.sin(angle), np.cos(angle)], axis=1), atol=1e-15)


def test_missing_dates():
    column = pa.array([None, date(2024, 1, 1)])
    assert bad(features.seconds_since("t", origin="2024-01-01"), t=column)[2] == 0
    encoder = features.seconds_since("t", origin="2024-01-01", unit="days", missing="2024-01-03T12:00", dtype="int64")
    np.testing.assert_array_equal(encoder.encode({"t": column})["t"], [2, 0])
    assert "to_timestamp" in bad(features.date_parts("t"), t=pa.array(["2024-01-01"]))[1]


# Sequences.


def test_tokens():
    texts = ["The cat, the Dog", "", "  a\u00a0cat ", None]
    encoder = features.tokenise("x", length=3, missing="")
    found = encoded(encoder, x=texts)
    # the: 2; then by code points: "a", "cat," ... of frequency 1.
    assert features.fit([encoder], {"x": texts}).encoders[0].values == ("the", "a", "cat", "cat,", "dog")
    np.testing.assert_array_equal(found["x"], [[2, 5, 2], [0, 0, 0], [3, 4, 0], [0, 0, 0]])
    np.testing.assert_array_equal(found["x_mask"], [[1, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 0]])
    last = features.tokenise("x", length=1, keep="last", separator=r"[^\pL]+", lower=False, values=["Dog"])
    np.testing.assert_array_equal(last.encode({"x": pa.array(["The cat, the Dog!", "é"])})["x"], [[2], [1]])


def test_marks_are_tokens_of_their_own():
    texts = ["Don't!!", "so-so :), ok", "", None, "!"]
    encoder = features.tokenise("x", length=9, apart=r"[^\pL\pN\s']+", missing="")
    known = features.fit([encoder], {"x": texts}).encoders[0].values
    assert known == ("so", "!", "!!", "-", ":),", "don't", "ok")
    assert encoded(encoder, x=texts)["x"].tolist()[1][:6] == [2, 5, 2, 6, 8, 0]
    plain = features.tokenise("x", length=2, apart="b|(c)", values=["a", "b"])  # of groups the whole match counts
    np.testing.assert_array_equal(plain.encode({"x": pa.array(["abc"])})["x"], [[2, 3]])


def test_white_space_is_that_of_python():
    characters = [chr(n) for n in range(sys.maxunicode + 1) if not 0xD800 <= n < 0xE000]
    texts = [f"{c}a{c}{c}b{c}" for c in characters]
    encoder = features.tokenise("x", length=5, lower=False, values=["a", "b"])
    found = encoder.encode({"x": pa.array(texts)})["x"]
    split = np.array([len(text.split()) == 2 for text in texts])
    np.testing.assert_array_equal((found == [2, 3, 0, 0, 0]).all(1), split)
    assert 20 < split.sum() < 40


@pytest.mark.parametrize("behind", [b"", b"xy", b"\x80\x80", b" \x80", "\u00e9".encode()])
def test_tokens_do_not_depend_on_what_lies_behind_the_text(behind):
    text = b"ccc   ccc "
    ends = pa.array([0, len(text)], pa.int32()).buffers()[1]
    column = pa.StringArray.from_buffers(1, ends, pa.py_buffer(text + behind).slice(0, len(text)))
    found = features.tokenise("x", length=4, values=["ccc"]).encode({"x": column})["x"]
    np.testing.assert_array_equal(found, [[2, 2, 0, 0]])


def test_lists_of_tokens():
    column = pa.array([["a", "B"], [], ["b", "c", "d"]])
    found = features.tokenise("x", length=2, values=["a", "b"]).encode({"x": column})
    np.testing.assert_array_equal(found["x"], [[2, 3], [0, 0], [3, 1]])
    assert bad(features.tokenise("x", length=2, values=["a"]), x=pa.array([["a"], ["b", None]]))[2] == 1
    assert bad(features.tokenise("x", length=2, values=["a"]), x=pa.array([["a"], None]))[2] == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=6), st.integers(1, 5), st.booleans())
def test_pad(rows, length, last):
    encoder = features.pad("x", length=length, value=-1, keep="last" if last else "first", dtype="int64")
    found = encoder.encode({"x": pa.array(rows, pa.list_(pa.int64()))})
    for row, values in enumerate(rows):
        kept = values[-length:] if last else values[:length]
        assert found["x"][row].tolist() == kept + [-1] * (length - len(kept))
        assert found["x_mask"][row].tolist() == [True] * len(kept) + [False] * (length - len(kept))


def test_the_length_of_padded_lists_is_learned():
    table = pa.table({"x": [[1.0], [1.0, 2.0, 3.0], []]})
    assert features.fit([features.pad("x")], table).encoders[0].length == 3
    fitted = features.fit([features.pad("x", buckets=[2, 4, 8])], table)
    assert fitted.encoders[0].length == 4
    np.testing.assert_array_equal(fitted.encode(table)["x_bucket"], [0, 1, 0])
    short = features.pad("x", length=2, keep="all")
    assert bad(short, x=table["x"].combine_chunks())[2] == 1


def test_padded_lists_name_the_row_of_what_is_wrong():
    encoder = features.pad("x", length=2)
    assert bad(encoder, x=pa.array([[], [1.0], None]))[2] == 2
    assert bad(encoder, x=pa.array([[1.0], [], [2.0, math.nan]])) == ("x", "null or NaN in a list", 2)
    assert bad(features.pad("x", length=2, dtype="int8"), x=pa.array([[1], [300]]))[2] == 1
    found = features.pad("x", length=2, missing="empty").encode({"x": pa.array([None, [1.0]], pa.list_(pa.float32()))})
    np.testing.assert_array_equal(found["x"], [[0, 0], [1, 0]])
    pairs = features.pad("x", length=2).encode({"x": pa.array([[[1.0, 2.0]], []])})
    np.testing.assert_array_equal(pairs["x"], [[[1, 2], [0, 0]], [[0, 0], [0, 0]]])


def vectors(*rows):
    """Vectors of Spark ML as they are stored: dense is a list, sparse (size, {place: value})."""
    lists = {"indices": pa.list_(pa.int32()), "values": pa.list_(pa.float64())}
    kind = pa.struct({"type": pa.int8(), "size": pa.int32(), **lists}.items())
    stored = [
        None if row is None
        else {"type": 1, "size": None, "indices": None, "values": row} if isinstance(row, list)
        else {"type": 0, "size": row[0], "indices": list(row[1]), "values": list(row[1].values())}
        for row in rows
    ]  # fmt: skip
    return pa.array(stored, kind)


def test_vectors_dense_and_sparse():
    column = vectors([1.0, 0.0, 2.0], (3, {1: 5.0}), (3, {}), (3, {0: 1.0, 2: 4.0}))
    expected = [[1, 0, 2], [0, 5, 0], [0, 0, 0], [1, 0, 4]]
    np.testing.assert_array_equal(encoded(features.vector("x"), x=column)["x"], expected)
    np.testing.assert_array_equal(features.vector("x", width=3).encode({"x": column[1:]})["x"], expected[1:])
    missing = features.vector("x", width=3, missing=9).encode({"x": vectors(None, [1.0, math.nan, 0.0])})["x"]
    np.testing.assert_array_equal(missing, [[9, 9, 9], [1, 9, 0]])
    assert bad(features.vector("x", width=3), x=vectors([1.0, 2.0, 3.0], (4, {})))[2] == 1
    assert bad(features.vector("x", width=3), x=vectors([1.0, 2.0, 3.0], None))[1:] == (
        "null; missing= says what it becomes",
        1,
    )


# All of them.

ALL = [
    features.numeric("number", output="as it is"),
    features.standardise("number", "whole", missing="mean", output="standard"),
    features.impute("number", indicator=True),
    features.bucketize("number", "bucket", buckets=4, missing="bucket"),
    features.hashed("word", "hash", buckets=97),
    features.vocabulary("word", size=3),
    features.one_hot(features.vocabulary("word", size=2), "one hot"),
    features.crossed("word", features.bucketize("whole", buckets=3), output="cross", buckets=31),
    features.date_parts("when", "parts"),
    features.seconds_since("when", origin="2020-02-02", unit="days"),
    features.tokenise("text", length=4, size=5),
    features.tokenise("text", "marked", length=4, apart="b"),
    features.pad("list", length=2, buckets=[1, 2]),
    features.vector("vector"),
]


def table_of(rows, seed=0):
    random = np.random.default_rng(seed)
    words = ["", "ä", "bb", "\U0001f600", "ccc"]
    number = random.normal(size=rows) * 10.0 ** random.integers(-20, 20, rows)
    return pa.table(
        {
            "number": number,
            "whole": random.integers(-9, 9, rows),
            "word": [words[n] for n in random.integers(0, 5, rows)],
            "when": pa.array(random.integers(-(10**15), 10**15, rows), pa.timestamp("us", "UTC")),
            "text": [" ".join(words[n] for n in random.integers(0, 5, k)) for k in random.integers(0, 7, rows)],
            "list": [random.normal(size=k).tolist() for k in random.integers(0, 4, rows)],
            "vector": vectors(*([n, 1.0] if n > 0 else (2, {1: n}) for n in random.normal(size=rows).tolist())),
        }
    )


def test_a_batch_is_its_rows():
    table = table_of(23)
    fitted = features.fit(ALL, table)
    whole = fitted.encode(table)
    assert tuple(whole) == fitted.outputs and tuple(fitted.inputs) == tuple(table.column_names)
    for size in (1, 7):
        parts = [fitted.encode(batch) for batch in table.combine_chunks().to_batches(max_chunksize=size)]
        for name, array in whole.items():
            joined = np.concatenate([part[name] for part in parts])
            assert joined.dtype == array.dtype and joined.tobytes() == array.tobytes()


def test_no_rows_have_the_shapes_of_rows():
    table = table_of(5)
    fitted = features.fit(ALL, table)
    none, some = fitted.encode(table.slice(0, 0)), fitted.encode(table)
    for name, array in some.items():
        assert none[name].shape == (0, *array.shape[1:]) and none[name].dtype == array.dtype


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_what_is_learned_depends_on_no_order(order):
    table = table_of(41)
    mixed = table.take(np.arange(41)[order]).combine_chunks()
    pieces = pa.Table.from_batches(mixed.to_batches(max_chunksize=3))
    assert features.fit(ALL, pieces).to_json() == features.fit(ALL, table).to_json()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(WORDS, st.none()), min_size=1, max_size=20))
def test_all_strings_that_were_seen_are_known(words):
    table = pa.table({"x": pa.array(words, pa.string())})
    fitted = features.fit(
        [features.vocabulary("x", missing="?"), features.hashed("x", "h", buckets=5, missing="")], table
    )
    found = fitted.encode(table)
    values = fitted.encoders[0].values
    assert [values[index - 1] for index in found["x"]] == ["?" if word is None else word for word in words]
    assert ((found["h"] >= 0) & (found["h"] < 5)).all()


def test_pandas_and_dicts_are_tables():
    import pandas

    columns = {"x": [1.0, 3.0], "s": ["a", "b"]}
    encoders = [features.standardise("x"), features.vocabulary("s")]
    fitted = features.fit(encoders, columns)
    assert fitted == features.fit(encoders, pandas.DataFrame(columns))
    assert fitted == features.fit(encoders, pa.RecordBatch.from_pydict(columns))
    images = features.fit([features.vector("m")], {"m": np.arange(6.0).reshape(3, 2)})
    assert images.encoders[0].width == 2
    with pytest.raises(fdl_spark.DataError, match="not from list"):
        features.fit(encoders, [1, 2])
    with pytest.raises(fdl_spark.DataError, match="no table"):
        features.fit(encoders, {"x": [1.0], "s": ["a", "b"]})
    with pytest.raises(fdl_spark.DataError, match="no table"):
        features.fit(encoders, {"x": [1.0], "s": ["\ud800"]})
    with pytest.raises(fdl_spark.MissingColumnError, match="'s'"):
        features.fit(encoders, {"x": [1.0]})


def test_a_column_of_nulls_only():
    """Where no row has a value, Arrow and Spark may know no type."""
    table = pa.table({"x": pa.nulls(2), "list": pa.array([[], []])})
    encoders = [
        features.numeric("x", missing=3.0),
        features.vocabulary("x", "word", missing="?"),
        features.seconds_since("x", "time", origin="2024-01-01", missing="2024-01-01"),
        features.image("x", "image", height=1, width=1, on_error="zeros"),
        features.pad("list", length=1),
    ]
    found = features.fit(encoders, table).encode(table)
    for name, expected in (("x", 3), ("word", 1), ("time", 0), ("image_mask", False), ("list_mask", False)):
        assert (found[name] == expected).all(), name


def test_many_distinct_strings_are_counted_in_pieces(monkeypatch):
    words = [f"word {n % 700}" for n in range(2000)]
    table = pa.Table.from_batches(pa.table({"x": words}).to_batches(max_chunksize=100))
    whole = features.fit([features.vocabulary("x")], table)
    monkeypatch.setattr("fdl_spark.features.summary.MERGE_ROWS", 150)
    monkeypatch.setattr("fdl_spark.features.summary.FLUSH_ROWS", 400)
    assert features.fit([features.vocabulary("x")], table) == whole
    assert whole.encoders[0].values[0] == "word 0" and whole.encoders[0].depth == 701


def test_tables_of_every_kind_are_encoded():
    encoders = features.fit([features.standardise("n", "m", output="x"), features.numeric("y")], ROWS)
    expected = encoders.encode(pa.table(ROWS))
    for table in (pa.record_batch(ROWS), pd.DataFrame(ROWS), ROWS, {name: np.array(c) for name, c in ROWS.items()}):
        found = encoders.encode(table)
        assert list(found) == ["x", "y"]
        assert all((found[name] == expected[name]).all() for name in found)
    with pytest.raises(fdl_spark.DataError, match="a pandas DataFrame or a dict of columns, not list"):
        encoders.encode([1.0])


def test_the_encoder_of_an_array():
    fitted = features.fit([features.tokenise("x", "w", length=2), features.numeric("y")], {"x": ["a b a"], "y": [1.0]})
    assert fitted.of("w_mask") is fitted.of("w") is fitted.encoders[0] and fitted.of("w").depth == 4
    with pytest.raises(
        fdl_spark.ArgumentError, match=r"no encoder gives an array 'x'; there are \['w', 'w_mask', 'y'\]"
    ):
        fitted.of("x")


def test_encoders_without_a_label():
    encoders = features.fit([features.standardise("n", "m", output="x"), features.numeric("y")], ROWS)
    left = encoders.without("y")
    assert (left.inputs, left.outputs) == (("n", "m"), ("x",))
    np.testing.assert_array_equal(left.encode({"n": [1.0], "m": [4.0]})["x"], encoders.encode(ROWS)["x"][:1])
    with pytest.raises(fdl_spark.ArgumentError, match="no encoder gives an array 'n'"):
        encoders.without("n")
    with pytest.raises(fdl_spark.ArgumentError, match="no encoder is left"):
        encoders.without("x", "y")
    with pytest.raises(
        fdl_spark.MissingColumnError, match=r"'y'; the data has .* features=encoders\.without\(\.\.\.\)"
    ):
        Selection.of(["n", "m"], None, encoders)
