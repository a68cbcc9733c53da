"""Disks that are full: found out before a file is used, and told with the folder and the bytes."""

import errno
import os
import shutil
import socket
from contextlib import suppress

ZEROS = bytes(1 << 20)
CANNOT = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)  # what file systems say that allocate by writing only


class DiskFull(Exception):
    """A disk does not take a file; says which, how many bytes it needs and how many are free."""


def allocate(handle: int, size: int) -> None:
    """Give an empty file its size, and the disk's blocks with it: a memory map of a file without them kills the process
    that writes to it when the disk is full.

    Raises:
      OSError: there is no room.
    """
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(handle, 0, size)
            return
        except OSError as error:
            if error.errno not in CANNOT:
                raise
    for start in range(0, size, len(ZEROS)):
        left = memoryview(ZEROS)[: size - start]
        while left:
            left = left[os.write(handle, left) :]


def told_of_disk(folder: str, size: int, error: OSError) -> str:
    """One line about a folder that a file could not be written to: the host, the reason, the bytes needed and free."""
    free = ""
    with suppress(OSError):
        free = f", {shutil.disk_usage(folder).free} bytes free"
    reason = error.strerror or str(error)
    return f"{folder} on {socket.gethostname()}: {reason} ({size} bytes needed{free})"
