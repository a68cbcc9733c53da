"""Spectrograms are what SciPy and the formulas of the mel scale say."""

import io

import numpy as np
import pyarrow as pa
import pytest
from scipy import signal
from scipy.io import wavfile

from fdl_spark import features
from fdl_spark.data.columns import BadColumn
from fdl_spark.features.sounds import mel_bands, to_hertz, to_mel

RATE = 8000


@pytest.fixture(scope="module")
def sound():
    time = np.arange(2000) / RATE
    return np.sin(2 * np.pi * 440 * time) * 0.5 + 0.01 * np.random.default_rng(0).normal(size=2000)


def encoder(**changed):
    return features.log_mel(
        "x", **{"sample_rate": RATE, "samples": 1600, "window": 256, "hop": 100, "mels": 20} | changed
    )


def wav(samples, rate=RATE):
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    return file.getvalue()


def test_the_mel_scale_has_published_values():
    """1000 Hz is 999.99 mel by HTK's formula, and 15 by that of Slaney's Auditory Toolbox; 6400 Hz is 42 there."""
    assert to_mel(np.array([1000.0]), "htk")[0] == pytest.approx(1000, abs=0.02)
    np.testing.assert_allclose(to_mel(np.array([0.0, 500.0, 1000.0, 6400.0]), "slaney"), [0, 7.5, 15, 42], rtol=1e-12)
    hertz = np.linspace(0, 8000, 50)
    for scale in ("htk", "slaney"):
        np.testing.assert_allclose(to_hertz(to_mel(hertz, scale), scale), hertz, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_bands_are_triangles(scale):
    bands = mel_bands(16000, 4096, 10, 100.0, 7000.0, scale)
    step = 16000 / 4096
    if scale == "slaney":
        np.testing.assert_allclose(bands.sum(axis=0) * step, 1, rtol=2e-2)  # area 1 in hertz
    else:
        peaks = to_hertz(np.linspace(*to_mel(np.array([100.0, 7000.0]), scale), 12), scale)[1:-1]
        np.testing.assert_allclose(bands.argmax(axis=0) * step, peaks, atol=step)
        # Neighbouring triangles add up to 1 between the first and the last peak.
        inside = slice(int(peaks[0] / step) + 1, int(peaks[-1] / step))
        np.testing.assert_allclose(bands[inside].sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_spectrograms_are_those_of_scipy(sound, scale):
    found = encoder(scale=scale, dtype="float64").encode({"x": pa.array([sound.tolist()])})["x"][0]
    _, _, power = signal.spectrogram(
        sound[:1600],
        RATE,
        signal.windows.hann(256, sym=False),
        256,
        156,
        detrend=False,
        scaling="spectrum",
        mode="complex",
    )
    window = signal.windows.hann(256, sym=False)
    power = np.abs(power.T * window.sum()) ** 2
    frequencies = np.fft.rfftfreq(256, 1 / RATE)
    ends = to_hertz(np.linspace(*to_mel(np.array([0, RATE / 2]), scale), 22), scale)
    expected = np.empty((14, 20))
    for band in range(20):
        left, centre, right = ends[band : band + 3]
        weights = np.interp(frequencies, [left, centre, right], [0, 1, 0])
        expected[:, band] = power @ weights * (2 / (right - left) if scale == "slaney" else 1)
    np.testing.assert_allclose(found, np.log(np.maximum(expected, 1e-10)), rtol=1e-9, atol=1e-9)


def test_a_sound_has_one_spectrogram_whatever_is_beside_it(sound):
    rows = [sound[:n].tolist() for n in (1600, 300, 0, 2000)]
    whole = encoder().encode({"x": pa.array(rows, pa.list_(pa.float64()))})
    for n, row in enumerate(rows):
        alone = encoder().encode({"x": pa.array([row], pa.list_(pa.float64()))})
        assert alone["x"].tobytes() == whole["x"][n].tobytes()
    np.testing.assert_array_equal(whole["x_mask"].sum(axis=1), [14, 1, 0, 14])
    np.testing.assert_array_equal(whole["x"][2], np.float32(np.log(1e-10)))


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float32"])
def test_wav_files_are_their_samples(sound, dtype):
    scale = {"int16": 2**15, "int32": 2**31, "uint8": 2**7, "float32": 1}[dtype]
    samples = np.round(sound * scale) if dtype != "float32" else sound
    stored = (samples + 128 * (dtype == "uint8")).astype(dtype)
    found = encoder(dtype="float64").encode({"x": pa.array([wav(stored)])})["x"]
    exact = (stored.astype(np.float64) - 128 * (dtype == "uint8")) / scale
    np.testing.assert_array_equal(found, encoder(dtype="float64").encode({"x": pa.array([exact.tolist()])})["x"])
    lists = pa.array([stored.tolist()], pa.list_(pa.from_numpy_dtype(np.dtype(dtype))))
    np.testing.assert_array_equal(found, encoder(dtype="float64").encode({"x": lists})["x"])
    if dtype == "int16":
        both = np.stack([stored, stored], axis=1)
        np.testing.assert_array_equal(found, encoder(dtype="float64").encode({"x": pa.array([wav(both)])})["x"])


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([[0.0], [None]]), "null or NaN in a list"),
        (pa.array([[0.0], None]), "null"),
        (pa.array([wav(np.zeros(9, np.int16)), b"RIFF1234WAVE"]), "no WAV file"),
        (pa.array([wav(np.zeros(9, np.int16)), wav(np.zeros(9, np.int16), 44100)]), "44100 samples a second"),
    ],
)
def test_bad_sounds_name_their_row(column, text):
    with pytest.raises(BadColumn, match=text) as raised:
        encoder().encode({"x": column})
    assert raised.value.problem.row == 1


def test_null_may_be_silence():
    found = encoder(missing="silence").encode({"x": pa.array([None, [0.0]], pa.list_(pa.float32()))})
    np.testing.assert_array_equal(found["x"][0], found["x"][1])
