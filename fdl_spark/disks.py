"""What to say of a disk that does not take a file."""

import shutil
import socket
from contextlib import suppress


def told_of_disk(folder: str, size: int, error: OSError) -> str:
    """One line about a folder that a file could not be written to: the host, the bytes needed and free, the reason."""
    free = ""
    with suppress(OSError):
        free = f", {shutil.disk_usage(folder).free} bytes free"
    reason = error.strerror or str(error)
    return f"{folder} on {socket.gethostname()}: {reason} ({size} bytes needed{free})"
