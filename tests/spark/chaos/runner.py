"""Runs scenarios: those with the same master and settings share an application, until one of them breaks it."""

import json
import subprocess
import sys
import time
from itertools import groupby

from tests.spark.chaos import harness, processes
from tests.spark.chaos.cluster import CLUSTERS, Connect
from tests.spark.chaos.harness import Application, Died
from tests.spark.chaos.judge import Verdict, judge
from tests.spark.chaos.scenarios import SETTINGS, faults

PATIENCE = 20  # seconds for the processes of a session that was stopped to end


def jobs(scenarios, engines, masters, every_master=False):
    """What is to be run: (master, settings, scenario, engine) of each, those that share an application together."""
    found = []
    for scenario in scenarios:
        places = [master for master in scenario.masters if master in masters]
        for master in places if every_master else places[:1]:
            found += [(master, scenario.settings, scenario, e) for e in engines if e in (scenario.engines or engines)]
    return sorted(found, key=lambda job: (job[0], job[1]))


def run(scenarios, engines, masters, tell, every_master=False, keep=False, reference=""):
    """Run scenarios with engines.

    Args:
      scenarios: what to run.
      engines: names for `sync`.
      masters: names of clusters.
      tell: called with each Verdict.
      every_master: whether each scenario is run on every master it names, or only on the first of those asked for.
      keep: whether to leave the folders with logs.
      reference: the digest of the undisturbed run, if it is known.
    """
    reference = reference or undisturbed()
    chosen = jobs(scenarios, engines, masters, every_master)
    for (master, settings), group in groupby(chosen, key=lambda job: job[:2]):
        with harness.cluster(master, keep, settings) as cluster:
            runs = Runs(cluster, SETTINGS[settings], reference)
            for *_, scenario, engine in group:
                tell(runs.verdict(scenario, engine))
            if left := runs.end():
                said = [f"left {len(left)}: {left[:9]}"]
                tell(Verdict("when the session had ended", "all", master, said))


class Runs:
    """The scenarios of one cluster with the same settings."""

    def __init__(self, cluster, config, reference):
        self.cluster, self.config, self.reference, self.count, self.application = cluster, config, reference, 0, None

    def verdict(self, scenario, engine):
        """Run one scenario."""
        verdict = Verdict(scenario.name, engine, self.cluster.name)
        try:
            (self.resumed if scenario.resume else self.shared)(scenario, engine, verdict)
        except Died as died:
            verdict.faults.append(str(died))
            self.abandon()
        return verdict

    def shared(self, scenario, engine, verdict):
        self.cluster.mend()
        if self.application is None:
            self.application = Application(self.cluster, self.config)
        request = self.request(scenario, engine)
        meanwhile = self.cluster.mend if scenario.returns else lambda: None
        result = self.application.ask(request, scenario.seconds, meanwhile)
        self.judge(verdict, scenario, engine, request, result)
        if scenario.last and (left := self.end()):
            verdict.faults.append(f"left when the session had ended: {left[:9]}")

    def judge(self, verdict, scenario, engine, request, result):
        fired = harness.fired(self.cluster.folder, request["id"])
        judge(verdict, scenario, result, fired, harness.missing(self.cluster.folder), self.reference)

    def resumed(self, scenario, engine, verdict):
        """The driver dies; another one, with another number of executors, goes on."""
        self.cluster.mend()
        if self.application is None:
            self.application = Application(self.cluster, self.config)
        request = self.request(scenario, engine)
        try:
            result = self.application.ask(request, scenario.seconds)
            verdict.faults.append(f"the driver did not die: {result}")
        except Died as died:
            if self.application.process.poll() in (None, 0, 1):
                raise
            verdict.said.append(str(died)[:100])
        self.application = None
        gone = time.monotonic()
        self.wait_for_ends(verdict)
        first = time.monotonic() - gone
        cluster = CLUSTERS["local-cluster"](self.cluster.folder)
        cluster.url, cluster.started = scenario.resume, self.cluster.started
        self.application = Application(cluster, self.config)
        executors = 0 if scenario.resume.startswith("local[") else 1
        result = self.application.ask(request | {"fault": None, "executors": executors}, scenario.seconds)
        self.judge(verdict, scenario, engine, request, result)
        if result.get("times"):
            verdict.recovery = result["times"][0][0] - result["started"]
            verdict.said.append(f"resumed at step {result['times'][0][1]}, executors ended after {first:.1f} s")
        left = self.end()
        if left:
            verdict.faults.append(f"left when all had ended: {left}")

    def request(self, scenario, engine):
        self.count += 1
        fault = faults(scenario, engine)
        if fault is not None:
            fault = {**fault, "id": self.count, "folder": str(self.cluster.folder)}
        return {
            "id": self.count,
            "engine": engine,
            "fault": fault,
            "options": scenario.options,
            "validation": scenario.validation,
            "checkpoint": f"run-{self.count}" if scenario.checkpoint else None,
            "stop": scenario.stop,
            "again": scenario.stop is not None or scenario.raises == "KeyboardInterrupt",
        }

    def wait_for_ends(self, verdict):
        try:
            processes.wait_until(lambda: not self.strangers(), PATIENCE, "processes")
        except TimeoutError:
            verdict.faults.append(f"processes that outlive the driver: {self.strangers()}")

    def strangers(self):
        """Processes other than the cluster's own."""
        own = self.cluster.own()
        found = [pid for pid in processes.ours(self.cluster.folder) if pid not in own]
        return [words[-8:] for pid in found if (words := processes.command(pid))]

    def end(self):
        """End the session; the processes and files that are left of it."""
        if self.application is None:
            return []
        self.application.close()
        self.application = None
        try:
            processes.wait_until(lambda: not self.strangers(), PATIENCE, "processes")
        except TimeoutError:
            return self.strangers()
        return self.files()

    def files(self):
        """What there is in the temporary folders of driver and workers."""
        folders = [self.cluster.folder / "tmp", *self.cluster.folder.glob("local*")]
        found = [path for folder in folders for path in folder.rglob("*") if path.is_file() or path.is_socket()]
        if isinstance(self.cluster, Connect):  # whose server goes on: what is its own stays
            found = [path for path in found if any(part.startswith("fdl-") for part in path.parts)]
        return sorted(str(path.relative_to(self.cluster.folder)) for path in found)

    def abandon(self):
        """Kill the session that hangs or has died; the cluster's own processes stay."""
        if self.application is not None:
            own = self.cluster.own()
            processes.send(9, [pid for pid in processes.ours(self.cluster.folder) if pid not in own])
            self.application.process.wait()
            self.application = None
        (self.cluster.folder / "fault.json").unlink(missing_ok=True)


def undisturbed():
    """The digest of a run without a cluster, by the engine that sums on the driver."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.spark.chaos.driver", "reference"],
        cwd=harness.ROOT, capture_output=True, text=True, check=True, timeout=300, env=harness.environment(),
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])["digest"]
