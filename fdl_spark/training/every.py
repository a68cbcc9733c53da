"""Local steps: shards train on their own and meet now and then, for networks that are slow."""

from dataclasses import dataclass, field
from typing import Any

from fdl import optim
from fdl_spark.arguments import check_optimizer, check_whole


def _averaging() -> Any:
    return optim.sgd(1.0)


@dataclass(frozen=True)
class Every:
    """What `sync=every(k)` stands for.

    Attributes:
      steps: how many steps a shard takes on its own.
      outer: the optimizer that takes the mean of what the shards have moved for a gradient.
    """

    steps: int
    outer: Any = field(default_factory=_averaging)


def every(steps: int, outer: Any = None) -> Every:
    """Let each shard take steps on its own, for `train(sync=every(k))`: an algorithm of its own, not a faster engine.

    In a round each shard starts from the common parameters and takes `steps` steps of the run's optimizer on its rows
    of as many batches; its optimizer's state stays with it. Then the mean of `start - end` over shards, weighted by
    their rows, is the gradient of one step of the outer optimizer. With the default, which replaces the parameters by
    the mean of the shards', this is local SGD (Stich, ICLR 2019); with momentum it is DiLoCo (Douillard et al., 2023).
    A round ends with an epoch, and with the run. The result depends on the number of shards, but not on the cluster.

    Args:
      steps: how many steps a shard takes on its own, at least 1.
      outer: a pair of pure functions, such as `fdl.optim.sgd(0.7, momentum=0.9, nesterov=True)`.

    Returns:
      A value for `sync`.

    Raises:
      ArgumentError: an argument is not what it must be.

    >>> every(20).steps
    20
    """
    check_whole("steps of every()", "None" if steps is None else steps, 1)
    if outer is None:
        return Every(int(steps))
    check_optimizer(outer)
    return Every(int(steps), outer)
