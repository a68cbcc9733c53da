"""Whether all tasks compute with vectors of one kind: if not, last bits depend on which of them has which shard."""

from collections.abc import Sequence

from fdl_spark.history.outcome import Timing


class Processors:
    """The kinds that have been seen, by host.

    >>> seen = Processors()
    >>> seen.differ([Timing(0, "a", 1.0, vectors="512-bit vectors"), Timing(1, "b", 1.0, vectors="512-bit vectors")])
    >>> seen.differ([Timing(1, "c", 1.0, vectors="256-bit vectors")]).split(":")[0]
    'tasks compute with different vectors'
    """

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def differ(self, timings: Sequence[Timing]) -> str | None:
        """What to tell of a step's tasks if one of them has brought a kind that others have not."""
        known = set(self._found)
        for timing in timings:
            if timing.vectors:
                self._found.setdefault(timing.vectors, timing.host)
        if set(self._found) == known or len(self._found) < 2:
            return None
        kinds = ", ".join(f"{kind} on {host}" for kind, host in sorted(self._found.items()))
        return (
            f"tasks compute with different vectors: {kinds}; last bits depend on which of them has which shard, unless "
            f"the environment variable FDL_CPU=native:256 is set on executors (spark.executorEnv.FDL_CPU) and driver"
        )
