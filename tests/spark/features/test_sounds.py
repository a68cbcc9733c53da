"""Spectrograms are what SciPy and the formulas of the mel scale say."""

import io
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from scipy import signal
from scipy.io import wavfile

import fdl
from fdl import audio
from fdl_spark import features
from fdl_spark.data.columns import BadColumn

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
    ends = audio.mel_to_hertz(np.linspace(*audio.hertz_to_mel([0, RATE / 2], scale), 22), scale)
    expected = np.empty((14, 20))
    for band in range(20):
        left, centre, right = ends[band : band + 3]
        weights = np.interp(frequencies, [left, centre, right], [0, 1, 0])
        expected[:, band] = power @ weights * (2 / (right - left) if scale == "slaney" else 1)
    np.testing.assert_allclose(found, np.log(np.maximum(expected, 1e-10)), rtol=1e-9, atol=1e-9)
    compiled = fdl.jit(partial(audio.log_mel, sample_rate=RATE, window=256, hop=100, mels=20, scale=scale))
    np.testing.assert_allclose(compiled(sound[:1600]), found, rtol=1e-9, atol=1e-9)


def test_a_sound_has_one_spectrogram_whatever_is_beside_it(sound):
    rows = [sound[:n].tolist() for n in (1600, 300, 0, 2000)]
    whole = encoder().encode({"x": pa.array(rows, pa.list_(pa.float64()))})
    for n, row in enumerate(rows):
        alone = encoder().encode({"x": pa.array([row], pa.list_(pa.float64()))})
        assert alone["x"].tobytes() == whole["x"][n].tobytes()
    np.testing.assert_array_equal(whole["x_mask"].sum(axis=1), [14, 1, 0, 14])
    np.testing.assert_array_equal(whole["x"][2], np.float32(np.log(1e-10)))


def test_a_waveform_is_the_samples(sound):
    stored = np.round(sound[:900] * 2**15).astype(np.int16)
    made = features.waveform("x", "y", sample_rate=RATE, samples=700, missing="silence")
    found = made.encode({"x": pa.array([wav(stored), None, wav(stored[:5])])})["y"]
    np.testing.assert_array_equal(found[0], (stored[:700] / 2**15).astype(np.float32))
    assert not found[1].any() and not found[2, 5:].any()
    np.testing.assert_array_equal(found[2, :5], found[0, :5])
    with pytest.raises(BadColumn, match="16000 samples a second"):
        made.encode({"x": pa.array([wav(stored, 16000)])})


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
