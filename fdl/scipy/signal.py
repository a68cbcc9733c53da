"""Signals: convolution, trends and spectra, under the names of ``scipy.signal``."""

from fdl.scipy._convolutions import convolve, convolve2d, correlate, correlate2d, fftconvolve
from fdl.scipy._spectra import csd, detrend, istft, stft, welch

__all__ = [
    "convolve",
    "convolve2d",
    "correlate",
    "correlate2d",
    "csd",
    "detrend",
    "fftconvolve",
    "istft",
    "stft",
    "welch",
]


def __dir__() -> list[str]:
    return __all__
