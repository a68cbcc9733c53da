"""What the outputs of models of sequences may not depend on: padding, what comes later, and how they are computed."""

from typing import Any

import numpy as np
import pytest

import fdl
from fdl import random, tree
from fdl.core.interpret import interpret
from fdl.models import bert, gpt2, nbeats, recurrent_lm, sasrec, seq2seq, tcn, textcnn, transformer

RNG = np.random.default_rng(0)
WORDS = RNG.integers(3, 12, (2, 5)).astype(np.int32)
OTHERS = RNG.integers(3, 12, (2, 5)).astype(np.int32)
SERIES = RNG.normal(size=(2, 12, 2)).astype(np.float32)

CONFIGS: dict[Any, Any] = {
    textcnn: textcnn.Config(12, 6, (2, 3), 4),
    sasrec: sasrec.Config(12, 8, 8),
    transformer: transformer.Config(12, 8, 2, 16, 2),
    seq2seq: seq2seq.Config(12, 12, 4, 6, 4),
    bert: bert.Config(12, 8, 2, 8, 2, 2, 16),
    gpt2: gpt2.Config(12, 16, 8, 2, 2),
    recurrent_lm: recurrent_lm.Config(12, 8, scale=1.0),
    tcn: tcn.Config(2, 3, (4, 3), 3),
}


def params_of(module: Any) -> Any:
    """Parameters none of which is zero."""
    rng = np.random.default_rng(1)
    made = module.init(random.key(0), CONFIGS[module])
    return tree.map(lambda x: np.asarray(x) + 0.3 * rng.normal(size=x.shape).astype(np.float32), made)


def outputs(function: Any, *args: Any) -> list[np.ndarray]:
    """What a function returns, computed by NumPy."""
    return interpret(fdl.make_program(function)(*args), [np.asarray(leaf) for leaf in tree.leaves(args)])


def applied(module: Any, *args: Any, **settings: Any) -> np.ndarray:
    return outputs(lambda p, *a: module.apply(p, *a, config=CONFIGS[module], **settings), params_of(module), *args)[0]


def after(tokens: np.ndarray, count: int = 3) -> np.ndarray:
    return np.pad(tokens, ((0, 0), (0, count)))


@pytest.mark.parametrize("length", [1, 2, 5])  # shorter than a window, as long, longer
def test_padding_changes_no_sentence_of_a_textcnn(length: int) -> None:
    words = WORDS[:, :length]
    np.testing.assert_allclose(applied(textcnn, after(words)), applied(textcnn, words), rtol=1e-6)


def test_padding_before_a_history_changes_nothing() -> None:
    padded = applied(sasrec, np.pad(WORDS, ((0, 0), (3, 0))))
    np.testing.assert_allclose(padded[:, 3:], applied(sasrec, WORDS), atol=1e-5)


@pytest.mark.parametrize("module", [transformer, seq2seq])
def test_padding_changes_no_translation(module: Any) -> None:
    plain, padded = applied(module, WORDS, OTHERS), applied(module, after(WORDS), after(OTHERS))
    np.testing.assert_allclose(padded[:, :5], plain, atol=1e-5)

    def losses(sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        batch = {"sources": sources, "targets": targets}
        return outputs(lambda p, b: module.loss(p, b, config=CONFIGS[module]), params_of(module), batch)[0]

    np.testing.assert_allclose(losses(after(WORDS), after(OTHERS)), losses(WORDS, OTHERS), rtol=1e-5)


@pytest.mark.parametrize("dtype", [bool, np.int32])
def test_padding_changes_no_text_of_bert(dtype: Any) -> None:
    mask = after(np.ones((2, 5), dtype))
    np.testing.assert_allclose(applied(bert, after(WORDS), mask=mask)[:, :5], applied(bert, WORDS), atol=1e-5)


@pytest.mark.parametrize("module", [sasrec, gpt2, recurrent_lm, transformer, seq2seq, tcn])
def test_what_comes_later_changes_nothing(module: Any) -> None:
    before = [WORDS] if module in (transformer, seq2seq) else []
    tokens, others = (SERIES[:, :5], SERIES[:, 5:10]) if module is tcn else (WORDS, OTHERS)
    changed = np.concatenate([tokens[:, :3], others[:, 3:]], axis=1)
    first, second = applied(module, *before, tokens), applied(module, *before, changed)
    np.testing.assert_allclose(second[:, :3], first[:, :3], atol=1e-6)
    assert np.abs(second[:, 3:] - first[:, 3:]).max() > 1e-3


def test_a_tcn_sees_as_far_back_as_it_says() -> None:
    config = CONFIGS[tcn]
    reach = tcn.receptive_field(config)
    xs = np.concatenate([SERIES, SERIES], axis=1)
    changed = xs.copy()
    changed[:, 2] += 1
    moved = np.flatnonzero(np.abs(applied(tcn, changed) - applied(tcn, xs)).max(axis=(0, 2)))
    assert (moved.min(), moved.max()) == (2, 2 + reach - 1)


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("module", [gpt2, recurrent_lm])
def test_generation_is_that_of_whole_texts(module: Any, length: int) -> None:
    """What is kept from token to token changes nothing."""
    config, prompt = CONFIGS[module], WORDS[:, :length]
    made = outputs(lambda p, x: module.generate(p, x, 5, config=config), params_of(module), prompt)[0]
    text = np.concatenate([prompt, made], axis=1)
    np.testing.assert_array_equal(applied(module, text[:, :-1]).argmax(-1)[:, length - 1 :], made)


@pytest.mark.parametrize("module", [transformer, seq2seq])
def test_scores_of_translations_are_their_probabilities(module: Any) -> None:
    config = CONFIGS[module]

    def translate(params: Any, sources: Any) -> Any:
        return module.translate(params, sources, 4, width=3, penalty=0.6, config=config)

    made, scores = outputs(translate, params_of(module), WORDS)
    best = made[:, 0]
    begun = np.concatenate([np.full((2, 1), module.BEGIN, np.int32), best[:, :-1]], axis=1)
    logits = applied(module, WORDS, begun).astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for row, tokens in enumerate(best.tolist()):
        count = tokens.index(module.END) + 1 if module.END in tokens else 4
        total = sum(logs[row, i, tokens[i]] for i in range(count))
        np.testing.assert_allclose(scores[row, 0], total / ((5 + count) / 6) ** 0.6, rtol=1e-4)


def test_the_curves_of_nbeats_are_those_of_the_paper() -> None:
    """Section 3.3: powers of t = 0, 1/H, ..., and waves of 0, 1, ... periods in the horizon, up to half its length."""
    config = nbeats.Config(past=10, future=7)
    _, trend = nbeats.bases(nbeats.Stack("trend", degree=3), config)
    np.testing.assert_allclose(trend, np.vander(np.arange(7) / 7, 4, increasing=True).T, rtol=1e-12)
    past, season = nbeats.bases(nbeats.Stack("season"), config)
    periods = np.arange(int(np.ceil(7 / 2 - 1)) + 1)
    waves = np.exp(2j * np.pi * periods[:, None] * np.arange(7) / 7)
    np.testing.assert_allclose(season, np.concatenate([waves.real, waves.imag]), atol=1e-12)
    assert np.linalg.matrix_rank(season) == 7  # of the sines that of zero periods is zero
    before = np.exp(2j * np.pi * periods[:, None] * np.arange(-10, 0) / 7)  # the same waves, before the horizon
    both = np.concatenate([past, before.real, before.imag])
    assert np.linalg.matrix_rank(both) == np.linalg.matrix_rank(past)
