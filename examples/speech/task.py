"""The spectrogram, the network, the loss, the augmentation and the metrics."""

from dataclasses import replace
from typing import Any

import numpy as np

import fdl.numpy as fnp
from examples.data.speech import RATE
from examples.speech.words import NAMES
from fdl import audio, nn, random
from fdl.models import ds_cnn
from fdl_spark import features, metrics
from fdl_spark.features import augment

SAMPLES = RATE  # a second
MELS = 20
WINDOW, HOP = 256, 160  # 32 ms, every 20 ms: 49 frames
LOW, HIGH, FLOOR = 80.0, 3800.0, 1e-4  # hertz of the bands' ends, and the least power
DEPTH = 10.0  # natural logarithms of power below the loudest band that count: 43 dB
SPEECH = 8.0  # a frame counts as speech if its loudest band is less than this below the loudest of all: 35 dB
CONFIG = ds_cnn.Config(
    second=(2, 2), frames=1 + (SAMPLES - WINDOW) // HOP, features=MELS, classes=len(NAMES)
)  # the small network with the strides of the middle one: a third of the arithmetic

#: A WAV file becomes samples on the executors; the spectrogram is compiled with the network.
SOUND = features.waveform("sound", sample_rate=RATE, samples=SAMPLES)
LABEL = features.numeric("label", dtype="int32")
ENCODERS = features.Features((SOUND, LABEL))


def tilted(key: Any, row: Any) -> Any:
    """A sound whose treble and bass are stronger or weaker, as by another microphone: a random filter of three taps."""
    sound = row["sound"]
    first, second = random.uniform(key, (2,), minval=-1.0, maxval=1.0) * np.array([0.9, 0.5], np.float32)
    late = [fnp.pad(sound[:-delay], (delay, 0)) for delay in (1, 2)]
    return {**row, "sound": sound + first * late[0] + second * late[1]}


#: Sounds are played faster or slower (which moves formants, as the length of a vocal tract does, and pitch), begin
#: elsewhere, are filtered, and noise is added. Loudness need not change: the spectrogram does not depend on it.
CHANGE = augment.chain(
    augment.speed("sound", low=0.75, high=1.3),
    augment.shift("sound", earlier=400, later=3200),
    tilted,
    augment.white_noise("sound", low=5.0, high=40.0),
)


def spectrogram(sound: Any) -> Any:
    """The log-mel spectrogram of sounds [..., SAMPLES], [..., frames, MELS], normalised over each one's speech.

    Of each band the mean over the frames of speech is taken away, and all are divided by their standard deviation
    together, so that neither loudness nor the microphone's frequency response, nor how long it is silent, matters.
    """
    scaled = sound / (fnp.abs(sound).max(axis=-1, keepdims=True) + 1e-6)
    bands = audio.log_mel(scaled, sample_rate=RATE, window=WINDOW, hop=HOP, mels=MELS, low=LOW, high=HIGH, floor=FLOOR)
    below = fnp.maximum(bands - bands.max(axis=(-2, -1), keepdims=True), -DEPTH)
    speech = (below.max(axis=-1, keepdims=True) > -SPEECH).astype(below.dtype)
    frames = speech.sum(axis=-2, keepdims=True)  # at least one, the loudest
    centred = below - (below * speech).sum(axis=-2, keepdims=True) / frames
    variance = (centred**2 * speech).sum(axis=(-2, -1), keepdims=True) / (frames * MELS)
    return centred / (fnp.sqrt(variance) + 0.3)


def network(params: Any) -> ds_cnn.Config:
    """What the parameters of a network were made with: `CONFIG`, or one of another size."""
    return replace(CONFIG, width=params["stem"]["conv"]["w"].shape[-1], depth=len(params["blocks"]))


def loss(params: Any, state: Any, batch: Any, *, training: bool = True) -> Any:
    """The mean cross-entropy, the accuracy, and the new statistics of the norms."""
    given = {"features": spectrogram(batch["sound"]), "labels": batch["label"]}
    return ds_cnn.loss(params, state, given, config=network(params), training=training)


def logits(model: Any, batch: Any) -> Any:
    """Of a batch, by the pair of parameters and statistics."""
    params, state = model
    return ds_cnn.apply(params, state, spectrogram(batch["sound"]), config=network(params))[0]


def classify(model: Any, batch: Any) -> dict[str, Any]:
    """The class of each sound, and how probable the network takes it to be."""
    probabilities = nn.softmax(logits(model, batch))
    return {
        "word": fnp.argmax(probabilities, axis=-1).astype(fnp.int32),
        "probability": probabilities.max(axis=-1),
    }


def measured(scores: Any) -> dict[str, metrics.Metric]:
    """Accuracy and confusion of a function (model, batch) -> scores of classes."""
    return {"accuracy": metrics.accuracy(scores, "label"), "confusion": metrics.confusion_matrix(scores, "label")}
