"""A file from the first address that gives the right bytes."""

import base64
import hashlib
import http.client
import sys
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT = 30.0  # seconds without a byte
CHUNK = 1 << 18
TRIES = 2  # of one address, whose connection breaks
PAGE = 64 << 20  # bytes of a page that is read into memory, at most


class DataError(RuntimeError):
    """A data set cannot be had; the message has what each address said."""


class Refused(Exception):
    """An address does not give the file; trying it again is of no use."""


def download(addresses: Iterable[str], target: Path, size: int, sha256: str, title: str) -> str:
    """Write a file from the first address that gives it whole.

    Args:
      addresses: tried in order.
      target: the file to write; what is there is replaced.
      size: bytes of the file.
      sha256: of the file, in hexadecimal.
      title: beside the progress bar.

    Returns:
      The address.

    Raises:
      DataError: no address gave these bytes.
    """
    said = []
    for address in addresses:
        for left in reversed(range(TRIES)):
            try:
                _download(address, target, size, sha256, title)
                return address
            except Refused as refused:
                said.append(f"{without_credentials(address)}: {refused}")
                break
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None)
                if not left or isinstance(reason, OSError):  # no such host, no way there
                    told = getattr(reason, "strerror", None) or reason or error
                    said.append(f"{without_credentials(address)}: {told}")
                    break
    raise DataError("\n".join(said))


def _download(address: str, target: Path, size: int, sha256: str, title: str) -> None:
    digest, done = hashlib.sha256(), 0
    with opened(address) as response, target.open("wb") as file, bar(title, size) as advance:
        while chunk := response.read(CHUNK):
            done += len(chunk)
            if done > size:
                raise Refused(f"more than the {size:,} bytes of the file")
            digest.update(chunk)
            file.write(chunk)
            advance(len(chunk))
    if done < size:
        promised = response.headers.get("Content-Length")
        if promised is None or int(promised) == size:
            raise ConnectionError(f"ended after {done:,} of {size:,} bytes")
        raise Refused(f"{done:,} bytes, where the file has {size:,}")
    if digest.hexdigest() != sha256:
        raise Refused(f"SHA-256 is {digest.hexdigest()}, not {sha256}")


def read(address: str) -> bytes:
    """The bytes of a page.

    Raises:
      OSError: it cannot be read.
    """
    try:
        with opened(address, {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.5"}) as response:
            return bytes(response.read(PAGE))
    except (Refused, http.client.HTTPException) as error:
        raise OSError(str(error)) from error


def opened(address: str, headers: dict[str, str] | None = None) -> http.client.HTTPResponse:
    """The response of an address of http or https, whose user and password go into a header."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        raise Refused("not an address of the web")
    request = urllib.request.Request(without_credentials(address), headers={"User-Agent": "fdl", **(headers or {})})
    if parts.username:
        token = base64.b64encode(f"{parts.username}:{parts.password or ''}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        raise Refused(f"HTTP {error.code} {error.reason}") from error
    return response


def without_credentials(address: str) -> str:
    """An address that may be shown.

    >>> without_credentials("https://me:secret@host.org:80/file")
    'https://host.org:80/file'
    """
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


class bar:
    """A progress bar on a terminal, of tqdm where it is installed; nothing else."""

    def __init__(self, title: str, size: int):
        self._bar = None
        if sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                return
            self._bar = tqdm(total=size, desc=title, unit="B", unit_scale=True, leave=False)

    def __enter__(self) -> Callable[[int], object]:
        return self._bar.update if self._bar is not None else lambda count: None

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
