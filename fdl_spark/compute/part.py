"""Sums at nodes of the tree over shards: at which a task gives one, how they are added, and how they travel."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from fdl_spark.compute.table_gradient import TableGradient
from fdl_spark.compute.tree_sum import Node, add_up, cover, root
from fdl_spark.compute.wire_precision import widen
from fdl_spark.data.shards import owned
from fdl_spark.history.outcome import LOSS_WEIGHT, Timing
from fdl_spark.spark.wire import Payload, pack, unpack


@dataclass(frozen=True)
class Part:
    """The sum at one node of the tree.

    Attributes:
      sums: sums over rows, by name of the metric, and "rows".
      gradient: the node's part of the gradient of the global mean loss, None if no row took part.
      bad: shards with a loss or gradient that is not finite, and what it was.
      timing: of the task, on the first of its nodes.
    """

    sums: dict[str, float] = field(default_factory=dict)
    gradient: Any = None  # an array, or a TableGradient where the run has tables
    bad: tuple[tuple[int, str], ...] = ()
    timing: Timing | None = None

    def add(self, other: "Part") -> "Part":
        """The sum of two parts; gradients are added into a new array only if the first one cannot be reused."""
        sums = {name: self.sums.get(name, 0.0) + other.sums.get(name, 0.0) for name in self.sums | other.sums}
        if self.gradient is None or other.gradient is None:
            gradient = other.gradient if self.gradient is None else self.gradient
        elif isinstance(self.gradient, TableGradient):
            gradient = self.gradient + other.gradient
        else:
            reused = self.gradient if self.gradient.flags.writeable else None
            gradient = np.add(self.gradient, other.gradient, out=reused)
        return Part(sums, gradient, self.bad + other.bad, self.timing)


def made_whole(gradient: np.ndarray | TableGradient | None) -> np.ndarray | None:
    """A gradient as one flat vector."""
    return gradient.whole() if isinstance(gradient, TableGradient) else gradient


def nodes_of(task: int, tasks: int, shards: int, rounded: bool = False) -> list[Node]:
    """The nodes at which a task gives its parts: the fewest that cover its shards.

    Args:
      task: number of the task.
      tasks: number of tasks.
      shards: number of shards.
      rounded: whether gradients are rounded; then each shard is a node, as sums of them would have to be rounded again.
    """
    run = owned(task, tasks, shards)
    return [(0, shard) for shard in run] if rounded else list(cover(run, shards))


def parts_at(nodes: Iterable[Node], shards: int, of_shard: Callable[[int], Part | None]) -> list[Part]:
    """The parts at nodes from those of the shards below, None of which means that it has none."""

    def leaf(node: Node) -> Part | None:
        return of_shard(node[1]) if node[0] == 0 else None

    return [add_up(node, shards, leaf, Part.add) or Part() for node in nodes]


def total_of(parts: Mapping[Node, Part], shards: int) -> Part:
    """The sum over all shards from the parts at nodes that cover them; it is bad if no row weighs anything."""
    total = add_up(root(shards), shards, parts.get, Part.add) or Part()
    if total.sums.get(LOSS_WEIGHT) == 0 and not total.bad:
        return replace(total, bad=((0, "the mean over rows that all weigh 0"),))
    return total


def timings_of(parts: Mapping[Node, Part]) -> tuple[Timing, ...]:
    """The timings of the tasks that gave the parts."""
    return tuple(part.timing for part in parts.values() if part.timing)


def sliced(node: Node, part: Part, cuts: Sequence[int], *more: Any) -> Iterator[tuple[int, bytes]]:
    """The slices of a part, packed for `received`, each with its number; `more` goes along."""
    header = node, replace(part, gradient=None), *more
    for n, (start, stop) in enumerate(pairwise(cuts)):
        yield n, pack(header, None if part.gradient is None else part.gradient[start:stop])


def received(payloads: Iterable[Payload]) -> dict[Node, Part]:
    """The parts by node that were packed as ((node, part, ...), gradient); rounded ones are float32 from here on."""
    parts = {}
    for payload in payloads:
        (node, part, *_), gradient = unpack(payload)
        if gradient is not None:
            gradient = widen(gradient) if gradient.dtype == np.uint16 else gradient
            part = replace(part, gradient=gradient)
        parts[node] = part
    return parts
