"""Generation of sequences, against all sequences scored one by one."""

import itertools
import math

import numpy as np
import pytest

import fdl.numpy as fnp
from fdl import nn, random
from fdl.errors import DtypeError, RangeError, ShapeError

WORDS, LENGTH, END = 4, 3, 2
RNG = np.random.default_rng(0)
#: log p(next | last, tokens so far): a chain with memory of the number of the step.
LOGITS = RNG.normal(size=(LENGTH, WORDS, WORDS)).astype(np.float32)


def step(state, tokens):
    """The state: how many tokens were made, common to all, and the token before the last of each sequence."""
    number, last = state
    return fnp.asarray(LOGITS)[number, tokens] + 0.5 * last[:, None], (number + 1, tokens.astype(np.float32))


def start(batch):
    return fnp.zeros((), np.int32), fnp.zeros(batch)


def log_probability(sequence, first):
    """Of a sequence up to its end, in float64."""
    total, last = 0.0, first
    for number, token in enumerate(sequence):
        row = LOGITS[number, last].astype(np.float64)
        total += row[token] - math.log(np.exp(row).sum())
        last = token
        if token == END:
            break
    return total


def sequences():
    """All of them, filled up with END after the first END."""
    found = set()
    for tokens in itertools.product(range(WORDS), repeat=LENGTH):
        cut = tokens.index(END) if END in tokens else LENGTH
        found.add(tokens[:cut] + (END,) * (LENGTH - cut))
    return sorted(found)


@pytest.mark.parametrize("penalty", [0.0, 0.8])
def test_a_wide_beam_finds_the_best_of_all_sequences(penalty):
    first, width = [0, 3], WORDS**LENGTH
    made, scores = nn.beam_search(step, start(2), np.array(first), LENGTH, width=width, end=END, penalty=penalty)
    for row, token in enumerate(first):

        def score(sequence, token=token):
            count = sequence.index(END) + 1 if END in sequence else LENGTH
            return log_probability(sequence, token) / ((5 + count) / 6) ** penalty

        expected = sorted(sequences(), key=score, reverse=True)
        found = [tuple(s) for s in np.asarray(made[row]).tolist()]
        assert found[: len(expected)] == expected  # the others of the beam are impossible
        np.testing.assert_allclose(scores[row, : len(expected)], [score(s) for s in expected], rtol=1e-5)
        assert np.isneginf(np.asarray(scores[row, len(expected) :])).all()


def test_a_beam_of_one_is_greedy():
    first = np.array([0, 1, 3])
    made, _ = nn.beam_search(step, start(3), first, LENGTH, width=1, end=END)
    np.testing.assert_array_equal(made[:, 0], nn.generate(step, start(3), first, LENGTH, end=END))


def test_greedy_tokens_have_the_largest_logits():
    made = np.asarray(nn.generate(step, start(2), np.array([END, 1]), LENGTH))  # without an end
    for row, last in zip(made, (END, 1), strict=True):
        for number, token in enumerate(row):
            assert token == LOGITS[number, last].argmax()
            last = token


def test_random_tokens_have_the_probabilities_of_the_logits():
    count = 4000
    made = np.asarray(nn.generate(step, start(count), np.zeros(count, np.int32), 2, key=random.key(0), temperature=2.0))
    expected = np.exp(LOGITS[0, 0].astype(np.float64) / 2)
    expected /= expected.sum()
    found = np.bincount(made[:, 0], minlength=WORDS) / count
    assert np.abs(found - expected).max() < 4 * math.sqrt(0.25 / count)
    assert {*made[:, 0]} == {*range(WORDS)}


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"top_k": 2}, [1, 3]), ({"top_k": 9}, [0, 1, 2, 3]), ({"top_p": 0.5}, [3]), ({"top_p": 0.7}, [1, 3]),
     ({"top_p": 1.0}, [0, 1, 2, 3]), ({"top_p": 0.0}, [3]), ({"top_k": 3, "top_p": 0.9}, [1, 2, 3])],
)  # fmt: skip
def test_unlikely_tokens_are_left_out(settings, kept):
    logits = np.log(np.array([[0.05, 0.25, 0.15, 0.55]], np.float32))  # of the best three: 0.26, 0.16, 0.58
    made = np.asarray(nn.keep_likely(logits, **settings))
    assert np.flatnonzero(np.isfinite(made[0])).tolist() == kept
    np.testing.assert_array_equal(made[0, kept], logits[0, kept])


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": np.float32(0)}, {"top_k": 1}, {"top_p": 0.0}])
def test_nothing_random_is_left_of_the_likeliest_token(settings):
    first = np.array([0, 1, 3])
    made = nn.generate(step, start(3), first, LENGTH, key=random.key(0), **settings)
    np.testing.assert_array_equal(made, nn.generate(step, start(3), first, LENGTH))


