"""A small data set in the place of ImageNet: parts of photographs, of which the photograph is to be found.

The right third of each photograph is held out: training images are parts of the left two thirds, validation images
parts of what no training image has seen.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from examples.imagenet.convert import SCHEMA

HELD_OUT = 1 / 3  # of the width
SMALLEST, LARGEST = 0.25, 0.45  # sides of parts, over the height of the photograph; the held-out part has room for them
MOST_PIXELS = 160  # of a side, when it is written
QUALITY = 90
ROW_GROUP = 100


def write(photographs: Mapping[str, np.ndarray], folder: Path, *, train: int, val: int, seed: int = 0) -> None:
    """Write two Parquet files of JPEGs, train/part-0.parquet and val/part-0.parquet, and the names of the classes.

    Args:
      photographs: (height, width, 3) uint8 by name.
      folder: of the data set.
      train: parts of each photograph to train on.
      val: held-out parts of each photograph.
      seed: of their places.
    """
    rng = np.random.default_rng(seed)
    names = sorted(photographs)
    for part, count in (("train", train), ("val", val)):
        rows = [
            {"image": jpeg(cut(rng, region(photographs[name], part == "val"))), "label": label}
            for label, name in enumerate(names)
            for _ in range(count)
        ]
        path = folder / part / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=ROW_GROUP, compression="none")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names))


def region(photograph: np.ndarray, held_out: bool) -> np.ndarray:
    """The held-out right side of a photograph, or the left one."""
    border = round(photograph.shape[1] * (1 - HELD_OUT))
    return photograph[:, border:] if held_out else photograph[:, :border]


def cut(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A square part of an image at a random place."""
    height, width = image.shape[:2]
    side = min(width, round(height * rng.uniform(SMALLEST, LARGEST)))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return image[top : top + side, left : left + side]


def jpeg(pixels: np.ndarray, most: int = MOST_PIXELS, quality: int = QUALITY) -> bytes:
    """Pixels (height, width, 3) uint8 as a JPEG file, made smaller if a side is longer than `most`."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((most, most))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()
