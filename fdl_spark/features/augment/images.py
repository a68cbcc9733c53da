"""Images: mirrored, cut, scaled, normalised, in other colours, with holes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import fdl.numpy as fnp
from fdl import lax, random
from fdl.image import scale_and_translate
from fdl_spark.features.augment.row import RowAugmentation

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's grey
TRIES = 10  # rectangles that are drawn; the first that lies in the image is taken


def flip(column: str, *, axis: Literal["horizontal", "vertical"] = "horizontal", probability: float = 0.5) -> "Flip":
    """An image, or its mirror image.

    Args:
      column: an image [height, width, channels].
      axis: "horizontal" changes left and right, "vertical" top and bottom.
      probability: of the mirror image.

    >>> row = {"x": fnp.array([[[1.0], [2.0]]])}
    >>> flip("x", probability=1.0)(random.key(0), row)["x"][0, :, 0]
    Array([2., 1.], dtype=float32)
    """
    return Flip(column, axis, probability)


@dataclass(frozen=True, repr=False)
class Flip(RowAugmentation, kind="flip"):
    axis: Literal["horizontal", "vertical"]
    probability: float

    def check(self) -> None:
        self.require(0 <= self.probability <= 1, f"probability must be from 0 to 1, not {self.probability}")

    def changed(self, key: Any, x: Any) -> Any:
        self.image(x)
        mirrored = fnp.flip(x, 1 if self.axis == "horizontal" else 0)
        return fnp.where(random.bernoulli(key, self.probability), mirrored, x)


def crop(column: str, *, height: int, width: int, padding: int = 0, value: float = 0.0) -> "Crop":
    """A part of an image at a random place.

    Args:
      column: an image [height, width, channels].
      height: of the part.
      width: of the part.
      padding: how many pixels are put around the image before.
      value: of these pixels.

    >>> row = {"x": fnp.zeros((32, 32, 3))}
    >>> crop("x", height=32, width=32, padding=4)(random.key(0), row)["x"].shape
    (32, 32, 3)
    """
    return Crop(column, height, width, padding, value)


@dataclass(frozen=True, repr=False)
class Crop(RowAugmentation, kind="crop"):
    height: int
    width: int
    padding: int
    value: float

    def check(self) -> None:
        self.require(self.height >= 1 and self.width >= 1, f"no image has size {self.height} x {self.width}")
        self.require(self.padding >= 0, f"padding must be at least 0, not {self.padding}")

    def changed(self, key: Any, x: Any) -> Any:
        sizes = [size + 2 * self.padding for size in self.image(x)]
        slack = (sizes[0] - self.height, sizes[1] - self.width)
        self.require(
            min(slack) >= 0, f"no part of {self.height} x {self.width} is in an image of {sizes[0]} x {sizes[1]}"
        )
        padding = [(self.padding, self.padding)] * 2 + [(0, 0)]
        wide = fnp.pad(x, padding, constant_values=fnp.asarray(self.value, x.dtype)) if self.padding else x
        starts = random.randint(key, (2,), 0, fnp.array([slack[0] + 1, slack[1] + 1]))
        return lax.dynamic_slice(wide, (starts[0], starts[1], 0), (self.height, self.width, x.shape[2]))


def resized_crop(
    column: str,
    *,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> "ResizedCrop":
    """A rectangle of an image at a random place, of a random area and shape, scaled to one size.

    The image is scaled bilinearly, smoothed where it shrinks. Whole numbers stay whole. Source: Szegedy et al., "Going
    Deeper with Convolutions", CVPR 2015, section 6; ten draws and the middle of the image if none fits, as torchvision.

    Args:
      column: an image [height, width, channels].
      height: of the result.
      width: of the result.
      scale: least and largest area of the rectangle, over that of the image.
      ratio: least and largest width over height of the rectangle; its logarithm is even.

    >>> row = {"x": fnp.zeros((64, 48, 3), "uint8")}
    >>> x = resized_crop("x", height=32, width=32)(random.key(0), row)["x"]
    >>> x.shape, x.dtype.name
    ((32, 32, 3), 'uint8')
    """
    return ResizedCrop(column, height, width, scale, ratio)


@dataclass(frozen=True, repr=False)
class ResizedCrop(RowAugmentation, kind="resized_crop"):
    height: int
    width: int
    scale: tuple[float, float]
    ratio: tuple[float, float]

    def check(self) -> None:
        self.require(self.height >= 1 and self.width >= 1, f"no image has size {self.height} x {self.width}")
        self.require(0 < self.scale[0] <= self.scale[1] <= 1, f"scale must be two areas up to 1, not {self.scale}")
        self.require(0 < self.ratio[0] <= self.ratio[1], f"ratio must be two positive numbers, not {self.ratio}")

    def changed(self, key: Any, x: Any) -> Any:
        high, wide = self.image(x)
        area_key, ratio_key, place_key = random.split(key, 3)
        area = high * wide * random.uniform(area_key, (TRIES,), minval=self.scale[0], maxval=self.scale[1])
        low, most = (math.log(value) for value in self.ratio)
        ratio = fnp.exp(random.uniform(ratio_key, (TRIES,), minval=low, maxval=most))
        sizes = fnp.stack([fnp.sqrt(area / ratio), fnp.sqrt(area * ratio)], axis=1)  # height, width
        fits = (sizes[:, 0] <= high) & (sizes[:, 1] <= wide)
        middle = min(max(wide / high, self.ratio[0]), self.ratio[1])
        largest = np.array([min(high, wide / middle), min(wide, high * middle)], np.float32)
        size = fnp.where(fnp.any(fits), sizes[fnp.argmax(fits)], largest)
        slack = np.array([high, wide], np.float32) - size
        start = slack * fnp.where(fnp.any(fits), random.uniform(place_key, (2,)), 0.5)
        zoom = np.array([self.height, self.width], np.float32) / size
        pixels = x if fnp.issubdtype(x.dtype, fnp.floating) else x.astype(fnp.float32)
        shape = (self.height, self.width, x.shape[2])
        scaled = scale_and_translate(pixels, shape, (0, 1), zoom, -start * zoom, "bilinear")
        return scaled if scaled.dtype == x.dtype else fnp.rint(scaled).astype(x.dtype)


def normalise(column: str, *, mean: Sequence[float], std: Sequence[float]) -> "Normalise":
    """An image as floating-point numbers, less a mean and over a standard deviation of each channel.

    It is not random: with any key it prepares an image that is not to be augmented. Bytes take a quarter of the room
    of float32, so that images are kept as bytes and normalised last.

    Args:
      column: an image [height, width, channels] of bytes from 0 to 255, or of floating-point numbers from 0 to 1.
      mean: of each channel, for numbers from 0 to 1.
      std: likewise.

    >>> row = {"x": fnp.full((1, 1, 1), 255, "uint8")}
    >>> normalise("x", mean=[0.5], std=[0.25])(None, row)["x"].item()
    2.0
    """
    return Normalise(column, tuple(mean), tuple(std))


@dataclass(frozen=True, repr=False)
class Normalise(RowAugmentation, kind="normalise"):
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def check(self) -> None:
        self.require(len(self.mean) == len(self.std), "mean and std must have one number for each channel")
        self.require(all(value > 0 for value in self.std), "std must be greater than 0")

    def changed(self, key: Any, x: Any) -> Any:
        self.image(x)
        self.require(
            x.shape[2] == len(self.mean), f"{self.column!r} has {x.shape[2]} channels, mean and std {len(self.mean)}"
        )
        if x.dtype == np.uint8:
            x, unit = x.astype(fnp.float32), 255.0
        else:
            self.floating(x)
            unit = 1.0
        return (x - np.array(self.mean, x.dtype) * unit) * (1 / (unit * np.array(self.std))).astype(x.dtype)


def colour_jitter(
    column: str,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    low: float = 0.0,
    high: float = 1.0,
) -> "ColourJitter":
    """An image with other brightness, contrast and saturation, one after the other, each by a random factor.

    Args:
      column: an image [height, width, 3] of floating-point numbers.
      brightness: b; all numbers are multiplied by a factor from max(0, 1 - b) to 1 + b.
      contrast: the same for their distance from the mean grey of the image.
      saturation: the same for their distance from the grey of the pixel.
      low: the least number of the result.
      high: the largest number of the result.

    >>> row = {"x": fnp.full((2, 2, 3), 0.5)}
    >>> bool((colour_jitter("x", brightness=0.5)(random.key(0), row)["x"] <= 0.75).all())
    True
    """
    return ColourJitter(column, brightness, contrast, saturation, low, high)


@dataclass(frozen=True, repr=False)
class ColourJitter(RowAugmentation, kind="colour_jitter"):
    brightness: float
    contrast: float
    saturation: float
    low: float
    high: float

    def check(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            self.require(getattr(self, name) >= 0, f"{name} must be at least 0, not {getattr(self, name)}")
        self.require(self.low < self.high, f"low must be less than high, not {self.low} and {self.high}")

    def changed(self, key: Any, x: Any) -> Any:
        self.image(x)
        self.floating(x)
        self.require(x.shape[2] == 3, f"{self.column!r} must have 3 channels; its shape is {x.shape}")
        keys = random.split(key, 3)
        if self.brightness:
            x = x * self._factor(keys[0], self.brightness, x.dtype)
        if self.contrast:
            x = _blended(x, _grey(x).mean(), self._factor(keys[1], self.contrast, x.dtype))
        if self.saturation:
            x = _blended(x, _grey(x)[..., None], self._factor(keys[2], self.saturation, x.dtype))
        return fnp.clip(x, self.low, self.high)

    def _factor(self, key: Any, most: float, dtype: Any) -> Any:
        return random.uniform(key, (), dtype, max(0.0, 1 - most), 1 + most)


def _grey(x: Any) -> Any:
    return sum(weight * x[..., channel] for channel, weight in enumerate(LUMA))


def _blended(x: Any, middle: Any, factor: Any) -> Any:
    return middle + factor * (x - middle)


def cutout(column: str, *, height: int, width: int, value: float = 0.0) -> "Cutout":
    """An image with a rectangle of one value around a random pixel, maybe half outside (DeVries and Taylor 2017).

    Args:
      column: an image [height, width, channels].
      height: of the rectangle.
      width: of the rectangle.
      value: in it.

    >>> row = {"x": fnp.ones((8, 8, 1))}
    >>> float(cutout("x", height=2, width=2)(random.key(0), row)["x"].sum()) in (60.0, 62.0, 63.0)
    True
    """
    return Cutout(column, height, width, value)


@dataclass(frozen=True, repr=False)
class Cutout(RowAugmentation, kind="cutout"):
    height: int
    width: int
    value: float

    def check(self) -> None:
        self.require(self.height >= 1 and self.width >= 1, f"no rectangle has size {self.height} x {self.width}")

    def changed(self, key: Any, x: Any) -> Any:
        sizes = self.image(x)
        centre = random.randint(key, (2,), 0, fnp.array(sizes))
        inside = []
        for axis, extent in enumerate((self.height, self.width)):
            distance = fnp.arange(sizes[axis]) - (centre[axis] - extent // 2)
            inside.append((distance >= 0) & (distance < extent))
        hidden = inside[0][:, None, None] & inside[1][None, :, None]
        return fnp.where(hidden, fnp.asarray(self.value, x.dtype), x)
