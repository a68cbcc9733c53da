"""Sound becomes samples, or a log-mel spectrogram."""

import io
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa

from fdl.audio import Scale, mel_bands
from fdl_spark.data.columns import BadColumn
from fdl_spark.features.column_encoder import Arrays, Floating, OneColumn
from fdl_spark.features.reading import Batch, floats, is_nested


def log_mel(
    column: str,
    output: str | None = None,
    *,
    sample_rate: int,
    samples: int,
    window: int = 400,
    hop: int = 160,
    fft: int | None = None,
    mels: int = 80,
    low: float = 0.0,
    high: float | None = None,
    scale: Scale = "htk",
    floor: float = 1e-10,
    missing: Literal["silence"] | None = None,
    dtype: Floating = "float32",
) -> "LogMel":
    """The logarithm of the power in bands of the mel scale, and "NAME_mask", True for frames that lie within the sound.

    The last bits are those of NumPy's Fourier transform and product of matrices on this kind of processor.

    Frame i is the samples from i * hop on, under a periodic Hann window; there is no padding at the ends. The bands are
    triangles between mels + 2 points that are equally far on the mel scale; those of Slaney have area 1 in hertz.

    Args:
      column: a column of WAV files as binary, of which channels are averaged; or of lists of samples. Whole numbers are
        divided by the largest of their type, so that all samples lie between -1 and 1.
      output: the name of the array [rows, frames, mels]; None means the column's.
      sample_rate: samples a second. A WAV file of another rate is an error.
      samples: how many of a row are read; behind the end of a shorter sound is silence.
      window: samples of a frame.
      hop: samples between the beginnings of two frames.
      fft: length of the Fourier transform; None means the power of two from `window` up.
      mels: how many bands.
      low: where the first band begins, in hertz.
      high: where the last one ends, in hertz; None means half the sample rate.
      scale: "htk", 2595 log10(1 + f / 700), or "slaney", linear up to 1 kHz and logarithmic above.
      floor: the least power of which the logarithm is taken.
      missing: "silence" makes no samples of a null; None makes it an error. A null or NaN inside is an error.
      dtype: of the array.

    >>> encoder = log_mel("sound", sample_rate=8000, samples=800, window=200, hop=100, mels=4)
    >>> {name: array.shape for name, array in encoder.encode({"sound": pa.array([[0.5] * 500])}).items()}
    {'sound': (1, 7, 4), 'sound_mask': (1, 7)}
    """
    return LogMel(column, output, sample_rate, samples, window, hop, fft, mels, low, high, scale, floor, missing, dtype)


@dataclass(frozen=True, repr=False)
class LogMel(OneColumn, kind="log_mel"):
    sample_rate: int
    samples: int
    window: int
    hop: int
    fft: int | None
    mels: int
    low: float
    high: float | None
    scale: Scale
    floor: float
    missing: Literal["silence"] | None
    dtype: Floating

    def check(self) -> None:
        for name in ("sample_rate", "hop", "mels"):
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}")
        self.require(
            2 <= self.window <= min(self.samples, self.points),
            f"window must be at least 2 and at most samples and fft, not {self.window}",
        )
        self.require(self.floor > 0, f"floor must be greater than 0, not {self.floor}")
        highest = self.sample_rate / 2
        self.require(
            0 <= self.low < self.highest <= highest, f"0 <= low < high <= {highest} must hold, half the sample rate"
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name, self.mask)

    @property
    def points(self) -> int:
        """Length of the Fourier transform."""
        return self.fft or 1 << (self.window - 1).bit_length()

    @property
    def highest(self) -> float:
        """Where the last band ends, in hertz."""
        return self.sample_rate / 2 if self.high is None else self.high

    @property
    def frames(self) -> int:
        """How many frames a row has."""
        return 1 + (self.samples - self.window) // self.hop

    @cached_property
    def _hann(self) -> np.ndarray:
        return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(self.window) / self.window)

    @cached_property
    def _bands(self) -> np.ndarray:
        return mel_bands(self.sample_rate, self.points, self.mels, self.low, self.highest, self.scale)

    def encode(self, batch: Batch) -> Arrays:
        column = batch[self.column]
        spectrogram = np.zeros((len(column), self.frames, self.mels), self.dtype)
        mask = np.zeros((len(column), self.frames), bool)
        for row in range(len(column)):
            samples = read(self.column, column, row, self.sample_rate, self.missing)
            # A row by itself: what vectors and products of matrices round must not depend on the other rows.
            spectrogram[row] = self._spectrogram(samples)
            mask[row] = np.arange(self.frames) * self.hop + self.window <= len(samples)
        return {self.name: spectrogram, self.mask: mask}

    def _spectrogram(self, samples: np.ndarray) -> np.ndarray:
        sound = np.zeros(self.samples)
        sound[: len(samples)] = samples[: self.samples]
        frames = np.lib.stride_tricks.sliding_window_view(sound, self.window)[:: self.hop]
        spectrum = np.fft.rfft(frames * self._hann, self.points)
        power = spectrum.real**2 + spectrum.imag**2
        return np.log(np.maximum(power @ self._bands, self.floor))


