"""Random changes of rows, drawn anew in each epoch: pure functions (key, row) -> row for `train(augment=)`.

A row is a dict of arrays without the axis of rows, of which an augmentation changes one; its key is the row's own.
Augmentations are traced, batched and compiled with the loss; what a row becomes depends on the row and its key only.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import fdl.numpy as fnp
from fdl import lax, random
from fdl.image import scale_and_translate
from fdl_spark.errors import ArgumentError, MissingColumnError
from fdl_spark.features.params import Params

Row = Mapping[str, Any]
Augmentation = Callable[[Any, Row], Row]
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's grey
TRIES = 10  # rectangles that are drawn; the first that lies in the image is taken


@dataclass(frozen=True, repr=False)
class RowAugmentation(Params):
    """Changes one array of a row."""

    column: str

    def __call__(self, key: Any, row: Row) -> dict[str, Any]:
        changed = self.changed(key, taken(row, self.column, self.kind))
        return {**row, self.column: changed}

    def changed(self, key: Any, x: Any) -> Any:
        """The array that stands in place of x."""
        raise NotImplementedError

    def image(self, x: Any) -> tuple[int, int]:
        """Height and width of an image [height, width, channels]."""
        self.require(x.ndim == 3, f"{self.column!r} must be an image [height, width, channels]; its shape is {x.shape}")
        return x.shape[0], x.shape[1]

    def floating(self, x: Any) -> None:
        """Raise ArgumentError unless an array is of floating-point numbers."""
        self.require(
            fnp.issubdtype(x.dtype, fnp.floating), f"{self.column!r} must be floating-point numbers, not {x.dtype}"
        )


def taken(row: Row, column: str, asked_by: str) -> Any:
    """An array of a row."""
    if column not in row:
        raise MissingColumnError(column, list(row), f"features.augment.{asked_by}")
    return row[column]


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


def noise(column: str, *, scale: float) -> "Noise":
    """Numbers with normal noise.

    Args:
      column: floating-point numbers of any shape.
      scale: standard deviation of the noise.

    >>> noise("x", scale=0.1)(random.key(0), {"x": fnp.zeros(3)})["x"].shape
    (3,)
    """
    return Noise(column, scale)


@dataclass(frozen=True, repr=False)
class Noise(RowAugmentation, kind="noise"):
    scale: float

    def check(self) -> None:
        self.require(self.scale >= 0, f"scale must be at least 0, not {self.scale}")

    def changed(self, key: Any, x: Any) -> Any:
        self.floating(x)
        return x + self.scale * random.normal(key, x.shape, x.dtype)


def shift(column: str, *, earlier: int, later: int) -> "Shift":
    """A sound that begins earlier or later by a random number of samples; what has no samples becomes silence.

    Args:
      column: a sound [samples, ...].
      earlier: the largest number of samples that are cut off at its beginning.
      later: the largest number of samples of silence before it.

    >>> shift("x", earlier=0, later=2)(random.key(0), {"x": fnp.ones(4)})["x"].sum() >= 2
    Array(True, dtype=bool)
    """
    return Shift(column, earlier, later)


@dataclass(frozen=True, repr=False)
class Shift(RowAugmentation, kind="shift"):
    earlier: int
    later: int

    def check(self) -> None:
        self.require(min(self.earlier, self.later) >= 0, f"earlier and later must be at least 0, not {self}")

    def changed(self, key: Any, x: Any) -> Any:
        self.require(x.ndim >= 1, f"{self.column!r} must be a sound [samples, ...]; its shape is {x.shape}")
        wide = fnp.pad(x, [(self.later, self.earlier)] + [(0, 0)] * (x.ndim - 1))
        start = random.randint(key, (), 0, self.earlier + self.later + 1)
        return lax.dynamic_slice_in_dim(wide, start, x.shape[0], 0)


def speed(column: str, *, low: float, high: float) -> "Speed":
    """A sound that is played faster or slower, which makes it higher or lower; its end is cut off or silent.

    Samples in between are interpolated linearly.

    Args:
      column: a sound [samples] of floating-point numbers.
      low: the least factor, less than 1 for slower.
      high: the largest.

    >>> speed("x", low=2.0, high=2.0)(random.key(0), {"x": fnp.array([0.0, 1.0, 2.0, 3.0])})["x"]
    Array([0., 2., 0., 0.], dtype=float32)
    """
    return Speed(column, low, high)


@dataclass(frozen=True, repr=False)
class Speed(RowAugmentation, kind="speed"):
    low: float
    high: float

    def check(self) -> None:
        self.require(0 < self.low <= self.high, f"0 < low <= high must hold; they are {self.low} and {self.high}")

    def changed(self, key: Any, x: Any) -> Any:
        self.floating(x)
        self.require(x.ndim == 1, f"{self.column!r} must be a sound [samples]; its shape is {x.shape}")
        factor = random.uniform(key, (), np.float32, self.low, self.high)
        place = fnp.arange(len(x), dtype=np.float32) * factor  # exact to a hundredth for a minute of speech
        before = fnp.floor(place).astype(np.int32)
        ends = fnp.concatenate([x, fnp.zeros(2, x.dtype)])
        part = (place - before).astype(x.dtype)
        left, right = (ends[fnp.minimum(before + next_, len(x) + next_)] for next_ in (0, 1))
        return left + part * (right - left)


def volume(column: str, *, low: float, high: float) -> "Volume":
    """A sound that is louder or softer by a random number of decibels.

    Args:
      column: floating-point numbers of any shape.
      low: the least number of decibels, less than 0 for softer.
      high: the largest.

    >>> volume("x", low=20.0, high=20.0)(random.key(0), {"x": fnp.array([0.5])})["x"]
    Array([5.], dtype=float32)
    """
    return Volume(column, low, high)


@dataclass(frozen=True, repr=False)
class Volume(RowAugmentation, kind="volume"):
    low: float
    high: float

    def check(self) -> None:
        self.require(self.low <= self.high, f"low must be at most high, not {self.low} and {self.high}")

    def changed(self, key: Any, x: Any) -> Any:
        self.floating(x)
        return x * fnp.power(10.0, random.uniform(key, (), x.dtype, self.low, self.high) / 20).astype(x.dtype)


def white_noise(column: str, *, low: float, high: float) -> "WhiteNoise":
    """A sound with white noise, whose power is random beside that of the sound.

    Args:
      column: floating-point numbers of any shape.
      low: the least ratio of the mean power of the sound to that of the noise, in decibels.
      high: the largest.

    >>> changed = white_noise("x", low=20.0, high=20.0)(random.key(0), {"x": fnp.ones(10_000)})["x"]
    >>> bool(abs((changed - 1).std() - 0.1) < 0.01)
    True
    """
    return WhiteNoise(column, low, high)


@dataclass(frozen=True, repr=False)
class WhiteNoise(RowAugmentation, kind="white_noise"):
    low: float
    high: float

    def check(self) -> None:
        self.require(self.low <= self.high, f"low must be at most high, not {self.low} and {self.high}")

    def changed(self, key: Any, x: Any) -> Any:
        self.floating(x)
        of_ratio, of_noise = random.split(key)
        ratio = random.uniform(of_ratio, (), x.dtype, self.low, self.high)
        scale = fnp.sqrt(fnp.mean(x * x)) * fnp.power(10.0, -ratio / 20).astype(x.dtype)
        return x + scale * random.normal(of_noise, x.shape, x.dtype)


def negatives(
    items: int, *, user: str, item: str, count: int, label: str = "label", seen: str | None = None
) -> "Negatives":
    """An interaction of a user and an item, and `count` pairs of this user and random other items.

    The arrays of the user and the item get an axis of count + 1, in which the interaction is first, and the label is 1
    there and 0 elsewhere. Each item that is allowed is drawn with one probability, independently.

    Args:
      items: how many there are; an item is a number from 0 to items - 1.
      user: the column of the user, which is repeated.
      item: the column of the item, a whole number.
      count: how many pairs are drawn.
      label: the new column, float32.
      seen: a column of items that this user is not given, as `features.pad` makes it, with its mask; None: only the
        row's own item. A user who has seen all items is given one at random.

    >>> row = {"user": fnp.array(7), "item": fnp.array(2)}
    >>> drawn = negatives(3, user="user", item="item", count=4)(random.key(0), row)
    >>> drawn["user"], drawn["label"], 2 in drawn["item"][1:].tolist()
    (Array([7, 7, 7, 7, 7], dtype=int32), Array([1., 0., 0., 0., 0.], dtype=float32), False)
    """
    return Negatives(items, user, item, count, label, seen)


@dataclass(frozen=True, repr=False)
class Negatives(Params, kind="negatives"):
    items: int
    user: str
    item: str
    count: int
    label: str
    seen: str | None

    def check(self) -> None:
        self.require(2 <= self.items < 1 << 30, f"items must be at least 2 and less than 2^30, not {self.items}")
        self.require(self.count >= 1, f"count must be at least 1, not {self.count}")
        names = [self.user, self.item, self.label]
        self.require(len(set(names)) == 3, f"user, item and label must be three columns, not {names}")

    def __call__(self, key: Any, row: Row) -> dict[str, Any]:
        item = taken(row, self.item, self.kind)
        self.require(
            item.ndim == 0 and fnp.issubdtype(item.dtype, fnp.integer),
            f"{self.item!r} must be a whole number in each row, not {item.dtype}{list(item.shape)}",
        )
        drawn = self._unseen(key, item, row).astype(item.dtype)
        label = np.zeros(self.count + 1, np.float32)
        label[0] = 1
        user = fnp.asarray(taken(row, self.user, self.kind))
        return {
            **row,
            self.user: fnp.broadcast_to(user, (self.count + 1, *user.shape)),
            self.item: fnp.concatenate([item[None], drawn]),
            self.label: fnp.asarray(label),
        }

    def _unseen(self, key: Any, item: Any, row: Row) -> Any:
        """Items of which none was seen: the r-th of them, for random r."""
        known = item.astype(fnp.int32)[None]
        if self.seen is not None:
            there = taken(row, f"{self.seen}_mask", self.kind)
            seen = fnp.where(there, taken(row, self.seen, self.kind).astype(fnp.int32), self.items)
            known = fnp.sort(fnp.concatenate([known, seen]))
            twice = fnp.concatenate([fnp.zeros(1, bool), known[1:] == known[:-1]])
            known = fnp.sort(fnp.where(twice, self.items, known))
        found = (known < self.items).sum()
        rank = random.randint(key, (self.count,), 0, fnp.where(found < self.items, self.items - found, self.items))
        # The r-th is r and as many as the known ones below it: the i-th known k has k - i that are not known below it.
        below = known - fnp.arange(len(known)) <= rank[:, None]
        unseen = rank + (below & (known < self.items)).sum(axis=1)
        return fnp.where(found < self.items, unseen, rank)


def chain(*augmentations: Augmentation) -> "Chain":
    """Augmentations one after the other, each with a key of its own.

    Args:
      *augmentations: functions (key, row) -> row.

    >>> both = chain(flip("x"), noise("x", scale=0.1))
    >>> both(random.key(0), {"x": fnp.zeros((2, 2, 1))})["x"].shape
    (2, 2, 1)
    """
    for augmentation in augmentations:
        if not callable(augmentation):
            raise ArgumentError(f"chain takes functions (key, row) -> row, not {augmentation!r}")
    return Chain(augmentations)


@dataclass(frozen=True)
class Chain:
    augmentations: tuple[Augmentation, ...]

    def __call__(self, key: Any, row: Row) -> Row:
        for number, augmentation in enumerate(self.augmentations):
            row = augmentation(random.fold_in(key, number), row)
        return row
