# ruff: noqa: E402  (what is hidden must be hidden before it is imported)
"""What a client of Spark Connect does; run as a program: `server URL` (without Java or SparkContext), or `local`.

Prints one JSON object: what each check gave, or the error that it raised.
"""

import contextlib
import faulthandler
import hashlib
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

CLASSIC = ("py4j", "pyspark.core", "pyspark.java_gateway")


class NoClassicSpark:
    """What an import finds where only the client of Spark Connect is installed."""

    def find_spec(self, name, path=None, target=None):
        if any(name == hidden or name.startswith(f"{hidden}.") for hidden in CLASSIC):
            raise ImportError(f"{name} is hidden")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if sys.argv[1] == "server":
        os.environ["SPARK_SKIP_CONNECT_COMPAT_TESTS"] = "1"
        sys.meta_path.insert(0, NoClassicSpark())

import fdl
import fdl.numpy as fnp
import fdl_spark
from fdl_spark import features
from fdl_spark.data.connect_dataset import _cannot_cache
from fdl_spark.data.load import load
from fdl_spark.spark.connect.upload import union

HERE = runpy.run_path(str(Path(__file__).with_name("problem.py")))
WALL = runpy.run_path(str(Path(__file__).with_name("wall.py")))
SECONDS = 300  # for a check, on a machine that does much else; alone it takes less than ten
problem = HERE["make_problem"](200)
adam = fdl.optim.adam(1e-2)


def digest(params):
    return hashlib.sha256(HERE["digest"](params).encode()).hexdigest()


def rows(spark):
    """Columns of many types, the same in every kind of session."""
    x = ", ".join(f"cast(sin(id * {n}) as float)" for n in range(1, 7))
    types = [f"array({x}) as x", "cast(id % 3 as tinyint) as y", "sin(id * id) as weight", "id % 2 = 0 as even"]
    types += ["cast(id as decimal(10, 2)) as price", "array(array(id, 2L), array(3L, id)) as nest"]
    return spark.range(0, 101, 1, 3).selectExpr("concat('row ', id) as name", *types)


NUMBERS = ["x", "y", "weight", "even", "price", "nest"]


def weighted(params, batch):
    z = problem.scores(params, batch)
    logp = z - fnp.log(fnp.sum(fnp.exp(z), axis=1, keepdims=True))
    chosen = (fnp.arange(3) == batch["y"][:, None]).astype(fnp.float32)
    more = batch["weight"] + batch["price"] * 1e-3 + batch["nest"][:, 1, 1] * 1e-3
    return -fnp.mean(fnp.sum(logp * chosen, axis=1) * fnp.where(batch["even"], more, 1))


def train(data, loss=problem.loss, **options):
    options = {"optimizer": adam, "batch_size": 48, "steps": 3, "shards": 4, "sync": "shuffle", **options}
    return fdl_spark.train(loss, problem.params, data, **options)


def resumed(sync, folder=None):
    folder = folder or tempfile.mkdtemp()
    train(problem.data, problem.noisy_loss, sync=sync, checkpoint=folder, steps=3)
    return digest(train(problem.data, problem.noisy_loss, sync=sync, checkpoint=folder, steps=6, partitions=1).params)


def rounded():
    """Rounded gradients by one engine after the other, what was lost in rounding handed on."""
    folder = tempfile.mkdtemp()
    for steps, sync, partitions in ((2, "shuffle", 2), (4, "driver", 1), (6, "resident", 2)):
        options = {"sync": sync, "partitions": partitions, "steps": steps}
        run = train(problem.data, wire="bfloat16", checkpoint=folder, **options)
    return [digest(run.params), digest([run.optimizer_state[name] for name in sorted(run.optimizer_state)])]


def of_rows(params, state, batch):
    """The loss of each row, and a state."""
    z = problem.scores(params, batch)
    chosen = (fnp.arange(3) == batch["y"][:, None]).astype(fnp.float32)
    logp = z - fnp.log(fnp.sum(fnp.exp(z), axis=1, keepdims=True))
    return -fnp.sum(logp * chosen, axis=1), {}, {"mean": 0.5 * state["mean"] + 0.5 * batch["x"].mean(axis=0)}


