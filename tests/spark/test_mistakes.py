"""What users get wrong and what happens to data: each ends in one clear error of fdl_spark, or works."""

import datetime
import decimal
import threading
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from pyspark.errors import ArithmeticException
from pyspark.ml.linalg import Vectors
from pyspark.sql import Row
from pyspark.sql import functions as sql

import fdl
import fdl.numpy as fnp
import fdl_spark
from fdl import optim
from fdl_spark import ArgumentError, ColumnError, DataError, LossError, MissingColumnError, UserFunctionError
from fdl_spark.arguments import check_optimizer
from fdl_spark.compute.program import shape_of
from fdl_spark.data.record import Record
from fdl_spark.spark.quiet import no_pandas_warning, no_query_log

Point = namedtuple("Point", ["x", "y"])

X = np.linspace(-1, 1, 12, dtype=np.float32)
GOOD = {"x": X, "y": 3 * X}
FITTED = np.float32(0.71)


def loss(slope, batch):
    return ((slope * batch["x"] - batch["y"]) ** 2).mean()


def train(data=None, function=loss, params=None, **options):
    params = np.float32(0) if params is None else params
    settings = {"optimizer": optim.sgd(0.5), "batch_size": 12, "steps": 1, "shards": 2, "partitions": 2, **options}
    return fdl_spark.train(function, params, GOOD if data is None else data, **settings)


