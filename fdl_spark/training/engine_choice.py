"""Which engines may take a run's steps, and which takes the first."""

from collections.abc import Callable
from functools import partial

from fdl_spark.compute.program import Program
from fdl_spark.compute.tables import is_lazy
from fdl_spark.data.connect_dataset import ConnectDataset
from fdl_spark.data.sharded import Dataset
from fdl_spark.engines.auto import Auto
from fdl_spark.engines.blocks import Blocks
from fdl_spark.engines.connect_shuffle import ConnectShuffle
from fdl_spark.engines.driver import Driver
from fdl_spark.engines.engine import Engine
from fdl_spark.engines.resident import Resident
from fdl_spark.engines.shuffle import Shuffle
from fdl_spark.errors import ArgumentError
from fdl_spark.training.triggers import Every

ENGINES: dict[str, type[Engine]] = {"resident": Resident, "shuffle": Shuffle, "blocks": Blocks, "driver": Driver}
CONNECT_ENGINES: dict[str, type[Engine]] = {"resident": Resident, "shuffle": ConnectShuffle, "driver": Driver}


def engines_for(program: Program, sync: str | Every, dataset: Dataset) -> dict[str, type[Engine]]:
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


def engine_maker(
    sync: str | Every, dataset: Dataset, engines: dict[str, type[Engine]], rounded: bool
) -> Callable[..., Engine]:
    """What makes the engine that an argument names; `rounded` says whether gradients are.

    Raises:
      ArgumentError: the cluster cannot run its jobs.
    """
    needs = "needs tasks that run where they ran before, and this session cannot cache their data"
    asked, every, why = f'sync="{sync}"', 1, "asked for"
    if isinstance(sync, Every):
        every, asked, sync = sync.steps or 1, f"sync=fdl_spark.every({sync.steps})", "resident"
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
