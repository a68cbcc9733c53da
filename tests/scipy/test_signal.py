"""Convolution, trends and spectra, against SciPy."""

import itertools

import numpy as np
import pytest
import scipy.signal

import fdl
import fdl.numpy as fnp
from fdl.errors import AxisError, DtypeError, ShapeError
from fdl.scipy import signal

RNG = np.random.default_rng(0)
PAIRS = [
    ((7,), (4,), np.float64),
    ((2,), (5,), np.complex128),
    ((2, 3), (3, 4), np.int64),
    ((3, 2), (2, 3), np.float64),
    ((3, 3, 2), (2, 3, 1), np.complex128),
]


def draw(shape, kind=np.float64):
    x = RNG.normal(size=shape) + (1j * RNG.normal(size=shape) if np.dtype(kind).kind == "c" else 0)
    return (3 * x).astype(kind)


def close(found, expected, bound=1e-9):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(np.asarray(one), other, bound, bound)


def outcome(function, *args, **options):
    try:
        return function(*args, **options)
    except ValueError:
        return None


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_convolutions_are_those_of_scipy(method):
    for first, second, kind in PAIRS:
        x, y = draw(first, kind), draw(second, kind)
        for name, mode in itertools.product(("convolve", "correlate"), ("full", "same", "valid")):
            expected = outcome(getattr(scipy.signal, name), x, y, mode, method)
            found = outcome(getattr(signal, name), x, y, mode, method)
            assert (found is None) == (expected is None), (name, first, second, mode)
            if expected is not None:
                close([found], [expected], 1e-9 if kind != np.int64 else 1e-5)


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
def test_images_beyond_their_borders(mode):
    x = draw((3, 4))
    for name, size in itertools.product(("convolve2d", "correlate2d"), ((2, 3), (4, 4))):
        y = draw(size, np.complex128)
        if mode == "valid" and size == (2, 3):
            x, y = y, x
        for boundary, fill in (("fill", 0), ("fill", 2), ("wrap", 0), ("symm", 0)):
            expected = getattr(scipy.signal, name)(x, y, mode, boundary, fill)
            close([getattr(signal, name)(x, y, mode, boundary, fill)], [expected])


def test_convolution_along_some_axes():
    x, y = draw((3, 5, 2)), draw((3, 4, 1))
    for mode in ("full", "same", "valid"):
        close([signal.fftconvolve(x, y, mode, axes=1)], [scipy.signal.fftconvolve(x, y, mode, axes=1)])
    with pytest.raises(ShapeError, match="must broadcast"):
        signal.fftconvolve(x, y[:2], axes=1)


def test_convolution_keeps_dtypes():
    for kind in (np.float16, np.float32, np.float64, np.complex64):
        x = draw(5, kind)
        assert signal.convolve(x, x).dtype == signal.fftconvolve(x, x).dtype == signal.correlate(x, x).dtype == kind


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_convolutions_have_derivatives(method):
    x, y = draw(6), draw(3)
    gradient = fdl.grad(lambda x, y: fnp.sum(signal.convolve(x, y, "same", method) ** 2), (0, 1))
    full = np.zeros(8)
    full[1:7] = 2 * scipy.signal.convolve(x, y, "same")
    close(gradient(x, y), [np.correlate(full, y, "valid"), np.correlate(full, x, "valid")])
    batch = fdl.vmap(lambda x: signal.correlate(x, y, "same", method))(np.stack([x, x + 1]))
    close(batch, [scipy.signal.correlate(v, y, "same") for v in (x, x + 1)])


def test_wrong_operands_of_convolutions():
    assert signal.convolve(2.0, 3.0) == signal.fftconvolve(2.0, 3.0) == 6
    x = np.ones(3)
    for function, args, words in [
        (signal.convolve, (x, np.ones((2, 2))), "as many axes"),
        (signal.fftconvolve, (x, np.ones(0)), "with elements"),
        (signal.convolve2d, (x, x), "matrices"),
        (signal.correlate2d, (np.ones((2, 3)), np.ones((3, 2)), "valid"), "as large as the other"),
    ]:
        with pytest.raises(ShapeError, match=words):
            function(*args)
    for options in ({"mode": "half"}, {"method": "slow"}):
        with pytest.raises(ValueError, match="must be"):
            signal.convolve(x, x, **options)
    with pytest.raises(ValueError, match="boundary must be one of"):
        signal.convolve2d(np.ones((2, 2)), np.ones((2, 2)), boundary="none")


