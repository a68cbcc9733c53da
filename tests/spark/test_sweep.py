"""The folders of killed processes are deleted by the next session, and nothing else ever is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from fdl_spark.spark import folders

pytestmark = pytest.mark.skipif(folders.fcntl is None, reason="folders are marked by flock")

# Without the package's imports a process starts in no time.
CALL = f"""
import os, runpy, sys
folders = runpy.run_path({folders.__file__!r})
folders["sweep"].__globals__["SHORT"] = os.environ["TMPDIR"]
"""
WAIT = CALL + "print(folders['private_folder'](), flush=True); sys.stdin.read()"
UUID = "01234567-89ab-cdef-0123-456789abcdef"


def start(code, *prefix):
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", code], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder in place of /tmp."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(folders, "SHORT", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


@pytest.fixture
def precious(tmp_path):
    """A folder that must never be touched, with what a dead process's folder has."""
    return dead(tmp_path, "precious")


def dead(root, name="fdl-spark-01234567", **changes):
    """A folder as a killed process leaves it."""
    folder = root / name
    (folder / "java-0" / "bin").mkdir(parents=True)
    for path in ("java-0/bin/java", "log4j2.properties"):
        (folder / path).write_text("content")
    (folder / "lock").write_text(json.dumps({"machine": folders._machine(), "pid": 1, **changes}))
    return folder


def jvm(root, **changes):
    """Spark's folders of a JVM, and the line that notes them."""
    spark, blocks = root / f"spark-{UUID}", root / f"blockmgr-{UUID}"
    for folder, name in ((spark, "broadcast"), (blocks, f"fdl-01234567-{UUID}.block")):
        folder.mkdir()
        (folder / name).touch()
    other = root / f"blockmgr-f{UUID[1:]}"
    other.mkdir()
    (other / f"fdl-76543210-{UUID}.block").touch()
    note = {"pid": os.getpid(), "start": "1", "namespace": folders._namespace("self")}
    note |= {"folders": [str(spark)], "roots": [str(root), "/nowhere"], **changes}
    return [spark, blocks], json.dumps(note) + "\n"


