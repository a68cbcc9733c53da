"""The machinery of the Spark benchmark, without Spark; what it measures is measured by hand on a quiet machine."""

import json
import math
import socket
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fdl
from benchmarks import inception
from benchmarks.spark import engines, flat, network, report, simulate
from benchmarks.spark.against import check
from benchmarks.spark.channel import Channel, Closed, Door
from benchmarks.spark.engines import Case, keep
from benchmarks.spark.side import family, memory
from benchmarks.spark.turns import Block, Plan, Turns, blocks_of
from benchmarks.spark.work import SHARDS, WORKS, Work, columns, prepare, prepared
from fdl_spark.cost import Constants


def take(turns: Turns, steps: int) -> int:
    """Run a training that ends its groups where the callback's interval says; the step at which it stopped."""
    run = SimpleNamespace(step=0, history=SimpleNamespace(steps=[], engines=[{"engine": "resident"}]))
    turns.start(run)
    while run.step < steps:
        end = (run.step // turns.interval + 1) * turns.interval
        while run.step < end:
            record = {"step": run.step, "loss": float(run.step)}
            run.history.steps.append(record)
            run.step += 1
            if turns.step(run, record):
                return run.step
    return run.step


def test_blocks_have_the_steps_that_were_asked_for():
    found: list[Block] = []

    def plan() -> Plan:
        for count in (3, 1, 4, 2):
            found.append((yield count))

    assert take(Turns(plan()), 100) == 10
    assert {block.engine for block in found} == {"resident"}
    assert [[record["step"] for record in block.records] for block in found] == [[0, 1, 2], [3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("group", [0.0, 3.0])
@pytest.mark.parametrize(("step", "expected"), [(0.01, 100), (3e-4, 3333), (0.3, 3), (5.0, 1)])
def test_blocks_take_about_the_seconds_that_were_asked_for_besides_their_group(step, expected, group):
    kept: list[Block] = []
    plan = blocks_of(1.0, 3, kept)
    counts = [next(plan)]
    with pytest.raises(StopIteration):
        while True:
            counts.append(plan.send(Block(group + step * counts[-1], [{}] * counts[-1])))
    assert [len(block.records) for block in kept] == [expected] * 3
    assert counts[0] == counts[1] == 1
    assert sum(counts) * step < 10 + 20 * step


def test_a_channel_answers_and_says_when_nobody_does(tmp_path):
    door = Door(str(tmp_path))
    theirs = Channel.connect(door.path)
    ours = door.accept(10)
    door.close()
    theirs.send({"seconds": 1.5})
    assert ours.receive(10) == {"seconds": 1.5}
    theirs.close()
    with pytest.raises(Closed, match="ended"):
        ours.receive(10)
    ours.close()
    left, right = map(Channel, socket.socketpair())
    with pytest.raises(Closed, match=r"no answer in 0\.01 s"):
        left.receive(0.01)
    left.close()
    right.close()


def test_the_family_of_a_process_is_all_that_it_started():
    sleep = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; print(1); time.sleep(60)'])"
    with subprocess.Popen([sys.executable, "-u", "-c", sleep], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pids = family(process.pid)
        assert len(pids) == 2
        assert pids[0] == process.pid
        assert memory(process.pid)["python"] > memory(pids[1])["python"] > 1 << 20
        for pid in reversed(pids):
            subprocess.run(["kill", "-9", str(pid)], check=True)


@pytest.mark.parametrize("name", ["resnet", "ncf"])
def test_both_sides_see_every_row_once_an_epoch_and_in_the_same_batches(name, tmp_path):
    work = Work(name, WORKS[name].model, 16, 64)
    prepare(work, tmp_path)
    assert prepared(tmp_path) == work
    assert {len(column) for column in columns(tmp_path)} == {64}
    rows = [np.load(tmp_path / f"rows{shard}.npy") for shard in range(SHARDS)]
    steps = [np.load(tmp_path / f"steps{shard}.npy") for shard in range(SHARDS)]
    batches = np.concatenate([mine[slots] for mine, slots in zip(rows, steps, strict=True)], axis=1)
    assert batches.shape == (4, 16)
    assert sorted(batches.ravel()) == list(range(64))


def test_the_flat_loss_has_the_gradient_that_it_says():
    rng = np.random.default_rng(0)
    params, x, y = rng.standard_normal(50), rng.standard_normal((6, flat.FEATURES)), rng.standard_normal(6)
    batch = {"x": x.astype(np.float32), "y": y.astype(np.float32)}
    gradient = np.asarray(fdl.grad(flat.loss)(params.astype(np.float32), batch))
    expected = (params - 1) / 50
    expected[: flat.FEATURES] += 2 / 6 * x.T @ (x @ params[: flat.FEATURES] - y)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6)


def test_what_is_measured_alone_is_a_step_of_the_engines():
    found = flat.alone(1e4, 2, "adam", seconds=0.0)
    assert set(found) == {"forward_backward", "update"}
    assert all(seconds > 0 for seconds in found.values())


def test_engines_must_agree_to_the_bit_and_peers_nearly():
    near = np.nextafter(np.float32(1), np.float32(2)).item()
    results: dict[str, dict[str, Any]] = {"auto": {"losses": [1.0]}, "shuffle": {"losses": [near]}}
    with pytest.raises(Closed, match="shuffle: losses"):
        check(WORKS["lenet"], results, "shuffle")
    results["torch"] = {"losses": [near]}
    check(WORKS["lenet"], results, "torch")
    results["torch"] = {"losses": [1.001]}
    with pytest.raises(Closed, match="torch: losses"):
        check(WORKS["lenet"], results, "torch")


def test_turns_of_a_case_are_kept_together():
    found: dict[str, dict[str, Any]] = {}
    case = str(Case("driver", 2, 1e5))
    for blocks in ([1.0], [2.0, 3.0]):
        keep(found, {"case": case, "blocks": blocks})
    keep(found, {"case": case, "left out": "lost"})
    assert found[case]["blocks"] == [1.0, 2.0, 3.0]
    assert Case.parse(case) == Case("driver", 2, 1e5)
    assert Case.parse(str(Case("shuffle", 16, 4e6, 8))) == Case("shuffle", 16, 4e6, 8)


def test_a_session_that_ends_costs_one_case(monkeypatch):
    sessions: list[list[str]] = []

    class Ending:
        """A process that fails in its second case: it says so in the first session, and hangs up in the second."""

        def __init__(self, name: str, module: str, arguments: list[str], folder: str):
            sessions.append(json.loads(arguments[0]))
            self.count = 0

        def receive(self, limit: float) -> dict[str, Any]:
            case = sessions[-1][self.count]
            self.count += 1
            if self.count == 2 and len(sessions) == 1:
                return {"case": case, "left out": f"Spark's {engines.GONE}"}
            if self.count == 2 and len(sessions) == 2:
                raise Closed("it ended")
            alone = {"forward_backward": 0.0, "update": 0.0}
            return {"case": case, "blocks": [1.0], "ranks": 2, "alone": alone}

        def close(self) -> None:
            pass

    monkeypatch.setattr(engines, "Side", Ending)
    cases = [Case("driver", 2, size) for size in (1.0, 2.0, 3.0, 4.0, 5.0)]
    found = engines.measure(cases, "adam", 0.1, 1, 1, one_session=True)
    assert [len(session) for session in sessions] == [5, 3, 1]
    assert ["step" in found[str(case)] for case in cases] == [True, False, True, False, True]
    assert not engines.measure(cases, "adam", 0.1, 1, 1, most=-1.0)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def test_tables_of_engines_say_how_far_the_goal_is():
    numbers = {
        str(Case("resident", ranks, 4e6)): {
            "engine": "resident", "ranks": ranks, "size": 4e6, "above": 3e-3 * ranks, "step": 1.0,
            "alone": {"forward_backward": 1e-3, "update": 5e-4}, "phases": {"compute": 2e-3, "sum": 1e-3},
        }
        for ranks in (2, 4)
    } | {"blocks:2:4": {"left out": "no such engine"}}  # fmt: skip
    _, _, two, _, _, where, _, _, many, _, reasons = report.engines(numbers)
    assert cells(two)[2:] == [["resident", "6.00 (4)"], ["computing alone", "1.50"]]
    assert cells(where)[2:] == [["resident, 4 MB", "2.00", "1.00"]]
    assert cells(many)[2:] == [["resident", "6.00", "12.0"], ["resident, if linear in bytes", "6.00", "18.0"]]
    assert reasons == "* blocks:2:4: no such engine"


def test_tables_compare_with_torch_and_with_one_rank():
    side = {"phases": {}, "python": 100 << 20, "java": 0}
    sides = {"auto": side | {"step": 0.1}, "auto/1": side | {"step": 0.19}, "torch": side | {"step": 0.15}}
    _, _, table, _, scaling = report.against({"resnet": sides})
    rows = cells(table)[2:]
    assert rows[0] == ["ResNet-20, batch 128", "auto", "100", "1,280", "1.50 (1.3)", "100", "0"]
    assert [row[4] for row in rows[1:]] == ["0.79", ""]
    assert cells(scaling)[2:] == [["ResNet-20, batch 128", "auto", "1.90 (1.85)"]]


def test_the_table_of_starts_keeps_the_first_round_apart():
    rows = cells(report.start({"LeNet-5 again": [3.0, 1.0, 2.0], "a new session": [4.0]})[2])[2:]
    assert rows == [["LeNet-5 again", "3.00", "1.50", "1.5"], ["a new session", "4.00", "", ""]]
    assert math.isclose(report.SCALING, 1.85)


def test_breaking_points_are_the_first():
    for least in (1, 2, 3, 37, 1000):
        assert simulate.first(lambda n, least=least: n >= least) == max(least, 2)
    assert simulate.first(lambda n: False) is None


def test_two_levels_of_exchange_need_fewer_messages_and_no_fewer_bytes():
    one, two = (
        simulate.Design("", "resident", two_level).phases(1024, 2.0, 10, Constants()) for two_level in (False, True)
    )
    assert two["messages"] == pytest.approx(2 * (31 + 31) * Constants().message)
    assert two["messages"] < 0.1 * one["messages"]
    assert two["bytes"] <= one["bytes"]
    assert two["network"] > one["network"]


def test_the_simulation_is_of_inception_and_its_plot_is_one(tmp_path):
    sizes = [np.asarray(leaf).nbytes for leaf in fdl.tree.leaves(inception.inputs(1)[0])]
    assert sum(sizes) == simulate.SIZE
    path = tmp_path / "scaling.png"
    simulate.plot(Constants(), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    text = simulate.report(Constants())
    assert [line.split("|")[1].strip() for line in text.splitlines() if "BigDL, published" in line] == [
        "BigDL, published"
    ]


def test_an_exchange_takes_what_the_link_and_its_delay_take():
    free = replace(Constants(), message=0.0, exchange_byte=0.0, sum_byte=0.0)
    # Half of 8 MB goes each way twice, at 125 MB a second.
    assert network.predicted(8e6, 1.0, 1e-3, free) == pytest.approx(2 * (4e6 / 125e6 + 1e-3))
    found = [{"size": 8e6, "gigabits": 1.0, "delay": 1e-3, "seconds": 0.132}]
    assert cells(network.report(found, free))[2] == ["8", "1", "1", "132", "66.0", "-50 %"]
