"""The tasks' side of `sync="resident"`: a rank takes a group of steps, and keeps what it holds for the next group.

A rank is a task of a barrier job, and the Python process that runs it. The process outlives the task: its connections,
its parameters and its slice of the optimizer's state stay there (`members.py`), and the next group goes on from them if
all ranks have come back with those of the same step. Otherwise the group starts from what the driver sent.
"""

import select
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from pyspark import BarrierTaskContext

import fdl
from fdl_spark.compute.contribution import Contribution
from fdl_spark.compute.feed import Feed
from fdl_spark.compute.job import Job
from fdl_spark.compute.part import Part, nodes_of, total_of
from fdl_spark.compute.program import Program
from fdl_spark.compute.tree_sum import Node
from fdl_spark.compute.update import cut
from fdl_spark.data.block import Block
from fdl_spark.data.sharded import Shareable
from fdl_spark.data.shards import owned
from fdl_spark.engines.between import Between
from fdl_spark.engines.members import Member, taking_part
from fdl_spark.engines.rows import RowsSwap
from fdl_spark.history.clock import Clock
from fdl_spark.net.connection import PeerLost
from fdl_spark.net.exchange import Exchange, Room
from fdl_spark.net.meeting import BarrierMeeting, HubMeeting, LinkMeeting, Meeting, Message
from fdl_spark.net.mesh import Terms
from fdl_spark.net.secure import connect
from fdl_spark.net.shared import Segment, SharedMemoryError, available
from fdl_spark.spark.wire import pack

PHASES = ("compute", "send", "wait", "sum", "update", "gather")
REPORT_SECONDS = 0.1
# For a rank that failed to say why before those that miss it fail too: Spark tells the first failure.
WHY_SECONDS = 0.5
# A rank is lost if it is silent for so many seconds, and for so many times the longest gradient.
LEAST_PATIENCE, PATIENCE = 60.0, 30.0
RETURN_SECONDS = 10.0  # for the processes of the last group to come back, where only they can tell that they have


@dataclass(frozen=True)
class Order:
    """What the ranks of a group are told.

    Attributes:
      job: the Program, the schedule and the number of ranks.
      run: names the run.
      group: number of the group within the run.
      terms: how ranks connect.
      hub: where they meet; None if they cannot reach the driver.
      again: whether they may meet over the connections of the last group, if there is no hub.
      cuts: where the flat vector is cut into slices.
      first: the group's first step.
      count: at most so many steps.
      seconds: the group ends after the first step that is done later than so many seconds after its first one.
      stay: parameters and state are not handed over if the group takes no more than so many seconds.
      skip: whether steps that are not finite are left out.
      every: how many steps a round has, after which the ranks meet.
      start: the parameters, the optimizer's state and what each shard keeps after `first` steps; None if the ranks
        should have them.
      files: where ranks leave what they have for the next group, and find it; None if they keep it in memory.
    """

    job: Job
    run: str
    group: int
    terms: Terms
    hub: str | None
    again: bool
    cuts: list[int]
    first: int
    count: int
    seconds: float
    stay: float
    skip: bool
    every: int
    start: Shareable | None
    files: Between | None = None

    @cached_property
    def owned(self) -> list[range]:
        """The shards of each rank."""
        return [owned(rank, self.job.tasks, self.job.schedule.shards) for rank in range(self.job.tasks)]

    def round(self, step: int) -> int:
        """How many steps a round has that begins with a step."""
        place, length = step % self.job.schedule.steps_per_epoch, self.job.schedule.steps_per_epoch
        return min(self.every - place % self.every, length - place, self.first + self.count - step)


def run_group(order: Order, task: int, blocks: Iterable[Block]) -> Iterator[bytes]:
    """Take the steps of a group.

    Yields:
      What the driver needs: (what it is, array) as `wire.pack` packs it.
    """
    (block,) = blocks
    with taking_part(order.run) as member:
        try:
            yield from Rank(order, task, block, member).run()
        except PeerLost:
            time.sleep(WHY_SECONDS)
            raise