def content(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_killed_process_is_swept_and_a_living_one_is_not(root):
    living, killed = start(WAIT), start(WAIT)
    try:
        stays, goes = (Path(process.stdout.readline().strip()) for process in (living, killed))
        assert stays.parent == root and stays.stat().st_mode & 0o777 == 0o700
        assert folders.sweep() == []
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert goes.exists()
        assert folders.sweep() == [goes] and not goes.exists()
        assert (stays / "lock").exists()
        living.communicate(timeout=300)  # its input ends, and it with that
        assert living.returncode == 0 and not stays.exists()
    finally:
        for process in (living, killed):
            process.kill()
            process.communicate()


def test_folders_are_where_sockets_can_be(tmp_path, monkeypatch):
    """A long TMPDIR, as macOS has, leaves no room for the names of Unix sockets; the folders of both places go."""
    long, short = tmp_path / ("long" * 20), tmp_path / "short"
    for place in (long, short):
        place.mkdir()
    monkeypatch.setattr(folders, "SHORT", str(short))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    monkeypatch.setattr(folders, "LONGEST", len(str(short)) + 30)
    assert folders._roots() == [str(short)]
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert folders._roots() == [str(long), str(short)]
    assert folders.sweep() == [] and folders._roots()[-1] == str(short)
    assert folders.sweep() == [] and sorted([dead(long), dead(short)]) == sorted(folders.sweep())


def test_the_next_process_sweeps(root):
    goes = dead(root)
    process = start(CALL + "print(folders['private_folder']())")
    assert process.communicate(timeout=300)[0].startswith(str(root))
    assert process.returncode == 0 and not goes.exists() and not list(root.iterdir())


def test_a_forked_process_ends_without_the_folder_of_its_parent(root):
    process = start(
        CALL
        + """
mine = folders["private_folder"]()
pid = os.fork()
if not pid:
    assert folders["private_folder"]() != mine
    sys.exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
print(sorted(os.listdir(mine)), len(os.listdir(mine.parent)))
"""
    )
    assert process.communicate(timeout=300)[0] == "['lock'] 1\n"
    assert not list(root.iterdir())


@pytest.mark.skipif(not shutil.which("unshare"), reason="makes a namespace of processes")
def test_a_process_of_another_container_lives(root):
    """Containers that share /tmp do not see each other's processes, and both may have the number 1."""
    process = start(WAIT, "unshare", "--pid", "--fork", "--kill-child")
    try:
        folder = process.stdout.readline().strip()
        if not folder:
            pytest.skip("namespaces of processes cannot be made here")
        assert json.loads((Path(folder) / "lock").read_text())["pid"] == 1
        assert folders.sweep() == [] and Path(folder).exists()
        process.communicate(timeout=300)
        assert not Path(folder).exists()
    finally:
        process.kill()
        process.communicate()


def linked(folder):
    moved = folder.rename(folder.parent.parent / "moved")
    folder.symlink_to(moved)


def linked_lock(folder):
    moved = (folder / "lock").rename(folder.parent / "another")
    (folder / "lock").symlink_to(moved)


def of_another_user(folder):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(folder, 54321, -1)


# What may be another's, alive, or no folder of ours at all.
UNCERTAIN = {
    "a link": linked,
    "a lock that is a link": linked_lock,
    "another user's": of_another_user,
    "another machine's, or from before it was started again": lambda folder: (folder / "lock").write_text(
        '{"machine": "another", "pid": 1}'
    ),
    "without a mark": lambda folder: (folder / "lock").unlink(),
    "just being marked": lambda folder: (folder / "lock").rename(folder / "lock.new"),
    "an empty mark": lambda folder: (folder / "lock").write_text(""),
    "a mark of nothing": lambda folder: (folder / "lock").write_text("{}"),
    "a mark of text": lambda folder: (folder / "lock").write_text('"machine"'),
    "a mark that is a folder": lambda folder: ((folder / "lock").unlink(), (folder / "lock").mkdir()),
    "another name": lambda folder: folder.rename(folder.parent / "fdl-spark-notes"),
    "a longer name": lambda folder: folder.rename(folder.parent / "fdl-spark-012345678"),
    "notes of JVMs that are none": lambda folder: (folder / "jvms").write_text("[]\n"),
    "notes cut off": lambda folder: (folder / "jvms").write_text('{"pid": 1'),
}


@pytest.mark.parametrize("kind", UNCERTAIN)
def test_what_is_not_for_certain_ours_and_dead_stays(root, tmp_path, kind):
    UNCERTAIN[kind](dead(root))
    before = content(tmp_path)
    assert folders.sweep() == []
    assert content(tmp_path) == before


def test_links_in_a_dead_folder_are_not_followed(root, precious):
    before = content(precious)
    folder = dead(root)
    (folder / "link").symlink_to(precious)
    (folder / "java-0" / "link").symlink_to(precious)
    (folder / "file").symlink_to(precious / "lock")
    assert folders.sweep() == [folder] and not list(root.iterdir())
    assert content(precious) == before


def test_folders_of_a_dead_jvm_go_by_mark_and_name(root, precious, tmp_path):
    """Its process number is another process's by now. Of the block managers only that goes which holds our files."""
    theirs, line = jvm(root)
    (root / f"spark-a{UUID[1:]}").symlink_to(precious)
    named = [str(root / f"spark-a{UUID[1:]}"), str(precious), str(tmp_path), "spark-x", f"spark-b{UUID[1:]}", "/"]
    bad = json.dumps({**json.loads(line), "folders": named}) + "\n"
    before = content(precious)
    folder = dead(root)
    (folder / "jvms").write_text(line + bad)
    assert sorted(folders.sweep()) == sorted([*theirs, folder])
    assert sorted(path.name for path in root.iterdir()) == [f"blockmgr-f{UUID[1:]}", f"spark-a{UUID[1:]}"]
    assert content(precious) == before


LIVES = {"start": folders.process_start(os.getpid())}


@pytest.mark.skipif(LIVES["start"] is None, reason="asks Linux for processes")
@pytest.mark.parametrize("changes", [LIVES, {"namespace": "pid:[1]"}], ids=["it runs", "another container's"])
def test_folders_of_a_jvm_stay_while_it_may_run(root, changes):
    """As where several Python processes share a JVM, and one of them is killed."""
    _, line = jvm(root, **changes)
    (dead(root) / "jvms").write_text(line)
    before = content(root)
    assert folders.sweep() == [] and content(root) == before


def test_many_sweep_at_once(root):
    """Each folder is deleted once, and nobody fails."""
    before = {str(dead(root, f"fdl-spark-{number:08}")) for number in range(60)}
    ready = "sys.stdin.readline(); print(*folders['sweep'](), sep='\\n')"
    sweepers = [start(CALL + ready) for _ in range(4)]
    for process in sweepers:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300)[0].split() for process in sweepers]
    assert all(process.returncode == 0 for process in sweepers)
    assert sorted(path for paths in said for path in paths) == sorted(before)
    assert not list(root.iterdir())


def test_what_a_killed_sweep_left_goes_with_the_next(root, monkeypatch):
    """Killed before every single deletion in turn: the lock goes last, so that the rest is found again."""
    for count in range(20):
        folder = dead(root)
        calls = []

        def counted(function, calls=calls, count=count):
            def call(*arguments, **options):
                calls.append(1)
                if len(calls) > count:
                    raise KeyboardInterrupt
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", counted(os.unlink))
            patch.setattr(os, "rmdir", counted(os.rmdir))
            try:
                folders.sweep()
                break
            except KeyboardInterrupt:
                pass
        if (folder / "lock").exists():
            assert folders.sweep() == [folder]
        else:
            folder.rmdir()  # empty
    assert 4 < count < 20 and not list(root.iterdir())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads what Linux tells of processes")
def test_a_process_that_has_ended_is_dead_before_its_parent_asks():
    child = os.fork()
    if not child:
        os._exit(0)
    try:
        deadline = time.monotonic() + 300
        while folders.process_start(child) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert Path(f"/proc/{child}/stat").exists() and folders.process_start(child) is None
    finally:
        os.waitpid(child, 0)
    assert folders.process_start(os.getpid()) is not None
