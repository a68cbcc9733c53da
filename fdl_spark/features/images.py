"""Encoded images become arrays, through Pillow."""

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from fdl_spark.data.columns import BadColumn
from fdl_spark.errors import ArgumentError
from fdl_spark.features.column_encoder import Arrays, OneColumn
from fdl_spark.features.reading import Batch

SPARK_IMAGE = ("origin", "height", "width", "nChannels", "mode", "data")  # the fields of Spark's image data source
BYTES_OF = {1: "L", 3: "BGR", 4: "BGRA"}  # by the number of its channels
CORRUPT = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, struct.error)


def pillow() -> Any:
    """Pillow's Image, which is loaded when the first image is."""
    try:
        from PIL import Image
    except ImportError:
        raise ArgumentError(
            "features.image needs Pillow on the driver and wherever images are decoded: pip install 'fdl[images]'"
        ) from None
    return Image


def image(
    column: str,
    output: str | None = None,
    *,
    height: int,
    width: int,
    mode: Literal["rgb", "grey"] = "rgb",
    fit: Literal["stretch", "crop"] = "crop",
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear",
    dtype: Literal["uint8", "float32"] = "float32",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    on_error: Literal["raise", "zeros"] = "raise",
) -> "Image":
    """Encoded images (PNG, JPEG and all that Pillow decodes) as arrays of one size, channels last.

    Args:
      column: a column of binary, or of images of Spark's image data source.
      output: the name of the array [rows, height, width, 3 or 1]; None means the column's.
      height: in pixels.
      width: in pixels.
      mode: the channels, "rgb" or "grey" (ITU-R 601-2 luma). Transparency is dropped, 16 bits become 8.
      fit: "crop" scales an image, its shape kept, until it covers height and width, and takes the centre; "stretch"
        scales each side by itself.
      filter: of Pillow, with which an image is scaled.
      dtype: "float32" gives numbers from 0 to 1, "uint8" from 0 to 255.
      mean: of each channel, subtracted from the numbers from 0 to 1; float32 only.
      std: of each channel, by which they are divided then; float32 only.
      on_error: "raise" makes an error of a null and of what Pillow cannot decode; "zeros" makes zeros of it, and there
        is another array, "NAME_mask", that is False there.

    >>> encoder = image("photo", height=2, width=2, dtype="uint8", on_error="zeros")
    >>> encoder.outputs
    ('photo', 'photo_mask')
    """
    return Image(column, output, height, width, mode, fit, filter, dtype, mean, std, on_error)


@dataclass(frozen=True, repr=False)
class Image(OneColumn, kind="image"):
    height: int
    width: int
    mode: Literal["rgb", "grey"]
    fit: Literal["stretch", "crop"]
    filter: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
    dtype: Literal["uint8", "float32"]
    mean: Sequence[float] | None
    std: Sequence[float] | None
    on_error: Literal["raise", "zeros"]

    def check(self) -> None:
        self.require(self.height >= 1 and self.width >= 1, f"no image has size {self.height} x {self.width}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            self.require(
                values is None or (self.dtype == "float32" and len(values) == self.channels),
                f"{name} must have {self.channels} numbers, one for each channel, and dtype must be float32",
            )
        self.require(all(value > 0 for value in self.std or ()), "std must be greater than 0")

    @property
    def channels(self) -> int:
        """How many numbers a pixel has."""
        return 3 if self.mode == "rgb" else 1

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name, self.mask) if self.on_error == "zeros" else (self.name,)

    def encode(self, batch: Batch) -> Arrays:
        column = batch[self.column]
        if pa.types.is_null(column.type):
            column = column.cast(pa.binary())
        raw = pa.types.is_struct(column.type) and {field.name for field in column.type} >= set(SPARK_IMAGE)
        if not raw and not pa.types.is_binary(column.type) and not pa.types.is_fixed_size_binary(column.type):
            raise BadColumn(self.column, f"{column.type} is no encoded image, which is binary", 0)
        open_image = _raw if raw else _decoded
        images = np.zeros((len(column), self.height, self.width, self.channels), self.dtype)
        mask = np.ones(len(column), bool)
        for row, value in enumerate(column):
            content = value.as_py()
            try:
                if content is None:
                    raise ValueError("null")
                images[row] = self._array(open_image(content))
            except (*CORRUPT, pillow().DecompressionBombError) as error:
                if self.on_error == "raise":
                    text = "null" if content is None else f"no image that Pillow decodes ({error})"
                    raise BadColumn(self.column, f'{text}; on_error="zeros" makes zeros of it', row) from None
                mask[row] = False
        return {self.name: images} | ({self.mask: mask} if self.on_error == "zeros" else {})

    def _array(self, picture: Any) -> np.ndarray:
        picture = picture.convert("RGB" if self.mode == "rgb" else "L")
        box, (width, height) = None, picture.size
        if self.fit == "crop":
            scale = min(width / self.width, height / self.height)
            left, top = (width - scale * self.width) / 2, (height - scale * self.height) / 2
            box = (left, top, left + scale * self.width, top + scale * self.height)
        picture = picture.resize((self.width, self.height), pillow().Resampling[self.filter.upper()], box)
        pixels = np.asarray(picture).reshape(self.height, self.width, self.channels)
        if self.dtype == "uint8":
            return pixels
        values = pixels / 255.0
        if self.mean is not None:
            values = values - np.array(self.mean)
        if self.std is not None:
            values = values / np.array(self.std)
        return values.astype(np.float32)


def _decoded(content: bytes) -> Any:
    picture = pillow().open(io.BytesIO(content))
    picture.load()
    if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        return pillow().fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return picture


def _raw(content: dict[str, Any]) -> Any:
    """An image of Spark's data source: rows of pixels, blue first."""
    size, channels = (content["width"], content["height"]), content["nChannels"]
    if channels not in BYTES_OF:
        raise ValueError(f"{channels} channels of mode {content['mode']}")
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    return pillow().frombytes(mode, size, content["data"], "raw", BYTES_OF[channels])
