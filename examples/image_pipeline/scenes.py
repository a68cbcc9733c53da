"""Scenes to detect objects in: handwritten digits on photographs, so that all boxes are known exactly.

A scene is a pure function of a seed and its number. Executors compose them and write them as JPEGs into Parquet.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from examples.command import without_pandas_warning

SIZE = 128  # height and width of a scene
MOST = 6  # digits of a scene
SIDES = (26, 58)  # the height of a digit's ink, or its width if that is larger
GAP = 3  # pixels between two digits
INK = 0.3  # of 1: what belongs to a digit's box
SCHEMA = "scene bigint, image binary, boxes array<array<float>>, labels array<int>"


@dataclass(frozen=True)
class Material:
    """What scenes are made of.

    Attributes:
      digits: images of digits, uint8, white on black, each cut to its ink.
      labels: which digit each is.
      photographs: (height, width, 3) uint8, both at least SIZE.
    """

    digits: tuple[np.ndarray, ...]
    labels: np.ndarray
    photographs: tuple[np.ndarray, ...]


#: Photographs of which no part is in a training scene; two of one subject are on one side.
HELD_OUT = ("aloeL", "baboon", "board", "fruits", "home", "stuff")
EVERY = 5  # one of so many digits is held out


def materials() -> tuple[Material, Material]:
    """What training scenes are made of, and what test scenes are made of: no digit and no photograph is in both.

    The digits are those of MNIST and of OpenCV.

    Raises:
      DataError: the data cannot be had.
    """
    from examples.data import pictures

    images, labels = pictures.mnist()
    mnist = [cut(np.rint(image * 255).astype(np.uint8)) for image in images]
    others, more = pictures.handwritten_digits()
    digits, labels = [*mnist, *map(cut, others)], np.concatenate([labels, more])
    photographs = {name: shrunk(photograph) for name, photograph in pictures.photographs().items()}
    made = []
    for test in (False, True):
        mine = np.flatnonzero((np.arange(len(digits)) % EVERY == 0) == test)
        pixels = tuple(photo for name, photo in photographs.items() if (name in HELD_OUT) == test)
        made.append(Material(tuple(digits[n] for n in mine), labels[mine], pixels))
    return made[0], made[1]


def cut(digit: np.ndarray) -> np.ndarray:
    """The part of an image that has ink."""
    rows, columns = (np.flatnonzero((digit >= INK * 255).any(axis=axis)) for axis in (1, 0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def shrunk(photograph: np.ndarray, shortest: int = 2 * SIZE) -> np.ndarray:
    """A photograph whose shorter side has at most so many pixels."""
    from PIL import Image

    height, width = photograph.shape[:2]
    scale = min(1.0, shortest / min(height, width))
    return np.asarray(Image.fromarray(photograph).resize((round(width * scale), round(height * scale)), reducing_gap=3))


def compose(material: Material, seed: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A scene.

    Args:
      material: what it is made of.
      seed, number: what it depends on.

    Returns:
      Pixels (SIZE, SIZE, 3) uint8; boxes (n, 4) float32, left, top, right, bottom of the ink as shares of the scene;
      digits (n,) int32, n from 1 to MOST.
    """
    rng = np.random.default_rng([seed, number])
    scene = background(material, rng)
    taken, labels = list[tuple[int, int, int, int]](), list[int]()
    wanted = int(rng.integers(1, MOST + 1))
    for _ in range(4 * wanted):
        if len(taken) == wanted:
            break
        which = int(rng.integers(len(material.digits)))
        ink = enlarged(material.digits[which], int(rng.integers(SIDES[0], SIDES[1] + 1)))
        height, width = ink.shape
        top, left = int(rng.integers(0, SIZE - height + 1)), int(rng.integers(0, SIZE - width + 1))
        box = (left, top, left + width, top + height)
        if any(meet(box, other) for other in taken):
            continue
        draw(scene[top : top + height, left : left + width], ink, rng)
        taken.append(box)
        labels.append(int(material.labels[which]))
    boxes = np.array(taken, np.float32) / np.float32(SIZE)
    return np.rint(scene).astype(np.uint8), boxes, np.array(labels, np.int32)


