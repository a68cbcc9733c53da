"""Progress of loops, compiled ones too."""

import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fdl.array import as_operand
from fdl.core.primitive import Primitive
from fdl.core.types import TensorType
from fdl.errors import DtypeError
from fdl.lax.control import cond

#: How many times a loop calls Python to show its progress.
_TIMES = 100

#: Seconds between two lines of plain text.
_PAUSE = 0.1


def progress(i: Any, n: int, desc: str = "") -> None:
    """Show how far a loop is, from inside of it: a bar of tqdm if that is installed, else a line of text, on stderr.

    A compiled loop calls Python about a hundred times, however long it is.

    Args:
        i: the number of the step, from 0: an integer scalar.
        n: how many steps there are.
        desc: what stands in front of the bar.

    >>> import fdl, fdl.numpy as fnp
    >>> def step(total, i):
    ...     fdl.debug.progress(i, 1000, "adding")
    ...     return total + i, None
    >>> fdl.jit(lambda: fdl.lax.scan(step, 0, fnp.arange(1000))[0])()
    Array(499500, dtype=int32)
    """
    i = as_operand(i, "the step of progress")
    if i.dtype.kind not in "iu":
        raise DtypeError(f"progress needs an integer as the number of the step, got {i.type}")
    every = max(int(n) // _TIMES, 1)
    shown = ((i + 1) % every == 0) | (i == 0) | (i + 1 >= n)
    show = Progress(int(n), str(desc))
    cond(shown.any(), lambda i: (show(i), None)[1], lambda i: None, i)


class Progress(Primitive):
    """Shows that a step of a loop of ``count`` steps has begun."""

    multiple = True
    effect = True
    count: int
    description: str = ""

    def result(self, *types: TensorType) -> tuple[TensorType, ...]:
        return ()

    def reference(self, *arrays: np.ndarray) -> list[np.ndarray]:
        (step,) = arrays
        if step.size:
            _bars.show(self, int(step.max()))
        return []

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        return self(*primals), ()

    def batch(self, size: int, args: Sequence[Any], batched: Sequence[bool]) -> Any:
        return self(*args), ()

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        yield type(self)(3), np.zeros(0, np.int32)


class _Bars(threading.local):
    """The bars of the loops that this thread runs, by what shows them."""

    def __init__(self) -> None:
        self.bars: dict[Progress, Any] = {}

    def show(self, progress: Progress, step: int) -> None:
        """Move a bar to a step; a step before the last one begins a new bar."""
        bar = self.bars.get(progress)
        if bar is not None and step < bar.n:
            self.bars.pop(progress).close()
            bar = None
        if bar is None:
            bar = self.bars[progress] = _bar(progress.count, progress.description)
        bar.update(step + 1 - bar.n)
        if step + 1 >= progress.count:
            self.bars.pop(progress).close()


_bars = _Bars()


def _bar(count: int, description: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without widgets gets the bar of text
            from tqdm.auto import tqdm

            return tqdm(total=count, desc=description or None, dynamic_ncols=True)
    except ImportError:
        return _Line(count, description)


class _Line:
    """A bar of plain text: the line is written anew while it grows."""

    def __init__(self, count: int, description: str) -> None:
        self.count, self.description, self.n = count, description, 0
        self.begun, self.written = time.monotonic(), 0.0

    def update(self, steps: int) -> None:
        """Go on by some steps."""
        self.n += steps
        now = time.monotonic()
        if now - self.written >= _PAUSE or self.n >= self.count:
            self.written = now
            start = f"{self.description}: " if self.description else ""
            share = 100 * self.n // max(self.count, 1)
            sys.stderr.write(f"\r{start}{share:3d} % ({self.n} of {self.count}), {now - self.begun:.1f} s")
            sys.stderr.flush()

    def close(self) -> None:
        """End the line."""
        sys.stderr.write("\n")
