"""Sentences with the mood that people found in them."""

import io
import tarfile

import pyarrow as pa

from examples.data.cache import fetch

KINDS = {
    "amazonReviewSnippets_GroundTruth.txt": "product",
    "movieReviewSnippets_GroundTruth.txt": "film",
    "nytEditorialSnippets_GroundTruth.txt": "editorial",
    "tweets_GroundTruth.txt": "tweet",
}


def rated() -> pa.Table:
    """A table of `kind` (product, film, editorial, tweet), `id`, `text` and `rating` (float32).

    Ratings are means of twenty people's, from -4, very negative, to 4, very positive. The id of sentences of one text
    begins with its number.

    Source: Hutto and Gilbert, "VADER: a parsimonious rule-based model for sentiment analysis of social media text",
    ICWSM 2014.

    Raises:
      DataError: the set cannot be had.
    """
    rows: list[tuple[str, str, str, float]] = []
    with tarfile.open(fetch("rated-texts") / "hutto_ICWSM_2014.tar.gz") as archive:
        for file, kind in KINDS.items():
            content = archive.extractfile(f"hutto_ICWSM_2014/{file}")
            assert content is not None, file
            for line in io.TextIOWrapper(content, "utf-8", newline="\r\n"):
                name, rating, text = line.rstrip("\r\n").split("\t", 2)
                rows.append((kind, name, text, float(rating)))
    kinds, names, texts, ratings = zip(*rows, strict=True)
    return pa.table(
        {"kind": kinds, "id": names, "text": texts, "rating": pa.array(ratings, pa.float32())},
    )
