"""What was written is read as it was or not at all, whatever becomes of it, and wherever its writing was cut off."""

import hashlib
import json
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from pyarrow import fs

import fdl_spark
from fdl_spark.checkpoints import checkpoint, journal
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.checkpoints.files import LocalFiles, RemoteFiles, open_files

HERE = runpy.run_path(str(Path(__file__).with_name("disks.py")))
Disk, Killed, folder_on, saved, same = (HERE[name] for name in ("Disk", "Killed", "folder_on", "saved", "same"))


@pytest.fixture
def no_logs():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def short(monkeypatch):
    """Every few records become a segment."""
    monkeypatch.setattr(journal, "SEGMENT", 100)


def continued(steps):
    """Checkpoints of one run, whose histories go on from each other as a run's do."""
    whole = saved(steps[-1]).history
    for step in steps:
        yield saved(step, {kind: records[:step] for kind, records in whole.items()})


def written(*steps):
    """The files of a run's checkpoints."""
    disk = Disk()
    folder = folder_on(disk)
    folder.prepare()
    for content in continued(steps):
        folder.save(content)
    return disk.files


def opened(files):
    """What a folder of these files gives."""
    folder = folder_on(Disk(files))
    return folder, folder.load()


def damages(content):
    """Every bit flipped, every byte another one, every length cut off, and more added."""
    for place, byte in enumerate(content):
        for other in {byte ^ 1 << bit for bit in range(8)} | {0, 0x20, 0x31, 0x39} - {byte}:
            yield content[:place] + bytes([other]) + content[place + 1 :]
    yield from (content[:length] for length in range(len(content)))
    yield from (content + more for more in (b"\n", b"\0", b" ", content))


def test_every_bit_of_a_checkpoint_counts(short, no_logs):
    """The newest of two: the older one is used. The only one, or what both share: an error. Never another value."""
    older, newer = continued([1, 2])
    files, cases = written(1, 2), 0
    only = {name: content for name, content in files.items() if "000000001" not in name}
    digest = only_digest(only)
    assert sorted(only) == [f"history-000000002-{digest}.jsonl", "step-000000002.json", "step-000000002.safetensors"]
    for name, content in only.items():
        for damaged in damages(content):
            cases += 1
            folder, found = opened({**files, name: damaged})
            assert same(found, older) and [step for step, _ in folder.problems] == [2]
            if cases % 7 == 0:
                with pytest.raises(fdl_spark.CheckpointError, match="000000002"):
                    opened({**only, name: damaged})
    assert cases > 14_000
    for name in files.keys() - only.keys():  # the older one's files
        for damaged in (b"", files[name][:-1], files[name] + b" "):
            assert same(opened({**files, name: damaged})[1], newer)


def only_digest(files):
    (name,) = (name for name in files if name.startswith("history"))
    return hashlib.sha256(files[name]).hexdigest()[:8]


def test_files_of_one_checkpoint_do_not_pass_for_those_of_another(short, no_logs):
    """Each file is whole, and is another's: under another name, or of another run's same step."""
    files, others = written(3, 6, 9), written(2, 4, 9)
    for name in files:
        for other, content in {**others, **files}.items():
            if content == files[name]:
                continue
            try:
                _, found = opened({**files, name: content})
            except fdl_spark.CheckpointError:
                continue
            assert any(same(found, whole) for whole in continued([6, 9])), (name, other)


def test_shared_segments_that_are_damaged_or_missing_are_an_error(short):
    files = written(3, 6, 9)
    first = min(name for name in files if name.startswith("history"))
    for rest in ({**files, first: b"{}\n"}, {name: files[name] for name in files if name != first}):
        with pytest.raises(fdl_spark.CheckpointError, match=r"000000009\.json .*history.*, nor can the 1 before it"):
            opened(rest)


