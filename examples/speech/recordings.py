"""Spoken words as tables of WAV files: voices that are trained on, and humans who are not."""

import io
import sys
import wave
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa

from examples.data import DataError, speech
from examples.data.speech import RATE
from examples.speech.voices import Spoken, synthesized
from examples.speech.words import OTHER

QUIET = 0.02  # of the loudest sample: what lies before and behind is cut off
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("speaker", pa.string()),
        ("language", pa.string()),
        ("label", pa.int32()),
        ("sound", pa.binary()),
    ]
)
FREE = "Free Spoken Digits"
#: Allison reads English and Spanish.
SPEAKERS = {"en": "Allison", "es": "Allison", "fr": "June", "it": "Carlo", "ru": "Ivrvoice"}


def wav(sound: np.ndarray) -> bytes:
    """A sound from -1 to 1 as a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(RATE)
        opened.writeframes(np.clip(np.round(sound * 32768), -32768, 32767).astype("<i2").tobytes())
    return file.getvalue()


def trimmed(sound: np.ndarray) -> np.ndarray:
    """A sound without what is quiet at its beginning and its end."""
    loud = np.flatnonzero(np.abs(sound) > QUIET * np.abs(sound).max(initial=0))
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound[:1]


def tabled(spoken: Iterable[Spoken]) -> pa.Table:
    """A table of id, speaker, language, label and sound (a WAV file)."""
    rows = [
        (f"{word.speaker} {word.language} {number}", word.speaker, word.language, word.label, wav(trimmed(word.sound)))
        for number, word in enumerate(spoken)
    ]
    columns = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def voices(rounds: int, others: int, seed: int) -> pa.Table:
    """What eSpeak NG says; see `voices.synthesized`."""
    return tabled(synthesized(rounds, others, seed))


def humans() -> dict[str, pa.Table]:
    """Recordings of humans by the set that they are of; a set that cannot be had is left out with a warning."""
    found = {"Asterisk, digits": tabled(_prompts(digits=True)), "Asterisk, other words": tabled(_prompts(digits=False))}
    try:
        found[FREE] = tabled(_free())
    except DataError as error:
        print(f"without the free spoken digits: {error}", file=sys.stderr)
    return found


def _prompts(digits: bool) -> Iterator[Spoken]:
    for language in speech.LANGUAGES:
        if digits:
            for label, sound in enumerate(speech.digits(language)):
                yield Spoken(SPEAKERS[language], language, label, sound)
            continue
        letters, alphabet = (speech.words(language, kind) for kind in ("letters", "phonetic"))
        dates = {name: sound for name, sound in speech.words(language).items() if name.startswith(("day-", "mon-"))}
        named = {name: sound for name, sound in letters.items() if len(name) == 1}
        spelled = {name: sound for name, sound in alphabet.items() if not name.startswith("9")}
        for sound in [*named.values(), *spelled.values(), *dates.values()]:
            yield Spoken(SPEAKERS[language], language, OTHER, sound)


def _free() -> Iterator[Spoken]:
    for speaker, digits in speech.free_digits().items():
        for label, recordings in enumerate(digits):
            for sound in recordings:
                yield Spoken(speaker, "en", label, sound)
