"""What is done to a cluster, by whichever process comes to the point where it is to happen."""

import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from tests.spark.chaos import processes

FILLER = "local/filler"  # in the cluster's folder


def victim(fault):
    """The executor of this worker; from the driver, the one started first."""
    mine = processes.executor_of(os.getpid())
    if mine > 1:
        return mine
    folder = Path(fault["folder"])
    return next(pid for pid in processes.executors(folder) if not (folder / f"leaving-{pid}").exists())


def files(executor, pattern):
    roots = processes.environment(executor)["SPARK_EXECUTOR_DIRS"].split(":" if os.name != "nt" else ";")
    return [path for root in roots for path in sorted(Path(root).rglob(pattern))]


def kill_executor(fault):
    processes.send(signal.SIGKILL, [victim(fault)])


def kill_executors(fault):
    processes.send(signal.SIGKILL, processes.executors(fault["folder"]))


def kill_worker(fault):
    mine = processes.executor_of(os.getpid())
    processes.send(signal.SIGKILL, [os.getpid()] if mine > 1 else processes.workers(victim(fault)))


def kill_daemon(fault):
    processes.send(signal.SIGKILL, processes.daemons(victim(fault)))


def lose_host(fault):
    """Everything stops at once, then is gone, local directories too."""
    executor = victim(fault)
    host = [processes.parent(executor), executor, *processes.daemons(executor), *processes.workers(executor)]
    others = [pid for pid in host if pid != os.getpid()]
    roots = processes.environment(executor)["SPARK_EXECUTOR_DIRS"].split(":")
    processes.send(signal.SIGSTOP, others)
    for root in roots:
        shutil.rmtree(Path(root).parent, ignore_errors=True)
    processes.send(signal.SIGKILL, others)
    if os.getpid() in host:
        os.kill(os.getpid(), signal.SIGKILL)


def pause(fault, pids):
    """Stop processes, this one too if it is among them; another one wakes them."""
    numbers = " ".join(map(str, pids))
    wake = f"sleep {fault['seconds']}; kill -CONT {numbers}" if fault.get("seconds") else "true"
    subprocess.Popen(["sh", "-c", f"kill -STOP {numbers}; {wake}"], start_new_session=True, stdout=subprocess.DEVNULL)
    time.sleep(0.5)  # so that this process goes no further before it is stopped


def pause_jvm(fault):
    pause(fault, [victim(fault)])


def pause_executor(fault):
    executor = victim(fault)
    pause(fault, [executor, *processes.daemons(executor), *processes.workers(executor)])


def slow(fault):
    time.sleep(fault["seconds"])


def delete_blocks(fault):
    for path in _blocks(fault):
        path.unlink()


def truncate_blocks(fault):
    for path in _blocks(fault):
        os.truncate(path, path.stat().st_size // 2)


def flip_blocks(fault):
    """One bit in the middle of each block."""
    for path in _blocks(fault):
        with open(path, "r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 0x40]))


def _blocks(fault):
    found = files(victim(fault), "fdl-*.block")
    assert found, "no block file was found"
    return found


def delete_folders(fault):
    """The block manager's folders, as a sweep of /tmp would."""
    for path in files(victim(fault), "blockmgr-*"):
        shutil.rmtree(path, ignore_errors=True)


def delete_local_directories(fault):
    """Those folders, and the executor's own around them."""
    for path in files(victim(fault), "blockmgr-*"):
        shutil.rmtree(path.parent, ignore_errors=True)


def delete_folders_of_driver(fault):
    """The same on the driver, which does not make them again as long as it does without."""
    for path in Path(fault["folder"]).rglob("blockmgr-*"):
        if not any(part.startswith("executor-") for part in path.parts):
            shutil.rmtree(path)


def decommission(fault):
    """As a cluster manager announces that a node will go away."""
    executor = victim(fault)
    (Path(fault["folder"]) / f"leaving-{executor}").touch()
    processes.send(signal.SIGPWR, [executor])


def disk_full(fault):
    raise OSError(28, "No space left on device")


def fill_disk(fault):
    """Leave no byte free where Spark's local directories are, which the harness has made small; for so many seconds, or
    as long as the file is there."""
    filler = Path(fault["folder"]) / FILLER
    filler.touch()
    words = (
        f"end=$(( $(date +%s) + {fault.get('seconds', 100)} ));"
        f"while [ -e '{filler}' ] && [ $(date +%s) -lt $end ]; do"  # again and again, as other files are deleted
        f"  dd if=/dev/zero of='{filler}' bs=64k oflag=append conv=notrunc,nocreat 2>/dev/null; sleep 0.05;"
        f"done; rm -f '{filler}'"
    )
    subprocess.Popen(["sh", "-c", words], start_new_session=True, stdout=subprocess.DEVNULL)
    disk = Path(fault["folder"]) / "local"
    processes.wait_until(lambda: os.statvfs(disk).f_bavail == 0, 10, "a full disk")


def kill_driver(fault):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_driver_and_jvm(fault):
    jvm = [pid for pid in processes.children(os.getpid()) if "java" in processes.command(pid)[0]]
    processes.send(signal.SIGKILL, [*jvm, os.getpid()])


def interrupt(fault):
    """Ctrl-C, a moment later, when the driver waits for the cluster."""
    threading.Timer(fault.get("seconds", 0.0), os.kill, [os.getpid(), signal.SIGINT]).start()


def slow_and_interrupt(fault):
    """Ctrl-C while the driver waits for a task that takes long."""
    (driver,) = (pid for pid in processes.ours(fault["folder"]) if "tests.spark.chaos.driver" in processes.command(pid))
    os.kill(driver, signal.SIGINT)
    time.sleep(fault["seconds"])


def cut_connection(fault):
    """Send a part of what is to be sent, then reset the connection."""
    from fdl_spark.net.cipher import EncryptedConnection

    connection, *buffers = fault["arguments"]
    sock = next(value for value in vars(connection).values() if isinstance(value, socket.socket))
    if not isinstance(connection, EncryptedConnection):  # else what is sent is for it to say
        sock.send(bytes(buffers[0][: max(1, len(buffers[0]) // 2)]))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.shutdown(socket.SHUT_RDWR)


def kill_at_byte(fault):
    """The next file that grows beyond so many bytes kills this process, in the middle of a write."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fault["bytes"], resource.RLIM_INFINITY))


def kill_task(fault):
    """As the scheduler does with a task whose twin was faster, or by the button in Spark's UI."""
    from pyspark import SparkContext

    context = SparkContext._active_spark_context._jsc.sc()

    def kill():
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            store = context.statusStore()
            for stage in context.statusTracker().getActiveStageIds():
                tasks = store.taskList(stage, 0, 10)
                for place in range(tasks.size()):
                    task = tasks.apply(place)
                    if task.status() == "RUNNING" and context.killTaskAttempt(task.taskId(), True, "on purpose"):
                        return
            time.sleep(0.01)

    threading.Thread(target=kill).start()


def idle(fault):
    """Nothing runs for a while, so that dynamic allocation lets executors go."""
    before = len(processes.executors(fault["folder"]))
    limit = time.monotonic() + fault["seconds"]
    while len(processes.executors(fault["folder"])) >= before and time.monotonic() < limit:
        time.sleep(0.2)


ACTIONS = {name: value for name, value in globals().items() if callable(value) and not name.startswith("_")}
