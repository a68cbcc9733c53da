"""Inception-v1 on 2 to 1,024 nodes, by the cost model: how each engine scales, beside what BigDL and Drizzle published.

    python -m benchmarks.spark.simulate FILE.png

One rank a node, which computes on all of its cores; every node has the same batch (weak scaling, as BigDL's).
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import table
from fdl_spark.cost import ENGINES, Cluster, Constants, best_slices, counts, predict

PLOT = Path(__file__).with_name("scaling.png")
NODES = [2**n for n in range(1, 11)]
GBIT = 1e9 / 8
LATENCY = 50e-6  # seconds from process to process in a data centre's network
SIZE = 4 * 6_998_552  # bytes of Inception-v1's parameters

#: Published by BigDL (Dai et al., SoCC 2019, section 4): images a second by nodes; overhead of scheduling by tasks.
BIGDL = {16: 920, 32: 1_887, 64: 3_421, 96: 4_854, 128: 5_876, 256: 7_861}
SCHEDULING = {16: 0.036, 128: 0.07, 448: 0.11}
DRIZZLE = {680: 0.012}  # flat up to there (Venkataraman et al., SOSP 2017, as BigDL measured it)

#: Images of a node's batch: BigDL's example has 4 for each of 28 cores.
CORES, BATCH = 28, 112
#: Images a second of a node: BigDL's by its 16 nodes; fdl's by one core's (batch 16, 3.72 s; see the first table).
BIGDL_RATE, FDL_RATE = BIGDL[16] / 16, CORES * 16 / 3.723

RESULT_LIMIT = 1 << 30  # bytes: spark.driver.maxResultSize, by default
DESCRIPTORS = 1024  # open files of a process, by the usual soft limit
GOOD = 0.8


@dataclass(frozen=True)
class Design:
    """An engine on a network.

    Attributes:
      name: of the curve.
      engine: the engine whose costs it has.
      two_level: whether ranks exchange within groups of about the square root of their number and then between the
        groups, whose ranks are neighbours in the tree of sums, so that the bits stay the same.
    """

    name: str
    engine: str
    two_level: bool = False

    def phases(self, nodes: int, compute: float, gigabits: float, constants: Constants) -> dict[str, float]:
        """Seconds of a step by phase."""
        cluster = Cluster(hosts=nodes, cores=1, bandwidth=gigabits * GBIT, latency=LATENCY)
        slices = nodes if self.two_level else None
        found = predict(self.engine, nodes, SIZE, compute, constants, cluster=cluster, slices=slices)
        if self.two_level:
            inner = 2 ** round(math.log2(nodes) / 2)
            found["messages"] = constants.message * 2 * (inner - 1 + nodes // inner - 1)
            found["network"] += 2 * LATENCY
        return found

    def efficiency(self, nodes: int, compute: float, gigabits: float, constants: Constants) -> float:
        """The throughput of a node over that of one that only computes."""
        return compute / sum(self.phases(nodes, compute, gigabits, constants).values())


DESIGNS = [*(Design(engine, engine) for engine in ENGINES), Design("resident, two levels", "resident", True)]


def first(test: Callable[[int], bool], most: int = 1 << 17) -> int | None:
    """The least number of nodes for which a test holds, found by doubling and halving; None up to `most`."""
    low, high = 1, 2
    while not test(high):
        low, high = high, 2 * high
        if high > most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if test(middle) else (middle, high)
    return high


def breaks(design: Design, compute: float, gigabits: float, constants: Constants) -> tuple[int | None, str]:
    """The number of nodes at which a node's throughput falls below 80 %, and what takes longest beside computing."""
    nodes = first(lambda n: design.efficiency(n, compute, gigabits, constants) < GOOD)
    phases = design.phases(nodes or 1 << 17, compute, gigabits, constants)
    del phases["compute"]
    return nodes, max(phases, key=phases.__getitem__)


def limits(design: Design, constants: Constants) -> str:
    """What does not go on whatever it costs."""
    if design.engine == "driver":
        nodes = first(lambda n: n * SIZE > RESULT_LIMIT)
        return f"results of {nodes} nodes exceed spark.driver.maxResultSize (1 GiB)"
    if design.two_level:
        nodes = first(lambda n: 2 * math.isqrt(n) > DESCRIPTORS)
        return f"{nodes:,} nodes: sockets of a rank" if nodes else "none below 131,072 nodes"
    if design.engine == "resident":
        return f"{DESCRIPTORS - 24:,} nodes: sockets of a rank reach the usual limit of open files (1,024)"
    cluster = Cluster(hosts=1024, cores=1)
    slices = best_slices(design.engine, 1024, SIZE, constants, cluster=cluster)
    blocks = counts(design.engine, 1024, SIZE, slices, cluster=cluster)["block"]
    return f"{blocks:,.0f} blocks fetched by one task at 1,024 nodes"


