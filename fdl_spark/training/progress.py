"""A progress bar."""

from typing import Any

from fdl_spark.history.outcome import flat_numbers
from fdl_spark.history.run import Run
from fdl_spark.training.callback import Callback


class Progress(Callback):
    """A tqdm bar of the steps, with the last loss and the last validation; a widget in notebooks.

    Args:
      options: of `tqdm.tqdm`, such as `file` or `disable`.

    >>> Progress(desc="training", disable=True).options
    {'desc': 'training', 'disable': True}
    """

    passive = True

    def __init__(self, **options: Any):
        self.options = options

    def start(self, run: Run) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(total=run.steps, initial=run.step, unit="step", dynamic_ncols=True, **self.options)
        self.shown: dict[str, str] = {}

    def step(self, run: Run, record: dict[str, Any]) -> None:
        self.shown["loss"] = f"{record['loss']:.4g}"
        self.bar.set_postfix(self.shown, refresh=False)
        self.bar.update(run.step - self.bar.n)

    def epoch(self, run: Run, record: dict[str, Any]) -> None:
        self.shown["epoch"] = str(record["epoch"])
        self.shown |= {
            f"val_{name}": f"{value:.4g}" for name, value in flat_numbers(record.get("validation", {})).items()
        }
        self.bar.set_postfix(self.shown)

    def end(self, run: Run) -> None:
        self.bar.close()
