"""Spoken words of no human: eSpeak NG, as the package `espeakng-loader` carries it, with many voices.

A voice is a language of eSpeak, maybe as it is spoken in a region, and one of its hundred variants, which change
formants, pitch and breath. It is a formant synthesizer: no recording of a human is in what it says.
"""

import ctypes
import signal
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from math import gcd
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from examples.data.speech import RATE
from examples.speech.words import DIGITS, OTHER, OTHERS

DIALECTS = {
    "en": ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc"),
    "es": ("es", "es-419"),
    "fr": ("fr", "fr-be", "fr-ch"),
    "it": ("it",),
    "ru": ("ru",),
}
SYNCHRONOUS, CHARACTERS, NO_EXIT = 2, 0, 0x8000  # of espeak_ng/speak_lib.h
SPEED, PITCH, RANGE = 1, 3, 4  # parameters there
LONGEST = 2.0  # seconds of processor time for a word, which needs a few milliseconds


class Spoken(NamedTuple):
    """A word that was spoken.

    Attributes:
      speaker: who spoke it.
      language: two letters.
      label: its class.
      sound: (samples,) float32 from -1 to 1.
    """

    speaker: str
    language: str
    label: int
    sound: np.ndarray


class Synthesizer:
    """eSpeak NG; a process has one."""

    def __init__(self) -> None:
        espeakng_loader = _package()
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        self._parts: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = kind(self._heard)  # kept: the library has only its address
        self.rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, data.encode(), NO_EXIT)
        if self.rate <= 0:
            raise OSError(f"eSpeak NG cannot read {data}")
        self._library.espeak_SetSynthCallback(self._callback)

    def _heard(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: str, speed: int = 175, pitch: int = 50, span: int = 50) -> np.ndarray:
        """The samples of a text, float32 from -1 to 1, at `rate` samples a second.

        Args:
          text: in the language of the voice.
          voice: a language and a variant, as in "en-us+f2".
          speed: words a minute.
          pitch, span: of the voice and of its melody, 0 to 100.

        Raises:
          ValueError: there is no such voice.
        """
        self._parts.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"eSpeak NG has no voice {voice!r}")
        for parameter, value in ((SPEED, speed), (PITCH, pitch), (RANGE, span)):
            self._library.espeak_SetParameter(parameter, value, 0)
        content = text.encode() + b"\0"
        if self._library.espeak_Synth(content, len(content), 0, 1, 0, 1, None, None):
            raise OSError(f"eSpeak NG does not say {text!r}")
        return np.concatenate([np.zeros(0, np.int16), *self._parts]).astype(np.float32) / np.float32(32768)


def _package() -> Any:
    try:
        import espeakng_loader
    except ImportError:
        raise ImportError("training voices need eSpeak NG: pip install 'fdl[speech]'") from None
    return espeakng_loader


def variants() -> list[str]:
    """The variants of voices."""
    return sorted(path.name for path in Path(_package().get_data_path(), "voices", "!v").iterdir())


class Order(NamedTuple):
    """A word to be said: arguments of `Synthesizer.say`."""

    text: str
    voice: str
    speed: int
    pitch: int
    span: int


def said(orders: Iterable[Order]) -> Iterator[np.ndarray | None]:
    """The sounds of words at the rate of telephones, None where eSpeak NG crashes or finds no end.

    It does so with few words, at some speeds and pitches of some voices, and cannot be interrupted. So it runs in a
    process of its own, which a timer of its processor time ends.
    """
    context, orders = get_context("spawn"), list(orders)
    done = 0
    while done < len(orders):
        here, there = context.Pipe()
        child = context.Process(target=_say, args=(there, orders[done:]), daemon=True)
        child.start()
        there.close()
        try:
            while done < len(orders):
                found = here.recv()
                if isinstance(found, Exception):
                    raise found
                yield found
                done += 1
        except EOFError:
            child.join()
            if child.exitcode not in (-signal.SIGPROF, -signal.SIGSEGV):
                raise OSError(f"the process of eSpeak NG ended with {child.exitcode} at {orders[done]}") from None
            yield None
            done += 1
        finally:
            here.close()
            child.kill()
            child.join()


def _say(there: Any, orders: list[Order]) -> None:
    """Say words in a process of their own, and send what was said, or the exception."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    try:
        engine = Synthesizer()
        for order in orders:
            signal.setitimer(signal.ITIMER_PROF, LONGEST)
            there.send(at_rate(engine.say(*order), engine.rate))
    except (ImportError, OSError, ValueError) as error:
        there.send(error)


def synthesized(rounds: int, others: int, seed: int) -> Iterator[Spoken]:
    """Digits and some other words by all variants of eSpeak's voices in all languages.

    Args:
      rounds: how often; dialect, speed, pitch and the other words are drawn anew.
      others: how many other words of each voice.
      seed: of what is drawn.
    """
    from tqdm import tqdm

    rng = np.random.default_rng(seed)
    orders: list[Order] = []
    told: list[tuple[str, str, int]] = []
    for _, variant, language in product(range(rounds), variants(), DIGITS):
        names = OTHERS[language]
        drawn = [(names[place], OTHER) for place in rng.choice(len(names), others, replace=False)]
        for word, label in [*((word, digit) for digit, word in enumerate(DIGITS[language])), *drawn]:
            dialect = DIALECTS[language][rng.integers(len(DIALECTS[language]))]
            speed, pitch, span = (int(rng.integers(*ends)) for ends in ((110, 230), (15, 90), (10, 90)))
            orders.append(Order(word, f"{dialect}+{variant}", speed, pitch, span))
            told.append((f"espeak {variant}", language, label))
    sounds = tqdm(said(orders), "voices", len(orders), file=sys.stderr, leave=False)
    for (speaker, language, label), sound in zip(told, sounds, strict=True):
        if sound is not None:
            yield Spoken(speaker, language, label, sound)


def at_rate(sound: np.ndarray, rate: int) -> np.ndarray:
    """A sound at the rate of telephones."""
    from scipy.signal import resample_poly

    common = gcd(RATE, rate)
    up, down = RATE // common, rate // common
    return resample_poly(sound, up, down, window=_filter(up, down)).astype(np.float32)


@cache
def _filter(up: int, down: int) -> np.ndarray:
    """The low-pass filter that `resample_poly` would design anew for each sound."""
    from scipy.signal import firwin

    return firwin(20 * max(up, down) + 1, 1 / max(up, down), window=("kaiser", 5.0)).astype(np.float32)
