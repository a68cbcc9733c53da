"""The figure: scenes with what is seen in them, and below objects with their nearest neighbours."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from examples.image_pipeline.program import Result
from examples.image_pipeline.scenes import SIZE
from examples.image_pipeline.task import SIDE

QUERIES, NEIGHBOURS = 8, 8
TRUE, RIGHT, WRONG = "white", "#2ca02c", "#d62728"


def plot(result: Result, path: str | Path) -> None:
    """Save the figure.

    Args:
      result: of `program.build`.
      path: of the file.
    """
    from matplotlib.figure import Figure
    from PIL import Image

    scenes, seen = result.pictures["scenes"], result.pictures["objects"]
    gallery = {row.object: row for row in result.pictures["gallery"]}
    figure = Figure(figsize=(12, 10.5), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(3.2, 7.3))
    upper, lower = parts
    for axes, scene in zip(upper.subplots(1, len(scenes), squeeze=False)[0], scenes, strict=True):
        axes.imshow(np.asarray(Image.open(io.BytesIO(scene.image))))
        axes.set_axis_off()
        axes.set_title(f"scene {scene.scene}", fontsize=9)
        for row in seen:
            if row.scene == scene.scene:
                _box(axes, row.box, f"{row.digit}  {row.score:.2f}", RIGHT)
    upper.suptitle("Held-out scenes: digits detected, with their scores", fontsize=11)
    chosen = _chosen(seen)
    grid = lower.subplots(max(2, len(chosen)), NEIGHBOURS + 1, squeeze=False)
    for line, row in zip(grid, chosen, strict=False):
        _crop(line[0], row.crop, f"query: {row.digit}", "black")
        for axes, number, distance in zip(line[1:], row.neighbour, row.distance, strict=False):
            near = gallery[number]
            _crop(axes, near.crop, f"{near.digit}   {distance} bits", RIGHT if near.digit == row.digit else WRONG)
    for axes in grid.ravel():
        axes.set_axis_off()
    lower.suptitle("Crops of objects and their nearest neighbours in the gallery, by Hamming distance", fontsize=11)
    figure.savefig(path, dpi=130)


def _chosen(seen: list[Any]) -> list[Any]:
    """Objects of as many digits as there are, then others."""
    first = {row.digit: row for row in reversed(seen)}
    rest = [row for row in seen if first[row.digit] is not row]
    return [*(first[digit] for digit in sorted(first)), *rest][:QUERIES]


def _box(axes: Any, box: Any, text: str, colour: str) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = (SIZE * side for side in box)
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, linewidth=1.6))
    axes.text(left, max(top - 1.5, 4), text, color="white", fontsize=7, va="bottom", clip_on=True,
              bbox={"facecolor": colour, "pad": 1, "linewidth": 0})  # fmt: skip


def _crop(axes: Any, crop: bytes, text: str, colour: str) -> None:
    axes.imshow(np.frombuffer(crop, np.uint8).reshape(SIDE, SIDE, 3))
    axes.set_title(text, fontsize=8, color=colour)
