"""Synchronous data-parallel training of a pure function on Spark, exact to the bit."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import fdl
from fdl_spark.checkpoints.checkpoint import KEEP, CheckpointFolder
from fdl_spark.compute.program import Program
from fdl_spark.compute.recipe import LossScale
from fdl_spark.compute.update import Update, is_elementwise
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.held import Held
from fdl_spark.data.load import load, session_of
from fdl_spark.engines.common.leaves import initial, paths
from fdl_spark.engines.engine import Snapshot
from fdl_spark.history.run import Run
from fdl_spark.metrics.metric import Metric
from fdl_spark.spark.activity import Activity
from fdl_spark.spark.cleanup import Cleanup
from fdl_spark.spark.failures import about, calling, settled
from fdl_spark.spark.jobs import job_group
from fdl_spark.training.ahead import Ahead
from fdl_spark.training.batching import Batching, check_sparse
from fdl_spark.training.callback import Callback
from fdl_spark.training.checks import check_arguments
from fdl_spark.training.continuing import Origin
from fdl_spark.training.controls import Settings
from fdl_spark.training.described import described
from fdl_spark.training.engine_choice import engine_maker, engines_for
from fdl_spark.training.freezing import Frozen
from fdl_spark.training.loop import Loop
from fdl_spark.training.monitors import Best
from fdl_spark.training.phases import Phases
from fdl_spark.training.plateau import Plateau, rescaled
from fdl_spark.training.triggers import Every, Trigger


def train(
    loss: Callable[..., Any],
    params: Any,
    data: Any,
    *,
    state: Any = None,
    weights: str | None = None,
    class_weights: Mapping[Any, float] | Literal["balanced"] | None = None,
    label: str | None = None,
    augment: Callable[[Any, Any], Any] | None = None,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
    validation: Any = None,
    metrics: Mapping[str, Callable[[Any, Any], Any] | Metric] | None = None,
    optimizer: Any,
    frozen: Sequence[str] = (),
    batch_size: int,
    drop_remainder: bool = False,
    microbatch: int | None = None,
    loss_scale: float | Literal["dynamic"] | LossScale | None = None,
    seed: int = 0,
    shards: int | None = None,
    plateau: Plateau | None = None,
    nonfinite: Literal["stop", "skip"] = "stop",
    epochs: int = 1,
    steps: int | None = None,
    stop: Trigger | None = None,
    validate: Trigger | None = None,
    best: Best | str | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    save: Trigger | None = None,
    checkpoint_steps: int | None = None,
    keep: int | None = None,
    continue_from: Run | str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
    partitions: int | None = None,
    sync: Literal["auto", "resident", "shuffle", "blocks", "driver"] | Every = "auto",
    group: int | Literal["auto"] = "auto",
    wire: Literal["float32", "bfloat16"] = "float32",
) -> Run:
    """Train parameters on Spark by synchronous data-parallel gradient descent.

    The parameters after k steps are the same bits for any number of partitions, executors, lost executors and resumes,
    if `seed` and `shards` are the same and the rows of the data come in a stable order. The scheme of short stateless
    jobs is that of BigDL (Dai et al., SoCC 2019, section 3); the fixed tree of sums over shards is what makes it exact.

    Args:
      loss: **What is trained, on what**: (params, batch) or (params, batch, key) -> mean loss over the batch's rows, or
        (mean loss, dict of means). The batch is a dict of arrays by column, each with rows first, or a pytree like
        `data`. The key is folded from the seed, the step and the shard.
      params: pytree of floating-point arrays.
      data: a DataFrame; an RDD of Rows, dicts, tuples or arrays; a path, or a list of paths, of Parquet, ORC, CSV or
        JSON files, or of a Delta table; a table of pyarrow, pandas or polars; or a pytree of arrays with equally many
        rows. Doubles become float32, but for those of a pytree. Rows and namedtuples give batches whose columns are
        entries and attributes: `batch["x"]` and `batch.x`.
      state: a pytree of floating-point arrays that the model keeps beside its parameters, such as the statistics of
        batch normalisation. The loss is then (params, state, batch[, key]) -> (mean loss, dict of means, new state),
        and a metric (params, state, batch) -> mean. The new state is the mean over the batch's rows of what the shards
        return, summed along the same tree as gradients; each shard normalises by its own rows. A loss with an argument
        `training` is told True in steps, and False in validation. `run.state` has the last one. A pytree without arrays
        is the state of a model that has none.
      weights: the column that says what each row weighs, not negative. The loss returns the loss of each row, of shape
        (rows,), in place of their mean; the run takes sum(weight * loss) / sum(weight) over the whole batch, whatever
        shards its rows are in, and so does the validation. A batch whose rows all weigh 0 is not finite.
      class_weights: what each class weighs, by label, with a loss as for `weights`, by which it is multiplied. A class
        that is not named weighs 1; "balanced" is rows / (classes * rows of the class), counted on the data.
      label: the column of the classes.
      augment: (key, row) -> row, a pure function of one row and its key, applied in training only and compiled with the
        loss. The key is folded from the seed, the epoch and the number of the row in the data: a row is changed in the
        same way whatever the partitions, the shards and the batch size are. Arrays may come with other shapes: one row
        with k negatives is an array of 1 + k, which the loss flattens.
      columns: the columns to use as they are, of data whose columns have names; None means all, or none if there are
        `features`.
      features: fitted encoders of `fdl_spark.features`: the batch has their outputs. The executors encode the data, and
        the validation, as they read it.
      validation: data as `data`, on which the loss and the metrics are taken when `validate` says so.
      metrics: functions (params, batch) -> mean, or metrics of `fdl_spark.metrics`, by name, taken on the validation.
      optimizer: **How**: a pair of pure functions, such as `fdl.optim.adam(1e-3)`.
      frozen: patterns of the paths of parameters that are not trained, such as "encoder/*", in which `*` stands for any
        text. They are constants of the loss: they have no gradient, and no step sends them.
      batch_size: rows of a global batch; the last one of an epoch may have fewer.
      drop_remainder: leave that one out; it has other rows in each epoch.
      microbatch: how many rows a task computes at once, at most, to bound its memory: gradients of pieces of a shard's
        rows are added up in their order. The key of the loss is then folded with the number of the piece too.
      loss_scale: a power of two by which the loss is multiplied before it is differentiated, and the gradient divided
        afterwards, for models that compute in 16 bits. "dynamic" begins with 2**15, doubles after 2,000 steps, and on
        an overflow halves and leaves the step out (`fdl_spark.LossScale` has other numbers); the history records it.
      seed: decides the shards, the order of rows and the keys.
      shards: number of logical shards; None means one a partition, or what the checkpoint says.
      plateau: by what to reduce the learning rate when a metric does not improve any more; see Plateau.
      nonfinite: what to do about a NaN or infinite loss or gradient: "stop" raises, "skip" leaves the step out, but
        raises after 100 of them in a row.
      epochs: **How long, and what is done when**: how often each row takes part.
      steps: number of steps, in place of `epochs`.
      stop: a trigger that ends the run earlier, such as `fdl_spark.EarlyStopping(patience=3)` or
        `fdl_spark.when(seconds=3600)`. The run's end is validated and saved.
      validate: a trigger; None means `fdl_spark.every(epochs=1)`. The end of the run is always validated, but where a
        callback stops it.
      best: a metric, or Best(metric, mode): the best parameters are kept in `run.best`, and as a checkpoint.
      checkpoint: folder or URI of checkpoints. If it holds some of this run, training goes on from the newest that is
        whole; damaged ones after it are renamed to `*.broken`, with a warning and an event in the history. One that
        cannot be written later, to a full disk say, is left out with a warning and an event. A folder is one run's at
        a time; where the file system has no locks (HDFS, object stores) it is the last one's that came.
      save: a trigger that says when a checkpoint is saved; None means `fdl_spark.every(epochs=1)`. The end of the run
        is always saved.
      checkpoint_steps: save after every so many steps as well.
      keep: how many of the newest checkpoints stay, besides the best one; None means 2.
      continue_from: a Run, or a folder of checkpoints: begin with its parameters in place of the values of `params`,
        and with its optimizer's state if that has the structure of this optimizer's. Steps, keys, order of rows and
        history begin anew. A checkpoint of this run comes first.
      callbacks: told of every step and epoch; see Callback.
      partitions: **Where**: number of tasks; None means as many as the cluster runs at once.
      sync: how gradients meet; all ways give the same bits. "resident": one Spark job takes a group of steps, and its
        tasks exchange slices among themselves. "shuffle": each step is a job of two stages, through Spark's shuffle.
        "blocks": the same, but parameters go from executor to executor; for large models and many executors.
        "driver": each step is a job of one stage, and gradients go to the driver; for small models. "auto": whatever
        is fastest in the first seconds, in as many slices as pay; `run.history.engines` says which, and why.
        `fdl_spark.every(k)` is another algorithm: shards take local steps.
      group: how many steps one Spark job takes at most, if its tasks stay ("resident"); "auto" for as many as take
        about a second. A group ends where a validation, a checkpoint or a callback needs the parameters.
      wire: in what precision gradients travel. "bfloat16" halves their bytes: they are rounded shard by shard, what is
        lost goes along with the shard's next one, and sums are float32. All ways of `sync` give the same bits.
        Parameters travel as float32.

    Returns:
      The Run: `params`, `state`, `history`, `optimizer_state`, `best`.

    Raises:
      ArgumentError: an argument is not what it must be.
      ColumnError, MissingColumnError, DataError: the data does not become arrays, or lacks a column.
      LossError: the loss does not return a number.
      NonFiniteError: the loss or a gradient is NaN or infinite.
      UserFunctionError: a function raised.
      ClusterError: Spark was stopped, or lost what it needs again and again.
      CheckpointError: the folder cannot be written, a run that lives has it, its checkpoints are all damaged, or are
        of another run.

    >>> import numpy as np
    >>> def loss(slope, batch):
    ...     return ((slope * batch["x"] - batch["y"]) ** 2).mean()
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
    >>> run = train(loss, np.float32(0), {"x": x, "y": 3 * x}, optimizer=fdl.optim.sgd(0.5), batch_size=32, epochs=8)
    >>> round(float(run.params), 2)
    3.0
    """
    arguments = dict(locals())
    check_arguments(arguments)
    batching = Batching(arguments)
    settings = Settings.of(validate, save, stop, best, plateau, checkpoint_steps)
    if plateau is not None:
        optimizer = rescaled(optimizer)
    origin = None if continue_from is None else Origin.of(continue_from)
    if origin is not None:
        params, state = origin.params_like(params), origin.state_like(state)
    constants = Frozen(params, frozen, state is not None)
    loss, params, metrics = constants.bound(loss), constants.trained, constants.bound_all(metrics)
    folder = CheckpointFolder(checkpoint, keep or KEEP) if checkpoint is not None else None
    with Cleanup() as cleanup:
        phases = cleanup.enter("ending the run's phases", Phases(callbacks))
        phases("load")
        saved = None
        if folder is not None:
            folder.claim()
            cleanup.add("giving back the checkpoints' folder", folder.release)
            saved = folder.load()
            folder.prepare()
        shards = shards or (saved.arguments["shards"] if saved else None)
        read = partial(load, batch_size=batch_size, seed=seed, tasks=partitions, columns=columns, features=features)
        with settled("training"):
            where = None if isinstance(data, Held) else session_of(data)  # a trial's, in a task
        # Cleaning up is of no group: whoever cancels the run's jobs wants that all the more.
        with settled("training"), job_group(where, phases.name):
            phases("load", Activity(where, phases.name))
            dataset = read(data, shards=shards)
            cleanup.add("deleting the data's blocks", dataset.close)
            cleanup.enter("taking back the jobs' settings", dataset.own_jobs())
            recipe = batching.prepare(dataset)
            rounded = wire == "bfloat16"
            program = Program(loss, params, seed=seed, metrics=metrics, rounded=rounded, state=state, recipe=recipe)
            with calling("the optimizer"):
                program.update = _update(optimizer, program)
                if isinstance(sync, Every):
                    program.update, program.inner = _update(sync.outer or fdl.optim.sgd(1.0), program), program.update
            example, more = dataset.example(), recipe.example(dataset.schedule, dataset.example_rows)
            program.check(example, more)
            check_sparse(program)
            program.find_tables(example, more)
            engines = engines_for(program, sync, dataset)
            ahead = Ahead(program)
            cleanup.add("compiling nothing more", ahead.close)
            ahead.gradient(dataset)
            held_out = None
            if validation is not None:
                phases("load", Activity(where, phases.name))
                held_out = read(validation, argument="validation", shards=dataset.schedule.shards)
                cleanup.add("deleting the validation's blocks", held_out.close)
                with about("validation"):
                    if recipe.weighting is not None:
                        recipe.weighting.check(held_out)
                    program.check(held_out.example())
                ahead.measure(held_out, program.recipe.rows_at_once(batch_size))
            flat = program.flat()
            with calling("the optimizer's init"):
                leaves = initial(program, flat, dataset.schedule.shards)
            if origin is not None:
                leaves, event = origin.leaves_like(paths(program, flat, dataset.schedule.shards), leaves)
            engine_of = engine_maker(sync, dataset, engines, rounded)
            phases("compile")
            dataset.describe("fdl train: bring parameters and state to the executors")
            ahead.wait()
            engine = engine_of(dataset, program, Snapshot(0, flat, leaves), skip=nonfinite == "skip")
            cleanup.add("freeing what the executors hold", engine.close)
            loop = Loop(engine, held_out, folder, group, settings, phases, constants)
            if origin is not None:
                loop.run.history.add_event(0, event)
            if folder is not None:
                loop.resume(folder, saved)
            phases.record(loop.run, described(arguments, where, dataset, program, Snapshot(0, flat, leaves)))
        total = steps if steps is not None else epochs * dataset.schedule.steps_per_epoch
        with job_group(where, phases.name):
            cleanup.run = run = loop.train(total, callbacks)
    return run


def _update(optimizer: Any, program: Program) -> Update:
    return Update(optimizer, program.params, is_elementwise(optimizer, (program.params, program.carried)))
