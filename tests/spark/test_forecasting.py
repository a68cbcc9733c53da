"""`examples.forecasting` on a series whose future is known, and its parts against plain NumPy."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from examples.forecasting.methods import Sizes, calendar, filled, naive, standardised
from examples.forecasting.program import RECIPES, Recipe, forecast, plot, table
from examples.forecasting.series import Split, Steps, parts, statistics, steps, windows

SHORT = Steps(seconds=21_600, past=8, future=4, seasons=(4,), measured=2)  # quarters of days
SPLIT = Split("1970-02-10", "1970-02-20")
DAYS = 60


def minutes() -> pa.Table:
    """Three measurements in a quarter of a day, whose means alternate between two patterns of a day; some lack."""
    quarter = np.arange(4 * DAYS)
    value = 1 + quarter % 4 + np.where(quarter // 4 % 2, 0.0, 3.0 * (quarter % 4 == 2))
    of_minutes = (value[:, None] + np.array([-0.5, 0.0, 0.5])).ravel()
    time = (quarter[:, None] * 21_600 + np.array([0, 60, 21_540])).ravel()
    gaps = np.isin(np.arange(len(time)) // 3, (30, 31, 100)) & (np.arange(len(time)) % 3 > 0)  # one of three is left
    of_minutes[gaps | (np.arange(len(time)) == 3 * 40)] = np.nan
    column = pa.array(of_minutes, pa.float32(), from_pandas=True)
    return pa.table({"time": pa.array(time, pa.timestamp("s")), "power": column})


def test_filling_looks_back_only() -> None:
    rng = np.random.default_rng(0)
    value, there = rng.normal(size=(50, 12)).astype(np.float32), rng.random((50, 12)) < 0.6
    batch = {"value_past": np.where(there, value, 0), "measured_past": there.astype(np.float32)}
    found = np.asarray(filled(batch, 4))
    for row in range(50):
        mean = value[row][there[row]].mean()
        for step in range(12):
            before = [value[row, s] for s in range(step, -1, -4) if there[row, s]]
            assert found[row, step] == pytest.approx(before[0] if before else mean, abs=1e-6)


def test_naive_forecasts_are_those_of_a_season_before() -> None:
    value = np.arange(24, dtype=np.float32).reshape(2, 12)
    asked = Steps(1, past=12, future=6, seasons=(4, 12), measured=1)
    found = naive({"value_past": value, "measured_past": np.ones_like(value)}, asked)
    assert np.asarray(found["naive_4"])[0].tolist() == [8, 9, 10, 11, 8, 9]
    assert np.asarray(found["naive_12"])[1].tolist() == [12, 13, 14, 15, 16, 17]
    assert np.asarray(found["mean_4"])[0].tolist() == [4, 5, 6, 7, 4, 5]
    assert np.asarray(found["expected"])[0].tolist() == [2.75, 3.25, 3.75, 4.25, 4.75, 5.25]  # halfway to 5.5


def test_models_see_a_series_without_its_level() -> None:
    rng = np.random.default_rng(1)
    value = rng.normal(size=(3, 12)).astype(np.float32)
    asked = Steps(1, past=12, future=2, seasons=(4,), measured=1)
    low, high = (
        np.asarray(standardised({"value_past": v, "measured_past": np.ones_like(v)}, asked, {"deviation": 2.0}))
        for v in (value, value + 5)
    )
    assert np.abs(high - low).max() < 1e-5
    assert low == pytest.approx((value - value[:, -4:].mean(1, keepdims=True)) / 2, abs=1e-6)


def test_the_calendar_has_the_period_of_day_and_week() -> None:
    hours = np.arange(400_000, 400_000 + 2 * 168, dtype=np.int32)
    found = np.asarray(calendar(hours, RECIPES["hourly"].asked))
    angle = 2 * np.pi * (hours % 24) / 24
    assert np.abs(found[:, 0] - np.sin(angle)).max() < 1e-5 and np.abs(found[:, 1] - np.cos(angle)).max() < 1e-5
    assert np.abs(found[:168, :4] - found[168:, :4]).max() < 1e-5
    assert calendar(hours, RECIPES["daily"].asked).shape[-1] == 4


def test_steps_windows_and_errors_of_a_run(spark, tmp_path: Path) -> None:
    series = steps(spark, minutes(), "power", SHORT)
    rows = sorted(map(tuple, series.collect()))
    assert [row[0] for row in rows] == list(range(4 * DAYS))
    assert [row[0] for row in rows if not row[2]] == [30, 31, 100]
    assert all(value == 0 for _, value, there in rows if not there)
    assert rows[40][1] == pytest.approx(4 * 0 + 1 + 40 % 4 + 3.0 * (40 % 4 == 2) + 0.25)  # the mean of the two left
    cut = windows(series, SHORT).cache()
    trained, validated, tested = (part.select("step").collect() for part in parts(cut, SHORT, SPLIT))
    ends = [SHORT.of(SPLIT.train), SHORT.of(SPLIT.validation)]
    assert [row["step"] for row in trained] == list(range(8, ends[0] - 3))
    assert [row["step"] for row in validated] == list(range(ends[0], ends[1] - 3))
    assert [row["step"] for row in tested] == list(range(ends[1], 4 * DAYS - 3))

    known = statistics(series, SHORT, SPLIT)
    value = np.array([value if there else np.nan for _, value, there in rows[: ends[0]]])
    assert known["mean"] == pytest.approx(np.nanmean(value)) and known["deviation"] == pytest.approx(np.nanstd(value))
    assert known["naive"] == pytest.approx(np.nanmean(np.abs(value[4:] - value[:-4])))

    recipe = Recipe(SHORT, Sizes(2, 16, 4), epochs=3, rate=3e-3, rows=64)
    result = forecast(spark, minutes(), recipe, column="power", split=SPLIT, partitions=1, shards=2)
    errors = result.errors
    assert errors["naive_4"]["mase"] == pytest.approx(1, rel=0.15)  # the two patterns alternate in the test, too
    validated = {
        name: [epoch["validation"]["loss"] for epoch in run.history.epochs] for name, run in result.runs.items()
    }
    assert validated["linear"][-1] < validated["linear"][0]
    assert all(run.best.value == min(validated[name]) for name, run in result.runs.items())
    assert len(errors["tcn"]["by_step"]) == 4 and result.months["month"] == ["1970-02", "1970-03"]
    assert "N-BEATS" in table(result)
    plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