def test_what_is_damaged_is_told_once_and_set_aside(short, caplog):
    files = written(3, 6, 9)
    files["step-000000009.json"] = files["step-000000009.json"].replace(b"0.5", b"0.4")
    files[".step-000000012.json.0f.unfinished"] = b"{"
    disk = Disk(files)
    folder = folder_on(disk)
    with caplog.at_level(logging.WARNING, "fdl_spark"):
        assert folder.load().step == 6
    (record,) = caplog.records
    for words in (
        "/disk/step-000000009.json cannot be read: it has another SHA-256",
        "the writing of /disk/step-000000012.json was interrupted",
        "training goes on from step 6",
    ):
        assert words in record.getMessage()
    assert disk.files == files  # looking changes nothing
    folder.prepare()
    aside = {name for name in disk.files if name.endswith(".broken")}
    newest = {name for name in files if name.startswith(("step-000000009", "history-000000009"))}
    assert {name.rsplit(".", 2)[0] for name in aside} == newest and len(newest) == 3
    assert all(disk.files[name] == files[name.rsplit(".", 2)[0]] for name in aside)
    assert disk.files.keys() - aside == files.keys() - newest - {".step-000000012.json.0f.unfinished"}
    # The run goes on, and its checkpoints are kept and deleted as if nothing had been.
    *_, nine, twelve = continued([3, 6, 9, 12])
    folder.save(nine)
    folder.save(twelve)
    again, found = opened(disk.files)
    assert same(found, twelve) and again.steps() == [9, 12] and aside < disk.files.keys() and not again.problems


def test_the_first_checkpoint_interrupted_is_no_checkpoint(caplog):
    files = written(1)
    del files["step-000000001.json"]
    with caplog.at_level(logging.WARNING, "fdl_spark"):
        folder, found = opened(files)
    assert found is None and "was interrupted; training starts anew" in caplog.text
    folder.prepare()
    folder.save(saved(1))
    assert same(opened(folder.files.files)[1], saved(1))


def test_a_checkpoint_is_there_or_not_wherever_the_machine_crashes(short, no_logs):
    """At every operation and in the middle of writing, with any part of what was not synced on the disk."""
    before, (old, new) = written(3, 6), list(continued([3, 6, 9]))[1:]
    crashes, kinds = 0, set()
    for cut in (None, 0.0, 0.5, 1.0):
        for operations in range(100):
            disk = Disk(before)
            folder = folder_on(disk)
            folder.load()
            folder.prepare()
            disk.sync()
            disk.left, disk.cut = operations, cut
            try:
                folder.save(new)
                ended = True
            except Killed:
                ended = False
            for files in disk.crashes() if cut is None else [disk.files]:
                crashes += 1
                again, found = opened(files)
                assert same(found, new) or (same(found, old) and not ended)
                kinds.add((found.step, bool(again.problems)))
                # Whatever is there does not disturb what comes.
                again.prepare()
                assert not any(name.endswith(("unfinished", "probe")) for name in again.files.files)
                again.save(new)
                assert same(opened(again.files.files)[1], new)
            if ended:
                break
        assert 8 < operations < 20
    assert crashes > 100 and kinds == {(6, False), (6, True), (9, False)}


def test_setting_aside_can_crash_too(short, no_logs):
    """The older checkpoint stays the one that is used, and nothing of the damaged one is lost."""
    files = written(3, 6, 9)
    files["step-000000009.safetensors"] = b"damaged"
    mine = {name: content for name, content in files.items() if "000000009" in name}
    for operations in range(100):
        disk = Disk(files)
        folder = folder_on(disk)
        folder.load()
        disk.left = operations
        try:
            folder.prepare()
            ended = True
        except Killed:
            ended = False
        for there in disk.crashes():
            again, found = opened(there)
            assert found.step == 6
            again.prepare()
            kept = {name.split(".broken")[0].rsplit(".", 1)[0]: name for name in again.files.files if "broken" in name}
            assert {name: again.files.files[kept[name]] for name in kept} == mine
        if ended:
            break
    assert 5 < operations < 20


@pytest.mark.parametrize("operation", ["write", "move", "sync", "delete"])
def test_an_error_at_any_operation_leaves_what_was(short, operation):
    """A disk that is full or fails: the checkpoints before are as they were, and the next one is written whole."""
    for count in range(10):
        disk = Disk(written(3, 6))
        folder = folder_on(disk)
        folder.load()
        before, calls, works = disk.files, [], getattr(disk, operation)

        def fails(*arguments, calls=calls, count=count, works=works):
            calls.append(1)
            if len(calls) == count + 1:
                raise OSError(28, "No space left on device")
            return works(*arguments)

        setattr(disk, operation, fails)
        *_, new = continued([3, 6, 9])
        try:
            folder.save(new)
        except fdl_spark.CheckpointError as error:
            assert "step 9 cannot be written" in str(error) and "No space left" in str(error)
            assert disk.files == before
            folder.save(new)
        assert same(opened(disk.files)[1], new)
        if len(calls) <= count:
            break
    assert count >= 2


