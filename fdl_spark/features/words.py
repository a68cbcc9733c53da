"""Text becomes indices of its words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdl_spark.data.columns import BadColumn
from fdl_spark.errors import ArgumentError
from fdl_spark.features.column_encoder import Arrays, OneColumn
from fdl_spark.features.reading import Batch, is_nested, lengths_of, no_nulls, texts
from fdl_spark.features.sequences import Keep, padded
from fdl_spark.features.statistics import frequencies_of_texts, most_frequent
from fdl_spark.features.vocabulary import check_vocabulary, looked_up

UNKNOWN, FIRST = 1, 2

# What str.split() takes for white space. pyarrow.compute.utf8_split_whitespace reads the bytes behind the end of its
# buffer: what lies there decides whether white space at the end stays on the last token.
WHITE_SPACE = r"[\pZ\t-\r\x1c-\x1f\x{85}]+"


def tokenise(
    column: str,
    output: str | None = None,
    *,
    length: int,
    separator: str | None = None,
    apart: str | None = None,
    lower: bool = True,
    size: int | None = None,
    min_count: int = 1,
    keep: Keep = "first",
    missing: str | None = None,
    values: Sequence[str] | None = None,
) -> "Tokenise":
    """Indices of the tokens of a text, and "NAME_mask", which is True where a token is.

    As in Keras' TextVectorization 0 is the padding, 1 an unknown token, and 2 the most frequent one; tokens of one
    frequency stand in the order of their code points.

    Args:
      column: a column of strings; or of lists of strings or whole numbers, which are the tokens.
      output: the name of the array, int32 [rows, length]; None means the column's.
      length: of each row; a shorter text is padded.
      separator: a regular expression of what stands between tokens, in RE2's syntax, as `[^\\pL\\pN]+` for all but
        letters and digits; None: white space, as in `str.split()`.
      apart: a regular expression of what is a token though it touches others, as `[^\\pL\\pN\\s']+` for marks of
        punctuation and emoticons; of a text that is split at white space alone. None: nothing is.
      lower: whether letters become lower case before.
      size: how many tokens are known at most; None: all.
      min_count: how often a token must occur to be known.
      keep: whether the first or the last tokens of a longer text stay.
      missing: the text that a null becomes before; None makes it an error.
      values: the known tokens in the order of their indices; None: learned.

    >>> tokenise("text", length=3, values=["the", "cat"]).encode({"text": pa.array(["The cat sat", "cat"])})
    {'text': array([[2, 3, 1],
           [3, 0, 0]], dtype=int32), 'text_mask': array([[ True,  True,  True],
           [ True, False, False]])}
    >>> spaced = tokenise("text", length=3, apart="[!?]+", values=["so", "!!"])
    >>> spaced.encode({"text": pa.array(["So!!"])})["text"]
    array([[2, 3, 0]], dtype=int32)
    """
    return Tokenise(column, output, length, separator, apart, lower, size, min_count, keep, missing, values)


@dataclass(frozen=True, repr=False)
class Tokenise(OneColumn, kind="tokenise"):
    length: int
    separator: str | None
    apart: str | None
    lower: bool
    size: int | None
    min_count: int
    keep: Keep
    missing: str | None
    values: Sequence[str] | None

    def check(self) -> None:
        check_vocabulary(self, self.size, self.min_count, self.values)
        self.require(self.length >= 1, f"length must be at least 1, not {self.length}")
        self.require(self.separator is None or self.apart is None, "give either separator or apart, not both")
        try:
            self._split(pa.array(["a"]))
        except pa.ArrowInvalid as error:
            name = "separator" if self.apart is None else "apart"
            given = getattr(self, name)
            raise ArgumentError(f"tokenise: {name} {given!r} is no regular expression ({error})") from None

    @property
    def outputs(self) -> tuple[str, ...]:
        return (self.name, self.mask)

    @property
    def learns(self) -> bool:
        return self.values is None

    @property
    def depth(self) -> int:
        """How many indices there are, that of the padding among them."""
        return len(self.values or ()) + FIRST

    def _split(self, text: pa.Array) -> pa.Array:
        if self.apart is not None:
            text = pc.replace_substring_regex(text, f"({self.apart})", r" \1 ")
        return pc.split_pattern_regex(text, WHITE_SPACE if self.separator is None else self.separator)

    def _tokens(self, batch: Batch) -> tuple[pa.Array, np.ndarray]:
        """The tokens of all texts one after the other, and how many each text has."""
        column = batch[self.column]
        if is_nested(column.type) and self.missing is None:
            no_nulls(self.column, column)
        lists = is_nested(column.type)
        pieces = column if lists else self._split(self._lowered(texts(self.column, column, self.missing)))
        lengths = np.maximum(lengths_of(pieces), 0)
        rows = np.repeat(np.arange(len(lengths)), lengths)
        tokens = pieces.flatten()
        if lists:
            try:
                tokens = self._lowered(texts(self.column, tokens, None))
            except BadColumn as bad:
                row = int(rows[bad.problem.row]) if len(rows) else 0
                raise BadColumn(self.column, f"in a list: {bad.problem.text}", row) from None
        whole = pc.not_equal(tokens, "")
        rows = rows[whole.to_numpy(zero_copy_only=False)]
        return tokens.filter(whole), np.bincount(rows, minlength=len(lengths))

    def _lowered(self, text: pa.Array) -> pa.Array:
        return pc.utf8_lower(text) if self.lower else text

    def count(self, batch: Batch) -> pa.Table:
        return frequencies_of_texts(self._tokens(batch)[0])

    def learned(self, table: pa.Table) -> Self:
        return replace(self, values=most_frequent(table, self.size, self.min_count))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {value: place for place, value in enumerate(self.values or (), FIRST)}

    def encode(self, batch: Batch) -> Arrays:
        tokens, lengths = self._tokens(batch)
        indices, mask = padded(looked_up(tokens, self._places, UNKNOWN), lengths, self.length, 0, self.keep)
        return {self.name: indices, self.mask: mask}
