"""Synchronous data-parallel training of a pure function on Spark, exact to the bit."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

import fdl
from fdl_spark.arguments import (
    check_callbacks,
    check_choice,
    check_features,
    check_function,
    check_metrics,
    check_names,
    check_optimizer,
    check_params,
    check_read,
    check_whole,
)
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.compute.program import Program
from fdl_spark.compute.tables import is_lazy
from fdl_spark.compute.update import Update, is_elementwise
from fdl_spark.data.connect_dataset import ConnectDataset
from fdl_spark.data.encoder import Encoder
from fdl_spark.data.load import load, session_of
from fdl_spark.data.sharded import Dataset
from fdl_spark.engines.auto import Auto
from fdl_spark.engines.blocks import Blocks
from fdl_spark.engines.common.leaves import initial
from fdl_spark.engines.connect_shuffle import ConnectShuffle
from fdl_spark.engines.driver import Driver
from fdl_spark.engines.engine import Engine, Snapshot
from fdl_spark.engines.resident import Resident
from fdl_spark.engines.shuffle import Shuffle
from fdl_spark.errors import ArgumentError
from fdl_spark.history.run import Run
from fdl_spark.metrics.metric import Metric
from fdl_spark.spark.activity import Activity
from fdl_spark.spark.cleanup import Cleanup
from fdl_spark.spark.failures import about, calling, settled
from fdl_spark.spark.jobs import job_group
from fdl_spark.training.ahead import Ahead
from fdl_spark.training.callback import Callback
from fdl_spark.training.described import described
from fdl_spark.training.every import Every
from fdl_spark.training.loop import Loop
from fdl_spark.training.phases import Phases

ENGINES: dict[str, type[Engine]] = {"resident": Resident, "shuffle": Shuffle, "blocks": Blocks, "driver": Driver}
CONNECT_ENGINES: dict[str, type[Engine]] = {"resident": Resident, "shuffle": ConnectShuffle, "driver": Driver}


def train(
    loss: Callable[..., Any],
    params: Any,
    data: Any,
    *,
    optimizer: Any,
    batch_size: int,
    epochs: int = 1,
    steps: int | None = None,
    seed: int = 0,
    shards: int | None = None,
    partitions: int | None = None,
    columns: Sequence[str] | None = None,
    features: Encoder | None = None,
    validation: Any = None,
    metrics: Mapping[str, Callable[[Any, Any], Any] | Metric] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_steps: int | None = None,
    callbacks: Sequence[Callback] = (),
    sync: Literal["auto", "resident", "shuffle", "blocks", "driver"] | Every = "auto",
    group: int | Literal["auto"] = "auto",
    wire: Literal["float32", "bfloat16"] = "float32",
    nonfinite: Literal["stop", "skip"] = "stop",
) -> Run:
    """Train parameters on Spark by synchronous data-parallel gradient descent.

    The parameters after k steps are the same bits for any number of partitions, executors, lost executors and resumes,
    if `seed` and `shards` are the same and the rows of the data come in a stable order. The scheme of short stateless
    jobs is that of BigDL (Dai et al., SoCC 2019, section 3); the fixed tree of sums over shards is what makes it exact.

    Args:
      loss: (params, batch) or (params, batch, key) -> mean loss over the batch's rows, or (mean loss, dict of means).
        The batch is a dict of arrays by column, each with rows first, or a pytree like `data`. The key is folded from
        the seed, the step and the shard.
      params: pytree of floating-point arrays.
      data: a DataFrame; an RDD of Rows, dicts, tuples or arrays; or a pytree of arrays with equally many rows. The
        doubles of a DataFrame or RDD become float32. Rows and namedtuples give batches whose columns are entries and
        attributes: `batch["x"]` and `batch.x`.
      optimizer: a pair of pure functions, such as `fdl.optim.adam(1e-3)`.
      batch_size: rows of a global batch; the last one of an epoch may have fewer.
      epochs: how often each row takes part.
      steps: number of steps, in place of `epochs`.
      seed: decides the shards, the order of rows and the keys.
      shards: number of logical shards; None means one a partition, or what the checkpoint says.
      partitions: number of tasks; None means as many as the cluster runs at once.
      columns: the columns to use as they are, of data whose columns have names; None means all, or none if there are
        `features`.
      features: fitted encoders of `fdl_spark.features`: the batch has their outputs. The executors encode the data, and
        the validation, as they read it.
      validation: data as `data`, on which the loss and the metrics are taken after each epoch.
      metrics: functions (params, batch) -> mean, or metrics of `fdl_spark.metrics`, by name, taken on the validation.
      checkpoint: folder or URI of checkpoints. If it holds some of this run, training goes on from the newest that is
        whole; damaged ones after it are renamed to `*.broken`, with a warning and an event in the history. One that
        cannot be written later, to a full disk say, is left out with a warning and an event. A folder is one run's at
        a time; where the file system has no locks (HDFS, object stores) it is the last one's that came.
      checkpoint_steps: save after every so many steps as well as after every epoch.
      callbacks: told of every step and epoch; see Callback.
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
      nonfinite: what to do about a NaN or infinite loss or gradient: "stop" raises, "skip" leaves the step out.

    Returns:
      The Run: `params`, `history`, `optimizer_state`.

    Raises:
      ArgumentError: an argument is not what it must be.
      ColumnError, MissingColumnError, DataError: the data does not become arrays, or lacks a column.
      LossError: the loss does not return a number.
      NonFiniteError: the loss or a gradient is NaN or infinite.
      UserFunctionError: a function raised.
      ClusterError: Spark was stopped, or lost what it needs again and again.
      CheckpointError: the folder cannot be written, a run that lives has it, its checkpoints are all damaged, or are
        of another run.

    >>> def loss(slope, batch):
    ...     return ((slope * batch["x"] - batch["y"]) ** 2).mean()
    >>> x = np.linspace(-1, 1, 64, dtype=np.float32)
    >>> run = train(loss, np.float32(0), {"x": x, "y": 3 * x}, optimizer=fdl.optim.sgd(0.5), batch_size=32, epochs=8)
    >>> round(float(run.params), 2)
    3.0
    """
    arguments = dict(locals())
    if not isinstance(sync, Every):
        check_choice("sync", sync, ["auto", *ENGINES])
    check_choice("wire", wire, ("float32", "bfloat16"))
    check_choice("nonfinite", nonfinite, ("stop", "skip"))
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("shards", shards, 1),
        ("partitions", partitions, 1),
        ("checkpoint_steps", checkpoint_steps, 1),
        ("group", None if group == "auto" else group, 1),
        ("epochs", epochs, 0),
        ("steps", steps, 0),
        ("seed", seed, None),
    ):
        check_whole(name, value, least)
    check_names("columns", columns)
    check_features(features)
    check_function("loss", loss, "(params, batch) or (params, batch, key)")
    check_metrics("metrics", metrics, ("loss", "rows"))
    check_optimizer(optimizer)
    check_params(params)
    check_callbacks(callbacks)
    _check_together(sync, wire, params, checkpoint_steps)
    check_read("metrics", metrics, "validation", validation, "or let the loss return them: (mean loss, dict of means)")
    check_read("checkpoint_steps", checkpoint_steps, "checkpoint", checkpoint, "or leave it out")
    folder = CheckpointFolder(checkpoint) if checkpoint is not None else None
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
            where = session_of(data)
            cleanup.enter("taking back the jobs' group", job_group(where, phases.name))
            phases("load", Activity(where, phases.name))
            dataset = read(data, shards=shards)
            cleanup.add("deleting the data's blocks", dataset.close)
            cleanup.enter("taking back the jobs' settings", dataset.own_jobs())
            with calling("the optimizer"):
                update, inner = _update(optimizer, params), None
                if isinstance(sync, Every):
                    update, inner = _update(sync.outer, params), update
            rounded = wire == "bfloat16"
            program = Program(loss, params, seed=seed, metrics=metrics, update=update, inner=inner, rounded=rounded)
            program.check(dataset.example())
            program.find_tables(dataset.example())
            engines = _engines_for(program, sync, dataset)
            ahead = Ahead(program)
            cleanup.add("compiling nothing more", ahead.close)
            ahead.gradient(dataset)
            held_out = None
            if validation is not None:
                phases("load", Activity(where, phases.name))
                held_out = read(validation, argument="validation")
                cleanup.add("deleting the validation's blocks", held_out.close)
                with about("validation"):
                    program.check(held_out.example())
                ahead.measure(held_out, batch_size)
            weights = program.flat()
            with calling("the optimizer's init"):
                leaves = initial(program, weights, dataset.schedule.shards)
            engine_of = _engine(sync, dataset, engines, rounded)
            phases("compile")
            ahead.wait()
            engine = engine_of(dataset, program, Snapshot(0, weights, leaves), skip=nonfinite == "skip")
            cleanup.add("freeing what the executors hold", engine.close)
            loop = Loop(engine, held_out, folder, group, phases)
            if folder is not None:
                loop.resume(folder, saved)
            phases.record(loop.run, described(arguments, where, dataset, program, Snapshot(0, weights, leaves)))
        total = steps if steps is not None else epochs * dataset.schedule.steps_per_epoch
        cleanup.run = run = loop.train(total, checkpoint_steps, callbacks)
    return run


def _update(optimizer: Any, params: Any) -> Update:
    return Update(optimizer, fdl.tree.map(np.asarray, params), is_elementwise(optimizer, params))


def _check_together(sync: str | Every, wire: str, params: Any, checkpoint_steps: int | None) -> None:
    """Raise if arguments do not go together."""
    if wire == "bfloat16":
        for path, leaf in fdl.tree.flatten_with_path(params)[0]:
            if (dtype := np.asarray(leaf).dtype) != np.float32:
                where = f"params{fdl.tree.keystr(path)}"
                raise ArgumentError(f'wire="bfloat16" rounds gradients of float32 parameters; {where} is {dtype}')
    if isinstance(sync, Every) and checkpoint_steps and checkpoint_steps % sync.steps:
        raise ArgumentError(
            f"checkpoint_steps={checkpoint_steps} must be a multiple of the {sync.steps} steps of a round: "
            f"between rounds there are no common parameters to save"
        )


def _engines_for(program: Program, sync: str | Every, dataset: Dataset) -> dict[str, type[Engine]]:
    """The engines that may take a run's steps, by name.

    Raises:
      ArgumentError: an optimizer must be told which rows of tables were looked up, and would not be.
    """
    engines = CONNECT_ENGINES if isinstance(dataset, ConnectDataset) else ENGINES
    updates = [update for update in (program.update, program.inner) if update is not None]
    if not any(is_lazy(update.optimizer, program.params) for update in updates):
        return engines
    lazy = "optimizer: a lazy by_rows changes only rows that were looked up"
    if program.inner is not None or program.rounded:
        what = "sync=fdl_spark.every(k)" if program.inner is not None else 'wire="bfloat16"'
        raise ArgumentError(f"{lazy}, and {what} sends whole gradients, which do not say so; pass lazy=False")
    if getattr(program.update.optimizer, "tables", None) is None:
        raise ArgumentError(
            f"{lazy}, and gradients say so only if by_rows is outermost, or in a chain with element-wise "
            f"transformations; put it there, or pass lazy=False"
        )
    if program.layout is not None:
        engines = {name: engine for name, engine in engines.items() if name in ("resident", "driver")}
        if sync != "auto" and sync not in engines:
            raise ArgumentError(
                f'{lazy}, and sync="{sync}" sends whole gradients, which do not say so; pass sync="resident", '
                f'"driver" or "auto"'
            )
    return engines


def _engine(
    sync: str | Every, dataset: Dataset, engines: dict[str, type[Engine]], rounded: bool
) -> Callable[..., Engine]:
    """What makes the engine that an argument names; `rounded` says whether gradients are.

    Raises:
      ArgumentError: the cluster cannot run its jobs.
    """
    needs = "needs tasks that run where they ran before, and this session cannot cache their data"
    asked, every, why = f'sync="{sync}"', 1, "asked for"
    if isinstance(sync, Every):
        every, asked, sync = sync.steps, f"sync=fdl_spark.every({sync.steps})", "resident"
        why = f"{asked}: local steps are taken by tasks that stay"
    elif rounded and not dataset.returns:  # shards must find what they have lost
        if sync in ("shuffle", "driver"):
            raise ArgumentError(f'wire="bfloat16" with {asked} {needs}; pass sync="resident"')
        if sync == "auto":
            sync, asked, why = "resident", 'wire="bfloat16"', f'wire="bfloat16" {needs}: only those that stay will do'
    if sync == "auto":
        return partial(Auto, engines=engines)
    if sync not in engines:
        found = " or ".join(f'"{name}"' for name in engines)
        raise ArgumentError(f"{asked} needs a classic session; over Spark Connect pass {found}")
    slots = dataset.slots() if engines[sync].groups else None
    if slots is not None and slots < dataset.tasks:
        cluster = f"the cluster runs {slots} at once" if slots else "Spark cannot do that with dynamic allocation"
        other = ', or sync="auto"' if why == "asked for" else ""
        raise ArgumentError(
            f"{asked} needs all of its {dataset.tasks} tasks to run at once, and {cluster}; "
            f"pass partitions={slots or 1} or fewer{other}"
        )
    return partial(Resident, every=every, why=why) if sync == "resident" else engines[sync]