def waveform(
    column: str,
    output: str | None = None,
    *,
    sample_rate: int,
    samples: int,
    missing: Literal["silence"] | None = None,
    dtype: Floating = "float32",
) -> "Waveform":
    """The samples of a sound, for functions that make features of them themselves, as `fdl.audio.log_mel` does.

    Args:
      column: see `log_mel`.
      output: the name of the array [rows, samples]; None means the column's.
      sample_rate: samples a second. A WAV file of another rate is an error.
      samples: how many of a row are read; behind the end of a shorter sound is silence.
      missing: see `log_mel`.
      dtype: of the array.

    >>> waveform("sound", sample_rate=8000, samples=3).encode({"sound": pa.array([[0.5, 0.25], [1.0] * 9])})["sound"]
    array([[0.5 , 0.25, 0.  ],
           [1.  , 1.  , 1.  ]], dtype=float32)
    """
    return Waveform(column, output, sample_rate, samples, missing, dtype)


@dataclass(frozen=True, repr=False)
class Waveform(OneColumn, kind="waveform"):
    sample_rate: int
    samples: int
    missing: Literal["silence"] | None
    dtype: Floating

    def check(self) -> None:
        for name in ("sample_rate", "samples"):
            self.require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}")

    def encode(self, batch: Batch) -> Arrays:
        column = batch[self.column]
        sounds = np.zeros((len(column), self.samples), self.dtype)
        for row in range(len(column)):
            samples = read(self.column, column, row, self.sample_rate, self.missing)[: self.samples]
            sounds[row, : len(samples)] = samples
        return {self.name: sounds}


def read(name: str, column: pa.Array, row: int, sample_rate: int, missing: Literal["silence"] | None) -> np.ndarray:
    """The samples of a row, as float64.

    Args:
      name: of the column.
      column: WAV files or lists of samples.
      row: its number.
      sample_rate: that a WAV file must have.
      missing: what a null is.

    Raises:
      BadColumn: the row is no sound.
    """
    if not column[row].is_valid:
        if missing is None:
            raise BadColumn(name, 'null; missing="silence" makes no samples of it', row)
        return np.zeros(0)
    if is_nested(column.type):
        inner = column[row].values
        samples = floats(name, inner)
        if np.isnan(samples).any():
            raise BadColumn(name, "null or NaN in a list", row)
        return _scaled(samples, inner.type.to_pandas_dtype())
    if not pa.types.is_binary(column.type):
        raise BadColumn(name, f"{column.type} is no sound: neither WAV files nor lists of samples", 0)
    return _wav(name, column[row].as_py(), row, sample_rate)


def _wav(name: str, content: bytes, row: int, sample_rate: int) -> np.ndarray:
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of parts that hold no samples
            rate, samples = wavfile.read(io.BytesIO(content))
    except (ValueError, EOFError, OSError, IndexError, TypeError, ZeroDivisionError) as error:
        raise BadColumn(name, f"no WAV file ({error})", row) from None
    if rate != sample_rate:
        raise BadColumn(name, f"{rate} samples a second, where sample_rate={sample_rate}", row)
    scaled = _scaled(samples.astype(np.float64), samples.dtype)
    return scaled.mean(axis=1) if scaled.ndim == 2 else scaled


def _scaled(samples: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
    """Samples of a dtype as numbers from -1 to 1; those of 8 bits lie around 128, as in WAV files."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iu":
        return samples
    return (samples - 128) / 128 if dtype == np.uint8 else samples / (float(np.iinfo(dtype).max) + 1)
