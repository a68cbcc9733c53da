"""Addresses, private folders, and which processes can share sockets and memory."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import fdl_spark
from fdl_spark.errors import ArgumentError, ClusterError
from fdl_spark.net import address
from fdl_spark.net.address import host_key, local_host, parse, private_folder, remove, sweep, text
from fdl_spark.net.handshake import new_secret
from fdl_spark.net.secure import Listener

#: A package in the place of fdl_spark, whose own `__init__` would import all of Spark.
LIGHT = (
    "import sys, types\n"
    "package = sys.modules['fdl_spark'] = types.ModuleType('fdl_spark')\n"
    f"package.__path__ = {list(fdl_spark.__path__)!r}\n"
)
KEY = LIGHT + "from fdl_spark.net.address import host_key; print(host_key())"


@pytest.mark.parametrize(
    ("said", "kind", "where"),
    [
        ("tcp:10.0.0.1:4040", "tcp", ("10.0.0.1", 4040)),
        ("tcp:fe80::1%eth0:4040", "tcp", ("fe80::1%eth0", 4040)),
        ("tcp:worker-3.cluster:1", "tcp", ("worker-3.cluster", 1)),
        ("unix:/tmp/a:b/socket", "unix", "/tmp/a:b/socket"),
    ],
)
def test_addresses_are_text(said, kind, where):
    assert parse(said) == (kind, where)
    assert text(kind, *(where if kind == "tcp" else (where,))) == said


def test_processes_that_see_the_same_host_have_one_key():
    """Others, such as those of another container of the host, have another."""
    prefixes: dict[str, list[str]] = {"same": []}
    for namespace in ("--net", "--mount"):
        command = ["unshare", namespace]
        if shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode:
            prefixes[namespace] = command
    asked = {
        name: subprocess.Popen([*prefix, sys.executable, "-c", KEY], stdout=subprocess.PIPE, text=True)
        for name, prefix in prefixes.items()
    }
    keys = {name: process.communicate()[0].strip() for name, process in asked.items()}
    assert keys.pop("same") == host_key() and len(host_key()) == 32
    assert host_key() not in keys.values() and len(set(keys.values())) == len(keys) and "" not in keys.values()


def test_hosts_with_other_names_are_others(monkeypatch):
    """Copies of a running machine, and sandboxes, differ in nothing else."""
    here = host_key()
    assert host_key.__wrapped__() == here
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert host_key.__wrapped__() != here


def test_hosts_that_tell_nothing_of_themselves_are_never_taken_for_one(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(OSError()))
    monkeypatch.setattr(sys, "platform", "other")
    assert host_key.__wrapped__() != host_key.__wrapped__()


@pytest.mark.parametrize("towards", ["127.0.0.1", "localhost"])
def test_the_loopback_is_reached_by_the_loopback(towards):
    assert local_host(towards) in ("127.0.0.1", "::1")


def test_a_host_that_nobody_knows():
    with pytest.raises(ClusterError, match="cannot reach the host 'nobody.invalid'"):
        local_host("nobody.invalid")


def test_a_private_folder_has_a_short_path(tmp_path, monkeypatch):
    """Folders for temporary files may have long paths, as those of YARN's containers have."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = private_folder()
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert len(os.fsencode(folder / address.SOCKET)) < 104
        assert not list(long.iterdir())
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(folder / address.SOCKET))
    finally:
        remove(folder)
    assert not folder.exists()


def test_no_folder_has_a_short_path(monkeypatch):
    monkeypatch.setattr(address, "LONGEST_PATH", 10)
    with pytest.raises(ArgumentError, match="TMPDIR"):
        private_folder()


def test_what_killed_processes_left_is_deleted(tmp_path, monkeypatch):
    """And nothing else: neither where somebody listens, however busy, nor what is young, nor what is not ours."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = LIGHT + (
        "import os, signal\n"
        "from fdl_spark.net.secure import Listener\n"
        "listener = Listener('unix', bytes(32))\n"
        "print(listener.address, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    left = Path(parse(killed.stdout.strip())[1]).parent
    assert left.parent == tmp_path
    listener = Listener("unix", new_secret())
    assert left.exists()  # young: its process might be about to listen
    living = Path(parse(listener.address)[1]).parent
    (other := tmp_path / "other").mkdir()
    (file := tmp_path / "fdl-net-file").touch()
    (kept := tmp_path / "fdl-net-kept").mkdir()
    (kept / "something").touch()
    (link := tmp_path / "fdl-net-link").symlink_to(other)
    (empty := tmp_path / "fdl-net-empty").mkdir()
    for path in (left, living, other, file, kept, empty):
        os.utime(path, (0, 0))
    waiting = []
    for _ in range(3):
        waiting.append(sock := socket.socket(socket.AF_UNIX))
        sock.connect(str(living / address.SOCKET))
    sweep(tmp_path)
    assert not left.exists() and not empty.exists()
    assert all(path.exists() for path in (living, living / address.SOCKET, other, file, kept / "something", link))
    for sock in waiting:
        sock.close()
    listener.close()
    assert not living.exists()
