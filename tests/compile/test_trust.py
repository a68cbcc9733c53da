"""Machine code is loaded only from where nobody else can have put it; every way to plant some is tried."""

import os
import pickle
import stat
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import fdl
from fdl.compile.runtime.cache import ObjectCache, _header, default_directory
from fdl.trust import UntrustedError, check_folder, open_trusted

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes and owners are those of POSIX")

KEY, CODE = "00ff", b"machine code"
STRANGER = 54321


@pytest.fixture
def give_away(monkeypatch):
    """Make a path belong to another user: really for root, and as far as `os` tells for anybody else."""
    given = set()

    def give(path, uid=STRANGER):
        if os.geteuid() == 0:
            os.chown(path, uid, -1, follow_symlinks=False)
        else:
            state = os.lstat(path)
            given.add((state.st_dev, state.st_ino))

    def told(ask):
        def lie(*args, **kwargs):
            state = ask(*args, **kwargs)
            if (state.st_dev, state.st_ino) not in given:
                return state
            return SimpleNamespace(st_mode=state.st_mode, st_uid=STRANGER)

        return lie

    if os.geteuid() != 0:
        for name in ("lstat", "fstat"):
            monkeypatch.setattr(os, name, told(getattr(os, name)))
    return give


@pytest.fixture
def cache(tmp_path):
    """A cache two folders below tmp_path, with one entry."""
    made = ObjectCache(tmp_path / "above" / "cache")
    made.put(KEY, CODE)
    assert made.get(KEY) == CODE
    return made


def refuses(cache, match):
    """It gives nothing and takes nothing, and says so once."""
    with pytest.warns(RuntimeWarning, match=match) as seen:
        assert cache.get(KEY) is None
        assert cache.get(KEY) is None
        cache.put("01", b"more")
    assert len(seen) == 1
    assert not (cache.directory / "01.o").exists()
    assert "FDL_CACHE_DIR" in str(seen[0].message)


def test_folders_are_made_for_this_user_alone(cache, tmp_path):
    for folder in (cache.directory, cache.directory.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (entry,) = cache.directory.iterdir()
    assert stat.S_IMODE(entry.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777])
def test_folder_open_to_others(cache, mode):
    cache.directory.chmod(mode)
    refuses(cache, f"may write to {cache.directory} .mode {mode:04o}")
    cache.directory.chmod(0o755)
    assert cache.get(KEY) == CODE


def test_folder_of_another_user(cache, give_away):
    give_away(cache.directory)
    refuses(cache, f"{cache.directory} belongs to the user {STRANGER}")


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_folder_that_another_can_exchange(cache, mode):
    cache.directory.parent.chmod(mode)
    refuses(cache, f"may write to {cache.directory.parent} ")


def test_folder_below_that_of_another_user(cache, give_away):
    give_away(cache.directory.parent)
    refuses(cache, f"{cache.directory.parent} belongs to the user")


def test_sticky_folder_above_is_safe(cache):
    """As /tmp: what is in it can only be renamed by its owner."""
    cache.directory.parent.chmod(0o1777)
    assert cache.get(KEY) == CODE


def test_sticky_folder_above_with_a_stranger_between(cache, tmp_path, give_away):
    """Made in a /tmp by somebody who waits for a user to name it."""
    tmp_path.chmod(0o1777)
    give_away(cache.directory.parent)
    refuses(cache, "belongs to the user")


def test_file_of_another_user(cache, give_away):
    (entry,) = cache.directory.iterdir()
    give_away(entry)
    with pytest.warns(RuntimeWarning, match="belongs to the user"):
        assert cache.get(KEY) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it has been told
        assert cache.get(KEY) is None
        cache.put(KEY, b"our own")
    assert cache.get(KEY) == b"our own"


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_file_open_to_others(cache, mode):
    (entry,) = cache.directory.iterdir()
    entry.chmod(mode)
    with pytest.warns(RuntimeWarning, match="may write to"):
        assert cache.get(KEY) is None


def test_entries_that_are_no_files(cache, tmp_path):
    (entry,) = cache.directory.iterdir()
    planted = tmp_path / "planted"
    planted.write_bytes(_header(CODE) + CODE)
    plants = [
        lambda: entry.symlink_to(planted),
        lambda: os.mkfifo(entry),  # must not wait for a writer
        lambda: entry.mkdir(),
    ]
    for plant in plants:
        entry.unlink()
        plant()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert ObjectCache(cache.directory).get(KEY) is None
        if entry.is_dir() and not entry.is_symlink():
            entry.rmdir()
            entry.touch()


def test_links_of_the_user_are_followed(cache, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(cache.directory.parent)
    (tmp_path / "relative").symlink_to("link/../above/./cache")
    assert ObjectCache(link / "cache").get(KEY) == CODE
    assert ObjectCache(tmp_path / "relative").get(KEY) == CODE
    cache.directory.chmod(0o777)
    refuses(ObjectCache(tmp_path / "relative"), "may write to")


def test_link_of_another_user(cache, tmp_path, give_away):
    """It leads to a folder of ours, where old entries would be deleted."""
    link = tmp_path / "link"
    link.symlink_to(cache.directory)
    give_away(link)
    refuses(ObjectCache(link), f"{link} belongs to the user")


def test_link_through_an_open_folder(cache, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "link").symlink_to(cache.directory)
    (tmp_path / "open").chmod(0o777)
    refuses(ObjectCache(tmp_path / "open" / "link"), "may write to")


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    cache = ObjectCache(tmp_path / "a" / "cache")
    cache.put(KEY, CODE)
    assert cache.get(KEY) is None


def test_the_root_is_no_cache():
    with pytest.raises((UntrustedError, OSError)):
        check_folder(type(default_directory())("/tmp"))


def test_the_opened_file_is_asked(tmp_path, monkeypatch):
    """A file that is exchanged between a look at its path and the opening does not pass."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    file.chmod(0o666)
    honest = os.lstat(tmp_path)
    monkeypatch.setattr(os, "lstat", lambda *_, **__: honest)
    monkeypatch.setattr(os, "stat", lambda *_, **__: honest)
    with pytest.raises(UntrustedError), open_trusted(file):
        pass


def test_a_program_runs_without_its_cache(tmp_path):
    """The whole of it: a planted folder, one warning, no file read or written, the right result."""
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    script = (
        "import fdl, fdl.numpy as n; f = fdl.jit(lambda x: n.sin(x) + 1); g = fdl.jit(lambda x: x * 3)\n"
        "print(float(f(0.0)), float(g(2.0)))\n"
        "print(fdl.explain_cache_miss(fdl.jit(lambda x: x - 7))(1.0))"
    )
    environment = {**os.environ, "FDL_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "1.0 6.0"
    assert "others could have put theirs there" in done.stdout
    assert done.stderr.count("RuntimeWarning") == 1
    assert not list(folder.iterdir())


def test_a_user_without_a_home(monkeypatch):
    def nobody():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FDL_CACHE_DIR")
    monkeypatch.setattr("pathlib.Path.home", nobody)
    assert default_directory() is None


def test_arrays_that_are_pickles_are_not_opened(tmp_path):
    """Opening a file that somebody hands us runs no code."""

    class Malice:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    np.save(tmp_path / "a.npy", np.array([Malice()], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=np.array([Malice()], object))
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Malice()))
    for name in ("a.npy", "a.npz", "b.npy"):
        with pytest.raises((ValueError, fdl.errors.FdlError)):
            _ = fdl.numpy.load(tmp_path / name)["a"]
    assert not (tmp_path / "made").exists()
