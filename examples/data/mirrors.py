"""Where else the file of a public address may be had: the registries that pip, npm and the user are set up for."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from urllib.parse import urljoin, urlsplit

PYPI = "https://files.pythonhosted.org/"
NPM = "https://registry.npmjs.org/"
DEBIAN = "https://deb.debian.org/debian/"
SNAPSHOT = "https://snapshot.debian.org/archive/debian/20250520T000000Z/"  # keeps versions that Debian has replaced


def mirrors(address: str, read: Callable[[str], bytes]) -> Iterator[str]:
    """Addresses of the file, those of mirrors first.

    A mirror of PyPI is $PIP_INDEX_URL or what pip is configured for, one of npm $npm_config_registry or what npm is
    configured for, one of Debian $FDL_DEBIAN_MIRROR.

    Args:
      address: the public one.
      read: gives the bytes of an address; raises OSError.

    >>> list(mirrors("https://files.grouplens.org/datasets/movielens/ml-20m.zip", bytes))
    ['https://files.grouplens.org/datasets/movielens/ml-20m.zip']
    """
    if address.startswith(PYPI):
        index = _configured("PIP_INDEX_URL", [sys.executable, "-m", "pip", "config", "get", "global.index-url"])
        if index and (found := _listed(index, address.rsplit("/", 1)[1], read)):
            yield found
    elif address.startswith(NPM):
        npm = shutil.which("npm")
        registry = _configured("npm_config_registry", [npm, "config", "get", "registry"] if npm else [])
        if registry and registry.rstrip("/") != NPM.rstrip("/"):
            yield f"{registry.rstrip('/')}/{address.removeprefix(NPM)}"
    elif address.startswith(DEBIAN):
        mirror = os.environ.get("FDL_DEBIAN_MIRROR", "")
        if mirror:
            yield f"{mirror.rstrip('/')}/{address.removeprefix(DEBIAN)}"
        yield address
        yield address.replace("https://", "http://", 1)  # what most mirrors and caches of Debian understand
        yield address.replace(DEBIAN, SNAPSHOT, 1)
        return
    yield address


def _configured(variable: str, command: list[str]) -> str:
    """An address in the environment, or what a client says that it uses; "" if there is none on the web."""
    found = os.environ.get(variable, "")
    if not found and command:
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""
    return found if urlsplit(found).scheme in ("http", "https") else ""


def _listed(index: str, file: str, read: Callable[[str], bytes]) -> str | None:
    """The address that an index of Python packages has for a file; None if it has none or cannot be read."""
    page = f"{index.rstrip('/')}/{re.split(r'-[0-9]', file)[0].replace('_', '-').lower()}/"
    try:
        text = read(page).decode()
    except (OSError, UnicodeDecodeError):
        return None
    try:  # PEP 691; else the HTML of PEP 503
        found = [entry["url"] for entry in json.loads(text)["files"] if entry["filename"] == file]
    except (ValueError, KeyError, TypeError):
        links = (html.unescape(link) for link in re.findall(r"""href=["']([^"']+)["']""", text))
        found = [link for link in links if urlsplit(link).path.rsplit("/", 1)[-1] == file]
    return urljoin(page, found[0]) if found else None
