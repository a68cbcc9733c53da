"""`sync="resident"`: one barrier job takes a group of steps; its tasks stay, and exchange slices among themselves.

    driver ---- order ----> rank p: [forward-backward, reduce-scatter, update, all-gather] x steps ----> driver
      ^                                       |
      +------- outcomes, as they come --------+

This is group scheduling (Drizzle: Venkataraman et al., SOSP 2017) on an unchanged Spark. Parameters and state come to
the driver with a group if that costs little or is due, and else when they are asked for. A group that fails is taken
again from what the driver has, on whatever executors are there.
"""

import math
import secrets
import time
import uuid
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fdl_spark.compute.job import Job, destroy
from fdl_spark.compute.update import Leaves, join
from fdl_spark.data.block import Block
from fdl_spark.data.layout import Layout
from fdl_spark.data.sharded import Dataset, Shareable
from fdl_spark.engines.between import Between
from fdl_spark.engines.common.leaves import LeafOrder
from fdl_spark.engines.engine import Engine, Snapshot
from fdl_spark.engines.members import forget
from fdl_spark.engines.rank import Order, run_group
from fdl_spark.history.outcome import Outcome, Timing
from fdl_spark.net.meeting import Hub, Message
from fdl_spark.net.mesh import Terms
from fdl_spark.net.secure import Listener
from fdl_spark.spark.failures import Apart, CannotStay, Lost, NoBarrier, NoConnection, explained
from fdl_spark.spark.interrupts import Interrupts
from fdl_spark.spark.wire import unpack

POLL = 0.05  # seconds
SLOT_SECONDS = 60.0  # for lost executors to be replaced
PATIENCE = 10.0  # seconds for a group that nobody waits for to end
TIMEOUT = 600.0  # seconds without a word after which a rank is given up that may still have to compile
CONNECTING = 20.0  # seconds for a rank to answer a call; that all have started is known before
CALLS = 2  # groups in a row whose ranks could not connect: one of them may have died meanwhile, but not each time
FORGETTING = 3  # jobs to find one of the processes that were ranks, among Spark's idle ones


