"""Folders of small files, on the file systems that Spark reaches: a folder is whole or not there.

A classic session names a path's file system by Hadoop's rules, as Spark ML's own models do, and reaches it through the
JVM. Without one (Spark Connect, no session) a path is this machine's, and a URI is reached through pyarrow.
"""

import os
import posixpath
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pyarrow import fs
from pyspark.sql import SparkSession

from fdl_spark.checkpoints.files import FAILED, LocalFiles
from fdl_spark.errors import ModelError
from fdl_spark.spark.classic import Py4JError, is_connect

UNREACHED = (*FAILED, Py4JError)


class Storage(ABC):
    """Folders and files by path. Every method may raise what UNREACHED lists."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Whether there is a file or folder."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """The names of the files in a folder; none if it is not there."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """A file's content."""

    @abstractmethod
    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        """Make a folder, with its files by relative path in this order; all is on the disk when this returns."""

    @abstractmethod
    def move(self, old: str, new: str) -> None:
        """Rename a folder; there must be none of the new name."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a folder with all that is in it."""


class LocalStorage(Storage):
    """Folders of this machine."""

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def names(self, folder: str) -> list[str]:
        return os.listdir(folder) if os.path.isdir(folder) else []

    def read(self, path: str) -> bytes:
        folder, name = os.path.split(path)
        return LocalFiles(folder).read(name)

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            inner, name = os.path.split(os.path.join(folder, path))
            place = LocalFiles(inner)
            place.make()
            place.write(name, content)
            place.sync()

    def move(self, old: str, new: str) -> None:
        os.rename(old, new)
        LocalFiles(os.path.dirname(new)).sync()

    def delete(self, path: str) -> None:
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


class ArrowStorage(Storage):
    """Folders that pyarrow reaches.

    Args:
      system: the file system.
    """

    def __init__(self, system: fs.FileSystem):
        self.system = system

    def exists(self, path: str) -> bool:
        return self.system.get_file_info(path).type != fs.FileType.NotFound

    def names(self, folder: str) -> list[str]:
        return [info.base_name for info in self.system.get_file_info(fs.FileSelector(folder, allow_not_found=True))]

    def read(self, path: str) -> bytes:
        with self.system.open_input_stream(path) as stream:
            return stream.read()

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            whole = posixpath.join(folder, path)
            self.system.create_dir(posixpath.dirname(whole), recursive=True)
            with self.system.open_output_stream(whole) as stream:
                stream.write(content)

    def move(self, old: str, new: str) -> None:
        self.system.move(old, new)

    def delete(self, path: str) -> None:
        self.system.delete_dir(path)


class HadoopStorage(Storage):
    """Folders that Spark reaches through Hadoop.

    Args:
      system: a FileSystem of the JVM.
      jvm: the JVM.
    """

    def __init__(self, system: Any, jvm: Any):
        self.system, self.jvm = system, jvm

    def _path(self, path: str) -> Any:
        return self.jvm.org.apache.hadoop.fs.Path(path)

    def exists(self, path: str) -> bool:
        return self.system.exists(self._path(path))

    def names(self, folder: str) -> list[str]:
        if not self.exists(folder):
            return []
        return [status.getPath().getName() for status in self.system.listStatus(self._path(folder))]

    def read(self, path: str) -> bytes:
        stream = self.system.open(self._path(path))
        try:
            return bytes(self.jvm.org.apache.commons.io.IOUtils.toByteArray(stream))
        finally:
            stream.close()

    def write(self, folder: str, files: Mapping[str, bytes]) -> None:
        for path, content in files.items():
            stream = self.system.create(self._path(posixpath.join(folder, path)), False)
            try:
                for start in range(0, len(content), PIECE):
                    stream.write(content[start : start + PIECE])
            finally:
                stream.close()

    def move(self, old: str, new: str) -> None:
        if not self.system.rename(self._path(old), self._path(new)):
            raise OSError(f"{old} cannot be renamed to {new}")

    def delete(self, path: str) -> None:
        self.system.delete(self._path(path), True)


PIECE = 16 << 20  # bytes that go to the JVM at once, as text


def storage_of(path: Any, session: SparkSession | None = None) -> tuple[Storage, str]:
    """What reaches a path, and the path as it takes it.

    Raises:
      ModelError: the path is none, or of a file system that cannot be reached.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ModelError(f"the path of a model must be text, not {path!r}")
    name = os.fspath(path)
    try:
        if session is not None and not is_connect(session):
            jvm, context = session.sparkContext._jvm, session.sparkContext
            found = jvm.org.apache.hadoop.fs.Path(name)
            system = found.getFileSystem(context._jsc.hadoopConfiguration())
            uri = system.makeQualified(found).toUri()
            if uri.getScheme() == "file":
                return LocalStorage(), uri.getPath()
            return HadoopStorage(system, jvm), uri.toString()
        if "://" not in name and not name.startswith("file:"):
            return LocalStorage(), os.path.abspath(os.path.expanduser(name))
        if name.startswith("file:"):
            name = "file://" + name.removeprefix("file:").removeprefix("//")
        system, inner = fs.FileSystem.from_uri(name)
        return (LocalStorage() if isinstance(system, fs.LocalFileSystem) else ArrowStorage(system)), inner
    except UNREACHED as error:
        raise ModelError(f"{name!r} is no path that can be reached: {_said(error)}") from None


def write_folder(storage: Storage, path: str, files: Mapping[str, bytes], overwrite: bool) -> None:
    """Write a folder of files, which is whole or not there.

    Args:
      storage: reaches the path.
      path: the folder's.
      files: contents by relative path.
      overwrite: whether a folder that is there is replaced, once the new one is whole.

    Raises:
      ModelError: there is one and `overwrite` is False, or it cannot be written.
    """
    path = path.rstrip("/")
    aside, unfinished = (f"{path}.{uuid.uuid4().hex}.{word}" for word in ("old", "unfinished"))
    try:
        there = storage.exists(path)
        if there and not overwrite:
            raise ModelError(f"{path} is there already; write().overwrite().save(path) replaces it")
        try:
            storage.write(unfinished, files)
            if there:
                storage.move(path, aside)
            try:
                storage.move(unfinished, path)
            except UNREACHED:
                if there:
                    storage.move(aside, path)
                raise
        finally:
            with suppress(*UNREACHED):
                if storage.exists(unfinished):
                    storage.delete(unfinished)
        if there:
            storage.delete(aside)
    except UNREACHED as error:
        raise ModelError(f"{path} cannot be written: {_said(error)}") from None


def _said(error: Exception) -> str:
    cause = getattr(error, "java_exception", None)
    return cause.toString() if cause is not None else str(error)
