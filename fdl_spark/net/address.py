"""Where processes can be reached: addresses as text, the host that two processes share, private folders for sockets."""

import functools
import hashlib
import os
import secrets
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fdl_spark.errors import ArgumentError, ClusterError

UNIX = "unix"
LONGEST_PATH = 103  # macOS's limit; Linux takes 107
PREFIX = "fdl-net-"
SOCKET = "socket"
OLD = 60.0  # seconds after which a folder whose socket nobody listens at was left by a process that was killed
EVERYWHERE = ("", "0.0.0.0", "::", "*", "0")


def text(kind: str, where: str, port: int = 0) -> str:
    """An address as text.

    >>> text("tcp", "10.0.0.1", 4040), text("unix", "/tmp/socket")
    ('tcp:10.0.0.1:4040', 'unix:/tmp/socket')
    """
    return f"{kind}:{where}" if kind == UNIX else f"{kind}:{where}:{port}"


def parse(address: str) -> tuple[str, Any]:
    """(kind, what a socket connects to) of an address.

    Raises:
      ArgumentError: the text is no address.

    >>> parse("tcp:::1:80"), parse("unix:/tmp/socket")
    (('tcp', ('::1', 80)), ('unix', '/tmp/socket'))
    """
    kind, _, rest = address.partition(":")
    if kind == UNIX and rest:
        return kind, rest
    host, _, port = rest.rpartition(":")
    if kind != "tcp" or not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ArgumentError(f"{address!r} is no address such as tcp:10.0.0.1:4040 or unix:/tmp/socket")
    return kind, (host, int(port))


def local_host(towards: str) -> str:
    """The address of this host by which another host reaches it, without sending anything.

    Args:
      towards: the other host's name or address.

    Returns:
      An address; one of the loopback if that is where `towards` is.

    Raises:
      ClusterError: the name is unknown here, or no network leads there.

    >>> local_host("127.0.0.1")
    '127.0.0.1'
    """
    try:
        family, *_, place = socket.getaddrinfo(towards, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(place)
            return str(probe.getsockname()[0])
    except OSError as error:
        raise ClusterError(f"{socket.gethostname()} cannot reach the host {towards!r} ({error})") from error


@functools.cache
def host_key() -> str:
    """Names the host and what of it this process sees; processes with equal keys can share sockets and memory.

    A host's name alone does not serve: clones of a machine have one, and containers of one host may have one. But it
    tells apart copies of a running machine, and sandboxes whose kernel says the same in each.
    """
    seen = [str(os.geteuid()), socket.gethostname(), *_boot()]
    with suppress(OSError):
        seen += [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "mnt", "user")]
    root = os.stat("/")
    seen += [str(root.st_dev), str(root.st_ino)]
    return hashlib.sha256("\n".join(seen).encode()).hexdigest()[:32]


def _boot() -> list[str]:
    """What differs between any two boots of any two machines; random, so that no keys are equal, if nothing says it."""
    with suppress(OSError):
        return [Path("/proc/sys/kernel/random/boot_id").read_text().strip()]
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            said = subprocess.run(["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"], capture_output=True, check=True)
            return [said.stdout.decode().strip()]
    return [secrets.token_hex(16)]


def private_folder() -> Path:
    """Make a folder for a socket that only the user can enter, and delete those that killed processes left."""
    for parent in dict.fromkeys([tempfile.gettempdir(), "/tmp"]):
        sweep(Path(parent))
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))  # mode 0700
        if len(os.fsencode(folder / SOCKET)) <= LONGEST_PATH:
            return folder
        folder.rmdir()
    raise ArgumentError(f"no folder for temporary files has a short enough path for a socket: {folder}; set TMPDIR")


def remove(folder: Path) -> None:
    """Delete a private folder; whatever fails in doing so is left."""
    with suppress(OSError):
        (folder / SOCKET).unlink(missing_ok=True)
        folder.rmdir()


def sweep(parent: Path) -> None:
    """Delete the folders of ours in which nobody listens any more."""
    with suppress(OSError):
        for folder in parent.glob(f"{PREFIX}*"):
            with suppress(OSError):
                status = folder.lstat()
                ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
                if ours and time.time() - status.st_mtime > OLD and not _listens(folder / SOCKET):
                    remove(folder)


def _listens(path: Path) -> bool:
    """Whether a process has a socket's other end, however busy it is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
    return True
