"""What a step costs by each engine, said before it is taken: counts of what the engine does, times seconds of each.

The counts follow from the engine, the number of ranks and the bytes of the parameters; the seconds (`Constants`) were
fitted by `python -m benchmarks.spark.model`, which also says how far the model is off on points that it has not
seen. A run that has measured something of its own scales them (`Constants.scaled`).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from statistics import NormalDist

ENGINES = ("driver", "shuffle", "blocks", "resident")

#: The parts of a step, which add up to it.
PHASES = ("compute", "stragglers", "scheduling", "messages", "bytes", "network", "update")

#: The part that a constant's seconds belong to.
PHASE_OF = {
    "job": "scheduling",
    "stage": "scheduling",
    "launch": "scheduling",
    "task": "scheduling",
    "round": "scheduling",
    "block": "messages",
    "message": "messages",
    "driver_byte": "bytes",
    "worker_byte": "bytes",
    "exchange_byte": "bytes",
    "sum_byte": "bytes",
    "update_byte": "update",
}

SLICE_BYTES = 1 << 12  # no slice is much smaller
CLOSE = 1.03  # times the best prediction: more slices are not worth less than that
TORRENT_BYTES = 4 << 20  # Spark's broadcasts travel in blocks of this size
STATE = 2.0  # bytes of optimizer state for each byte of parameters, as Adam keeps
GROUP_SECONDS = 1.0  # how long a group of steps lasts, besides the first of them
OVERHEAD = 0.05  # the share of a group that starting and ending it may take; more makes groups longer
# Parameters and state stay with the tasks for so long if handing them over would take a larger share than this; a
# failure repeats the steps since then. They come with every group if they have so few bytes.
HANDOVER, LONGEST_STAY, SMALL = 0.05, 60.0, 1 << 20


@dataclass(frozen=True)
class Cluster:
    """Where the ranks are.

    Attributes:
      hosts: number of hosts; ranks are spread over them evenly.
      cores: of each host, for the ranks; more ranks than these take turns.
      bandwidth: bytes a second of a host's network, each way; only what passes between hosts uses it.
      latency: seconds from sending to receiving between hosts. Nobody tells these two: they are usual ones.
    """

    hosts: int = 1
    cores: int = 2
    bandwidth: float = 10e9 / 8
    latency: float = 50e-6


@dataclass(frozen=True)
class Constants:
    """Seconds of one of each.

    Attributes:
      job: a Spark job of one stage, from Python to its end, without its tasks.
      stage: a further stage of a job.
      launch: a task, for the driver, which starts one after the other: what BigDL's overhead of scheduling grows by for
        each task (7.4 % of a step of 1.95 s from 16 tasks to 448; Dai et al., SoCC 2019); here it cannot be told from
        what the task itself takes on the same cores.
      task: a task, for the executor.
      round: a step of a task that stays, besides what it computes, sends and receives.
      block: a block that a task fetches through the shuffle or the block manager.
      message: a message between two ranks, to send and to receive.
      driver_byte: a byte that the driver's Python sends to the executors or collects from them.
      worker_byte: a byte between the JVM and a Python worker, either way, with its copies.
      exchange_byte: a byte from rank to rank.
      sum_byte: a byte of a gradient that is added to another.
      update_byte: a byte of parameters that the optimizer updates.
      spread: standard deviation of a rank's compute seconds from step to step, as a share of them.
    """

    job: float = 0.0122
    stage: float = 0.0172
    launch: float = 0.00033
    task: float = 0.00835
    round: float = 0.000503
    block: float = 0.000577
    message: float = 2.26e-05
    driver_byte: float = 1.17e-09
    worker_byte: float = 9.81e-10
    exchange_byte: float = 5.65e-10
    sum_byte: float = 2.76e-11
    update_byte: float = 1.76e-10
    spread: float = 0.02

    def scaled(self, **factors: float) -> "Constants":
        """Constants for a machine or a run that was measured to be slower or faster.

        Args:
          factors: by name of a constant, or of a phase for all constants that belong to it, what to multiply by.

        Returns:
          The new constants.

        Raises:
          TypeError: there is no such constant or phase.

        >>> slower = Constants(job=0.01, stage=0.02).scaled(scheduling=2.0)
        >>> slower.job, slower.stage
        (0.02, 0.04)
        """
        names = [field.name for field in fields(self)]
        unknown = set(factors) - set(names) - set(PHASES)
        if unknown:
            raise TypeError(f"no constant or phase is called {', '.join(sorted(unknown))}")
        return replace(
            self,
            **{
                name: getattr(self, name) * factors.get(name, 1.0) * factors.get(PHASE_OF.get(name, "stragglers"), 1.0)
                for name in names
            },
        )


FITTED, HERE = Constants(), Cluster()


def predict(
    engine: str,
    ranks: int,
    size: float,
    compute: float,
    constants: Constants = FITTED,
    *,
    cluster: Cluster = HERE,
    slices: int | None = None,
    group: int | None = None,
    stay: float | None = None,
) -> dict[str, float]:
    """The seconds of one synchronous step, by phase; their sum is the step.

    Args:
      engine: one of ENGINES.
      ranks: number of tasks that compute gradients.
      size: bytes of the parameters.
      compute: seconds of a rank's forward-backward on a core of its own.
      constants: what each thing costs.
      cluster: where the ranks are.
      slices: into how many slices the engine cuts the parameters; None for `best_slices`.
      group: steps that one job of "resident" takes; None for as many as it chooses.
      stay: steps after which its parameters and state are handed over; None for as many as it chooses.

    Returns:
      Seconds by name of the phase, all of PHASES.

    Raises:
      ValueError: there is no such engine.

    >>> seconds = predict("resident", 2, 4e6, 0.005)
    >>> sum(seconds.values()) < sum(predict("shuffle", 2, 4e6, 0.005).values())
    True
    """
    phases = dict.fromkeys(PHASES, 0.0)
    turns = _turns(ranks, cluster)
    slices = slices or best_slices(engine, ranks, size, constants, cluster=cluster)
    phases["compute"] = compute * turns
    phases["stragglers"] = compute * turns * constants.spread * expected_maximum(ranks)
    phases["network"] = network(engine, ranks, size, cluster, slices)
    apart = sum(phases.values())
    if engine == "resident":
        least, of_job, of_handover = (
            _seconds(counts(engine, ranks, size, slices, cluster=cluster, group=steps, stay=apiece), constants)
            for steps, apiece in ((math.inf, math.inf), (1, math.inf), (math.inf, 1))
        )
        step = max(apart + least, 1e-9)
        group = group or math.ceil(max(GROUP_SECONDS, (of_job - least) / OVERHEAD) / step)
        longest = min((of_handover - least) / HANDOVER, LONGEST_STAY) if size * (1 + STATE) > SMALL else 0.0
        stay = stay or max(group, longest / step)
    for name, count in counts(engine, ranks, size, slices, cluster=cluster, group=group or 1, stay=stay or 1).items():
        phases[PHASE_OF[name]] += count * getattr(constants, name)
    return phases


def best_slices(engine: str, ranks: int, size: float, constants: Constants = FITTED, *, cluster: Cluster = HERE) -> int:
    """Into how many slices an engine should cut the parameters: as few as come close to the best, at most one a rank.

    A slice costs messages, or a task and a block from every rank; it brings that one core more adds up and updates at
    once, and that one host more receives. Arguments are as for `predict`.

    >>> best_slices("resident", 2, 1e3), best_slices("resident", 2, 1e8)
    (1, 2)
    """
    if engine == "driver":
        return 1

    def seconds(parts: int) -> float:
        how_often = counts(engine, ranks, size, parts, cluster=cluster, group=math.inf, stay=math.inf)
        return _seconds(how_often, constants) + network(engine, ranks, size, cluster, parts)

    most = max(1, min(ranks, int(size) // SLICE_BYTES))
    cores = cluster.hosts * cluster.cores
    several = {count // 2**n for count in (most, cores, 1 << most.bit_length()) for n in range(count.bit_length())}
    predicted = {count: seconds(count) for count in sorted(several & set(range(1, most + 1)))}
    return next(count for count, step in predicted.items() if step <= CLOSE * min(predicted.values()))


@dataclass(frozen=True)
class Plan:
    """How to take steps.

    Attributes:
      engine: by which engine.
      slices: into how many slices the parameters are cut.
    """

    engine: str
    slices: int

    def __str__(self) -> str:
        return self.engine + (f" in {self.slices} slices" if self.slices > 1 else "")


def choose(
    engines: Iterable[str],
    ranks: int,
    size: float,
    compute: float,
    constants: Constants = FITTED,
    *,
    cluster: Cluster = HERE,
) -> dict[Plan, float]:
    """The predicted seconds of a step by each of some engines, in its best number of slices, the fastest first.

    Arguments are as for `predict`.

    >>> plan = next(iter(choose(["shuffle", "resident"], 2, 4e6, 0.005)))
    >>> plan.engine, plan.slices
    ('resident', 2)
    """
    plans = [Plan(name, best_slices(name, ranks, size, constants, cluster=cluster)) for name in engines]
    steps = {plan: step(plan, ranks, size, compute, constants, cluster=cluster) for plan in plans}
    return dict(sorted(steps.items(), key=lambda item: item[1]))


def step(
    plan: Plan, ranks: int, size: float, compute: float, constants: Constants = FITTED, *, cluster: Cluster = HERE
) -> float:
    """The predicted seconds of a step; arguments are as for `predict`."""
    phases = predict(plan.engine, ranks, size, compute, constants, cluster=cluster, slices=plan.slices)
    return sum(phases.values())


def counts(
    engine: str, ranks: int, size: float, slices: int, *, cluster: Cluster = HERE, group: float = 1, stay: float = 1
) -> Mapping[str, float]:
    """How often a step does what `Constants` has the seconds of, one after the other: what happens at once counts once.

    Arguments are as for `predict`.
    """
    turns, of_slices = _turns(ranks, cluster), _turns(slices, cluster)
    share = size / slices * of_slices  # of the parameters, for the core that is busiest
    if engine == "driver":
        return {
            "job": 1, "launch": ranks, "task": turns,
            "driver_byte": size * (1 + ranks),  # the parameters out, every rank's gradient in
            "worker_byte": 2 * size * turns,
            "sum_byte": size * (ranks - 1),
            "update_byte": size,
        }  # fmt: skip
    if engine in ("shuffle", "blocks"):
        by_driver = {"driver_byte": 2 * size} if engine == "shuffle" else {}
        read = slices * turns if engine == "blocks" else 0  # every rank fetches every slice of the parameters
        return by_driver | {
            "job": 1, "stage": 1, "launch": ranks + slices, "task": turns + of_slices,
            "block": ranks * of_slices + read,
            # Parameters in and a gradient out; a slice of every gradient in; parameters and state, out and in again.
            "worker_byte": 2 * size * turns + share * (ranks + 1 + 2 * STATE),
            "sum_byte": share * (ranks - 1),
            "update_byte": share,
        }  # fmt: skip
    if engine == "resident":
        # A rank tells every other one of its gradient, and of its slice if it has one, and sends each its share of it.
        # Where ranks take turns, a core has its part of what all of them do, if that is more.
        of_all = 1 / (cluster.hosts * cluster.cores)
        return {
            "job": 1 / group, "launch": ranks / group, "task": turns / group, "round": turns,
            "message": (ranks - 1) * turns + max((ranks + slices - 2) / 2, (ranks - 1) * slices * of_all),
            "exchange_byte": size * max((ranks + slices - 2) / slices, 2 * (ranks - 1) * of_all),
            "sum_byte": share * (ranks - 1),
            "update_byte": share,
            "driver_byte": size * (1 + STATE) / stay,
            "worker_byte": size * (1 + STATE) / stay,
        }  # fmt: skip
    raise ValueError(f"there is no engine {engine!r}; there are {', '.join(ENGINES)}")


def network(engine: str, ranks: int, size: float, cluster: Cluster, slices: int) -> float:
    """Seconds for which a step waits for the network between hosts: its busiest link, and its latencies in a row."""
    hosts = min(cluster.hosts, ranks)
    if hosts < 2:
        return 0.0
    away = (hosts - 1) / hosts
    if engine == "driver":
        gradients = size * ranks
        return (gradients + broadcast_bytes(size, hosts)) / cluster.bandwidth + 4 * cluster.latency
    owners = min(hosts, slices)
    scattered = (
        size * ranks / owners * away
    )  # a host sends its gradients, and those with slices receive as much or more
    if engine == "resident":
        return 2 * (scattered / cluster.bandwidth + cluster.latency)  # and as much comes back
    if engine == "blocks":
        gathered = size * hosts / owners * away  # an owner's slice goes to every host
        return (scattered + gathered) / cluster.bandwidth + 6 * cluster.latency
    return (scattered + size + broadcast_bytes(size, hosts)) / cluster.bandwidth + 6 * cluster.latency


def broadcast_bytes(size: float, hosts: int) -> float:
    """Bytes in a row on the busiest link of Spark's broadcast: blocks of 4 MiB, passed on by whoever has them."""
    block = min(size, TORRENT_BYTES)
    return size + block * math.log2(hosts) if hosts > 1 else 0.0


def expected_maximum(ranks: int) -> float:
    """The expected maximum of so many standard normal numbers (Blom, 1958), in standard deviations.

    >>> round(expected_maximum(100), 2)  # 2.51 by integration
    2.5
    """
    return NormalDist().inv_cdf((ranks - 0.375) / (ranks + 0.25)) if ranks > 1 else 0.0


def _seconds(how_often: Mapping[str, float], constants: Constants) -> float:
    return sum(count * getattr(constants, name) for name, count in how_often.items())


def _turns(tasks: int, cluster: Cluster) -> float:
    """How many tasks the busiest core takes one after the other."""
    return max(1.0, -(-tasks // cluster.hosts) / cluster.cores)
