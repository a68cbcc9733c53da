"""Optical flow and extrapolation: the baseline of nowcasting with radar.

The motion is found by local least squares over the last pictures (Lucas and Kanade, 1981), coarse to fine; the last
picture is then moved along the motion's paths, backward from each pixel (semi-Lagrangian extrapolation: Germann and
Zawadzki, 2002).
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.ndimage import gaussian_filter, map_coordinates, sobel

from examples.command import without_pandas_warning
from examples.nowcasting.weather import nested

SMOOTHING = (3.0, 1.5, 1.5, 1.0)  # of the pictures in pixels, coarse to fine: one iteration each
WINDOW = 5.0  # of the least squares, in pixels
PICTURES = 4  # the last ones, whose motion is taken to be one
LISTS = "array<array<array<float>>>"
SCHEMA = f"number bigint, frames {LISTS}, next {LISTS}, flow {LISTS}"
DAMPING = 1e-4  # towards no change, where there is nothing to be seen


def motion(pictures: np.ndarray) -> np.ndarray:
    """Pixels down and right from one picture to the next, (2, height, width).

    Args:
      pictures: (n, height, width), the last ones; n is 2 at least.
    """
    here = np.mgrid[: pictures.shape[1], : pictures.shape[2]].astype(float)
    found = np.zeros_like(here)
    for smoothing in SMOOTHING:
        smooth = [gaussian_filter(picture.astype(float), smoothing, mode="nearest") for picture in pictures]
        sums = np.zeros((5, *pictures.shape[1:]))
        for before, after in pairwise(smooth):
            inside = np.all((here - found >= 0) & (here - found <= np.array(here.shape[1:])[:, None, None] - 1), axis=0)
            moved = map_coordinates(before, here - found, order=1, mode="nearest")
            down, right = sobel(moved, axis=0, mode="nearest") / 8, sobel(moved, axis=1, mode="nearest") / 8
            change = after - moved
            terms = (down * down, down * right, right * right, down * change, right * change)
            for total, term in zip(sums, terms, strict=True):
                total += gaussian_filter(term * inside, WINDOW, mode="constant")
        dd, dr, rr, dc, rc = sums
        dd, rr = dd + DAMPING, rr + DAMPING
        found = found - np.stack([rr * dc - dr * rc, dd * rc - dr * dc]) / (dd * rr - dr * dr)
        found = np.stack([gaussian_filter(part, 2.0, mode="nearest") for part in found])
    return found


def extrapolate(picture: np.ndarray, moving: np.ndarray, count: int) -> np.ndarray:
    """The next pictures, (count, height, width), if all goes on as it moves; what comes from outside is dry.

    Args:
      picture: (height, width), the last one.
      moving: as `motion` gives it.
      count: of pictures.
    """
    here = np.mgrid[: picture.shape[0], : picture.shape[1]].astype(float)
    moved, found = np.zeros_like(here), []
    for _ in range(count):
        step = np.stack([map_coordinates(part, here - moved, order=1, mode="nearest") for part in moving])
        moved = moved + step
        found.append(map_coordinates(picture, here - moved, order=1, mode="constant"))
    return np.stack(found).astype(np.float32)


def with_flow(frame: Any) -> Any:
    """A DataFrame of sequences with the column flow: what optical flow forecasts from frames."""
    with without_pandas_warning():
        return frame.mapInArrow(_forecasting(), SCHEMA)


def _forecasting() -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def forecast(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if not len(batch):
                continue
            count = len(batch["next"][0])
            rows = [np.array(row.as_py(), np.float32) for row in batch["frames"]]
            flow = np.stack([extrapolate(row[-1], motion(row[-PICTURES:]), count) for row in rows])
            yield pa.RecordBatch.from_arrays([*batch.columns, nested(flow)], [*batch.schema.names, "flow"])

    return forecast
