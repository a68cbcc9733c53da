"""Sums over shards along one fixed binary tree, so that the bits do not depend on who adds what.

Node (level, index) of the tree covers the shards index * 2**level ... (index + 1) * 2**level - 1, as far as they exist.
A task that owns a run of shards adds up the largest nodes inside the run; whoever gathers the tasks' nodes adds up the
rest.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

Term = TypeVar("Term")
Node = tuple[int, int]


def cover(run: range, shards: int) -> Iterator[Node]:
    """The fewest nodes that cover a run of shards, from left to right.

    >>> list(cover(range(1, 4), 4)), list(cover(range(4, 6), 6))
    ([(0, 1), (1, 1)], [(2, 1)])
    """
    first = run.start
    while first < run.stop:
        level = 0
        while _fits(first, level + 1, run.stop, shards):
            level += 1
        yield level, first >> level
        first = min(first + (1 << level), shards)


def add_up(
    node: Node, shards: int, known: Callable[[Node], Term | None], add: Callable[[Term, Term], Term]
) -> Term | None:
    """The sum at a node.

    Args:
      node: (level, index).
      shards: number of shards, which bounds the tree.
      known: the value at a node that is given, None at one that has to be added up from its children or, at level 0,
        is absent.
      add: adds two values; it may reuse the first.

    Returns:
      The sum, or None if all shards below the node are absent.
    """
    value = known(node)
    level, index = node
    if value is not None or level == 0:
        return value
    total = None
    for child in (2 * index, 2 * index + 1):
        if child << (level - 1) < shards:
            term = add_up((level - 1, child), shards, known, add)
            if term is not None:
                total = term if total is None else add(total, term)
    return total


def root(shards: int) -> Node:
    """The node that covers all shards."""
    return (shards - 1).bit_length(), 0


def gather(values: Mapping[Node, Term], shards: int, add: Callable[[Term, Term], Term], nothing: Term) -> Term:
    """The sum over all shards from the values of nodes that cover them; `nothing` if all shards are absent."""
    total = add_up(root(shards), shards, values.get, add)
    return nothing if total is None else total


def _fits(first: int, level: int, stop: int, shards: int) -> bool:
    """Whether a node of this level, no higher than the root, starts at `first` and ends within the run."""
    width = 1 << level
    return first % width == 0 and width < 2 * shards and (first + width <= stop or stop == shards)
