"""What is left of a long line, or a long list of numbers, once nobody could tell the difference."""

import numpy as np

POINTS = 2000  # more are not to be told apart in a picture
SAMPLE = 512


def starts_of_runs(count: int, most: int) -> np.ndarray:
    """Where to cut so many points into at most so many runs of about the same length."""
    return np.unique(np.linspace(0, count, min(count, most), endpoint=False).astype(int))


def extremes(x: np.ndarray, y: np.ndarray, most: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
    """The points of a long line that its picture consists of: the lowest and the highest of each run.

    Args:
      x, y: arrays (n,).
      most: at most so many points are kept.

    Returns:
      The points that are kept, in their order.

    >>> x, y = extremes(np.arange(6), np.array([0, 9, 1, 1, -5, 1]), most=4)
    >>> x.tolist(), y.tolist()
    ([0, 1, 3, 4], [0, 9, 1, -5])
    """
    if len(x) <= most:
        return x, y
    kept = []
    starts = starts_of_runs(len(x), most // 2)
    for start, run in zip(starts, np.split(y, starts[1:]), strict=True):
        lowest = np.where(np.isnan(run), np.inf, run).argmin()
        highest = np.where(np.isnan(run), -np.inf, run).argmax()
        kept += sorted((start + lowest, start + highest))
    return x[kept], y[kept]


class Sample:
    """Evenly spaced ones of numbers that keep coming, at most `2 * SAMPLE` of them: enough for a median.

    >>> sample = Sample()
    >>> for number in range(100_000):
    ...     sample.add(number)
    >>> len(sample.values) <= 2 * SAMPLE, bool(45_000 < np.median(sample.values) < 55_000)
    (True, True)
    """

    def __init__(self) -> None:
        self.values: list[float] = []
        self._every, self._count = 1, 0

    def add(self, value: float) -> None:
        """Keep the number if its turn has come."""
        if self._count % self._every == 0:
            self.values.append(value)
            if len(self.values) > 2 * SAMPLE:
                self.values = self.values[::2]
                self._every *= 2
        self._count += 1