class Resident(Engine):
    """Synchronise among tasks that stay for a group of steps."""

    name = "resident"
    groups = True
    _start: Shareable | None = None
    _ending = 0.0  # seconds since the last step of a group that belong to no step
    _short: float | None = None  # since when there have been too few slots
    # How many groups in a row have found in the Python workers what the last one left there, and how many have not.
    _found = _missed = 0
    _branch = 0  # counts the states that the run was set to
    _apart = 0  # groups in a row whose ranks could not connect

    def __init__(self, *args: Any, every: int = 1, **options: Any):
        super().__init__(*args, **options)
        self.every, self._order_of_leaves = every, LeafOrder.of(self.program, self.weights)
        self._run, self._number = uuid.uuid4().hex, 0
        self._key = secrets.token_bytes(32) if self.dataset.encrypts_files() else None
        network = self.dataset.network()
        self._terms = Terms(secrets.token_bytes(32), network.encrypted, TIMEOUT, CONNECTING)
        self._hub: Hub | None = None
        if network.driver is not None:
            self._hub = Hub(Listener(network.driver, self._terms.secret, encrypt=network.encrypted))

    def restore(self, snapshot: Snapshot) -> None:
        self._drop_start()
        self._weights, self._leaves, self.done, self.here = snapshot.weights, snapshot.leaves, snapshot.done, True
        self._known = self._met = False  # whether the ranks have these, and each other
        self._branch += 1

    @property
    def weights(self) -> np.ndarray:  # type: ignore[override]
        self._fetch()
        return self._weights

    def _cut(self, weights: np.ndarray, slices: int | None) -> list[int]:
        return super()._cut(weights[: self.program.exchanged], slices)  # rows of tables are sent whole

    def state(self) -> Leaves:
        self._fetch()
        return self._leaves

    def _fetch(self) -> None:
        """Let the ranks hand over what they have kept: a group of no steps.

        Raises:
          Lost: they do not have it any more; the steps since it last came are to be taken again.
        """
        if not self.here:
            try:
                for _ in self.group(0):
                    pass
            except CannotStay as refused:
                raise Lost(str(refused)) from None

    def boundary(self, step: int) -> int:
        length = self.dataset.schedule.steps_per_epoch
        place = (step - 1) % length + 1 if step else 0
        return step if place == length else step - place % self.every

    def finish(self) -> None:
        if self._hub is not None:
            self._hub.tell({"finish": True})

    def close(self) -> None:
        with ExitStack() as actions:  # each is taken, whichever fails
            actions.callback(super().close)
            actions.callback(self._forget if self._hub is None else self._hub.close)
            actions.callback(self._drop_start)

    def _forget(self) -> None:
        """Let the ranks go, which no hub tells by hanging up; with the first that goes all go."""
        with suppress(Exception):
            for _ in range(FORGETTING if self._number else 0):
                if any(self.dataset.map(partial(_forget, self._run))):
                    break

    def group(self, count: int, seconds: float = math.inf, stay: float = 0.0) -> Iterator[Outcome]:
        try:
            for outcome in self._group(count, seconds, stay):
                self._apart = 0  # they have met
                yield outcome
            self._apart = 0
        except Apart as apart:
            self._apart += 1
            if self._apart < CALLS:
                raise
            raise self._no_connection(apart) from None

    def _no_connection(self, apart: Apart) -> NoConnection:
        """Who could not be reached, and what to do."""
        hub = "" if self._hub is None else f" and to the driver ({self._hub.listener.address})"
        other = "" if self.program.inner else ', or pass sync="shuffle" or "driver", whose tasks need not'
        return NoConnection(
            str(apart).rpartition("Unreachable: ")[2],
            f"tasks that stay connect to each other{hub}: let the cluster's hosts reach each other at all ports "
            f"(firewall, network policy){other}",
        )

    def _group(self, count: int, seconds: float, stay: float) -> Iterator[Outcome]:
        with Interrupts(math.inf) as interrupts:
            taken = yield from self._attempt(count, seconds, stay, interrupts)
            if not taken:  # a process has come without what the last group left in it
                self._found, self._missed = 0, self._missed + 1
                if not self.here:
                    raise Lost(f"a Python worker has gone with what it kept after step {self.done}")
                self._known = False
                yield from self._attempt(count, seconds, stay, interrupts)

    def _wait_for_slots(self) -> None:
        """Wait until all ranks can run at once: executors that were lost are often replaced within seconds.

        Raises:
          NoBarrier: they are not.
        """
        while (slots := self.dataset.slots()) is not None and slots < self.dataset.tasks:
            self._short = self._short or time.monotonic()
            if time.monotonic() > self._short + SLOT_SECONDS:
                refused = f"{self.dataset.tasks} tasks do not run at once, the cluster runs {slots}"
                raise NoBarrier(refused) if self.here else Lost(refused)
            time.sleep(POLL)
        self._short = None

    def _attempt(
        self, count: int, seconds: float, stay: float, interrupts: Interrupts
    ) -> Generator[Outcome, None, bool]:
        began = told_last = time.perf_counter()
        self._wait_for_slots()
        if self._order_of_leaves.each or self._found < 2**self._missed:  # what shards keep does not follow them
            stay = 0.0
        job = GroupJob(self.dataset, self._order(count, seconds, stay), self._hub)
        try:
            for outcomes in job.outcomes(interrupts):
                now = time.perf_counter()
                if told_last == began:
                    inside = sum(sum(outcome.phases.values()) for outcome in outcomes)
                    outcomes[0].phases["schedule"] = max(0.0, self._ending + now - began - inside)
                told_last = now
                yield from outcomes
        finally:
            job.end()
        if job.missing:
            return False
        self._found += self._known
        self._take(job)
        ended = time.perf_counter()
        self._ending = ended - told_last + (0.0 if count else self._ending)
        extra = ended - began - job.seconds
        if self.here:  # without a hub the last step is only heard of at the end
            self.handover = extra if self._hub is None else min(extra, ended - told_last)
            extra -= self.handover
        if count:
            self.overhead = extra
        return True

    def _order(self, count: int, seconds: float, stay: float) -> Order:
        self._number += 1
        if not self._known and self._start is None:
            self._start = self.dataset.share((self._weights, *self._order_of_leaves.split(self._leaves)))
        dataset = self.dataset
        return Order(
            job=Job(self.shared, None, dataset.schedule, dataset.template, dataset.tasks),
            run=self._run,
            group=self._number,
            terms=self._terms,
            hub=None if self._hub is None else self._hub.listener.address,
            again=self._met,
            cuts=self.cuts,
            first=self.done,
            count=count,
            seconds=seconds,
            stay=stay,
            skip=self.skip,
            every=self.every,
            start=None if self._known else self._start,
            files=self._files(),
        )

    def _files(self) -> Between | None:
        """Where ranks leave what they have, since a process has come without it: others may come again."""
        if not self._missed or self._hub is None or not self.dataset.returns:
            return None
        if self._order_of_leaves.each or self.program.tables is not None:
            return None
        cuts = tuple(self.cuts) if self.program.update.elementwise else ()
        weights, state = Layout.of([self._weights]), Layout.of(self._leaves)
        return Between(self.dataset.name, self._branch, weights, state, cuts, self._key)

    def _take(self, job: "GroupJob") -> None:
        """Make what the ranks handed over, if they have, the engine's own."""
        self._drop_start()
        self._known = self._met = True
        if not job.handed_over:
            self.done, self.here = job.done, job.done == self.done and self.here
            return
        lengths = [stop - start for start, stop in pairwise(self.cuts)]
        slices_of = {header["slice"]: (array, header["leaves"]) for header, array in job.results if "slice" in header}
        weights, leaves = slices_of[0]
        if self.program.update.elementwise:
            weights = np.concatenate([slices_of[n][0] for n in range(len(lengths))])
            leaves = join([slices_of[n][1] for n in range(len(lengths))], lengths)
        kept = {shard: own for header, _ in job.results for shard, own in header.get("kept", {}).items()}
        leaves = [*leaves, *(leaf for shard in sorted(kept) for leaf in kept[shard])]
        self._weights, self._leaves, self.done, self.here = weights, leaves, job.done, True

    def _drop_start(self) -> None:
        if self._start is not None:
            destroy(self._start)
            self._start = None


