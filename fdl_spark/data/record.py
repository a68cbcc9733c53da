"""A batch of named columns, as rows with named fields give it."""

from typing import Any

import fdl


class _NoColumn(KeyError, AttributeError):
    """A record has no such column."""


class Record(dict[str, Any]):
    """A dict whose columns are attributes too, as those of a `pyspark.sql.Row` and of a namedtuple are.

    >>> record = Record(x=1, y=2)
    >>> record["x"], record.y
    (1, 2)
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise _NoColumn(name) from None


fdl.tree.register_pytree_with_keys(
    Record,
    lambda record: ([(fdl.tree.DictKey(name), value) for name, value in record.items()], tuple(record)),
    lambda names, values: Record(zip(names, values, strict=True)),
)
