"""The native half of the pool: threads that wait in a mailbox, and what a team of them shares during a call.

``i32 enter(ptr pool, ptr function, ptr table, i64 count)`` calls ``function(table, team, number, count)`` once in every
thread. The pool is a row of mailboxes; in the first one lies the flag that says whether the threads are taken. A thread
sleeps in its mailbox until a job is there and empties it when the job is done. Waiting is a short spin first, then
giving way to others, then short sleeps: the threads of a call usually arrive within microseconds of each other, but a
machine may have other work, and a host call may take seconds.
"""

from llvmlite import ir

from fdl.compile.llvm.build import Build
from fdl.compile.llvm.function import call_external, new_function
from fdl.compile.llvm.layout import (
    ARRIVED,
    BARRIER,
    CONDITION,
    COUNT,
    ENTER,
    FUNCTION,
    JOB_BYTES,
    MAILBOX_BYTES,
    MUTEX,
    NUMBER,
    OPENED,
    STATUS,
    STOP,
    TABLE,
    WORKER,
)
from fdl.compile.llvm.target import Target, process_triple
from fdl.compile.llvm.values import I8, I32, I64, POINTER

#: A job that ends a thread.
_END = 1


def emit_pool(target: Target) -> ir.Module:
    """The module with the functions `ENTER`, `STOP` and `WORKER`."""
    return _Emitter(target).module


