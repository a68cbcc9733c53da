"""Where the flat vector of parameters is cut into slices, which are added up and updated at once by different tasks.

No bit depends on the number of slices. An element of the sum over shards, which follows the fixed tree, is a function
of that element of each shard's gradient; one of an element-wise update is a function of the same element of the
gradient, the parameters and the state. Neither knows in which slice it is. Slices start where whole vectors of the
compiled loops do, so that no element is computed by the code for a remainder that was in a whole vector before. An
optimizer that is not element-wise is given the whole.
"""

import numpy as np

from fdl_spark.cost import ENGINES, best_slices
from fdl_spark.data.sharded import Dataset

ALIGNMENT = 1024  # elements: slices start where whole vectors of the compiled loops do


def cuts(engine: str, weights: np.ndarray, dataset: Dataset, count: int | None = None) -> list[int]:
    """Where an engine cuts the parameters.

    Args:
      engine: its name.
      weights: the flat parameters.
      dataset: the data, which knows tasks and cluster.
      count: number of slices; None for as many as the cost model says, one of an engine that it does not know.

    Returns:
      The first element of each slice, and the number of elements.
    """
    if count is None:
        known = engine in ENGINES
        count = best_slices(engine, dataset.tasks, weights.nbytes, cluster=dataset.cluster()) if known else 1
    return slices(weights.size, count)


def slices(size: int, count: int) -> list[int]:
    """Where to cut a vector of so many elements into so many slices, or fewer where they would be empty.

    >>> slices(1_000_000, 2)
    [0, 500736, 1000000]
    """
    count = max(1, min(count, size // ALIGNMENT))
    length = -(-size // (count * ALIGNMENT)) * ALIGNMENT
    return [*range(0, size, length), size] if size else [0, 0]
