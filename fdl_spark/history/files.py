"""Files that are there whole or not at all."""

import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def write_text(path: str | os.PathLike[str], pieces: Iterable[str]) -> Path:
    """Write text to a file, which is replaced at once when all of it is on the disk.

    Args:
      path: the file.
      pieces: of the text.

    Returns:
      The file's path.

    Raises:
      OSError: it cannot be written; a file that was there is as it was.
    """
    target = Path(path)
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}.unfinished")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    return target
