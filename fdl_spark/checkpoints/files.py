"""The files of one folder, on any file system that pyarrow reaches; local ones survive a crash of the machine."""

import os
from abc import ABC, abstractmethod
from contextlib import suppress

import pyarrow as pa
from pyarrow import fs

from fdl_spark.credentials import masked

FAILED = (OSError, pa.ArrowException)  # what a file system raises


class Files(ABC):
    """A folder's files by name. Every method may raise what FAILED lists."""

    @abstractmethod
    def make(self) -> None:
        """Make the folder and those above it, if they are not there."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names of what is in the folder; none if it is not there."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A file's content."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Make a new file, whose content is on the disk when this returns; its name is after `sync`."""

    @abstractmethod
    def move(self, old: str, new: str) -> None:
        """Rename a file, over another one if there is one of this name."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Delete a file."""

    @abstractmethod
    def sync(self) -> None:
        """Return when all names are on the disk."""


class LocalFiles(Files):
    """Files of this machine.

    Args:
      path: the folder's.
    """

    def __init__(self, path: str):
        self.path = path

    def make(self) -> None:
        os.makedirs(self.path, exist_ok=True)

    def names(self) -> list[str]:
        try:
            return os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):  # what `make` says of it is clearer
            return []

    def read(self, name: str) -> bytes:
        with open(f"{self.path}/{name}", "rb") as file:
            return file.read()

    def write(self, name: str, content: bytes) -> None:
        with open(f"{self.path}/{name}", "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def move(self, old: str, new: str) -> None:
        os.replace(f"{self.path}/{old}", f"{self.path}/{new}")

    def delete(self, name: str) -> None:
        os.unlink(f"{self.path}/{name}")

    def sync(self) -> None:
        if os.name == "nt":
            return  # folders cannot be opened
        handle = os.open(self.path, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems have no such thing for folders; files were synced before
                os.fsync(handle)
        finally:
            os.close(handle)


class RemoteFiles(Files):
    """Files that pyarrow reaches: a file is there once it was closed, as far as the service promises.

    Args:
      system: the file system.
      path: the folder's path on it.
    """

    def __init__(self, system: fs.FileSystem, path: str):
        self.system, self.path = system, path

    def make(self) -> None:
        self.system.create_dir(self.path, recursive=True)

    def names(self) -> list[str]:
        found = self.system.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        return [info.base_name for info in found]

    def read(self, name: str) -> bytes:
        with self.system.open_input_stream(f"{self.path}/{name}") as stream:
            return stream.read()

    def write(self, name: str, content: bytes) -> None:
        with self.system.open_output_stream(f"{self.path}/{name}") as stream:
            stream.write(content)

    def move(self, old: str, new: str) -> None:
        self.system.move(f"{self.path}/{old}", f"{self.path}/{new}")

    def delete(self, name: str) -> None:
        self.system.delete_file(f"{self.path}/{name}")

    def sync(self) -> None:
        pass


def open_files(location: str) -> Files:
    """The files of a folder.

    Args:
      location: a path, or a URI such as `s3://bucket/run` or `hdfs://host/run`.

    Raises:
      OSError, pyarrow.ArrowException: the URI is of no file system that can be reached; credentials in it are not told.
    """
    if "://" not in location:
        return LocalFiles(os.path.abspath(os.path.expanduser(location)))
    try:
        system, path = fs.FileSystem.from_uri(location)
    except FAILED as error:
        raise type(error)(masked(str(error))) from None
    return LocalFiles(path) if isinstance(system, fs.LocalFileSystem) else RemoteFiles(system, path)
