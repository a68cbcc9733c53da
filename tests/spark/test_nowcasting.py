"""`examples.nowcasting`: its rain, optical flow and measures against what is known, and a run in a made-up wind."""

from pathlib import Path

import numpy as np
import pytest

import fdl
from examples.data.winds import Winds
from examples.nowcasting.flow import extrapolate, motion
from examples.nowcasting.program import Recipe, animate, nowcast, plot, table
from examples.nowcasting.skill import LEVELS, METHODS, calibrate, corrected, skill, ssim, start, sums
from examples.nowcasting.weather import Sky, nested, noise, sequence, wind_at
from fdl.models import conv_lstm

SKY = Sky(size=16, frames=3, wet=0.4)


def winds(east: float, north: float) -> Winds:
    """The same wind everywhere, in two months."""
    latitude, longitude = np.linspace(-90, 90, 73), np.linspace(20, 377.5, 144)
    everywhere = np.ones((2, 73, 144), np.float32)
    return Winds(everywhere * np.float32(east), everywhere * np.float32(north), latitude, longitude)


def test_motion_is_the_wind_in_pixels() -> None:
    found = wind_at(winds(10, -5), 0, 50, 100, SKY)  # 10 m/s for half an hour are 18 km: 3 pixels of 6 km
    assert found.shape == (2, 16, 16)
    assert np.abs(found[0] - 1.5).max() < 1e-6 and np.abs(found[1] - 3).max() < 1e-6  # down is south


def test_rain_is_carried_by_the_wind() -> None:
    sky = Sky(size=24, frames=2, pixel=6000, kept=1.0)  # nothing is renewed
    made = sequence(np.random.default_rng(0), winds(20 / 3, 0), sky)  # two pixels to the east
    assert made.shape == (4, 24, 24) and made.dtype == np.float32
    assert np.abs(made[1][:, 2:] - made[0][:, :-2]).max() < 1e-5
    assert np.abs(made[3][:, 6:] - made[0][:, :-6]).max() < 1e-5


def test_noise_has_the_spectrum_that_is_asked_for() -> None:
    sky = Sky(size=32)
    power = np.mean([np.abs(np.fft.fft2(noise(np.random.default_rng(n), sky))[0]) ** 2 for n in range(200)], axis=0)
    waves = np.arange(3, 25)
    fitted = np.polyfit(np.log(waves), np.log(power[waves]), 1)[0]
    assert fitted == pytest.approx(-sky.slope, abs=0.2)


@pytest.mark.parametrize("shift", [(1.0, -2.0), (0.0, 2.5), (-0.5, 0.5)])
def test_optical_flow_finds_a_shift(shift: tuple[float, float]) -> None:
    down, right = np.mgrid[:40, :40].astype(float)
    pictures = np.stack([
        0.5 + 0.3 * np.sin((down - n * shift[0]) / 3) * np.cos((right - n * shift[1]) / 4) for n in range(4)
    ])  # fmt: skip
    found = motion(pictures)
    middle = found[:, 10:-10, 10:-10]
    assert np.abs(middle - np.array(shift)[:, None, None]).max() < 0.25
    ahead = extrapolate(pictures[-1], found, 2)
    truth = 0.5 + 0.3 * np.sin((down - 5 * shift[0]) / 3) * np.cos((right - 5 * shift[1]) / 4)
    error = np.abs(ahead[1] - truth)[10:-10, 10:-10].mean()
    assert error < 0.4 * np.abs(pictures[-1] - truth)[10:-10, 10:-10].mean()


