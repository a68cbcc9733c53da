"""Numbers of any kind, with noise."""

from dataclasses import dataclass
from typing import Any

from fdl import random
from fdl_spark.features.augment.row import RowAugmentation


def noise(column: str, *, scale: float) -> "Noise":
    """Numbers with normal noise.

    Args:
      column: floating-point numbers of any shape.
      scale: standard deviation of the noise.

    >>> import fdl.numpy as fnp
    >>> noise("x", scale=0.1)(random.key(0), {"x": fnp.zeros(3)})["x"].shape
    (3,)
    """
    return Noise(column, scale)


@dataclass(frozen=True, repr=False)
class Noise(RowAugmentation, kind="noise"):
    scale: float

    def check(self) -> None:
        self.require(self.scale >= 0, f"scale must be at least 0, not {self.scale}")

    def changed(self, key: Any, x: Any) -> Any:
        self.floating(x)
        return x + self.scale * random.normal(key, x.shape, x.dtype)
