"""Folders in memory that lose what a crash may lose, and small checkpoints to write to them; run with `runpy`."""

from itertools import product

import numpy as np

from fdl_spark.checkpoints.checkpoint import CheckpointFolder, Saved
from fdl_spark.checkpoints.files import Files


class Killed(BaseException):
    """The process or the machine ends here."""


class Disk(Files):
    """Files in memory. The process is killed after so many operations, and then nothing can be done any more.

    A file's content is safe once it was written, as it was synced; names are safe after `sync`. Before that, each name
    that was made, moved or deleted may or may not be there after a crash of the machine, whatever the order.
    """

    def __init__(self, files=None, operations=10**9, cut=None):
        self.safe, self.pending = dict(files or {}), []
        self.left, self.cut = operations, cut
        self.written = 0

    def _do(self, *changes):
        if self.left <= 0:
            raise Killed
        self.left -= 1
        self.pending += changes

    @property
    def files(self):
        return self.after([True] * len(self.pending))

    def after(self, kept):
        """What is there if these of the pending changes were."""
        files = dict(self.safe)
        for (old, new, content), there in zip(self.pending, kept, strict=True):
            if there:
                files.pop(old, None)
                if new is not None:
                    files[new] = content
        return files

    def crashes(self):
        """All that may be there after a crash."""
        return [self.after(kept) for kept in product([False, True], repeat=len(self.pending))]

    def make(self):
        self._do()

    def names(self):
        return list(self.files)

    def read(self, name):
        try:
            return self.files[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def write(self, name, content):
        assert name not in self.files
        if self.left == 1 and self.cut is not None:  # killed in the middle of writing
            self.pending.append((None, name, content[: int(self.cut * len(content))]))
            self.left = 0
            raise Killed
        self._do((None, name, content))
        self.written += len(content)

    def move(self, old, new):
        self._do((old, new, self.read(old)))

    def delete(self, name):
        self.read(name)
        self._do((name, None, None))

    def sync(self):
        self._do()
        self.safe, self.pending = self.files, []


def folder_on(disk):
    folder = CheckpointFolder("/disk")
    folder.files = disk
    return folder


def saved(step, records=None):
    """A checkpoint whose every value depends on its step."""
    history = records or {
        "steps": [
            {"step": n, "loss": 1 / (n + 1), "rows": 4, "seconds": 0.5, "phases": {"update": 0.25, "send": 0.25}}
            for n in range(step)
        ],
        "epochs": [{"epoch": n + 1, "step": n, "loss": 1.0} for n in range(step)],
        "events": [{"step": n, "event": f"lost {n}"} for n in range(step)],
        "engines": [{"step": n, "engine": "driver", "why": str(n)} for n in range(step)],
        "sessions": [{"step": n, "run": str(n), "settings": {"seed": n}} for n in range(step)],
    }
    tensors = {"params['w']": np.full((2, 3), step, np.float32), "state.count": np.asarray(step)}
    return Saved(step, {"shards": 2, "key": [0, 7], "seed": 7}, tensors, history)


def same(a, b):
    """Whether two checkpoints are the same to the bit."""
    return (
        (a.step, a.arguments, a.history) == (b.step, b.arguments, b.history)
        and a.tensors.keys() == b.tensors.keys()
        and all(
            (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
            for x, y in ((a.tensors[name], b.tensors[name]) for name in a.tensors)
        )
    )
