"""Our operations on a session of Spark Connect: tagged, and interrupted when the user interrupts the call."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def own_jobs(spark: Any) -> Iterator[None]:
    """Leave none of the operations inside running on the server, whatever ends the call."""
    tag = f"fdl-{uuid.uuid4().hex}"
    spark.addTag(tag)
    try:
        yield
    except Exception:
        raise
    except BaseException:
        with suppress(Exception):
            spark.interruptTag(tag)
        raise
    finally:
        with suppress(Exception):  # a session that was stopped has no operations
            spark.removeTag(tag)
