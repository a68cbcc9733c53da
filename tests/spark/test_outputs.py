"""Results become Arrow columns of exactly the types that Spark was told, and rows of Arrow become numbers."""

from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyspark.ml.linalg import DenseVector, SparseVector, VectorUDT
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

from fdl_spark import ArgumentError, ColumnError, DataError
from fdl_spark.applying.outputs import Output, arrow_column, declared, spark_type, struct_column, struct_type, wanted
from fdl_spark.applying.places import Places
from fdl_spark.applying.rows import numbers, valid_rows
from fdl_spark.data.columns import BadColumn
from fdl_spark.data.selection import Selection


@pytest.mark.parametrize("name", ["float", "double", "boolean", "tinyint", "smallint", "int", "bigint"])
def test_types_have_the_names_of_spark(name):
    kind = spark_type(name, "output")
    assert kind.simpleString() == name == spark_type(kind, "output").simpleString()
    nested = spark_type(f"array<Array< {name.upper()} >>", "output")
    assert nested.simpleString() == f"array<array<{name}>>"


@pytest.mark.parametrize("wrong", ["", "string", "array<vector>", "array<int", 3, None, T.StringType(), T.MapType])
def test_types_that_numbers_cannot_have(wrong):
    with pytest.raises(ArgumentError, match="output must be"):
        spark_type(wrong, "output")


def test_vectors_are_arrays_of_doubles_until_spark_makes_them():
    (output,) = declared(wanted({"p": VectorUDT()}))
    assert (output.kind.simpleString(), output.vector) == ("array<double>", True)
    assert declared(wanted({"p": "vector", "q": None})) is None


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.sampled_from(["float", "double", "int", "boolean"]))
def test_nested_arrays_are_what_they_were(shape, name):
    kind = spark_type(name, "")
    array = (np.arange(np.prod(shape)) % 2).reshape(shape).astype(to_arrow_type(kind).to_pandas_dtype())
    for _ in shape[1:]:
        kind = T.ArrayType(kind)
    column = arrow_column(Output("p", kind), array)
    assert column.type == to_arrow_type(kind)
    assert column.to_pylist() == array.tolist()


def test_numbers_become_wider_or_are_refused():
    as_double = Output("p", T.DoubleType())
    for dtype in (np.float32, np.float16, ml_dtypes.bfloat16, np.int64, np.uint8, np.bool_):
        assert arrow_column(as_double, np.ones(2, dtype)).to_pylist() == [1.0, 1.0]
    assert arrow_column(Output("p", T.ByteType()), np.array([-128, 127])).to_pylist() == [-128, 127]
    with pytest.raises(DataError, match="128, which the function gives, does not fit int8"):
        arrow_column(Output("p", T.ByteType()), np.array([0, 128]))
    with pytest.raises(DataError, match="which cannot hold the function's float32"):
        arrow_column(Output("p", T.LongType()), np.ones(2, np.float32))


@pytest.mark.parametrize("setting, exact", [("true", True), ("TRUE", True), (" True ", True), ("False", False)])
def test_names_are_compared_as_spark_compares_them(setting, exact):
    session = SimpleNamespace(conf=SimpleNamespace(get={"spark.sql.caseSensitive": setting}.get))
    places = Places(SimpleNamespace(columns=["name"], sparkSession=session), replace=False)
    if exact:
        places.check(["NAME", "Name"])
    else:
        with pytest.raises(ColumnError, match="column 'NAME': the DataFrame has this column already"):
            places.check(["NAME"])


def test_several_columns_are_a_struct():
    outputs = (Output("a", T.FloatType()), Output("b.c", T.ArrayType(T.DoubleType())))
    column = struct_column(outputs, [np.float32([1, 2]), np.float32([[3], [4]])], ["a", "b.c"])
    assert column.type == to_arrow_type(struct_type(outputs, ["a", "b.c"]))
    assert column.to_pylist() == [{"a": 1, "b.c": [3]}, {"a": 2, "b.c": [4]}]


vectors = st.lists(st.none() | st.dictionaries(st.integers(0, 6), st.floats(-9, 9)) | st.lists(st.floats(-9, 9)))


@given(vectors)
def test_vectors_dense_and_sparse_become_lists(rows):
    made = [
        None if row is None else SparseVector(7, row) if isinstance(row, dict) else DenseVector(row) for row in rows
    ]
    kind = VectorUDT()
    stored = [None if v is None else dict(zip(kind.sqlType().names, kind.serialize(v), strict=True)) for v in made]
    column = pa.array(stored, to_arrow_type(kind))
    assert numbers(column, True).to_pylist() == [None if v is None else v.toArray().tolist() for v in made]


@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(allow_infinity=False, width=32),
            st.none() | st.lists(st.none() | st.lists(st.none() | st.just(np.nan) | st.just(1.0), max_size=2)),
        )
    ),
    st.integers(0, 2),
)
def test_rows_with_a_null_or_nan_anywhere_are_not_valid(rows, start):
    def missing(value):
        return any(map(missing, value)) if isinstance(value, list) else value is None or value != value

    schema = pa.schema([("x", pa.float32()), ("y", pa.list_(pa.list_(pa.float64())))])
    batch = pa.RecordBatch.from_pylist([{"x": x, "y": y} for x, y in rows], schema).slice(start)
    found = valid_rows(Selection(("x", "y")), batch)
    assert found.tolist() == [not missing(list(row)) for row in rows[start:]]


class Odd:
    """Encodes odd numbers only, and names the first even one."""

    inputs, outputs = ("n",), ("half",)

    def encode(self, batch):
        numbers = batch.column(0).to_numpy(zero_copy_only=False)
        even = numbers % 2 == 0
        if even.any():
            raise BadColumn("n", "even", int(np.argmax(even)))
        return {"half": numbers // 2}


@given(st.lists(st.integers(-9, 9)))
def test_rows_that_cannot_be_encoded_are_not_valid(rows):
    batch = pa.record_batch([pa.array(rows, pa.int64())], ["n"])
    assert valid_rows(Selection((), Odd()), batch).tolist() == [n % 2 == 1 for n in rows]