class GroupJob:
    """The Spark job of one group, in a thread of its own, so that its outcomes can be heard while it runs.

    Args:
      dataset: the data.
      order: what the ranks are told.
      hub: where they meet and report, if they can reach the driver.

    Attributes:
      missing: whether a rank came without what it needs, and nothing was done.
      handed_over: whether the results are the parameters and the state.
      done: how many steps the results are of.
      seconds: that the steps took, in rank 0.
      results: what the ranks handed over: (header, array) each.
    """

    def __init__(self, dataset: Dataset, order: Order, hub: Hub | None):
        self.dataset, self.order, self.hub = dataset, order, hub
        self.missing, self.handed_over, self.done, self.seconds = False, False, order.first, 0.0
        self.results: list[tuple[Message, Any]] = []
        self._payloads: list[bytes] = []
        self._error: BaseException | None = None
        self._ended = False
        if hub is not None:
            hub.open(order.group, dataset.tasks)
        self._thread = dataset.thread(self._run)
        self._thread.start()

    def outcomes(self, interrupts: Interrupts) -> Iterator[list[Outcome]]:
        """The outcomes of the steps, as they are reported; returns when the job has ended.

        Args:
          interrupts: if it asks for an end, the group ends after the step under way.
        """
        heard, asked = 0, False
        while True:
            ended = self._ended
            for outcomes in self._hear(0.0 if ended else POLL):
                heard += len(outcomes)
                yield outcomes
            if interrupts.asked and not asked:
                asked = True
                self.finish()
            if ended:
                break
        if self._error is not None:
            with explained(f"step {self.order.first}"):
                raise self._error
        count, rest = self._read()
        end = time.monotonic() + PATIENCE
        while heard + len(rest) < count:  # reports that are still on their way
            if time.monotonic() > end:
                raise Lost(f"{count - heard - len(rest)} of {count} steps were done, but never reported")
            for outcomes in self._hear(POLL):
                heard += len(outcomes)
                yield outcomes
        if rest:
            yield [_outcome(told) for told in rest]

    def _hear(self, patience: float) -> Iterator[list[Outcome]]:
        if self.hub is None:
            self._thread.join(patience)
            return
        for message in self.hub.hear(patience):
            yield [_outcome(told) for told in message["outcomes"]]

    def end(self) -> None:
        """Do not leave the job running."""
        if self._thread.is_alive():
            self.finish()
            self._thread.join(PATIENCE)

    def finish(self) -> None:
        """Let the group end after the step under way, if the ranks can be told."""
        if self.hub is not None:
            self.hub.tell({"finish": True})

    def _run(self) -> None:
        try:
            self._payloads = self.dataset.map(partial(run_group, self.order), barrier=True)
        except BaseException as error:
            self._error = error
        self._ended = True
        if self.hub is not None:
            self.hub.wake()

    def _read(self) -> tuple[int, list[Message]]:
        """How many outcomes there are, and those that were not reported."""
        count, rest = 0, []
        for header, array in map(unpack, self._payloads):
            if "missing" in header:
                self.missing = True
            elif "steps" in header:
                count, rest, self.done, self.seconds = (header[name] for name in ("steps", "rest", "done", "seconds"))
                self.handed_over = header["handed_over"]
            else:
                self.results.append((header, array))
        return count, rest


def _outcome(told: Message) -> Outcome:
    timings = tuple(Timing(*timing) for timing in told["timings"])
    return Outcome(told["sums"], tuple((shard, what) for shard, what in told["bad"]), told["phases"], timings)


def _forget(run: str, task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    for _ in blocks:
        pass
    if forget(run):
        yield b"!"
