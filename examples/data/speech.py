"""Words read by people, 8,000 samples a second of 16 bits: prompts of a telephone exchange, and free digits."""

import wave
from pathlib import Path

import numpy as np

from examples.data.cache import fetch

LANGUAGES = ("en", "es", "fr", "it", "ru")  # each read by another person, but en and es by the same
RATE = 8000


def words(language: str, kind: str = "digits") -> dict[str, np.ndarray]:
    """Recordings by name, such as "0" to "9": (samples,) float32 from -1 to 1.

    Args:
      language: one of `LANGUAGES`.
      kind: "digits" (with "10" and so on, months and days), "letters" or "phonetic".

    Raises:
      DataError: the set cannot be had.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, not {language!r}")
    folder = fetch("spoken-digits") / language / kind
    if not folder.is_dir():
        raise ValueError(f"kind must be 'digits', 'letters' or 'phonetic', not {kind!r}")
    return {path.stem: _samples(path) for path in sorted(folder.glob("*.wav"))}


def digits(language: str) -> list[np.ndarray]:
    """The recordings of 0 to 9, in this order."""
    found = words(language)
    return [found[str(digit)] for digit in range(10)]


def free_digits() -> dict[str, list[list[np.ndarray]]]:
    """By speaker, for each of 0 to 9 in this order, 50 recordings: (samples,) float32 from -1 to 1.

    Raises:
      DataError: the set cannot be had.
    """
    found: dict[str, list[list[np.ndarray]]] = {}
    files = (fetch("free-spoken-digits") / "recordings").glob("*.wav")
    for path in sorted(files, key=lambda path: (path.stem.split("_")[1], int(path.stem.split("_")[2]))):
        digit, speaker, _ = path.stem.split("_")
        found.setdefault(speaker, [[] for _ in range(10)])[int(digit)].append(_samples(path))
    return found


def _samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as opened:
        if (opened.getframerate(), opened.getnchannels(), opened.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path} is no recording of one channel, 16 bits and {RATE} samples a second")
        return np.frombuffer(opened.readframes(opened.getnframes()), "<i2").astype(np.float32) / np.float32(32768)
