"""Masters for tests: Spark's own local-cluster; a standalone master with two workers on two addresses of the loopback,
so that a host can be lost with all that is on it; and a server of Spark Connect on a local-cluster of its own."""

import ctypes
import os
import re
import secrets
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyspark

from fdl_spark.spark.java import java_home
from fdl_spark.spark.session import FAST
from tests.spark.chaos import processes

ROOT = Path(__file__).parents[3]
HOOKS = Path(__file__).with_name("hooks")
HOSTS = ("127.0.0.1", "127.0.0.2")
PATIENCE = 300  # seconds for a process to come up on a machine that does much else
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """Let Linux kill this process when the harness is killed, which then cannot do it."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Cluster:
    """What the kinds of clusters have in common.

    Attributes:
      folder: where its files are.
      url: what a driver is given for a master.
      secret: of `spark.authenticate`; "" for none.
      disk: bytes of the disk of its local directories; 0 for that of the folder. To mount one takes a superuser.
      settings: of its applications.
      environment: of its drivers.
      started: its processes, and the drivers'.
    """

    name, url, secret, disk = "", "", "", 0

    def __init__(self, folder):
        self.folder, self.started, self.environment = folder, [], {}
        self.settings = {"spark.local.dir": str(folder / "local")}

    def start(self):
        """Start what there must be before a driver."""
        (self.folder / "local").mkdir(exist_ok=True)
        if self.disk:
            self._mount("mount", "-t", "tmpfs", "-o", f"size={self.disk},mode=700", "chaos")

    def end(self):
        """Undo what ends with no process."""
        if self.disk:
            self._mount("umount", "-l")

    def mend(self):
        """Bring back what was lost and does not come back by itself."""

    def own(self):
        """The processes that are there whether an application runs or not."""
        return set()

    def _mount(self, *command):
        subprocess.run([*command, self.folder / "local"], check=True, capture_output=True)

    def _launch(self, name, command, **environment):
        log = self.folder / f"{name}.{len(list(self.folder.glob(f'{name}*.log')))}.log"
        home = Path(pyspark.__file__).parent
        environment |= {
            "JAVA_HOME": str(java_home()),
            "SPARK_HOME": str(home),
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_PUBLIC_DNS": HOSTS[0],
            processes.MARK: str(self.folder),
        }
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [home / "bin" / command[0], *command[1:]], env={**os.environ, **environment}, cwd=self.folder,
                stdout=output, stderr=output, stdin=subprocess.DEVNULL, preexec_fn=end_with_parent,
            )  # fmt: skip
        self.started.append(process)
        return process, log


class LocalCluster(Cluster):
    """Two executors of one core each, which the driver's JVM starts."""

    name, url = "local-cluster", "local-cluster[2,1,1024]"


class Connect(Cluster):
    """A server of Spark Connect, whose executors outlive the sessions of its clients."""

    name = "connect"

    def start(self):
        super().start()
        self.environment = {"SPARK_CONNECT_AUTHENTICATE_TOKEN": secrets.token_hex(16)}
        settings = {
            **self.settings,
            **executors_settings(self.folder),
            **{name: value for name, (value, _) in FAST.items()},
            "spark.connect.grpc.binding.address": HOSTS[0],
            "spark.connect.grpc.binding.port": "0",
            "spark.driver.host": HOSTS[0],
            "spark.driver.bindAddress": HOSTS[0],
            "spark.executorEnv.SPARK_LOCAL_IP": HOSTS[0],
        }
        words = [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]
        main = ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
        python = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": HOSTS[0], **self.environment}
        command = ["spark-submit", "--master", LocalCluster.url, *words, *main]
        self.server, log = self._launch("server", command, **python)

        def port():
            if self.server.poll() is not None:
                raise RuntimeError(log.read_text(errors="replace")[-3000:])
            return _search(r"server started at: \S*:(\d+)\s", log)

        processes.wait_until(port, PATIENCE, f"the server, see {log}")
        self.url = f"sc://localhost:{port()}"

    def own(self):
        return {self.server.pid, *processes.descendants(self.server.pid)}


class Standalone(Cluster):
    """A master and two workers of one core each, as processes of their own."""

    name = "standalone"

    def __init__(self, folder):
        super().__init__(folder)
        self.workers = {}
        self.settings = {"spark.driver.host": HOSTS[0], "spark.driver.bindAddress": HOSTS[0]}

    def start(self):
        super().start()
        self.master, log = self._daemon(
            "master", "master.Master", "--host", HOSTS[0], "--port", "0", "--webui-port", "0"
        )
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
        self.workers[host] = self._daemon(
            f"worker-{host}", "worker.Worker", self.url, "--host", host, "--webui-port", "0", "--cores", "1",
            "--memory", "1g", "--work-dir", str(self.folder / f"work-{host}"), SPARK_LOCAL_DIRS=str(local),
        )  # fmt: skip

    def own(self):
        return {self.master.pid, *(process.pid for process, _ in self.workers.values())}

    def _daemon(self, name, main, *arguments, **environment):
        if self.secret:
            options = f"-Dspark.authenticate=true -Dspark.authenticate.secret={self.secret}"
            environment |= {
                f"SPARK_{main.split('.')[0].upper()}_OPTS": f"{options} -Dspark.network.crypto.enabled=true"
            }
        return self._launch(name, ["spark-class", f"org.apache.spark.deploy.{main}", *arguments], **environment)


def executors_settings(folder):
    """What lets the executors' processes be known as those of the cluster in a folder, and arms their points."""
    hooks = os.pathsep.join([str(HOOKS), str(ROOT), *(path for path in sys.path if path)])
    return {
        "spark.ui.enabled": "false",
        "spark.executorEnv.PYTHONPATH": hooks,
        f"spark.executorEnv.{processes.MARK}": str(folder),
        "spark.executor.memory": "1g",
    }


def _search(pattern, log):
    found = re.search(pattern, log.read_text(errors="replace"))
    return found.group(1) if found else None


CLUSTERS = {cluster.name: cluster for cluster in (LocalCluster, Standalone, Connect)}
