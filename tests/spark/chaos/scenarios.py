"""What can fail, when, and what must come of it: the same bits as undisturbed, unless a scenario says otherwise."""

from dataclasses import dataclass, field
from typing import Any

# Settings of an application; scenarios with the same ones share it.
SETTINGS: dict[str, dict[str, str]] = {
    "plain": {},
    "speculation": {
        "spark.speculation": "true",
        "spark.speculation.interval": "200ms",
        "spark.speculation.minTaskRuntime": "1s",
        "spark.speculation.quantile": "0.5",
    },
    "impatient": {
        "spark.network.timeout": "15s",
        "spark.network.timeoutInterval": "5s",
        "spark.executor.heartbeatInterval": "2s",
    },
    "decommission": {
        "spark.decommission.enabled": "true",
        "spark.storage.decommission.enabled": "true",
        "spark.storage.decommission.rddBlocks.enabled": "true",
        "spark.storage.decommission.shuffleBlocks.enabled": "true",
    },
    "dynamic": {
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.timeout": "3s",
        "spark.dynamicAllocation.minExecutors": "1",
        "spark.dynamicAllocation.initialExecutors": "2",
        "spark.dynamicAllocation.maxExecutors": "2",
        "spark.dynamicAllocation.executorIdleTimeout": "3s",
        "spark.dynamicAllocation.cachedExecutorIdleTimeout": "3s",
        "spark.dynamicAllocation.schedulerBacklogTimeout": "1s",
        "spark.executor.cores": "1",
    },
    "sockets": {"spark.executorEnv.FDL_CHAOS_SOCKETS": "unix"},
    "tcp": {"spark.executorEnv.FDL_CHAOS_SOCKETS": "tcp"},
    "small disk": {},  # where Spark's local directories are
    "secure": {
        "spark.executorEnv.FDL_CHAOS_SOCKETS": "tcp",
        "spark.authenticate": "true",
        "spark.network.crypto.enabled": "true",
        "spark.io.encryption.enabled": "true",
    },
}


@dataclass(frozen=True)
class Scenario:
    """One thing that fails.

    Attributes:
      name: what happens.
      fault: where, at which steps, and the action; None for nothing.
      says: a pattern that the history's events or the log must match; "" if nothing need be said.
      masters: where it is run by default, the first one only unless all are asked for.
      settings: the application's, by name.
      options: arguments of `train`.
      validation, checkpoint: whether the run has them.
      stop: a step after which a callback stops the run.
      resume: None, or the master that goes on after the driver died.
      returns: whether a host that was lost comes back soon.
      raises: a pattern of the error that ends the run, if one must.
      may_end: whether it may end well too, by an engine that needs nothing of what failed.
      seconds: the deadline.
      engines: for which engines; empty for all.
      last: whether its application ends with it, as an executor that was lost comes back late.
      brief: whether it is one of those that are run unless more are asked for: each kind of failure once.
    """

    name: str
    fault: dict[str, Any] | None = None
    says: str = ""
    masters: tuple[str, ...] = ("local-cluster", "standalone")
    settings: str = "plain"
    options: dict[str, Any] = field(default_factory=dict)
    validation: bool = False
    checkpoint: bool = False
    stop: int | None = None
    resume: str | None = None
    returns: bool = False
    raises: str = ""
    may_end: bool = False
    seconds: float = 300
    engines: tuple[str, ...] = ()
    last: bool = False
    brief: bool = False


def at(point: str, action: str, *steps: int, where: str = "executor", **more: Any) -> dict[str, Any]:
    return {"point": point, "action": action, "steps": list(steps), "where": where, **more}


def between(action: str, *steps: int, **more: Any) -> dict[str, Any]:
    """Between steps, by the driver."""
    return at("step", action, *steps, where="driver", **more)


AGAIN = "again|lost|back to"
ALONE, ON_CONNECT = ("standalone",), ("connect",)
WITH_FEWER_SLOTS = ("auto", "shuffle", "blocks", "driver")  # all but the engine whose ranks need a slot each
OVER_CONNECT = ("auto", "resident", "shuffle", "driver")
RESIDENT = ("resident",)
PHASES = {  # where the work of a step is: the point, and what the history must say when it fails there
    "in the first step": at("forward_backward", "", 0),
    "in forward-backward": at("forward_backward", "", 5),
    "in the exchange": at("exchange", "", 5),
    "in the update": at("update", "", 5),
    "while collecting": at("collect", "", 5),
}