def shaken(key, row):
    return {**row, "x": row["x"] + 0.1 * fdl.random.normal(key, row["x"].shape)}


def carried(sync):
    """All that batches carry, by one engine."""
    options = {"state": {"mean": np.zeros(6, np.float32)}, "class_weights": "balanced", "label": "y", "partitions": 2}
    options |= {"augment": shaken, "microbatch": 5, "loss_scale": fdl_spark.LossScale(4.0, 2), "drop_remainder": True}
    run = train(problem.data, of_rows, sync=sync, steps=6, **options)
    return [digest(run.params), digest(run.state), [record["loss_scale"] for record in run.history.steps]]


def validated(spark):
    found = {"validation": rows(spark), "columns": NUMBERS, "metrics": {"accuracy": problem.accuracy}, "epochs": 1}
    run = train(rows(spark), weighted, steps=None, sync="driver", **found)
    return [digest(run.params), run.history.epochs]


class Stop(fdl_spark.Callback):
    def step(self, run, record):
        return run.step == 2


def stopped():
    run = train(problem.data, callbacks=[Stop()], steps=50)
    return [run.step, digest(run.params)]


def evaluated(spark):
    found = fdl_spark.evaluate(weighted, problem.params, rows(spark), columns=NUMBERS)
    return [found, fdl_spark.evaluate({"accuracy": problem.accuracy}, problem.params, problem.data)]


def searched(spark):
    """Trials of data that goes with each job, and of data that is too large for that, on validation data."""

    def make(rate):
        return {"loss": problem.loss, "params": problem.params, "optimizer": fdl.optim.adam(rate)}

    chosen = {"batch_size": 48, "epochs": 2, "shards": 4, "halving": 2, "columns": ["x", "y"]}
    found = fdl_spark.search(make, {"rate": [1e-2, 1e-3]}, rows(spark), validation=rows(spark), **chosen)
    wide = {"x": problem.data["x"], "y": problem.data["y"], "wide": np.ones((200, 25_000), np.float32)}
    large = fdl_spark.search(make, {"rate": [1e-2]}, wide, batch_size=100, shards=2)
    return [[repr(trial.value) for trial in found.trials], digest(found.best.params), digest(large.best.params)]


def measured(spark):
    """Metrics of rows that are anywhere."""
    chosen = {
        "auc": fdl_spark.metrics.auc(lambda p, b: problem.scores(p, b)[:, 0], lambda p, b: b["y"] == 0),
        "groups": fdl_spark.metrics.by_group(fdl_spark.metrics.accuracy(problem.scores, "y"), "y"),
        "lists": fdl_spark.metrics.ndcg("weight", "even", 3, group="y"),
    }
    return fdl_spark.evaluate(chosen, problem.params, rows(spark), columns=NUMBERS, batch_size=17)


def predicted(spark):
    frame = rows(spark).drop("even")
    found = fdl_spark.predict(problem.scores, problem.params, frame, output="scores", columns=["x"], batch_size=7)
    table = found.toArrow()
    return [table.column_names, str(table.schema), hashlib.sha256(repr(table.to_pylist()).encode()).hexdigest()]


def applied(spark):
    """UDFs in SQL and in a select, of numbers, arrays and vectors, small and with parameters as large as files."""
    spark.udf.register(
        "fdl_score", fdl_spark.as_udf(lambda w, b: b["x"] @ w + b["n"], np.float32([1, 2]), "double", ["x", "n"])
    )
    query = "SELECT fdl_score(array(id, 0.5), id % 3) AS s FROM range(9)"
    large = np.arange(99_999, dtype=np.float32)
    both = fdl_spark.as_udf(
        lambda w, b: {"last": b["id"] * w[-1], "all": b["id"][:, None] * w[:3]},
        large,
        {"last": "float", "all": "array<double>"},
        ["id"],
        batch_size=4,
    )
    rows = spark.range(0, 9, 1, 2).select(both("id").alias("p")).select("p.*").toArrow().to_pylist()
    return [[row.s for row in spark.sql(query).collect()], rows]


