"""Rain that real winds carry, with showers that grow and decay: what stands in for radar.

The winds are monthly means over the earth (`examples.data.winds`), each sequence at another place in another month. The
rain is a Gaussian random field with the spectrum of a power law, of which the highest values are wet. It moves with
the wind, each point along its own path, and is renewed on the way: an autoregression in coordinates that move along, as
in the S-PROG and STEPS models of rain (Seed, 2003; Bowler, Pierce and Seed, 2006).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.ndimage import map_coordinates

from examples.command import without_pandas_warning
from examples.data.winds import Winds

METRES_OF_DEGREE = 111_195.0  # of latitude, on a sphere


@dataclass(frozen=True)
class Sky:
    """What a sequence of pictures is like.

    Attributes:
      size: pixels of height and width.
      frames: pictures that are seen, and as many that are forecast.
      pixel: metres.
      seconds: between pictures.
      kept: the correlation of a moving point with itself a picture later; the rest is new.
      slope: of the power spectrum of the rain.
      wet: the share of the area where it rains, on average.
    """

    size: int = 32
    frames: int = 10
    pixel: float = 6000.0
    seconds: float = 1800.0
    kept: float = 0.985
    slope: float = 3.2
    wet: float = 0.35


def wind_at(winds: Winds, month: int, latitude: float, longitude: float, sky: Sky) -> np.ndarray:
    """Motion around a place, (2, size, size): pixels down (south) and right (east) from one picture to the next.

    NaN where there is no wind in the data.
    """
    across = (np.arange(sky.size) - (sky.size - 1) / 2) * sky.pixel / METRES_OF_DEGREE
    rows = (latitude - across - winds.latitude[0]) / 2.5
    columns = (longitude + across / np.cos(np.radians(latitude)) - winds.longitude[0]) / 2.5
    where = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    north, east = (map_coordinates(part[month], where, order=1, mode="nearest") for part in (winds.north, winds.east))
    return np.stack([-north, east]) * sky.seconds / sky.pixel


def noise(rng: np.random.Generator, sky: Sky) -> np.ndarray:
    """A Gaussian random field of mean 0 and variance 1, (2 size, 2 size), periodic."""
    size = 2 * sky.size
    wave = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) * size
    amplitude = np.where(wave > 0, np.maximum(wave, 1.0) ** (-sky.slope / 2), 0)
    amplitude[wave < 2] = 0  # nothing as large as the whole field, which would rain everywhere or nowhere
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(size, size))) * amplitude, (size, size))
    return field / field.std()


def sequence(rng: np.random.Generator, winds: Winds, sky: Sky) -> np.ndarray:
    """Pictures of rain, (2 frames, size, size) float32 from 0 (dry) to 1.

    Args:
      rng: decides place, month and rain.
      winds: monthly means.
      sky: what the pictures are like.
    """
    motion = np.full((2, sky.size, sky.size), np.nan)
    while np.isnan(motion).any():
        month, latitude = int(rng.integers(len(winds.east))), rng.uniform(-60, 60)
        motion = wind_at(winds, month, latitude, rng.uniform(winds.longitude[0] + 10, winds.longitude[-1] - 10), sky)
    here = np.mgrid[: sky.size, : sky.size].astype(float)
    field, moved, found = noise(rng, sky), np.zeros_like(here), []
    dry = NormalDist().inv_cdf(1 - sky.wet)  # the value that as much of a normal distribution is above
    for _ in range(2 * sky.frames):
        found.append(map_coordinates(field, here - moved, order=1, mode="grid-wrap"))
        field = sky.kept * field + np.sqrt(1 - sky.kept**2) * noise(rng, sky)
        moved = np.stack([map_coordinates(part, here - motion, order=1, mode="nearest") for part in moved]) + motion
    return np.clip((np.stack(found) - dry) / 2, 0, 1).astype(np.float32)


def sequences(spark: Any, winds: Winds, sky: Sky, count: int, seed: int) -> Any:
    """A DataFrame of sequences, made on the executors: number, frames and next, (frames, size, size) as nested lists.

    Each is a function of the seed and its number alone.

    Args:
      spark: the session.
      winds: monthly means.
      sky: what the pictures are like.
      count: of sequences.
      seed: of all of them.
    """
    tasks = min(count, 2 * spark.sparkContext.defaultParallelism)
    rows = spark.range(0, count, 1, tasks).withColumnRenamed("id", "number")
    lists = "array<array<array<float>>>"
    with without_pandas_warning():
        return rows.mapInArrow(_making(winds, sky, seed), f"number bigint, frames {lists}, next {lists}")


def _making(winds: Winds, sky: Sky, seed: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def make(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for start in range(0, len(batch), 64):
                numbers = batch["number"][start : start + 64]
                made = np.stack([sequence(np.random.default_rng([seed, n.as_py()]), winds, sky) for n in numbers])
                parts = [nested(made[:, : sky.frames]), nested(made[:, sky.frames :])]
                yield pa.RecordBatch.from_arrays([numbers, *parts], ["number", "frames", "next"])

    return make


def nested(array: np.ndarray) -> pa.Array:
    """An array of several axes as lists of lists."""
    found: pa.Array = pa.array(np.ascontiguousarray(array).ravel())
    for length in array.shape[:0:-1]:
        offsets = np.arange(0, len(found) + 1, length, dtype=np.int32)
        found = pa.ListArray.from_arrays(pa.array(offsets), found)
    return found