SAVER = """
import os, runpy, signal, sys, time, random
here = runpy.run_path(sys.argv[1])
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
import logging, numpy as np
logging.disable(logging.CRITICAL)

def content(step):
    found = here["saved"](step)
    found.tensors["large"] = np.full(30_000, step, np.float32)
    return found

def save_on(folder, pipe):
    found = folder.load()
    folder.prepare()
    step = found.step if found else 0
    while True:
        step += 1
        folder.save(content(step))
        os.write(pipe, step.to_bytes(4, "little"))

random.seed(5)
timed = CheckpointFolder(sys.argv[2] + "/timed")
timed.prepare()
before = time.perf_counter()
for step in (1, 2, 3):
    timed.save(content(step))
usual = (time.perf_counter() - before) / 3
confirmed, problems, turn = 0, 0, 0
while turn < int(sys.argv[3]) or not problems and turn < 500:
    turn += 1
    ends = os.pipe()
    pid = os.fork()
    if not pid:
        save_on(CheckpointFolder(sys.argv[2]), ends[1])
    os.close(ends[1])
    said = b"".join(os.read(ends[0], 4) for _ in range(random.randrange(3)))  # on a busy machine too
    time.sleep(usual * random.random())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    said += b"".join(iter(lambda: os.read(ends[0], 1 << 16), b""))
    os.close(ends[0])
    confirmed = int.from_bytes(said[-4:], "little") if said else confirmed
    folder = CheckpointFolder(sys.argv[2])
    found = folder.load()
    if found is None:
        assert not confirmed
        continue
    assert found.step in (confirmed, confirmed + 1), (found.step, confirmed)
    assert here["same"](found, content(found.step))
    confirmed = found.step
    problems += bool(folder.problems)
folder.prepare()
names = os.listdir(sys.argv[2])
assert not [name for name in names if name.startswith(".")], names
print(confirmed, problems)
"""


