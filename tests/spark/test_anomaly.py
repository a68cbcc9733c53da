"""`examples.anomaly`: alarms and events counted by hand, and a series whose unusual days are known."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from examples.anomaly.events import curve, detect, threshold
from examples.anomaly.program import BASELINE, LSTM, anomalies, plot, table
from examples.anomaly.scores import DAY, Split, scaled, seasonal


def test_alarms_within_a_day_are_one() -> None:
    scores = np.zeros(400)
    scores[[10, 20, 68, 117, 200, 300]] = [3, 3, 3, 3, 5, 4]  # 68 is 48 steps after 20, 117 is 49 after 68
    events = [(np.arange(400) >= a) & (np.arange(400) < b) for a, b in ((190, 210), (290, 310), (350, 360))]
    found = detect(scores, 2, events)
    assert found.events == [True, True, False] and found.false == [10, 117]
    assert found.recall == pytest.approx(2 / 3) and found.precision == pytest.approx(0.5)
    assert detect(scores, 9, events).precision == 1
    assert curve(scores, events) == [0, 0, 1]  # the third event scores 0: with all of it above, nothing ends an alarm


def test_scores_are_in_units_of_what_is_usual() -> None:
    rng = np.random.default_rng(0)
    hours = np.arange(20 * DAY) % DAY
    errors = rng.normal(size=len(hours)) * (1 + hours)
    found = scaled(errors, hours, np.ones(len(hours), bool))
    for hour in (0, 17, 47):
        assert np.mean(found[hours == hour] ** 2) == pytest.approx(1)
    slots = np.arange(8 * 336) % 336
    values = slots + rng.normal(size=len(slots))
    score = seasonal(values, slots, np.ones(len(slots), bool))
    one = values[slots == 5]
    assert score[slots == 5] == pytest.approx(np.abs(one - one.mean()) / one.std())


def test_thresholds_are_quantiles_beyond_what_was_seen() -> None:
    rng = np.random.default_rng(2)
    found = [threshold(rng.exponential(size=20_000), 1e-5) for _ in range(20)]
    assert np.median(found) == pytest.approx(-np.log(1e-5), rel=0.1)  # a sample of 20,000 ends near 10


def test_unusual_days_are_found(spark, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    time = np.arange(65 * DAY) * 1800 + int(np.datetime64("2014-07-28", "s").astype(int))
    count = 10_000 + 4_000 * np.sin(2 * np.pi * np.arange(65 * DAY) / DAY) + 300 * rng.normal(size=65 * DAY)
    count[60 * DAY : 60 * DAY + 20] *= 0.3
    series = pa.table({"time": pa.array(time, pa.timestamp("s")), "count": count.astype(np.int32)})
    events = {"storm": ("2014-09-26T00:00", "2014-09-26T12:00")}
    split = Split("2014-09-19", "2014-09-24")
    result = anomalies(spark, series, events, split=split, epochs=2, partitions=1, shards=2)
    assert result.found[LSTM].events == result.found[BASELINE].events == [True]
    assert result.windows == 53 * DAY - 50
    assert np.isnan(result.forecasts[:50]).all() and not np.isnan(result.forecasts[50:]).any()
    assert "seasonal" in table(result)
    plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
