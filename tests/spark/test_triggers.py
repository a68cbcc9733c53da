"""Triggers as a small model: when they fire is what a list comprehension says, and groups end wherever they can."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fdl_spark
from fdl import optim
from fdl_spark import every, when
from fdl_spark.training.triggers import NEVER, Every, Moment, Observation

COUNTS = st.one_of(
    st.integers(1, 7).map(lambda n: (every(steps=n), lambda s, e: s % n == 0)),
    st.integers(1, 3).map(lambda n: (every(epochs=n), lambda s, e: s % (n * e) == 0)),
    st.integers(1, 40).map(lambda n: (when(step=n), lambda s, e: s >= n)),
    st.integers(1, 4).map(lambda n: (when(epoch=n), lambda s, e: s >= n * e)),
)
COMPOSED = st.recursive(
    COUNTS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: (p[0][0] | p[1][0], lambda s, e: p[0][1](s, e) or p[1][1](s, e))),
        st.tuples(inner, inner).map(lambda p: (p[0][0] & p[1][0], lambda s, e: p[0][1](s, e) and p[1][1](s, e))),
    ),
    max_leaves=5,
)


@given(COMPOSED, st.integers(1, 9))
def test_it_fires_as_a_list_comprehension_says(case, epoch_steps):
    trigger, model = case
    expected = [step for step in range(1, 61) if model(step, epoch_steps)]
    assert trigger.steps_of(epoch_steps=epoch_steps, until=60) == expected
    assert not trigger.open and not trigger.watches


@given(COMPOSED, st.integers(1, 9), st.integers(0, 50))
def test_a_group_never_passes_a_step_at_which_it_fires(case, epoch_steps, step):
    """Nor ends before there is need, but for `|` and `&` of what fires anyway."""
    trigger, model = case
    end = trigger.ends(step, epoch_steps)
    first = next((s for s in range(step + 1, 61) if model(s, epoch_steps)), None)
    assert end > step and (first is None or end <= first)
    if "|" not in repr(trigger):
        assert first is None or end == first


def test_triggers_that_meet_far_away_are_not_looked_for_all_the_way(monkeypatch):
    """These meet after 9.8e15 steps: a group ends before, and nothing fires there."""
    calls, ends = [], Every.ends
    monkeypatch.setattr(Every, "ends", lambda *given: calls.append(given) or ends(*given))
    trigger = every(steps=9973) & every(steps=9967) & (every(steps=9949) & every(steps=9941))
    end = trigger.ends(0, 5)
    assert 9973 < end < 9973 * 9967 * 9949 * 9941 and not trigger.fires(Moment(end, 5)) and len(calls) < 1000


@given(COMPOSED, st.integers(1, 9), st.integers(0, 50))
def test_what_no_count_decides_opens_it(case, epoch_steps, step):
    """A loss beside `|` may come at any step; beside `&` only where the other can fire."""
    trigger, loss = case[0], when(loss_below=1.0)
    assert (trigger | loss).open and (trigger | loss).ends(step, epoch_steps) == trigger.ends(step, epoch_steps)
    assert not (trigger & loss).open and (loss & trigger).ends(step, epoch_steps) == trigger.ends(step, epoch_steps)
    for value in (0.5, 1.0, math.nan):
        moment = Moment(step + 1, epoch_steps, loss=value)
        assert (trigger & loss).fires(moment) == (trigger.fires(moment) and value < 1.0)
        assert (loss | trigger).fires(moment) == (trigger.fires(moment) or value < 1.0)


def test_clocks_are_read_where_groups_end():
    trigger = every(seconds=60) & every(epochs=1)
    assert trigger.ends(3, 5) == 5 and every(seconds=60).ends(3, 5) == NEVER
    assert not trigger.fires(Moment(5, 5, since=59.0)) and trigger.fires(Moment(5, 5, since=60.0))
    assert not every(seconds=60).fires(Moment(5, 5, since=60.0, ended=False))
    assert (every(seconds=60) | when(seconds=90)).wait(since=20.0, total=80.0) == 10.0


def test_a_metric_counts_where_it_is_observed():
    trigger = when(metric="accuracy", above=0.5)
    seen = [Observation(4, {"accuracy": 0.4}), Observation(8, {"accuracy": 0.6})]
    assert [trigger.fires(Moment(step, 4, observations=seen[: step // 4])) for step in range(1, 10)] == [
        *[False] * 7, True, False,
    ]  # fmt: skip
    assert when(metric="loss", below=0.0).fires(Moment(1, 4, observations=[Observation(1, {"loss": -1.0})]))
    with pytest.raises(fdl_spark.ArgumentError, match=r"no metric 'loss' to go by; there are \['accuracy'\]"):
        when(metric="loss", above=0).fires(Moment(4, 4, observations=seen[:1]))


def early(losses, **options):
    """After how many observations it stops."""
    stopping = fdl_spark.EarlyStopping(**options)
    metric = stopping.monitor.metric
    seen = [Observation(n, {metric: value}) for n, value in enumerate(losses, 1)]
    return next((n for n in range(1, len(seen) + 1) if stopping.fires(Moment(n, 1, observations=seen[:n]))), None)


def test_early_stopping_waits_for_an_improvement():
    assert early([3, 2, 2, 1, 1, 1, 0], patience=2) == 6
    assert early([3, 2, 2, 1, 1, 1, 0], patience=3) is None
    assert early([3.0, 2.5, 2.0], patience=2, min_delta=0.5) is None  # 2.5 is none, 2.0 is one
    assert early([3.0, 2.6, 2.51], patience=2, min_delta=0.5) == 3
    assert early([0.1, 0.5, 0.4, 0.5], patience=2, metric="accuracy", mode="max") == 4
    assert early([math.nan, math.nan], patience=2) == 2
    assert early([math.nan, 2, math.nan, 1], patience=2) is None


def scales(losses, **options):
    plateau = fdl_spark.Plateau(**options)
    metric = plateau.monitor.metric
    seen = [Observation(n, {metric: value}) for n, value in enumerate(losses, 1)]
    return [plateau.scale(seen[:n]) for n in range(1, len(seen) + 1)]


def test_a_plateau_reduces_after_so_many_observations_without_an_improvement():
    assert scales([2, 1, 1, 1, 1, 1], patience=2, factor=0.5) == [1, 1, 1, 0.5, 0.5, 0.25]
    assert scales([2, 1, 1, 1, 1, 1], patience=1, factor=0.5, cooldown=1) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert scales([1, 1, 1, 1], patience=1, factor=0.5, min_scale=0.3) == [1, 0.5, 0.3, 0.3]
    assert scales([1, 2, 3, 3], patience=1, factor=0.5, metric="auc", mode="max") == [1, 1, 1, 0.5]
    assert scales([1, 0.95, 0.95], patience=2, factor=0.5, min_delta=0.1) == [1, 1, 0.5]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: every(), r"steps of every\(\) must be"),
        (lambda: every(2, epochs=1), "takes one of steps, epochs and seconds"),
        (lambda: every(epochs=0), r"epochs of every\(\) must be at least 1"),
        (lambda: every(seconds=0), "greater than 0"),
        (lambda: every(seconds=math.nan), "finite number"),
        (lambda: every(epochs=1, outer=object()), "is for sync="),
        (lambda: when(), "one condition"),
        (lambda: when(step=1, epoch=2), r"not \['step', 'epoch'\]"),
        (lambda: when(metric="loss"), "together with one of above= and below="),
        (lambda: when(metric="loss", above=1, below=2), "together with one of above= and below="),
        (lambda: when(loss_below="1"), "finite number"),
        (lambda: when(step=0), "at least 1"),
        (lambda: fdl_spark.Best("accuracy"), r'"accuracy"|accuracy.* needs mode="min" or mode="max"'),
        (lambda: fdl_spark.Best("accuracy", mode="up"), "mode of Best must be one of"),
        (lambda: fdl_spark.EarlyStopping(patience=0), "patience of EarlyStopping must be at least 1"),
        (lambda: fdl_spark.EarlyStopping(patience=1, min_delta=-1.0), "must not be negative"),
        (lambda: fdl_spark.Plateau(factor=1.0), "a factor below 1"),
    ],
)
def test_mistakes(make, text):
    with pytest.raises(fdl_spark.ArgumentError, match=text):
        make()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"validate": every(steps=2)}, "validate is for validation="),
        ({"save": every(steps=2)}, "save is for checkpoint="),
        ({"keep": 3}, "keep is for checkpoint="),
        ({"keep": 0, "checkpoint": "x"}, "keep must be at least 1"),
        ({"stop": 100}, "stop must be a trigger"),
        ({"stop": every(2, optim.sgd(1.0))}, "outer of every"),
        ({"sync": every(epochs=1)}, "must count steps"),
        ({"sync": when(step=1)}, "must count steps"),
        ({"best": 3}, "best must be a fdl_spark.Best"),
        ({"best": "accuracy"}, "needs mode="),
        ({"plateau": "loss"}, "plateau must be a fdl_spark.Plateau"),
        ({"best": "loss", "stop": fdl_spark.EarlyStopping("auc", patience=1, mode="max")}, "kept by one metric"),
        ({"validation": {}, "validate": when(metric="loss", below=1.0)}, "cannot go by a metric"),
        ({"validation": {}, "validate": every(seconds=1), "plateau": fdl_spark.Plateau()}, "let the clock decide"),
    ],
)
def test_mistakes_in_a_call(options, text):
    with pytest.raises(fdl_spark.ArgumentError, match=text):
        fdl_spark.train(len, {"w": 1.0}, {"x": [1.0]}, optimizer=optim.sgd(0.1),
                        batch_size=1, **options)  # fmt: skip
