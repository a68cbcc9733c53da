"""Folders of files, on the file systems that Spark reaches.

A classic session names a path's file system by Hadoop's rules, as Spark ML's own models do, and reaches it through the
JVM. Without one (Spark Connect, no session) a path is this machine's, and a URI is reached through pyarrow.

Where folders are renamed in one step, a folder is whole or not there. An object store has no such step: there the last
file makes a folder whole.
"""

import os
import posixpath
import re
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pyarrow import fs
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from fdl_spark.checkpoints.files import FAILED, LocalFiles
from fdl_spark.errors import ModelError
from fdl_spark.spark.classic import Py4JError, SparkContext, is_connect

UNREACHED = (*FAILED, Py4JError, PySparkException)  # PySpark translates some exceptions of the JVM
RENAMING = ("hdfs", "webhdfs", "swebhdfs", "viewfs", "ofs", "o3fs")  # schemes whose folders are renamed in one step
PIECE = 16 << 20  # bytes that go between here and the JVM at once, as text


class Storage(ABC):
    """Folders and files by path. Every method may raise what UNREACHED lists."""

    @property
    @abstractmethod
    def renames(self) -> bool:
        """Whether a folder is renamed in one step."""

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
        """Make a folder, with its files by relative path in this order; the last one is written when all others are."""

    @abstractmethod
    def move(self, old: str, new: str) -> None:
        """Rename a folder; there must be none of the new name."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a folder with all that is in it."""


class LocalStorage(Storage):
    """Folders of this machine."""

    @property
    def renames(self) -> bool:
        return True

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

    @property
    def renames(self) -> bool:
        system = self.system
        while isinstance(system, fs.SubTreeFileSystem):
            system = system.base_fs
        return system.type_name in ("local", "hdfs")

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
        folder = self.system.get_file_info(path).type == fs.FileType.Directory
        self.system.delete_dir(path) if folder else self.system.delete_file(path)


class HadoopStorage(Storage):
    """Folders that Spark reaches through Hadoop.

    Args:
      system: a FileSystem of the JVM.
      scheme: that of its URIs.
      jvm: the JVM.
    """

    def __init__(self, system: Any, scheme: str, jvm: Any):
        self.system, self.scheme, self.jvm = system, scheme, jvm

    @property
    def renames(self) -> bool:
        return self.scheme in RENAMING

    def _path(self, path: str) -> Any:
        return self.jvm.org.apache.hadoop.fs.Path(path)

    def exists(self, path: str) -> bool:
        return self.system.exists(self._path(path))

    def names(self, folder: str) -> list[str]:
        if not self.exists(folder):
            return []
        return [status.getPath().getName() for status in self.system.listStatus(self._path(folder))]

    def read(self, path: str) -> bytes:
        stream, pieces = self.system.open(self._path(path)), list[bytes]()
        try:
            while piece := stream.readNBytes(PIECE):
                pieces.append(piece)
        finally:
            stream.close()
        return b"".join(pieces)

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
        inside = posixpath.join(new, posixpath.basename(old))  # where Hadoop moves it if somebody was quicker
        if self.exists(inside):
            self.delete(inside)
            raise OSError(f"{new} was made by somebody else at the same time")

    def delete(self, path: str) -> None:
        self.system.delete(self._path(path), True)


def storage_of(path: Any, session: SparkSession | None = None) -> tuple[Storage, str]:
    """What reaches a path, and the path as it takes it.

    Args:
      path: a path or URI.
      session: decides on which file system a path is; None means the session that there is.

    Raises:
      ModelError: the path is none, or of a file system that cannot be reached.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ModelError(f"the path of a model must be text, not {path!r}")
    name = os.fspath(path)
    session = session or _running()
    try:
        if session is not None and not is_connect(session):
            jvm, context = session.sparkContext._jvm, session.sparkContext
            found = jvm.org.apache.hadoop.fs.Path(name)
            system = found.getFileSystem(context._jsc.hadoopConfiguration())
            uri = system.makeQualified(found).toUri()
            if uri.getScheme() == "file":
                return LocalStorage(), uri.getPath()
            return HadoopStorage(system, uri.getScheme(), jvm), uri.toString()
        if "://" not in name and not name.startswith("file:"):
            return LocalStorage(), os.path.abspath(os.path.expanduser(name))
        if name.startswith("file:"):
            name = "file://" + name.removeprefix("file:").removeprefix("//")
        system, inner = fs.FileSystem.from_uri(re.sub("^s3[an]:", "s3:", name))  # Hadoop's names of it
        return (LocalStorage() if isinstance(system, fs.LocalFileSystem) else ArrowStorage(system)), inner
    except UNREACHED as error:
        raise ModelError(f"{name!r} is no path that can be reached: {said(error)}") from None


def _running() -> SparkSession | None:
    """The session that there is, in this thread or in another one."""
    active = SparkSession.getActiveSession()
    if active is None and SparkContext._active_spark_context is not None:
        return SparkSession.builder.getOrCreate()
    return active


def write_folder(storage: Storage, path: str, files: Mapping[str, bytes], overwrite: bool) -> None:
    """Write a folder of files, the last of which makes it whole.

    Args:
      storage: reaches the path.
      path: the folder's.
      files: contents by relative path.
      overwrite: whether a folder that is there is replaced: once the new one is whole, where folders are renamed in one
        step; else it is deleted first.

    Raises:
      ModelError: there is one and `overwrite` is False, or it cannot be written.
    """
    path = path.rstrip("/")
    try:
        there = storage.exists(path)
        if there and not overwrite:
            raise ModelError(f"{path} is there already; write().overwrite().save(path) replaces it")
        write = _renamed if storage.renames else _in_place
        write(storage, path, files, there)
    except UNREACHED as error:
        raise ModelError(f"{path} cannot be written: {said(error)}") from None


def _renamed(storage: Storage, path: str, files: Mapping[str, bytes], there: bool) -> None:
    aside, unfinished = (f"{path}.{uuid.uuid4().hex}.{word}" for word in ("old", "unfinished"))
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
        try:
            storage.delete(aside)
        except UNREACHED as error:
            raise ModelError(f"{path} is written; what it replaces is left in {aside}: {said(error)}") from None


def _in_place(storage: Storage, path: str, files: Mapping[str, bytes], there: bool) -> None:
    *_, last = files
    if there:
        whole = posixpath.join(path, posixpath.dirname(last))
        for folder in (whole, path):  # what makes it whole goes first
            if storage.exists(folder):
                storage.delete(folder)
    storage.write(path, files)


def said(error: Exception) -> str:
    """What a file system says, without the JVM's stack."""
    cause = getattr(error, "java_exception", None)
    return cause.toString() if cause is not None else str(error)
