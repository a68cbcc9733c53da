"""What a network has to beat: the mean rating, a lexicon, and a bag of words. Each gives a score above 0 for positive.

The lexicon and the rule of negations are those of Hutto and Gilbert, "VADER", ICWSM 2014, of which this is a part:
their program also knows capitals, exclamation marks, "but", and words that make others stronger.
"""

import tarfile
from collections.abc import Sequence
from string import punctuation

import numpy as np
import pyarrow as pa

from examples.data import fetch

BEFORE = 3  # words before one with a mood, in which a negation turns it round
TURN = -0.74  # what it is multiplied by then
NEGATIONS = frozenset(
    "aint arent cannot cant couldnt darent didnt doesnt dont hadnt hasnt havent isnt mustnt neither never no nobody "
    "none nope nor not nothing nowhere shouldnt uh-uh wasnt werent without wont wouldnt rarely seldom despite".split()
)
SPREAD = 15.0  # a sum s of moods becomes s / sqrt(s * s + SPREAD)


def lexicon() -> dict[str, float]:
    """The mood of words and emoticons, from -4 to 4, as ten people rated them."""
    with tarfile.open(fetch("rated-texts") / "hutto_ICWSM_2014.tar.gz") as archive:
        content = archive.extractfile("hutto_ICWSM_2014/vader_sentiment_lexicon.txt")
        assert content is not None
        lines = content.read().decode("utf-8", "replace").splitlines()
    return {word: float(mood) for word, mood, *_ in (line.split("\t") for line in lines if "\t" in line)}


def lexicon_scores(texts: Sequence[str], moods: dict[str, float]) -> np.ndarray:
    """The sum of a text's moods, between -1 and 1, float32.

    >>> lexicon_scores(["Good!", "not very good", "a table"], {"good": 2.0}).round(2).tolist()
    [0.46, -0.36, 0.0]
    """
    found = []
    for text in texts:
        words = [word if word in moods else word.strip(punctuation) or word for word in text.lower().split()]
        negated = [word.replace("'", "") in NEGATIONS for word in words]
        total = 0.0
        for place, word in enumerate(words):
            mood = moods.get(word, 0.0)
            total += mood * TURN if any(negated[max(0, place - BEFORE) : place]) else mood
        found.append(total / np.sqrt(total * total + SPREAD))
    return np.array(found, np.float32)


def bag_of_words(train: pa.Table, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Scores of scikit-learn: words and pairs of words by TF-IDF, then a logistic regression of the sign, and a ridge
    regression of the rating.

    Args:
      train: of `split`.
      texts: to be scored.

    Returns:
      float32 arrays by name.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    seen, rating = words.fit_transform(train["text"].to_pylist()), train["rating"].to_numpy()
    new = words.transform(texts)
    logistic = LogisticRegression(C=3.0, max_iter=1000).fit(seen, rating > 0)
    return {
        "TF-IDF, logistic regression": logistic.decision_function(new).astype(np.float32),
        "TF-IDF, ridge regression": Ridge(alpha=1.0).fit(seen, rating).predict(new).astype(np.float32),
    }