class _Emitter:
    def __init__(self, target: Target) -> None:
        self.target = target
        self.module = ir.Module("pool")
        self.wait = self._wait()
        self.barrier = self._barrier()
        self._worker()
        self._enter()
        self._stop()

    def function(
        self, name: str, arguments: list[ir.Type], result: ir.Type | None = None, exported: bool = False
    ) -> Build:
        return Build(self.module, self.target, new_function(self.module, name, arguments, result, exported))

    def system(self, build: Build, name: str, *arguments: ir.Value) -> None:
        """Call a function of the system, ignoring its result."""
        call_external(build.ir, name, I32, *arguments)

    @staticmethod
    def at(build: Build, pointer: ir.Value, offset: ir.Value | int) -> ir.Value:
        return build.ir.gep(pointer, [I64(offset) if isinstance(offset, int) else offset], source_etype=I8)

    def pause(self, build: Build) -> None:
        """Tell the processor that this is a waiting loop."""
        if process_triple().startswith("x86_64"):
            build.ir.call(build.declare("llvm.x86.sse2.pause", ir.VoidType(), []), [])
        elif process_triple().startswith(("aarch64", "arm64")):
            build.ir.call(build.declare("llvm.aarch64.hint", ir.VoidType(), [I32]), [I32(1)])

    def _wait(self) -> ir.Function:
        """``void wait(ptr place, i64 value)``: until the number there is another one."""
        build = self.function("wait", [POINTER, I64])
        place, value = build.function.args
        done = build.function.append_basic_block("done")

        def look() -> None:
            seen = build.ir.load_atomic(place, "acquire", 8, typ=I64)
            following = build.function.append_basic_block("waiting")
            build.ir.cbranch(build.ir.icmp_unsigned("!=", seen, value), done, following)
            build.ir.position_at_end(following)

        with build.loop(0, self.target.tuning.spins):
            look()
            self.pause(build)
        with build.loop(0, self.target.tuning.yields):
            look()
            self.system(build, "sched_yield")
        with build.loop(0, 2**62):
            look()
            self.system(build, "usleep", I32(self.target.tuning.nap))
        build.ir.branch(done)
        build.ir.position_at_end(done)
        build.ir.ret_void()
        return build.function

    def _barrier(self) -> ir.Function:
        """``void barrier(ptr team, i64 count)``: the last thread to arrive opens it for all."""
        build = self.function("barrier", [POINTER, I64])
        team, count = build.function.args
        opened = self.at(build, team, OPENED)
        before = build.ir.load_atomic(opened, "acquire", 8, typ=I64)
        arrived = self.at(build, team, ARRIVED)
        others = build.ir.atomic_rmw("add", arrived, I64(1), "acq_rel")
        with build.ir.if_else(build.ir.icmp_unsigned("==", build.ir.add(others, I64(1)), count)) as (last, earlier):
            with last:
                build.ir.atomic_rmw("xchg", arrived, I64(0), "monotonic")
                build.ir.atomic_rmw("xchg", opened, build.ir.add(before, I64(1)), "release")
            with earlier:
                build.ir.call(self.wait, [opened, before])
        build.ir.ret_void()
        return build.function

    def _call(self, build: Build, job: ir.Value, number: ir.Value, count: ir.Value) -> ir.Value:
        """Run a job's function; its status."""
        function, table = (build.ir.load(self.at(build, job, place), typ=POINTER) for place in (FUNCTION, TABLE))
        return build.call_pointer(function, I32, [table, job, number, count])

    def _worker(self) -> None:
        """``ptr worker(ptr mailbox)``: the life of a thread."""
        build = self.function(WORKER, [POINTER], POINTER, exported=True)
        mailbox = build.function.args[0]
        number = build.ir.load(self.at(build, mailbox, NUMBER), typ=I64)
        mutex, condition = self.at(build, mailbox, MUTEX), self.at(build, mailbox, CONDITION)
        waiting, ready, working, ending = (
            build.function.append_basic_block(n) for n in ("waiting", "ready", "working", "ending")
        )
        build.ir.branch(waiting)
        build.ir.position_at_end(waiting)

        def look(busy: ir.Value) -> None:
            seen = build.ir.load_atomic(mailbox, "acquire", 8, typ=I64)
            following = build.function.append_basic_block("idle")
            build.ir.cbranch(build.ir.icmp_unsigned("!=", seen, I64(0)), busy, following)
            build.ir.position_at_end(following)

        with build.loop(0, self.target.tuning.spins):
            look(ready)
            self.pause(build)
        self.system(build, "pthread_mutex_lock", mutex)
        sleeping, awake = (build.function.append_basic_block(n) for n in ("sleeping", "awake"))
        build.ir.branch(sleeping)
        build.ir.position_at_end(sleeping)
        look(awake)
        self.system(build, "pthread_cond_wait", condition, mutex)
        build.ir.branch(sleeping)
        build.ir.position_at_end(awake)
        self.system(build, "pthread_mutex_unlock", mutex)
        build.ir.branch(ready)

        build.ir.position_at_end(ready)
        job = build.ir.load_atomic(mailbox, "acquire", 8, typ=I64)
        build.ir.cbranch(build.ir.icmp_unsigned("==", job, I64(_END)), ending, working)
        build.ir.position_at_end(working)
        team = build.ir.inttoptr(job, POINTER)
        count = build.ir.load(self.at(build, team, COUNT), typ=I64)
        self._call(build, team, number, count)
        build.ir.atomic_rmw("xchg", mailbox, I64(0), "release")
        build.ir.branch(waiting)
        build.ir.position_at_end(ending)
        build.ir.atomic_rmw("xchg", mailbox, I64(0), "release")
        build.ir.ret(ir.Constant(POINTER, None))

    def _mailbox(self, build: Build, pool: ir.Value, number: ir.Value) -> ir.Value:
        return self.at(build, pool, build.ir.mul(number.ir, I64(MAILBOX_BYTES)))

    def _post(self, build: Build, mailbox: ir.Value, job: ir.Value) -> None:
        mutex = self.at(build, mailbox, MUTEX)
        self.system(build, "pthread_mutex_lock", mutex)
        build.ir.atomic_rmw("xchg", mailbox, job, "release")
        self.system(build, "pthread_mutex_unlock", mutex)
        self.system(build, "pthread_cond_signal", self.at(build, mailbox, CONDITION))

    def _take(self, build: Build, pool: ir.Value) -> ir.Value:
        """Whether the threads were free; they are taken then."""
        result = build.ir.cmpxchg(pool, I64(0), I64(1), "acq_rel", "monotonic")
        return build.ir.extract_value(result, 1)

    def _enter(self) -> None:
        build = self.function(ENTER, [POINTER, POINTER, POINTER, I64], I32, exported=True)
        pool, function, table, count = build.function.args
        with build.ir.goto_entry_block():
            job = build.ir.alloca(ir.ArrayType(I8, JOB_BYTES))
        job.align, job.type = 64, POINTER
        for value, place in (
            (function, FUNCTION), (table, TABLE), (count, COUNT), (self.barrier, BARRIER),
            (I64(0), ARRIVED), (I64(0), OPENED), (I32(0), STATUS),
        ):  # fmt: skip
            build.ir.store(value, self.at(build, job, place))
        together, single = (build.function.append_basic_block(n) for n in ("together", "single"))
        many = build.function.append_basic_block("many")
        build.ir.cbranch(build.ir.icmp_signed(">", count, I64(1)), many, single)
        build.ir.position_at_end(many)
        build.ir.cbranch(self._take(build, pool), together, single)
        build.ir.position_at_end(together)
        number = build.ir.ptrtoint(job, I64)
        with build.loop(1, build.value(count, "int64")) as i:
            self._post(build, self._mailbox(build, pool, i), number)
        status = self._call(build, job, I64(0), count)
        with build.loop(1, build.value(count, "int64")) as i:
            build.ir.call(self.wait, [self._mailbox(build, pool, i), number])
        build.ir.atomic_rmw("xchg", pool, I64(0), "release")
        build.ir.ret(status)
        build.ir.position_at_end(single)
        build.ir.ret(self._call(build, job, I64(0), I64(1)))

    def _stop(self) -> None:
        """``i32 stop(ptr pool, i64 workers)``: end the threads for good if they are free; whether they were."""
        build = self.function(STOP, [POINTER, I64], I32, exported=True)
        pool, workers = build.function.args
        with build.ir.if_then(self._take(build, pool)):
            with build.loop(0, build.value(workers, "int64")) as i:
                self._post(build, self._mailbox(build, pool, i + 1), I64(_END))
            build.ir.ret(I32(1))
        build.ir.ret(I32(0))
