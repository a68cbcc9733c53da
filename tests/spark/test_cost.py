"""The cost model: what it counts follows from the algorithms, whatever its constants are."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from fdl_spark.cost import (
    ENGINES,
    PHASES,
    SLICE_BYTES,
    Cluster,
    Constants,
    best_slices,
    choose,
    counts,
    expected_maximum,
    network,
    predict,
)

engines = st.sampled_from(ENGINES)
ranks = st.integers(1, 1024)
sizes = st.floats(1e3, 1e9)


@given(engine=engines, ranks=ranks, size=sizes, compute=st.floats(0, 100), hosts=st.integers(1, 1024))
def test_every_phase_is_known_finite_and_not_negative(engine, ranks, size, compute, hosts):
    phases = predict(engine, ranks, size, compute, cluster=Cluster(hosts, 2, 1e9, 1e-4))
    assert list(phases) == list(PHASES)
    assert all(math.isfinite(seconds) and seconds >= 0 for seconds in phases.values())


@given(engine=engines, ranks=ranks, size=sizes)
def test_more_bytes_cost_more(engine, ranks, size):
    small, large = (sum(predict(engine, ranks, bytes_, 0.1, slices=1).values()) for bytes_ in (size, 2 * size))
    assert small < large
    # At most in proportion, unless longer steps mean that what is handed over once a minute comes after fewer of them.
    often = {"slices": 1, "group": 10, "stay": 10}
    small, large = (sum(predict(engine, ranks, bytes_, 0.1, **often).values()) for bytes_ in (size, 2 * size))
    assert small < large <= 2 * small * (1 + 1e-12)


@given(ranks=ranks, size=sizes)
def test_resident_ranks_exchange_as_much_as_a_ring_does(ranks, size):
    """Reduce-scatter and all-gather each move (N - 1) / N of the bytes into every rank (Patarasuk and Yuan, 2009)."""
    cluster = Cluster(hosts=ranks, cores=1)
    found = counts("resident", ranks, size, ranks, cluster=cluster)
    assert found["exchange_byte"] == pytest.approx(2 * size * (ranks - 1) / ranks)
    assert found["message"] == 2 * (ranks - 1)


@given(count=st.integers(2, 16), size=sizes)
def test_ranks_that_share_cores_pay_for_all_bytes(count, size):
    """On two cores the bytes that all ranks exchange, 2 (N - 1) P, are moved by two at a time."""
    found = counts("resident", count, size, count, cluster=Cluster(cores=2))
    assert found["exchange_byte"] == pytest.approx(2 * (count - 1) * size / 2)


def test_the_network_carries_what_passes_between_hosts():
    cluster = Cluster(hosts=4, cores=2, bandwidth=1e9, latency=0.0)
    assert network("resident", 4, 8e6, Cluster(1, 4, 1e9), 4) == 0.0
    # A reduce-scatter sends 3/4 of 8 MB from each host, an all-gather as much.
    assert network("resident", 4, 8e6, cluster, 4) == pytest.approx(2 * 6e6 / 1e9)
    # Two ranks a host send both their gradients, and both receive parameters.
    assert network("resident", 8, 8e6, cluster, 8) == pytest.approx(2 * 12e6 / 1e9)
    # Four gradients into the driver and the parameters out, passed on twice.
    assert network("driver", 4, 4e6, cluster, 1) == pytest.approx((4 * 4e6 + 3 * 4e6) / 1e9)


def test_a_long_group_shares_what_a_job_costs():
    alone = Constants(round=0.0)
    short, long = (predict("resident", 4, 1e5, 0.0, alone, group=steps)["scheduling"] for steps in (1, 50))
    assert short == pytest.approx(50 * long)
    # By itself the engine chooses groups in which a job is a twentieth of the steps, at most.
    chosen, endless = (predict("resident", 64, 28e6, 2.0, group=steps) for steps in (None, 10**9))
    assert 0 < sum(chosen.values()) - sum(endless.values()) < 0.05 * sum(chosen.values())


@given(engine=engines, ranks=ranks, size=sizes, hosts=st.integers(1, 1024), data=st.data())
def test_no_other_number_of_slices_is_predicted_to_be_much_faster(engine, ranks, size, hosts, data):
    """The search looks at some numbers only; any other one gains little."""
    cluster = Cluster(hosts, data.draw(st.integers(1, 8)))
    best = best_slices(engine, ranks, size, cluster=cluster)
    assert 1 <= best <= ranks
    assert best == 1 or size / best >= SLICE_BYTES
    other = data.draw(st.integers(1, max(1, min(ranks, int(size) // SLICE_BYTES))))
    seconds = [
        sum(predict(engine, ranks, size, 0.0, cluster=cluster, slices=n, group=10**9).values()) for n in (best, other)
    ]
    assert seconds[0] <= 1.15 * seconds[1]


def test_slices_are_worth_what_they_bring():
    """One core adds up and updates what several could; a message, a task and a block cost what they cost."""
    many = Cluster(hosts=16, cores=1)
    assert best_slices("resident", 16, 100e6, cluster=many) == 16
    assert best_slices("shuffle", 16, 100e6, cluster=many) > 1
    assert best_slices("resident", 16, 100e6, Constants(message=10.0), cluster=many) == 1
    assert best_slices("shuffle", 16, 100e6, Constants(launch=10.0), cluster=many) == 1
    assert best_slices("driver", 16, 100e6, cluster=many) == 1
    # On two cores more slices than two are added up one after the other.
    assert best_slices("resident", 16, 100e6, cluster=Cluster(hosts=1, cores=2)) == 2


@given(ranks=st.integers(1, 64), size=sizes, data=st.data())
def test_all_ranks_exchange_the_same_bytes_in_any_number_of_slices(ranks, size, data):
    """On one core all messages and bytes are added up: 2 (N - 1) P bytes, whoever has the slices."""
    slices = data.draw(st.integers(1, ranks))
    found = counts("resident", ranks, size, slices, cluster=Cluster(1, 1))
    assert found["exchange_byte"] == pytest.approx(2 * (ranks - 1) * size)
    assert found["message"] == pytest.approx((ranks - 1) * (ranks + slices))


@given(factor=st.floats(0.1, 10), phase=st.sampled_from(["scheduling", "messages", "bytes", "update", "stragglers"]))
def test_scaling_a_phase_scales_its_seconds(factor, phase):
    before = predict("shuffle", 8, 5e6, 1.0)
    after = predict("shuffle", 8, 5e6, 1.0, Constants().scaled(**{phase: factor}))
    expected = {name: seconds * (factor if name == phase else 1) for name, seconds in before.items()}
    assert after == pytest.approx(expected)


def test_each_constant_can_be_scaled_and_no_other():
    for field in fields(Constants):
        assert getattr(Constants().scaled(**{field.name: 3.0}), field.name) == 3 * getattr(Constants(), field.name)
    with pytest.raises(TypeError, match="jbo"):
        Constants().scaled(jbo=2.0)


def test_choose_orders_engines_by_their_steps():
    slow = Constants(job=1.0, stage=1.0)
    found = choose(ENGINES, 2, 1e5, 0.0, constants=slow)
    assert next(iter(found)).engine == "resident"
    assert list(found.values()) == sorted(found.values())
    with pytest.raises(ValueError, match="there is no engine 'ring'"):
        choose(["ring"], 2, 1e5, 0.0)


@pytest.mark.parametrize("count", [2, 10, 448, 1024])
def test_the_expected_maximum_is_that_of_normal_numbers(count):
    normal = stats.norm
    exact, _ = integrate.quad(lambda x: x * count * normal.pdf(x) * normal.cdf(x) ** (count - 1), -10, 10)
    np.testing.assert_allclose(expected_maximum(count), exact, rtol=0.05)
