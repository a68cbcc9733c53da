"""Models and estimators as folders of data: Spark ML's metadata, one file of safetensors, and JSON.

    metadata/part-00000   class, uid and Params, as Spark ML writes them; Pipelines find their stages by it
    model.safetensors     the Program of `apply` and the parameters (`fdl.export`); of models
    history.json          the record of the training; of models
    features.json         fitted encoders, if there are any

Reading runs no code: a class is looked up among those of this package, a Program consists of known operations. The
functions of an estimator are Python, and are not written.
"""

import json
import posixpath
import time
from collections.abc import Mapping
from typing import Any

import pyspark
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, MLReader, MLWriter
from pyspark.sql import SparkSession

from fdl_spark.errors import ModelError
from fdl_spark.features.features import from_json
from fdl_spark.ml.storage import UNREACHED, storage_of, write_folder

METADATA, PART, MODEL, HISTORY, FEATURES = (
    "metadata", "metadata/part-00000", "model.safetensors", "history.json", "features.json",
)  # fmt: skip
NOT_AS_WRITTEN = (ValueError, LookupError, TypeError, AttributeError, RecursionError)

Contents = dict[str, bytes]


def as_json(value: Any, what: str) -> bytes:
    """A value as the bytes of a JSON file.

    Raises:
      ModelError: it is no data.
    """
    try:
        return json.dumps(value, default=_number).encode()
    except (TypeError, ValueError) as error:
        raise ModelError(f"{what} cannot be saved: {error}") from None


def _number(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r:.80} is no data")


def metadata(instance: Params, more: Mapping[str, Any]) -> bytes:
    """The metadata of Spark ML, and more.

    Raises:
      ModelError: a Param's value is no data.
    """
    for param, value in instance._paramMap.items():
        as_json(value, f"the Param {param.name}, a Python object,")
    kind = type(instance)
    return as_json(
        {
            "class": f"{kind.__module__}.{kind.__name__}",
            "timestamp": round(time.time() * 1000),
            "sparkVersion": pyspark.__version__,
            "uid": instance.uid,
            "paramMap": {param.name: value for param, value in instance._paramMap.items()},
            "defaultParamMap": {param.name: value for param, value in instance._defaultParamMap.items()},
            **more,
        },
        "the metadata",
    )


def read_features(contents: Mapping[str, bytes]) -> Any:
    """The encoders among the files of a folder; None if there are none."""
    if FEATURES not in contents:
        return None
    return from_json(json.loads(contents[FEATURES]), FEATURES)


class DataWriter(MLWriter):
    """Writes what an instance's `contents` gives.

    Args:
      instance: a model or an estimator.
    """

    def __init__(self, instance: Any):
        super().__init__()
        self.instance = instance

    def save(self, path: str) -> None:
        """Write the folder; it is whole or not there.

        Raises:
          ModelError: it is there already, cannot be written, or something cannot be saved.
        """
        storage, place = storage_of(path, self._sparkSession or SparkSession.getActiveSession())
        write_folder(storage, place, self.instance.contents(), self.shouldOverwrite)

    saveImpl = save


class DataReader(MLReader):
    """Reads what a DataWriter of the same class has written.

    Args:
      cls: the class.
    """

    def __init__(self, cls: Any):
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> Any:
        """The instance that a folder holds.

        Raises:
          ModelError: the folder is damaged, or holds something else.
        """
        return read_instance(path, {self.cls.__name__: self.cls}, self._sparkSession)


def read_instance(path: str, classes: Mapping[str, Any], session: SparkSession | None = None) -> Any:
    """The instance of one of some classes that a folder holds.

    Args:
      path: the folder's.
      classes: those it may be of, by name.
      session: decides the file system of a path.

    Raises:
      ModelError: the folder cannot be read, is damaged, or holds something else.
    """
    storage, place = storage_of(path, session or SparkSession.getActiveSession())
    try:
        parts = sorted(name for name in storage.names(posixpath.join(place, METADATA)) if name.startswith("part-"))
        if not parts:
            raise ModelError(f"{path} holds no model: {posixpath.join(METADATA, 'part-*')} is not there")
        text = b"".join(storage.read(posixpath.join(place, METADATA, name)) for name in parts)
        there = storage.names(place)
        files = [name for name in (MODEL, HISTORY, FEATURES) if name in there]
        contents = {name: storage.read(posixpath.join(place, name)) for name in files}
    except UNREACHED as error:
        raise ModelError(f"{path} cannot be read: {error}") from None
    try:
        values = json.loads(text)
        name = values["class"].rsplit(".", 1)[-1]
        if name not in classes or not values["class"].startswith("fdl_spark.ml."):
            raise ModelError(f"{path} holds a {values['class']}, not a {' or '.join(classes)}")
        kind = classes[name]
        instance = kind.from_contents(values, contents, str(path))
        instance._resetUid(values["uid"])
        DefaultParamsReader.getAndSetParams(instance, values)
        return instance
    except ModelError:
        raise
    except NOT_AS_WRITTEN as error:
        raise ModelError(f"{path} is damaged: {error or type(error).__name__}") from error