def encoded(spark):
    """What encoders learn from a frame, and a run on what they make of it."""
    encoders = [
        features.standardise("x"),
        features.numeric("y", dtype="int32"),
        features.impute("price", strategy="median"),
        features.bucketize("weight", "bucket", buckets=3),
        features.vocabulary("name", size=9),
    ]
    fitted = features.fit(encoders, rows(spark))
    return [fitted.to_json(), digest(train(rows(spark), features=fitted).params)]


def classified(spark):
    """An estimator of Spark ML behind one of Spark's own stages, the model saved and opened again."""
    from pyspark.ml import Pipeline, PipelineModel
    from pyspark.ml.feature import VectorAssembler

    columns = ["cast(id % 3 as double) as label", "sin(id) + (id % 3) as a", "cos(id * id) as b"]
    frame = spark.range(0, 60, 1, 3).selectExpr(*columns)
    classifier = fdl_spark.Classifier(
        lambda params, x: x @ params, lambda key, features, classes: np.zeros((features, classes), np.float32),
        learningRate=0.1, epochs=1, batchSize=40, shards=2, options={"sync": "driver"},
    )  # fmt: skip
    model = Pipeline(stages=[VectorAssembler(inputCols=["a", "b"], outputCol="features"), classifier]).fit(frame)
    folder = tempfile.mkdtemp()
    model.save(f"{folder}/pipeline")
    again = PipelineModel.load(f"{folder}/pipeline")
    scored = [[repr(row) for row in one.transform(frame).collect()] for one in (model, again)]
    return [digest(model.stages[-1].parameters), scored[0], scored[1] == scored[0]]


# What classic sessions and Spark Connect must give alike, to the bit.
ALIKE = {
    "shuffle": lambda spark: digest(train(problem.data).params),
    "features": encoded,
    "driver": lambda spark: digest(train(problem.data, sync="driver").params),
    "auto": lambda spark: digest(train(problem.data, sync="auto").params),
    "resident": lambda spark: digest(train(problem.data, sync="resident", partitions=2).params),
    "rounded": lambda spark: rounded(),
    "whole optimizer": lambda spark: digest(train(problem.data, optimizer=fdl.optim.lamb(1e-2)).params),
    "columns": lambda spark: digest(train(rows(spark), weighted, columns=NUMBERS, partitions=3).params),
    "batches": lambda spark: [carried(sync) for sync in ("shuffle", "driver", "resident")],
    "validation": validated,
    "resume": lambda spark: resumed("shuffle"),
    "stop": lambda spark: stopped(),
    "evaluate": evaluated,
    "predict": predicted,
    "as_udf": applied,
    "search": searched,
    "metrics": measured,
    "ml": classified,
}


def blocks(spark):
    """How many block files the executors' folders hold."""

    def count(batches):
        import pyarrow as pa

        for _ in batches:
            pass
        folders = [Path(folder) for folder in os.environ["SPARK_LOCAL_DIRS"].split(",")]
        found = sum(len(list(folder.glob("*.block"))) for folder in folders)
        yield pa.RecordBatch.from_pydict({"count": [found]})

    return spark.range(1).mapInArrow(count, "count long").toArrow().to_pylist()[0]["count"]


def fails(function):
    try:
        function()
    except fdl_spark.SparkTrainingError as error:
        return [type(error).__name__, str(error)[:4000]]


def calling(function):
    """The loss, which calls a function in the tasks: what is traced alone is traced on the client."""

    def call(x):
        if in_task():
            function()
        return x

    def loss(params, batch):
        x = fdl.pure_callback(call, fdl.ShapeDtypeStruct(batch["x"].shape, batch["x"].dtype), batch["x"])
        return problem.loss(params, {"x": x, "y": batch["y"]})

    return loss


def bang():
    raise ZeroDivisionError("no bang")


def is_missing():
    raise ModuleNotFoundError("No module named 'fdl_spark'")


def in_task():
    from pyspark import TaskContext

    return TaskContext.get() is not None


def killed_once():
    marker = Path(tempfile.mkdtemp(), "killed")

    def kill():
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    run = train(problem.data, calling(kill))
    return [marker.exists(), digest(run.params)]


def interrupted(spark):
    class Interrupt(fdl_spark.Callback):
        def step(self, run, record):
            if run.step == 2:
                threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    began = time.monotonic()
    try:
        train(problem.data, steps=100_000, callbacks=[Interrupt()])
    except KeyboardInterrupt as error:
        return [error.run.step >= 2, time.monotonic() - began < 60, blocks(spark), digest(train(problem.data).params)]


