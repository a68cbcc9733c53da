"""How far a run is: a bar in a terminal or notebook, a line now and then in a log."""

import sys
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from fdl_spark.history.ending import Ending
from fdl_spark.history.markup import duration, number
from fdl_spark.history.outcome import flat_numbers
from fdl_spark.history.run import Run
from fdl_spark.training.callback import Callback
from fdl_spark.training.phases import PHASES

BEAT = 0.5  # seconds: how often the time is shown while a phase says nothing
REFRESH = 0.1  # seconds between two states of a bar
NARROW = 90  # columns of a terminal below which there is no room for a bar beside what is told
SHORT = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
OUTCOME = 100  # characters of how a run ended


class Progress(Callback):
    """Shows a run from the moment `train` is called: what it does, steps, time left, loss, rows a second, engine.

    In a terminal it is a bar of tqdm, in a notebook a widget, and else, in a log file, a line now and then.

    Args:
      seconds: between two lines, where there is no terminal.
      options: of `tqdm.tqdm`, such as `file`, `desc` or `disable`.

    >>> Progress(desc="digits", disable=True).options
    {'desc': 'digits', 'disable': True}
    """

    passive = True

    def __init__(self, *, seconds: float = 30.0, **options: Any):
        self.seconds, self.options = seconds, options
        self._view: Any = None  # a Bar or Lines, while a run is under way
        self._lock = threading.RLock()
        self._done = threading.Event()
        self._ticker: threading.Thread | None = None

    def phase(self, phase: str, progress: Callable[[], str]) -> None:
        if phase == "end":
            self._close()
            return
        with self._lock:
            if self._view is None:
                self._open()
            self._phase, self._progress, self._began = phase, progress, time.monotonic()
            if phase != "train":
                self._beat()

    def start(self, run: Run) -> None:
        with self._lock:
            if self._view is None:
                self._open()
            self._shown, self._rows, self._taken = dict[str, str](), Rate(), Rate()
            self._taken.add(0)
            self._view.start(run.step, run.steps)

    def step(self, run: Run, record: dict[str, Any]) -> None:
        self._rows.add(record["rows"])
        self._taken.add(1)
        with self._lock:
            self._phase = "train"
            if self._view.due() or run.step == run.steps:
                self._show(run, record)

    def epoch(self, run: Run, record: dict[str, Any]) -> None:
        found = flat_numbers(record.get("validation", {}))
        self._shown |= {f"val_{name}": f"{value:.4g}" for name, value in found.items()}
        self._shown["epoch"] = str(record["epoch"])

    def end(self, run: Run) -> None:
        with self._lock:
            if run.history.steps:
                self._show(run, run.history.steps[-1], ended=True)

    def _show(self, run: Run, record: dict[str, Any], ended: bool = False) -> None:
        told = {"loss": f"{record['loss']:.4g}", **self._shown}
        if rate := self._rows.of_second():
            told["rows/s"] = number(round(rate, 2 if rate < 100 else 0))
        if run.history.engines:
            told["engine"] = run.history.engines[-1]["engine"]
        rate = 0.0 if ended else self._taken.of_second()
        left = (run.steps - run.step) / rate if rate else None
        ending = None
        if ended and run.step < run.steps and run.history.ended:
            ending = Ending(run.history.ended, run.history.sessions[-1]["outcome"])
        self._view.show(run.step, run.steps, told, left, ending)

    def _open(self) -> None:
        file = self.options.get("file") or sys.stderr
        if self.options.get("disable"):
            self._view = Bar(self.options)
            return
        bar = _in_notebook() or getattr(file, "isatty", lambda: False)()
        self._view = Bar(self.options) if bar else Lines(file, self.options.get("desc") or "fdl", self.seconds)
        self._done.clear()
        self._ticker = threading.Thread(target=self._tick, name="fdl-progress", daemon=True)
        self._ticker.start()

    def _tick(self) -> None:
        while not self._done.wait(BEAT):
            with self._lock:
                if self._view is not None and self._phase != "train" and self._view.due():
                    self._beat()

    def _beat(self) -> None:
        """Show what the run does while no steps come."""
        spent = time.monotonic() - self._began
        told = [PHASES[self._phase], self._progress(), str(duration(spent)) if spent >= 1 else ""]
        self._view.say(", ".join(filter(None, told)))

    def _close(self) -> None:
        self._done.set()
        if self._ticker is not None:
            self._ticker.join()
            self._ticker = None
        view, self._view = self._view, None
        if view is not None:
            view.close()