def report(constants: Constants) -> str:
    """Efficiencies and where each engine breaks, as markdown."""
    parts = []
    for label, rate in (("BigDL's", BIGDL_RATE), ("fdl's", FDL_RATE)):
        compute = BATCH / rate
        rows = []
        for design in DESIGNS:
            for gigabits in (10, 25):
                values = [design.efficiency(n, compute, gigabits, constants) for n in (16, 64, 256, 1024)]
                nodes, why = breaks(design, compute, gigabits, constants)
                rows.append(
                    [
                        design.name, f"{gigabits}", *(f"{100 * value:.0f} %" for value in values),
                        f"{nodes:,}: {why}" if nodes else "never", limits(design, constants),
                    ]
                )  # fmt: skip
        if rate == BIGDL_RATE:
            published = {n: BIGDL[n] / n / BIGDL_RATE for n in BIGDL}
            known = [f"{100 * published[n]:.0f} %" if n in published else "" for n in (16, 64, 256, 1024)]
            rows.append(["BigDL, published", "10", *known, "256: not said", ""])
        header = ["engine", "Gbit/s", "16 nodes", "64", "256", "1,024", f"below {100 * GOOD:.0f} % at", "other limit"]
        parts += [
            f"Inception-v1, {BATCH} images a node, {label} {rate:.0f} images a second of a node (a step computes "
            f"{compute:.2f} s): throughput of a node over that of one that only computes.",
            table(header, rows),
        ]
    return "\n\n".join(parts)


def plot(constants: Constants, path: Path) -> Any:
    """Draw throughput, efficiency and the overhead of scheduling."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(15, 5.2), layout="constrained")
    compute = BATCH / BIGDL_RATE
    colors = dict(zip([design.name for design in DESIGNS], ("C3", "C1", "C2", "C0", "C4"), strict=True))
    for design in DESIGNS:
        how: dict[str, Any] = {"color": colors[design.name], "label": design.name}
        for gigabits, style in ((10, "-"), (25, "--")):
            efficiency = [design.efficiency(n, compute, gigabits, constants) for n in NODES]
            label = how | {"label": design.name if gigabits == 10 else None}
            if gigabits == 10:
                axes[0].loglog(
                    NODES, [n * e * BIGDL_RATE for n, e in zip(NODES, efficiency, strict=True)], style, **label
                )
            axes[1].semilogx(NODES, [100 * e for e in efficiency], style, **label)
        if not design.two_level:
            overhead = [100 * design.phases(n, compute, 10, constants)["scheduling"] / compute for n in NODES]
            axes[2].loglog(NODES, overhead, **how)
        nodes, _ = breaks(design, compute, 10, constants)
        if nodes is not None and nodes <= NODES[-1]:
            said = "below 80 %, 10 Gbit/s" if design is DESIGNS[0] else None
            axes[1].plot(nodes, 100 * GOOD, "x", color="black", markersize=9, zorder=3, label=said)
    axes[1].axhline(100 * GOOD, color="gray", linewidth=0.8)
    axes[0].loglog(NODES, [n * BIGDL_RATE for n in NODES], ":", color="gray", label="linear")
    black: dict[str, Any] = {"color": "black", "linestyle": "none"}
    axes[0].loglog(list(BIGDL), list(BIGDL.values()), marker="o", label="BigDL, published", **black)
    published = [100 * rate / n / BIGDL_RATE for n, rate in BIGDL.items()]
    axes[1].semilogx(list(BIGDL), published, marker="o", label="BigDL, published", **black)
    scheduling = [100 * share for share in SCHEDULING.values()]
    axes[2].loglog(list(SCHEDULING), scheduling, marker="o", label="BigDL, published", **black)
    drizzle = [100 * share for share in DRIZZLE.values()]
    axes[2].loglog(list(DRIZZLE), drizzle, marker="s", label="Drizzle, published", **black)
    axes[0].set(title="Throughput, 10 Gbit/s", ylabel="images a second")
    axes[1].set(title="Throughput over linear, %: 10 Gbit/s, and 25 dashed", ylim=(0, 108))
    axes[2].set(title="Scheduling over computing, %", xlabel="nodes, of one task each")
    for axis in axes:
        axis.set_xticks([2, 8, 32, 128, 512], ["2", "8", "32", "128", "512"])
        axis.set_xlabel(axis.get_xlabel() or "nodes")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9, loc="lower left" if axis is axes[1] else "upper left")
    figure.suptitle(
        f"Inception-v1 ({SIZE / 1e6:.0f} MB of parameters), {BATCH} images a node and step, computing for "
        f"{compute:.2f} s as BigDL's nodes: predicted by the cost model"
    )
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
    return figure


if __name__ == "__main__":
    plot(Constants(), Path(sys.argv[1]))
    print(report(Constants()))
