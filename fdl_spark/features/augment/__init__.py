"""Random changes of rows, drawn anew in each epoch: pure functions (key, row) -> row for `train(augment=)`.

A row is a dict of arrays without the axis of rows, of which an augmentation changes one; its key is the row's own.
Augmentations are traced, batched and compiled with the loss; what a row becomes depends on the row and its key only.
"""

from fdl_spark.features.augment.chain import chain
from fdl_spark.features.augment.images import colour_jitter, crop, cutout, flip, normalise, resized_crop
from fdl_spark.features.augment.negatives import negatives
from fdl_spark.features.augment.numbers import noise
from fdl_spark.features.augment.row import Augmentation, Row, RowAugmentation
from fdl_spark.features.augment.sounds import shift, speed, volume, white_noise

__all__ = [
    "Augmentation",
    "Row",
    "RowAugmentation",
    "chain",
    "colour_jitter",
    "crop",
    "cutout",
    "flip",
    "negatives",
    "noise",
    "normalise",
    "resized_crop",
    "shift",
    "speed",
    "volume",
    "white_noise",
]


def __dir__() -> list[str]:
    return __all__
