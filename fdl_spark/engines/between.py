"""What the ranks of `sync="resident"` leave in files between two groups, where a group comes in other Python workers.

Spark hands out its idle Python workers in turns. Where it has more of them than there are ranks, the processes of one
group are not those of the next, and what a process holds is not there. The files are those of `kept`: private, sealed
where Spark encrypts its own, deleted with the data set.
"""

from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fdl_spark.compute.update import Leaves
from fdl_spark.data.layout import Layout
from fdl_spark.engines.common.kept import Kept, StateMissing, of_slice
from fdl_spark.spark.disks import DiskFull


@dataclass(frozen=True)
class Between:
    """Where ranks leave their parameters and state; slice n is rank n's.

    Attributes:
      run: names the data set, which deletes the files at its end.
      branch: counts the states that the driver has sent; others follow from them.
      weights: layout of the flat parameters, which every rank has.
      state: layout of the optimizer's state.
      cuts: where both are cut into slices; empty if every rank has the whole state.
      key: 32 bytes that the files are encrypted with; None if Spark does not encrypt its own.
    """

    run: str
    branch: int
    weights: Layout
    state: Layout
    cuts: tuple[int, ...]
    key: bytes | None

    def read(self, rank: int, step: int) -> tuple[np.ndarray, Leaves] | None:
        """The parameters and the rank's part of the state after so many steps; None if they are not on this host."""
        with suppress(StateMissing):
            weights, *leaves = self._kept(rank).read(self.branch, step)
            return np.array(weights), leaves
        return None

    def write(self, rank: int, step: int, weights: np.ndarray, leaves: Leaves, since: int) -> bool:
        """Leave them; the file of `since` is left as well, the group that it began may be taken again.

        Returns:
          Whether they were left. A full disk is no error: the process may come again, or the driver has what is needed.
        """
        with suppress(DiskFull):
            self._kept(rank).write(self.branch, step, [weights, *leaves], since)
            return True
        return False

    def _kept(self, rank: int) -> Kept:
        state = self.state
        if self.cuts:
            slices = list(pairwise(self.cuts))
            state = of_slice(state, self.cuts[-1], *slices[rank]) if rank < len(slices) else Layout(())
        return Kept(self.run, f"rank {rank}", Layout(self.weights.arrays + state.arrays), self.key)
