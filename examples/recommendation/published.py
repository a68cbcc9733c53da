"""Numbers that others have published, to be drawn beside a run's."""

from typing import NamedTuple


class Published(NamedTuple):
    """A published number.

    Attributes:
      data: the set.
      metric: as `task.measured` names it.
      value: its value.
      epoch: after which it was measured; None for the best of a run.
      source: who published it.
    """

    data: str
    metric: str
    value: float
    epoch: int | None
    source: str


HE = "He et al. 2017, NeuMF-64 without pretraining"
MLPERF = "MLPerf 0.5, goal"
DISTILLER = "MLPerf's reference, as IntelLabs/distiller ran it"

PUBLISHED = [
    Published("movielens-1m", "HR@10 of 100", 0.705, None, HE),
    Published("movielens-1m", "NDCG@10 of 100", 0.426, None, HE),
    Published("movielens-20m", "HR@10 of 1000", 0.635, None, MLPERF),
    Published("movielens-20m", "HR@10 of 1000", 0.5738, 1, DISTILLER),
    Published("movielens-20m", "NDCG@10 of 1000", 0.3367, 1, DISTILLER),
    Published("movielens-20m", "HR@10 of 1000", 0.6355, 7, DISTILLER),
    Published("movielens-20m", "NDCG@10 of 1000", 0.3820, 7, DISTILLER),
]
