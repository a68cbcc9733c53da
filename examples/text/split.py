"""Which sentences are trained on, which choose the epoch, and which are held out to measure."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SOURCES = ("product", "film", "editorial", "tweet")
HOLD_OUTS = ("texts", *SOURCES)
PARTS = 10  # of the texts: two are held out, and one chooses the epoch
TEST, VALIDATION = (0, 1), (2,)


@dataclass(frozen=True)
class Split:
    """Tables of `text`, `rating` and `source` (int32, a place in `SOURCES`).

    Attributes:
      train, validation, test: disjoint.
    """

    train: pa.Table
    validation: pa.Table
    test: pa.Table


def split(rated: pa.Table, hold_out: str = "texts") -> Split:
    """Hold out whole texts: two tenths of those of each source, or all of one source.

    Which part a text is in follows from its source and number alone. A sentence that is in the test as well, whatever
    its text, is left out of the others.

    Args:
      rated: of `examples.data.texts.rated`; the id of a sentence begins with the number of its text.
      hold_out: "texts", or a source.

    >>> rows = {"kind": ["film", "tweet"] * 40, "id": [f"{n}_1" for n in range(80)], "rating": [0.5] * 80}
    >>> found = split(pa.table(rows | {"text": [str(n) for n in range(80)]}), "film")
    >>> set(found.test["source"].to_pylist()), set(found.train["source"].to_pylist())
    ({1}, {3})
    """
    sources = rated["kind"].to_pylist()
    numbers = [name.split("_")[0] for name in rated["id"].to_pylist()]
    parts = np.array(
        [crc32(f"{kind} {number}".encode()) % PARTS for kind, number in zip(sources, numbers, strict=True)]
    )
    place = np.array([SOURCES.index(kind) for kind in sources], np.int32)
    if hold_out == "texts":
        test = np.isin(parts, TEST)
        validation = np.isin(parts, VALIDATION)
    else:
        test = place == SOURCES.index(hold_out)
        validation = ~test & np.isin(parts, VALIDATION)
    table = pa.table({"text": rated["text"], "rating": rated["rating"], "source": place})
    same = pc.utf8_trim_whitespace(pc.utf8_lower(table["text"]))
    known = pc.is_in(same, value_set=same.filter(pa.array(test)).combine_chunks()).to_numpy()
    train = ~known & ~validation & ~test
    return Split(*(table.filter(pa.array(chosen)) for chosen in (train, validation & ~known & ~test, test)))