class Rate:
    """How much comes in a second, over the last half minute or so."""

    def __init__(self, window: float = 30.0):
        self._window, self._points = window, [(time.monotonic(), 0.0)]
        self._total = 0.0

    def add(self, amount: float) -> None:
        """So much has come."""
        self._total += amount
        now = time.monotonic()
        if now > self._points[-1][0] + self._window / 10:
            self._points.append((now, self._total))
            while len(self._points) > 2 and self._points[1][0] < now - self._window:
                self._points.pop(0)

    def of_second(self) -> float:
        """The rate."""
        began, before = self._points[0]
        spent = time.monotonic() - began
        return (self._total - before) / spent if spent > 0 else 0.0


class Bar:
    """A bar of tqdm."""

    def __init__(self, options: dict[str, Any]):
        self._bar = _tqdm()(unit="step", dynamic_ncols=True, **options)
        self._name, self._format, self._next = options.get("desc"), options.get("bar_format"), 0.0

    def due(self) -> bool:
        """Whether the last state has been seen."""
        return time.monotonic() >= self._next

    def start(self, done: int, steps: int) -> None:
        """Steps are going to come: so many are done."""
        self._bar.reset(steps)
        self._bar.initial = self._bar.n = self._bar.last_print_n = done

    def say(self, text: str) -> None:
        """Show what is done before and between steps."""
        self._next = time.monotonic() + REFRESH
        self._bar.set_description_str(f"{self._name}, {text}" if self._name else text)

    def show(self, done: int, steps: int, told: dict[str, str], left: float | None, ending: Ending | None) -> None:
        """Show so many steps, and what is told of them; tqdm knows itself how much time is left."""
        self._next = time.monotonic() + REFRESH
        doing = [self._name, ending.ended if ending else None]
        self._bar.set_description_str(", ".join(filter(None, doing)) or PHASES["train"], refresh=False)
        self._bar.set_postfix(self._fitting(told), refresh=False)
        self._bar.update(done - self._bar.n)
        self._bar.refresh()

    def _fitting(self, told: dict[str, str]) -> dict[str, str]:
        """What there is room for in a line, as tqdm would cut a number in two; in a narrow one there is no bar."""
        meter = self._bar.format_dict
        width = meter.get("ncols")
        if not width:  # a widget, or not shown
            return told
        self._bar.bar_format = meter["bar_format"] = self._format or (SHORT if width < NARROW else None)
        room = width - len(self._bar.format_meter(**{**meter, "ncols": None, "postfix": ""}))
        fitting = {}
        for name, value in told.items():
            room -= len(f", {name}={value}")
            if room < 0:
                break
            fitting[name] = value
        return fitting

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


class Lines:
    """Lines in a file."""

    def __init__(self, file: Any, name: str, seconds: float):
        self._file, self._name, self._seconds = file, name, seconds
        self._next, self._last = 0.0, ""

    def due(self) -> bool:
        """Whether it is time for a line."""
        return time.monotonic() >= self._next

    def start(self, done: int, steps: int) -> None:
        """Steps are going to come: the first one has its line."""
        self._next = 0.0

    def say(self, text: str) -> None:
        """Write what is done before and between steps, if it is time."""
        if self.due():
            self._write(text)

    def show(self, done: int, steps: int, told: dict[str, str], left: float | None, ending: Ending | None) -> None:
        """Write so many steps, what is told of them, and how the run ended if it did before the last one."""
        words = [f"step {done:,} of {steps:,}", *(f"{name} {value}" for name, value in told.items())]
        if left is not None and done < steps:
            words.append(f"{duration(left)} left")
        words += [ending.outcome.splitlines()[0][:OUTCOME]] if ending else []
        self._write(", ".join(words))

    def close(self) -> None:
        """Nothing is left open."""

    def _write(self, text: str) -> None:
        self._next = time.monotonic() + self._seconds
        if text != self._last:
            self._last = text
            print(f"{self._name}: {text}", file=self._file, flush=True)


def _tqdm() -> Any:
    """The class for this place, without what it warns of where widgets are not installed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="tqdm")
        warnings.filterwarnings("ignore", message=".*(IProgress|autonotebook).*")
        from tqdm.auto import tqdm
    return tqdm


def _in_notebook() -> bool:
    """Whether tqdm makes widgets here."""
    return any("notebook" in kind.__module__ for kind in _tqdm().__mro__)