def test_temperatures_below_zero_and_no_tokens_are_refused():
    with pytest.raises(RangeError, match="generate: temperature must be .* at least 0, got -1"):
        nn.generate(step, start(1), np.array([0]), 2, key=random.key(0), temperature=-1.0)
    with pytest.raises(RangeError, match="keep_likely: top_k must be .* at least 1, got 0"):
        nn.keep_likely(fnp.zeros(3), top_k=0)


def test_tokens_of_what_is_no_batch_are_refused():
    with pytest.raises(ShapeError, match="generate needs first tokens"):
        nn.generate(step, start(1), np.array(0), 3)
    with pytest.raises(ShapeError, match="positive length"):
        nn.beam_search(step, start(1), np.array([0]), 0, width=2, end=END)
    with pytest.raises(ShapeError, match="width of at least 1"):
        nn.beam_search(step, start(1), np.array([0]), 2, width=0, end=END)


def test_additive_attention_is_its_formula():
    rng = np.random.default_rng(1)
    params = nn.init_additive_attention(random.key(0), 3, 4, 5)
    query, memory = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=(2, 6, 4)).astype(np.float32)
    mask = np.arange(6) < np.array([[4], [6]])
    mean, weights = nn.additive_attention(params, query, memory, mask)
    w, u, v = (np.asarray(params[name]["w"], np.float64) for name in ("query", "memory", "score"))
    scores = (np.tanh((query @ w)[:, None] + memory @ u) @ v)[..., 0]
    shares = np.where(mask, np.exp(scores), 0)
    shares /= shares.sum(1, keepdims=True)
    np.testing.assert_allclose(weights, shares, rtol=1e-5)
    np.testing.assert_allclose(mean, np.einsum("bk,bkm->bm", shares, memory), rtol=1e-4, atol=1e-6)
    changed = np.where(mask[..., None], memory, 7.0).astype(np.float32)
    np.testing.assert_array_equal(mean, nn.additive_attention(params, query, changed, mask)[0])
    with pytest.raises(ShapeError, match="additive_attention needs a query"):
        nn.additive_attention(params, query[0], memory, mask)
    with pytest.raises(DtypeError, match="mask of additive_attention is boolean"):
        nn.additive_attention(params, query, memory, mask.astype(np.float32))


def test_dropout_of_attention_is_that_of_its_weights():
    x = random.normal(random.key(0), (1, 6, 1, 4))
    ones = fnp.ones((1, 6, 1, 4))
    kept = nn.dot_product_attention(x, x, ones, dropout_rate=0.5, dropout_key=random.key(1))
    plain = np.asarray(fnp.einsum("btkh,bskh->bkts", x, x)) / 2
    weights = np.exp(plain) / np.exp(plain).sum(-1, keepdims=True)
    there = np.asarray(nn.dropout(random.key(1), 0.5, fnp.ones((1, 1, 6, 6))))
    np.testing.assert_allclose(kept[0, :, 0, 0], (weights * there).sum(-1)[0, 0], rtol=1e-5)
    np.testing.assert_array_equal(
        nn.dot_product_attention(x, x, ones, dropout_rate=0.5), nn.dot_product_attention(x, x, ones)
    )


def test_dropout_in_a_perceptron_comes_after_each_activation():
    params = [{"w": fnp.eye(50)}, {"w": fnp.eye(50)}]
    y = np.asarray(nn.mlp(params, fnp.ones((1, 50)), rate=0.5, key=random.key(0)))
    assert set(y.ravel().tolist()) == {0.0, 2.0}


def test_ids_of_columns_are_rows_of_one_table():
    rng = np.random.default_rng(2)
    sizes = (3, 5, 2)
    tables = [rng.normal(size=(n, 4)).astype(np.float32) for n in sizes]
    ids = np.stack([rng.integers(0, n, 7) for n in sizes], axis=1)
    rows = nn.embedding({"w": fnp.concatenate(tables)}, nn.stacked_ids(ids, sizes))
    for column, table in enumerate(tables):
        np.testing.assert_array_equal(rows[:, column], table[ids[:, column]])
    short = nn.stacked_ids(np.array([[199, 199]], np.uint8), (200, 200))
    assert short.tolist() == [[199, 399]]  # for which the bytes have no room
    with pytest.raises(ShapeError, match="stacked_ids of 3 columns"):
        nn.stacked_ids(ids[:, :2], sizes)


def test_symmetric_percentages_are_their_formula():
    rng = np.random.default_rng(3)
    p, t = rng.normal(size=(2, 9))
    found = nn.symmetric_absolute_percentage_error(p, t)
    np.testing.assert_allclose(found, 200 * np.abs(p - t) / (np.abs(p) + np.abs(t)), rtol=1e-6)
    assert nn.symmetric_absolute_percentage_error(fnp.zeros(2), fnp.zeros(2)).tolist() == [0.0, 0.0]