def test_ssim_is_the_formula_in_float64() -> None:
    rng = np.random.default_rng(3)
    x = rng.random((2, 15, 13))
    y = np.clip(x + 0.2 * rng.normal(size=x.shape), 0, 1)
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    weight = np.outer(line, line) / line.sum() ** 2
    values = []
    for down in range(5):
        for right in range(3):
            a, b = (z[:, down : down + 11, right : right + 11] for z in (x, y))
            ma, mb = ((weight * z).sum((1, 2)) for z in (a, b))
            va, vb, ab = ((weight * z).sum((1, 2)) - m for z, m in ((a * a, ma**2), (b * b, mb**2), (a * b, ma * mb)))
            values.append((2 * ma * mb + 1e-4) * (2 * ab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    found = np.asarray(ssim(x.astype(np.float32), y.astype(np.float32)))
    assert found == pytest.approx(np.mean(values, axis=0), abs=1e-5)
    assert np.asarray(ssim(x.astype(np.float32), x.astype(np.float32))) == pytest.approx(1, abs=1e-6)


def random_batch() -> tuple[conv_lstm.Config, dict[str, np.ndarray]]:
    rng = np.random.default_rng(4)
    config = conv_lstm.Config((2,), 3, 4, 12, 3, 3, guided=True)
    return config, {name: rng.random((4, 3, 12, 12)).astype(np.float32) for name in ("frames", "next", "flow")}


def test_skill_is_that_of_all_pixels() -> None:
    config, batch = random_batch()
    params = start(fdl.random.key(0), config)
    levels = {name: np.full((2, 3), 0.3, np.float32) for name in METHODS}
    _, means = sums(params, batch, config=config, levels=levels)
    found = skill({name: float(value) for name, value in means.items()}, 3)
    assert found["flow"]["MSE"] == pytest.approx(((batch["flow"] - batch["next"]) ** 2).mean((0, 2, 3)), rel=1e-5)
    said, seen = batch["frames"][:, -1:] >= 0.3, batch["next"] >= 0.5
    csi = (said & seen).sum((0, 2, 3)) / (said | seen).sum((0, 2, 3))
    assert found["persistence"]["CSI of 0.5"] == pytest.approx(csi, rel=1e-5)


def test_an_untrained_network_forecasts_as_optical_flow_does() -> None:
    config, batch = random_batch()
    assert (np.asarray(corrected(start(fdl.random.key(0), config), batch, config=config)) == batch["flow"]).all()


def test_levels_of_rain_are_the_best_ones() -> None:
    config, batch = random_batch()
    batch["flow"] = 0.5 * batch["next"] ** 2  # in the order of the truth: 0.5 becomes 0.125, and 0.2 becomes 0.02
    found = calibrate(start(fdl.random.key(0), config), batch, config=config)
    for row, level in zip(np.asarray(found["flow"]), (0.02, 0.125), strict=True):
        assert np.abs(row - level).max() < np.diff(LEVELS)[0]
    said = batch["frames"][:, -1:, None] >= LEVELS[:, None, None]
    seen = batch["next"][:, :, None] >= 0.5
    csi = (said & seen).sum((0, 3, 4)) / (said | seen).sum((0, 3, 4))
    chosen = np.searchsorted(LEVELS, np.asarray(found["persistence"])[1])
    assert np.take_along_axis(csi, chosen[:, None], 1)[:, 0] == pytest.approx(csi.max(1), rel=1e-6)


def test_nested_lists_hold_the_array() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    assert nested(array).to_pylist() == array.tolist()


def test_a_run_compares_the_methods(spark, tmp_path: Path) -> None:
    recipe = Recipe(sky=SKY, layers=(4,), train=24, tune=4, test=8, rows=8, rate=0.02, epochs=2)
    result = nowcast(spark, winds(6, 3), recipe, partitions=1, shards=2)
    losses = [step["loss"] for step in result.run.history.steps]
    assert losses[-1] < losses[0]
    for name in METHODS:
        assert all(len(values) == 3 for values in result.skill[name].values())
    assert np.mean(result.skill["flow"]["MSE"]) < np.mean(result.skill["persistence"]["MSE"])
    assert "optical flow" in table(result)
    plot(result, tmp_path / "plot.png")
    animate(result, tmp_path / "moving.gif")
    assert min(path.stat().st_size for path in tmp_path.iterdir()) > 5_000
