"""`examples.text` on sentences whose mood can be learnt, and its parts on cases worked out by hand."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import fdl
import fdl_spark
from examples.text.baselines import bag_of_words, lexicon_scores
from examples.text.program import classify, plot, table
from examples.text.saved import rate, save
from examples.text.split import SOURCES, split
from examples.text.task import RECIPES, Network, Recipe, encoders, with_moods
from fdl.models import textcnn
from fdl_spark import features

GOOD, BAD, OTHER = ("fine", "great", ":)"), ("poor", "awful", "!?"), ("the", "film", "was", "a", "day", "phone")


def sentences(rows: int = 400) -> pa.Table:
    """Texts of two sentences each; the rating is 1.5 for each good word and -1.5 for each bad one."""
    rng = np.random.default_rng(0)
    found = []
    for row in range(rows):
        rating = float(rng.choice([-3.0, -1.5, 1.5, 3.0]))
        moods = rng.choice(GOOD if rating > 0 else BAD, int(abs(rating) / 1.5))
        words = rng.permutation([*moods, *rng.choice(OTHER, rng.integers(2, 6))])
        found.append((SOURCES[row // 2 % 4], f"{row // 2}_{row % 2}", " ".join(words), rating))
    kind, name, text, ratings = zip(*found, strict=True)
    return pa.table({"kind": kind, "id": name, "text": text, "rating": pa.array(ratings, pa.float32())})


def test_texts_are_in_one_part_and_sentences_of_the_test_nowhere_else() -> None:
    rated = sentences()
    for hold_out in ("texts", "tweet"):
        parts = split(rated, hold_out)
        seen = {sentence.lower() for sentence in parts.test["text"].to_pylist()}
        for part in (parts.train, parts.validation):
            assert part.num_rows > 20 and not seen & {sentence.lower() for sentence in part["text"].to_pylist()}
    tweets = [kind == "tweet" for kind in rated["kind"].to_pylist()]
    assert parts.test["text"].to_pylist() == rated["text"].filter(pa.array(tweets)).to_pylist()
    assert set(parts.train["source"].to_pylist()) == {0, 1, 2}
    known = rated["text"].to_pylist()
    numbers = {text: name.split("_")[0] for text, name in zip(known, rated["id"].to_pylist(), strict=True)}
    once = {text for text in known if known.count(text) == 1}
    parts = split(rated)
    first, second = (
        {numbers[text] for text in part["text"].to_pylist() if text in once} for part in (parts.train, parts.test)
    )
    assert not first & second and len(second) > 20


def test_a_negation_turns_the_next_three_words_round() -> None:
    moods = {"good": 2.0, "bad": -1.0, ":(": -2.0}
    texts = ["Good, good!", "It isn't really very good", "not a b c good", "bad :(", ""]
    sums = np.array([4.0, -0.74 * 2, 2.0, -3.0, 0.0])
    np.testing.assert_allclose(lexicon_scores(texts, moods), sums / np.sqrt(sums**2 + 15), rtol=1e-6)


def test_a_bag_of_words_learns_the_sign() -> None:
    parts = split(sentences())
    for scores in bag_of_words(parts.train, parts.test["text"].to_pylist()).values():
        assert ((scores > 0) == (parts.test["rating"].to_numpy() > 0)).mean() > 0.9


@pytest.mark.parametrize("name", ["textcnn", "transformer"])
def test_padding_changes_nothing_and_dropout_needs_a_key(name: str) -> None:
    network = RECIPES[name].network(20)
    params = network.init(fdl.random.key(0))
    rng = np.random.default_rng(1)
    words = np.zeros((3, 12), np.int32)
    for row, length in enumerate((12, 7, 5)):
        words[row, :length] = rng.integers(1, 20, length)
    whole = np.asarray(network.apply(params, {"words": words}))
    assert whole.shape == (3,)
    np.testing.assert_allclose(network.apply(params, {"words": words[1:, :8]}), whole[1:], rtol=1e-4, atol=1e-5)
    assert not np.allclose(network.apply(params, {"words": words}, fdl.random.key(1)), whole)


def test_words_begin_with_their_moods() -> None:
    network = RECIPES["textcnn-lexicon"].network(4)
    params = network.init(fdl.random.key(0))
    begun = with_moods(params, ["good", "table"], {"good": 2.0, "bad": -1.0})
    assert np.asarray(begun["words"]["w"])[:, 0].tolist() == [0, 0, 2, 0]
    np.testing.assert_array_equal(begun["words"]["w"][:, 1:], params["words"]["w"][:, 1:])


def small(tokens: int) -> Network:
    config = textcnn.Config(vocabulary=tokens, size=8, maps=8, windows=(1, 2), classes=1, dropout=0.1)

    def apply(params, batch, key=None):
        return textcnn.apply(params, batch["words"], config=config, key=key)[:, 0]

    return Network(lambda key: textcnn.init(key, config), apply)


def test_it_learns_what_can_be_learnt(spark, tmp_path: Path) -> None:
    moods = dict.fromkeys(GOOD, 2.0) | dict.fromkeys(BAD, -2.0)
    recipe = Recipe(small, rate=0.02, epochs=6, batch_size=32, lexicon=True)
    result = classify(spark, sentences(), "small", recipe, moods, partitions=1, shards=2)
    found = result.measured["small"]
    assert found["r"] > 0.9 and found["accuracy"] > 0.9 and found["F1"] > 0.9
    assert np.isnan(result.measured["mean rating"]["r"])
    ratings = result.split.test["rating"].to_numpy()
    assert found["r"] == pytest.approx(np.corrcoef(result.scores, ratings)[0, 1], rel=1e-5)
    assert "0.881" in table(result)
    plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    save(result, tmp_path / "model")
    frame = spark.createDataFrame([("a great film",), ("AWFUL!?",)], "text string")
    good, bad = (row.rating for row in rate(frame, tmp_path / "model").collect())
    direct = fdl_spark.predict(
        result.network.apply,
        result.run.best.params,
        frame,
        "rating",
        features=result.encoders.without("rating", "source"),
    )
    assert [good, bad] == [row.rating for row in direct.collect()] and good > 0.5 and bad < -0.5


def test_marks_are_tokens() -> None:
    table = pa.table({"text": ["Good :) :)", "bad!"] * 2, "rating": [1.0] * 4, "source": [0] * 4})
    assert features.fit(encoders(), table).encoders[0].values == (":)", "!", "bad", "good")
