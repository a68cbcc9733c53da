"""Spectrograms of sound: pure functions of samples, compiled and differentiated with what they are used in.

Bands on the mel scale as in HTK (O'Shaughnessy, "Speech Communication", 1987) and in Slaney's Auditory Toolbox (1998).

>>> import fdl.numpy as fnp
>>> from fdl import audio
>>> sound = fnp.sin(fnp.arange(8000) * (2 * fnp.pi * 440 / 8000))
>>> spectrogram = audio.log_mel(sound, sample_rate=8000, window=256, hop=160, mels=20)
>>> spectrogram.shape
(49, 20)
"""

import math
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.fft import rfft

ArrayLike: TypeAlias = Any
Scale: TypeAlias = Literal["htk", "slaney"]
__all__ = ["hertz_to_mel", "log_mel", "mel_bands", "mel_to_hertz"]

LOWEST_LOG, STEP = 1000.0, math.log(6.4) / 27  # Slaney's scale is linear up to 1 kHz: 200/3 Hz a mel
LONGEST_MATRIX = 1024  # points of a Fourier transform by a product of matrices, which is faster than many short ones


def hertz_to_mel(hertz: Any, scale: Scale = "htk") -> np.ndarray:
    """Frequencies on the mel scale.

    Args:
        hertz: numbers, 0 or more.
        scale: "htk", 2595 log10(1 + f / 700), or "slaney", linear up to 1 kHz and logarithmic above.

    Returns:
        NumPy array float64 of the same shape.

    Raises:
        ValueError: there is no such scale.

    >>> hertz_to_mel(500.0, "slaney").item()
    7.5
    """
    hertz = np.asarray(hertz, np.float64)
    if _known(scale) == "htk":
        return 2595 * np.log10(1 + hertz / 700)
    return np.where(hertz < LOWEST_LOG, 3 * hertz / 200, 15 + np.log(np.maximum(hertz, LOWEST_LOG) / LOWEST_LOG) / STEP)


def mel_to_hertz(mel: Any, scale: Scale = "htk") -> np.ndarray:
    """The inverse of :func:`hertz_to_mel`.

    Args:
        mel: numbers.
        scale: see there.

    Returns:
        NumPy array float64 of the same shape.

    Raises:
        ValueError: there is no such scale.

    >>> mel_to_hertz(7.5, "slaney").item()
    500.0
    """
    mel = np.asarray(mel, np.float64)
    if _known(scale) == "htk":
        return 700 * (10 ** (mel / 2595) - 1)
    return np.where(mel < 15, 200 * mel / 3, LOWEST_LOG * np.exp(STEP * (mel - 15)))