def in_each_phase(who: str, action: str, says: str = "", brief: str = "", **more: Any) -> list[Scenario]:
    """One scenario a phase."""
    return [
        Scenario(f"{who} killed {when}", fault | {"action": action}, says, brief=when == brief, **more)
        for when, fault in PHASES.items()
    ]


SCENARIOS = [
    Scenario("undisturbed", validation=True, checkpoint=True),
    # executors
    Scenario("executor killed while loading", at("load", "kill_executor", -1)),
    *in_each_phase("executor", "kill_executor", AGAIN, brief="in the exchange"),
    Scenario("executor killed between steps", between("kill_executor", 5), "lost"),
    Scenario("executor killed in validation", at("validation", "kill_executor", 5), "lost", validation=True),
    Scenario(
        "executor killed in a checkpoint",
        at("checkpoint", "kill_executor", 5, where="driver"),
        "lost",
        checkpoint=True,
    ),
    Scenario("executor killed while ranks meet", at("meeting", "kill_executor", -1), AGAIN, engines=RESIDENT),
    Scenario("executor killed in the all-gather", at("all_gather", "kill_executor", 5), AGAIN, engines=RESIDENT),
    Scenario("executor killed twice", at("forward_backward", "kill_executor", 3, 7), AGAIN, brief=True),
    Scenario("both executors killed between steps", between("kill_executors", 5), "lost"),
    Scenario(
        "both executors killed in forward-backward", at("forward_backward", "kill_executors", 5), AGAIN, brief=True
    ),
    # Python workers and their parents
    *in_each_phase("worker", "kill_worker", brief="in forward-backward"),
    Scenario("worker killed between steps", between("kill_worker", 5)),
    Scenario("worker killed twice", at("forward_backward", "kill_worker", 3, 7), AGAIN),
    Scenario("worker killed in the all-gather", at("all_gather", "kill_worker", 5), AGAIN, engines=RESIDENT),
    *in_each_phase("daemon", "kill_daemon"),
    Scenario("daemon killed between steps", between("kill_daemon", 5)),
    Scenario("daemon killed twice", at("forward_backward", "kill_daemon", 3, 7)),
    # files
    Scenario("block files deleted", between("delete_blocks", 5)),
    Scenario("block files truncated", between("truncate_blocks", 5), brief=True),
    Scenario("a bit of block files flipped", between("flip_blocks", 5)),
    Scenario("block files deleted in a task", at("forward_backward", "delete_blocks", 5)),
    Scenario("block files truncated in a task", at("forward_backward", "truncate_blocks", 5)),
    Scenario("block files deleted twice", between("delete_blocks", 3, 7)),
    Scenario("block manager's folders deleted", between("delete_folders", 5), brief=True),
    Scenario("block manager's folders deleted in a task", at("forward_backward", "delete_folders", 5)),
    Scenario("local directories deleted", between("delete_local_directories", 5)),
    Scenario("the driver's block manager's folders deleted", between("delete_folders_of_driver", 5)),
    Scenario(
        "disk full while loading", at("disk", "disk_full", -1, always=True), raises="ClusterError.*(disk|No space left)"
    ),
    Scenario(
        "disk filled while loading",
        at("load", "fill_disk", -1),
        settings="small disk",
        masters=("local-cluster",),
        raises="ClusterError.*(disk|No space left)",
    ),
    Scenario(
        "disk filled between steps",
        between("fill_disk", 5),
        settings="small disk",
        masters=("local-cluster",),
        raises="ClusterError.*(disk|No space left)",
        may_end=True,
    ),
    Scenario(
        "disk full for a second",
        between("fill_disk", 5, seconds=1),
        settings="small disk",
        masters=("local-cluster",),
        brief=True,
    ),
    # tasks and connections
    Scenario("task killed by the scheduler", between("kill_task", 5)),
    Scenario("a rank is slow but alive", at("forward_backward", "slow", 3, shard=0, seconds=1.5, always=True)),
    *(
        Scenario(name, fault, says, masters, settings, engines=RESIDENT, brief=brief)
        for settings, masters, by, brief in (
            ("sockets", ("local-cluster",), "a Unix socket", False),
            ("tcp", ALONE, "TCP", True),
            ("secure", ALONE, "encrypted TCP", False),
        )
        for name, fault, says in (
            (
                f"connection by {by} cut in the middle of a slice",
                at("sending", "cut_connection", 5, least=100_000),
                "back to",
            ),
            (f"executor killed in the exchange by {by}", at("exchange", "kill_executor", 5), AGAIN),
        )
    ),
    # stopped processes
    Scenario(
        "executor's JVM stopped for 20 s, with speculation",
        at("forward_backward", "pause_jvm", 5, seconds=20),
        settings="speculation",
    ),
    Scenario(
        "executor stopped for 20 s, with speculation",
        at("forward_backward", "pause_executor", 5, seconds=20),
        settings="speculation",
        brief=True,
    ),
    Scenario(
        "executor stopped for 20 s between steps, with speculation",
        between("pause_executor", 5, seconds=20),
        settings="speculation",
    ),
    Scenario(
        "executor stopped for good",
        at("forward_backward", "pause_executor", 5),
        "lost|rank",
        settings="impatient",
        last=True,
        seconds=600,
    ),
    # hosts, and clusters that grow and shrink
    *(
        Scenario(f"host lost with its blocks {when}", fault, says, ALONE, engines=WITH_FEWER_SLOTS)
        for when, fault, says in (
            ("in a task", at("forward_backward", "lose_host", 5), AGAIN),
            ("in the exchange", at("exchange", "lose_host", 5), AGAIN),
            ("between steps", between("lose_host", 5), "lost"),
        )
    ),
    Scenario(
        "host lost, and back soon", at("forward_backward", "lose_host", 5), AGAIN, ALONE, returns=True, brief=True
    ),
    Scenario(
        "host lost for good",
        at("forward_backward", "lose_host", 5),
        AGAIN,
        ALONE,
        engines=RESIDENT,
        raises="NoBarrier.*at once.*runs 1",
    ),
    Scenario("executor decommissioned", between("decommission", 5), "", ALONE, "decommission", last=True, brief=True),
    Scenario(
        "executor decommissioned in a task",
        at("forward_backward", "decommission", 5),
        "",
        ALONE,
        "decommission",
        last=True,
    ),
    Scenario(
        "executors let go and taken back",
        between("idle", 3, seconds=12),
        "lost|new executor",
        ALONE,
        "dynamic",
        engines=WITH_FEWER_SLOTS,
        last=True,
        brief=True,
    ),
    # drivers
    Scenario("driver killed", between("kill_driver", 8), checkpoint=True, resume="local[1]"),
    Scenario(
        "driver and its JVM killed",
        between("kill_driver_and_jvm", 8),
        checkpoint=True,
        resume="local-cluster[1,1,1024]",
    ),
    *(
        Scenario(
            f"driver killed at byte {byte:,} of a checkpoint",
            at("checkpoint", "kill_at_byte", 8, where="driver", bytes=byte),
            checkpoint=True,
            resume="local[1]",
            brief=byte == 1_000_000,
        )
        for byte in (0, 1, 1_000, 4_000, 100_000, 1_000_000, 4_000_000, 7_000_000)
    ),
    Scenario("Ctrl-C between steps", between("interrupt", 5), raises="KeyboardInterrupt"),
    Scenario("Ctrl-C in a task", between("interrupt", 5, seconds=0.1), raises="KeyboardInterrupt", brief=True),
    Scenario(
        "Ctrl-C in a slow task", at("forward_backward", "slow_and_interrupt", 5, seconds=5), raises="KeyboardInterrupt"
    ),
    Scenario("a callback stops the run", stop=5),
    # encryption and authentication
    Scenario("undisturbed, encrypted", None, "", ALONE, "secure", validation=True, checkpoint=True),
    Scenario(
        "executor killed, encrypted", at("forward_backward", "kill_executor", 5), AGAIN, ALONE, "secure", brief=True
    ),
    # Spark Connect, whose clients are not told of executors
    *(
        Scenario(f"{name}, over Connect", fault, "", ON_CONNECT, engines=OVER_CONNECT, brief="exchange" in name)
        for name, fault in (
            ("undisturbed", None),
            ("executor killed in forward-backward", at("forward_backward", "kill_executor", 5)),
            ("executor killed in the exchange", at("exchange", "kill_executor", 5)),
            ("executor killed between steps", between("kill_executor", 5)),
            ("both executors killed in forward-backward", at("forward_backward", "kill_executors", 5)),
            ("worker killed in forward-backward", at("forward_backward", "kill_worker", 5)),
            ("block files deleted", between("delete_blocks", 5)),
        )
    ),
]


def faults(scenario: Scenario, engine: str) -> dict[str, Any] | None:
    """The fault as it is for an engine: `driver` updates on the driver, whose first executor is then the victim."""
    fault = scenario.fault
    if fault and engine == "driver" and fault["point"] == "update":
        return fault | {"where": "driver"}
    return fault