def test_a_process_killed_again_and_again_loses_no_checkpoint(tmp_path):
    """SIGKILL at random moments of saving: what was saved is there, or the one that was under way."""
    program = str(Path(__file__).with_name("disks.py"))
    done = subprocess.run(
        [sys.executable, "-c", SAVER, program, str(tmp_path), "20"],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    steps, problems = map(int, done.stdout.split())
    assert steps > 5 and problems > 0, done.stdout


def test_local_files_are_synced_before_their_names_are_trusted(tmp_path, monkeypatch):
    calls = []

    def noted(name, function, describe):
        def call(*arguments):
            calls.append((name, describe(*arguments)))
            return function(*arguments)

        monkeypatch.setattr(os, name, call)

    def of_handle(handle, *_):
        return Path(os.readlink(f"/proc/self/fd/{handle}")).name

    noted("fsync", os.fsync, of_handle if sys.platform == "linux" else lambda *_: "")
    noted("replace", os.replace, lambda old, new: Path(new).name)
    CheckpointFolder(tmp_path).save(saved(1))
    names = [f"step-000000001.{ending}" for ending in ("safetensors", "json")]
    assert [name for name, _ in calls] == ["fsync", "fsync", "replace", "fsync", "replace", "fsync"]
    assert [what for name, what in calls if name == "replace"] == names
    if sys.platform == "linux":
        synced = [what for name, what in calls if name == "fsync"]
        assert [what[1 : len(name) + 1] for what, name in zip(synced, names, strict=False)] == names
        assert synced[2:] == [tmp_path.name] * 2


def test_a_failing_sync_is_told(tmp_path, monkeypatch):
    def fails(_):
        raise OSError(5, "Input/output error")

    folder = CheckpointFolder(tmp_path)
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(fdl_spark.CheckpointError, match="step 1 cannot be written .*Input/output error"):
        folder.save(saved(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("local", [True, False])
def test_other_file_systems_hold_the_same(tmp_path, short, local):
    """What pyarrow reaches is written by other means, to the same files."""
    folder = CheckpointFolder(f"file://{tmp_path}")
    assert isinstance(folder.files, LocalFiles) and isinstance(open_files("mock:///run"), RemoteFiles)
    if not local:
        folder.files = RemoteFiles(fs.LocalFileSystem(), str(tmp_path))
    folder.prepare()
    for content in continued([3, 6, 9]):
        folder.save(content)
    there = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert there == written(3, 6, 9)
    (tmp_path / "step-000000009.safetensors").unlink()
    again = CheckpointFolder(tmp_path)
    again.files = folder.files
    assert again.load().step == 6
    again.prepare()
    assert again.steps() == [6] and sum(path.name.endswith(".broken") for path in tmp_path.iterdir()) == 2


def test_a_checkpoint_that_cannot_be_reached_is_not_taken_for_damaged(monkeypatch):
    """As in an outage of a store, or without permission: going on from an older one would be a surprise."""
    disk = Disk(written(1, 2))
    read = disk.read

    def denied(name):
        if "000000002" in name:
            raise PermissionError(13, "Permission denied", name)
        return read(name)

    disk.read = denied
    with pytest.raises(fdl_spark.CheckpointError, match=r"cannot be read .*Permission denied"):
        folder_on(disk).load()
    disk.read = lambda name: (_ for _ in ()).throw(OSError(5, "Input/output error")) if "2.s" in name else read(name)
    assert folder_on(disk).load().step == 1  # a disk that has lost the file


def test_a_newer_format_is_not_passed_over():
    """The checkpoint before would be whole, but a user who went back to an older version did not ask for it."""
    files = written(1, 2)
    values = json.loads(files["step-000000002.json"])
    del values["sha256"]
    values["format"] = 3
    files["step-000000002.json"] = checkpoint.signed(json.dumps(values).encode()[:-1])
    with pytest.raises(fdl_spark.CheckpointError, match=r"step-000000002\.json has format 3"):
        opened(files)


def test_checkpoints_of_format_1_are_read_and_gone_on_from(short):
    content = saved(5)
    tensors = safetensors.numpy.save(content.tensors)
    values = {
        "format": 1,
        "step": 5,
        "arguments": content.arguments,
        "sha256": hashlib.sha256(tensors).hexdigest(),
        "history": content.history,
    }
    files = {"step-000000005.json": json.dumps(values, indent=1).encode(), "step-000000005.safetensors": tensors}
    folder, found = opened(files)
    assert same(found, content)
    for kind, records in saved(8).history.items():
        found.history[kind].extend(records[5:])
    folder.save(saved(8, found.history))
    assert same(opened(folder.files.files)[1], saved(8)) and folder.steps() == [5, 8]


def test_damaged_checkpoints_of_format_1_raise_nothing_else(no_logs):
    """It has no digest of itself, so that not all can be found."""
    tensors = safetensors.numpy.save(saved(1).tensors)
    values = {"format": 1, "step": 1, "arguments": saved(1).arguments, "history": saved(1).history}
    described = json.dumps({**values, "sha256": hashlib.sha256(tensors).hexdigest()}, indent=1).encode()
    refused = 0
    for damaged in damages(described):
        try:
            _, found = opened({"step-000000001.json": damaged, "step-000000001.safetensors": tensors})
        except fdl_spark.CheckpointError:
            refused += 1
        else:
            assert found.step == 1
            fdl_spark.History.from_json(found.history).add_epoch(2, 5, None)
    assert refused > 5000


def test_numbers_of_all_kinds_are_as_they_were(tmp_path):
    import ml_dtypes

    tensors = {
        "half": np.arange(4, dtype=np.float16),
        "brain": np.arange(4).astype(ml_dtypes.bfloat16),
        "double": np.asarray(np.pi),
        "empty": np.zeros((0, 3), np.float32),
        "turned": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "not finite": np.array([np.nan, np.inf, -0.0], np.float32),
        "mask": np.array([True, False]),
    }
    arguments = {"shards": 2, "seed": np.int64(3), "rows": np.int32(4)}
    history = {"steps": [{**saved(1).history["steps"][0], "loss": float("nan"), "rate": np.float32(0.5)}]}
    folder = CheckpointFolder(tmp_path)
    folder.save(checkpoint.Saved(1, arguments, tensors, {**history, "epochs": [], "events": []}))
    found = folder.load()
    assert found.arguments == arguments and found.history["steps"][0]["rate"] == 0.5
    assert np.isnan(found.history["steps"][0]["loss"])
    for name, array in tensors.items():
        assert found.tensors[name].dtype == array.dtype and found.tensors[name].tobytes() == array.tobytes()
