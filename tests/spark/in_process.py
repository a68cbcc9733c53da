"""A data set in this process, so that `fdl_spark.train(..., sync="driver")` takes milliseconds and starts no JVM."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np

import fdl
from fdl_spark.data.sharded import Dataset
from fdl_spark.data.shards import Schedule, owned


class InProcess(Dataset):
    """Arrays dealt to shards as on a cluster; tasks run one after the other."""

    def __init__(self, data, batch_size, seed, shards, tasks):
        self.template, self.name = {name: name for name in data}, "in process"
        self.columns = {name: (array.dtype.str, array.shape[1:]) for name, array in data.items()}
        rows = len(next(iter(data.values())))
        self.schedule, self.tasks = Schedule(rows, batch_size, shards or tasks, seed), tasks
        of_shard, slots = self.schedule.deal(np.arange(rows))
        self.rows = [np.flatnonzero(of_shard == n) for n in range(self.schedule.shards)]
        self.rows = [rows[np.argsort(slots[rows])] for rows in self.rows]
        self.data = data

    def batch(self, shard, slots, template):
        """As of a Block."""
        return fdl.tree.map(lambda name: self.data[name][self.rows[shard][slots]], template)

    def map(self, function, barrier=False):
        found = []
        for task in range(self.tasks):
            block = SimpleNamespace(
                shards=owned(task, self.tasks, self.schedule.shards), schedule=self.schedule, batch=self.batch
            )
            found += [bytes(payload) for payload in function(task, iter([block]))]
        return found

    def share(self, value):
        return SimpleNamespace(value=value, destroy=lambda: None)

    def own_jobs(self):
        return nullcontext()

    def describe(self, text):
        pass

    def close(self):
        pass


InProcess.__abstractmethods__ = frozenset()  # what sync="driver" does not ask for


def load(data, *, batch_size, seed=0, shards=None, tasks=None, **_):
    """As `fdl_spark.data.load.load`, of a dict of arrays."""
    return InProcess(data, batch_size, seed, shards, tasks or 1)
