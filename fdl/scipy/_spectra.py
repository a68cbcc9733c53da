"""Spectra of signals by windows of them, under the names of ``scipy.signal``."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

import fdl.fft
import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.docstrings import fill_docstring
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index, broadcast_shapes, complex_of, integer, integers, promote, real_of
from fdl.scalars import Scalar
from fdl.tracebacks import warn

__all__ = ["csd", "detrend", "istft", "stft", "welch"]

_ARGUMENTS = {
    "x": "array; `axis` is time.",
    "y": "array that broadcasts against x, filled up with zeros to its length, or the other way round; None is x.",
    "fs": "samples per unit of time, a positive number.",
    "window": "what segments are multiplied by: a vector, or a name or tuple that ``scipy.signal.get_window`` takes.",
    "nperseg": "samples in a segment; None is the length of a given window, else 256, at most all samples.",
    "noverlap": "samples that neighbouring segments share, None for half of them.",
    "nfft": "length of the transforms, for which segments are filled up with zeros; None is `nperseg`.",
    "detrend": '"constant" or "linear", what is taken off each segment, a function of segments, or False.',
    "return_onesided": "whether to leave out negative frequencies, if the signals are real.",
    "scaling": '"density" for a power per frequency, "spectrum" for a power.',
    "axis": "of time.",
    "average": '"mean" or "median" over segments.',
    "boundary": 'how the signal goes on beyond its ends: "zeros", "constant", "even", "odd", or None for not at all.',
    "padded": "whether to append zeros so that all samples are in a segment.",
}
_TRENDS = ("linear", "l", "constant", "c")
_RATE = Scalar(0.0, above=True)
_RAISES = {
    "ShapeError": "shapes, the window, or the lengths of segments do not fit.",
    "ValueError": "an option has another value; RangeError, DtypeError: `fs` is not positive or no real number.",
}


def detrend(data: Any, axis: int = -1, type: str = "linear", bp: Any = 0, overwrite_data: None = None) -> Array:
    """A signal without its mean or its straight line of least squares.

    Args:
        data: array, real or complex.
        axis: of time.
        type: "linear" or "constant".
        bp: indices between which each part has a line of its own.
        overwrite_data: accepted for compatibility, None or False.

    Returns:
        An array of the shape of `data`, of its dtype if that is floating or complex.

    Raises:
        ValueError: another `type`, or an index beyond the end.

    >>> detrend(fnp.array([1.0, 2.0, 3.0, 5.0]), type="constant").tolist()
    [-1.75, -0.75, 0.25, 2.25]
    """
    if overwrite_data:
        raise ValueError("detrend: arrays do not change; leave overwrite_data out")
    if type not in _TRENDS:
        raise ValueError(f"detrend: type must be 'linear' or 'constant', got {type!r}")
    (x,) = promote("detrend", data, to_inexact=True)
    axis = axis_index("detrend", axis, x.ndim)
    n, dtype = x.shape[axis], x.dtype
    if dtype.itemsize < 4:
        x = x.astype(fnp.float32)
    x = fnp.moveaxis(x, axis, -1)
    if type in ("constant", "c"):
        found = x - fnp.mean(x, -1, keepdims=True) if n else x
    else:
        breaks = integers("detrend: bp", np.atleast_1d(np.asarray(bp)).tolist())
        if any(not 0 <= b <= n for b in breaks):
            raise ValueError(f"detrend: break points lie between 0 and the length {n}, got {bp}")
        ends = sorted({0, n, *breaks})
        found = fnp.concatenate([_without_line(x[..., i:j]) for i, j in itertools.pairwise(ends)] or [x], -1)
    return fnp.moveaxis(found, -1, axis).astype(dtype)


def _without_line(x: Array) -> Array:
    """Residuals of lines through segments; times count from the middle, where lines have their mean."""
    n = x.shape[-1]
    times = np.arange(n) - (n - 1) / 2
    slopes = fnp.asarray(times / (np.sum(times**2) or 1.0), x.dtype)
    slope = fnp.sum(x * slopes, -1, keepdims=True)
    return x - fnp.mean(x, -1, keepdims=True) - slope * fnp.asarray(times, x.dtype)


def _window(name: str, window: Any, nperseg: int, dtype: np.dtype) -> Array:
    """A window as a vector of `nperseg`."""
    if isinstance(window, (str, tuple)):
        from scipy.signal import get_window

        return fnp.asarray(get_window(window, nperseg), dtype)
    values = fnp.asarray(window)
    if values.shape != (nperseg,):
        raise ShapeError(f"{name}: a window of {nperseg} samples must be a vector of as many, got {values.type}")
    return values.astype(fnp.result_type(values.dtype, dtype) if values.dtype.kind == "c" else dtype)


def _lengths(name: str, nperseg: Any, noverlap: Any, nfft: Any) -> tuple[int, int, int]:
    """Checked lengths of a segment, the steps between them, and the transforms."""
    nperseg = integer(f"{name}: nperseg", nperseg)
    noverlap = nperseg // 2 if noverlap is None else integer(f"{name}: noverlap", noverlap)
    nfft = nperseg if nfft is None else integer(f"{name}: nfft", nfft)
    if nperseg < 1:
        raise ShapeError(f"{name}: nperseg must be positive, got {nperseg}")
    if nfft < nperseg:
        raise ShapeError(f"{name}: nfft must be at least nperseg, which is {nperseg}, got {nfft}")
    if not 0 <= noverlap < nperseg:
        raise ShapeError(f"{name}: noverlap must be less than nperseg, which is {nperseg}, got {noverlap}")
    return nperseg, nperseg - noverlap, nfft


def _extended(name: str, x: Array, n: int, boundary: str) -> Array:
    """A signal with n more samples at both ends."""
    widths = [(0, 0)] * (x.ndim - 1) + [(n, n)]
    if boundary in ("zeros", "constant"):
        return fnp.pad(x, widths, {"zeros": "constant", "constant": "edge"}[boundary])
    if n >= x.shape[-1]:
        raise ShapeError(f"{name}: boundary {boundary!r} needs more than nperseg // 2 = {n} samples, got {x.shape[-1]}")
    return fnp.pad(x, widths, "reflect", reflect_type=boundary)


def _filled(x: Array, n: int) -> Array:
    """A signal with zeros behind it, n samples in all."""
    return fnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, n - x.shape[-1])]) if n > x.shape[-1] else x


def _places(samples: int, nperseg: int, step: int) -> np.ndarray:
    """[segments, nperseg]: which samples are in each segment."""
    return (np.arange(0, samples - nperseg + 1, step)[:, None] + np.arange(nperseg)).astype(np.int32)


def _trend(name: str, kind: Any, axis: int, ndim: int) -> Callable[[Array], Array]:
    """What takes the trend off segments, which stand on the last axis."""
    if isinstance(kind, str) and kind in _TRENDS:
        return lambda segments: detrend(segments, -1, kind)
    if callable(kind):  # it sees time where the caller has it
        if axis == ndim - 1:
            return lambda segments: kind(segments)
        return lambda segments: fnp.moveaxis(fnp.asarray(kind(fnp.moveaxis(segments, -1, axis))), axis, -1)
    if isinstance(kind, str) or kind:
        raise ValueError(f"{name}: detrend must be 'constant', 'linear', a function or False, got {kind!r}")
    return lambda segments: segments


class _Spectra:
    """Transforms of the windows of signals: what stft, csd and welch share."""

    def __init__(
        self,
        name: str,
        signals: list[Any],
        fs: Any,
        window: Any,
        lengths: tuple[Any, Any, Any],
        detrend: Any,
        onesided: bool,
        scaling: str,
        axis: int,
        boundary: str | None = None,
        padded: bool = False,
    ) -> None:
        """Transform each signal; `values` has time's segments last and frequencies where time was."""
        _RATE.check(name, "fs", fs)
        arrays = promote(name, *signals, to_inexact=True)
        if any(a.ndim != arrays[0].ndim for a in arrays):
            raise ShapeError(f"{name} needs signals with as many axes, got {' and '.join(str(a.type) for a in arrays)}")
        if boundary not in ("zeros", "constant", "even", "odd", None):
            raise ValueError(f"{name}: boundary must be 'zeros', 'constant', 'even', 'odd' or None, got {boundary!r}")
        if scaling not in ("density", "spectrum"):
            raise ValueError(f"{name}: scaling must be 'density' or 'spectrum', got {scaling!r}")
        self.axis = axis_index(name, axis, arrays[0].ndim)
        self.dtype = complex_of(arrays[0].dtype)
        self.real = real_of(self.dtype)
        arrays = [fnp.moveaxis(a, self.axis, -1) for a in arrays]
        lead = broadcast_shapes(*(a.shape[:-1] for a in arrays), name=f"{name}: signals beside time")
        self.empty = not all(a.size for a in arrays)
        if self.empty:
            shape = (*lead, min(a.shape[-1] for a in arrays))
            zeros = fnp.moveaxis(fnp.zeros(shape, self.dtype), -1, self.axis)
            self.frequencies = self.times = zeros.real
            self.values = [zeros for _ in arrays]
            return
        wide = [a.astype(self.dtype if a.dtype.kind == "c" else self.real) for a in arrays]
        nperseg, noverlap, nfft = lengths
        most = wide[0].shape[-1]
        if isinstance(window, (str, tuple)):
            wanted = min(256, most) if nperseg is None else integer(f"{name}: nperseg", nperseg)
            if wanted > most:
                warn(f"{name}: nperseg {wanted} is more than the {most} samples; taking those")
            nperseg = min(wanted, most)
        else:
            window = fnp.asarray(window)
            nperseg = window.size if nperseg is None else nperseg
            if window.size > most:
                raise ShapeError(f"{name}: a window of {window.size} samples is longer than the signal, {most}")
        nperseg, step, nfft = _lengths(name, nperseg, noverlap, nfft)
        w = _window(name, window, nperseg, self.real)
        length = max(a.shape[-1] for a in wide)
        wide = [_filled(a, length) for a in wide]
        if boundary is not None:
            wide = [_extended(name, a, nperseg // 2, boundary) for a in wide]
            length += 2 * (nperseg // 2)
        if padded:
            length += (nperseg - length) % step % nperseg
            wide = [_filled(a, length) for a in wide]
        if onesided and any(a.dtype.kind == "c" for a in wide):
            warn(f"{name}: signals are complex; taking return_onesided=False")
            onesided = False
        self.onesided, self.nfft = onesided and w.dtype.kind != "c", nfft
        power = fs * fnp.sum(fnp.square(w)) if scaling == "density" else fnp.square(fnp.sum(w))
        self.scale = (1 / power).astype(w.dtype)
        frequencies = fdl.fft.rfftfreq if self.onesided else fdl.fft.fftfreq
        self.frequencies = (frequencies(nfft, dtype=self.real) * fs).astype(self.real)
        start = 0 if boundary is not None else nperseg / 2
        count = (length - nperseg) // step + 1
        self.times = ((start + step * fnp.arange(count, dtype=self.real)) / fs).astype(self.real)
        trend, places = _trend(name, detrend, self.axis, wide[0].ndim), _places(length, nperseg, step)
        self.values = [self._transform(trend(a[..., places]) * w) for a in wide]

    def _transform(self, segments: Array) -> Array:
        transform = fdl.fft.rfft if self.onesided else fdl.fft.fft
        # [..., segments, frequencies] as [..., frequencies, segments], the first of the two where time was.
        found = fnp.swapaxes(transform(segments, self.nfft), -1, -2)
        return fnp.moveaxis(found, -2, self.axis).astype(self.dtype)


@fill_docstring(_ARGUMENTS | {"nperseg": "samples in a segment, at most all of them."}, raises=_RAISES)
def stft(
    x: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int | None = 256,
    noverlap: int | None = None,
    nfft: int | None = None,
    detrend: Any = False,
    return_onesided: bool = True,
    boundary: str | None = "zeros",
    padded: bool = True,
    axis: int = -1,
) -> tuple[Array, Array, Array]:
    """Short-time Fourier transform: the spectrum of each segment.

    Returns:
        Frequencies, times of the segments' middles, and the transforms: frequencies on `axis`, segments on a new last
        one. Scaled so that a sine of amplitude 2 has magnitude 1.

    >>> f, t, z = stft(fnp.ones(8), nperseg=4)
    >>> f.tolist(), t.tolist(), fnp.abs(z[0]).tolist()
    ([0.0, 0.25, 0.5], [0.0, 2.0, 4.0, 6.0, 8.0], [0.75, 1.0, 1.0, 1.0, 0.25])
    """
    lengths = nperseg, noverlap, nfft
    found = _Spectra("stft", [x], fs, window, lengths, detrend, return_onesided, "spectrum", axis, boundary, padded)
    (values,) = found.values
    if not found.empty:
        values = (values * fnp.sqrt(found.scale)).astype(found.dtype)
    return found.frequencies, found.times, values


def _average(name: str, powers: Array, average: str) -> Array:
    """Powers of segments, the last axis, as one."""
    if average == "mean":
        return fnp.mean(powers, -1)
    if average != "median":
        raise ValueError(f"{name}: average must be 'mean' or 'median', got {average!r}")
    # The median of exponentially distributed powers over their mean: Allen et al. 2012, "FINDCHIRP", appendix B.
    even = np.arange(2.0, powers.shape[-1], 2)
    bias = 1 + float(np.sum(1 / (even + 1) - 1 / even))
    if powers.dtype.kind == "c":
        return (fnp.median(powers.real, -1) + 1j * fnp.median(powers.imag, -1)) / bias
    return fnp.median(powers, -1) / bias


def _power(name: str, x: Any, y: Any, average: str, *options: Any) -> tuple[Array, Array]:
    """The (cross) power of signals by Welch's method."""
    found = _Spectra(name, [x] if y is None else [x, y], *options)
    first, last = found.values[0], found.values[-1]
    if found.empty:
        return found.frequencies, first.real if y is None else first
    both = fnp.square(first.real) + fnp.square(first.imag) if y is None else fnp.conj(first) * last
    powers = _average(name, both * found.scale, average)
    if found.onesided:  # negative frequencies have the same powers; 0 and the last one of an even length have none
        count = found.frequencies.size
        twice = np.full(count, 2.0)
        twice[0] = 1
        if found.nfft % 2 == 0:
            twice[-1] = 1
        shape = [count if axis == found.axis else 1 for axis in range(powers.ndim)]
        powers = powers * fnp.asarray(twice.reshape(shape), found.real)
    return found.frequencies, powers.astype(found.real if y is None else found.dtype)


@fill_docstring(_ARGUMENTS, raises=_RAISES)
def csd(
    x: Any,
    y: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int | None = None,
    noverlap: int | None = None,
    nfft: int | None = None,
    detrend: Any = "constant",
    return_onesided: bool = True,
    scaling: str = "density",
    axis: int = -1,
    average: str = "mean",
) -> tuple[Array, Array]:
    """Cross power spectral density of two signals by Welch's method: an average over segments.

    Returns:
        Frequencies, and the density, of which `axis` is frequency: complex, or real if y is None. Source: Welch 1967,
        "The use of fast Fourier transform for the estimation of power spectra".

    >>> x = fnp.array([0.0, 1.0, 0.0, -1.0] * 4)
    >>> f, p = csd(x, x, nperseg=8)
    >>> float(f[fnp.argmax(fnp.abs(p))])
    0.25
    """
    lengths = nperseg, noverlap, nfft
    return _power("csd", x, y, average, fs, window, lengths, detrend, return_onesided, scaling, axis)


@fill_docstring(_ARGUMENTS, raises=_RAISES)
def welch(
    x: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int | None = None,
    noverlap: int | None = None,
    nfft: int | None = None,
    detrend: Any = "constant",
    return_onesided: bool = True,
    scaling: str = "density",
    axis: int = -1,
    average: str = "mean",
) -> tuple[Array, Array]:
    """Power spectral density by Welch's method: an average over segments.

    Returns:
        Frequencies, and the density, real, of which `axis` is frequency. Source: as :func:`csd`.

    >>> f, p = welch(fnp.array([0.0, 1.0, 0.0, -1.0] * 4), nperseg=8)
    >>> float(f[fnp.argmax(p)])
    0.25
    """
    lengths = nperseg, noverlap, nfft
    return _power("welch", x, None, average, fs, window, lengths, detrend, return_onesided, scaling, axis)


def _overlapped(segments: Array, step: int) -> Array:
    """[..., segments, nperseg], each `step` later than the one before, added: [..., samples]."""
    count, nperseg = segments.shape[-2:]
    samples = nperseg + step * (count - 1)
    empty = fnp.zeros((*segments.shape[:-2], samples), segments.dtype)
    return empty.at[..., _places(samples, nperseg, step)].add(segments)


@fill_docstring(_ARGUMENTS, raises=_RAISES)
def istft(
    Zxx: Any,
    fs: Any = 1.0,
    window: Any = "hann",
    nperseg: int | None = None,
    noverlap: int | None = None,
    nfft: int | None = None,
    input_onesided: bool = True,
    boundary: bool = True,
    time_axis: int = -1,
    freq_axis: int = -2,
) -> tuple[Array, Array]:
    """The signal of a short-time Fourier transform.

    Args:
        Zxx: transforms of segments, as from :func:`stft`.
        nperseg: samples in a segment; None takes it from the number of frequencies.
        nfft: length of the transforms; None takes it from the number of frequencies.
        input_onesided: whether there are no negative frequencies.
        boundary: whether the signal had been extended at its ends, so that they are cut.
        time_axis: of segments.
        freq_axis: of frequencies.

    Returns:
        Times, and the signal of least squares; its axis of time is that of `Zxx`. Source: Griffin and Lim 1984, "Signal
        estimation from modified short-time Fourier transform". SciPy and JAX give as many times as the first axis of
        the signal has elements, also where that is not time.

    >>> x = fnp.array([1.0, 2.0, 3.0, 2.0, 1.0, 0.0, 1.0, 2.0])
    >>> _, _, z = stft(x, nperseg=4)
    >>> istft(z)[1].round(3).tolist()
    [1.0, 2.0, 3.0, 2.0, 1.0, 0.0, 1.0, 2.0]
    """
    _RATE.check("istft", "fs", fs)
    (z,) = promote("istft", Zxx, to_inexact=True)
    if z.ndim < 2:
        raise ShapeError(f"istft needs an axis of frequencies and one of segments, got {z.type}")
    frequency, time = axis_index("istft", freq_axis, z.ndim), axis_index("istft", time_axis, z.ndim)
    if frequency == time:
        raise ShapeError(f"istft: time_axis and freq_axis must differ, both are {time}")
    if not z.size:
        raise ShapeError(f"istft needs transforms with elements, got {z.type}")
    bins = z.shape[frequency]
    natural = 2 * (bins - 1) if input_onesided else bins
    nperseg = integer("istft: nperseg", natural if nperseg is None else nperseg)
    if nfft is None:
        nfft = natural + (input_onesided and nperseg == natural + 1)
    nperseg, step, nfft = _lengths("istft", nperseg, noverlap, nfft)
    z = fnp.moveaxis(z.astype(complex_of(z.dtype)), (time, frequency), (-2, -1))
    segments = (fdl.fft.irfft if input_onesided else fdl.fft.ifft)(z, nfft)[..., :nperseg]
    w = _window("istft", window, nperseg, real_of(z.dtype))
    x = _overlapped(segments * (fnp.sum(w) * w), step)
    weight = _overlapped(fnp.broadcast_to(fnp.square(w), segments.shape[-2:]), step)
    x = x / fnp.where(fnp.abs(weight) > 1e-10, weight, 1)
    cut = nperseg // 2 if boundary else 0
    x = x[..., cut : x.shape[-1] - cut]
    times = (fnp.arange(x.shape[-1], dtype=x.real.dtype) / fs).astype(x.real.dtype)
    return times, fnp.moveaxis(x, -1, time - (frequency < time))