def test_trends():
    for shape, axis, kind in itertools.product([(5,), (4, 6), (1, 1)], (0, -1), ("linear", "constant")):
        for breaks in (0, [0, shape[axis] // 2]):
            x = draw(shape, np.complex128)
            close([signal.detrend(x, axis, kind, breaks)], [scipy.signal.detrend(x, axis, kind, breaks)])
    assert signal.detrend(np.ones((2, 0))).shape == (2, 0)
    assert signal.detrend(np.ones(3, np.float16)).dtype == np.float16
    with pytest.raises(ValueError, match="type must be"):
        signal.detrend(np.ones(3), type="square")
    with pytest.raises(ValueError, match="break points"):
        signal.detrend(np.ones(3), bp=4)


SEGMENTS = [  # shape, axis, and the lengths
    ((50,), -1, {"nperseg": 17, "noverlap": 5}),
    ((2, 13), -1, {"nperseg": 7, "noverlap": 0, "nfft": 9}),
    ((3, 17, 2), 1, {"nperseg": 8, "nfft": 12}),
    ((3, 7), 0, {"nperseg": 1}),
    ((40,), 0, {"nperseg": 8, "window": "hamming"}),
    ((40,), 0, {"window": np.arange(1.0, 9.0)}),
    ((40,), 0, {"nperseg": 9, "noverlap": 8, "window": ("kaiser", 4.0)}),
]


@pytest.mark.parametrize("case", range(len(SEGMENTS)))
def test_spectra_are_those_of_scipy(case):
    shape, axis, lengths = SEGMENTS[case]
    x, y, z = draw(shape), draw(shape), draw(shape, np.complex128)
    for boundary, kind, padded in (("zeros", False, True), ("constant", "linear", False), (None, "constant", True)):
        options = {"fs": 3.0, "axis": axis, "boundary": boundary, "detrend": kind, "padded": padded, **lengths}
        if "window" in lengths and "nperseg" not in lengths:
            options["nperseg"] = lengths["window"].size
        close(signal.stft(x, **options), scipy.signal.stft(x, **options))
        options["return_onesided"] = False
        close(signal.stft(z, **options), scipy.signal.stft(z, **options))
    for boundary in ("even", "odd"):
        options = {"nperseg": 5, "boundary": boundary, "axis": int(np.argmax(shape))}
        close(signal.stft(x, **options), scipy.signal.stft(x, **options))
    for kind, scaling, average in (("linear", "density", "mean"), ("constant", "spectrum", "median")):
        options = {"fs": 3.0, "axis": axis, "detrend": kind, "scaling": scaling, "average": average, **lengths}
        close(signal.welch(x, **options), scipy.signal.welch(x, **options))
        close(signal.csd(x, y, **options), scipy.signal.csd(x, y, **options))
        options["return_onesided"] = False
        close(signal.csd(x, z, **options), scipy.signal.csd(x, z, **options))


def test_spectra_of_signals_of_different_lengths_and_a_function_for_trends():
    x, y = draw((3, 17, 2)), draw((3, 12, 2))
    options = {"nperseg": 9, "axis": 1}
    close(signal.csd(x, y, **options), scipy.signal.csd(x, y, **options))
    close(signal.csd(y, x, **options), scipy.signal.csd(y, x, **options))
    seen = []
    options["detrend"] = lambda segments: seen.append(segments.shape) or signal.detrend(segments, 1, "constant")
    close(signal.welch(x, **options), scipy.signal.welch(x, **(options | {"detrend": "constant"})))
    assert seen == [(3, 9, 2, 2)]  # time stands where it was, segments come last
    assert signal.welch(np.ones(0))[1].shape == (0,)


def test_signals_come_back_from_their_spectra():
    for shape, axis, lengths in [
        ((50,), -1, {"nperseg": 8}),
        ((2, 61, 3), 1, {"nperseg": 9, "noverlap": 6, "nfft": 16}),
    ]:
        x = draw(shape)
        _, _, z = signal.stft(x, axis=axis, **lengths)
        frequency = axis if axis >= 0 else axis - 1
        options = {**lengths, "freq_axis": frequency}
        times, found = signal.istft(z, **options)
        _, expected = scipy.signal.istft(np.asarray(z), **options)
        close([found], [expected])
        assert times.shape == (expected.shape[-1],)  # SciPy has the extent of the first axis
        moved = np.moveaxis(x, axis, -1)
        np.testing.assert_allclose(np.asarray(found)[..., : moved.shape[-1]], moved, atol=1e-12)
    z = draw((5, 6), np.complex128)
    for options in (
        {"input_onesided": False},
        {"boundary": False, "window": "hamming"},
        {"window": np.ones(8)},
    ):
        close([signal.istft(z, **options)[1]], [scipy.signal.istft(z, **options)[1]])


def test_spectra_have_derivatives_and_dtypes():
    x = draw(12)

    def power(x):
        return fnp.sum(signal.welch(x, nperseg=4)[1])

    def back(x):
        return signal.istft(signal.stft(x, nperseg=4)[2])[1]

    step = 1e-6 * np.eye(12)
    expected = [(power(x + d) - power(x - d)).item() / 2e-6 for d in step]
    np.testing.assert_allclose(np.asarray(fdl.jit(fdl.grad(power))(x)), expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(fdl.jacobian(back)(x)), np.eye(12), atol=1e-12)
    for kind, real in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        f, t, z = signal.stft(x.astype(kind), nperseg=4)
        assert f.dtype == t.dtype == real and z.dtype == np.result_type(real, np.complex64)
        assert signal.istft(z)[1].dtype == signal.welch(x.astype(kind), nperseg=4)[1].dtype == real


def test_wrong_lengths_and_options_of_spectra():
    x = np.ones(8)
    for options, words in [
        ({"nperseg": 0}, "nperseg must be positive"),
        ({"nperseg": 4, "nfft": 3}, "nfft must be at least"),
        ({"nperseg": 4, "noverlap": 4}, "noverlap must be less"),
        ({"nperseg": 4, "window": np.ones(3)}, "window of 4 samples"),
        ({"window": np.ones(9), "nperseg": 9}, "longer than the signal"),
        ({"nperseg": 2, "axis": 1}, "axis 1"),
    ]:
        with pytest.raises((ShapeError, AxisError), match=words):
            signal.stft(x, **options)
    for function, options in [
        (signal.stft, {"boundary": "round"}),
        (signal.welch, {"scaling": "loud"}),
        (signal.welch, {"average": "mode"}),
        (signal.welch, {"detrend": True}),
    ]:
        with pytest.raises(ValueError, match="must be"):
            function(x, nperseg=4, **options)
    with pytest.raises(ShapeError, match="as many axes"):
        signal.csd(x, np.ones((2, 8)))
    with pytest.raises(ShapeError, match="must differ"):
        signal.istft(np.ones((3, 3)), time_axis=0, freq_axis=0)
    for call in (
        lambda: signal.welch(x, average="x"),
        lambda: signal.welch(x, detrend="xx"),
        lambda: signal.welch(x, fs=0),
        lambda: signal.welch(x, nperseg=0),
    ):
        with pytest.raises(ValueError, match="^welch: (average|detrend|fs|nperseg) must be"):
            call()
    for call in (lambda: signal.stft(x, fs="a"), lambda: signal.istft(np.ones((3, 3)), fs=1j)):
        with pytest.raises(DtypeError, match="stft: fs must be a real number"):
            call()
    with pytest.raises(ShapeError, match=r"^csd: signals beside time.*\(3,\).*\(2,\)"):
        signal.csd(np.ones((3, 8)), np.ones((2, 8)))


def test_warnings_of_spectra_are_of_the_line_that_calls():
    x = np.ones(8)
    for function, given, options, words in [
        (signal.stft, [x], {}, "stft: nperseg 256 is more than the 8 samples"),
        (signal.welch, [x], {"nperseg": 9}, "welch: nperseg 9 is more"),
        (signal.csd, [x, x + 0j], {"nperseg": 4}, "csd: signals are complex"),
        (signal.welch, [x + 0j], {"nperseg": 4}, "welch: signals are complex"),
    ]:
        with pytest.warns(UserWarning, match=words) as caught:
            function(*given, **options)
        assert [w.filename for w in caught] == [__file__]
