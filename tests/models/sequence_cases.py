"""Small configurations of the models of recommendation, text, series and codes, and numbers of parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fdl.models import (
    anomaly_lstm,
    bert,
    deepfm,
    gpt2,
    matrix_factorization,
    nbeats,
    neumf,
    recurrent_lm,
    sasrec,
    seq2seq,
    tcn,
    textcnn,
    transformer,
    vae,
    wide_deep,
)
from tests.models.case import Batch, Case

Draw = Callable[[np.random.Generator, int], np.ndarray]

#: Those of neumf, gpt2 and bert were published (MLPerf 0.5, transformers' models of these names); the paper of lstm_lm
#: has 20 and 66 million, that of transformer 65 and 213 million with another vocabulary, that of tcn 70,000. The others
#: are counted by hand from the shapes that the papers have.
PARAMETERS = {
    "matrix_factorization": (943 + 1682) * 101,
    "matrix_factorization_ml_1m": (6040 + 3706) * 101,
    "neumf": 31_832_577,
    "gmf": (138_493 + 26_744) * 64 + 65,
    "neumf_mlp": 31_832_577 - (138_493 + 26_744) * 64 - 64,
    "wide_deep": (102 + 3000 + 6) + 102 * 32 + 263 * 1024 + 1025 * 512 + 513 * 256 + 257,
    "deepfm": 260_013 * 11 + 391 * 400 + 2 * 401 * 400 + 401,
    "sasrec": 3417 * 50 + 200 * 50 + 2 * (6 * 51 * 50 + 200) + 100,
    "textcnn": 18_766 * 300 + (3 + 4 + 5) * 300 * 100 + 300 + 602,
    "lstm_lm": 19_775_200 - 650 * 10_000,
    "lstm_lm_untied": 2 * 650 * 10_000 + 10_000 + 2 * (2 * 650 + 1) * 4 * 650,
    "lstm_lm_large": 2 * 1500 * 10_000 + 10_000 + 2 * (2 * 1500 + 1) * 4 * 1500,
    "gru_lm": 650 * 10_000 + 10_000 + 2 * ((2 * 650 + 1) * 3 * 650 + 650),
    "transformer": 37_000 * 512 + 18 * 513 * 512 * 4 + 12 * (513 * 2048 + 2049 * 512) + 30 * 1024,
    "transformer_big": 37_000 * 1024 + 18 * 1025 * 1024 * 4 + 12 * (1025 * 4096 + 4097 * 1024) + 30 * 2048,
    "gpt2": 124_439_808,
    "gpt2_medium": 354_823_168,
    "gpt2_large": 774_030_080,
    "gpt2_xl": 1_557_611_200,
    "bert": 109_482_240,
    "bert_large": 335_141_888,
    "bert_pretraining": 110_106_428,
    "bert_large_pretraining": 336_226_108,
    "seq2seq": 80_446_000,
    "tcn": 66_910,
    "nbeats": 30 * (91 * 512 + 3 * 513 * 512 + 108 * 512),
    "nbeats_interpretable": (91 * 256 + 3 * 257 * 256 + 6 * 256) + (91 * 2048 + 3 * 2049 * 2048 + 36 * 2048),
    "anomaly_lstm": 4 * (12 * 8 + 41 * 32 + 48 * 15) + 16,
    "vae": 785 * 500 + 501 * 40 + 21 * 500 + 501 * 784,
    "vae_deep": 785 * 200 + 201 * 200 + 201 * 100 + 51 * 200 + 201 * 200 + 201 * 784,
}


def ids(below: int, *shape: int, start: int = 0) -> Draw:
    return lambda rng, count: rng.integers(start, below, (count, *shape)).astype(np.int32)


def numbers(*shape: int) -> Draw:
    return lambda rng, count: rng.normal(size=(count, *shape)).astype(np.float32)


def positive(*shape: int) -> Draw:
    return lambda rng, count: rng.uniform(1, 2, (count, *shape)).astype(np.float32)


def bits(*shape: int) -> Draw:
    return lambda rng, count: rng.integers(0, 2, (count, *shape)).astype(np.float32)


def some(draw: Draw, nothing: int) -> Draw:
    """What is drawn, but `nothing` at the first place of every row."""

    def drawn(rng: np.random.Generator, count: int) -> np.ndarray:
        made = draw(rng, count)
        made[:, 0] = nothing
        return made

    return drawn


def of(**columns: Draw) -> Callable[[np.random.Generator, int], Batch]:
    return lambda rng, count: {name: draw(rng, count) for name, draw in columns.items()}


def case(module: Any, config: Any, columns: dict[str, Draw], inputs: str, outputs: Any, **settings: Any) -> Case:
    name = settings.pop("name", module.__name__.split(".")[-1])
    settings = {"steps": 30, "compiled": False} | settings
    return Case(name, module, config, of(**columns), inputs.split(), outputs, **settings)


PAIRS = {"users": ids(7), "items": ids(9)}
SENTENCES = {"sources": ids(20, 5, start=1), "targets": some(ids(20, 5, start=2), 1)}
TEXT = {"tokens": ids(20, 6)}
KEYS = ("key/b",)  # what is added to all keys changes no weight of the attention

CASES = [
    case(
        matrix_factorization, matrix_factorization.Config(7, 9, 4, mean=0.0, regularization=0.0),
        PAIRS | {"ratings": numbers()}, "users items", (2,), rate=3e-2,
    ),
    case(
        neumf, neumf.Config(7, 9, 4, (8, 8, 4)), PAIRS | {"labels": ids(2)}, "users items", (2,), rate=5e-2,
    ),
    case(
        wide_deep, wide_deep.Config((3, 4), (5,), 2, 4, (8,)),
        {"categories": ids(3, 2), "crosses": ids(5, 1), "numbers": numbers(2), "labels": ids(2)},
        "categories crosses numbers", (2,), rate=3e-2,
    ),
    case(
        deepfm, deepfm.Config((5, 6, 1), 4, (8,)),
        {"ids": lambda rng, count: ids(5, 1)(rng, count) * np.array([1, 1, 0], np.int32),
         "values": numbers(3), "labels": ids(2)},
        "ids values", (2,), rate=2e-2,
    ),
    case(
        sasrec, sasrec.Config(12, 5, 8),
        {"items": some(ids(13, 5, start=1), 0), "positives": some(ids(7, 5, start=1), 0),
         "negatives": some(ids(13, 5, start=7), 0)},
        "items", (2, 5, 13), rate=2e-2, zero=KEYS,
    ),
    case(
        textcnn, textcnn.Config(20, 6, (2, 3), 8, length=7), {"words": ids(20, 7, start=1), "labels": ids(2)},
        "words", (2, 2), rate=1e-2,
    ),
    case(recurrent_lm, recurrent_lm.Config(20, 8, scale=0.5, length=6), TEXT, "tokens", (2, 6, 20), rate=0.1),
    case(
        recurrent_lm, recurrent_lm.Config(20, 8, cell="gru", tied=False, scale=0.5, length=6), TEXT, "tokens",
        (2, 6, 20), rate=0.1, name="gru_lm",
    ),
    case(
        transformer, transformer.Config(20, 8, 2, 16, 1, smoothing=0.0, length=5), SENTENCES, "sources targets",
        (2, 5, 20), rate=3e-2, zero=KEYS,
    ),
    case(gpt2, gpt2.Config(20, 6, 8, 1, 2), TEXT, "tokens", (2, 6, 20), rate=3e-2, zero=KEYS),
    case(
        bert, bert.Config(20, 6, 2, 8, 1, 2, 16, masked=True, classes=2),
        TEXT | {"segments": ids(2, 6), "targets": some(ids(20, 6), -100), "labels": ids(2)},
        "tokens", [(2, 6, 8), (2, 8)], rate=3e-2, zero=KEYS,
    ),
    case(
        seq2seq, seq2seq.Config(20, 20, 6, 8, 6, length=5), SENTENCES, "sources targets", (2, 5, 20), rate=2e-2,
    ),
    case(
        tcn, tcn.Config(2, 3, (6, 6), 3, length=9), {"xs": numbers(9, 2), "labels": ids(3)}, "xs", (2, 9, 3),
        rate=3e-2,
    ),
    case(
        nbeats, nbeats.Config(8, 4, tuple(nbeats.Stack(kind, 2, 2, 8) for kind in ("trend", "season", "generic"))),
        {"past": positive(8), "future": positive(4)}, "past", (2, 4), rate=1e-2, fitted=0.25,
    ),
    case(
        anomaly_lstm, anomaly_lstm.Config(2, (4, 6), length=5), {"steps": numbers(5, 2), "targets": numbers()},
        "steps", (2,), rate=3e-2,
    ),
    case(
        vae, vae.Config(12, (8,), 3), {"images": bits(12)}, "images", [(2, 12), (2, 3), (2, 3)], rate=3e-2, fitted=0.5,
    ),
]  # fmt: skip
