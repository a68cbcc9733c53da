"""ONNX operators on signals: Fourier transforms, windows and mel filters."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.interop.onnx_graph import dtype_of
from fdl.interop.onnx_operators.shapes import concrete, numbers
from fdl.interop.tables import OperatorTable

TABLE = OperatorTable()
define = TABLE.define


def as_complex(x: Any) -> Any:
    """Numbers whose real and imaginary parts stand along the last axis; or real ones."""
    return x[..., 0] if x.shape[-1] == 1 else fnp.asarray(x[..., 0]) + 1j * fnp.asarray(x[..., 1])


def as_parts(z: Any, dtype: Any) -> Array:
    return fnp.stack([fnp.real(z), fnp.imag(z)], axis=-1).astype(dtype)


@define("DFT")
def dft(x: Any, length: Any = None, along: Any = None, axis: int = -2, inverse: int = 0, onesided: int = 0) -> Array:
    """`axis` was an attribute before version 20; `onesided` leaves out what symmetry gives."""
    axis = (axis if along is None else numbers(along, "the axis of DFT")[0]) % x.ndim
    count = None if length is None else numbers(length, "the length of DFT")[0]
    z = as_complex(x)
    if inverse and onesided:
        return fnp.fft.irfft(z, count, axis=axis).astype(x.dtype)[..., None]
    if inverse:
        return as_parts(fnp.fft.ifft(z, count, axis=axis), x.dtype)
    if onesided and x.shape[-1] == 1:
        return as_parts(fnp.fft.rfft(z, count, axis=axis), x.dtype)
    found = fnp.fft.fft(z, count, axis=axis)
    if onesided:
        found = fnp.take(found, fnp.arange(found.shape[axis] // 2 + 1), axis=axis)
    return as_parts(found, x.dtype)


@define("STFT")
def stft(x: Any, step: Any, window: Any = None, length: Any = None, onesided: int = 1) -> Array:
    """[batch, length, 1 or 2] as [batch, frames, frequencies, 2]."""
    hop = numbers(step, "the step of STFT")[0]
    count = numbers(length, "the length of frames of STFT")[0] if length is not None else window.shape[0]
    places = np.arange(0, x.shape[1] - count + 1, hop)[:, None] + np.arange(count)
    frames = fnp.take(x, fnp.asarray(places), axis=1)
    if window is not None:
        frames = frames * fnp.reshape(window, (-1, 1)).astype(x.dtype)
    return dft(frames, axis=-2, onesided=onesided)


WINDOWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "HannWindow": lambda t: 0.5 - 0.5 * np.cos(t),
    "HammingWindow": lambda t: 25 / 46 - 21 / 46 * np.cos(t),
    "BlackmanWindow": lambda t: 0.42 - 0.5 * np.cos(t) + 0.08 * np.cos(2 * t),
}


def windows(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    """An operator that makes a window, of one period, or symmetric."""

    def operator(size: Any, output_datatype: int = 1, periodic: int = 1) -> np.ndarray:
        count = numbers(size, "the size of a window")[0]
        turns = np.arange(count) / (count if periodic else count - 1)
        return function(2 * np.pi * turns).astype(dtype_of(output_datatype))

    return operator


for name, function in WINDOWS.items():
    define(name)(windows(function))


@define("MelWeightMatrix")
def mel_weight_matrix(bins: Any, length: Any, rate: Any, low: Any, high: Any, output_datatype: int = 1) -> np.ndarray:
    """[frequencies, bins]: triangles between frequencies that stand evenly in mels."""
    count, size, per_second = (numbers(v, "sizes of MelWeightMatrix")[0] for v in (bins, length, rate))
    ends = [float(concrete(v, "frequencies of MelWeightMatrix").item()) for v in (low, high)]
    first, last = (2595 * np.log10(1 + end / 700) for end in ends)
    mels = first + np.arange(count + 2) * (last - first) / (count + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    edges = np.floor((size + 1) * hertz / per_second).astype(int)
    matrix, places = np.zeros((size // 2 + 1, count)), np.arange(size // 2 + 1)
    for i in range(count):
        start, centre, end = edges[i : i + 3]
        if centre > start:
            rising = (places >= start) & (places <= centre)
            matrix[rising, i] = (places[rising] - start) / (centre - start)
        else:
            matrix[centre, i] = 1
        if end > centre:
            falling = (places >= centre) & (places < end)
            matrix[falling, i] = (end - places[falling]) / (end - centre)
    return matrix.astype(dtype_of(output_datatype))
