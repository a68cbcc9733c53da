"""The processes of one cluster under test: all that have its folder in their environment."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

MARK = "FDL_CHAOS"  # the environment variable that names the folder


def command(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    return []


def environment(pid):
    with suppress(OSError):
        pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
        return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return {}


def status(pid):
    """The state's letter and the parent."""
    with suppress(OSError, IndexError):
        letter, parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[:2]
        return letter, int(parent)
    return "X", 0


def parent(pid):
    return status(pid)[1]


def alive(pid):
    return status(pid)[0] not in "XZ"


def children(pid):
    return [other for other in everyone() if parent(other) == pid]


def descendants(pid):
    return [one for child in children(pid) for one in (child, *descendants(child))]


def everyone():
    return sorted(int(folder.name) for folder in Path("/proc").glob("[0-9]*"))


def ours(folder):
    """All living processes of the cluster in this folder, but for this one."""
    return [
        pid for pid in everyone() if pid != os.getpid() and alive(pid) and environment(pid).get(MARK) == str(folder)
    ]


def is_executor(pid):
    return any(word.endswith("CoarseGrainedExecutorBackend") for word in command(pid))


def executors(folder):
    return [pid for pid in ours(folder) if is_executor(pid)]


def daemons(executor):
    return [pid for pid in children(executor) if "python" in command(pid)[0]] if alive(executor) else []


def workers(executor):
    """The Python workers of an executor: the children of its daemon."""
    return [pid for daemon in daemons(executor) for pid in children(daemon)]


def executor_of(pid):
    """The executor that this process, a daemon or a worker, belongs to."""
    while pid > 1 and not is_executor(pid):
        pid = parent(pid)
    return pid


def send(number, pids):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end(folder, patience=10.0):
    """Kill what is left of a cluster; whatever is found was started for it, as its environment says."""
    limit = time.monotonic() + patience
    while left := ours(folder):
        send(signal.SIGKILL, left)
        if time.monotonic() > limit:
            raise RuntimeError(f"cannot kill {left}")
        time.sleep(0.05)


def wait_until(true, seconds, what):
    limit = time.monotonic() + seconds
    while not true():
        if time.monotonic() > limit:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.05)