def shared():
    """A value larger than what goes with a function, and answers larger than a row."""
    from fdl_spark.spark.connect import share

    dataset = load(problem.data, batch_size=48, shards=4, tasks=2)
    try:
        before, share.INLINE = share.INLINE, 1 << 20
        value, small = dataset.share([np.arange(1_000_000), np.ones(3)]), dataset.share(b"small")

        def look(task, blocks):
            (block,) = blocks
            array = value.value[0]
            yield small.value + b" %d %d %d" % (task, array.sum(), array.flags.writeable)
            yield array.tobytes()
            yield b""
            yield b"%d" % block.rows

        found = dataset.map(look)
        same = [found[place] == np.arange(1_000_000).tobytes() for place in (1, 5)]
        value.destroy()
        return [[found[n].decode() for n in (0, 2, 3, 4, 6, 7)], same]
    finally:
        share.INLINE = before
        dataset.close()


def uncached(spark):
    """Sessions that cannot cache read the data anew in each operation."""
    from pyspark.errors import PySparkException

    kind = type(spark.range(1))
    before = kind.cache

    def refuse(frame):
        refused.append(frame)
        raise PySparkException("[NOT_SUPPORTED_WITH_SERVERLESS] PERSIST TABLE is not supported on serverless compute.")

    refused = []
    kind.cache = refuse
    try:
        options = {"columns": NUMBERS, "partitions": 3}
        with recorded(spark.client._stub) as asked:
            run = train(rows(spark), weighted, **options)
            train(problem.data, sync="driver", steps=1)
            fdl_spark.predict(problem.scores, problem.params, rows(spark).drop("even"), columns=["x"]).collect()
        refusal = fails(lambda: train(rows(spark), weighted, wire="bfloat16", **options))
        return [digest(run.params), *refusal, len(refused), sorted(asked)]
    finally:
        kind.cache = before
        _cannot_cache.discard(spark)


@contextlib.contextmanager
def recorded(stub):
    """The kinds of everything that is asked of the server inside: its calls, relations, commands, settings."""
    before, asked = dict(vars(stub)), set()

    def noting(name, call):
        def noted(request, *arguments, **options):
            asked.add(name)
            if hasattr(request, "DESCRIPTOR"):
                note(request)
            return call(request, *arguments, **options)

        return noted

    def note(message):
        for oneof in message.DESCRIPTOR.oneofs:
            if (kind := message.WhichOneof(oneof.name)) and oneof.name in KINDS:
                asked.add(f"{message.DESCRIPTOR.name}.{kind}")
        for field, value in message.ListFields():
            if field.message_type is not None:
                for one in [value] if hasattr(value, "DESCRIPTOR") else value.values() if MAP in dir(value) else value:
                    if hasattr(one, "DESCRIPTOR"):
                        note(one)

    for name, call in before.items():
        setattr(stub, name, noting(name, call))
    try:
        yield asked
    finally:
        vars(stub).update(before)


KINDS = ("rel_type", "command_type", "analyze", "op_type", "cat_type")
MAP = "items"


def apart():
    """Tasks that cannot reach each other: without a wish for an engine, and with one for tasks that stay."""
    from fdl_spark.engines import resident

    before, resident.CONNECTING = resident.CONNECTING, 0.3

    def walled_off(server):
        return WALL["walled_off"](problem.loss, f"tcp:127.0.0.1:{server.getsockname()[1]}")

    try:
        # A loss for each: workers that have one from tasks that do not stay would not put up the wall again.
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
            run = train(problem.data, walled_off(one), sync="auto", partitions=2)
            why = [(choice["engine"], choice["why"]) for choice in run.history.engines[:2]]
            refused = fails(lambda: train(problem.data, walled_off(other), sync="resident", partitions=2))
            return [digest(run.params), *why, refused]
    finally:
        resident.CONNECTING = before


