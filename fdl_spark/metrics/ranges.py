"""The ranges of what a function multiplies by its parameters, for inference with 8-bit integers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl.quantization import largest, observe
from fdl_spark.metrics.metric import Metric


class InputRanges(Metric):
    """Histograms of the inputs of products, added up; see `input_ranges`."""

    def __init__(self, apply: Callable[[Any, Any], Any]) -> None:
        self.observed = observe(apply)

    def statistics(self, params: Any, batch: Any) -> Any:
        """Histograms by the names of products."""
        return self.observed(params, batch)

    def gather(self, statistics: Any) -> Any:
        """Counts that billions of elements do not overflow."""
        return {name: np.asarray(counts).astype(np.int64) for name, counts in statistics.items()}

    def result(self, gathered: Any) -> dict[str, float]:
        """The range of each."""
        return {name: largest(counts) for name, counts in gathered.items()}


def input_ranges(apply: Callable[[Any, Any], Any]) -> Metric:
    """`fdl.quantization.calibrate` on a cluster: the range of the input of each product by parameters.

    Args:
      apply: (params, batch) -> anything, such as the function that `fdl.quantization.quantize` is to change.

    Returns:
      A metric that gives a dict of numbers, for `fdl_spark.evaluate`; the same for any number of tasks.

    >>> from fdl import nn, random
    >>> apply = lambda params, batch: nn.dense(params, batch["x"])
    >>> params = nn.init_dense(random.key(0), 3, 2)
    >>> input_ranges(apply)(params, {"x": np.array([[1, 2, 3], [1, 0, -4.0]], "float32")})
    {'w': 4.125}
    """
    return InputRanges(apply)
