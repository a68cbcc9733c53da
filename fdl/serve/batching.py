"""Requests that wait together are computed together."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from fdl.serve.metrics import Metrics
from fdl.serve.served import Served


@dataclass(frozen=True, eq=False)
class Waiting:
    """A request that waits for being computed.

    Attributes:
        arrays: its inputs.
        rows: how many rows it has.
        since: when it came, by the clock of the event loop.
        result: its outputs, when they are known.
    """

    arrays: list[np.ndarray]
    rows: int
    since: float
    result: asyncio.Future[list[np.ndarray]]


class Batcher:
    """Joins requests along axis 0 and computes them on a thread of its own, one batch after the other.

    A batch begins when its rows are as many as the largest size, or when its first request has waited `max_delay`
    seconds. While a batch is computed, requests gather for the next one. Requests are never divided among batches, but
    for one that has more rows than the largest size, which is computed alone.
    """

    def __init__(self, served: Served, metrics: Metrics, max_delay: float) -> None:
        self.served, self.metrics, self.max_delay = served, metrics, max_delay
        self.waiting = deque[Waiting]()
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="fdl-serve")
        self._changed = asyncio.Event()

    async def warm_up(self) -> None:
        """Compile for all sizes of batches."""
        await asyncio.get_running_loop().run_in_executor(self.thread, self.served.warm_up)

    def hurry(self) -> None:
        """Let no batch wait for more requests from now on."""
        self.max_delay = 0.0
        self._changed.set()

    async def submit(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs for the inputs of one request. Cancelling it takes it out of the queue."""
        loop = asyncio.get_running_loop()
        rows = arrays[0].shape[0] if self.served.sizes else 1
        request = Waiting(arrays, rows, loop.time(), loop.create_future())
        self.waiting.append(request)
        self._changed.set()
        return await request.result

    async def work(self) -> None:
        """Compute batches until it is cancelled."""
        while True:
            await self._gather()
            if group := self._next_group():
                await self._answer(group)

    async def _gather(self) -> None:
        """Wait until a batch may begin."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            while self.waiting and self.waiting[0].result.done():
                self.waiting.popleft()
            if not self.waiting:
                await self._changed.wait()
                continue
            left = self.waiting[0].since + self.max_delay - loop.time()
            if not self.served.sizes or left <= 0 or sum(x.rows for x in self.waiting) >= self.served.sizes[-1]:
                return
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _next_group(self) -> list[Waiting]:
        """Take the requests of a batch from the queue, but those that nobody waits for any more."""
        group, rows = list[Waiting](), 0
        while self.waiting:
            request = self.waiting[0]
            if not request.result.done():
                fits = self.served.sizes and rows + request.rows <= self.served.sizes[-1]
                if group and not fits:
                    break
                group.append(request)
                rows += request.rows
            self.waiting.popleft()
        return group

    async def _answer(self, group: Sequence[Waiting]) -> None:
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self.thread, self._compute, group)
        except Exception as error:
            if len(group) > 1:  # each alone, so that the others are answered
                for request in group:
                    await self._answer([request])
            elif not group[0].result.done():
                group[0].result.set_exception(error)
            return
        for request, result in zip(group, results, strict=True):
            if not request.result.done():
                request.result.set_result(result)

    def _compute(self, group: Sequence[Waiting]) -> list[list[np.ndarray]]:
        began = time.perf_counter()
        joined = [np.concatenate(x) if len(x) > 1 else x[0] for x in zip(*(r.arrays for r in group), strict=True)]
        outputs, computed = self.served.compute(joined)
        self.metrics.compute_seconds.observe(time.perf_counter() - began)
        self.metrics.batch_requests.observe(len(group))
        for rows in computed:
            self.metrics.batch_rows.observe(rows)
        if len(group) == 1:
            return [outputs]
        ends = np.cumsum([request.rows for request in group])[:-1]
        return [list(parts) for parts in zip(*(np.split(x, ends) for x in outputs), strict=True)]