def large_prediction(spark):
    """Parameters larger than what goes with a plan, which are sent once."""
    frame = spark.range(5).selectExpr("cast(id as float) as x")
    sent, add = [], spark.addArtifact
    spark.addArtifact = lambda *paths, **options: (sent.append(paths), add(*paths, **options))
    try:
        for _ in range(2):
            found = fdl_spark.predict(lambda w, batch: w[-1] * batch["x"], np.arange(99_999, dtype=np.float32), frame)
        size = len(found._plan.to_proto(spark.client).SerializeToString())
        return [[row.prediction for row in found.collect()], len(sent), size < 100_000]
    finally:
        del spark.addArtifact


def written_by_two(spark):
    """A Pipeline at a path that is another folder for the server than for this client."""
    from pyspark.ml import PipelineModel

    estimator = fdl_spark.Regressor(
        lambda params, x: x[:, 0] * params, np.float32(0), epochs=1, options={"sync": "driver"}
    )
    model = estimator.fit(spark.createDataFrame([(1.0, [2.0])], "label double, features array<double>"))
    model.save("alone")
    alone = fdl_spark.ml.load("alone").uid == model.uid
    return [alone, *fails(lambda: PipelineModel([model]).save("relative"))]


def many_requests(spark):
    """As many uploads within one plan as 10 GB of arrays need."""
    return union([spark.range(n, n + 1) for n in range(640)]).columns


SERVER = {
    "many requests": many_requests,
    "session": lambda spark: fdl_spark.session() is spark,
    "imports": lambda spark: [name for name in sys.modules if name.startswith(CLASSIC)],
    "raises": lambda spark: fails(lambda: train(problem.data, calling(bang))),
    "module": lambda spark: fails(lambda: train(problem.data, calling(is_missing))),
    "query": lambda spark: fails(lambda: train(spark.range(9).selectExpr("1 div (id - id) as y"))),
    "name": lambda spark: fails(lambda: train(rows(spark).select("nobody"))),
    "null": lambda spark: fails(lambda: train(spark.range(0, 9, 1, 3).selectExpr("nullif(id, 5) as y"))),
    "string": lambda spark: fails(lambda: train(rows(spark))),
    "nothing": lambda spark: fails(lambda: train(spark.range(9).where("id > 9"))),
    "text": lambda spark: fails(lambda: train("rows")),
    "slots": lambda spark: fails(lambda: train(problem.data, sync="resident", partitions=3)),
    "blocks": lambda spark: fails(lambda: train(problem.data, sync="blocks")),
    "killed": lambda spark: killed_once(),
    "interrupted": interrupted,
    "shared": lambda spark: shared(),
    "uncached": uncached,
    "apart": lambda spark: apart(),
    "large prediction": large_prediction,
    "written by two": written_by_two,
    "left": lambda spark: [
        blocks(spark),
        [table.name for table in spark.catalog.listTables()],
        sorted(spark.getTags()),
    ],
    "after the end": lambda spark: [spark.stop(), fails(lambda: train(rows_of_ended))][1],
}


def local(spark):
    """What a process gives that has the server, too; then the server is killed."""
    from pyspark import SparkContext
    from pyspark.sql.connect.client.retries import DefaultPolicy

    found = {"session": fdl_spark.session() is spark, "driver": ALIKE["driver"](spark)}
    server = SparkContext._gateway.proc
    spark.client.set_retry_policies([DefaultPolicy(max_retries=3)])

    class Kill(fdl_spark.Callback):
        def step(self, run, record):
            if run.step == 2:
                server.kill()

    found["killed"] = fails(lambda: train(rows(spark), weighted, columns=NUMBERS, steps=9, callbacks=[Kill()]))
    return found


def told(name, check, spark):
    print(name, file=sys.stderr, flush=True)
    faulthandler.dump_traceback_later(SECONDS, exit=True)  # a check that hangs says where
    try:
        return check(spark)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    from pyspark.sql import SparkSession

    faulthandler.dump_traceback_later(SECONDS, exit=True)
    if sys.argv[1] == "local":
        given = local(SparkSession.builder.remote("local[2]").getOrCreate())
    else:
        session = SparkSession.builder.remote(sys.argv[2]).getOrCreate()
        rows_of_ended = rows(session)
        given = {name: told(name, check, session) for name, check in (ALIKE | SERVER).items()}
    print(json.dumps(given), flush=True)
    os._exit(0)  # what is left of a killed server has nothing to say
