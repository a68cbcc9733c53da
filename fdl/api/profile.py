"""profile: where the time of a compiled function goes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from fdl.api.arguments import name_of
from fdl.api.jit import Jitted, jit
from fdl.api.traced import concrete
from fdl.core.markup import heading, note, table

#: How many kernels the table and the plot show; the others are one line.
_SHOWN = 25


@dataclass(frozen=True)
class Kernel:
    """Part of a compiled function: a loop nest, a product, a convolution, ...

    Attributes:
        what: its operations and shapes.
        source: the line that most of it comes from; ``backward`` marks derivatives.
        calls: how often it ran in a call of the function.
        seconds: in all of these.
        flops: floating-point operations in all of these.
        bytes: read and written in all of these, every element counted once a call.
        peak: the share of what the machine can do that was reached: the time that these operations, or these bytes if
            they take longer, would take at the measured peak, over `seconds`. More than 1 means that the data were in a
            cache; tables and plots leave it out. 0 if no peak could be measured.
    """

    what: str
    source: str
    calls: int
    seconds: float
    flops: int
    bytes: int
    peak: float


@dataclass(frozen=True)
class Profile:
    """What :func:`profile` returns; prints as a table, is one in a notebook, and has a plot.

    Attributes:
        name: of the function.
        kernels: the slowest first.
        seconds: of the whole call; what the kernels do not add up to is the call itself.
        threads: that the call ran on.
        peak_memory: bytes that the call works in and returns, arguments not counted.
        peak_flops: most float32 operations a second on these threads, measured; NaN if something else ran meanwhile.
        peak_bytes: most bytes a second, read and written, likewise.
    """

    name: str
    kernels: tuple[Kernel, ...] = field(repr=False)
    seconds: float
    threads: int
    peak_memory: int
    peak_flops: float
    peak_bytes: float

    @property
    def flops(self) -> int:
        """Floating-point operations of a call."""
        return sum(k.flops for k in self.kernels)

    def _facts(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{_milliseconds(self.seconds)} ms on {threads}, {_number(self.flops / 1e9)} GFLOP "
            f"({_number(self.flops / self.seconds / 1e9)} GFLOP/s), {_number(self.peak_memory / 2**20)} MiB"
        )

    def _machine(self) -> str:
        if isnan(self.peak_flops) or isnan(self.peak_bytes):
            return "other programs keep this machine busy: what it can do at most was not measured"
        return f"this machine at most: {_number(self.peak_flops / 1e9)} GFLOP/s, {_number(self.peak_bytes / 1e9)} GB/s"

    def _rows(self) -> list[tuple[str, ...]]:
        """Cells of the table: numbers, what, source."""
        rows = [_row(k, self.seconds) for k in self.kernels[:_SHOWN]]
        rest = self.kernels[_SHOWN:]
        if rest:
            seconds = sum(k.seconds for k in rest)
            share = f"{100 * seconds / self.seconds:.0f}"
            calls = str(sum(k.calls for k in rest))
            rows.append((_milliseconds(seconds), share, calls, "", "", "", f"{len(rest)} other kernels", ""))
        return rows

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        rows = [_HEADER, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                c.ljust(w) if n >= _NUMBERS else c.rjust(w) for n, (c, w) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([f"{self.name}: {self._facts()}", self._machine(), "", *(line.rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        shares = [kernel.seconds / self.seconds for kernel in self.kernels]
        bars = [*shares[:_SHOWN], *([sum(shares[_SHOWN:])] if shares[_SHOWN:] else [])]
        rows = table(_HEADER, self._rows(), range(_NUMBERS), bars)
        return f"<div>{heading(self.name, self._facts())}{note(self._machine())}{rows}</div>"

    def plot(self, ax: Any = None) -> Any:
        """Bars of the slowest kernels' milliseconds, coloured by the share of the machine's peak.

        Args:
            ax: matplotlib axes to draw on; new ones without it.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib, of the extra ``examples``, is missing.
        """
        try:
            from matplotlib import colormaps, pyplot
        except ImportError as error:
            raise ImportError("Profile.plot needs matplotlib: pip install 'fdl[examples]'") from error
        shown = self.kernels[:_SHOWN]
        if ax is None:
            ax = pyplot.figure(figsize=(10, 1.2 + 0.3 * len(shown)), layout="constrained").gca()
        colours = colormaps["RdYlGn"]
        bars = ax.barh(
            range(len(shown)), [k.seconds * 1e3 for k in shown], color=[colours(min(k.peak, 1.0)) for k in shown]
        )
        ax.bar_label(bars, [_share(k.peak) for k in shown], padding=3, fontsize=8)
        labels = [f"{_short(k.what)}\n{k.source}" for k in shown]
        ax.set_yticks(range(len(shown)), labels, fontsize=7)
        ax.margins(x=0.12, y=0.01)
        ax.invert_yaxis()
        ax.set_xlabel("ms (labels: share of the machine's peak)")
        ax.set_title(f"{self.name}: {self._facts()}", fontsize=9)
        return ax


_HEADER = ("ms", "%", "calls", "GFLOP/s", "GB/s", "of peak", "kernel", "source")
_NUMBERS = 6


def _row(kernel: Kernel, total: float) -> tuple[str, ...]:
    time = max(kernel.seconds, 1e-12)
    return (
        _milliseconds(kernel.seconds),
        f"{100 * kernel.seconds / total:.0f}",
        str(kernel.calls),
        _number(kernel.flops / time / 1e9) if kernel.flops else "",
        _number(kernel.bytes / time / 1e9) if kernel.bytes else "",
        _share(kernel.peak),
        kernel.what,
        kernel.source,
    )


def _share(peak: float) -> str:
    """Of what the machine can do at most; nothing is said of data in a cache, which are faster than that."""
    return f"{100 * peak:.0f} %" if 0 < peak <= 1 else ""


def _milliseconds(seconds: float) -> str:
    digits = 5 if seconds < 1e-5 else 3 if seconds < 0.1 else 1
    return f"{seconds * 1e3:.{digits}f}"


def _number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def profile(fun: Callable[..., Any]) -> Callable[..., Profile]:
    """Measure where the time of a compiled function goes.

    The function is compiled once more, with a clock read before and after each kernel, and run for some tenths of a
    second; the fastest call counts. Loops inside of it add up. On several threads the times are those of the first one,
    with its waiting for the others. What the machine can do at most is measured once in a process: chains of float32
    multiplications and additions, and a copy of 64 MiB, each while nothing else takes the processor.

    Args:
        fun: a jitted function, whose static and donated arguments are respected (donated arrays are copied, so that
            they stay usable), or any function of arrays.

    Returns:
        ``f(*args, **kwargs) -> Profile``.

    Raises:
        LeafError: an argument is no array; names its path.

    >>> import fdl, fdl.numpy as fnp
    >>> found = fdl.profile(lambda x, w: fnp.tanh(x @ w))(fnp.ones((64, 32)), fnp.ones((32, 16)))
    >>> found.flops  # 2 * 64 * 32 * 16 of the product and 64 * 16 of tanh
    66560
    >>> print(found)
    <lambda>: ... ms on ...
    """
    jitted = fun if isinstance(fun, Jitted) else jit(fun)

    def profiled(*args: Any, **kwargs: Any) -> Profile:
        from fdl.compile.profile.peak import peak_bytes, peak_flops
        from fdl.compile.profile.profiler import measure

        leaves = jitted.signature(args, kwargs)[0]
        traced = jitted.lower(*args, **kwargs).traced
        found = measure(traced.computed, traced.may_overwrite, [concrete(leaf) for leaf in (*traced.captured, *leaves)])
        most_flops, most_bytes = peak_flops(found.threads), peak_bytes(found.threads)

        def share(flops: int, bytes: int, seconds: float) -> float:
            found = max(flops / most_flops, bytes / most_bytes) / max(seconds, 1e-12)
            return 0.0 if isnan(found) else found

        kernels = [
            Kernel(k.what, k.source, k.calls, k.seconds, k.flops, k.bytes, share(k.flops, k.bytes, k.seconds))
            for k in found.kernels
        ]
        kernels.sort(key=lambda k: -k.seconds)
        name = name_of(jitted.fun)
        return Profile(name, tuple(kernels), found.seconds, found.threads, found.memory_bytes, most_flops, most_bytes)

    return profiled
