"""Rows of tables on their way between the ranks of a group: each rank sends those at its nodes to all others.

They travel right behind a step's message, which says how many there are. Every rank adds up all of them along the tree,
as every rank takes the whole step: the tables are too large to send rows back and forth to the one that owns them, and
what a step looks up is small.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from fdl_spark.compute.part import Part
from fdl_spark.compute.table_gradient import Pair, TableLayout, added
from fdl_spark.compute.tables import with_room
from fdl_spark.compute.tree_sum import Node, gather
from fdl_spark.net.connection import as_bytes

Pairs = tuple[Pair, ...]
Memory = dict[tuple[Node, int], Pair]  # by node and table


class RowsSwap:
    """The rows of one step.

    Args:
      layout: of the parameters.
      nodes: the nodes of each rank.
      parts: this rank's, at its nodes.
      rank: this rank.
      shards: number of shards.
      memory: what others have sent, by whose and what it is; it is used again in every step, as fresh pages cost time.

    Attributes:
      counts: what to tell the others along with the message: the numbers of rows at each node, by table.
    """

    def __init__(
        self,
        layout: TableLayout,
        nodes: Sequence[Sequence[Node]],
        parts: Sequence[Part],
        rank: int,
        shards: int,
        memory: Memory,
    ):
        self._memory = memory
        self.layout, self.nodes, self.shards = layout, nodes, shards
        self._found: dict[Node, Pairs] = {
            node: part.gradient.tables
            for node, part in zip(nodes[rank], parts, strict=True)
            if part.gradient is not None
        }
        self.counts = [[int(rows.size) for rows, _ in self._found.get(node, ())] for node in nodes[rank]]

    def buffers(self) -> list[memoryview]:
        """What to send behind the message."""
        return [as_bytes(array) for pairs in self._found.values() for pair in pairs for array in pair if array.size]

    def receive(self, peer: int, counts: Any, lost: Callable[[str], Exception]) -> Generator[memoryview, None, None]:
        """Buffers for what a rank sends behind its message.

        Args:
          peer: the rank.
          counts: what it told.
          lost: makes the error of a rank that does not say what it must.
        """
        layout = self.layout
        shapes = [layout.shapes[n] for n in layout.tables]
        if not _is_possible(counts, len(self.nodes[peer]), [shape[0] for shape in shapes]):
            raise lost(f"sent numbers of rows that cannot be: {counts!r:.200}")
        for node, of_node in zip(self.nodes[peer], counts, strict=True):
            pairs = []
            for number, (count, shape) in enumerate(zip(of_node, shapes, strict=False)):
                rows, values = self._room((node, number), count, shape)
                yield as_bytes(rows)
                found = np.sort(rows)
                if count and (found[0] < 0 or found[-1] >= shape[0] or (found[1:] == found[:-1]).any()):
                    raise lost(f"sent rows that a table of shape {shape} does not have, or one of them twice")
                yield as_bytes(values)
                pairs.append((rows, values))
            if pairs:
                self._found[node] = tuple(pairs)

    def _room(self, key: tuple[Node, int], count: int, shape: tuple[int, ...]) -> Pair:
        """Memory for so many rows of a table."""
        if key not in self._memory or self._memory[key][0].size < count:
            size = with_room(count)
            self._memory[key] = np.empty(size, np.int32), np.empty((size, *shape[1:]), self.layout.dtype)
        rows, values = self._memory[key]
        return rows[:count], values[:count]

    def total(self) -> tuple[Pairs, ...]:
        """The rows of the sum over all shards, when all have arrived: one set, or two that are still to be added."""
        terms = {node: (pairs,) for node, pairs in self._found.items()}
        return gather(terms, self.shards, lambda one, other: (self._added(*one), self._added(*other)), ())

    def _added(self, one: Pairs, other: Pairs | None = None) -> Pairs:
        if other is None:
            return one
        return tuple(added(*of_table) for of_table in zip(one, other, self.layout.extents, strict=True))


def _is_possible(counts: Any, nodes: int, sizes: Sequence[int]) -> bool:
    """Whether numbers of rows are one list for each node, which is empty or has one number for each table."""
    if not isinstance(counts, list) or len(counts) != nodes:
        return False
    return all(
        isinstance(of_node, list)
        and len(of_node) in (0, len(sizes))
        and all(type(count) is int and 0 <= count <= size for count, size in zip(of_node, sizes, strict=False))
        for of_node in counts
    )
