"""What a search found."""

import html
from dataclasses import dataclass, field
from typing import Any

from fdl_spark.searching.trial import Trial

SHOWN = 20  # trials in the table of a notebook


@dataclass
class Search:
    """The trials of a search.

    Attributes:
      trials: in the order of their numbers, those that failed too.
      metric: the name of the metric.
      mode: "min" or "max".

    >>> Search([Trial(0, {"width": 4}, 0.5, 3, 0), Trial(1, {"width": 8}, 0.25, 3, 0)], "loss", "min")
    Search(2 trials; best: trial 1, loss 0.25 with {'width': 8})
    """

    trials: list[Trial] = field(default_factory=list)
    metric: str = "loss"
    mode: str = "min"

    @property
    def best(self) -> Trial:
        """The trial with the best value among those that got furthest; of equal ones the first."""
        return self.ranked()[0]

    def ranked(self) -> list[Trial]:
        """The trials from the best to the worst; those that failed at the end."""
        sign = 1 if self.mode == "min" else -1

        def key(trial: Trial) -> tuple[Any, ...]:
            return (trial.value is None, -trial.rung, sign * (trial.value or 0), trial.number)

        return sorted(self.trials, key=key)

    def failed(self) -> list[Trial]:
        """The trials that raised, or whose metric is not finite."""
        return [trial for trial in self.trials if trial.error is not None]

    def rows(self) -> list[dict[str, Any]]:
        """A dict for each trial: its number, hyper-parameters, value, and what became of it."""
        return [
            {"trial": trial.number, **trial.hyperparameters, self.metric: trial.value}
            | {"resource": trial.resource, "rung": trial.rung, "seconds": trial.seconds, "error": trial.error}
            for trial in self.trials
        ]

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame."""
        import pandas

        return pandas.DataFrame(self.rows())

    def __repr__(self) -> str:
        failed = f", {len(self.failed())} failed" if self.failed() else ""
        text = f"Search({len(self.trials)} trials{failed}"
        if not any(trial.value is not None for trial in self.trials):
            return f"{text})"
        best = self.best
        return f"{text}; best: trial {best.number}, {self.metric} {best.value:.6g} with {best.hyperparameters})"

    def _repr_html_(self) -> str:
        order = {trial.number: place for place, trial in enumerate(self.ranked())}
        rows = sorted(self.rows(), key=lambda row: order[row["trial"]])
        names = list(dict.fromkeys(name for row in rows for name in row))
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in names)
        lines = ["".join(f"<td>{html.escape(_text(row.get(name)))}</td>" for name in names) for row in rows[:SHOWN]]
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        more = f"<p>and {len(rows) - SHOWN} more</p>" if len(rows) > SHOWN else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