class Rank:
    """One rank of one group."""

    def __init__(self, order: Order, rank: int, block: Block, member: Member):
        self.order, self.rank, self.member = order, rank, member
        self.program: Program = order.job.program.compiled()
        self.feed = Feed(order.job, self.program, block)
        self.elementwise = self.program.update.elementwise
        tasks, shards, rounded = order.job.tasks, order.job.schedule.shards, self.program.rounded
        self.nodes = [nodes_of(task, tasks, shards, rounded) for task in range(tasks)]
        self._finishing = False
        self._handing_over = not order.count
        self._began = time.monotonic()
        self._unreported: list[Message] = []
        self._reported = time.monotonic()

    def run(self) -> Iterator[bytes]:
        """Meet, take the steps, and hand over what has changed."""
        order, member = self.order, self.member
        meeting = self._meeting()
        self._find()
        keeping = [shard for shard, own in member.kept.items() if own]
        held = {"done": member.done, "slice": member.slice, "shards": keeping}
        here = meeting.gather({**member.mesh.greeting(), **held})
        # What the driver sends may differ from what is here of the same step: `Engine.restore` takes any state.
        owners = self._owners(here) if order.start is None else None
        if owners is None and order.start is None:
            yield pack({"missing": self.rank}, None)
            return
        if member.room is None:
            member.room = self._make_room(here)
        links = member.mesh.join(self.rank, here, meeting, order.terms, self._address, member.room, self._view)
        if owners is None:
            owners = list(range(len(order.cuts) - 1))
            self._load(owners)
        shards, timeout = order.job.schedule.shards, order.terms.timeout
        exchange = Exchange(self.rank, links, self.nodes, order.cuts, owners, shards, member.room, timeout)
        exchange.timeout = self._patience(exchange.timeout)
        member.done, began = -1, time.perf_counter()
        steps = self._steps(exchange)
        if self.rank == 0:
            seconds = time.perf_counter() - began
            self._report()
            told = {"steps": steps, "rest": self._unreported, "done": member.done, "seconds": seconds}
            yield pack({**told, "handed_over": self._handing_over}, None)
        if self._handing_over:
            yield from self._results(exchange)
        self._leave()

    def _find(self) -> None:
        """Take what this rank left in a file, in whichever process it ran."""
        order, member = self.order, self.member
        if order.files is None or order.start is not None:
            return
        found = order.files.read(self.rank, order.first)
        if found is not None:
            member.weights, member.leaves = found
            member.slice, member.done = self._own_slice(), order.first

    def _leave(self) -> None:
        """Leave what this rank holds in a file, and not in a process that may never be a rank again."""
        order, member = self.order, self.member
        if order.files is None:
            return
        if self.elementwise and member.slice != self._own_slice():
            return
        leaves = member.leaves if member.slice is not None or not self.elementwise else []
        there = member.done == order.first and order.start is None
        if there or order.files.write(self.rank, member.done, member.weights, leaves, order.first):
            member.weights, member.leaves, member.slice, member.done = np.empty(0, np.float32), [], None, -1

    def _own_slice(self) -> int | None:
        """The slice whose state this rank has if it has not come from another one's process."""
        return self.rank if self.rank < len(self.order.cuts) - 1 else None

    def _meeting(self) -> Meeting:
        """Where this process meets the others of its group."""
        order, member, terms = self.order, self.member, self.order.terms
        if order.hub is None:
            if not order.again:
                return BarrierMeeting()
            connections = [link.connection for link in member.mesh.links.values()]
            if len(connections) != order.job.tasks - 1:
                raise PeerLost(f"rank {self.rank}", socket.gethostname(), "has come without connections to the others")
            return LinkMeeting(self.rank, connections, order.group, RETURN_SECONDS)
        if member.hub is None:
            member.hub = connect(order.hub, terms.secret, terms.connecting, encrypt=terms.encrypted, name="the driver")
        return HubMeeting(member.hub, self.rank, order.group, terms.timeout)

    def _patience(self, otherwise: float) -> float:
        """Seconds without a word after which another rank is lost; `otherwise` if no gradient has been timed yet."""
        return max(LEAST_PATIENCE, PATIENCE * self.member.longest) if self.member.longest else otherwise

    def _owners(self, here: list[Message]) -> list[int] | None:
        """Which rank has each slice's state; None if any rank has come without what it needs."""
        if any(message["done"] != self.order.first for message in here):
            return None
        if any(message["shards"] and message["shards"] != list(self.order.owned[r]) for r, message in enumerate(here)):
            return None
        slices = range(len(self.order.cuts) - 1)
        if not self.elementwise:
            return list(slices)
        rank_of = {message["slice"]: rank for rank, message in enumerate(here)}
        return [rank_of[number] for number in slices] if all(number in rank_of for number in slices) else None

    def _load(self, owners: list[int]) -> None:
        """Start from what the driver sent."""
        assert self.order.start is not None
        weights, leaves, kept = self.order.start.value
        member, cuts = self.member, self.order.cuts
        if self.program.tables is not None:
            member.slice, member.kept = None, {}
            member.weights, member.leaves = self.program.tables.copied(weights, leaves)
            return
        member.weights = np.array(weights)
        member.kept = {shard: kept[shard] for shard in self.order.owned[self.rank]} if kept else {}
        member.slice = owners.index(self.rank) if self.rank in owners else None
        if not self.elementwise:
            member.leaves = leaves
        elif member.slice is not None:
            start, stop = cuts[member.slice], cuts[member.slice + 1]
            member.leaves = [np.array(leaf) for leaf in cut(leaves, cuts[-1], start, stop)]

    def _make_room(self, here: list[Message]) -> Room:
        """Memory for what the others get, shared if any of them is on this host."""
        sizes = self._sizes()
        if available() and sum(message["host"] == here[self.rank]["host"] for message in here) > 1:
            with suppress(SharedMemoryError):  # then sockets serve
                return Room(*sizes, Segment.create(Room.bytes(*sizes)))
        return Room(*sizes)

    def _view(self, rank: int, segment: Segment) -> Room:
        return Room(*self._sizes(), segment)

    def _sizes(self) -> tuple[int, int, int, np.dtype, bool]:
        """The sizes of a Room, which serves a process whatever rank it is in a later group."""
        cuts, dtype = self.order.cuts, self.program.flat().dtype
        longest = max(stop - start for start, stop in pairwise(cuts))
        return max(map(len, self.nodes)), cuts[-1], longest, dtype, self.program.rounded

    def _address(self) -> str:
        """The host name under which the other tasks know this one."""
        return BarrierTaskContext.get().getTaskInfos()[self.rank].address.rsplit(":", 1)[0]

    def _steps(self, exchange: Exchange) -> int:
        """Take the steps; how many outcomes there are."""
        order, member = self.order, self.member
        first_done, step, last = None, order.first, False
        while not last and step < order.first + order.count:
            began, count = time.perf_counter(), order.round(step)
            outcomes, bad, last = self._round(exchange, step, count, first_done)
            if self.rank == 0:
                inside = sum(sum(outcome["phases"].values()) for outcome in outcomes)
                outcomes[0]["phases"]["compute"] += time.perf_counter() - began - inside
                self._unreported += outcomes
                if time.monotonic() - self._reported > REPORT_SECONDS:
                    self._report()
            if bad and not order.skip:
                member.done = step
                return step + len(outcomes) - order.first
            step += count
            first_done = first_done or time.monotonic()
        member.done = step
        return step - order.first

    def _round(
        self, exchange: Exchange, step: int, count: int, first_done: float | None
    ) -> tuple[list[Message], bool, bool]:
        """The outcomes of the steps until the ranks meet, whether any was bad, and whether the group ends with it."""
        order, member, room = self.order, self.member, exchange.room
        clock = Clock(PHASES)
        job = replace(order.job, step=step)
        contribution = Contribution(job, self.program, self.feed, self.nodes[self.rank], member.kept)
        tables, rows = self.program.tables, None
        if tables is not None:
            member.weights, member.leaves = contribution.caught_up(member.weights, member.leaves)
        steps = contribution.parts(member.weights, count)
        own, (start, stop) = {}, exchange.bounds.get(self.rank, (0, 0))
        for row, node, part in zip(room.parts, self.nodes[self.rank], steps[-1], strict=False):
            if part.gradient is not None:
                dense = part.gradient if tables is None else part.gradient.dense
                row[:start], row[stop:], own[node] = dense[:start], dense[stop:], dense[start:stop]
        clock.lap("compute")
        message: Message = {"steps": [[[part.sums, part.bad] for part in parts] for parts in steps]}
        message |= {"seconds": clock.phases["compute"], "host": socket.gethostname(), "waited": self.feed.waited}
        message["vectors"] = fdl.vectors()
        self.feed.waited = 0.0
        if self.rank == 0:
            message["last"] = self._is_last(first_done)
            message["handing_over"] = self._finishing or time.monotonic() - self._began >= order.stay
        if tables is not None:
            shards = order.job.schedule.shards
            rows = RowsSwap(tables.layout, self.nodes, steps[-1], self.rank, shards, member.received)
            message["rows"] = rows.counts
        told, total = exchange.reduce_scatter(message, self._present(step), clock, rows, own)
        wholes = [self._whole(number, told) for number in range(count)]
        bad = [whole.bad for whole in wholes if whole.bad]
        if not bad:
            member.kept = contribution.kept
            self._update(exchange, total, rows, wholes[-1].sums, clock)
        self._handing_over = told[0]["handing_over"]
        member.longest = max(member.longest, *(message["seconds"] for message in told.values()))
        exchange.timeout = self._patience(exchange.timeout)
        timings = [
            [rank, of["host"], of["seconds"] / count, 0, of["waited"] / count, of["vectors"]]
            for rank, of in sorted(told.items())
        ]
        phases = {name: seconds / count for name, seconds in clock.phases.items()}
        outcomes = [
            {"sums": whole.sums, "bad": bad[0] if bad else (), "phases": dict(phases), "timings": timings}
            for whole in wholes
        ]
        if bad and not order.skip:
            outcomes = outcomes[: next(n for n, whole in enumerate(wholes) if whole.bad) + 1]
            for outcome in outcomes[:-1]:
                outcome["bad"] = ()
        return outcomes, bool(bad), told[0]["last"]

    def _whole(self, number: int, told: dict[int, Message]) -> Part:
        """The sums over all shards of a step of the round."""
        parts = {}
        for rank, message in told.items():
            for node, (sums, bad) in zip(self.nodes[rank], message["steps"][number], strict=True):
                parts[node] = Part(sums, None, tuple((shard, what) for shard, what in bad))
        return total_of(parts, self.order.job.schedule.shards)

    def _present(self, step: int) -> Callable[[Node], bool]:
        """Whether a node has a shard that contributes to a round."""
        schedule = self.order.job.schedule
        if self.program.inner is not None or schedule.batch_rows(step) >= schedule.shards:
            return lambda node: True
        taking_part = {shard for shard in range(schedule.shards) if schedule.slots(step, shard).size}

        def present(node: Node) -> bool:
            level, index = node
            return any(shard in taking_part for shard in range(index << level, (index + 1) << level))

        return present

    def _update(
        self,
        exchange: Exchange,
        total: np.ndarray | None,
        rows: RowsSwap | None,
        sums: Mapping[str, float],
        clock: Clock,
    ) -> None:
        member, program, room = self.member, self.program, exchange.room
        if not self.elementwise:
            if total is not None:
                room.slice[: total.size] = total
            gradient = np.empty(self.order.cuts[-1], room.dtype)
            exchange.all_gather(gradient, clock)
            tables = program.tables
            if tables is not None and rows is not None:
                joined = tables.joined(*rows.total(), rooms=member.rooms)
                factor = program.weight_factor(sums)
                for array in () if factor is None else (gradient, *(values for _, values in joined)):
                    array *= array.dtype.type(factor)
                clock.lap("sum")
                member.weights, member.leaves = tables.update(member.weights, member.leaves, gradient, joined)
                clock.lap("update")
                return
            member.weights, member.leaves = program.updated(member.weights, gradient, member.leaves, sums)
            clock.lap("update")
            return
        if total is not None:
            start, stop = exchange.bounds[self.rank]
            updated, member.leaves = program.updated(member.weights[start:stop], total, member.leaves, sums, start)
            room.slice[: total.size] = updated
            clock.lap("update")
        exchange.all_gather(member.weights, clock)

    def _is_last(self, first_done: float | None) -> bool:
        """Whether the group should end with this step: it has lasted long enough, or the driver wishes so."""
        hub = self.member.hub
        if hub is not None and select.select([hub], [], [], 0)[0]:
            message = hub.receive_message(timeout=self.order.terms.timeout)
            self._finishing |= message.get("group") == self.order.group and bool(message.get("finish"))
        late = first_done is not None and time.monotonic() - first_done > self.order.seconds
        return late or self._finishing

    def _report(self) -> None:
        """Tell the driver of the steps that are done, if it can be reached."""
        hub = self.member.hub
        if hub is not None and self._unreported:
            told = {"group": self.order.group, "outcomes": self._unreported}
            hub.send_message(told, timeout=self.order.terms.timeout)
            self._unreported, self._reported = [], time.monotonic()

    def _results(self, exchange: Exchange) -> Iterator[bytes]:
        member, tables = self.member, self.program.tables
        if any(member.kept.values()):
            yield pack({"kept": member.kept}, None)
        if not self.elementwise:
            if self.rank == 0:
                weights, leaves = member.weights, member.leaves
                if tables is not None:
                    member.weights, member.leaves = tables.catch_up_all(weights, leaves)
                    weights, leaves = tables.flat(member.weights, member.leaves)
                yield pack({"slice": 0, "leaves": leaves}, weights)
        elif member.slice is not None:
            start, stop = exchange.bounds[self.rank]
            yield pack({"slice": member.slice, "leaves": member.leaves}, member.weights[start:stop])
