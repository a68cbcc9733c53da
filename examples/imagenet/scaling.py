"""Images a second on more nodes than anybody here has: what BigDL published, and what the cost model says of fdl.

Nothing but the rate of one processor is measured: the rest is `fdl_spark.cost`, whose seconds were fitted to steps of
up to 16 ranks on two cores, on a network of 10 Gbit/s and 50 microseconds. Every node has the same batch.
"""

from typing import Any

import numpy as np

from fdl_spark.cost import Cluster, Constants, predict

#: Images a second by nodes of Inception-v1 (Dai et al., "BigDL", SoCC 2019, section 4), two Broadwell processors each.
BIGDL = {16: 920, 32: 1_887, 64: 3_421, 96: 4_854, 128: 5_876, 256: 7_861}
CORES, BATCH = 28, 112  # of a node, as in BigDL's example: 1,792 images on 16 nodes
SIZE = 4 * 6_998_552  # bytes of Inception-v1's parameters
GIGABITS, LATENCY = 10, 50e-6
NODES = [2**n for n in range(11)]


def simulated(nodes: int, rate: float, engine: str = "resident") -> float:
    """Images a second of a cluster, by the cost model.

    Args:
      nodes: of the cluster, one rank each.
      rate: images a second of a node that only computes.
      engine: of `fdl_spark.train`.

    >>> 0.8 * 64 * 58 < simulated(64, 58.0) < 64 * 58
    True
    """
    if nodes == 1:
        return rate
    cluster = Cluster(hosts=nodes, cores=1, bandwidth=GIGABITS * 1e9 / 8, latency=LATENCY)
    step = sum(predict(engine, nodes, SIZE, BATCH / rate, Constants(), cluster=cluster).values())
    return nodes * BATCH / step


def draw(axes: Any, rate: float) -> None:
    """Draw BigDL's points beside the simulation.

    Args:
      axes: of Matplotlib.
      rate: images a second of one processor, measured.
    """
    for node, style, high, what in (
        (CORES * rate, "o-", 5, f"fdl, simulated: {CORES} cores a node of {rate:.2g} images/s, as measured"),
        (BIGDL[16] / 16, "o--", -12, f"fdl, simulated: nodes of {BIGDL[16] / 16:.1f} images/s, as BigDL's"),
    ):
        rates = [simulated(nodes, node) for nodes in NODES]
        (line,) = axes.semilogx(NODES, np.divide(rates, NODES), style, markersize=3, label=what)
        for place in (4, 8, 10):
            axes.annotate(f"{rates[place]:,.0f}", (NODES[place], rates[place] / NODES[place]), (0, high), fontsize=7,
                          textcoords="offset points", ha="center", color=line.get_color())  # fmt: skip
    published = np.divide(list(BIGDL.values()), list(BIGDL))
    axes.semilogx(list(BIGDL), published, "k*", markersize=10, label="BigDL, published (SoCC 2019)")
    for nodes, high in ((16, 7), (256, -14)):
        axes.annotate(f"{BIGDL[nodes]:,}", (nodes, BIGDL[nodes] / nodes), (0, high), fontsize=7,
                      textcoords="offset points", ha="center")  # fmt: skip
    axes.set_xticks([1, 4, 16, 64, 256, 1024], ["1", "4", "16", "64", "256", "1,024"])
    axes.set(xlabel=f"nodes, {BATCH} images each a step", ylim=(0, 1.45 * CORES * max(rate, 2)))
    axes.set_title("Inception-v1: images/s of each node (small: of all); simulated", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")
