"""Where in one piece of memory values are that exist at the same time."""

from bisect import bisect_left
from math import inf

from fdl.compile.ir.plan import aligned


class Arena:
    """First-fit allocation of intervals that are in use at the same time; of all, if none is ever `freed`."""

    def __init__(self, freed: bool = True) -> None:
        self.peak = 0
        self.freed = freed
        self._gaps: list[tuple[int, float]] = [(0, inf)]
        self._sizes: dict[int, int] = {}

    def allocate(self, size: int) -> int:
        """The offset of a free interval."""
        size = aligned(max(size, 1))
        number, (start, stop) = next((n, gap) for n, gap in enumerate(self._gaps) if gap[1] - gap[0] >= size)
        self._gaps[number : number + 1] = [(start + size, stop)] if start + size < stop else []
        self._sizes[start] = size
        self.peak = max(self.peak, start + size)
        return start

    def free(self, offset: int) -> None:
        """Give an interval back, if it has not been given back before."""
        size = self._sizes.pop(offset, 0) if self.freed else 0
        if not size:
            return
        start, stop = offset, float(offset + size)
        first = last = bisect_left(self._gaps, (start,))
        if first and self._gaps[first - 1][1] == start:
            first -= 1
            start = self._gaps[first][0]
        if self._gaps[last][0] == stop:
            stop = self._gaps[last][1]
            last += 1
        self._gaps[first:last] = [(start, stop)]