def background(material: Material, rng: np.random.Generator) -> np.ndarray:
    """A part of a photograph, maybe mirrored: float32."""
    from PIL import Image

    photograph = material.photographs[int(rng.integers(len(material.photographs)))]
    side = int(rng.integers(SIZE, min(photograph.shape[:2]) + 1))
    top, left = (int(rng.integers(0, extent - side + 1)) for extent in photograph.shape[:2])
    part = Image.fromarray(photograph[top : top + side, left : left + side]).resize((SIZE, SIZE))
    pixels = np.asarray(part, np.float32)
    return pixels[:, ::-1].copy() if rng.integers(2) else pixels.copy()


def enlarged(digit: np.ndarray, side: int) -> np.ndarray:
    """A digit whose longer side has so many pixels, cut to its ink once more: float32, 1 where the ink is full."""
    from PIL import Image

    height, width = digit.shape
    scale = side / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return cut(np.asarray(Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC))).astype(np.float32) / 255


def meet(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    """Whether two boxes have less than the gap between them."""
    return a[0] < b[2] + GAP and b[0] < a[2] + GAP and a[1] < b[3] + GAP and b[1] < a[3] + GAP


def draw(region: np.ndarray, ink: np.ndarray, rng: np.random.Generator) -> None:
    """Put a digit on a region of a scene, in a colour that stands out."""
    mean = float(region.mean())
    lighter = mean < 128 if abs(mean - 128) > 40 else bool(rng.integers(2))
    low, high = (mean + 90, 330.0) if lighter else (-75.0, mean - 90)
    colour = np.clip(rng.uniform(low, max(high, low + 1), 3), 0, 255)
    share = np.clip(ink[..., None] * 1.2, 0, 1)
    region += share * (colour.astype(np.float32) - region)


def jpeg(pixels: np.ndarray, quality: int = 90) -> bytes:
    """Pixels as a JPEG."""
    from PIL import Image

    made = io.BytesIO()
    Image.fromarray(pixels).save(made, "JPEG", quality=quality)
    return made.getvalue()


def composing(material: Material, seed: int) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that makes rows of scenes of record batches of their numbers."""

    def rows(batches):
        for batch in batches:
            numbers = batch["id"].to_pylist()
            found = [compose(material, seed, number) for number in numbers]
            columns = [numbers, *([of[n] for of in found] for n in range(3))]
            columns[1] = [jpeg(pixels) for pixels in columns[1]]
            kinds = (pa.int64(), pa.binary(), pa.list_(pa.list_(pa.float32())), pa.list_(pa.int32()))
            lists = [columns[0], columns[1], [boxes.tolist() for boxes in columns[2]], columns[3]]
            arrays = [pa.array(column, kind) for column, kind in zip(lists, kinds, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, ["scene", "image", "boxes", "labels"])

    return rows


def write_scenes(
    spark: Any, material: Material, seed: int, first: int, count: int, path: str, partitions: int | None = None
) -> Any:
    """Compose scenes on the executors and write them as Parquet.

    Args:
      spark: the session.
      material: what they are made of.
      seed: of the scenes.
      first: the number of the first one.
      count: how many.
      path: of the folder, which all workers see; what is there is replaced.
      partitions: files; None leaves them to Spark.

    Returns:
      The DataFrame that reads them: scene (number), image (JPEG), boxes (lists of four shares), labels.
    """
    with without_pandas_warning():
        numbers = spark.range(first, first + count, numPartitions=partitions)
        numbers.mapInArrow(composing(material, seed), SCHEMA).write.mode("overwrite").parquet(path)
    return spark.read.schema(SCHEMA).parquet(path)
