"""The mel scale has the values that were published, and spectrograms are those of NumPy's Fourier transform."""

import numpy as np
import pytest

import fdl
from fdl import audio
from fdl.errors import DtypeError, ShapeError
from fdl.test_util import check_grads


def test_the_mel_scale_has_published_values():
    """1000 Hz is 999.99 mel by HTK's formula, and 15 by that of Slaney's Auditory Toolbox; 6400 Hz is 42 there."""
    assert audio.hertz_to_mel(np.array([1000.0]), "htk")[0] == pytest.approx(1000, abs=0.02)
    np.testing.assert_allclose(
        audio.hertz_to_mel(np.array([0.0, 500.0, 1000.0, 6400.0]), "slaney"), [0, 7.5, 15, 42], rtol=1e-12
    )
    hertz = np.linspace(0, 8000, 50)
    for scale in ("htk", "slaney"):
        np.testing.assert_allclose(
            audio.mel_to_hertz(audio.hertz_to_mel(hertz, scale), scale), hertz, rtol=1e-12, atol=1e-9
        )


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_bands_are_triangles(scale):
    bands = audio.mel_bands(16000, 4096, 10, 100.0, 7000.0, scale)
    step = 16000 / 4096
    if scale == "slaney":
        np.testing.assert_allclose(bands.sum(axis=0) * step, 1, rtol=2e-2)  # area 1 in hertz
    else:
        peaks = audio.mel_to_hertz(np.linspace(*audio.hertz_to_mel(np.array([100.0, 7000.0]), scale), 12), scale)[1:-1]
        np.testing.assert_allclose(bands.argmax(axis=0) * step, peaks, atol=step)
        # Neighbouring triangles add up to 1 between the first and the last peak.
        inside = slice(int(peaks[0] / step) + 1, int(peaks[-1] / step))
        np.testing.assert_allclose(bands[inside].sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize(("window", "fft"), [(100, None), (256, 512), (1100, 2048)])
def test_a_spectrogram_is_that_of_numpy(window, fft):
    sound = np.random.default_rng(0).normal(size=(2, 3, 2500))
    points = fft or 128
    frames = np.lib.stride_tricks.sliding_window_view(sound, window, axis=-1)[..., ::80, :]
    hann = np.hanning(window + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * hann, points)) ** 2
    expected = np.log(np.maximum(power @ audio.mel_bands(8000, points, 12, 50.0, 3500.0, "slaney"), 1e-3))
    settings = {"sample_rate": 8000, "window": window, "hop": 80, "fft": fft, "mels": 12, "low": 50.0, "high": 3500.0}
    for dtype, exact in [(np.float32, 1e-5), (np.float64, 1e-12)]:
        found = audio.log_mel(sound.astype(dtype), scale="slaney", floor=1e-3, **settings)
        assert found.dtype == dtype and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=exact, atol=exact)


def test_it_is_differentiable_and_batched():
    sound = np.random.default_rng(1).normal(size=(3, 60))

    def spectrogram(x):
        return audio.log_mel(x, sample_rate=8000, window=16, hop=9, mels=5)

    check_grads(spectrogram, (sound[0],), 1, ["rev"])
    np.testing.assert_allclose(fdl.vmap(spectrogram)(sound), spectrogram(sound), rtol=1e-12)


def test_what_is_wrong_is_named():
    with pytest.raises(ShapeError, match="window of 400 samples"):
        audio.log_mel(np.zeros(399, np.float32), sample_rate=8000)
    with pytest.raises(DtypeError, match="int16; divide"):
        audio.log_mel(np.zeros(500, np.int16), sample_rate=8000)
    with pytest.raises(ValueError, match="256 points takes no window"):
        audio.log_mel(np.zeros(500, np.float32), sample_rate=8000, fft=256)
    with pytest.raises(ValueError, match="half the sample rate"):
        audio.log_mel(np.zeros(500, np.float32), sample_rate=8000, high=4001.0)
    with pytest.raises(ValueError, match="not 'bark'"):
        audio.mel_bands(8000, 256, 20, scale="bark")