# What `train` is given, which error says so, and what it says: the argument or column, and what to do.
ARGUMENTS = {
    "batch_size is text": ({"batch_size": "32"}, ArgumentError, "batch_size must be a whole number, not '32'"),
    "batch_size is a float": ({"batch_size": 32.0}, ArgumentError, "batch_size must be a whole number"),
    "batch_size is True": ({"batch_size": True}, ArgumentError, "batch_size must be a whole number"),
    "batch_size is negative": ({"batch_size": -1}, ArgumentError, "batch_size must be at least 1, not -1"),
    "epochs is negative": ({"steps": None, "epochs": -1}, ArgumentError, "epochs must be at least 0"),
    "steps is a float": ({"steps": 1.5}, ArgumentError, "steps must be a whole number"),
    "shards is zero": ({"shards": 0}, ArgumentError, "shards must be at least 1"),
    "partitions is zero": ({"partitions": 0}, ArgumentError, "partitions must be at least 1"),
    "checkpoint_steps is zero": ({"checkpoint_steps": 0}, ArgumentError, "checkpoint_steps must be at least 1"),
    "seed is text": ({"seed": "zero"}, ArgumentError, "seed must be a whole number"),
    "sync": ({"sync": "horovod"}, ArgumentError, "sync must be one of"),
    "nonfinite": ({"nonfinite": "ignore"}, ArgumentError, "nonfinite must be one of"),
    "one column as text": ({"columns": "x"}, ArgumentError, r"columns must be a list of names"),
    "columns by number": ({"columns": [0]}, ArgumentError, r"columns must be a list of names"),
    "no columns": ({"columns": []}, ArgumentError, "columns is empty"),
    "optimizer is a number": ({"optimizer": 0.1}, ArgumentError, r"functions init and update, as fdl\.optim\.adam"),
    "optimizer is not called": ({"optimizer": optim.adam}, ArgumentError, "functions init and update"),
    "loss is None": ({"function": None}, ArgumentError, r"loss must be a function of \(params, batch\)"),
    "metrics is a list": ({"metrics": [loss]}, ArgumentError, "metrics must be a dict of functions"),
    "metric is no function": ({"metrics": {"a": 1}}, ArgumentError, r"metrics\['a'\] must be a function"),
    "metric with a taken name": ({"metrics": {"rows": loss}}, ArgumentError, "cannot be called 'rows'"),
    "metrics without data": ({"metrics": {"m": loss}}, ArgumentError, "metrics is for validation=, which is not given"),
    "checkpoint_steps without a folder": (
        {"checkpoint_steps": 3},
        ArgumentError,
        "checkpoint_steps is for checkpoint=, which is not given: give it, or leave it out",
    ),
    "callback alone": ({"callbacks": fdl_spark.Progress()}, ArgumentError, r"callbacks must be a list, such as"),
    "callback's class": ({"callbacks": [fdl_spark.Progress]}, ArgumentError, "objects of a subclass"),
    "no parameters": ({"params": {}}, ArgumentError, "params must have at least one array"),
    "parameters' names": ({"params": {1: X, "1": X}}, ArgumentError, "params is no pytree of arrays"),
    "whole parameters": ({"params": {"w": np.arange(3)}}, ArgumentError, r"params\['w'\] must be floating-point"),
    "parameters are text": ({"params": ["w"]}, ArgumentError, r"params\[0\] must be floating-point"),
    "checkpoint is a number": ({"checkpoint": 3}, fdl_spark.CheckpointError, "checkpoint=3 is no folder"),
    "checkpoint of no scheme": ({"checkpoint": "no://where"}, fdl_spark.CheckpointError, "checkpoint='no://where'"),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_arguments(kind):
    """All before Spark is asked for anything."""
    changes, error, text = ARGUMENTS[kind]
    with pytest.raises(error, match=text):
        train(**changes)


ARRAYS = {
    "None": ({"x": None}, DataError, "no columns"),
    "bytes": (b"data", DataError, "a DataFrame, an RDD, paths of files, a table or a dict of arrays; it is bytes"),
    "no columns": ({}, DataError, "no columns"),
    "no rows": ({"x": X[:0], "y": X[:0]}, DataError, "no rows"),
    "a number": ({"x": X, "y": 1.0}, DataError, "column 'y' is a single number"),
    "lengths": ({"x": X, "y": X[1:]}, DataError, r"their lengths are \{'x': 12, 'y': 11\}"),
    "NaN label": ({"x": X, "y": np.where(X > 0.9, np.nan, X)}, ColumnError, "column 'y': NaN, first at row 11"),
    "ragged": ({"x": X, "y": [[1], [1, 2]]}, DataError, "single number|lengths"),
    "objects": ({"x": X, "y": np.array([object()] * 12)}, ColumnError, "column 'y': an array of object is not numeric"),
    "dates": ({"x": X, "y": np.array(["2026-11-28"] * 12, "M8[D]")}, ColumnError, "column 'y': .* is not numeric"),
    "names of two types": ({1: X, "1": X}, DataError, "no pytree of arrays: .*keys"),
    "two columns of a name": ({"['a'][0]": X, "a": [X]}, ColumnError, r"column .*several columns have this name"),
}


def test_arguments_that_hold_of_themselves(spark):
    """No metrics need no data; no job of this engine takes more steps than `group` allows, as it takes one."""
    assert len(train(metrics={}, group=3, sync="driver", steps=2).history.steps) == 2


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(spark, kind):
    data, error, text = ARRAYS[kind]
    with pytest.raises(error, match=text):
        train(data)


def test_tables_of_other_libraries(spark):
    import pyarrow

    np.testing.assert_array_equal(train(pyarrow.table(GOOD)).params, train().params)


def frame_of(spark, kind):
    with no_pandas_warning():
        failing = sql.udf(lambda x: {}[x], "double")
    plain = spark.createDataFrame([(float(x), float(3 * x)) for x in X], "x double, y double")
    return {
        "two columns of one name": lambda: plain.select("x", "y", (sql.col("x") + 1).alias("x")),
        "division by zero": lambda: plain.select("x", (sql.lit(1) / (sql.col("x") - sql.col("x"))).alias("y")),
        "a cast that fails": lambda: spark.sql("select 1.0 x, cast('one' as int) y from range(3)"),
        "an overflow": lambda: spark.sql("select 1.0 x, int(2147483647) + int(id) y from range(3)"),
        "an index out of bounds": lambda: spark.sql("select 1.0 x, array(1, 2)[id + 5] y from range(3)"),
        "raise_error": lambda: plain.select("x", sql.raise_error(sql.lit("bad sensor")).cast("double").alias("y")),
        "a UDF that raises": lambda: plain.select("x", failing("x").alias("y")),
        "streaming": lambda: spark.readStream.format("rate").load(),
        "no columns": lambda: plain.select(),
        "all null": lambda: plain.select("x", sql.lit(None).cast("double").alias("y")),
        "void": lambda: plain.select("x", sql.lit(None).alias("y")),
        "a map": lambda: plain.select("x", sql.create_map("x", "y").alias("y")),
        "a struct": lambda: plain.select("x", sql.struct("y").alias("y")),
        "ragged vectors": lambda: spark.createDataFrame(
            [(1.0, Vectors.dense([1])), (1.0, Vectors.dense([1, 2]))], ["x", "y"]
        ),
        "ragged arrays inside": lambda: spark.createDataFrame([(1.0, [[1], [1, 2]])], "x double, y array<array<int>>"),
        "no rows": lambda: plain.where("x > 5"),
        "the wrong name": lambda: plain.withColumnRenamed("y", "label"),
        "the wrong width": lambda: plain.select("x", sql.array("y", "y", "y").alias("y")),
    }[kind]()


FRAMES = {
    "two columns of one name": (ColumnError, "column 'x': 2 columns have this name; rename or drop"),
    "division by zero": (DataError, r"query that the data comes from: \[DIVIDE_BY_ZERO\] Division by zero"),
    "a cast that fails": (DataError, r"\[CAST_INVALID_INPUT\] The value 'one'"),
    "an overflow": (DataError, r"\[ARITHMETIC_OVERFLOW"),
    "an index out of bounds": (DataError, r"\[INVALID_ARRAY_INDEX"),
    "raise_error": (DataError, r"bad sensor"),
    "a UDF that raises": (UserFunctionError, "a function raised KeyError"),
    "streaming": (DataError, "streaming DataFrame has no end; .*foreachBatch"),
    "no columns": (DataError, "no columns"),
    "all null": (ColumnError, "column 'y': null, first at row 0"),
    "void": (ColumnError, "column 'y': void is not numeric"),
    "a map": (ColumnError, "column 'y': map<double,double> is not numeric; .*columns="),
    "a struct": (ColumnError, "column 'y': struct<y:double> is not numeric"),
    "ragged vectors": (
        ColumnError,
        "column 'y': arrays of unequal lengths: .*1.* before, .*2.* here.*, first at row 1",
    ),
    "ragged arrays inside": (ColumnError, "column 'y': arrays of unequal lengths: 1 before, 2 here"),
    "no rows": (DataError, "no rows"),
    "the wrong name": (MissingColumnError, r"the loss asked for column 'y'; the data has the columns \['label', 'x'\]"),
    "the wrong width": (UserFunctionError, r"the loss, traced on a batch of .*float32\[6, 3\].*ShapeError"),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_frames(spark, kind, caplog):
    error, text = FRAMES[kind]
    with pytest.raises(error, match=text) as caught:
        train(frame_of(spark, kind))
    assert not caplog.records  # nor a stack of Java's on the way
    assert "py4j" not in str(caught.value) and "\tat " not in str(caught.value)
    assert caught.value.argument == ""


@pytest.mark.parametrize("kind", ["division by zero", "all null", "no rows", "the wrong name", "the wrong width"])
def test_the_validation_is_named(spark, kind):
    error, text = FRAMES[kind]
    with pytest.raises(error, match=text) as caught:
        train(validation=frame_of(spark, kind))
    assert caught.value.argument == "validation" and str(caught.value).startswith("validation: ")


def test_a_name_that_the_parameters_lack_is_no_column():
    """It is told with the function's own error."""
    x = fdl.ShapeDtypeStruct((2,), np.float32)
    for batch in ({"x": x}, Record(x=x)):
        with pytest.raises(MissingColumnError, match="the loss asked for column 'z'"):
            shape_of("the loss", lambda p, b: p["w"] * b["z"], {"w": X[:2]}, batch)
    with pytest.raises(UserFunctionError, match="the loss, traced on a batch of .* raised KeyError: 'W'"):
        shape_of("the loss", lambda p, b: p["W"] * b["x"], {"w": X[:2]}, {"x": x})
    with pytest.raises(UserFunctionError, match="raised KeyError: 'c'"):
        shape_of("the loss", lambda p, b: p["a"]["c"] * b["x"], {"a": {"b": X[:2]}}, {"x": x})


def test_an_optimizer_that_was_not_called():
    with pytest.raises(ArgumentError, match=r"it is <function adam at .*>: call it, as in adam\(1e-3\)"):
        check_optimizer(optim.adam)


def test_validation_of_other_columns(spark):
    with pytest.raises(MissingColumnError, match="validation: metric 'm' asked for column 'z'"):
        train(data={**GOOD, "z": X}, validation=GOOD, metrics={"m": lambda p, b: b["z"].mean()})
    with pytest.raises(MissingColumnError, match="validation: columns= asked for column 'y'"):
        train(validation={"x": X}, columns=["x", "y"])


ROWS = {
    "Rows": [Row(x=float(x), y=float(3 * x)) for x in X],
    "Rows in another order": [Row(y=float(3 * x), x=float(x)) for x in X],
    "dicts": [{"x": float(x), "y": float(3 * x)} for x in X],
    "ordered dicts": [OrderedDict(y=float(3 * x), x=float(x)) for x in X],
    "namedtuples": [Point(float(x), float(3 * x)) for x in X],
    "dicts of vectors": [{"x": Vectors.dense([x]), "y": Vectors.sparse(1, {0: 3 * x})} for x in X],
    "dicts of numpy's numbers": [{"x": np.float64(x), "y": np.float16(3 * x)} for x in X],
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_of_an_rdd_keep_their_names(spark, kind):
    run = train(spark.sparkContext.parallelize(ROWS[kind], 2))
    np.testing.assert_allclose(run.params, 3 * np.mean(X**2), rtol=2e-3)  # the first step of steepest descent


def test_rows_have_attributes_and_entries(spark):
    def by_attribute(slope, batch):
        return ((slope * batch.x - batch["y"]) ** 2).mean()

    data = spark.sparkContext.parallelize(ROWS["namedtuples"], 2)
    run = train(data, function=by_attribute, validation=data)
    np.testing.assert_allclose(run.params, 3 * np.mean(X**2), rtol=1e-5)
    data = spark.sparkContext.parallelize(ROWS["Rows"], 2)
    with pytest.raises(MissingColumnError, match=r"column 'z'; the data has the columns \['x', 'y'\]"):
        train(data, function=lambda p, batch: batch.z)
    with pytest.raises(MissingColumnError, match="columns= asked for column 'z'"):
        train(data, columns=["z"])
    run = train(spark.sparkContext.parallelize([Row(x=1.0, y=1.0, name="a")] * 4), columns=["x", "y"])
    assert run.params == 1


def test_plain_tuples_and_arrays_keep_their_places(spark):
    context = spark.sparkContext
    run = train(context.parallelize([tuple(row) for row in ROWS["Rows"]]), lambda p, b: ((p * b[0] - b[1]) ** 2).mean())
    np.testing.assert_allclose(run.params, 3 * np.mean(X**2), rtol=1e-5)
    run = train(context.parallelize([[float(x), float(3 * x)] for x in X]), lambda p, b: p * b.mean())
    np.testing.assert_allclose(run.params, 0, atol=1e-6)
    with pytest.raises(ArgumentError, match="columns= chooses columns by name, but those of the data have none"):
        train(context.parallelize([(1.0, 2.0)]), columns=["x"])


def test_numbers_of_an_rdd_do_not_depend_on_its_partitions(spark):
    """Whole numbers in one partition, broken ones in another."""
    rows = [{"x": 1, "y": 2}] * 2 + [{"x": 0.1, "y": 0.3}] * 2
    one, two = (train(spark.sparkContext.parallelize(rows, n), shards=1, partitions=1).params for n in (1, 2))
    assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


BAD_ROWS = {
    "objects": ([object()], DataError, "must be a Row, a dict, a tuple or an array; it is object"),
    "text": (["1,2"], DataError, "it is str"),
    "an object later": ([{"x": 1.0, "y": 1.0}, "1,2"], DataError, "it is str"),
    "other columns later": ([{"x": 1.0, "y": 1.0}, {"x": 1.0}], ColumnError, "column 'y': in some rows but not in all"),
    "shorter tuples later": ([(1.0, 1.0), (1.0,)], ColumnError, r"column '\[1\]': in some rows"),
    "dates": ([{"x": 1.0, "y": datetime.date(2026, 11, 28)}], ColumnError, "column 'y': date is not numeric"),
    "decimals": ([{"x": 1.0, "y": decimal.Decimal(1)}], ColumnError, "column 'y': Decimal is not numeric"),
    "ragged lists": ([{"x": 1.0, "y": [[1], [1, 2]]}], ColumnError, "column 'y': a ragged array"),
    "numbers too large": ([{"x": 1.0, "y": 2**70}], ColumnError, "column 'y': 1180591620717411303424 does not fit"),
    "None": ([None], DataError, "it is NoneType"),
    "no columns": ([{}], DataError, "no columns"),
    "two columns of a name": ([{1: 1.0, "1": 1.0}], ColumnError, "column '1': several columns"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_of_an_rdd(spark, kind):
    rows, error, text = BAD_ROWS[kind]
    with pytest.raises(error, match=text):
        train(spark.sparkContext.parallelize(rows, 1))


def test_an_rdd_that_fails(spark):
    context = spark.sparkContext
    with pytest.raises(UserFunctionError, match="reading the data: a function raised ZeroDivisionError"):
        train(context.parallelize([1.0, 0.0], 1).map(lambda x: {"x": 1 / x, "y": x}))
    with pytest.raises(DataError, match="Input path does not exist"):
        train(context.textFile("/nowhere/at/all").map(float))
    lock = threading.Lock()
    with pytest.raises(UserFunctionError, match="cannot be sent to the executors"):
        train(context.parallelize([1.0]).map(lambda x: (x, lock)))


def test_types_that_spark_has_and_numpy_has_not(spark):
    frame = spark.sql("select cast(1.5 as decimal(5, 2)) x, array(cast(1.5 as decimal(5, 2))) y from range(4)")
    assert train(frame, lambda p, b: (p - b["x"]).mean() + (p - b["y"][:, 0]).mean()).params == -1


FUNCTIONS = {
    "raises": (lambda p, b: 1 / 0, UserFunctionError, "the loss, traced on .* raised ZeroDivisionError"),
    "branches": (lambda p, b: p if p > 0 else -p, UserFunctionError, "raised ConcretizationError"),
    "gives nothing": (lambda p, b: None, LossError, "must return one floating-point number; it returned NoneType"),
    "gives text": (lambda p, b: "loss", (LossError, UserFunctionError), "loss"),
    "gives a list": (lambda p, b: [p], LossError, "it returned list"),
    "gives a whole number": (lambda p, b: fnp.argmax(b["x"]), LossError, "dtype int"),
    "gives three things": (lambda p, b: (p, {}, {}), LossError, "a number and a dict of metrics"),
    "has a metric of rows": (lambda p, b: (p, {"r": b["x"]}), LossError, "metric 'r' of the loss must be a number"),
    "has a metric of text": (lambda p, b: (p, {1: p}), ArgumentError, "cannot be called 1"),
    "hides the loss": (lambda p, b: (p, {"loss": p}), ArgumentError, "cannot be called 'loss'"),
    "takes nothing": (lambda: 0.0, UserFunctionError, "raised TypeError"),
    "takes columns": (
        lambda params, x, y: (params * x - y).mean(),
        UserFunctionError,
        r"the loss, called with \(params, x=batch, y=key\), traced on a batch of",
    ),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_losses(spark, kind):
    function, error, text = FUNCTIONS[kind]
    with pytest.raises(error, match=text):
        train(function=function)


def test_functions_that_cannot_travel(spark):
    lock = threading.Lock()
    with pytest.raises(UserFunctionError, match=r"sending the loss, metrics and optimizer .*lock"):
        train(function=lambda p, b: loss(p, b) if lock else 0)
    with pytest.raises(UserFunctionError, match=r"sending the loss, metrics and optimizer"):
        train(function=lambda p, b: loss(p, b) if spark else 0)
    with pytest.raises(UserFunctionError, match=r"sending the function and params .*lock"):
        fdl_spark.predict(lambda p, b: lock and b["x"], FITTED, spark.createDataFrame([(1.0,)], "x double"))


def test_optimizers_that_raise(spark):
    class Bad:
        def init(self, params):
            return params["no such layer"]

        update = None

    bad = Bad()
    bad.update = lambda *_: None
    with pytest.raises(UserFunctionError, match="the optimizer's init raised"):
        train(optimizer=bad)


def test_one_name_for_two_metrics(spark):
    with pytest.raises(LossError, match="metric 'm' is one of the loss and one of metrics=; rename"):
        train(function=lambda p, b: (loss(p, b), {"m": p}), metrics={"m": loss}, validation=GOOD)


def test_few_rows(spark):
    """Fewer than partitions, shards or a batch, in the data and in the validation."""
    tiny = {"x": X[:1], "y": 3 * X[:1]}
    run = train(tiny, validation={"x": X[:3], "y": 3 * X[:3]}, shards=4, partitions=4, steps=2)
    assert [record["rows"] for record in run.history.steps] == [1, 1]
    expected = np.mean((run.params * X[:3] - 3 * X[:3]) ** 2)
    np.testing.assert_allclose(run.history.epochs[-1]["validation"]["loss"], expected, rtol=1e-5)


def test_no_steps(spark):
    assert train(steps=0, params=FITTED).params == FITTED
    assert train(steps=None, epochs=0, params=FITTED).step == 0


EVALUATIONS = {
    "nothing": (None, {}, ArgumentError, "loss_or_metrics must be a function"),
    "a number": (3, {}, ArgumentError, "loss_or_metrics must be a function"),
    "no metric": ({}, {}, ArgumentError, "loss_or_metrics is empty"),
    "no function": ({"a": 3}, {}, ArgumentError, r"loss_or_metrics\['a'\] must be a function"),
    "batch_size": (loss, {"batch_size": 0}, ArgumentError, "batch_size must be at least 1"),
    "columns": (loss, {"columns": "xy"}, ArgumentError, "columns must be a list of names"),
    "missing column": (lambda p, b: b["z"].mean(), {}, MissingColumnError, "the loss asked for column 'z'"),
    "raises": ({"m": lambda p, b: 1 / 0}, {}, UserFunctionError, "metric 'm', traced on .*ZeroDivisionError"),
}


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_evaluate(spark, kind):
    function, options, error, text = EVALUATIONS[kind]
    with pytest.raises(error, match=text):
        fdl_spark.evaluate(function, FITTED, GOOD, **options)


def test_evaluate_of_a_query_that_fails(spark):
    with pytest.raises(DataError, match="DIVIDE_BY_ZERO"):
        fdl_spark.evaluate(loss, FITTED, frame_of(spark, "division by zero"))


@pytest.fixture(scope="module")
def named(spark):
    return spark.createDataFrame([("a", 1.0), ("b", 2.0)], "name string, x double")


def double(params, batch):
    return params * batch["x"]


PREDICTIONS = {
    "taken": (
        {"output": "x"},
        ColumnError,
        "column 'x': the DataFrame has this column already; choose another output=, or replace it",
    ),
    "taken but for capitals": ({"output": "NAME"}, ColumnError, "column 'NAME': the DataFrame has this column already"),
    "no name": ({"output": ""}, ArgumentError, "output must be the name"),
    "a number for a name": ({"output": 3}, ArgumentError, "output must be the name"),
    "no function": ({"apply": None}, ArgumentError, "apply must be a function"),
    "batch_size": ({"batch_size": 0}, ArgumentError, "batch_size must be at least 1"),
    "one column as text": ({"columns": "x"}, ArgumentError, "columns must be a list of names"),
    "a column that is not there": ({"columns": ["z"]}, MissingColumnError, "columns= asked for column 'z'"),
    "a column of text": ({"columns": ["name"]}, ColumnError, "column 'name': string is not numeric"),
    "a column twice": ({"columns": ["x", "x"]}, ColumnError, "column 'x': columns= has it twice"),
    "raises": ({"apply": lambda p, b: 1 / 0}, UserFunctionError, "the function, traced on .*ZeroDivisionError"),
    "gives nothing": ({"apply": lambda p, b: None}, DataError, "one row of output per row"),
    "no type": (
        {"output": {"y": "text"}},
        ArgumentError,
        r"output\['y'\] must be \"vector\", \"binary\", 'float', .* not 'text'",
    ),
    "a type of fewer axes": (
        {"output": {"y": "array<float>"}},
        DataError,
        "'y' was to be array<float>, for which 2 axes are needed; the function gives 1",
    ),
    "a type that cannot hold it": (
        {"output": {"y": "int"}},
        DataError,
        "'y' was to be int, which cannot hold the function's float32",
    ),
    "one name for two": ({"output": ["y", "Y"]}, ArgumentError, r"one name to Spark: \['y', 'Y'\]"),
    "a name twice": ({"output": ["y", "y"]}, ArgumentError, "output names a column twice"),
    "no names": ({"output": []}, ArgumentError, "output must be the name"),
    "two results without names": ({"apply": lambda p, b: (b["x"], b["x"])}, ArgumentError, "the function gives 2 res"),
    "three names for two": (
        {"apply": lambda p, b: (b["x"], b["x"]), "output": ["u", "v", "w"]},
        DataError,
        r"output names 3 columns, \['u', 'v', 'w'\], and the function gives 2",
    ),
    "another key": (
        {"apply": lambda p, b: {"u": b["x"]}, "output": "v"},
        DataError,
        r"output names 'v', and the function gives \['u'\]",
    ),
    "keys that are no names": ({"apply": lambda p, b: {3: b["x"]}}, DataError, "names of columns as keys"),
    "a dict with a taken name": ({"apply": lambda p, b: {"x": b["x"]}}, ColumnError, "column 'x': the DataFrame has"),
    "invalid": ({"invalid": "skip"}, ArgumentError, r"invalid must be one of \['error', 'null'\]"),
    "no features": ({"features": "x"}, ArgumentError, "features must be encoders"),
    "shapes that are none": ({"shapes": {"x": 3}}, ArgumentError, r"shapes\['x'\] must be a tuple of lengths"),
    "shapes of no column": ({"shapes": {"z": (3,)}}, ArgumentError, "shapes= has 'z', which is no column of the batch"),
    "shapes of numbers": (
        {"shapes": {"x": (3,)}},
        ArgumentError,
        r"shapes\['x'\] is \(3,\); a row of the column has the shape \(\)",
    ),
    "not a frame": ({"frame": GOOD}, DataError, "predict needs a DataFrame, .*; it got dict"),
}


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predict(named, kind):
    changes, error, text = PREDICTIONS[kind]
    arguments = {"apply": double, "params": FITTED, "frame": named, **changes}
    with pytest.raises(error, match=text):
        fdl_spark.predict(**arguments)


def test_predict_runs_no_query(spark):
    """One that fails, fails when the predictions are asked for."""
    scored = fdl_spark.predict(double, FITTED, frame_of(spark, "division by zero"))
    with no_query_log(), pytest.raises(ArithmeticException, match="DIVIDE_BY_ZERO"):
        scored.collect()


def test_predict_keeps_columns_of_any_name(spark):
    """Twice the same, dots, spaces, capitals, not null, with metadata; and a column of capitals if Spark sees them."""
    frame = spark.range(3).select(
        sql.col("id").alias("a.b"),
        sql.col("id").alias("twice"),
        sql.col("id").alias("twice"),
        (sql.col("id") * 2.0).alias("X y", metadata={"unit": "m"}),
    )
    scored = fdl_spark.predict(lambda p, b: b["X y"] * p, np.float32(2), frame, output="a b", columns=["X y"])
    assert scored.columns == ["a.b", "twice", "twice", "X y", "a b"]
    assert [tuple(row) for row in scored.collect()] == [(i, i, i, 2.0 * i, 4.0 * i) for i in range(3)]
    assert scored.schema["X y"].metadata == {"unit": "m"}
    assert not scored.schema["a.b"].nullable
    with pytest.raises(ColumnError, match="column 'twice': 2 columns have this name"):
        fdl_spark.predict(double, FITTED, frame)


def test_predict_without_rows_gives_the_same_type(named):
    scored = fdl_spark.predict(lambda p, b: b["x"] > p, FITTED, named.where("x > 5"))
    assert scored.schema["prediction"].dataType.simpleString() == "boolean"
    assert scored.count() == 0


@pytest.mark.parametrize(
    "error",
    [
        ColumnError("x", "null", 3),
        MissingColumnError("z", ["x"], "the loss"),
        fdl_spark.NonFiniteError(3, 1, "the loss (nan)"),
        fdl_spark.JavaNotFoundError(["PATH"], 17),
        DataError("no rows"),
    ],
)
def test_errors_travel_between_processes(error):
    import pickle

    error.argument = "validation"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)
