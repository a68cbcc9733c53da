"""Masters for tests: Spark's own local-cluster, and a standalone master with two workers on two addresses of the
loopback, so that a host can be lost with all that is on it."""

import ctypes
import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pyspark

from fdl_spark.java import java_home
from tests.spark.chaos import processes

HOSTS = ("127.0.0.1", "127.0.0.2")
PATIENCE = 300  # seconds for a process to come up on a machine that does much else
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """Let Linux kill this process when the harness is killed, which then cannot do it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class LocalCluster:
    """Two executors of one core each, which the driver's JVM starts."""

    name, url, secret = "local-cluster", "local-cluster[2,1,1024]", ""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        self.settings = {"spark.local.dir": str(folder / "local")}

    def start(self):
        (self.folder / "local").mkdir(exist_ok=True)

    def mend(self):
        """Nothing to do: what is lost comes back by itself."""


class Standalone:
    """A master and two workers of one core each, as processes of their own."""

    name, secret = "standalone", ""

    def __init__(self, folder):
        self.folder, self.url, self.workers, self.started = folder, "", {}, []
        self.settings = {"spark.driver.host": HOSTS[0], "spark.driver.bindAddress": HOSTS[0]}

    def start(self):
        _, log = self._launch("master", "master.Master", "--host", HOSTS[0], "--port", "0", "--webui-port", "0")
        processes.wait_until(
            lambda: _search(r"Starting Spark master at (\S+)", log), PATIENCE, f"the master, see {log}"
        )
        self.url = _search(r"Starting Spark master at (\S+)", log)
        for host in HOSTS:
            self._start_worker(host)
        for _, log in self.workers.values():
            registered = lambda log=log: _search("(Successfully registered)", log)  # noqa: E731
            processes.wait_until(registered, PATIENCE, f"a worker, see {log}")

    def mend(self):
        """Start the workers anew that were lost."""
        for host, (process, _) in list(self.workers.items()):
            if process.poll() is not None:
                self._start_worker(host)

    def _start_worker(self, host):
        local = self.folder / f"local-{host}"
        local.mkdir(exist_ok=True)
        self.workers[host] = self._launch(
            f"worker-{host}", "worker.Worker", self.url, "--host", host, "--webui-port", "0", "--cores", "1",
            "--memory", "1g", "--work-dir", str(self.folder / f"work-{host}"), SPARK_LOCAL_DIRS=str(local),
        )  # fmt: skip

    def _launch(self, name, main, *arguments, **environment):
        number = len(list(self.folder.glob(f"{name}*.log")))
        log = self.folder / f"{name}.{number}.log"
        home = Path(pyspark.__file__).parent
        environment |= {
            "JAVA_HOME": str(java_home()),
            "SPARK_HOME": str(home),
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_PUBLIC_DNS": HOSTS[0],
            processes.MARK: str(self.folder),
        }
        if self.secret:
            options = f"-Dspark.authenticate=true -Dspark.authenticate.secret={self.secret}"
            environment |= {
                f"SPARK_{main.split('.')[0].upper()}_OPTS": f"{options} -Dspark.network.crypto.enabled=true"
            }
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [home / "bin" / "spark-class", f"org.apache.spark.deploy.{main}", *arguments],
                env={**os.environ, **environment}, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                preexec_fn=end_with_parent,
            )  # fmt: skip
        self.started.append(process)
        return process, log


def _search(pattern, log):
    found = re.search(pattern, log.read_text(errors="replace"))
    return found.group(1) if found else None


CLUSTERS = {cluster.name: cluster for cluster in (LocalCluster, Standalone)}
