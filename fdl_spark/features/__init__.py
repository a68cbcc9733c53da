"""Encoders from columns of tables to arrays, fitted on Spark, and augmentation of rows.

An encoder says what some columns become. `fit` lets encoders learn from data what they need, and gives `Features`,
which `train`, `evaluate` and `predict` take as `features=`. Encoding needs no Spark.
"""

from fdl_spark.features import augment
from fdl_spark.features.buckets import bucketize
from fdl_spark.features.column_encoder import ColumnEncoder
from fdl_spark.features.dates import date_parts, seconds_since
from fdl_spark.features.features import Features, from_json, load
from fdl_spark.features.fit import fit
from fdl_spark.features.hashes import crossed, hashed
from fdl_spark.features.images import image
from fdl_spark.features.numbers import impute, numeric, standardise
from fdl_spark.features.raw import raw
from fdl_spark.features.sequences import pad
from fdl_spark.features.sounds import log_mel, waveform
from fdl_spark.features.vectors import vector
from fdl_spark.features.vocabulary import one_hot, vocabulary
from fdl_spark.features.windows import windows
from fdl_spark.features.words import tokenise

__all__ = [
    "ColumnEncoder",
    "Features",
    "augment",
    "bucketize",
    "crossed",
    "date_parts",
    "fit",
    "from_json",
    "hashed",
    "image",
    "impute",
    "load",
    "log_mel",
    "numeric",
    "one_hot",
    "pad",
    "raw",
    "seconds_since",
    "standardise",
    "tokenise",
    "vector",
    "vocabulary",
    "waveform",
    "windows",
]


def __dir__() -> list[str]:
    return __all__