def mel_bands(
    sample_rate: float, points: int, mels: int, low: float = 0.0, high: float | None = None, scale: Scale = "htk"
) -> np.ndarray:
    """The weight of each frequency of a Fourier transform in each band.

    The bands are triangles between mels + 2 points that are equally far on the mel scale; those of HTK have height 1,
    those of Slaney area 1 in hertz.

    Args:
        sample_rate: samples a second.
        points: of the Fourier transform.
        mels: how many bands.
        low: where the first band begins, in hertz.
        high: where the last one ends; None means half the sample rate.
        scale: see :func:`hertz_to_mel`.

    Returns:
        NumPy array float64 [points // 2 + 1, mels].

    Raises:
        ValueError: no such scale, or not 0 <= low < high <= sample_rate / 2.

    >>> mel_bands(8000, 256, 20).shape
    (129, 20)
    """
    high = sample_rate / 2 if high is None else high
    if not 0 <= low < high <= sample_rate / 2:
        raise ValueError(
            f"0 <= low < high <= {sample_rate / 2} must hold, half the sample rate; they are {low} and {high}"
        )
    if points < 1 or mels < 1:
        raise ValueError(f"points and mels must be at least 1, not {points} and {mels}")
    first, last = hertz_to_mel([low, high], scale)
    ends = mel_to_hertz(np.linspace(first, last, mels + 2), scale)
    frequencies = np.arange(points // 2 + 1)[:, None] * sample_rate / points
    left, centre, right = ends[:-2], ends[1:-1], ends[2:]
    bands = np.maximum(0, np.minimum((frequencies - left) / (centre - left), (right - frequencies) / (right - centre)))
    return bands * 2 / (right - left) if scale == "slaney" else bands


def log_mel(
    samples: ArrayLike,
    *,
    sample_rate: float,
    window: int = 400,
    hop: int = 160,
    fft: int | None = None,
    mels: int = 80,
    low: float = 0.0,
    high: float | None = None,
    scale: Scale = "htk",
    floor: float = 1e-10,
) -> Array:
    """The logarithm of the power in bands of the mel scale: a log-mel spectrogram.

    Frame i is the samples from i * hop on, under a periodic Hann window; there is no padding at the ends. These are
    the numbers of ``fdl_spark.features.log_mel``. In float32 a band's power is as exact as 1e-6 of the frame's largest,
    so choose a floor above that if weak bands matter.

    Args:
        samples: [..., samples] of float32 or float64, between -1 and 1 by custom.
        sample_rate: samples a second.
        window: samples of a frame.
        hop: samples between the beginnings of two frames.
        fft: length of the Fourier transform; None means the power of two from `window` up.
        mels: how many bands.
        low: where the first band begins, in hertz.
        high: where the last one ends, in hertz; None means half the sample rate.
        scale: see :func:`hertz_to_mel`.
        floor: the least power of which the logarithm is taken.

    Returns:
        [..., 1 + (samples - window) // hop, mels], of the samples' dtype.

    Raises:
        DtypeError: samples of another dtype.
        ShapeError: fewer samples than `window`.
        ValueError: `window` is longer than `fft`, or one of the numbers is too small; see :func:`mel_bands`.

    >>> log_mel(fnp.zeros((2, 800)), sample_rate=8000, window=200, hop=100, mels=4, floor=1.0).sum()
    Array(0., dtype=float32)
    """
    x = fnp.asarray(samples)
    if x.dtype not in (np.float32, np.float64):
        raise DtypeError(f"log_mel takes samples of float32 or float64, not {x.dtype}; divide whole ones by 32768")
    if window < 2 or hop < 1 or not floor > 0:
        raise ValueError(f"window >= 2, hop >= 1 and floor > 0 must hold; they are {window}, {hop} and {floor}")
    points = fft or 1 << (window - 1).bit_length()
    if points < window:
        raise ValueError(f"a Fourier transform of {points} points takes no window of {window} samples")
    if not x.ndim or x.shape[-1] < window:
        raise ShapeError(f"a window of {window} samples needs as many along the last axis, got {x.shape}")
    bands = mel_bands(sample_rate, points, mels, low, high, scale).astype(x.dtype)
    starts = np.arange(1 + (x.shape[-1] - window) // hop) * hop
    frames = x[..., starts[:, None] + np.arange(window)]
    if points <= LONGEST_MATRIX:
        spectrum = frames @ _windowed_transform(window, points).astype(x.dtype)
        real, imaginary = spectrum[..., : points // 2 + 1], spectrum[..., points // 2 + 1 :]
    else:
        transformed = rfft(frames * _hann(window).astype(x.dtype), points)
        real, imaginary = transformed.real, transformed.imag
    return fnp.log(fnp.maximum((real * real + imaginary * imaginary) @ bands, floor))


def _hann(window: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)


@lru_cache(8)
def _windowed_transform(window: int, points: int) -> np.ndarray:
    """The real and the imaginary part of the Fourier transform of a frame under its window, side by side."""
    turns = np.outer(np.arange(window), np.arange(points // 2 + 1)) % points * (2 * np.pi / points)
    return np.concatenate([np.cos(turns), -np.sin(turns)], axis=1) * _hann(window)[:, None]


def _known(scale: Scale) -> Scale:
    if scale not in ("htk", "slaney"):
        raise ValueError(f"scale must be 'htk' or 'slaney', not {scale!r}")
    return scale


def __dir__() -> list[str]:
    return __all__
