"""Models and estimators as folders of data: Spark ML's metadata, one file of safetensors, and JSON.

    model.safetensors     the Program of `apply` and the parameters (`fdl.export`); of models
    history.json          the record of the training; of models
    features.json         fitted encoders, if there are any
    metadata/part-00000   class, uid and Params, as Spark ML writes them: Pipelines find their stages by it. It is
                          written last, and names the other files with their SHA-256: with it a folder is whole

Reading runs no code: a class is looked up among those of this package, a Program consists of known operations. The
functions of an estimator are Python, and are not written.
"""

import hashlib
import json
import posixpath
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyspark
from pyspark.errors import PySparkException
from pyspark.ml.param import Params
from pyspark.ml.util import DefaultParamsReader, MLReader, MLWriter
from pyspark.sql import SparkSession

import fdl
from fdl_spark.errors import ModelError
from fdl_spark.features.features import from_json
from fdl_spark.ml.storage import UNREACHED, Storage, said, storage_of, write_folder
from fdl_spark.spark.classic import is_connect

METADATA, PART, MODEL, HISTORY, FEATURES = (
    "metadata", "metadata/part-00000", "model.safetensors", "history.json", "features.json",
)  # fmt: skip
FILES = (MODEL, HISTORY, FEATURES)
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


def whole(instance: Params, files: Contents, **more: Any) -> Contents:
    """Files with the metadata of Spark ML as the last one.

    Args:
      instance: what they are of.
      files: all others.
      **more: JSON values that go into the metadata.

    Raises:
      ModelError: a Param's value is no data.
    """
    for param, value in instance._paramMap.items():
        as_json(value, f"the Param {param.name}, a Python object,")
    kind = type(instance)
    text = as_json(
        {
            "class": f"{kind.__module__}.{kind.__name__}",
            "timestamp": round(time.time() * 1000),
            "sparkVersion": pyspark.__version__,
            "fdlVersion": fdl.__version__,
            "uid": instance.uid,
            "paramMap": {param.name: value for param, value in instance._paramMap.items()},
            "defaultParamMap": {param.name: value for param, value in instance._defaultParamMap.items()},
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            **more,
        },
        "the metadata",
    )
    return {**files, PART: text}


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
        """Write the folder.

        Raises:
          ModelError: it is there already, cannot be written, or something cannot be saved.
        """
        contents = self.instance.contents()
        storage, place = storage_of(path, self._sparkSession)
        write_folder(storage, place, contents, self.shouldOverwrite)
        if self._sparkSession is not None and is_connect(self._sparkSession):
            self._check_seen(path, storage, place)

    saveImpl = save

    def _check_seen(self, path: str, storage: Storage, place: str) -> None:
        """Raise if the server does not see the folder: with a session, it is a part of what the server writes."""
        try:
            read = self.sparkSession.read.text(posixpath.join(path, METADATA)).first()
            seen = read is not None and json.loads(read[0])["uid"] == self.instance.uid
        except (PySparkException, *NOT_AS_WRITTEN):
            seen = False
        if not seen:
            if not self.shouldOverwrite:  # else it may be all that is left of a model
                storage.delete(place)
            raise ModelError(
                f"{path} was written by this client, and the server of Spark Connect, which writes the rest, does not "
                f"see it: name a path that both see, such as a URI of an object store, or save the model alone"
            )


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


def read_instance(path: Any, classes: Mapping[str, Any], session: SparkSession | None = None) -> Any:
    """The instance of one of some classes that a folder holds.

    Args:
      path: the folder's.
      classes: those it may be of, by name.
      session: decides the file system of a path.

    Raises:
      ModelError: the folder cannot be read, is damaged, or holds something else.
    """
    storage, place = storage_of(path, session)
    try:
        there = storage.names(place)
        parts = sorted(name for name in storage.names(posixpath.join(place, METADATA)) if name.startswith("part-"))
        text = b"".join(storage.read(posixpath.join(place, METADATA, name)) for name in parts)
    except UNREACHED as error:
        raise ModelError(f"{path} cannot be read: {said(error)}") from None
    if not parts:
        missing = f"{posixpath.join(METADATA, 'part-*')} is not there"
        if any(name in FILES for name in there):
            raise ModelError(f"{path} is half-written: {missing}, which is written last; save it again")
        raise ModelError(f"{path} holds no model: {missing}")
    values: dict[str, Any] = {}
    try:
        values = json.loads(text)
        name = values["class"].rsplit(".", 1)[-1]
        if name not in classes or not values["class"].startswith("fdl_spark.ml."):
            raise ModelError(f"{path} holds a {values['class']}, not a {' or '.join(classes)}")
        contents = _read(storage, place, values["files"], there, path)
        instance = classes[name].from_contents(values, contents, path)
        instance._resetUid(values["uid"])
        DefaultParamsReader.getAndSetParams(instance, values)
        return instance
    except NOT_AS_WRITTEN as error:
        if isinstance(error, ModelError):
            raise
        reason = str(error) or type(error).__name__
        version = values.get("fdlVersion") if isinstance(values, dict) else None
        if version not in (None, fdl.__version__):
            raise ModelError(f"{path} is of fdl {version}, and this is {fdl.__version__}: {reason}") from error
        raise ModelError(f"{path} is damaged: {reason}") from error


def _read(storage: Storage, place: str, files: Mapping[str, str], there: Sequence[str], path: str) -> Contents:
    """The files that the metadata names.

    Raises:
      ModelError: one is not there, or is not as it was written.
    """
    contents = {}
    for name, digest in files.items():
        if name not in FILES:
            raise ValueError(f"it has no file {name!r}")
        if name not in there:
            raise ModelError(f"{path} is half-written, or a part of it was deleted: {name} is not there")
        try:
            contents[name] = storage.read(posixpath.join(place, name))
        except UNREACHED as error:
            raise ModelError(f"{path}/{name} cannot be read: {said(error)}") from None
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise ModelError(f"{path} is damaged: {name} has another SHA-256 than when it was written")
    return contents
