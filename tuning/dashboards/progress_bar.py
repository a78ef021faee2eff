"""Show the progress of a search: a bar on a terminal, lines elsewhere."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from keras_initx.errors import printable

from ..report import bounds_of, score_format, values_text
from ..study import OptunaOracle, TrialResult, best_trial


class ProgressObserver:
    """An observer that shows a bar with the remaining time on a terminal, and a line per trial elsewhere.

    Args:
        oracle: The oracle of the search, which knows the number of trials and the best one so far.
        seeds: Number of seeds of each trial.
        epochs: Maximum number of epochs of each seed.
        console: Where to write. The default is standard error, which keeps standard output for results.
        stamped: Whether each line starts with the date and time.
    """

    def __init__(
        self,
        oracle: OptunaOracle,
        seeds: int,
        epochs: int,
        console: Console | None = None,
        stamped: bool = False,
    ) -> None:
        self._oracle, self._seeds, self._epochs, self._stamped = oracle, seeds, epochs, stamped
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs,"),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left  {task.fields[best]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("searching", total=None, best="")
        self._left = 0
        self._began = False

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self._bar.stop()
        if kind is None and not self._began and self._oracle.remaining_trials() == 0:
            self._print(self._oracle.nothing_to_run())

    def on_trial_begin(self, trial: Any, seeds: Sequence[int]) -> None:
        """Count the remaining epochs of this trial's seeds and of all seeds of later trials."""
        self._began = True
        finished = sum(t.state.is_finished() for t in self._oracle.frozen_trials())
        total = self._oracle.trial_limit or finished + 1
        after = max(0, total - finished - 1) * self._seeds
        self._left = (len(seeds) + after) * self._epochs
        done = self._bar.tasks[0].completed
        self._bar.update(self._task, total=done + self._left, description=f"trial {finished + 1} of {total}")

    def on_epoch_end(self, epochs: int) -> None:
        """Advance the bar by one epoch."""
        self._bar.advance(self._task)

    def on_seed_end(self, trial: Any, seed: int, record: Mapping[str, Any], skipped_epochs: int) -> None:
        """Advance the bar by the epochs that early stopping saved."""
        self._bar.advance(self._task, skipped_epochs)

    def on_trial_end(self, trial: Any, status: str) -> None:
        """Show the best trial so far; without a bar, print a line."""
        results = self._oracle.results()
        counts = self._counts(results)
        self._bar.update(self._task, best=f"{self._best(results)}{counts}")
        if not self._console.is_terminal:
            result = self._oracle.result(trial.trial_id)
            score = result.sample.describe() if result.status == "completed" else result.reason
            finished = sum(t.status != "running" for t in results)
            left = self._bar.tasks[0].time_remaining
            time_left = f", {timedelta(seconds=left)} left" if left else ""
            self._print(
                f"trial {result.number} {status}: {values_text(result)}: {score} "
                f"({finished} of {self._oracle.trial_limit or '?'}{counts}{time_left})"
            )

    def _print(self, line: str) -> None:
        if self._stamped:
            line = f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}"
        self._console.print(printable(line), soft_wrap=True, markup=False, highlight=False)

    def _best(self, results: Sequence[TrialResult]) -> str:
        best = best_trial(results, self._oracle.objective.direction)
        if best is None:
            return ""
        low, high = best.sample.interval(within=bounds_of(self._oracle.objective))
        form = score_format(best.sample.mean)
        interval = f" [{low:{form}}, {high:{form}}]" if low == low else ""
        return f"best {best.sample.describe()}{interval}"

    @staticmethod
    def _counts(results: Sequence[TrialResult]) -> str:
        """Return how many trials were screened, pruned or failed, as text."""
        counts = Counter(t.status for t in results)
        return "".join(f", {counts[s]} {s}" for s in ("screened", "pruned", "failed") if counts[s])
