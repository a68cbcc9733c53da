"""The spectrogram, the network, the loss, the augmentation and the metrics."""

from typing import Any

import fdl.numpy as fnp
from examples.data.speech import RATE
from examples.speech.words import NAMES
from fdl import audio, nn
from fdl.models import ds_cnn
from fdl_spark import features, metrics
from fdl_spark.features import augment

SAMPLES = RATE  # a second
MELS = 20
WINDOW, HOP = 256, 160  # 32 ms, every 20 ms: 49 frames
DEPTH = 10.0  # natural logarithms of power below the loudest band that count: 43 dB
CONFIG = ds_cnn.Config(frames=1 + (SAMPLES - WINDOW) // HOP, features=MELS, classes=len(NAMES))

#: A WAV file becomes samples on the executors; the spectrogram is compiled with the network.
SOUND = features.waveform("sound", sample_rate=RATE, samples=SAMPLES)
LABEL = features.numeric("label", dtype="int32")
ENCODERS = features.Features((SOUND, LABEL))

#: Sounds become longer or shorter by a fifth, begin elsewhere, are louder or softer, and noise is added.
CHANGE = augment.chain(
    augment.speed("sound", low=0.8, high=1.25),
    augment.shift("sound", earlier=400, later=3200),
    augment.white_noise("sound", low=5.0, high=40.0),
    augment.volume("sound", low=-20.0, high=6.0),
)


def spectrogram(sound: Any) -> Any:
    """The log-mel spectrogram of sounds [..., SAMPLES] beside its loudest band: [..., frames, MELS] from -1 to 1."""
    scaled = sound / (fnp.abs(sound).max(axis=-1, keepdims=True) + 1e-6)
    bands = audio.log_mel(
        scaled, sample_rate=RATE, window=WINDOW, hop=HOP, mels=MELS, low=80.0, high=3800.0, floor=1e-4
    )
    below = bands - bands.max(axis=(-2, -1), keepdims=True)
    return fnp.maximum(below, -DEPTH) * (2 / DEPTH) + 1


def loss(params: Any, state: Any, batch: Any, *, training: bool = True) -> Any:
    """The mean cross-entropy, the accuracy, and the new statistics of the norms."""
    given = {"features": spectrogram(batch["sound"]), "labels": batch["label"]}
    return ds_cnn.loss(params, state, given, config=CONFIG, training=training)


def logits(model: Any, batch: Any) -> Any:
    """Of a batch, by the pair of parameters and statistics."""
    params, state = model
    return ds_cnn.apply(params, state, spectrogram(batch["sound"]), config=CONFIG)[0]


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
