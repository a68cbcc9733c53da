"""Images a second on more nodes than anybody here has: what BigDL published, and what the cost model says of fdl.

Nothing but the rate of one processor is measured: the rest is `fdl_spark.cost`, whose seconds were fitted to steps of
up to 16 ranks on two cores, on a network of 10 Gbit/s and 50 microseconds. Every node has the same batch.
"""

from typing import Any

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
    of_bigdl, of_fdl = BIGDL[16] / 16, CORES * rate
    axes.loglog(NODES, [simulated(n, of_fdl) for n in NODES], "o-", color="tab:blue", markersize=3,
                label=f"fdl, simulated: {CORES} cores a node of {rate:.2g} images/s (measured)")  # fmt: skip
    axes.loglog(NODES, [simulated(n, of_bigdl) for n in NODES], "o--", color="tab:orange", markersize=3,
                label=f"fdl, simulated: BigDL's nodes of {of_bigdl:.0f} images/s")  # fmt: skip
    axes.loglog(NODES, [n * of_bigdl for n in NODES], ":", color="gray", label="linear, BigDL's nodes")
    axes.loglog(list(BIGDL), list(BIGDL.values()), "k*", markersize=10, label="BigDL, published (SoCC 2019)")
    axes.set_xticks([1, 4, 16, 64, 256, 1024], ["1", "4", "16", "64", "256", "1,024"])
    axes.set(xlabel=f"nodes, {BATCH} images each a step", ylabel="images a second")
    axes.set_title("Inception-v1, 224 pixels: clusters are simulated")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="upper left")
